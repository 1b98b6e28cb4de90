// Filters: modality chips above the list, and for each column its commonest values with how many items have them.
import * as api from "./api.js";
import { app, brushed, go } from "./app.js";
import { $, h, icon, iconButton, refill } from "./dom.js";
import { FACETS, PAGE, filters, isFiltered, unfiltered } from "./state.js";
import { FACET_NAMES, count, inOrder, inWords, nameOf, valueName } from "./words.js";

const SHOWN = 7; // values of a facet before "all"
const opened = new Set(); // facets that show all their values
let shown = ""; // what the counts on show are of
let latest = null; // {modality: […], labels: […], …}

/** Fetches the counts where the filters changed, and draws. */
export async function drawFacets(state) {
  const key = JSON.stringify([state.modality, state.facets, state.where, state.brush]);
  if (key === shown && latest) return draw(state);
  shown = key;
  try {
    const told = await counts(state);
    if (key !== shown) return null;
    latest = told;
  } catch (error) {
    if (key !== shown) return null;
    shown = "";
    // a filter that is not understood is told beside its field; other errors are told in the list
    latest = latest ?? { facets: {}, matching: null };
    return draw(state, error.code === "bad-filter" ? error : null);
  }
  return draw(app.state);
}

/** Counts under all filters; of a facet in use, also what its other values would give. */
async function counts(state) {
  const ids = await brushed(state);
  const asked = (without = "") => api.facets({ filters: filters(state, ids, without), modality: state.modality,
    ...(without && { columns: [without] }) });
  const used = Object.keys(state.facets);
  const [all, ...alone] = await Promise.all([asked(), ...used.map(asked)]);
  used.forEach((column, place) => (all.facets[column] = alone[place].facets[column]));
  return all;
}

export const matching = () => latest?.matching ?? null;
export const valuesOf = (column) => latest?.facets[column] ?? [];

function draw(state, wrong = null) {
  const groups = FACETS.map((column) => group(column, state)).filter(Boolean);
  const chosen = Object.values(state.facets).flat().length + (state.where ? 1 : 0) + (state.brush ? 1 : 0);
  refill($("facets"),
    h("button.plain.unfold", { type: "button", "aria-expanded": String($("facets").classList.contains("open")),
      "aria-controls": "facet-groups", onclick: toggle, dataset: { key: "unfold" } }, icon("filter"), `Filters${chosen ? ` (${chosen})` : ""}`),
    h("div#facet-groups",
      h("div.facet-head", h("h2", "Filters"),
        isFiltered(state) && h("button.link", { type: "button", onclick: () => go(unfiltered(state)) }, "Clear all")),
      groups,
      expression(state, wrong)));
  document.dispatchEvent(new CustomEvent("counted"));
}

function toggle(event) {
  const open = $("facets").classList.toggle("open");
  event.currentTarget.setAttribute("aria-expanded", String(open));
}

function group(column, state) {
  const chosen = state.facets[column] ?? [];
  const known = latest.facets[column] ?? [];
  const missing = chosen.filter((value) => !known.some((one) => String(one.value) === value));
  const values = [...missing.map((value) => ({ value, count: 0 })), ...known];
  if (!values.length) return null;
  const all = opened.has(column) || values.length <= SHOWN + 1;
  const most = Math.max(...values.map((one) => one.count), 1);
  const rows = (all ? values : values.filter((one, place) => place < SHOWN || chosen.includes(String(one.value))))
    .map((one) => row(column, String(one.value), one.count, chosen, most));
  return h("fieldset.facet",
    h("legend", FACET_NAMES[column]),
    h("ul", rows),
    !all && h("button.link", { type: "button", onclick: () => (opened.add(column), draw(app.state)) },
      `All ${values.length === 50 ? "50 commonest" : values.length}`));
}

function row(column, value, number, chosen, most) {
  const on = chosen.includes(value);
  const id = `f-${column}-${value}`;
  const flip = () => go((state) => {
    const left = on ? chosen.filter((one) => one !== value) : [...chosen, value];
    const { [column]: _, ...others } = state.facets;
    return { facets: left.length ? { ...others, [column]: left } : others, n: PAGE };
  });
  return h("li", { class: on ? "on" : null },
    h("label", { title: valueName(column, value) },
      h("input", { type: "checkbox", id, checked: on, onchange: flip }),
      h("span.value", valueName(column, value)),
      h("span.count", count(number))),
    h("span.bar", { style: { "--share": String(number / most) }, "aria-hidden": "true" }));
}

function expression(state, wrong) {
  const field = h("input", { id: "where", value: state.where, spellcheck: "false", autocomplete: "off",
    placeholder: "year >= 2015 and sex = 'F'", "aria-describedby": wrong ? "where-wrong" : null,
    "aria-invalid": wrong ? "true" : null });
  const apply = (event) => {
    event.preventDefault();
    go({ where: field.value.trim(), n: PAGE });
  };
  return h("details.facet", { open: Boolean(state.where) },
    h("summary", "Expression"),
    h("form", { onsubmit: apply }, h("label.unseen", { for: "where" }, "Filter expression"), field,
      h("button.plain", { type: "submit" }, "Apply")),
    wrong && h("p.wrong#where-wrong", { role: "alert" }, inWords(wrong)));
}

/** The row of modality chips. */
export function modalityChips(state) {
  const counted = latest?.facets.modality ?? [];
  const names = inOrder(Object.keys(app.status?.by_modality ?? {}));
  const chip = (name, number) => {
    const on = state.modality.includes(name);
    const flip = () => go({ modality: on ? state.modality.filter((one) => one !== name) : [...state.modality, name], n: PAGE });
    return h("button.chip.modality", { type: "button", "aria-pressed": String(on), onclick: flip,
      dataset: { modality: name, key: `modality-${name}` } },
      h("span.dot", { "aria-hidden": "true" }), nameOf(name), number !== null && h("span.count", count(number)));
  };
  const numbers = new Map(counted.map((one) => [one.value, one.count]));
  return h("div.chips", { role: "group", "aria-label": "Modality" },
    names.map((name) => chip(name, latest ? (numbers.get(name) ?? 0) : app.status.by_modality[name])));
}

/** Chips of the filters in use, each with a button that takes it away. */
export function activeFilters(state) {
  const drop = (column, value) => go((now) => {
    const left = now.facets[column].filter((one) => one !== value);
    const { [column]: _, ...others } = now.facets;
    return { facets: left.length ? { ...others, [column]: left } : others, n: PAGE };
  });
  const chips = Object.entries(state.facets).flatMap(([column, values]) =>
    values.map((value) => removable(`${FACET_NAMES[column]}: ${valueName(column, value)}`, () => drop(column, value))));
  if (state.where) chips.push(removable(state.where, () => go({ where: "", n: PAGE })));
  if (state.brush) chips.push(removable("region of the map", () => go({ brush: "", n: PAGE })));
  return chips;
}

/** The same with the modalities, for lists that these left empty. */
export const everyFilter = (state) => [
  ...state.modality.map((name) =>
    removable(nameOf(name), () => go({ modality: state.modality.filter((one) => one !== name), n: PAGE }))),
  ...activeFilters(state),
];

const removable = (words, remove) => h("span.chip.filter", words, iconButton("close", `Remove filter ${words}`, remove));
