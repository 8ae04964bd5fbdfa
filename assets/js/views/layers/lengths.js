// @ts-check
// How long a token's vector is after each layer, on a scale of tenfold steps, among those of the run's other tokens.

import { h, fill, quoted } from "../../core/dom.js";
import { fit, pointer, widthOf } from "../../core/canvas.js";
import { count } from "../../core/format.js";
import { phrase, phraseParts } from "../../core/texts.js";

/** @typedef {import("../../data/view.js").State} State */
/** @typedef {import("../../data/store.js").Run} Run */
/** Lengths by level and position; of the tokens after the first, the shortest and the longest at each level.
 * @typedef {{key: string, of: Float32Array, n: number, low: Float32Array, high: Float32Array, bottom: number, top: number}} Lengths */

const [LEFT, TOP, HEIGHT, FOOT] = [68, 10, 170, 26];

/** The length of the residual stream's vector, or null where it is not recorded. @param {Run} run @param {number} level @param {number} position */
export function lengthAt(run, level, position) {
  const step = run.steps[run.stepOf[position]];
  return step?.norms ? step.norms[level * step.n + position - step.first] : null;
}

/** With as many digits as tell neighbours apart. @param {number} length */
export function plainLength(length) {
  return length >= 100 ? count(length) : length.toPrecision(3);
}

/** @param {HTMLElement} box @param {import("../../data/view.js").Context} context */
export function makeLengths(box, { selection, redraw }) {
  const empty = h("p", { class: "ts-empty" });
  const chart = h("canvas", { class: "ts-map", role: "img" });
  const chartBox = h("div", { class: "ts-canvas-box" }, chart);
  const words = h("p", { class: "ts-readout" });
  const about = h("p", { class: "ts-note" });
  box.append(empty, chartBox, words, about);
  const width = widthOf(chartBox, redraw);
  let lengths = /** @type {Lengths | null} */ (null);
  let levels = 0;
  let drawn = "";

  const layerAt = (/** @type {MouseEvent} */ event) => {
    const level = Math.round(((pointer(chart, event).x - LEFT) / Math.max(width() - LEFT - 10, 1)) * (levels - 1));
    return { layer: Math.min(Math.max(level - 1, 0), levels - 2) };
  };
  chart.addEventListener("pointermove", (event) => { if (event.pointerType === "mouse") selection.preview(layerAt(event)); });
  chart.addEventListener("pointerleave", () => selection.preview(null));
  chart.addEventListener("click", (event) => selection.set(layerAt(event), { lock: true }));

  return {
    /** @param {State} state */
    paint(state) {
      lengths = lengthsOf(state.run, lengths);
      levels = state.run.nLayers + 1;
      if (lengths && width()) paintChart(chart, state, lengths, width());
    },
    /** @param {State} state */
    draw({ run, at }) {
      const now = `${run.id}/${at.layer}/${at.token}/${lengths?.key}`;
      if (now === drawn) return;
      drawn = now;
      empty.hidden = lengths !== null;
      chartBox.hidden = words.hidden = about.hidden = lengths === null;
      if (!lengths) { fill(empty, run.head.shows.residual ? phrase("The vectors of this run are not shown: {reason}.", { reason: run.head.shows.residual }) : phrase("The vectors of this run were not recorded.")); return; }
      const [before, after] = [lengthAt(run, 0, at.token) ?? 0, lengthAt(run, at.layer + 1, at.token) ?? 0];
      fill(words, ...phraseParts("The vector of {token} has length {before} at the input and {after} after layer {layer}.", { token: quoted(run.tokens[at.token]), before: plainLength(before), after: plainLength(after), layer: String(at.layer) }));
      fill(about, ...aboutFirst(run, lengths));
      chart.setAttribute("aria-label", phrase("Line chart on a log scale: the vector of token {n} has length {before} at the input and {after} after the last layer.",
        { n: at.token, before: plainLength(before), after: plainLength(lengthAt(run, run.nLayers, at.token) ?? 0) }));
    },
  };
}

