// The list of hits, and what is shown where there is none.
import * as api from "./api.js";
import { app, brushed, go, refresh } from "./app.js";
import { card } from "./card.js";
import { showCode } from "./code.js";
import { activeFilters, everyFilter, modalityChips } from "./facets.js";
import { $, fill, h, iconButton, refill, say } from "./dom.js";
import { PAGE, body, isFiltered, unfiltered } from "./state.js";
import { count, inWords, items } from "./words.js";

const SLOW_MS = 150; // a search that takes longer shows that it is going on

let list = null; // {key, head, hits}: the list on show, so that coming back to it costs nothing
let controller = null;

const keyOf = (state) => JSON.stringify([body(state, null, 0, 0), state.brush]);

/** Shows the list that the state asks for. `scroll`: where it stood when it was left. */
export async function drawResults(state, scroll = 0) {
  controller?.abort();
  const key = keyOf(state);
  if (list?.key !== key) list = null;
  if (list && (list.hits.length >= state.n || !list.head.more)) return draw(state, scroll);
  controller = new AbortController();
  const { signal } = controller;
  const kept = list?.hits ?? [];
  const waiting = setTimeout(() => drawWaiting(state, kept), kept.length || $("main").querySelector(".results") ? SLOW_MS : 0);
  try {
    const ids = await brushed(state);
    const { hits, ...head } = await api.search(body(state, ids, kept.length, state.n - kept.length), signal);
    if (signal.aborted) return null;
    for (const hit of hits) app.hits.set(hit.item_id, hit);
    list = { key, head, hits: [...kept, ...hits] };
    draw(state, scroll);
    say(list.hits.length ? `${items(list.hits.length)} shown, ${count(head.matching)} searched` : "No results");
    if (kept.length) $("main").querySelectorAll(".card h3 a")[kept.length]?.focus();
  } catch (error) {
    if (!signal.aborted && error.name !== "AbortError") drawError(state, error);
  } finally {
    clearTimeout(waiting);
  }
  return null;
}

/** Forgets the list, as after the index changed. */
export const forget = () => (list = null);

/** The hits before and after one, for walking through the list on the item page. */
export function besides(id) {
  const place = list?.hits.findIndex((hit) => hit.item_id === id) ?? -1;
  return place < 0 ? {} : { before: list.hits[place - 1], after: list.hits[place + 1] };
}

function frame(state, ...content) {
  const active = list?.hits.length === 0 ? [] : activeFilters(state); // an empty list names them itself
  refill($("main"),
    h("div.results",
      h("h1.unseen", "Results"),
      h("div.bar-row", modalityChips(state)),
      active.length > 0 && h("div.chips.active", { role: "group", "aria-label": "Filters in use" }, active),
      content));
}

function draw(state, scroll) {
  const { head, hits } = list;
  if (!hits.length) return drawNothing(state, head);
  frame(state,
    toolbar(state, head, hits),
    h("ol.cards#results", { class: "cards" }, hits.map((hit) => card(hit, state)), h("li.rest", { "aria-hidden": "true" })),
    head.more && state.n < 1000 &&
      h("p.more", h("button.plain", { type: "button", onclick: () => go({ n: Math.min(state.n + PAGE, 1000) }, { replace: true }) },
        "Show more")));
  scrollTo(0, scroll);
  return null;
}

function toolbar(state, head, hits) {
  const ann = head.mode.endsWith("ann") ? " · approximate search" : "";
  const about = `${count(hits.length)} of ${items(head.matching)}, nearest first · ${timed(head.took_ms)}${ann}`;
  return h("div.toolbar",
    h("p.found", about,
      head.denied?.length > 0 && h("span.denied", "turned away from: ", h("em", head.denied.join(", ")))),
    choice("Rank by", state.mode, { vector: "by meaning", text: "by words", hybrid: "by meaning and words" }, (mode) => go({ mode, n: PAGE })),
    choice("Show", state.group, { "": "every item", study: "best of each study", patient: "best of each patient" }, (group) => go({ group, n: PAGE })),
    iconButton("code", "Copy as Python or curl", () => showCode(app.state), { label: "Code" }),
    iconButton("save", "Save this list as CSV", () => save(state, "csv", hits.length), { label: "CSV" }),
    iconButton("save", "Save this list as one HTML file", () => save(state, "html", hits.length), { label: "Sheet" }),
    head.score_words && h("details.score-words", h("summary", "What do the scores mean?"), h("p", head.score_words,
      " The bar under each hit shows what share of its own kind is further from the query.")));
}

const timed = (ms) => (ms < 950 ? `${Math.max(1, Math.round(ms))} ms` : `${(ms / 1000).toFixed(1)} s`);

