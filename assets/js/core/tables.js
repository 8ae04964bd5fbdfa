// @ts-check
// Tables that the server has made, built again from the few elements that a table needs: whatever else were in them
// would stay text or be left out.

import { h } from "./dom.js";

const ALLOWED = new Set(["TABLE", "THEAD", "TBODY", "TR", "TH", "TD", "P", "DIV", "STRONG", "SPAN", "BDI", "ABBR", "CAPTION", "H3", "UL", "LI", "BR"]);
const KEPT = ["class", "scope", "colspan", "title", "tabindex", "data-pick", "data-tick", "data-round", "data-request", "data-token"];

/** @param {string} html @returns {(Node | string)[]} */
export function rebuilt(html) {
  const read = new DOMParser().parseFromString(html, "text/html"); // inert: it runs nothing and fetches nothing
  return copies(read.body);
}

/** @param {Node} node @returns {(Node | string)[]} */
function copies(node) {
  /** @type {(Node | string)[]} */
  const made = [];
  for (const child of node.childNodes) {
    if (child instanceof Text) made.push(child.data);
    if (!(child instanceof Element) || !ALLOWED.has(child.tagName)) continue;
    const attributes = Object.fromEntries(KEPT.filter((name) => child.hasAttribute(name)).map((name) => [name, child.getAttribute(name) ?? ""]));
    made.push(h(/** @type {keyof HTMLElementTagNameMap} */ (child.tagName.toLowerCase()), attributes, ...copies(child)));
  }
  return made;
}
