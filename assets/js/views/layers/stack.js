// @ts-check
// All layers as a stack of floors, counted from below: the selected one is the one drawn large beside it.

import { say } from "../../core/dom.js";
import { svg, words } from "../../core/svg.js";

const [STACK, PLATE] = [24, 40]; // where the stack ends, and where the plate begins to which its floor is enlarged

export class Stack {
  /** @param {import("../../data/store.js").Run} run @param {number} height @param {import("../../data/selection.js").Selection} selection */
  constructor({ nLayers }, height, selection) {
    this.nLayers = nLayers;
    this.height = height;
    this.floor = Math.min((height - 30) / nLayers, 28);
    this.top = height - 6 - this.floor * nLayers;
    this.zoom = svg("path", { class: "ts-block-zoom" });
    this.chosen = svg("rect", { class: "ts-block-chosen", x: 0, width: STACK, height: Math.max(this.floor, 18), rx: 3 });
    this.number = words(STACK / 2, 0, "", "ts-block-number", "middle");
    const ground = svg("rect", { class: "ts-block-ground", x: 0, y: this.top, width: STACK, height: this.floor * nLayers });
    const floors = Array.from({ length: nLayers }, (_, i) => svg("rect", { class: "ts-block-floor", x: 2, y: this.top + i * this.floor, width: STACK - 4, height: Math.max(this.floor - 2, 0.5) }));
    this.element = svg("g", { "aria-hidden": "true" }, this.zoom, words(0, Math.max(this.top - 8, 16), `× ${nLayers}`, "ts-block-name"), ...floors, this.chosen, this.number, ground);
    const at = (/** @type {MouseEvent} */ event) => ({ layer: nLayers - 1 - Math.floor((event.clientY - ground.getBoundingClientRect().top) / this.floor) });
    ground.addEventListener("pointermove", (event) => { if (event.pointerType === "mouse") selection.preview(at(event)); });
    ground.addEventListener("pointerleave", () => selection.preview(null));
    ground.addEventListener("click", (event) => selection.set(at(event), { lock: true }));
    this.shown = -1;
  }

  /** @param {number} layer */
  mark(layer) {
    if (layer === this.shown) return;
    this.shown = layer;
    const size = Math.max(this.floor, 18);
    const y = Math.min(Math.max(this.top + (this.nLayers - 0.5 - layer) * this.floor - size / 2, 22), this.height - size - 4);
    this.chosen.setAttribute("y", String(y));
    this.number.setAttribute("y", String(y + size / 2 + 5));
    say(this.number, String(layer));
    this.zoom.setAttribute("d", `M ${STACK} ${y} L ${PLATE} 2 V ${this.height - 2} L ${STACK} ${y + size} Z`);
  }
}
