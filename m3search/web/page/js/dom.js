// Elements from values. Text goes in as text nodes only, so nothing of an archive can become markup.

/** h("p.quiet#id", {title: "…", onclick: fn}, "text", child, null) -> element. */
export function h(selector, ...rest) {
  const [, tag, marks] = selector.match(/^([\w-]*)(.*)$/);
  const element = document.createElement(tag || "div");
  for (const [, kind, name] of marks.matchAll(/([.#])([\w-]+)/g)) {
    if (kind === ".") element.classList.add(name);
    else element.id = name;
  }
  const first = rest[0];
  const hasAttributes = first && Object.getPrototypeOf(first) === Object.prototype;
  for (const [name, value] of hasAttributes ? Object.entries(first) : []) set(element, name, value);
  append(element, hasAttributes ? rest.slice(1) : rest);
  return element;
}

function set(element, name, value) {
  if (value === null || value === undefined || value === false) return;
  if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
  else if (name === "dataset") Object.assign(element.dataset, value);
  else if (name === "style") for (const [key, one] of Object.entries(value)) element.style.setProperty(key, one);
  else if (name in element && typeof value !== "string" && !name.includes("-")) element[name] = value;
  else element.setAttribute(name, value === true ? "" : String(value));
}

/** Appends children, flattening lists and leaving out null, false and "". */
export function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false || child === "") continue;
    element.append(child instanceof Node ? child : String(child));
  }
  return element;
}

/** Replaces what an element holds. */
export function fill(element, ...children) {
  element.replaceChildren();
  return append(element, children);
}

/** `fill` that leaves the focus where it was: on the new element with the same id or `data-key`. */
export function refill(element, ...children) {
  const { id = "", dataset = {} } = element.contains(document.activeElement) ? document.activeElement : {};
  fill(element, ...children);
  const same = id ? document.getElementById(id) : dataset.key && element.querySelector(`[data-key="${CSS.escape(dataset.key)}"]`);
  if (same) same.focus({ preventScroll: true });
}

export const $ = (id) => document.getElementById(id);

const SVG = "http://www.w3.org/2000/svg";

/** svg("rect", {x: 1}) -> SVG element. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** A decorative icon of icons.svg. */
export function icon(name) {
  return svg("svg", { class: "icon", "aria-hidden": "true" }, svg("use", { href: `icons.svg#${name}` }));
}

/** A button with an icon; its name is spoken and shown as a tooltip, and written out where `label` is given. */
export function iconButton(name, title, onclick, { label = "", ...attributes } = {}) {
  const words = label ? h("span", label) : h("span.unseen", title);
  return h("button.plain", { type: "button", title, onclick, ...attributes }, icon(name), words);
}

let saying = 0;

/** Tells screen readers, without moving the focus. */
export function say(words) {
  const region = $("said");
  clearTimeout(saying);
  region.textContent = "";
  saying = setTimeout(() => (region.textContent = words), 80); // emptied first: the same words are said again
}

/** A dialog that closes by Escape, its button, or a click beside it, and gives the focus back. */
export function openDialog(title, ...children) {
  const dialog = h("dialog", { "aria-labelledby": "dialog-title" },
    h("div.dialog",
      h("div.dialog-head",
        h("h2#dialog-title", title),
        iconButton("close", "Close", () => dialog.close())),
      children));
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}
