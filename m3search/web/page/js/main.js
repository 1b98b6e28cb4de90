// Starts the page, and shows what the state asks for.
import * as api from "./api.js";
import { app, forgetProjection, go, onChange, refresh } from "./app.js";
import { drawBox, startBox } from "./box.js";
import { drawCompare, leaveCompare } from "./compare.js";
import { $, fill, say } from "./dom.js";
import { drawFacets, modalityChips, valuesOf } from "./facets.js";
import { drawItem, leaveItem } from "./item.js";
import { showHelp, startKeys } from "./keys.js";
import { drawMap, leaveMap } from "./map.js";
import { drawResults, drawWelcome, forget } from "./results.js";
import { asksSomething } from "./state.js";
import { drawTray } from "./tray.js";
import { items } from "./words.js";

const LOOK_AGAIN_MS = 15000; // for a new version of the index, while the page is in sight

const viewOf = (state) =>
  state.compare.length === 2 ? "compare" : state.item ? "item" : state.map ? "map" : asksSomething(state) ? "results" : "welcome";

function draw(state, before, scroll) {
  const view = viewOf(state);
  if (view !== "item") leaveItem();
  if (view !== "compare") leaveCompare();
  if (view !== "map") leaveMap();
  document.body.dataset.view = view;
  $("to-map").toggleAttribute("aria-current", view === "map");
  drawBox(state);
  drawTray();
  if (view === "item") return drawItem(state);
  if (view === "compare") return drawCompare(state);
  drawFacets(state);
  if (view === "map") return drawMap(state);
  document.title = state.q ? `${state.q} · m3search` : "m3search";
  if (view === "welcome") return drawWelcome(state, valuesOf("labels"));
  return drawResults(state, scroll).then(() => refocus(before));
}

/** Coming back from an item, the focus returns to its card. */
function refocus(before) {
  const left = before.item && viewOf(before) === "item" && document.querySelector(`.card[data-id="${CSS.escape(before.item)}"] h3 a`);
  if (left && document.activeElement === document.body) left.focus({ preventScroll: true });
}

function drawCounts() {
  const view = viewOf(app.state);
  if (view === "welcome") drawWelcome(app.state, valuesOf("labels"));
  for (const chips of document.querySelectorAll("#main .chips[aria-label=Modality]")) {
    const focused = chips.contains(document.activeElement) ? document.activeElement.dataset.key : "";
    const made = modalityChips(app.state);
    chips.replaceWith(made);
    if (focused) made.querySelector(`[data-key="${focused}"]`)?.focus();
  }
}

async function readStatus() {
  const before = app.status?.index_version;
  app.status = await api.status();
  const { items: number, encoder, version } = app.status;
  fill($("about-index"), `${items(number)} · ${encoder} · m3search ${version}`,
    app.status.failures > 0 && ` · ${items(app.status.failures)} could not be read`);
  return before !== undefined && before !== app.status.index_version;
}

/** Looks now and then whether the index has a new version, and searches anew if a list is on show. */
function followIndex() {
  setInterval(async () => {
    if (document.hidden || !(await readStatus().catch(() => false))) return;
    forget();
    forgetProjection();
    if (["results", "welcome"].includes(viewOf(app.state))) refresh();
    say("The index has changed");
  }, LOOK_AGAIN_MS);
}

async function start() {
  $("help").addEventListener("click", showHelp);
  $("to-map").addEventListener("click", (event) => {
    if (event.metaKey || event.ctrlKey) return;
    event.preventDefault();
    go((state) => ({ map: state.map ? "" : "1", item: "", compare: [] }));
  });
  document.addEventListener("counted", drawCounts);
  startBox();
  startKeys();
  onChange(draw);
  await api.signInByAddress();
  await readStatus().catch((error) => say(error.message));
  draw(app.state, app.state, history.state?.scroll ?? 0);
  if (viewOf(app.state) === "welcome" && matchMedia("(hover: hover)").matches) $("text").focus();
  followIndex();
}

start();
