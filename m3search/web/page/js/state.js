// What is asked and what is shown, kept in the address: every view can be reloaded, shared and gone back from.
//   ?q=effusion&modality=xray,ct&sex=F&like=ID&n=48      a list        &item=ID   one item
//   &compare=ID,ID   two items side by side              &map=1        the embedding space (&brush=x0,y0,x1,y1)

export const FACETS = ["labels", "sex", "age_band", "body_part", "view", "laterality", "year", "format"];
const LISTS = ["upload", "similar", "like", "unlike"]; // repeated parameters: ids
const ONES = { q: "", mode: "vector", group: "", where: "", item: "", map: "", brush: "" };
export const PAGE = 24;

/** The state that an address describes. */
export function read(search = location.search) {
  const from = new URLSearchParams(search);
  const state = { modality: split(from.get("modality")), compare: split(from.get("compare")).slice(0, 2), facets: {} };
  for (const [name, usual] of Object.entries(ONES)) state[name] = from.get(name) ?? usual;
  for (const name of LISTS) state[name] = from.getAll(name);
  for (const name of FACETS) if (from.has(name)) state.facets[name] = from.getAll(name);
  state.n = Math.min(Math.max(PAGE, Number(from.get("n")) || PAGE), 1000);
  return state;
}

/** The address that describes a state; what is usual is left out. */
export function write(state) {
  const to = new URLSearchParams();
  const put = (name, value, usual = "") => value && value !== usual && to.append(name, value);
  put("q", state.q);
  for (const name of LISTS) for (const id of state[name]) put(name, id);
  put("modality", state.modality.join(","));
  for (const name of FACETS) for (const value of state.facets[name] ?? []) put(name, value);
  for (const name of ["where", "mode", "group", "brush", "map", "item"]) put(name, state[name], ONES[name]);
  put("compare", state.compare.join(","));
  if (state.n > PAGE) put("n", String(state.n));
  const text = to.toString().replaceAll("%2C", ",");
  return text ? `/?${text}` : "/";
}

const split = (value) => (value ? value.split(",").filter(Boolean) : []);

export const asksSomething = (state) =>
  Boolean(state.q.trim() || state.upload.length || state.similar.length || state.like.length);

export const isFiltered = (state) =>
  Boolean(state.modality.length || Object.keys(state.facets).length || state.where || state.brush);

export const NO_FILTERS = { modality: [], facets: {}, where: "", brush: "" };

/** A state with no filters. */
export const unfiltered = (state) => ({ ...state, ...NO_FILTERS, n: PAGE });

/** A state with the list alone on show. */
export const listed = (state) => ({ ...state, item: "", compare: [], map: "" });

const quoted = (column, value) => (column === "year" ? value : `'${value.replaceAll("'", "''")}'`);

/** The condition of one chosen value, in the language of `--where`. */
export function condition(column, value) {
  return column === "labels" ? `labels contains ${quoted(column, value)}` : `${column} = ${quoted(column, value)}`;
}

/** All conditions but the modality: values of one facet are alternatives. `without` leaves one facet out. */
export function filters(state, ids = null, without = "") {
  const conditions = Object.entries(state.facets)
    .filter(([column]) => column !== without)
    .map(([column, values]) => any(values.map((value) => condition(column, value))));
  if (state.where) conditions.push(`(${state.where})`);
  if (ids) conditions.push(ids.length ? `item_id in (${ids.map((id) => `'${id}'`).join(", ")})` : "item_id = ''");
  return conditions.join(" and ") || null;
}

const any = (conditions) => (conditions.length > 1 ? `(${conditions.join(" or ")})` : conditions[0]);

/** The body of POST /v1/search. */
export function body(state, ids, offset, limit) {
  const asked = { text: state.q.trim(), uploads: state.upload, items: state.similar, like: state.like, unlike: state.unlike };
  const given = Object.fromEntries(Object.entries(asked).filter(([, value]) => value.length));
  return {
    ...given,
    modality: state.modality,
    filters: filters(state, ids),
    group_by: state.group || null,
    mode: state.mode,
    limit,
    offset,
  };
}
