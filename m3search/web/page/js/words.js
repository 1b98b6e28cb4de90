// What things are called on the page.

// Each has a shape beside its colour (css/base.css draws the same), so that colours are not needed to tell them apart.
export const MODALITIES = {
  xray: { name: "X-ray", one: "an X-ray", many: "X-rays", shape: "circle" },
  ct: { name: "CT", one: "a CT", many: "CTs", shape: "square" },
  retina: { name: "Fundus", one: "a fundus photograph", many: "fundus photographs", shape: "triangle" },
  ecg: { name: "ECG", one: "an ECG", many: "ECGs", shape: "diamond" },
  pathology: { name: "Pathology", one: "a pathology image", many: "pathology images", shape: "cross" },
};

/** In the order in which they are always named; unknown ones last. */
export function inOrder(modalities) {
  const order = Object.keys(MODALITIES);
  const place = (name) => (order.includes(name) ? order.indexOf(name) : order.length);
  return [...modalities].sort((one, other) => place(one) - place(other) || one.localeCompare(other));
}

export const nameOf = (modality) => MODALITIES[modality]?.name ?? modality;
export const oneOf = (modality) => MODALITIES[modality]?.one ?? modality;
export const manyOf = (modality) => MODALITIES[modality]?.many ?? `${modality} items`;

export const FACET_NAMES = {
  labels: "Label", sex: "Sex", age_band: "Age", body_part: "Body part", view: "View", laterality: "Side", year: "Year",
  format: "Format",
};

const VALUES = {
  sex: { F: "female", M: "male", O: "other" },
  laterality: { L: "left", R: "right", B: "both" },
  format: { dicom: "DICOM", nifti: "NIfTI", raster: "picture (PNG, JPEG, TIFF)", wfdb: "WFDB", slide: "whole slide" },
};

export const valueName = (column, value) => VALUES[column]?.[value] ?? String(value).replace(/^(\d+)-(\d+)$/, "$1–$2");

const whole = new Intl.NumberFormat("en-GB");
export const count = (number) => whole.format(number);
export const items = (number) => `${count(number)} ${number === 1 ? "item" : "items"}`;

/** "slice=19" as a person says it. Slices count from 0 in the index, from 1 here. */
export function partName(locator) {
  const [kind, value] = (locator || "").split("=");
  if (kind === "slice") return `slice ${Number(value) + 1}`;
  if (kind === "window") return `${value.replace("-", "–").replace(/s$/, "")} s`;
  if (kind === "tile") return `tile at ${value.replace(",", ", ")}`;
  return value ? `${kind} ${value}` : "";
}

/** The share of its modality that an item leaves behind, short enough for a card; "" where the server does not know. */
export function standing(hit) {
  if (hit.standing === null || hit.standing === undefined) return "";
  const share = Math.floor(hit.standing * 1000) / 10; // never rounded up: "100 %" would be a boast
  return `nearer than ${share.toFixed(share < 99 ? 0 : 1)} % of ${manyOf(hit.modality)}`;
}

/** What an item is, in a line. */
export const titleOf = (hit) => hit.labels?.slice(0, 3).join(", ") || firstSentence(hit.text) || nameOf(hit.modality);

const firstSentence = (text) => (text || "").split(/(?<=[.!?])\s/)[0].slice(0, 90).replace(/\.$/, "");

/** The name that screen readers give a hit. */
export function spoken(hit) {
  return [`${hit.rank}. ${nameOf(hit.modality)}: ${titleOf(hit)}`, standing(hit), partName(hit.best_part)]
    .filter(Boolean).join(", ");
}

/** What went wrong and what helps, in one line: "is a zip file; unpack it". The page's own words are sentences, the server's are not. */
export const inWords = ({ message, remedy }) => [message, remedy].filter(Boolean).join(/[.!?]$/.test(message) ? " " : "; ");
