// @ts-check
// How parts, signs and tokens read in the pictures of an attribution.

import { quoted } from "../../core/dom.js";
import { phrase, phraseParts } from "../../core/texts.js";

/** @typedef {import("../../data/attribution.js").Attribution} Attribution */
/** @typedef {import("../../data/attribution.js").Part} Part */

/** A number with its sign. @param {number} value @param {number} [places] */
export function signed(value, places = 2) {
  const text = Math.abs(value).toFixed(places);
  return Number(text) === 0 ? text : `${value < 0 ? "−" : "+"}${text}`;
}

/** @param {Pick<Part, "kind" | "layer">} part @param {boolean} [isShort] */
export function nameOf({ kind, layer }, isShort = false) {
  if (kind === "embedding") return phrase("embedding");
  if (kind === "biases") return phrase("biases");
  if (kind === "remainder") return phrase("remainder");
  if (isShort) return { attention: phrase("attention {layer}", { layer }), mlp: phrase("MLP {layer}", { layer }), other: phrase("other {layer}", { layer }) }[kind];
  return { attention: phrase("layer {layer}, attention", { layer }), mlp: phrase("layer {layer}, MLP", { layer }), other: phrase("layer {layer}, other", { layer }) }[kind];
}

/** What the sign of a value means here. @param {Attribution} found @param {number} value */
export function towards({ about }, value) {
  return phraseParts("towards {token}", { token: quoted(value >= 0 ? about.token : about.rival) });
}

/** What the sum says: which is ahead, by how much, and how many times as likely that is. @param {Attribution} found */
export function sumWords({ about }) {
  const [first, second] = about.total >= 0 ? [about.token, about.rival] : [about.rival, about.token];
  const times = Math.exp(Math.abs(about.total));
  return phraseParts("All parts together: {token} is ahead of {rival} by {logits} logits, and so {times} times as likely.", {
    token: quoted(first), rival: quoted(second), logits: Math.abs(about.total).toFixed(2), times: times >= 100 ? Math.round(times).toLocaleString("en") : times.toPrecision(2),
  });
}
