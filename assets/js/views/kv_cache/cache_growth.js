// @ts-check
// The cache as it grew: bytes after each pass, and what it holds by layer and token. Both are drawn on canvases.

import { fit, hatch } from "../../core/canvas.js";
import { count, size } from "../../core/format.js";
import { bytesByShape, hasWindows, isState, kept } from "../../data/cache_shape.js";
import { counted, phrase } from "../../core/texts.js";

/** @typedef {import("../../data/view.js").State} State */
/** Where the columns of a drawing are. @typedef {{left: number, column: number, n: number, row: number, layers: number}} Places */

const PALE = 0.36; // what a pass finds in the cache
const ABSENT = 0.09;
const WIDEST = 96; // px: a bar of a short run

/** @param {HTMLCanvasElement} chart @param {number} width @param {State} state @returns {Places} */
export function drawChart(chart, width, { run, at, colours }) {
  const [left, top, height] = [76, 14, 132];
  const g = fit(chart, width, height + top + 26);
  const n = run.steps.length;
  const most = Math.max(...run.steps.map((step) => step.kvBytes), 1);
  const column = Math.min(WIDEST, (width - left - 4) / n);
  g.textAlign = "right";
  g.fillStyle = colours.muted;
  g.strokeStyle = colours.line;
  for (const share of [0, 0.5, 1]) {
    const y = top + height * (1 - share);
    g.fillText(share ? size(most * share) : "0", left - 8, y + 5);
    g.beginPath();
    g.moveTo(left, y + 0.5);
    g.lineTo(left + n * column, y + 0.5);
    g.stroke();
  }
  const wide = Math.max(column - (column > 6 ? 2 : 0), 0.5);
  run.steps.forEach((step, i) => {
    const before = i === 0 ? 0 : run.steps[i - 1].kvBytes;
    const x = left + i * column;
    const y = top + height * (1 - step.kvBytes / most);
    const fresh = step.kvBytes > before ? Math.max((height * (step.kvBytes - before)) / most, 2) : 0; // a full window adds nothing
    const seen = i <= at.step ? 1 : 0.3;
    g.fillStyle = colours.muted;
    g.globalAlpha = PALE * seen;
    g.fillRect(x, y + fresh, wide, top + height - y - fresh);
    g.globalAlpha = seen;
    g.fillStyle = step.kind === "decode" ? colours.generated : colours.prompt;
    g.fillRect(x, y, wide, fresh);
    if (step.kind !== "decode" && fresh) hatch(g, x, y, wide, fresh, colours.card, 5);
  });
  g.globalAlpha = 1;
  predictions(g, run, most, { left, top, height, column, wide }, colours.ink);
  g.strokeStyle = colours.ink;
  g.lineWidth = 2;
  const now = top + height * (1 - run.steps[at.step].kvBytes / most);
  g.strokeRect(left + at.step * column - 1, now - 1, wide + 2, top + height - now + 2);
  g.lineWidth = 1;
  g.textAlign = "left";
  g.fillStyle = colours.muted;
  g.fillText(phrase("step {n}", { n: 0 }), left, top + height + 20);
  if (n > 1 && column * n > 130) {
    g.textAlign = "right";
    g.fillText(phrase("step {n}", { n: count(n - 1) }), left + column * n, top + height + 20);
  }
  chart.setAttribute("aria-label", counted(n, "Bar chart: the cache grows from {from} to {to} over {n} pass.", "Bar chart: the cache grows from {from} to {to} over {n} passes.", { from: size(run.steps[0].kvBytes), to: size(run.steps[n - 1].kvBytes) }));
  return { left, column, n, row: height, layers: 1 };
}

/** A stroke on each bar, where the shape says that it ends. @param {CanvasRenderingContext2D} g @param {import("../../data/store.js").Run} run @param {number} most
 * @param {{left: number, top: number, height: number, column: number, wide: number}} place @param {string} colour */
function predictions(g, run, most, { left, top, height, column, wide }, colour) {
  if (bytesByShape(run, 1) === null) return;
  g.fillStyle = colour;
  run.steps.forEach((step, i) => {
    const y = top + height * (1 - (bytesByShape(run, step.last + 1) ?? 0) / most);
    g.fillRect(left + i * column, y - 2, wide, 2);
  });
}

