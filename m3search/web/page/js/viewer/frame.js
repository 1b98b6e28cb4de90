// What all viewers share: a row of tools above a stage that takes keys.
import { h, iconButton } from "../dom.js";
import { inWords } from "../words.js";

/** {element, stage, tools}: `name` is what screen readers call the stage. */
export function framed(kind, name) {
  const stage = h("div.stage", { tabindex: "0", role: "group", "aria-label": name });
  const tools = h("div.tools-row", { role: "toolbar", "aria-label": "Viewer" });
  return { element: h(`div.viewer.${kind}`, tools, stage), stage, tools };
}

/** The buttons of a `PanZoom`. */
export const zoomButtons = (zoom) => h("span.group",
  iconButton("less", "Zoom out (−)", () => zoom().zoom(1 / 1.5)),
  iconButton("more", "Zoom in (+)", () => zoom().zoom(1.5)),
  iconButton("fit", "Fit (0)", () => zoom().fit()));

/** A button that is on or off. */
export function toggle(words, title, onchange, on = false) {
  const button = h("button.plain.toggle", { type: "button", title, "aria-pressed": String(on) }, words);
  button.addEventListener("click", () => {
    const now = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(now));
    onchange(now);
  });
  return button;
}

/** Says in the stage why nothing can be shown there. */
export function trouble(stage, error) {
  stage.querySelector(".trouble")?.remove();
  stage.append(h("p.trouble", { role: "alert" }, inWords(error)));
}
