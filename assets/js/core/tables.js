// @ts-check
// Tables and drawings that the server has made, built again from the few elements that they need: whatever else were in
// them would stay text or be left out.

import { h } from "./dom.js";
import { svg } from "./svg.js";

const ALLOWED = new Set(["TABLE", "THEAD", "TBODY", "TR", "TH", "TD", "P", "DIV", "STRONG", "SPAN", "BDI", "ABBR", "CAPTION", "H3", "UL", "LI", "BR"]);
const KEPT = ["class", "scope", "colspan", "title", "tabindex", "data-pick", "data-tick", "data-round", "data-request", "data-token", "role", "aria-label"];
const DRAWN = new Set(["svg", "g", "path", "rect", "text", "title"]);
const KEPT_OF_A_DRAWING = ["class", "role", "aria-label", "aria-hidden", "viewBox", "width", "height", "x", "y", "rx", "d"];

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
    if (child instanceof SVGElement && DRAWN.has(child.tagName)) {
      made.push(svg(child.tagName, kept(child, KEPT_OF_A_DRAWING), ...copies(child)));
    } else if (child instanceof Element && ALLOWED.has(child.tagName)) {
      made.push(h(/** @type {keyof HTMLElementTagNameMap} */ (child.tagName.toLowerCase()), kept(child, KEPT), ...copies(child)));
    }
  }
  return made;
}

/** @param {Element} element @param {string[]} names @returns {Record<string, string>} */
function kept(element, names) {
  return Object.fromEntries(names.filter((name) => element.hasAttribute(name)).map((name) => [name, element.getAttribute(name) ?? ""]));
}
