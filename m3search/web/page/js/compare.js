// Two items side by side.
import * as api from "./api.js";
import { app, back, go } from "./app.js";
import { stateLink } from "./card.js";
import { $, fill, h, iconButton } from "./dom.js";
import { listed } from "./state.js";
import { viewerOf } from "./viewer/index.js";
import { nameOf, titleOf, valueName } from "./words.js";

let shown = null;

export function leaveCompare() {
  shown?.controller.abort();
  for (const viewer of shown?.viewers ?? []) viewer.stop();
  shown = null;
}

export async function drawCompare(state) {
  leaveCompare();
  const controller = new AbortController();
  shown = { controller, viewers: [] };
  const { signal } = controller;
  const bar = h("nav.item-bar", { "aria-label": "Comparison" },
    iconButton("back", "Back (Esc)", () => back(listed(app.state)), { label: "Back" }),
    h("h1", { tabindex: "-1" }, "Side by side"),
    h("button.plain", { type: "button", onclick: () => go({ compare: [...state.compare].reverse() }, { replace: true }) }, "Swap"));
  fill($("main"), h("div.compare", bar, h("p.loading", h("span.spinner"), "Opening…")));
  document.title = "Side by side · m3search";
  try {
    const both = await Promise.all(state.compare.map((id) => api.item(id, signal)));
    const viewers = await Promise.all(both.map((item) => viewerOf(item, app.hits.get(item.item_id)?.best_part ?? "", signal)));
    if (signal.aborted) return viewers.forEach((viewer) => viewer.stop());
    shown.viewers = viewers;
    const near = h("p.nearness", { role: "status" });
    fill($("main"), h("div.compare", bar, near, link(viewers),
      h("div.pair", both.map((item, place) => h("section", { "aria-label": titleOf(item) },
        heading(item), viewers[place].element, item.text && h("p.full-text", item.text)))),
      table(both)));
    $("main").querySelector("h1").focus({ preventScroll: true });
    scrollTo(0, 0);
    near.textContent = await nearness(both, signal);
  } catch (error) {
    if (error.name === "AbortError") return null;
    fill($("main"), h("div.compare", bar, h("section.state.error", { role: "alert" },
      h("h2", "These items cannot be shown"), h("p", error.message), h("p", error.remedy))));
  }
  return null;
}

const heading = (item) => [
  h("p.line", h("span.kind", { dataset: { modality: item.modality } }, h("span.dot", { "aria-hidden": "true" }), nameOf(item.modality))),
  h("h2", stateLink({ item: item.item_id, compare: [] }, {}, titleOf(item))),
];

/** Two series scroll together where both have slices. */
function link(viewers) {
  if (viewers.length < 2 || !viewers.every((viewer) => viewer.onSlice)) return null;
  const together = h("input", { type: "checkbox", checked: true });
  viewers.forEach((viewer, place) => viewer.onSlice((share) => together.checked && viewers[1 - place].setShare(share)));
  return h("label.inline.together", together, " Scroll both series together");
}

/** How near the second is to the first, in the server's words. */
async function nearness([one, other], signal) {
  if (!other || one.item_id === other.item_id) return "";
  const { hits } = await api.search({ items: [one.item_id], filters: `item_id = '${other.item_id}'`, limit: 1 }, signal);
  if (!hits.length) return "";
  const words = hits[0].explained.replace("the query", "the left one");
  return `Similarity ${hits[0].score.toFixed(3).replace("-", "−")}${words ? `: the right one is ${words}` : ""}.`;
}

const ROWS = [
  ["Labels", (item) => item.labels.join(", ")], ["Sex", (item) => valueName("sex", item.sex)],
  ["Age", (item) => valueName("age_band", item.age_band)], ["Body part", (item) => item.body_part.toLowerCase()],
  ["View", (item) => item.view], ["Side", (item) => valueName("laterality", item.laterality)], ["Year", (item) => item.year],
  ["Patient", (item) => item.patient_key], ["Parts", (item) => item.parts], ["Format", (item) => valueName("format", item.format)],
];

function table(both) {
  const rows = ROWS.map(([name, of]) => [name, both.map((item) => String(of(item) ?? ""))]).filter(([, values]) => values.some(Boolean));
  return h("table.facts-table", h("caption.unseen", "Facts of both items"),
    h("thead", h("tr", h("td"), both.map((item) => h("th", { scope: "col" }, titleOf(item))))),
    h("tbody", rows.map(([name, values]) => h("tr", { class: values.every((value) => value === values[0]) ? null : "differs" },
      h("th", { scope: "row" }, name), values.map((value) => h("td", value || "–"))))));
}
