// @ts-check
// What the kinds of forward passes are called on the page.

import { phrase } from "../core/texts.js";

/** @type {Record<string, string>} */
const NAMES = { prefill: phrase("prefill"), chunk: phrase("chunk"), decode: phrase("decode"), verify: phrase("verify"), reread: phrase("reread") };

/** @param {string} kind */
export function kindName(kind) {
  return NAMES[kind] ?? kind;
}
