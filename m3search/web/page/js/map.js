// The embedding space on a plane: one mark for each item, a box drawn over it filters the list.
import * as api from "./api.js";
import { app, back, brushed, go, projection } from "./app.js";
import { hrefOf } from "./card.js";
import { modalityChips } from "./facets.js";
import { $, fill, h, iconButton, say } from "./dom.js";
import { asksSomething, listed } from "./state.js";
import { MODALITIES, count, items, nameOf, titleOf } from "./words.js";

const MARGIN = 18; // px around the points
const REACH = 14; // px at which the pointer finds a point
const LISTED = 12; // of a selection, as cards
const ROWS = 300; // of the table

let watch = null;

export function leaveMap() {
  watch?.disconnect();
  watch = null;
}

export async function drawMap(state) {
  leaveMap();
  document.title = "Map · m3search";
  const title = h("h1", { tabindex: "-1" }, "Map of the index");
  const bar = h("nav.item-bar", { "aria-label": "Map" }, iconButton("back", "Back (Esc)", () => back(listed(app.state)), { label: "Back" }), title);
  fill($("main"), h("div.map-view", bar, h("p.loading", h("span.spinner"), "Laying out the index…")));
  try {
    const [told, selected] = await Promise.all([projection(), brushed(state)]);
    const points = told.points.filter((point) => !state.modality.length || state.modality.includes(point.modality));
    const map = plane(points, state, selected && new Set(selected));
    const side = h("div.map-side", selection(state, { ...told, drawn: points }, selected));
    fill($("main"), h("div.map-view", bar, legend(state, told), h("div.map-halves", map, side), table(points, selected)));
    title.focus({ preventScroll: true });
    scrollTo(0, 0);
  } catch (error) {
    fill($("main"), h("div.map-view", bar, h("section.state.error", { role: "alert" },
      h("h2", "The map cannot be drawn"), h("p", error.message), h("p", error.remedy))));
  }
}

function legend(state, { points, explained, items: all }) {
  const share = Math.round((explained[0] + explained[1]) * 100);
  const sampled = points.length < all ? ` ${count(points.length)} of ${items(all)} are drawn.` : "";
  return h("div.map-legend", modalityChips(state),
    h("p.quiet", `The two directions in which the vectors differ most; they hold ${share} % of the differences, so what lies together `
      + `here is often, not always, alike.${sampled} Drag a box to search within it.`));
}

