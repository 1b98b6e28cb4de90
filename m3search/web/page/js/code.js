// The query on show as a program would ask it.
import { app, brushed } from "./app.js";
import { h, iconButton, openDialog, say } from "./dom.js";
import { body } from "./state.js";

const python = (value) => JSON.stringify(value); // a JSON string is a Python string; lists likewise
const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const nameOf = (id) => app.files.get(id)?.name ?? "FILE";

/** Python that asks the same of the index itself. */
export function asPython(asked) {
  const one = (values) => (values.length === 1 ? python(values[0]) : python(values));
  const given = [
    asked.text && python(asked.text),
    asked.uploads && `image=${one(asked.uploads.map(nameOf))}`,
    asked.items && `item=${one(asked.items)}`,
    asked.like && `like=${one(asked.like)}`,
    asked.unlike && `unlike=${one(asked.unlike)}`,
    asked.modality.length && `modality=${one(asked.modality)}`,
    asked.filters && `where=${python(asked.filters)}`,
    asked.group_by && `group=${python(asked.group_by)}`,
    asked.mode !== "vector" && `mode=${python(asked.mode)}`,
    `k=${asked.limit}`,
  ].filter(Boolean);
  const call = given.length > 2 ? `\n    ${given.join(",\n    ")},\n` : given.join(", ");
  return `import m3search\n\nengine = m3search.open(".m3search")  # the index's folder\nhits = engine.search(${call})\nhits.to_pandas()\n`;
}

/** curl that asks this server. */
export function asCurl(asked) {
  const { uploads, ...given } = asked;
  const query = Object.fromEntries(Object.entries(given).filter(([name, value]) =>
    value !== null && value.length !== 0 && value !== 0 && !(name === "mode" && value === "vector")));
  const text = shell(JSON.stringify(query));
  const head = `curl -H "Authorization: Bearer $M3SEARCH_TOKEN"`;
  if (!uploads) return `${head} \\\n  -H 'Content-Type: application/json' \\\n  -d ${text} \\\n  ${location.origin}/v1/search\n`;
  const files = uploads.map((id) => `  -F ${shell(`file=@${nameOf(id)}`)} \\\n`).join("");
  return `${head} \\\n${files}  -F ${shell(`query=${JSON.stringify(query)}`)} \\\n  ${location.origin}/v1/search/file\n`;
}

/** A dialog with both. */
export async function showCode(state) {
  const asked = body(state, await brushed(state), 0, state.n);
  openDialog("The same query, in code",
    block("Python", asPython(asked)),
    block("curl", asCurl(asked)),
    h("p.quiet", "The server's token is in the link that ", h("code", "m3search serve"), " printed; it is not repeated here."));
}

function block(name, text) {
  const code = h("code", text);
  return h("section.code",
    h("div.code-head", h("h3", name), iconButton("copy", `Copy ${name}`, () => copy(name, text, code), { label: "Copy" })),
    h("pre", { tabindex: "0", "aria-label": name }, code));
}

async function copy(name, text, code) {
  try {
    await navigator.clipboard.writeText(text);
    say(`${name} copied`);
  } catch { // not allowed without TLS on other hosts than this one: selected, so that one key copies it
    getSelection().selectAllChildren(code);
    say(`${name} selected: copy it with the keyboard`);
  }
}
