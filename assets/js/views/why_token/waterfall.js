// @ts-check
// A waterfall: each part of the model moves the sum up, towards the token, or down, towards its rival; the last bar is the sum.

import { fill, h } from "../../core/dom.js";
import { svg, wide, words } from "../../core/svg.js";
import { phrase } from "../../core/texts.js";
import { roundTicks } from "../../data/attribution.js";
import { columnsOf, numbered } from "./columns.js";
import { nameOf, signed } from "./why_words.js";

/** @typedef {import("../../data/attribution.js").Attribution} Attribution */
/** @typedef {import("../../data/attribution.js").Part} Part */

const [TOP, HEIGHT, FOOT] = [26, 230, 26]; // px: the words above, the bars, the numbers of layers
const NAMED = 4; // bars that are named where they stand

export class Waterfall {
  /** @param {(part: Part | null) => void} pointed @param {(layer: number) => void} pressed the attention of a layer */
  constructor(pointed, pressed) {
    this.pointed = pointed;
    this.pressed = pressed;
    this.element = h("div", { class: "ts-why-waterfall", role: "img", "aria-label": phrase("waterfall: what each part added, up to the sum") });
  }

  /** @param {Attribution} found @param {number} width */
  draw(found, width) {
    const columns = columnsOf(width, found.nLayers);
    const { parts } = found;
    const { total, token, rival } = found.about;
    const low = Math.min(0, total, ...parts.map(({ to }) => to));
    const high = Math.max(0, total, ...parts.map(({ to }) => to));
    const y = (/** @type {number} */ value) => TOP + ((high - value) / (high - low || 1)) * HEIGHT;
    const ticks = roundTicks(low, high, 4);
    const grid = ticks.flatMap((tick) => [
      svg("line", { class: tick === 0 ? "ts-why-zero" : "ts-why-grid", x1: columns.left, x2: width, y1: y(tick), y2: y(tick) }),
      svg("text", { class: "ts-why-tick", x: columns.left - 6, y: y(tick) + 5, "text-anchor": "end" }, tick === 0 ? "0" : signed(tick, tick % 1 ? 1 : 0)),
    ]);
    const layers = numbered(columns, found.nLayers).map((layer) => words(columns.x(layer) + columns.layer / 2, TOP + HEIGHT + 20, String(layer), "ts-why-tick", "middle"));
    layers.push(words(columns.sum + columns.wide / 2, TOP + HEIGHT + 20, phrase("sum"), "ts-why-tick", "middle"));
    const bars = parts.map((part) => this.bar(part, placeOf(part, columns), y));
    const links = parts.slice(1).map((part) => {
      const x = placeOf(part, columns).x;
      return svg("line", { class: "ts-why-link", x1: x - 1, x2: x + 1, y1: y(part.from), y2: y(part.from) });
    });
    const last = parts[parts.length - 1];
    const sum = svg("rect", { class: "ts-why-sum", x: columns.sum + 2, width: Math.max(columns.wide - 4, 3), y: y(Math.max(total, 0)), height: Math.max(Math.abs(y(total) - y(0)), 1) },
      svg("title", {}, phrase("sum: {value} logits", { value: signed(total) })));
    const to = svg("line", { class: "ts-why-to", x1: columns.rest, x2: columns.sum + columns.wide, y1: y(last.to), y2: y(last.to) });
    const name = svg("text", { class: "ts-why-name", x: width - 2, y: y(Math.max(total, 0)) - 6, "text-anchor": "end" }, signed(total));
    fill(this.element, svg("svg", { width, height: TOP + HEIGHT + FOOT },
      svg("defs", {}, hatch("ts-why-hatch-for", "ts-why-for"), hatch("ts-why-hatch-against", "ts-why-against")),
      ...grid, ...layers, ...links, ...bars, to, sum, name, ...this.names(parts, columns, y, width, total),
      words(columns.left + 4, TOP - 10, phrase("above 0: {token} is ahead of {rival}", { token: quote(token.text), rival: quote(rival.text) }), "ts-why-side")));
  }

  /** @param {Part} part @param {{x: number, width: number}} place @param {(value: number) => number} y */
  bar(part, { x, width }, y) {
    const way = part.value >= 0 ? "for" : "against";
    const isHatched = part.kind !== "attention";
    const bar = svg("rect", { class: `ts-why-bar ts-why-${way} ts-why-${part.kind}`, x, width, y: y(Math.max(part.from, part.to)), height: Math.max(Math.abs(y(part.to) - y(part.from)), 0.5), "data-part": nameOf(part),
      ...(isHatched ? { fill: `url(#ts-why-hatch-${way})` } : {}) });
    const area = svg("rect", { class: "ts-why-area", x: x - 0.5, width: width + 1, y: TOP, height: HEIGHT }, svg("title", {}, phrase("{part}: {value} logits", { part: nameOf(part), value: signed(part.value) })));
    area.addEventListener("pointerenter", () => this.pointed(part));
    area.addEventListener("pointerleave", () => this.pointed(null));
    area.addEventListener("click", () => { this.pointed(part); if (part.kind === "attention") this.pressed(part.layer); });
    return svg("g", {}, bar, area);
  }

  /** The largest are named where they stand, if the words have room. @param {Part[]} parts @param {import("./columns.js").Columns} columns @param {(value: number) => number} y @param {number} width @param {number} total */
  names(parts, columns, y, width, total) {
    const largest = [...parts].sort((one, other) => Math.abs(other.value) - Math.abs(one.value)).slice(0, NAMED);
    /** @type {{left: number, right: number, y: number}[]} the sum's own words first */
    const taken = [{ left: columns.sum - 12, right: width, y: y(Math.max(total, 0)) - 6 }];
    return largest.flatMap((part) => {
      const text = nameOf(part, true);
      const place = placeOf(part, columns);
      const length = wide(text, true) + 6;
      const goesLeft = part.value >= 0; // what rises came from below, and leaves room to its left; what falls, to its right
      const left = goesLeft ? place.x - length : place.x + place.width + 5;
      const at = y(Math.max(part.from, part.to)) + 11;
      const box = { left, right: left + length, y: at };
      if (left < columns.left || box.right > width || taken.some((other) => box.left < other.right && other.left < box.right && Math.abs(other.y - at) < 18)) return [];
      taken.push(box);
      return [words(left, at, text, "ts-why-name")];
    });
  }
}

/** Where a part's bar stands: a layer's attention and MLP share its column. @param {Part} part @param {import("./columns.js").Columns} columns */
function placeOf({ kind, layer }, columns) {
  const gap = columns.layer > 12 ? 1.5 : 0.5;
  if (kind === "embedding") return { x: columns.embedding + 2, width: columns.wide - 4 };
  if (kind === "biases") return { x: columns.rest + 1, width: columns.wide / 2 - 2 };
  if (kind === "remainder") return { x: columns.rest + columns.wide / 2 + 1, width: columns.wide / 2 - 2 };
  const width = columns.layer / 2;
  const offset = kind === "attention" ? 0 : width;
  return { x: columns.x(layer) + offset + gap / 2, width: Math.max((kind === "other" ? width / 2 : width) - gap, 1) };
}

/** @param {string} id @param {string} way */
function hatch(id, way) {
  return svg("pattern", { id, width: 5, height: 5, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
    svg("rect", { class: `ts-why-pale ${way}`, width: 5, height: 5 }), svg("rect", { class: `ts-why-stripe ${way}`, width: 2.4, height: 5 }));
}

/** @param {string} text */
function quote(text) {
  return phrase("“{token}”", { token: text.trim() || text });
}
