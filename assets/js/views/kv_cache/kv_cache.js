// @ts-check
// The KV cache: what is kept so that nothing is computed twice, growing by one position a pass, and what it comes to.

import { h, fact, fill, say, quoted } from "../../core/dom.js";
import { pointer, widthOf } from "../../core/canvas.js";
import { count, duration, size } from "../../core/format.js";
import { kindName } from "../../data/pass_kinds.js";
import { drawCells, drawChart } from "./cache_growth.js";
import { Layers } from "./cache_layers.js";
import { Saving, Scale } from "./cache_scale.js";
import { assumedWords, bytesByShape, bytesOfLayers, bytesOfOne, hasWindows, isState, kept, shapeWords, windowWords } from "../../data/cache_shape.js";
import { counted, phrase, phraseParts } from "../../core/texts.js";

/** @typedef {import("../../data/view.js").State} State */
/** @typedef {import("../../data/axes.js").At} At */
/** @typedef {import("./cache_growth.js").Places} Places */

/** @type {import("../../data/view.js").View} */
export const kvCache = {
  id: "kv-cache",
  title: phrase("KV cache"),
  lead: phrase("The keys and values of all tokens read, kept for the next pass."),
  more: phrase("So each new pass computes them only for its new token. That memory is the KV cache."),
  create(body, { selection, redraw }) {
    const facts = h("div", { class: "ts-facts" });
    const words = h("p", { class: "ts-readout", "aria-live": "polite" });
    const [chart, cells] = [h("canvas", { role: "img" }), h("canvas", { role: "img" })];
    const [chartBox, cellsBox] = [h("div", { class: "ts-canvas-box" }, chart), h("div", { class: "ts-canvas-box" }, cells)];
    const place = h("p", { class: "ts-readout" });
    const [shape, windows] = [h("p", { class: "ts-note" }), h("p", { class: "ts-note" })];
    const dropped = h("span", {}, h("span", { class: "ts-cell-key ts-is-absent" }), phrase("not there: not read yet, or dropped"));
    const [saving, scale, layers] = [new Saving(), new Scale(), new Layers(redraw)];
    body.append(facts, words, h("div", { class: "ts-panes" },
      h("div", {},
        h("h3", { class: "ts-subtitle" }, phrase("Bytes after each pass")), chartBox,
        h("p", { class: "ts-legend" }, h("span", {}, h("span", { class: "ts-cell-key ts-is-kept" }), phrase("kept from before")), h("span", {}, h("span", { class: "ts-cell-key ts-is-written" }), phrase("added")),
          h("span", {}, h("span", { class: "ts-cell-key ts-is-predicted" }), phrase("calculated from the model’s dimensions"))),
        shape, windows, layers.element,
        h("h3", { class: "ts-subtitle" }, phrase("Contents: one column per token, one row per layer")), cellsBox,
        h("p", { class: "ts-legend" }, h("span", {}, h("span", { class: "ts-cell-key ts-is-read" }), phrase("read by this pass")), h("span", {}, h("span", { class: "ts-cell-key ts-is-written" }), phrase("written by this pass, and read")), dropped),
        place, saving.element),
      scale.element));
    const widths = [widthOf(chartBox, redraw), widthOf(cellsBox, redraw)];
    listen(chart, selection, (x) => ({ step: x }));
    listen(cells, selection, (x, y) => ({ layer: y, token: x }));

    return {
      paint(state) {
        if (widths[0]()) places.set(chart, drawChart(chart, widths[0](), state));
        layers.paint(state);
        if (widths[1]()) places.set(cells, drawCells(cells, widths[1](), state));
      },
      draw(state) {
        const { run, at, step } = state;
        layers.draw(state);
        const before = at.step === 0 ? 0 : run.steps[at.step - 1].kvBytes;
        const predicted = bytesByShape(run, step.last + 1);
        fill(facts, fact(phrase("in the cache after this pass"), size(step.kvBytes), step.kvBytes >= 1000 && h("span", { class: "ts-exact-bytes" }, " ", phrase("{n} bytes", { n: count(step.kvBytes) }))), fact(phrase("grew by"), `${step.kvBytes < before ? "−" : "+"} ${size(Math.abs(step.kvBytes - before))}`),
          fact(phrase("tokens read so far"), unread(run, step) ? phrase("{n} of {all}", { n: count(step.last + 1), all: count(run.tokens.length) }) : count(step.last + 1)), fact(phrase("measured and calculated"), agreement(step.kvBytes, predicted)));
        say(words, [passWords(step, at, before), grown(step.kvBytes - before), unread(run, step)].filter(Boolean).join(" "));
        say(shape, shapeWords(run, step));
        say(windows, [windowWords(run), assumedWords(run)].filter(Boolean).join(" "));
        dropped.lastChild?.replaceWith(hasWindows(run) ? phrase("not there: not read yet, or dropped") : phrase("not read yet"));
        fill(place, ...placeWords(run, at, step));
        saving.draw(run, step);
        scale.draw(run);
      },
      numbers({ run }) {
        return {
          columns: [phrase("step"), phrase("kind"), phrase("tokens read"), phrase("tokens so far"), phrase("bytes measured"), phrase("bytes calculated")],
          rows: run.steps.map((step) => [String(step.index), kindName(step.kind), count(step.n), count(step.last + 1), count(step.kvBytes), known(bytesByShape(run, step.last + 1))]),
          note: phrase("Measured: the size of the cache's tensors after each pass. Calculated: what the model's numbers of layers and heads, their widths and the tokens kept require."),
          code: CODE,
        };
      },
    };
  },
  glance({ run, at, step, colours }) {
    return { value: [size(step.kvBytes)], mini: (g, width, height) => {
      const most = run.steps.reduce((top, each) => Math.max(top, each.kvBytes), 1);
      const column = Math.min(12, width / run.steps.length);
      run.steps.forEach((each, i) => {
        const high = (height * each.kvBytes) / most;
        g.globalAlpha = i <= at.step ? 1 : 0.25;
        g.fillStyle = i === at.step ? colours.ink : each.kind !== "decode" ? colours.prompt : colours.generated;
        g.fillRect(i * column, height - high, Math.max(column - (column > 3 ? 1 : 0), 0.5), high);
      });
      g.globalAlpha = 1;
    } };
  },
};