function choice(label, value, options, onchange) {
  return h("label.choice", h("span.unseen", label),
    h("select", { onchange: (event) => onchange(event.target.value), dataset: { key: label } },
      Object.entries(options).map(([key, words]) => h("option", { value: key, selected: key === value }, words))));
}

/** Saves the list on show, as many hits as it shows. */
export async function save(state, format, limit) {
  try {
    const ids = await brushed(state);
    const blob = await api.exported({ ...body(state, ids, 0, limit), format });
    const link = h("a", { href: URL.createObjectURL(blob), download: `m3search.${format}` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    say(`Saved ${items(limit)} as ${format.toUpperCase()}. Protect the file as you protect the archive.`);
  } catch (error) {
    say(inWords(error));
    $("main").querySelector(".toolbar")?.append(complaint(error));
  }
}

const complaint = (error) => h("p.wrong", { role: "alert" }, inWords(error));

function drawWaiting(state, kept) {
  const shown = kept.length ? kept.map((hit) => card(hit, state)) : [];
  const bones = Array.from({ length: kept.length ? 4 : 12 }, () => h("li.card.bone", h("div.shot"), h("div.meta")));
  frame(state, h("div.toolbar", h("p.found", h("span.spinner"), "Searching…")),
    h("ol.cards", { "aria-busy": "true" }, shown, bones, h("li.rest")));
}

function drawNothing(state, head) {
  const filtered = head.matching === 0 && head.items > 0;
  if (filtered) {
    frame(state, h("section.state",
      h("h2", "No item passes these filters"),
      h("p", `The index holds ${items(head.items)}; together the filters leave none of them. Take one away:`),
      h("div.chips", everyFilter(state)),
      h("p", h("button.go", { type: "button", onclick: () => go(unfiltered(state)) }, "Clear all filters"))));
  } else if (head.items === 0) {
    frame(state, emptyIndex());
  } else {
    frame(state, h("section.state",
      h("h2", "Nothing found"),
      state.mode === "text"
        ? [h("p", "No report or label holds these words. Ranking by meaning finds items whatever their texts say."),
          h("p", h("button.go", { type: "button", onclick: () => go({ mode: "vector" }) }, "Rank by meaning"))]
        : h("p", "Every item was left out by the query itself. Take a chip out of the query, or ask in other words.")));
  }
  say("No results");
  return null;
}

const emptyIndex = () => h("section.state",
  h("h2", "This index is empty"),
  h("p", "Fill it, and this page finds what was added without a restart:"),
  h("pre", h("code", "m3search index ARCHIVE")));

function drawError(state, error) {
  const gone = error.code === "no-such-upload";
  frame(state, h("section.state.error", { role: "alert" },
    h("h2", gone ? "The file is no longer held" : error.code === "bad-filter" ? "The filter is not understood" : "The search failed"),
    h("p", error.message), error.remedy && h("p", error.remedy),
    h("p", gone
      ? h("button.go", { type: "button", onclick: () => go({ upload: [] }, { replace: true }) }, "Search without it")
      : h("button.go", { type: "button", onclick: refresh }, "Try again"),
    isFiltered(state) && !gone && h("button.plain", { type: "button", onclick: () => go(unfiltered(state)) }, "Clear all filters"))));
}

/** What is shown before anything is asked. */
export function drawWelcome(state, labels) {
  const by = app.status?.by_modality ?? {};
  if (app.status && app.status.items === 0) return fill($("main"), emptyIndex());
  const examples = labels.slice(0, 14).map(({ value }) =>
    h("li", h("button.example", { type: "button", onclick: () => go({ q: String(value), n: PAGE }) }, String(value))));
  return refill($("main"), h("section.welcome",
    h("h1", "Search ", app.status ? items(app.status.items) : "the archive", " by what they show"),
    h("p.lead", "Type a finding. Or drop an image, a DICOM file or an ECG here, or paste one, to find what looks like it in any modality."),
    Object.keys(by).length > 0 && modalityChips(state),
    state.modality.length || isFiltered(state) ? h("p.quiet", "The filters hold for the next search.") : null,
    examples.length > 0 && [h("h2", "Labels of this archive"), h("ul.examples", examples)],
    h("h2", "How to ask"),
    h("dl.how",
      h("dt", "Denials"), h("dd", "“cardiomegaly, no effusion” ranks lower what looks like an effusion."),
      h("dt", "Refine"), h("dd", "Press + or − on a hit for more or less of its kind."),
      h("dt", "Look around"), h("dd", h("a", { href: "/?map=1", onclick: toMap }, "The map"), " lays out the whole index; draw a box to search within it."),
      h("dt", "Keys"), h("dd", h("kbd", "/"), " search, arrows walk, ", h("kbd", "?"), " tells the rest."))));
}

function toMap(event) {
  event.preventDefault();
  go({ map: "1" });
}

