// A whole slide: tiles of each magnification are fetched as they come into sight; the best one is marked.
import * as api from "../api.js";
import { h } from "../dom.js";
import { PanZoom } from "./pan_zoom.js";
import { framed, toggle, trouble, zoomButtons } from "./frame.js";

const SIDE = 512; // px of a fetched tile
const KEPT = 240; // decoded tiles, at most 1 MB each
const AT_ONCE = 4; // requests
const OVERVIEW = 1536;

export function slideViewer(item, view, best) {
  const { element, stage, tools } = framed("slide", "Slide: + and − zoom, arrows move");
  const canvas = h("canvas", { role: "img", "aria-label": "Whole slide" });
  stage.append(canvas);
  const chosen = /^tile=(\d+),(\d+)/.exec(best);
  const bestBox = chosen && view.tile
    ? { x: Number(chosen[1]), y: Number(chosen[2]), width: view.tile, height: view.tile } : null;
  let outlines = false;
  let overview = null;
  let frame = 0;
  const tiles = new Tiles(item.item_id, view, () => schedule());
  const zoom = new PanZoom(stage, { width: view.width, height: view.height }, schedule, { most: 3 });
  function schedule() {
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(draw);
  }

  api.pixels(api.paths.image(item.item_id, { size: OVERVIEW })).then(
    (pixels) => { overview = pixels; schedule(); },
    (error) => trouble(stage, error));

  const readout = h("span.readout", { role: "status" });
  function draw() {
    const ratio = devicePixelRatio || 1;
    const [width, height] = [stage.clientWidth * ratio, stage.clientHeight * ratio].map(Math.round);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const pen = canvas.getContext("2d");
    const scale = zoom.scale * ratio;
    const toX = (x) => (x - zoom.left) * scale;
    const toY = (y) => (y - zoom.top) * scale;
    pen.fillStyle = getComputedStyle(stage).backgroundColor;
    pen.fillRect(0, 0, width, height);
    if (overview) pen.drawImage(overview, toX(0), toY(0), view.width * scale, view.height * scale);
    const shown = { left: zoom.left, top: zoom.top, right: zoom.left + width / scale, bottom: zoom.top + height / scale };
    for (const tile of tiles.covering(shown, 1 / scale)) {
      pen.drawImage(tile.pixels, toX(tile.x), toY(tile.y), tile.width * scale, tile.height * scale);
    }
    const outline = (box, colour, thick) => {
      pen.strokeStyle = colour;
      pen.lineWidth = thick * ratio;
      pen.strokeRect(toX(box.x), toY(box.y), box.width * scale, box.height * scale);
    };
    if (outlines && view.tile) {
      for (const [x, y] of view.tiles) outline({ x, y, width: view.tile, height: view.tile }, "#1d6fd8", 1.5);
    }
    if (bestBox) {
      outline(bestBox, "#ffffff", 5);
      outline(bestBox, "#c2255c", 3);
      label(pen, "best tile", toX(bestBox.x), toY(bestBox.y), ratio);
    }
    if (view.mpp) scaleBar(pen, view.mpp / zoom.scale, height, ratio);
    readout.textContent = view.mpp ? `${magnification(view.mpp / zoom.scale)}×` : `${Math.round(zoom.scale * 100)} %`;
    readout.title = view.mpp ? "Magnification of an objective with this resolution on the screen" : "";
    canvas.dataset.scale = zoom.scale.toFixed(4);
    canvas.dataset.waiting = String(tiles.waiting);
  }

  tools.append(zoomButtons(() => zoom), readout);
  if (bestBox) tools.append(h("button.plain", { type: "button", onclick: () => zoom.show(bestBox) }, "Go to best tile"));
  if (view.tile && view.tiles.length) {
    tools.append(toggle(`${view.tiles.length} embedded tiles`, "Outline the tiles that were embedded", (on) => {
      outlines = on;
      schedule();
    }));
  }
  return { element, stop: () => { zoom.stop(); cancelAnimationFrame(frame); } };
}