/** Where each canvas has its columns, as it was drawn last. @type {WeakMap<HTMLCanvasElement, Places>} */
const places = new WeakMap();

/** The bytes again, from the trace alone. */
const CODE = `from model import Trace
run = Trace.open('run.trace')
for step in run.steps:
    print(step.kind, step.n_tokens, step.kv_bytes)  # measured, from the cache's own tensors
if run.keys is not None:
    (_, heads, _, key), value = run.keys.shape, run.values.shape[3]
    item = {'float64': 8, 'float32': 4, 'bfloat16': 2, 'float16': 2}[run.model.dtype]
    # a layer without a known window (one with a mask of its own, too) is taken to keep all
    kept = sum(run.n_fed if rule.window is None else min(run.n_fed, rule.window - 1) for rule in run.rules)
    print('worked out:', kept * heads * (key + value) * item)
# in transformers, of a live cache:
# sum(t.nbytes for layer in cache.layers for t in (layer.keys, layer.values))`;

/** Hover previews, a click locks. @param {HTMLCanvasElement} canvas @param {import("../../data/selection.js").Selection} selection @param {(x: number, y: number) => Partial<At>} of */
function listen(canvas, selection, of) {
  const at = (/** @type {MouseEvent} */ event) => {
    const drawn = places.get(canvas);
    if (!drawn) return null;
    const { x, y } = pointer(canvas, event);
    const [column, row] = [Math.floor((x - drawn.left) / drawn.column), Math.floor((y - 3) / drawn.row)];
    return column >= 0 && column < drawn.n ? of(column, Math.min(Math.max(row, 0), drawn.layers - 1)) : null;
  };
  canvas.addEventListener("pointermove", (event) => { if (event.pointerType === "mouse") selection.preview(at(event)); });
  canvas.addEventListener("pointerleave", () => selection.preview(null));
  canvas.addEventListener("click", (event) => { const to = at(event); if (to) selection.set(to, { lock: true }); });
}

