// @ts-check
// What one head added, by the token that it took it from: its weight times that token's value, counted as the head's output is.

import { fill, h, tokenText } from "../../core/dom.js";
import { count } from "../../core/format.js";
import { counted, phrase, phraseParts } from "../../core/texts.js";
import { signed, towards } from "./why_words.js";

/** @typedef {import("../../data/attribution.js").Attribution} Attribution */

const ROWS = 8;

export class Sources {
  constructor() {
    this.said = h("p", { class: "ts-why-said", "aria-live": "polite" });
    this.rows = h("div", { class: "ts-why-rows" });
    this.element = h("div", { class: "ts-why-sources" }, this.said, this.rows);
  }

  /** @param {Attribution} found @param {{layer: number, head: number}} at */
  draw(found, { layer, head }) {
    const value = found.head(layer, head);
    fill(this.said, ...phraseParts("Layer {layer}, head {head} added {value} logits {way}.", { layer: String(layer), head: String(head), value: h("strong", {}, signed(value)), way: h("span", {}, ...towards(found, value)) }), " ",
      found.sources ? phrase("It took them from:") : phrase("From which tokens is not told: {why}.", { why: found.about.sources_note.replace(/\.$/, "") }));
    const sources = found.sourcesOf(layer, head);
    if (!sources) return fill(this.rows);
    const all = Array.from(sources, (each, position) => ({ position, value: each }));
    const kept = [...all].sort((one, other) => Math.abs(other.value) - Math.abs(one.value)).slice(0, ROWS);
    const most = Math.abs(kept[0]?.value ?? 0) || 1;
    const left = all.length - kept.length;
    const rest = left ? all.filter((each) => !kept.includes(each)).reduce((sum, each) => sum + each.value, 0) : 0;
    return fill(this.rows, ...kept.sort((one, other) => one.position - other.position).map((each) => row(tokenText(found.about.tokens[each.position]), each.value, most, phrase("position {position}", { position: each.position }))),
      left > 0 && row(counted(left, "{n} other token", "{n} other tokens", { n: count(left) }), rest, most));
  }
}

/** @param {import("../../core/dom.js").Child} name @param {number} value @param {number} most @param {string} [title] */
function row(name, value, most, title = "") {
  const bar = h("span", { class: `ts-why-part ${value >= 0 ? "ts-why-for" : "ts-why-against"}` });
  bar.style.width = `${Math.min(Math.abs(value) / most, 1) * 50}%`;
  return h("div", { class: "ts-why-row", title }, h("span", { class: "ts-why-from" }, name), h("span", { class: "ts-why-track" }, bar), h("span", { class: "ts-why-value" }, signed(value)));
}
