// The search box: words, files, and chips for the stored items that the query is made of.
import * as api from "./api.js";
import { app, go } from "./app.js";
import { $, fill, h, iconButton, say } from "./dom.js";
import { NO_FILTERS, PAGE, listed } from "./state.js";
import { inOrder, inWords, nameOf, titleOf } from "./words.js";

const RASTER = /\.(png|jpe?g|tiff?|bmp)$/i;
const KINDS = [
  { kind: "upload", sign: "", means: "like the file" },
  { kind: "similar", sign: "", means: "like item" },
  { kind: "like", sign: "+", means: "more like" },
  { kind: "unlike", sign: "−", means: "less like" },
];

let sending = null; // {names, controller} of the files on their way

export function startBox() {
  $("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  $("home").addEventListener("click", (event) => {
    if (event.metaKey || event.ctrlKey) return;
    event.preventDefault();
    $("text").value = "";
    go(() => ({ q: "", upload: [], similar: [], like: [], unlike: [], ...NO_FILTERS, item: "", compare: [],
      map: "", n: PAGE }));
  });
  $("attach").addEventListener("click", () => $("files").click());
  $("files").addEventListener("change", () => {
    take([...$("files").files]);
    $("files").value = "";
  });
  addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    take(files);
  });
  startDropping();
}

function ask() {
  const q = $("text").value.trim();
  go((state) => ({ ...listed(state), q, n: PAGE }));
}

function startDropping() {
  let over = 0; // enter and leave are told for every element that is crossed
  const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
  const show = (shown) => ($("drop").hidden = !shown);
  addEventListener("dragenter", (event) => {
    if (holdsFiles(event)) show(++over > 0);
  });
  addEventListener("dragleave", (event) => {
    if (holdsFiles(event)) show(--over > 0);
  });
  addEventListener("dragover", (event) => holdsFiles(event) && event.preventDefault());
  addEventListener("drop", async (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    show((over = 0));
    take(await filesOf(event.dataTransfer));
  });
}

/** The dropped files; of a dropped folder, what lies in it. */
async function filesOf(transfer) {
  const entries = [...transfer.items].map((one) => one.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files];
  return (await Promise.all(entries.map(walk))).flat();
}

function walk(entry) {
  if (entry.isFile) return new Promise((resolve, reject) => entry.file((file) => resolve([file]), reject));
  const reader = entry.createReader();
  const some = () => new Promise((resolve, reject) => reader.readEntries(resolve, reject));
  const all = async () => {
    const found = [];
    for (let batch = await some(); batch.length; batch = await some()) found.push(...batch); // a hundred at a time
    return (await Promise.all(found.map(walk))).flat();
  };
  return all();
}

/** Sends the files of one examination and searches by them. */
export async function take(files, modality = "") {
  if (!files.length) return;
  const name = files.length === 1 ? files[0].name : `${files[0].name} and ${files.length - 1} more`;
  const limit = app.status?.limits?.upload_bytes;
  const size = files.reduce((sum, file) => sum + file.size, 0);
  if (limit && size > limit) {
    return complain(`${name} is too large: the server takes ${Math.floor(limit / 2 ** 20)} MiB at most.`);
  }
  sending?.controller.abort();
  const controller = new AbortController();
  sending = { name, controller };
  drawIngredients(app.state);
  say(`Reading ${name}`);
  try {
    const told = await api.upload(files, modality, controller.signal);
    app.files.set(told.upload_id, { ...told, name, files: files.every((file) => RASTER.test(file.name)) ? files : null });
    sending = null;
    go((state) => ({ ...listed(state), upload: [...state.upload, told.upload_id], n: PAGE }));
  } catch (error) {
    if (error.name === "AbortError") return;
    sending = null;
    drawIngredients(app.state);
    complain(`${name}: ${inWords(error)}`);
  }
}

function complain(words) {
  const list = $("ingredients");
  list.hidden = false;
  list.append(
    h("li.complaint", { role: "alert" }, words, iconButton("close", "Dismiss", () => drawIngredients(app.state))));
}

/** Brings the box in line with the state. */
export function drawBox(state) {
  if (document.activeElement !== $("text") || state.q !== $("text").value.trim()) $("text").value = state.q;
  drawIngredients(state);
}

function drawIngredients(state) {
  const chips = KINDS.flatMap(({ kind, sign, means }) => state[kind].map((id) => chip(kind, id, sign, means)));
  if (sending) {
    chips.push(h("li.chip.busy", h("span.spinner"), `Reading ${sending.name}`, iconButton("close", "Stop", stop)));
  }
  fill($("ingredients"), chips);
  $("ingredients").hidden = chips.length === 0;
}

function stop() {
  sending?.controller.abort();
  sending = null;
  drawIngredients(app.state);
}

function chip(kind, id, sign, means) {
  const file = app.files.get(id);
  const hit = app.hits.get(id);
  const what = kind === "upload" ? (file?.name ?? "an uploaded file") : hit ? titleOf(hit) : id.slice(0, 8);
  const src = kind === "upload" ? api.paths.uploaded(id) : api.paths.thumbnail(id);
  const remove = () => go((state) => ({ ...listed(state), [kind]: state[kind].filter((one) => one !== id), n: PAGE }));
  return h("li.chip", { class: `chip ${kind}` },
    h("img", { src, alt: "", onerror: (event) => event.target.remove() }),
    sign && h("span.sign", { "aria-hidden": "true" }, sign),
    h("span.what", h("span.unseen", `${means} `), what),
    file && modalityOf(id, file),
    file?.notes?.length > 0 && h("span.quiet.note", { title: file.notes.join("\n") }, file.notes[0]),
    iconButton("close", `Remove ${what}`, remove));
}

/** What a file was taken for; a picture that says nothing of itself can be told otherwise. */
function modalityOf(id, file) {
  if (file.modality_from === "header" || !file.files) return h("span.quiet", nameOf(file.modality));
  const told = (event) => {
    const modality = event.target.value;
    go((state) => ({ upload: state.upload.filter((one) => one !== id) }), { replace: true });
    take(file.files, modality);
  };
  const options = inOrder(Object.keys(app.status?.by_modality ?? { [file.modality]: 0 }))
    .map((name) => h("option", { value: name, selected: name === file.modality }, nameOf(name)));
  return h("label.inline", h("span.unseen", `What ${file.name} shows`),
    h("select", { onchange: told, title: file.modality_from === "encoder" ? "A guess of the encoder: correct it here" : "" },
      options), file.modality_from === "encoder" && h("span.quiet", "guessed"));
}

/** Adds a stored item to the query as more or less like, or takes it out again. */
export function refine(kind, id) {
  const other = kind === "like" ? "unlike" : "like";
  const already = app.state[kind].includes(id);
  say(already ? "Taken out of the query" : kind === "like" ? "Ranking more like this" : "Ranking less like this");
  go((state) => ({
    ...listed(state),
    [kind]: already ? state[kind].filter((one) => one !== id) : [...state[kind], id],
    [other]: state[other].filter((one) => one !== id),
    n: PAGE,
  }));
}

export const focusBox = () => {
  $("text").focus();
  $("text").select();
};

