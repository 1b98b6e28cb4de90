// One hit of a list.
import * as api from "./api.js";
import { app, go } from "./app.js";
import { refine } from "./box.js";
import { h, iconButton } from "./dom.js";
import { write } from "./state.js";
import { toggleCompared } from "./tray.js";
import { nameOf, partName, spoken, standing, titleOf } from "./words.js";

/** The address of an item's page. */
export const hrefOf = (id) => write({ ...app.state, item: id, compare: [], map: "" });

/** A link that changes the state where a plain click would load the page anew. */
export function stateLink(change, attributes, ...children) {
  const onclick = (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    go(change);
  };
  return h("a", { href: write({ ...app.state, ...change }), onclick, ...attributes }, ...children);
}

/** A card: picture, what it is, how near it is, and what can be done with it. */
export function card(hit, state, { ranked = true } = {}) {
  const { item_id: id, modality } = hit;
  const title = titleOf(hit);
  const share = standing(hit);
  const name = ranked ? spoken(hit) : `${nameOf(modality)}: ${title}`;
  return h("li", { class: `card ${modality}`, dataset: { id } },
    shot(hit),
    h("div.meta",
      h("p.line", ranked && h("span.rank", String(hit.rank)),
        h("span.kind", { dataset: { modality } }, h("span.dot", { "aria-hidden": "true" }), nameOf(modality)),
        hit.best_part && h("span.part", { title: partName(hit.best_part) }, partName(hit.best_part).replace(/ at .*/, "")),
        h("span.score", { title: hit.explained || null }, hit.score.toFixed(3))),
      h("h3", stateLink({ item: id, compare: [], map: "" }, { "aria-label": name, dataset: { key: id } }, title)),
      hit.text && hit.text.replace(/\.$/, "") !== title && h("p.text", hit.text),
      share && h("p.standing", h("span.bar", { "aria-hidden": "true", style: { "--share": String(hit.standing) } }), share),
      actions(id, title, state)));
}

function actions(id, title, state) {
  const button = (kind, icon, words) => iconButton(icon, `${words}: ${title}`, () => refine(kind, id),
    { "aria-pressed": String(state[kind].includes(id)), dataset: { key: `${kind}-${id}` } });
  return h("div.acts",
    button("like", "more", "More like this"),
    button("unlike", "less", "Less like this"),
    iconButton("compare", `Compare: ${title}`, () => toggleCompared(id), { dataset: { key: `compare-${id}` } }));
}

function shot(hit) {
  const image = h("img", { src: api.paths.thumbnail(hit.item_id), alt: "", loading: "lazy", decoding: "async",
    onerror: () => image.replaceWith(h("span.no-shot", "no thumbnail")) });
  const frame = h("div.shot", image);
  if (hit.modality === "ct" && hit.best_part.startsWith("slice=")) scrubbed(frame, image, hit);
  if (hit.modality === "pathology" && hit.best_part.startsWith("tile=")) marked(frame, hit);
  return frame;
}

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    seen.unobserve(entry.target);
    entry.target.dispatchEvent(new CustomEvent("seen"));
  }
}, { rootMargin: "200px" });

/** Runs once when the element comes near the window. */
function whenSeen(element, then) {
  element.addEventListener("seen", then, { once: true });
  seen.observe(element);
}

/** A series shows its best slice, and the pointer moves through the others. */
function scrubbed(frame, image, hit) {
  const best = Number(hit.best_part.split("=")[1]);
  const show = (slice) => {
    const src = api.paths.image(hit.item_id, { slice, size: 384 });
    const next = new Image();
    next.onload = () => (image.src = src);
    next.src = src;
    image.dataset.slice = slice;
  };
  whenSeen(frame, () => show(best));
  let slices = null;
  const place = h("span.scrub", { "aria-hidden": "true" });
  const start = async () => (slices ??= (await api.parts(hit.item_id).catch(() => [])).map((part) => Number(part.locator.split("=")[1])));
  const move = (event) => {
    if (!slices?.length || event.pointerType === "touch") return;
    const box = frame.getBoundingClientRect();
    const at = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 0.999);
    const slice = slices[Math.floor(at * slices.length)];
    place.style.setProperty("--at", String(at));
    if (String(slice) !== image.dataset.slice) show(slice);
  };
  const card = frame;
  card.addEventListener("pointerenter", start);
  card.addEventListener("pointermove", move);
  card.addEventListener("pointerleave", () => slices && show(best));
  frame.append(place);
}

/** A slide shows where its best tile lies, and the tile itself beside. */
function marked(frame, hit) {
  whenSeen(frame, async () => {
    const view = await api.view(hit.item_id).catch(() => null);
    if (view?.kind !== "slide" || !view.tile) return;
    const [x, y] = hit.best_part.slice(5).split(",").map(Number);
    const src = api.paths.region(hit.item_id, { x, y, w: view.tile, h: view.tile, size: 256 });
    frame.append(h("img.tile", { src, alt: "", onerror: (event) => event.target.remove() }));
  });
}
