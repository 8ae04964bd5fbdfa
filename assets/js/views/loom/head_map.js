// @ts-check
// All heads of the model in little: the darker, the further and harder the head looks back from the selected token.

import { fit, mix, pointer, widthOf } from "../../core/canvas.js";
import { h } from "../../core/dom.js";
import { phrase } from "../../core/texts.js";
import { farthestLook } from "./arcs.js";

/** @typedef {import("../../data/view.js").State} State */

const ROW = 11; // px

export class HeadMap {
  /** @param {(go: {layer: number, head: number}) => void} choose @param {(go: {layer: number, head: number} | null) => void} preview */
  constructor(choose, preview) {
    this.canvas = h("canvas", { class: "ts-head-map", role: "img", "aria-label": phrase("all heads: across the layers, down the heads") });
    this.element = h("div", {}, h("p", { class: "ts-loom-label" }, phrase("All heads (across: layers, down: heads). Dark: attends far back.")), this.canvas);
    /** @type {State | null} */
    this.state = null;
    this.width = widthOf(this.element, () => { if (this.state) this.draw(this.state); });
    this.canvas.addEventListener("click", (event) => {
      const at = this.headAt(event);
      if (at) choose(at);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      const at = this.headAt(event);
      this.canvas.title = at ? phrase("layer {layer}, head {head}", at) : "";
      if (event.pointerType === "mouse") preview(at);
    });
    this.canvas.addEventListener("pointerleave", () => preview(null));
  }

  /** @param {MouseEvent} event */
  headAt(event) {
    const { run } = this.state ?? {};
    if (!run) return null;
    const { x, y } = pointer(this.canvas, event);
    return { layer: Math.min(Math.floor((x / this.width()) * run.nLayers), run.nLayers - 1), head: Math.min(Math.floor(y / ROW), run.nHeads - 1) };
  }

  /** @param {State} state */
  draw(state) {
    this.state = state;
    const { run, at, colours } = state;
    const width = this.width();
    if (!width) return;
    const g = fit(this.canvas, width, run.nHeads * ROW + 2);
    const w = width / run.nLayers;
    const steps = Array.from({ length: 64 }, (_, i) => mix(colours.sunk, colours.weight, i / 63));
    for (let layer = 0; layer < run.nLayers; layer += 1) {
      for (let head = 0; head < run.nHeads; head += 1) {
        const share = farthestLook(run, layer, head, at.token)?.share ?? 0;
        g.fillStyle = steps[Math.round(Math.sqrt(share) * 63)];
        g.fillRect(layer * w + 0.5, head * ROW + 1, w - 1, ROW - 1);
      }
    }
    g.strokeStyle = colours.ink;
    g.lineWidth = 2;
    g.strokeRect(at.layer * w, at.head * ROW + 0.5, w, ROW);
  }
}
