// The state on show, and the one way to change it.
import * as api from "./api.js";
import { read, write } from "./state.js";

export const app = {
  state: read(),
  files: new Map(), // upload id -> {name, modality, notes, …}: names of files stay in the page
  hits: new Map(), // item id -> hit, of everything that was found: the item page shows its score
  status: null,
};

const listeners = [];

/** Calls `listener(state, before)` after each change. */
export const onChange = (listener) => listeners.push(listener);

/** Changes the state and the address. `replace` leaves no step to go back to. */
export function go(change, { replace = false } = {}) {
  const before = app.state;
  const state = { ...before, ...(typeof change === "function" ? change(before) : change) };
  history.replaceState({ ...history.state, scroll: scrollY }, "");
  history[replace ? "replaceState" : "pushState"]({ depth: depth() + (replace ? 0 : 1) }, "", write(state));
  show(state, before, replace ? scrollY : 0);
}

const depth = () => history.state?.depth ?? 0;

/** Goes back if this page was come to from another of its views, else changes the state. */
export function back(otherwise) {
  if (depth() > 0) history.back();
  else go(otherwise, { replace: true });
}

function show(state, before, scroll) {
  app.state = state;
  for (const listener of listeners) listener(state, before, scroll);
}

addEventListener("popstate", (event) => show(read(), app.state, event.state?.scroll ?? 0));
history.scrollRestoration = "manual";

/** Draws the present state anew, as after an error or a change of the index. */
export const refresh = () => show(app.state, app.state, scrollY);

const MOST_POINTS = 2000; // of the map: a box drawn on it names its items to the server
let loaded = null;

/** Forgets the points of the map, as after the index changed. */
export const forgetProjection = () => (loaded = null);

/** The points of the map, fetched once. */
export function projection() {
  loaded ??= api.projection(MOST_POINTS).catch((error) => {
    loaded = null;
    throw error;
  });
  return loaded;
}

/** The ids that the brush holds, or null where there is none. */
export async function brushed(state) {
  if (!state.brush) return null;
  const [left, top, right, bottom] = state.brush.split(",").map(Number);
  const { points } = await projection();
  const inside = points.filter(({ x, y }) => x >= left && x <= right && y >= top && y <= bottom);
  return inside.map((point) => point.item_id);
}
