// The two items that were chosen to be compared, at the bottom of the window until they are.
import * as api from "./api.js";
import { app, go } from "./app.js";
import { $, fill, h, iconButton, say } from "./dom.js";
import { titleOf } from "./words.js";

let chosen = [];

/** Chooses an item, or lets it go; the third takes the place of the first. */
export function toggleCompared(id) {
  chosen = chosen.includes(id) ? chosen.filter((one) => one !== id) : [...chosen, id].slice(-2);
  say(chosen.length === 2 ? "Two items chosen: compare them at the bottom of the page" : `${chosen.length} of 2 items chosen`);
  drawTray();
}

export const compare = () => chosen.length === 2 && go({ compare: chosen, item: "", map: "" });

/** Draws the tray; hidden while nothing is chosen, or while two items are on show. */
export function drawTray() {
  const tray = $("tray");
  tray.hidden = chosen.length === 0 || app.state.compare.length === 2;
  document.body.classList.toggle("with-tray", !tray.hidden);
  if (tray.hidden) return;
  const places = [0, 1].map((place) => {
    const id = chosen[place];
    if (!id) return h("li.empty", "choose another");
    const title = app.hits.has(id) ? titleOf(app.hits.get(id)) : id.slice(0, 8);
    return h("li", h("img", { src: api.paths.thumbnail(id), alt: "" }), h("span", title),
      iconButton("close", `Take out ${title}`, () => toggleCompared(id)));
  });
  fill(tray, h("ol", places),
    h("button.go", { type: "button", disabled: chosen.length < 2, onclick: compare }, "Compare"),
    h("button.plain", { type: "button", onclick: () => { chosen = []; drawTray(); } }, "Cancel"));
}
