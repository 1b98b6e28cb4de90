// The viewer that suits an item.
import * as api from "../api.js";
import { h } from "../dom.js";
import { ctViewer } from "./ct.js";
import { ecgViewer } from "./ecg.js";
import { pictureViewer } from "./picture.js";
import { slideViewer } from "./slide.js";
import { inWords } from "../words.js";

const VIEWERS = { ct: ctViewer, ecg: ecgViewer, slide: slideViewer, picture: pictureViewer };

/** {element, stop, …}: `best` is the locator of the part nearest to the query. Without its file, the thumbnail is shown. */
export async function viewerOf(item, best, signal) {
  try {
    const view = await api.view(item.item_id, signal);
    const parts = api.parts(item.item_id, signal).catch(() => []); // they mark slices; left meanwhile, nobody waits
    return VIEWERS[view.kind](item, view, best, parts);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    return { element: withoutFile(item, error), stop: () => null };
  }
}

const withoutFile = (item, error) => h("div.viewer.away",
  h("div.stage", h("img", { src: api.paths.thumbnail(item.item_id), alt: "Thumbnail" })),
  h("p.wrong", { role: "status" }, inWords(error)));
