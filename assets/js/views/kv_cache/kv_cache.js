// @ts-check
// The KV cache: what is kept so that nothing is computed twice, growing by one position a pass, and what it comes to.

import { h, fact, fill, say, quoted } from "../../core/dom.js";
import { pointer, widthOf } from "../../core/canvas.js";
import { count, duration, size } from "../../core/format.js";
import { drawCells, drawChart } from "./cache_growth.js";
import { Saving, Scale } from "./cache_scale.js";
import { assumedWords, bytesByShape, bytesOfOne, hasWindows, kept, shapeWords, windowWords } from "./cache_shape.js";

/** @typedef {import("../../board/card.js").State} State */
/** @typedef {import("../../data/axes.js").At} At */
/** @typedef {import("./cache_growth.js").Places} Places */

/** @type {import("../../board/card.js").View} */
export const kvCache = {
  id: "kv-cache",
  title: "KV cache",
  sentence: "Keys and values of tokens that were read are kept, so each new pass computes them for its new token only. That memory is the KV cache.",
  create(body, { selection, redraw }) {
    const facts = h("div", { class: "ts-facts" });
    const words = h("p", { class: "ts-readout", "aria-live": "polite" });
    const [chart, cells] = [h("canvas", { role: "img" }), h("canvas", { role: "img" })];
    const [chartBox, cellsBox] = [h("div", { class: "ts-canvas-box" }, chart), h("div", { class: "ts-canvas-box" }, cells)];
    const place = h("p", { class: "ts-readout" });
    const [shape, windows] = [h("p", { class: "ts-note" }), h("p", { class: "ts-note" })];
    const dropped = h("span", {}, h("span", { class: "ts-cell-key ts-is-absent" }), "not there: not read yet, or dropped");
    const [saving, scale] = [new Saving(), new Scale()];
    body.append(facts, words, h("div", { class: "ts-panes" },
      h("div", {},
        h("h3", { class: "ts-subtitle" }, "Bytes after each pass"), chartBox,
        h("p", { class: "ts-legend" }, h("span", {}, h("span", { class: "ts-cell-key ts-is-kept" }), "kept from before"), h("span", {}, h("span", { class: "ts-cell-key ts-is-written" }), "added"),
          h("span", {}, h("span", { class: "ts-cell-key ts-is-predicted" }), "worked out from the model’s sizes")),
        shape, windows,
        h("h3", { class: "ts-subtitle" }, "What it holds: one column a token, one row a layer"), cellsBox,
        h("p", { class: "ts-legend" }, h("span", {}, h("span", { class: "ts-cell-key ts-is-read" }), "read by this pass"), h("span", {}, h("span", { class: "ts-cell-key ts-is-written" }), "written now, and read"), dropped),
        place, saving.element),
      scale.element));
    const widths = [widthOf(chartBox, redraw), widthOf(cellsBox, redraw)];
    listen(chart, selection, (x) => ({ step: x }));
    listen(cells, selection, (x, y) => ({ layer: y, token: x }));

    return {
      paint(state) {
        if (widths[0]()) places.set(chart, drawChart(chart, widths[0](), state));
        if (widths[1]()) places.set(cells, drawCells(cells, widths[1](), state));
      },
      draw({ run, at, step }) {
        const before = at.step === 0 ? 0 : run.steps[at.step - 1].kvBytes;
        const predicted = bytesByShape(run, step.last + 1);
        fill(facts, fact("in the cache after this pass", size(step.kvBytes), step.kvBytes >= 1000 && h("span", { class: "ts-exact-bytes" }, ` ${count(step.kvBytes)} bytes`)), fact("grew by", `${step.kvBytes < before ? "−" : "+"} ${size(Math.abs(step.kvBytes - before))}`),
          fact("tokens read so far", unread(run, step) ? `${count(step.last + 1)} of ${count(run.tokens.length)}` : count(step.last + 1)), fact("measured and worked out", agreement(step.kvBytes, predicted)));
        say(words, [passWords(step, at, before), unread(run, step)].filter(Boolean).join(" "));
        say(shape, shapeWords(run, step));
        say(windows, [windowWords(run), assumedWords(run)].filter(Boolean).join(" "));
        dropped.lastChild?.replaceWith(hasWindows(run) ? "not there: not read yet, or dropped" : "not read yet");
        fill(place, ...placeWords(run, at, step));
        saving.draw(run, step);
        scale.draw(run);
      },
      numbers({ run }) {
        return {
          columns: ["step", "kind", "tokens read", "tokens so far", "bytes measured", "bytes worked out"],
          rows: run.steps.map((step) => [String(step.index), step.kind, count(step.n), count(step.last + 1), count(step.kvBytes), known(bytesByShape(run, step.last + 1))]),
          note: "Measured: the size of the cache's tensors after each pass. Worked out: what the model's numbers of layers, heads, widths and tokens kept would need.",
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

/** Hover previews, a click locks. @param {HTMLCanvasElement} canvas @param {import("../../board/selection.js").Selection} selection @param {(x: number, y: number) => Partial<At>} of */
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
  if (predicted === null) return "sizes not known";
  return measured === predicted ? "exactly equal" : `${size(Math.abs(measured - predicted))} apart`;
}

/** @param {number | null} bytes */
function known(bytes) {
  return bytes === null ? "not known" : count(bytes);
}

/** What this pass read and wrote. @param {import("../../data/store.js").Step} step @param {At} at @param {number} before */
function passWords(step, at, before) {
  const grew = grown(step.kvBytes - before);
  if (step.kind === "decode") {
    return `Step ${at.step} computed keys and values for 1 new token and wrote them; it read the ${size(before)} kept of the ${count(step.first)} before it instead of computing them again. So ${grew}.`;
  }
  const found = step.first > 0 ? ` It found ${size(before)} of the ${count(step.first)} tokens before them.` : " It found the cache empty.";
  return `Step ${at.step} read ${count(step.n)} tokens of the prompt at once (in ${duration(step.seconds)}, recorded) and wrote keys and values for each.${found} So ${grew}.`;
}

/** Why the last written token is not in the cache; empty before the run has come to its end. @param {import("../../data/store.js").Run} run @param {import("../../data/store.js").Step} step */
function unread(run, step) {
  const [read, all] = [step.last + 1, run.tokens.length];
  if (!run.end || step.index < run.steps.length - 1 || read >= all) return "";
  return `The cache holds ${count(read)} of ${count(all)} tokens: nobody has read the last one yet.`;
}

/** By how much the cache grew, in words; a layer whose window is full drops as much as it writes. @param {number} bytes */
function grown(bytes) {
  if (bytes > 0) return `the cache grew by ${size(bytes)}`;
  return bytes < 0 ? `the cache shrank by ${size(-bytes)}` : "the cache stayed as large: its windows are full, and drop as much as is written";
}

/** What one layer keeps of one token. @param {import("../../data/store.js").Run} run @param {At} at @param {import("../../data/store.js").Step} step */
function placeWords(run, at, step) {
  const one = bytesOfOne(run);
  const shape = run.head.kv_shape;
  const token = [`token ${at.token} `, quoted(run.tokens[at.token])];
  if (at.token < step.last + 1 - kept(run, at.layer, step.last + 1)) return [`Layer ${at.layer} keeps nothing of `, ...token, " any more: it is outside its window."];
  if (one === null || !shape) return [`Layer ${at.layer} keeps keys and values of `, ...token, "."];
  const widths = shape.key === shape.value ? `${shape.key} numbers each` : `${shape.key} and ${shape.value} numbers`;
  return [`Of `, ...token, `, layer ${at.layer} keeps ${shape.heads} ${shape.heads === 1 ? "key and value" : `keys and ${shape.heads} values`} of ${widths}: ${count(one)} bytes.`];
}
