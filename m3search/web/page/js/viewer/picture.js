// Radiographs, fundus photographs and patches: zoom, inversion, the green channel.
import * as api from "../api.js";
import { h } from "../dom.js";
import { PanZoom } from "./pan_zoom.js";
import { nameOf } from "../words.js";
import { framed, toggle, trouble, zoomButtons } from "./frame.js";

const FIRST = 1024; // longest side that is fetched first
const SHARP = 4096; // and once it is enlarged

export function pictureViewer(item, view, best) {
  const { element, stage, tools } = framed("picture", "Picture: + and − zoom, arrows move");
  const image = h("img", { alt: altOf(item), draggable: "false", hidden: true }); // a picture without pixels looks broken
  const waiting = h("span.spinner.waiting", { role: "img", "aria-label": "Opening…" });
  stage.append(image, waiting);
  let frame = Number(/^frame=(\d+)/.exec(best)?.[1] ?? 1);
  let asked = 0;
  const fetched = (size) => api.paths.image(item.item_id, { size, frame });
  const load = (size) => {
    asked = size;
    const next = new Image();
    next.onload = () => {
      if (size !== asked) return;
      image.src = next.src;
      image.hidden = false;
      waiting.remove();
    };
    next.onerror = () => {
      waiting.remove();
      if (size === FIRST) explain(fetched(size), stage);
    };
    next.src = fetched(size);
  };
  const readout = h("span.readout", { role: "status" });
  const zoom = new PanZoom(stage, { width: view.width, height: view.height }, () => {
    image.style.width = `${view.width * zoom.scale}px`;
    image.style.height = `${view.height * zoom.scale}px`;
    image.style.transform = `translate(${-zoom.left * zoom.scale}px, ${-zoom.top * zoom.scale}px)`;
    readout.textContent = `${Math.round(zoom.scale * 100)} %`;
    if (asked === FIRST && Math.max(view.width, view.height) > FIRST && zoom.enlarged > 1.3) load(SHARP);
  });
  tools.append(zoomButtons(() => zoom), readout);
  if (item.modality === "xray") {
    tools.append(toggle("Invert", "Black for white", (on) => stage.classList.toggle("inverted", on)));
  }
  if (item.modality === "retina") {
    tools.append(toggle("Red-free", "The green channel alone: vessels and bleedings stand out", (on) => stage.classList.toggle("red-free", on)));
    element.append(redFree());
  }
  if (view.frames > 1) {
    const show = (event) => {
      frame = Number(event.target.value);
      load(FIRST);
    };
    tools.append(h("label.inline", "Frame ", h("select", { onchange: show },
      Array.from({ length: view.frames }, (_, place) =>
        h("option", { value: place + 1, selected: place + 1 === frame }, `${place + 1} of ${view.frames}`)))));
  }
  load(FIRST);
  return { element, stop: () => zoom.stop() };
}

const altOf = (item) => [nameOf(item.modality), ...item.labels].join(", ");

/** An image element does not tell why it failed; the same request does. */
async function explain(path, stage) {
  try {
    await api.pixels(path);
  } catch (error) {
    trouble(stage, error);
  }
}

/** The filter that `.red-free` names: green into all three channels. */
function redFree() {
  const made = new DOMParser().parseFromString(
    `<svg xmlns="http://www.w3.org/2000/svg" width="0" height="0" aria-hidden="true"><filter id="red-free" color-interpolation-filters="sRGB"><feColorMatrix values="0 1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 0 0 1 0"/></filter></svg>`,
    "image/svg+xml");
  return document.importNode(made.documentElement, true);
}