/** @param {HTMLCanvasElement} cells @param {number} width @param {State} state @returns {Places} */
export function drawCells(cells, width, { run, at, step, colours }) {
  const [left, top, layers, n] = [64, 3, run.nLayers, run.nRead];
  const row = Math.min(8, Math.max(3, 150 / layers));
  const column = Math.min(22, (width - left - 4) / n);
  const g = fit(cells, width, row * layers + top * 2);
  const windows = hasWindows(run);
  const states = Array.from({ length: layers }, (_, layer) => layer).filter((layer) => isState(run, step, layer));
  const bands = windows || states.length ? Array.from({ length: layers }, (_, layer) => layer) : [0];
  for (const layer of bands) {
    const [y, high] = [top + layer * row, bands.length > 1 ? row : row * layers];
    if (states.includes(layer)) continue;
    const oldest = step.last + 1 - kept(run, layer, step.last + 1);
    const span = (/** @type {number} */ from, /** @type {number} */ to, /** @type {number} */ alpha) => stretch(g, from, to, alpha, run.nPrompt, { left, column, y, high }, colours);
    span(0, Math.min(oldest, step.first), ABSENT);
    span(Math.min(oldest, step.first), step.first, PALE);
    span(step.first, step.last + 1, 1);
    if (oldest > step.first) span(step.first, oldest, ABSENT);
    span(step.last + 1, n, ABSENT);
  }
  g.globalAlpha = 1;
  g.fillStyle = colours.card;
  if (row > 2) for (let layer = 1; layer < layers; layer += 1) g.fillRect(left, top + layer * row - 1, column * n, row > 4 ? 1 : 0.5);
  if (column > 4) for (let p = 1; p < n; p += 1) g.fillRect(left + p * column - 1, top, 1.5, row * layers);
  g.fillStyle = colours.spine;
  for (const layer of states) g.fillRect(left, top + layer * row, column * n - 1, row - 1); // not cut into tokens
  if (step.first > 0 && !windows) outline(g, left, top, step.first * column - 1, row * layers, colours.muted, 1.5);
  outline(g, left + step.first * column, top, (step.last + 1 - step.first) * column - 1, row * layers, colours.ink, 2);
  g.fillStyle = colours.ink;
  g.fillRect(left - 5, top + at.layer * row, 3, row);
  outline(g, left + at.token * column, top + at.layer * row, Math.max(column - 1, 2), row - 1, colours.ink, 1.5);
  g.fillStyle = colours.muted;
  g.textAlign = "right";
  g.fillText(phrase("layer {n}", { n: 0 }), left - 10, 14);
  if (row * layers > 40) g.fillText(`${layers - 1}`, left - 10, row * layers + 2);
  cells.setAttribute("aria-label", phrase("{layers} layers by {tokens} tokens; this pass wrote {n} of {all} columns, in every layer.", { layers, tokens: n, n: step.n, all: step.last + 1 }));
  return { left, column, n, row, layers };
}

/** Tokens from one to before another, those of the prompt and those written in their colours. @param {CanvasRenderingContext2D} g @param {number} from
 * @param {number} to @param {number} alpha @param {number} nPrompt @param {{left: number, column: number, y: number, high: number}} place @param {import("../../core/canvas.js").Paint} colours */
function stretch(g, from, to, alpha, nPrompt, { left, column, y, high }, colours) {
  const draw = (/** @type {number} */ first, /** @type {number} */ end, /** @type {string} */ colour, /** @type {boolean} */ prompt) => {
    if (end <= first) return;
    g.clearRect(left + first * column, y, (end - first) * column, high);
    g.globalAlpha = alpha;
    g.fillStyle = colour;
    g.fillRect(left + first * column, y, (end - first) * column, high);
    if (prompt && alpha > ABSENT) hatch(g, left + first * column, y, (end - first) * column, high, colours.card, 7);
  };
  draw(from, Math.min(to, nPrompt), colours.prompt, true);
  draw(Math.max(from, nPrompt), to, colours.generated, false);
}

/** @param {CanvasRenderingContext2D} g @param {number} x @param {number} y @param {number} width @param {number} height @param {string} colour @param {number} line */
function outline(g, x, y, width, height, colour, line) {
  g.strokeStyle = colour;
  g.lineWidth = line;
  g.strokeRect(x - 0.5, y - 0.5, width + 0.5, height + 0.5);
  g.lineWidth = 1;
}
