// A CT series: slices by wheel, slider or arrows; windows as radiologists set them.
import * as api from "../api.js";
import { h } from "../dom.js";
import { PanZoom } from "./pan_zoom.js";
import { framed, trouble, zoomButtons } from "./frame.js";

const BRAIN = [40, 80]; // Hounsfield units: centre, width
const KEPT = 160; // decoded slices, at most 1 MB each
const AHEAD = 3; // slices fetched on either side once the hand rests
const SIDE = 512;

export function ctViewer(item, view, best, partsOf) {
  const { element, stage, tools } = framed("ct", "CT: arrows up and down change the slice, + and − zoom");
  const canvas = h("canvas", { role: "img" });
  stage.append(canvas);
  const windows = view.hounsfield ? { ...view.presets, brain: BRAIN } : {};
  const found = Number(/^slice=(\d+)/.exec(best)?.[1] ?? NaN);
  const now = { slice: Number.isNaN(found) ? Math.floor(view.slices / 2) : found, window: windows[view.preset] ?? null };
  const decoded = new Map();
  const listeners = [];

  const keyOf = (slice) => `${slice}/${now.window}`;
  const fetchSlice = (slice) => {
    const key = keyOf(slice);
    if (!decoded.has(key)) {
      if (decoded.size >= KEPT) decoded.delete(decoded.keys().next().value);
      const asked = { slice, size: SIDE, ...(now.window && { window: now.window.join(",") }) };
      const pixels = api.pixels(api.paths.image(item.item_id, asked));
      pixels.catch(() => decoded.delete(key));
      decoded.set(key, pixels);
    }
    return decoded.get(key);
  };

  const zoom = new PanZoom(stage, { width: view.width, height: view.height }, place, { wheel: false });
  function place() {
    canvas.style.width = `${view.width * zoom.scale}px`;
    canvas.style.height = `${view.height * zoom.scale}px`;
    canvas.style.transform = `translate(${-zoom.left * zoom.scale}px, ${-zoom.top * zoom.scale}px)`;
  }

  let resting = 0;
  async function draw() {
    const key = keyOf(now.slice);
    tell();
    clearTimeout(resting);
    try {
      const pixels = await fetchSlice(now.slice);
      if (key !== keyOf(now.slice)) return; // the hand has moved on
      canvas.width = pixels.width;
      canvas.height = pixels.height;
      canvas.getContext("2d").drawImage(pixels, 0, 0);
      canvas.dataset.slice = now.slice;
      canvas.dataset.window = now.window ?? "";
      stage.querySelector(".trouble")?.remove();
      resting = setTimeout(ahead, 120);
    } catch (error) {
      if (key === keyOf(now.slice)) trouble(stage, error);
    }
  }

  function ahead() {
    for (let step = 1; step <= AHEAD; step++) {
      for (const slice of [now.slice + step, now.slice - step]) {
        if (slice >= 0 && slice < view.slices) fetchSlice(slice).catch(() => null);
      }
    }
  }

  function setSlice(slice, { quiet = false } = {}) {
    const to = Math.min(Math.max(Math.round(slice), 0), view.slices - 1);
    if (to === now.slice) return;
    now.slice = to;
    draw();
    if (!quiet) for (const listener of listeners) listener(to / Math.max(view.slices - 1, 1));
  }

  const slider = h("input", { type: "range", min: "0", max: String(view.slices - 1), step: "1", "aria-label": "Slice",
    oninput: () => setSlice(Number(slider.value)) });
  const overlay = h("p.overlay", { "aria-hidden": "true" });
  stage.append(overlay);
  function tell() {
    const words = `slice ${now.slice + 1} of ${view.slices}`;
    slider.value = String(now.slice);
    slider.setAttribute("aria-valuetext", now.slice === found ? `${words}, the nearest to the query` : words);
    canvas.setAttribute("aria-label", `CT, ${words}`);
    overlay.textContent = [words, now.window && `C ${now.window[0]}  W ${now.window[1]}`].filter(Boolean).join("   ");
    for (const button of tools.querySelectorAll("[data-window]")) {
      button.setAttribute("aria-pressed", String(button.dataset.window === String(now.window)));
    }
    [centre.value, width.value] = now.window ?? ["", ""];
  }

  let turned = 0;
  stage.addEventListener("wheel", (event) => {
    if (event.ctrlKey || view.slices < 2) return;
    event.preventDefault();
    turned += event.deltaY;
    const steps = Math.trunc(turned / 40);
    turned -= steps * 40;
    if (steps) setSlice(now.slice + steps);
  }, { passive: false });
  let dragged = null; // {y, slice} where a drag over the whole slice began: it turns the pages
  stage.addEventListener("pointerdown", (event) => (dragged = event.isPrimary && event.button === 0 ? { y: event.clientY, slice: now.slice } : null));
  stage.addEventListener("pointermove", (event) => {
    if (!dragged || !zoom.fitted || zoom.pointers.size !== 1) return;
    const perSlice = Math.max(3, Math.min(stage.clientHeight / view.slices, 14));
    setSlice(dragged.slice + (dragged.y - event.clientY) / perSlice);
  });
  stage.addEventListener("keydown", (event) => {
    const steps = { ArrowUp: 1, ArrowDown: -1, PageUp: 10, PageDown: -10 };
    if (event.target !== stage || !zoom.fitted || !(event.key in steps)) return;
    event.preventDefault();
    event.stopPropagation();
    setSlice(now.slice + steps[event.key]);
  });

  const setWindow = (values) => {
    now.window = values;
    draw();
  };
  const typed = () => {
    const values = [Number(centre.value), Number(width.value)];
    if (Number.isFinite(values[0]) && values[1] >= 1) setWindow(values);
  };
  const centre = h("input.number", { type: "number", step: "10", "aria-label": "Window centre, HU", onchange: typed });
  const width = h("input.number", { type: "number", step: "10", min: "1", "aria-label": "Window width, HU", onchange: typed });
  if (view.hounsfield) {
    tools.append(h("span.group", { role: "group", "aria-label": "Window" }, Object.entries(windows).map(([name, values]) =>
      h("button.plain.toggle", { type: "button", dataset: { window: String(values) }, onclick: () => setWindow(values) }, name))),
    h("span.group.hu", h("span.quiet", "C"), centre, h("span.quiet", "W"), width));
  } else {
    tools.append(h("span.quiet", "A picture of a slice: it holds no Hounsfield units, so its window cannot be changed."));
  }
  tools.append(zoomButtons(() => zoom));
  if (view.slices > 1) element.append(sliceRow({ slider, view, found, setSlice }, partsOf, endsOf(item)));
  draw();
  return {
    element,
    stop: () => zoom.stop(),
    /** `listener(share)` is told each slice that a person chooses: 0 the first, 1 the last. */
    onSlice: view.slices > 1 ? (listener) => listeners.push(listener) : null,
    setShare: (share) => setSlice(share * (view.slices - 1), { quiet: true }),
  };
}

/** What lies at both ends, where the index knows: a series may run in any direction. */
const endsOf = (item) => (String(item.provenance.ordered_by).includes("feet to head") ? ["feet", "head"] : ["first", "last"]);

/** The slider, with marks where slices were embedded and where the nearest one lies. */
function sliceRow({ slider, view, found, setSlice }, partsOf, [low, high]) {
  const marks = h("div.marks", { "aria-hidden": "true" });
  const at = (slice) => ({ "--at": String(slice / Math.max(view.slices - 1, 1)) });
  partsOf.then((parts) => {
    for (const { locator } of parts) {
      const slice = Number(locator.split("=")[1]);
      marks.append(h("i", { style: at(slice), class: slice === found ? "best" : null }));
    }
  }).catch(() => null);
  return h("div.slices", h("span.end", low), h("div.rail", slider, marks), h("span.end", high),
    !Number.isNaN(found) && h("button.plain", { type: "button", onclick: () => setSlice(found) }, `nearest: ${found + 1}`));
}
