// One item: looked at closely, with how it became a vector and what lies near it.
import * as api from "./api.js";
import { app, back, go } from "./app.js";
import { refine } from "./box.js";
import { card, stateLink } from "./card.js";
import { $, fill, h, iconButton, say } from "./dom.js";
import { besides } from "./results.js";
import { NO_FILTERS, PAGE, asksSomething, body, listed } from "./state.js";
import { toggleCompared } from "./tray.js";
import { viewerOf } from "./viewer/index.js";
import { count, inOrder, manyOf, nameOf, oneOf, titleOf, valueName } from "./words.js";

let shown = null; // {viewer, controller} of the page on show

/** Stops what the page on show still does. */
export function leaveItem() {
  shown?.controller.abort();
  shown?.viewer?.stop();
  shown = null;
}

export async function drawItem(state) {
  leaveItem();
  const controller = new AbortController();
  shown = { controller, viewer: null };
  const { signal } = controller;
  const main = $("main");
  fill(main, h("div.item", bar(state), h("p.loading", h("span.spinner"), "Opening…")));
  try {
    const [item, hit] = await Promise.all([api.item(state.item, signal), hitOf(state, signal)]);
    const stand = h("div.stand", { "aria-busy": "true" });
    const near = h("div.near");
    const title = h("h1", { tabindex: "-1" }, titleOf(item));
    fill(main, h("article.item", bar(state), h("div.halves", stand, details(item, hit, title, state)), near));
    document.title = `${titleOf(item)} · m3search`;
    scrollTo(0, 0);
    title.focus({ preventScroll: true });
    const viewer = await viewerOf(item, hit?.best_part ?? "", signal);
    if (signal.aborted) return viewer.stop();
    shown.viewer = viewer;
    fill(stand, viewer.element);
    stand.removeAttribute("aria-busy");
    fill(near, neighbours(await api.neighbours(item.item_id, signal), item, state));
  } catch (error) {
    if (error.name === "AbortError") return null;
    fill(main, h("div.item", bar(state), h("section.state.error", { role: "alert" },
      h("h2", "The item cannot be shown"), h("p", error.message), h("p", error.remedy))));
  }
  return null;
}

/** How the item stands to the query; asked where the page was opened by its address. */
async function hitOf(state, signal) {
  const known = app.hits.get(state.item);
  if (known || !asksSomething(state)) return known;
  const asked = { ...body({ ...state, ...NO_FILTERS }, null, 0, 1), filters: `item_id = '${state.item}'` };
  const found = await api.search(asked, signal).catch(() => null); // the item is shown without it
  if (found?.hits.length) app.hits.set(state.item, found.hits[0]);
  return found?.hits[0];
}

function bar(state) {
  const { before, after } = besides(state.item);
  const walk = (hit, words, key) => h("button.plain", { type: "button", disabled: !hit, title: `${words} hit (${key})`,
    onclick: () => go({ item: hit.item_id }, { replace: true }) }, words);
  return h("nav.item-bar", { "aria-label": "Item" },
    iconButton("back", asksSomething(state) ? "Back to the results (Esc)" : "Back (Esc)", () => back(listed(app.state)),
      { label: asksSomething(state) ? "Results" : "Back" }),
    (before || after) && h("span.group", walk(before, "Previous", "k"), walk(after, "Next", "j")));
}

function details(item, hit, title, state) {
  return h("div.details",
    h("p.line", h("span.kind", { dataset: { modality: item.modality } }, h("span.dot", { "aria-hidden": "true" }), nameOf(item.modality)),
      item.parts > 1 && h("span.part", `${count(item.parts)} parts embedded`)),
    title,
    hit?.explained && asksSomething(state) && h("p.explained", h("strong", hit.score.toFixed(3)), " ", sentence(hit.explained)),
    acts(item, state),
    item.text && h("section", h("h2", "Text"), h("p.full-text", item.text)),
    item.labels.length > 0 && h("section", h("h2", "Labels"), h("ul.labels", item.labels.map((label) =>
      h("li", stateLink({ ...listed(state), q: label, upload: [], similar: [], like: [], unlike: [], n: PAGE }, { title: "Search for this" }, label))))),
    facts(item),
    provenance(item));
}

