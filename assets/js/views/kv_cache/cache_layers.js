// @ts-check
// What each layer of a model keeps, where they differ: keys and values that grow with the text, a window, a state of fixed size, or nothing.

import { h, say } from "../../core/dom.js";
import { fit, hatch, widthOf } from "../../core/canvas.js";
import { size } from "../../core/format.js";
import { bytesOfLayers, isState, statesOfLayers } from "../../data/cache_shape.js";
import { counted, phrase } from "../../core/texts.js";

/** @typedef {import("../../data/view.js").State} State */

const [LEFT, TOP, HEIGHT, FOOT, WIDEST] = [76, 8, 96, 24, 40]; // px

export class Layers {
  /** @param {() => void} redraw */
  constructor(redraw) {
    this.canvas = h("canvas", { role: "img" });
    this.box = h("div", { class: "ts-canvas-box" }, this.canvas);
    this.said = h("p", { class: "ts-note" });
    this.state = h("span", {}, h("span", { class: "ts-cell-key ts-is-state" }), phrase("a state of fixed size, however long the text"));
    this.element = h("div", { hidden: true }, h("h3", { class: "ts-subtitle" }, phrase("Bytes of each layer after this pass")), this.box,
      h("p", { class: "ts-legend" }, h("span", {}, h("span", { class: "ts-key-key" }), h("span", { class: "ts-key-value" }), " ", phrase("keys and values of tokens")), this.state), this.said);
    this.width = widthOf(this.box, redraw);
  }

  /** @param {State} state */
  paint({ run, at, step, colours }) {
    const width = this.width();
    this.element.hidden = !differ(run);
    if (this.element.hidden || !width) return;
    const [bytes, states] = [bytesOfLayers(run, step), statesOfLayers(run, step)];
    const most = Math.max(...run.steps.flatMap((each) => bytesOfLayers(run, each)), 1);
    const column = Math.min((width - LEFT - 4) / run.nLayers, WIDEST);
    const g = fit(this.canvas, width, TOP + HEIGHT + FOOT);
    g.fillStyle = g.strokeStyle = colours.muted;
    g.textAlign = "right";
    g.fillText(size(most), LEFT - 8, TOP + 9);
    g.fillText("0", LEFT - 8, TOP + HEIGHT + 4);
    bytes.forEach((each, layer) => {
      const [x, wide] = [LEFT + layer * column, Math.max(column - 2, 1)];
      const [state, tokens] = [(HEIGHT * states[layer]) / most, (HEIGHT * (each - states[layer])) / most];
      for (const [colour, from] of /** @type {const} */ ([[colours.key, 0], [colours.value, 0.5]])) {
        g.fillStyle = colour;
        g.fillRect(x + from * wide, TOP + HEIGHT - state - tokens, wide / 2, tokens);
      }
      g.fillStyle = colours.spine;
      g.fillRect(x, TOP + HEIGHT - state, wide, state);
      if (state) hatch(g, x, TOP + HEIGHT - state, wide, state, colours.card, 5);
    });
    g.fillStyle = colours.ink;
    g.fillRect(LEFT + at.layer * column, TOP + HEIGHT + 2, Math.max(column - 2, 1), 2.5);
    g.fillStyle = colours.muted;
    g.textAlign = "left";
    g.fillText(phrase("layer {n}", { n: 0 }), LEFT, TOP + HEIGHT + 19);
    g.textAlign = "right";
    if (column * run.nLayers > 110) g.fillText(String(run.nLayers - 1), LEFT + run.nLayers * column, TOP + HEIGHT + 19);
    this.canvas.setAttribute("aria-label", phrase("Bar chart: bytes that each of {n} layers keeps after this pass.", { n: run.nLayers }));
  }

  /** @param {State} state */
  draw({ run, at, step }) {
    const [bytes, states] = [bytesOfLayers(run, step), statesOfLayers(run, step)];
    const n = states.filter(Boolean).length;
    this.state.hidden = n === 0;
    const values = { layer: at.layer, bytes: size(bytes[at.layer]), state: size(states[at.layer]) };
    const here = isState(run, step, at.layer) ? phrase("Layer {layer} keeps a state of {bytes}: each token is worked into it, and none is kept by itself.", values)
      : states[at.layer] ? phrase("Layer {layer} keeps {bytes}, of which {state} are a state.", values)
      : bytes[at.layer] ? phrase("Layer {layer} keeps {bytes}.", values) : phrase("The cache holds nothing for layer {layer}.", values);
    say(this.said, [here, n && counted(n, "{n} of {all} layers keeps a state.", "{n} of {all} layers keep a state.", { all: run.nLayers })].filter(Boolean).join(" "));
  }
}

/** Whether layers differ in what they keep, or keep something else than keys and values. @param {import("../../data/store.js").Run} run */
function differ(run) {
  return run.steps.some((step) => step.layerBytes.length > 0 || step.stateBytes.length > 0);
}