/** The first token is a case of its own in many models. @param {Run} run @param {Lengths} lengths */
function aboutFirst(run, lengths) {
  const first = lengths.of.filter((_, i) => i % lengths.n === 0);
  const level = first.indexOf(Math.max(...first));
  const others = lengths.n > 1 ? lengths.high[level] : NaN;
  const scale = phrase("Length: the square root of the sum of the squares of the vector's numbers.");
  if (!(first[level] > 5 * others)) return [scale];
  return [scale, " ", ...phraseParts("The first token, {token}, is an outlier: it reaches {length}, {times} times the longest of the other tokens there. Many heads attend to it when they find nothing relevant (see Attention), and it carries little meaning of its own.",
    { token: quoted(run.tokens[0]), length: plainLength(first[level]), times: count(first[level] / others) })];
}

/** @param {Run} run @param {Lengths | null} held @returns {Lengths | null} */
function lengthsOf(run, held) {
  const [n, levels] = [run.nRead, run.nLayers + 1];
  const key = `${run.id}/${n}`;
  if (held?.key === key) return held;
  if (!run.steps.every((step) => step.norms)) return null;
  const of = Float32Array.from({ length: levels * n }, (_, i) => lengthAt(run, Math.floor(i / n), i % n) ?? NaN);
  const low = new Float32Array(levels).fill(Infinity);
  const high = new Float32Array(levels).fill(0);
  for (let level = 0; level < levels; level += 1) {
    for (let p = 1; p < n; p += 1) {
      low[level] = Math.min(low[level], of[level * n + p]);
      high[level] = Math.max(high[level], of[level * n + p]);
    }
  }
  const positive = of.filter((length) => length > 0 && Number.isFinite(length));
  if (!positive.length) return null;
  const least = positive.reduce((a, b) => Math.min(a, b));
  const most = positive.reduce((a, b) => Math.max(a, b));
  return { key, of, n, low, high, bottom: Math.floor(Math.log10(least)), top: Math.max(Math.ceil(Math.log10(most)), Math.floor(Math.log10(least)) + 1) };
}

/** @param {HTMLCanvasElement} canvas @param {State} state @param {Lengths} lengths @param {number} width */
function paintChart(canvas, { run, at, colours }, { of, n, low, high, bottom, top }, width) {
  const g = fit(canvas, width, TOP + HEIGHT + FOOT);
  const levels = run.nLayers + 1;
  const x = (/** @type {number} */ level) => LEFT + (level / Math.max(levels - 1, 1)) * (width - LEFT - 10);
  const y = (/** @type {number} */ length) => TOP + HEIGHT * (1 - Math.min(Math.max((Math.log10(Math.max(length, 1e-9)) - bottom) / (top - bottom), 0), 1));
  g.fillStyle = colours.muted;
  g.strokeStyle = colours.line;
  g.textAlign = "right";
  for (let power = bottom; power <= top; power += 1) {
    const at10 = y(10 ** power);
    g.fillText(power < 0 ? String(10 ** power) : count(10 ** power), LEFT - 8, at10 + 5);
    g.beginPath();
    g.moveTo(LEFT, at10);
    g.lineTo(width - 10, at10);
    g.stroke();
  }
  if (n > 2) {
    g.globalAlpha = 0.25;
    g.beginPath();
    for (let level = 0; level < levels; level += 1) g.lineTo(x(level), y(high[level]));
    for (let level = levels - 1; level >= 0; level -= 1) g.lineTo(x(level), y(low[level]));
    g.fill();
    g.globalAlpha = 1;
  }
  const curve = (/** @type {number} */ token) => {
    g.beginPath();
    for (let level = 0; level < levels; level += 1) g.lineTo(x(level), y(of[level * n + token]));
    g.stroke();
  };
  g.lineWidth = 1.5;
  g.setLineDash([5, 4]);
  g.strokeStyle = colours.muted;
  curve(0);
  g.setLineDash([]);
  g.lineWidth = 2.5;
  g.strokeStyle = colours.ink;
  curve(at.token);
  g.fillStyle = colours.ink;
  g.beginPath();
  g.arc(x(at.layer + 1), y(of[(at.layer + 1) * n + at.token]), 5, 0, 7);
  g.fill();
  g.lineWidth = 1;
  g.fillStyle = colours.muted;
  g.textAlign = "left";
  g.fillText(phrase("input"), LEFT - 6, TOP + HEIGHT + 20);
  g.textAlign = "right";
  g.fillText(phrase("after layer {n}", { n: run.nLayers - 1 }), width - 2, TOP + HEIGHT + 20);
  g.textAlign = "left";
}