const capital = (words) => words && words[0].toUpperCase() + words.slice(1);
const sentence = (words) => `${capital(words)}.`;

function acts(item, state) {
  const id = item.item_id;
  const pressed = (kind) => ({ "aria-pressed": String(state[kind].includes(id)) });
  return h("div.acts.wide",
    h("button.go", { type: "button", onclick: () => go({ ...listed(state), q: "", upload: [], similar: [id], like: [], unlike: [], n: PAGE }) },
      "Find alike"),
    asksSomething(state) && [
      iconButton("more", "More like this", () => refine("like", id), { label: "More like", ...pressed("like") }),
      iconButton("less", "Less like this", () => refine("unlike", id), { label: "Less like", ...pressed("unlike") }),
    ],
    iconButton("compare", "Choose to compare", () => toggleCompared(id), { label: "Compare" }));
}

function facts(item) {
  const known = [
    ["Sex", valueName("sex", item.sex)], ["Age", valueName("age_band", item.age_band)], ["Body part", item.body_part.toLowerCase()],
    ["View", item.view], ["Side", valueName("laterality", item.laterality)], ["Year", item.year],
    ["File", h("span.uri", item.uri)], ["Files read", item.files > 1 ? count(item.files) : ""],
    ["Patient", pseudonym("patient_key", item.patient_key)], ["Study", pseudonym("study_key", item.study_key)],
    ["Item", h("span.id", h("code", item.item_id), iconButton("copy", "Copy the item's id", () => copyId(item.item_id)))],
    ["Indexed", item.indexed_at?.slice(0, 16).replace("T", " ")],
  ].filter(([, value]) => value);
  return h("section", h("h2", "Facts"), h("dl.facts", known.map(([name, value]) => [h("dt", name), h("dd", value)])));
}

/** A keyed pseudonym, as a filter for the list. */
function pseudonym(column, key) {
  if (!key) return null;
  const words = `${column} = '${key}'`;
  return asksSomething(app.state)
    ? stateLink({ ...listed(app.state), where: words, n: PAGE }, { title: "Only items with this pseudonym" }, h("code", key))
    : h("code", key);
}

async function copyId(id) {
  await navigator.clipboard?.writeText(id).then(() => say("Id copied"), () => say("The browser does not allow copying"));
}

function provenance(item) {
  const steps = [
    `${capital(valueName("format", item.format))} file; ${FROM[item.modality_from] ?? "the index"} says it is ${oneOf(item.modality)}`,
    ...item.provenance_words,
    `${item.encoder} turned ${item.parts > 1 ? `each of ${count(item.parts)} parts` : "it"} into ${count(item.dim)} numbers`
      + (item.parts > 1 ? "; their mean, of unit length, stands for the item" : ", of unit length"),
  ];
  return h("section", h("h2", `How these ${item.modality === "ecg" ? "samples" : "pixels"} became a vector`),
    h("ol.steps", steps.map((step) => h("li", step))),
    h("details", h("summary", "As it is stored"), h("pre", { tabindex: "0", "aria-label": "Provenance" }, h("code", JSON.stringify(item.provenance, null, 1)))));
}

const FROM = { header: "its header", manifest: "the manifest", option: "the index run", folder: "its folder's name", encoder: "the encoder" };

function neighbours({ within, across }, item, state) {
  const others = inOrder(Object.keys(across)).map((name) => [name, across[name]]).filter(([, hits]) => hits.length);
  const row = (hits) => h("ol.cards.small", hits.map((hit) => {
    if (!app.hits.has(hit.item_id)) app.hits.set(hit.item_id, { ...hit, explained: "" });
    return card(hit, state, { ranked: false });
  }), h("li.rest"));
  return [
    within.length > 0 && h("section", h("h2", `Nearest ${manyOf(item.modality)}`), row(within)),
    others.length > 0 && h("section", h("h2", "Nearest in other modalities"),
      h("p.quiet", "What lies near it in the shared space. Modalities were bound through text: nearness across them follows what findings have in common in words."),
      others.map(([modality, hits]) => h("div", h("h3.across", { dataset: { modality } }, h("span.dot"), manyOf(modality)), row(hits)))),
  ];
}

