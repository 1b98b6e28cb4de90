// The HTTP API, as one function for each route. Requests go to this server only.
import { h, openDialog } from "./dom.js";
import { inWords } from "./words.js";

/** What the server says is wrong: the message and the remedy may be shown as they are. */
export class ApiError extends Error {
  constructor(status, { code = "", message = "", remedy = "" } = {}) {
    super(message || `The server answered with status ${status}.`);
    Object.assign(this, { status, code, remedy });
  }
}

async function request(path, options = {}) {
  const response = await send(path, options);
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  if (response.status === 401 && path !== "/v1/session") {
    await signInByHand();
    return request(path, options);
  }
  throw new ApiError(response.status, body.error);
}

async function send(path, options) {
  try {
    return await fetch(path, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, {
      code: "unreachable",
      message: "The m3search server does not answer.",
      remedy: 'It may have been stopped: start it again with "m3search serve".',
    });
  }
}

const json = async (path, options) => (await request(path, options)).json();

const post = (body, signal) => ({
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify(body),
  signal,
});

export const search = (body, signal) => json("/v1/search", post(body, signal));
export const facets = (body, signal) => json("/v1/facets", post(body, signal));
export const status = () => json("/v1/status");
export const projection = (most) => json(`/v1/projection?most=${most}`);
export const exported = async (body) => (await request("/v1/export", post(body))).blob();

export const item = (id, signal) => json(`/v1/items/${id}`, { signal });
export const parts = async (id, signal) => (await json(`/v1/items/${id}/parts`, { signal })).parts;
export const view = (id, signal) => json(`/v1/items/${id}/view`, { signal });
export const neighbours = (id, signal) => json(`/v1/items/${id}/neighbours?within=8&across=4`, { signal });
export const pixels = async (path, signal) => createImageBitmap(await (await request(path, { signal })).blob());

export const paths = {
  thumbnail: (id) => `/v1/items/${id}/thumbnail`,
  uploaded: (id) => `/v1/uploads/${id}/thumbnail`,
  image: (id, asked) => `/v1/items/${id}/image?${new URLSearchParams(asked)}`,
  region: (id, asked) => `/v1/items/${id}/region?${new URLSearchParams(asked)}`,
  ecg: (id, start) => `/v1/items/${id}/ecg?format=svg&start=${start}`,
};

/** Sends the files of one examination. */
export function upload(files, modality, signal) {
  const form = new FormData();
  for (const file of files) form.append("file", file, file.name);
  if (modality) form.append("modality", modality);
  return json("/v1/uploads", { method: "POST", body: form, signal });
}

async function startSession(token) {
  await json("/v1/session", { method: "POST", headers: { Authorization: `Bearer ${token}` } });
}

/** Signs in with the token in the address, if there is one, and wipes it from the address. */
export async function signInByAddress() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!token) return;
  history.replaceState(history.state, "", location.pathname + location.search);
  try {
    await startSession(token);
  } catch {
    // the first request that needs a session will ask for the token
  }
}

let asking = null; // one form, however many requests were refused at once

function signInByHand() {
  asking ??= new Promise((resolve) => {
    const wrong = h("p.wrong", { role: "alert", hidden: true });
    const field = h("input", { type: "password", id: "token", autocomplete: "off", required: true, spellcheck: false });
    const submit = async (event) => {
      event.preventDefault();
      const token = field.value.trim().replace(/^.*#token=/, "");
      try {
        await startSession(token);
        done = true;
        dialog.close();
      } catch (error) {
        wrong.hidden = false;
        wrong.textContent = inWords(error);
        field.select();
      }
    };
    let done = false;
    const dialog = openDialog("Sign in",
      h("p", "This index holds patient data, so the server asks for its token. It stands at the end of the link that ",
        h("code", "m3search serve"), " printed; the whole link will do."),
      h("form.sign-in", { onsubmit: submit },
        h("label", { for: "token" }, "Token or link"), field, h("button.go", { type: "submit" }, "Sign in")),
      wrong);
    dialog.addEventListener("cancel", (event) => !done && event.preventDefault());
    dialog.addEventListener("close", () => (done ? resolve() : location.reload()));
    field.focus();
  }).finally(() => (asking = null));
  return asking;
}
