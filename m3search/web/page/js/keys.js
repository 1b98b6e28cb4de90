// Keys, the same everywhere; and the dialog that tells them.
import { app, back, go } from "./app.js";
import { focusBox, refine } from "./box.js";
import { h, openDialog } from "./dom.js";
import { besides } from "./results.js";
import { listed } from "./state.js";
import { compare, toggleCompared } from "./tray.js";

const KEYS = [
  ["Anywhere", [["/", "search box"], ["Esc", "back to the list; out of the box"], ["m", "map of the index"], ["?", "this help"]]],
  ["In a list", [["← → ↑ ↓", "walk over the hits"], ["Enter", "open a hit"], ["+ −", "more, less like it"], ["c", "choose it to compare"], ["v", "compare the two chosen"]]],
  ["On an item", [["j k", "next, previous hit"], ["+ −", "zoom in, out"], ["0", "fit"], ["↑ ↓", "slices of a CT"], ["← → ↑ ↓", "move a zoomed picture or slide"]]],
];

const typing = (target) => target.closest?.("input:not([type=checkbox], [type=range]), textarea, select, dialog, [contenteditable]");

export function startKeys() {
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") return escape(event);
    if (typing(event.target)) return;
    const act = ACTIONS[event.key];
    if (act?.(event)) event.preventDefault();
  });
}

function escape(event) {
  if (event.target.closest?.("dialog")) return;
  if (event.target.id === "text") return event.target.blur();
  const { item, compare: two, map } = app.state;
  if (item || two.length || map) back(listed(app.state));
}

const ACTIONS = {
  "/": () => (focusBox(), true),
  "?": () => (showHelp(), true),
  m: () => (go({ map: app.state.map ? "" : "1", item: "", compare: [] }), true),
  j: () => step("after"),
  k: () => step("before"),
  c: () => withCard((id) => toggleCompared(id)),
  v: () => Boolean(compare()),
  "+": () => withCard((id) => refine("like", id)),
  "-": () => withCard((id) => refine("unlike", id)),
  ArrowRight: () => walk(1, 0),
  ArrowLeft: () => walk(-1, 0),
  ArrowDown: () => walk(0, 1),
  ArrowUp: () => walk(0, -1),
};

function step(direction) {
  const next = app.state.item && besides(app.state.item)[direction];
  if (next) go({ item: next.item_id }, { replace: true });
  return Boolean(next);
}

function withCard(act) {
  const id = document.activeElement?.closest(".card")?.dataset.id;
  if (id) act(id);
  return Boolean(id);
}

/** Moves the focus to the nearest card in a direction; into the list where it is not there yet. */
function walk(right, down) {
  const links = [...document.querySelectorAll(".card h3 a")];
  const focused = document.activeElement;
  if (!links.length || (focused !== document.body && !focused.closest(".card, main, #ingredients"))) return false;
  if (focused.closest(".stage, input, .map-view")) return false;
  const card = focused.closest(".card");
  if (!card) return focus(links[0]);
  const place = links.findIndex((link) => card.contains(link));
  if (right) return focus(links[place + right]);
  const here = middle(card);
  const nearest = links
    .map((link) => ({ link, at: middle(link.closest(".card")) }))
    .filter(({ at }) => (at.y - here.y) * down > 20)
    .sort((one, other) => distance(one.at, here) - distance(other.at, here))[0];
  return focus(nearest?.link);
}

const middle = (element) => {
  const { left, top, width } = element.getBoundingClientRect();
  return { x: left + width / 2, y: top };
};

const distance = (one, other) => Math.abs(one.y - other.y) * 3 + Math.abs(one.x - other.x); // the next row before a later one

function focus(link) {
  link?.focus();
  link?.closest(".card").scrollIntoView({ block: "nearest" });
  return Boolean(link);
}

export function showHelp() {
  openDialog("Help",
    h("p", "Type a finding in plain English, or drop or paste a file: a picture, DICOM, NIfTI, a whole slide, an ECG (a WFDB header ",
      "together with its data file). Everything stays on this server; a dropped file is turned into numbers and deleted."),
    h("p", "The score is a similarity. What it means for the query on show is told above each list; the bar under a hit shows ",
      "how many of its own kind lie further away. ", h("strong", "Neither says that a finding is there."),
      " This is a research tool, not a medical device."),
    h("div.keys", KEYS.map(([where, keys]) => h("section", h("h3", where),
      h("dl", keys.map(([key, does]) => [h("dt", key.split(" ").map((one) => h("kbd", one))), h("dd", does)]))))));
}