/** The tiles of a slide, fetched when asked for, the last ones kept. */
class Tiles {
  constructor(id, view, arrived) {
    Object.assign(this, { id, view, arrived, kept: new Map(), queue: [], under: 0 });
  }

  get waiting() {
    return this.under + this.queue.length;
  }

  /** The tiles at hand that cover a box, at the level where one of their pixels is about one of the screen. */
  covering(box, perPixel) {
    const step = 2 ** Math.max(0, Math.floor(Math.log2(perPixel) + 0.25));
    const side = SIDE * step;
    if (side >= Math.max(this.view.width, this.view.height)) return []; // the overview is as sharp
    const found = [];
    this.queue = [];
    const last = (end, length) => Math.ceil(Math.min(end, length) / side);
    for (let row = Math.max(0, Math.floor(box.top / side)); row < last(box.bottom, this.view.height); row++) {
      for (let column = Math.max(0, Math.floor(box.left / side)); column < last(box.right, this.view.width); column++) {
        const tile = this.#tile(step, column, row, side);
        if (tile.pixels) found.push(tile);
        else if (!tile.asked) this.queue.push(tile);
      }
    }
    this.#next();
    return found;
  }

  #tile(step, column, row, side) {
    const key = `${step}/${column}/${row}`;
    const known = this.kept.get(key);
    this.kept.delete(key); // put in again as the last: the first is the longest unused
    const [x, y] = [column * side, row * side];
    const tile = known ?? {
      x, y, step, width: Math.min(side, this.view.width - x), height: Math.min(side, this.view.height - y),
    };
    this.kept.set(key, tile);
    if (this.kept.size > KEPT) this.kept.delete(this.kept.keys().next().value);
    return tile;
  }

  async #next() {
    while (this.under < AT_ONCE && this.queue.length) {
      const tile = this.queue.shift();
      tile.asked = true;
      this.under += 1;
      const { x, y, width: w, height: height } = tile;
      const size = Math.max(16, Math.ceil(Math.max(w, height) / tile.step));
      api.pixels(api.paths.region(this.id, { x, y, w, h: height, size }))
        .then((pixels) => (tile.pixels = pixels), () => setTimeout(() => (tile.asked = false), 3000))
        .finally(() => {
          this.under -= 1;
          this.arrived();
        });
    }
  }
}

/** Of an objective: 10 micrometres per pixel and eye piece make 1×, as scanners count. */
function magnification(mpp) {
  const times = 10 / mpp;
  return times >= 10 ? Math.round(times) : times.toFixed(1);
}

function label(pen, words, x, y, ratio) {
  pen.font = `600 ${12 * ratio}px system-ui, sans-serif`;
  const width = pen.measureText(words).width + 10 * ratio;
  const top = Math.max(y - 20 * ratio, 0);
  pen.fillStyle = "#c2255c";
  pen.fillRect(x - 1.5 * ratio, top, width, 18 * ratio);
  pen.fillStyle = "#fff";
  pen.textBaseline = "middle";
  pen.fillText(words, x + 4 * ratio, top + 9.5 * ratio);
}

/** A bar of a round length, some 120 px long. */
function scaleBar(pen, micrometres, height, ratio) {
  const rough = micrometres * 120;
  const power = 10 ** Math.floor(Math.log10(rough));
  const length = [5, 2, 1].map((one) => one * power).find((one) => one <= rough);
  const px = (length / micrometres) * ratio;
  const [x, y] = [12 * ratio, height - 12 * ratio];
  const words = length >= 1000 ? `${length / 1000} mm` : `${length} µm`;
  pen.font = `${12 * ratio}px system-ui, sans-serif`;
  pen.fillStyle = "rgba(255, 255, 255, .85)";
  pen.fillRect(x - 6 * ratio, y - 22 * ratio, Math.max(px, pen.measureText(words).width) + 12 * ratio, 30 * ratio);
  pen.fillStyle = "#16191d";
  pen.fillRect(x, y, px, 2 * ratio);
  pen.textBaseline = "alphabetic";
  pen.fillText(words, x, y - 5 * ratio);
}