/** The canvas with its marks, tooltip and brush. */
function plane(points, state, selected) {
  const canvas = h("canvas", { tabindex: "0", role: "application", "aria-label":
    `Map of ${items(points.length)}. Arrows move from item to item, Enter opens one. The table below lists the same.` });
  const tip = h("div.tip", { hidden: true });
  const box = h("div.brush", { hidden: true });
  const element = h("div.plane", canvas, box, tip);
  const view = { width: 1, height: 1 };
  const place = ({ x, y }) => ({
    x: MARGIN + ((x + 1) / 2) * (view.width - 2 * MARGIN),
    y: MARGIN + ((1 - y) / 2) * (view.height - 2 * MARGIN),
  });
  const inverse = ({ x, y }) => ({
    x: ((x - MARGIN) / (view.width - 2 * MARGIN)) * 2 - 1,
    y: 1 - ((y - MARGIN) / (view.height - 2 * MARGIN)) * 2,
  });
  let focused = -1;

  function draw() {
    const ratio = devicePixelRatio || 1;
    Object.assign(view, { width: canvas.clientWidth, height: canvas.clientHeight });
    Object.assign(canvas, { width: Math.round(view.width * ratio), height: Math.round(view.height * ratio) });
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim() || style.getPropertyValue("--quiet").trim();
    pen.strokeStyle = style.getPropertyValue("--line");
    pen.beginPath();
    for (const [from, to] of [[{ x: -1, y: 0 }, { x: 1, y: 0 }], [{ x: 0, y: -1 }, { x: 0, y: 1 }]].map((line) => line.map(place))) {
      pen.moveTo(from.x, from.y);
      pen.lineTo(to.x, to.y);
    }
    pen.stroke();
    const size = points.length > 1500 ? 2.5 : points.length > 300 ? 3.5 : 5;
    for (const point of points) {
      pen.globalAlpha = selected && !selected.has(point.item_id) ? 0.18 : 0.85;
      pen.fillStyle = colour(point.modality);
      mark(pen, MODALITIES[point.modality]?.shape, place(point), size);
    }
    pen.globalAlpha = 1;
    if (points[focused]) ring(pen, place(points[focused]), size + 5, style.getPropertyValue("--ink"));
    if (state.brush) showBox(state.brush.split(",").map(Number));
  }

  function showBox([left, top, right, bottom]) {
    const [from, to] = [place({ x: left, y: bottom }), place({ x: right, y: top })];
    put(box, from.x, from.y, to.x - from.x, to.y - from.y);
  }

  const nearest = (at, within = REACH) => {
    let found = -1;
    let least = within;
    points.forEach((point, index) => {
      const spot = place(point);
      const apart = Math.hypot(spot.x - at.x, spot.y - at.y);
      if (apart < least) [found, least] = [index, apart];
    });
    return found;
  };

  function showTip(index) {
    tip.hidden = index < 0;
    if (index < 0) return;
    const point = points[index];
    const spot = place(point);
    const hit = app.hits.get(point.item_id);
    fill(tip, h("img", { src: api.paths.thumbnail(point.item_id), alt: "" }),
      h("p", h("strong", nameOf(point.modality)), hit && h("span", titleOf(hit))));
    tip.style.left = `${Math.min(Math.max(spot.x, 90), view.width - 90)}px`;
    tip.style.top = `${spot.y}px`;
    tip.classList.toggle("below", spot.y < 190);
  }

  const at = (event) => {
    const frame = canvas.getBoundingClientRect();
    return { x: event.clientX - frame.left, y: event.clientY - frame.top };
  };
  let from = null;
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    from = at(event);
  });
  canvas.addEventListener("pointermove", (event) => {
    const now = at(event);
    if (!from) {
      focused = nearest(now);
      canvas.classList.toggle("on-point", focused >= 0);
      showTip(focused);
      return draw();
    }
    tip.hidden = true;
    return put(box, Math.min(from.x, now.x), Math.min(from.y, now.y), Math.abs(now.x - from.x), Math.abs(now.y - from.y));
  });
  canvas.addEventListener("pointerup", (event) => {
    if (!from) return;
    const [start, end] = [from, at(event)];
    from = null;
    if (Math.hypot(end.x - start.x, end.y - start.y) < 5) {
      const index = nearest(end);
      if (index >= 0) go({ item: points[index].item_id });
      else if (state.brush) go({ brush: "" }, { replace: true });
      else box.hidden = true;
      return;
    }
    const [one, other] = [inverse(start), inverse(end)];
    const round = (value) => value.toFixed(3);
    go({ brush: [Math.min(one.x, other.x), Math.min(one.y, other.y), Math.max(one.x, other.x), Math.max(one.y, other.y)].map(round).join(",") },
      { replace: Boolean(state.brush) });
  });
  canvas.addEventListener("pointerleave", () => {
    if (from) return;
    tip.hidden = true;
  });
  canvas.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.key === "Enter" && points[focused]) go({ item: points[focused].item_id });
    else if (way) step(way);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });

  /** To the nearest point that lies more in the direction than across it. */
  function step([right, down]) {
    const here = points[focused] ? place(points[focused]) : { x: view.width / 2, y: view.height / 2 };
    let [found, least] = [focused, Infinity];
    points.forEach((point, index) => {
      const spot = place(point);
      const along = (spot.x - here.x) * right + (spot.y - here.y) * down;
      const across = Math.abs((spot.x - here.x) * down) + Math.abs((spot.y - here.y) * right);
      const far = along + 2 * across;
      if (index !== focused && along > 1 && across <= along && far < least) [found, least] = [index, far];
    });
    focused = found;
    draw();
    showTip(focused);
    if (points[focused]) {
      const hit = app.hits.get(points[focused].item_id);
      say(`${nameOf(points[focused].modality)}${hit ? `: ${titleOf(hit)}` : ""}`);
    }
  }

  watch = new ResizeObserver(draw);
  watch.observe(element);
  document.addEventListener("theme", draw, { once: true });
  return element;
}

