// An ECG on paper of 25 mm/s: fitted or in true size, with callipers for times and rates.
import * as api from "../api.js";
import { h } from "../dom.js";
import { framed, toggle, trouble } from "./frame.js";

const MM_PER_SECOND = 25;
const CSS_MM = 96 / 25.4; // px: how CSS defines a millimetre
const STRETCH = 10; // seconds on one sheet

export function ecgViewer(item, view, best) {
  const { element, stage, tools } = framed("ecg", "ECG on paper: drag over it to measure");
  const sheet = h("img", { alt: altOf(item, view), draggable: "false" });
  const callipers = h("div.callipers", { hidden: true }, h("output"));
  const paper = h("div.paper", sheet, callipers);
  stage.append(paper);
  let start = Number(/^window=([\d.]+)/.exec(best)?.[1] ?? 0);
  sheet.addEventListener("error", async () => {
    try {
      await (await fetch(sheet.src)).json().then(({ error }) => trouble(stage, error));
    } catch {
      trouble(stage, { message: "The ECG could not be drawn." });
    }
  });
  const show = () => {
    callipers.hidden = true;
    sheet.src = api.paths.ecg(item.item_id, start);
  };
  tools.append(h("span.readout", "25 mm/s"),
    toggle("Paper size", "1 mm on paper is 1 mm on the screen, as far as the browser knows", (on) => stage.classList.toggle("true-size", on)),
    h("span.quiet.callipers-hint", "Drag to measure."));
  if (view.missing.length) tools.append(h("span.quiet", `Not recorded: ${view.missing.join(", ")}`));
  if (!view.calibrated) tools.append(h("span.quiet", "Amplitudes have no unit in this file."));
  if (view.seconds > STRETCH) element.append(windows(view, start, best, (to) => { start = to; show(); }));
  measure(paper, sheet, callipers);
  show();
  return { element, stop: () => null };
}

const altOf = (item, view) => `ECG, ${view.leads.length - view.missing.length} leads: ${item.labels.join(", ") || "no labels"}`;

/** A slider through a long record; the windows that were embedded are marked. */
function windows(view, start, best, onchange) {
  const last = Math.max(view.seconds - STRETCH, 0);
  const words = (at) => `${at.toFixed(0)}–${Math.min(at + STRETCH, view.seconds).toFixed(0)} s of ${view.seconds.toFixed(0)} s`;
  const told = h("span.readout", words(start));
  const slider = h("input", { type: "range", min: "0", max: String(last), step: "1", value: String(start),
    "aria-label": "Start of the stretch shown", "aria-valuetext": words(start),
    oninput: () => {
      told.textContent = words(Number(slider.value));
      slider.setAttribute("aria-valuetext", told.textContent);
    },
    onchange: () => onchange(Number(slider.value)) });
  const marks = view.windows.map((one) => h("i", { style: { "--at": String(Math.min(one.start / last, 1)) },
    class: best && one.start === start ? "best" : null }));
  return h("div.slices", h("div.rail", slider, h("div.marks", { "aria-hidden": "true" }, marks)), told);
}

/** Dragging spans a time: milliseconds, and the heart rate if that is one beat. */
function measure(paper, sheet, callipers) {
  let from = null;
  const msPerPx = () => {
    const mm = sheet.naturalWidth / CSS_MM; // the drawing states its size in millimetres
    return mm / sheet.clientWidth / MM_PER_SECOND * 1000;
  };
  const at = (event) => {
    const box = paper.getBoundingClientRect();
    return Math.min(Math.max(event.clientX - box.left, 0), box.width);
  };
  paper.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !sheet.naturalWidth || event.pointerType === "touch") return;
    event.preventDefault();
    paper.parentElement.focus({ preventScroll: true });
    paper.setPointerCapture(event.pointerId);
    from = at(event);
    callipers.hidden = true;
  });
  paper.addEventListener("pointermove", (event) => {
    if (from === null) return;
    const to = at(event);
    const ms = Math.abs(to - from) * msPerPx();
    callipers.hidden = ms < 10;
    callipers.style.left = `${Math.min(from, to)}px`;
    callipers.style.width = `${Math.abs(to - from)}px`;
    const rate = ms >= 200 ? `  ${Math.round(60000 / ms)}/min` : "";
    callipers.firstChild.textContent = `${Math.round(ms)} ms${rate}`;
  });
  for (const kind of ["pointerup", "pointercancel"]) paper.addEventListener(kind, () => (from = null));
}