/** @param {number} measured @param {number | null} predicted */
function agreement(measured, predicted) {
  if (predicted === null) return phrase("dimensions not known");
  return measured === predicted ? phrase("exactly equal") : phrase("{size} apart", { size: size(Math.abs(measured - predicted)) });
}

/** @param {number | null} bytes */
function known(bytes) {
  return bytes === null ? phrase("not known") : count(bytes);
}

/** What this pass read and wrote. @param {import("../../data/store.js").Step} step @param {At} at @param {number} before */
function passWords(step, at, before) {
  const values = { n: at.step, before: size(before), earlier: count(step.first), tokens: counted(step.n, "{n} token", "{n} tokens", { n: count(step.n) }), time: duration(step.seconds) };
  if (step.kind === "decode") return phrase("Step {n} computed keys and values for 1 new token and wrote them; it read the {before} kept of the {earlier} tokens before it instead of computing them again.", values);
  if (step.kind === "reread") return phrase("Step {n} read {tokens} (in {time}, recorded), earlier ones again: the model keeps no cache of them, or dropped it and built it anew.", values);
  if (step.first === 0) return phrase("Step {n} read {tokens} of the prompt at once (in {time}, recorded) and wrote keys and values for each. The cache was empty before.", values);
  return phrase("Step {n} read {tokens} of the prompt at once (in {time}, recorded) and wrote keys and values for each. The cache held {before} of the {earlier} tokens before them.", values);
}

/** Why the last written token is not in the cache; empty before the run has come to its end. @param {import("../../data/store.js").Run} run @param {import("../../data/store.js").Step} step */
function unread(run, step) {
  const [read, all] = [step.last + 1, run.tokens.length];
  if (!run.end || step.index < run.steps.length - 1 || read >= all) return "";
  return phrase("The cache holds {n} of {all} tokens: no pass has read the last one.", { n: count(read), all: count(all) });
}

/** By how much the cache grew, in words; a layer whose window is full drops as much as it writes. @param {number} bytes */
function grown(bytes) {
  if (bytes > 0) return phrase("The cache grew by {size}.", { size: size(bytes) });
  return bytes < 0 ? phrase("The cache shrank by {size}.", { size: size(-bytes) }) : phrase("The cache did not grow: its windows are full, and drop as much as is written.");
}

/** What one layer keeps of one token. @param {import("../../data/store.js").Run} run @param {At} at @param {import("../../data/store.js").Step} step */
function placeWords(run, at, step) {
  const one = bytesOfOne(run);
  const shape = run.head.kv_shape;
  const values = { layer: String(at.layer), n: String(at.token), token: quoted(run.tokens[at.token]) };
  if (isState(run, step, at.layer)) return phraseParts("Layer {layer} keeps no keys and values: token {n} {token} was worked into its state.", values);
  if (bytesOfLayers(run, step)[at.layer] === 0) return phraseParts("The cache holds nothing for layer {layer}.", values);
  if (at.token < step.last + 1 - kept(run, at.layer, step.last + 1)) return phraseParts("Layer {layer} no longer keeps token {n} {token}: it is outside the layer's window.", values);
  if (one === null || !shape) return phraseParts("Layer {layer} keeps the keys and values of token {n} {token}.", values);
  const sizes = { ...values, heads: String(shape.heads), key: String(shape.key), value: String(shape.value), bytes: count(one) };
  if (shape.heads === 1) return phraseParts("Layer {layer} keeps 1 key of {key} numbers and 1 value of {value} numbers for token {n} {token}: {bytes} bytes.", sizes);
  return phraseParts("Layer {layer} keeps {heads} keys of {key} numbers and {heads} values of {value} numbers for token {n} {token}: {bytes} bytes.", sizes);
}
