// @ts-check
// One attribution drawn: a waterfall over the layers, below it the map of heads in the same columns, and what the selected head took from where.

import { widthOf } from "../../core/canvas.js";
import { button, fill, h } from "../../core/dom.js";
import { phrase, phraseParts } from "../../core/texts.js";
import { HeadGrid } from "./head_grid.js";
import { Sources } from "./sources.js";
import { Waterfall } from "./waterfall.js";
import { nameOf, signed, sumWords, towards } from "./why_words.js";

/** @typedef {import("../../data/attribution.js").Attribution} Attribution */
/** @typedef {import("../../data/attribution.js").Part} Part */
/** @typedef {import("../../core/canvas.js").Paint} Paint */

const OFFERED = 4; // heads to press by their names

export class WhyPicture {
  constructor() {
    this.waterfall = new Waterfall((part) => this.sayPart(part), (layer) => { if (this.found) this.choose(this.found.strongest(1, layer)[0]); });
    this.heads = new HeadGrid((layer, head) => this.choose({ layer, head }));
    this.sources = new Sources();
    this.said = h("p", { class: "ts-why-said", role: "status" });
    this.legend = h("p", { class: "ts-why-legend" });
    this.offered = h("div", { class: "ts-why-offered", role: "group", "aria-label": phrase("the heads that added most") });
    this.notes = h("p", { class: "ts-note" });
    this.element = h("div", { class: "ts-why" }, this.waterfall.element, this.said, this.legend, h("h3", { class: "ts-subtitle" }, phrase("Which heads"), " ", h("span", { class: "ts-why-how" }, phrase("Across: layers, as above. Down: heads. No colour is 0; the root of the size is drawn."))),
      this.heads.element, this.offered, this.sources.element, this.notes);
    /** @type {Attribution | null} */
    this.found = null;
    /** @type {Paint | null} */
    this.colours = null;
    this.at = { layer: 0, head: 0 };
    this.key = "";
    this.width = widthOf(this.element, () => this.redraw());
  }

  /** @param {Attribution} found @param {Paint} colours */
  draw(found, colours) {
    if (found !== this.found) [this.at] = found.strongest(1);
    this.found = found;
    this.colours = colours;
    this.redraw();
  }

  /** @param {{layer: number, head: number}} at */
  choose({ layer, head }) {
    this.at = { layer, head };
    this.redraw();
  }

  redraw() {
    const { found, colours, at } = this;
    const width = this.width();
    if (!found || !colours || !width) return;
    this.heads.draw(found, width, colours, at);
    const of = `${found.about.step}/${found.about.token.id}/${found.about.rival.id}/${width}`;
    if (of !== this.key) {
      this.key = of;
      this.waterfall.draw(found, width);
      this.sayPart(null);
      const sign = (/** @type {string} */ way) => h("span", { class: `ts-why-sign ${way}`, "aria-hidden": "true" });
      fill(this.legend, sign("ts-why-for"), " ", ...phraseParts("towards {token}", { token: h("bdi", {}, found.about.token.text) }), " ", sign("ts-why-against"), " ", ...phraseParts("towards {token}", { token: h("bdi", {}, found.about.rival.text) }),
        h("span", { class: "ts-why-how" }, phrase("Solid: attention; hatched: MLP and the rest. Across: layers, counted from 0.")));
      fill(this.notes, found.about.notes.join(" "));
    }
    fill(this.offered, ...found.strongest(OFFERED).map((each) => button("", () => this.choose(each), { "aria-pressed": String(each.layer === at.layer && each.head === at.head), class: "ts-button ts-why-head" },
      phrase("layer {layer}, head {head}", each), " ", h("strong", {}, signed(each.value)))));
    this.sources.draw(found, at);
  }

  /** What a part added, or the sum. @param {Part | null} part */
  sayPart(part) {
    if (!this.found) return;
    if (!part) fill(this.said, ...sumWords(this.found));
    else fill(this.said, ...phraseParts("{part}: {value} logits {way}; sum so far {sum}.", { part: nameOf(part), value: h("strong", {}, signed(part.value)), way: h("span", {}, ...towards(this.found, part.value)), sum: signed(part.to) }));
  }
}