function put(element, left, top, width, height) {
  element.hidden = false;
  Object.assign(element.style, { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` });
}

function mark(pen, shape, { x, y }, size) {
  pen.beginPath();
  if (shape === "square") pen.rect(x - size * 0.9, y - size * 0.9, size * 1.8, size * 1.8);
  else if (shape === "triangle") polygon(pen, [[x, y - size * 1.2], [x + size * 1.1, y + size * 0.8], [x - size * 1.1, y + size * 0.8]]);
  else if (shape === "diamond") polygon(pen, [[x, y - size * 1.3], [x + size * 1.1, y], [x, y + size * 1.3], [x - size * 1.1, y]]);
  else if (shape === "cross") {
    const thin = size * 0.4;
    pen.rect(x - size * 1.2, y - thin, size * 2.4, thin * 2);
    pen.rect(x - thin, y - size * 1.2, thin * 2, size * 2.4);
  } else pen.arc(x, y, size, 0, 7);
  pen.fill();
}

function polygon(pen, corners) {
  corners.forEach(([x, y], place) => (place ? pen.lineTo(x, y) : pen.moveTo(x, y)));
  pen.closePath();
}

function ring(pen, { x, y }, radius, colour) {
  pen.strokeStyle = colour;
  pen.lineWidth = 1.5;
  pen.beginPath();
  pen.arc(x, y, radius, 0, 7);
  pen.stroke();
}

/** What the brush holds, beside the map. */
function selection(state, { drawn, points, items: all }, selected) {
  if (!selected) {
    return h("p.quiet.map-hint", "Nothing is selected. Drag a box over the map, or point at a mark to see what it is.");
  }
  const chosen = new Set(selected);
  const inside = drawn.filter((point) => chosen.has(point.item_id));
  const numbers = new Map();
  for (const { modality } of inside) numbers.set(modality, (numbers.get(modality) ?? 0) + 1);
  const bare = ({ item_id, modality }) => app.hits.get(item_id)
    ?? { item_id, modality, score: 0, labels: [], text: "", best_part: "", rank: 0, standing: null };
  return [
    h("h2", { role: "status" }, `${items(inside.length)} in the box`),
    h("p.tally", [...numbers].sort((one, other) => other[1] - one[1]).map(([modality, number]) =>
      h("span.kind", { dataset: { modality } }, h("span.dot"), `${nameOf(modality)} ${count(number)}`))),
    points.length < all && h("p.quiet", "Only items that are drawn can be in it."),
    h("p.acts.wide",
      asksSomething(state)
        ? h("button.go", { type: "button", disabled: !inside.length, onclick: () => go(listed(state)) }, "Show results in the box")
        : inside.length > 0 && h("span.quiet", "Type a query: it searches within the box."),
      h("button.plain", { type: "button", onclick: () => go({ brush: "" }, { replace: true }) }, "Clear the box")),
    h("ul.map-thumbs", inside.slice(0, LISTED).map((point) => {
      const hit = bare(point);
      const open = (event) => { event.preventDefault(); go({ item: point.item_id }); };
      return h("li", h("a", { href: hrefOf(point.item_id), onclick: open, title: titleOf(hit) },
        h("img", { src: api.paths.thumbnail(point.item_id), alt: `${nameOf(point.modality)}: ${titleOf(hit)}`, loading: "lazy" })));
    })),
    inside.length > LISTED && h("p.quiet", `and ${count(inside.length - LISTED)} more`),
  ];
}

/** The same as a table, for whom a picture of points says nothing. */
function table(points, selected) {
  const chosen = selected && new Set(selected);
  const rows = (chosen ? points.filter((point) => chosen.has(point.item_id)) : points).slice(0, ROWS);
  return h("details.map-table", h("summary", "The map as a table"),
    h("div.scroll", { tabindex: "0", role: "region", "aria-label": "The map as a table" },
      h("table", h("caption", `${items(rows.length)}${rows.length === ROWS ? ", the first of them" : ""}; both directions run from −1 to 1`),
        h("thead", h("tr", ["Item", "Modality", "First direction", "Second direction"].map((name) => h("th", { scope: "col" }, name)))),
        h("tbody", rows.map((point) => h("tr",
          h("td", h("a", { href: hrefOf(point.item_id), onclick: (event) => { event.preventDefault(); go({ item: point.item_id }); } },
            app.hits.has(point.item_id) ? titleOf(app.hits.get(point.item_id)) : point.item_id.slice(0, 8))),
          h("td", nameOf(point.modality)), h("td.number", point.x.toFixed(2)), h("td.number", point.y.toFixed(2))))))));
}

