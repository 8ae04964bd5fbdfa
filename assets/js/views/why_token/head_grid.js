// @ts-check
// All heads by what they added: across the layers, in the waterfall's columns, down the heads; no colour is 0.

import { fit, mix, pointer } from "../../core/canvas.js";
import { h } from "../../core/dom.js";
import { phrase } from "../../core/texts.js";
import { columnsOf } from "./columns.js";
import { signed } from "./why_words.js";

/** @typedef {import("../../data/attribution.js").Attribution} Attribution */

const [LEAST, MOST, ALL] = [7, 18, 260]; // px of a row, and of all rows

export class HeadGrid {
  /** @param {(layer: number, head: number) => void} pressed */
  constructor(pressed) {
    this.pressed = pressed;
    this.canvas = h("canvas", { class: "ts-why-heads", tabindex: "0", role: "img", "aria-label": phrase("all heads: across the layers, down the heads; arrow keys move, the list below says what a head took") });
    this.element = h("div", {}, this.canvas);
    /** @type {{found: Attribution, width: number, at: {layer: number, head: number}} | null} */
    this.drawn = null;
    this.canvas.addEventListener("click", (event) => { const at = this.headAt(event); if (at) pressed(at.layer, at.head); });
    this.canvas.addEventListener("pointermove", (event) => {
      const at = this.headAt(event);
      this.canvas.title = at && this.drawn ? phrase("layer {layer}, head {head}: {value} logits", { ...at, value: signed(this.drawn.found.head(at.layer, at.head)) }) : "";
    });
    this.canvas.addEventListener("keydown", (event) => this.onKey(event));
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    const moves = /** @type {Record<string, [number, number]>} */ ({ ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] });
    const [across, down] = moves[event.key] ?? [0, 0];
    if (!this.drawn || (!across && !down)) return;
    event.preventDefault();
    event.stopPropagation(); // the page's own arrows move steps and layers
    const { found, at } = this.drawn;
    this.pressed(Math.min(Math.max(at.layer + across, 0), found.nLayers - 1), Math.min(Math.max(at.head + down, 0), found.nHeads - 1));
  }

  /** @param {MouseEvent} event */
  headAt(event) {
    if (!this.drawn) return null;
    const { found, width } = this.drawn;
    const { x, y } = pointer(this.canvas, event);
    const columns = columnsOf(width, found.nLayers);
    const layer = Math.floor((x - columns.x(0)) / columns.layer);
    if (layer < 0 || layer >= found.nLayers) return null;
    return { layer, head: Math.min(Math.max(Math.floor(y / rowOf(found)), 0), found.nHeads - 1) };
  }

  /** @param {Attribution} found @param {number} width @param {import("../../core/canvas.js").Paint} colours @param {{layer: number, head: number}} at */
  draw(found, width, colours, at) {
    this.drawn = { found, width, at };
    const [row, columns] = [rowOf(found), columnsOf(width, found.nLayers)];
    const g = fit(this.canvas, width, row * found.nHeads + 2);
    const most = found.heads.reduce((sum, value) => Math.max(sum, Math.abs(value)), 0) || 1;
    const scales = [colours.generated, colours.baseline].map((end) => Array.from({ length: 33 }, (_, i) => mix(colours.sunk, end, i / 32)));
    const gap = columns.layer > 6 ? 1 : 0.5;
    for (let layer = 0; layer < found.nLayers; layer += 1) {
      for (let head = 0; head < found.nHeads; head += 1) {
        const value = found.head(layer, head);
        g.fillStyle = scales[value >= 0 ? 0 : 1][Math.round(Math.sqrt(Math.abs(value) / most) * 32)];
        g.fillRect(columns.x(layer) + gap / 2, head * row + 1, columns.layer - gap, row - 1);
      }
    }
    g.fillStyle = colours.muted;
    g.textAlign = "right";
    g.textBaseline = "middle";
    const every = Math.ceil(20 / row);
    for (let head = 0; head < found.nHeads; head += every) g.fillText(String(head), columns.left - 6, head * row + row / 2 + 1);
    g.strokeStyle = colours.ink;
    g.lineWidth = 2;
    g.strokeRect(columns.x(at.layer), at.head * row + 0.5, columns.layer, row);
  }
}

/** @param {Attribution} found */
function rowOf(found) {
  return Math.max(Math.min(ALL / found.nHeads, MOST), LEAST);
}
