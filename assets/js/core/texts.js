// @ts-check
// Every sentence that a person reads goes through here: its English template is its key in another language's catalogue.

import { CATALOGUE } from "./catalogue.js";

/** @typedef {import("./dom.js").Child} Child */

const PLACE = /\{(\w+)\}/;

/** A sentence with its values in place: `phrase("{n} tokens", { n: count(3) })`. Without values a brace is a brace.
 * @param {string} template written in the code, never made from text of a model or a person @param {Record<string, string | number>} [values] */
export function phrase(template, values) {
  const found = CATALOGUE.get(template) ?? template;
  return values ? pieces(found).map((piece, i) => (i % 2 ? String(values[piece] ?? `{${piece}}`) : piece)).join("") : found;
}

/** The same where values are elements: what to fill an element with. @param {string} template @param {Record<string, Child | Child[]>} values
 * @returns {Child[]} */
export function phraseParts(template, values) {
  return pieces(CATALOGUE.get(template) ?? template).flatMap((piece, i) => (i % 2 ? values[piece] ?? `{${piece}}` : piece));
}

/** The template for one, or the one for any other number, with the number as `{n}`.
 * @param {number} n @param {string} one @param {string} many @param {Record<string, string | number>} [values] */
export function counted(n, one, many, values) {
  return phrase(n === 1 ? one : many, { n, ...values });
}

/** @type {Map<string, string[]>} by template: a frame says many sentences, and the same again in the next one */
const SPLIT = new Map();

/** Text, name, text, name, ..., text. @param {string} template */
function pieces(template) {
  let found = SPLIT.get(template);
  if (!found) SPLIT.set(template, found = template.split(PLACE));
  return found;
}
