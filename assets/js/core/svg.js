// @ts-check
// Small SVG parts: elements, words, arrows. Text enters only as text.

import { context2d, cut, FONT } from "./canvas.js";

const BOLD = 1.18; // how much wider bold words are

/** @param {string} tag @param {Record<string, string | number>} [attributes] @param {(Node | string)[]} children @returns {SVGElement} */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/** @param {number} x @param {number} y @param {string} text @param {string} name @param {"start" | "middle"} [anchor] */
export function words(x, y, text, name, anchor = "start") {
  return svg("text", { x, y, class: name, "text-anchor": anchor }, text);
}

/** A line with an arrow head at its end. @param {string} d */
export function arrow(d) {
  return svg("path", { class: "ts-block-line", d, "marker-end": "url(#ts-block-arrow)" });
}

/** What `arrow` ends in. */
export function arrowHead() {
  return svg("defs", {}, svg("marker", { id: "ts-block-arrow", viewBox: "0 0 8 8", refX: 6, refY: 4, markerWidth: 6, markerHeight: 6, orient: "auto" },
    svg("path", { class: "ts-block-arrow", d: "M 0 0 L 8 4 L 0 8 Z" })));
}

/** The first of these words that has room; the last one cut, if none has. Measured on a canvas: the page need not be laid out for it.
 * @param {string[]} choices @param {number} width @param {boolean} [bold] */
export function fitting(choices, width, bold = false) {
  const room = bold ? width / BOLD : width;
  return choices.find((text) => wide(text) <= room) ?? cut(rule(), choices[choices.length - 1], room);
}

/** @param {string} text @param {boolean} [bold] */
export function wide(text, bold = false) {
  return rule().measureText(text).width * (bold ? BOLD : 1);
}

/** @type {CanvasRenderingContext2D | null} */
let ruler = null;

function rule() {
  if (!ruler) {
    ruler = context2d(document.createElement("canvas"));
    ruler.font = FONT;
  }
  return ruler;
}

/** A width shared out in proportion, nobody below the least. @param {number[]} sizes @param {number} width @param {number} least */
export function sharedOut(sizes, width, least) {
  const floor = Math.min(least, width / sizes.length);
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const small = sizes.filter((size) => (size / total) * width < floor);
  const rest = (width - small.length * floor) / Math.max(total - small.reduce((sum, size) => sum + size, 0), 1e-9);
  return sizes.map((size) => (small.includes(size) ? floor : Math.max(size * rest, floor)));
}
