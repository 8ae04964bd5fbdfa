// @ts-check
// A share as a bar in a row of a list.

import { h } from "../../core/dom.js";

/** @param {number} share 0 to 1 */
export function shareBar(share) {
  const fill = h("i");
  fill.style.width = `${(100 * Math.min(share, 1)).toFixed(2)}%`; // no attribute: a saved page's policy forbids those
  return h("span", { class: "ts-likely-bar" }, fill);
}
