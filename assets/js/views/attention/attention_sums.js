// @ts-check
// The sums behind one row of attention, from a layer's queries, keys and values: scores, weights, and what they fetch.

import { WEIGHTS } from "../../data/store.js";
import { phrase } from "../../core/texts.js";

/** `raw` query·key; `scaled`; `scores` after the soft cap; `powers` e^(score − highest), null where only the 8-bit weights are known;
 * `total` their sum, with the learned sink's; `taken` weight times the value's length; `sink` the learned sink's weight; `key` names all this.
 * @typedef {{key: string, bits: number, divisor: string, query: Float32Array, raw: Float64Array, scaled: Float64Array, scores: Float64Array, powers: Float64Array | null,
 *   most: number, total: number, seenPowers: number, weights: Float64Array, lengths: Float64Array, taken: Float64Array, sum: Float32Array, sink: number, nHidden: number, note: string,
 *   queryLength: number, sumLength: number, keyLength: (j: number) => number, keyAt: (j: number) => Float32Array, valueAt: (j: number) => Float32Array,
 *   productsAt: (j: number) => Float32Array, hidden: (j: number) => boolean, strongest: (most: number) => number[]}} Work */

/** One row, as the model does it (model/attention.py says the same in numpy).
 * @param {import("../../data/store.js").Run} run @param {import("../../data/store.js").Vectors} vectors @param {import("../../data/axes.js").At} at @returns {{found: Work | null, why: string | null}} */
export function workOut(run, vectors, { layer, head, token }) {
  const { dHead, dValue, positions, bits } = vectors;
  const rule = run.head.rules[layer];
  const bytes = run.row(layer, head, token);
  if ((rule.mask !== null || run.head.learned_sinks) && !bytes) return { found: null, why: phrase("This page includes neither this row's weights nor the model's own mask or sink: open the trace file.") };
  const group = Math.floor(head / (vectors.heads / vectors.kvHeads));
  const n = token + 1;
  const part = (/** @type {Float32Array} */ of, /** @type {number} */ row, /** @type {number} */ width) => of.subarray(row * width, (row + 1) * width);
  const query = part(vectors.queries, head * positions + token, dHead);
  const keyAt = (/** @type {number} */ j) => part(vectors.keys, group * positions + j, dHead);
  const valueAt = (/** @type {number} */ j) => part(vectors.values, group * positions + j, dValue);
  const raw = Float64Array.from({ length: n }, (_, j) => dot(query, keyAt(j)));
  const scaled = raw.map((each) => each * rule.scaling);
  const scores = rule.softcap === null ? scaled : scaled.map((each) => rule.softcap * Math.tanh(each / rule.softcap));
  const hidden = (/** @type {number} */ j) => rule.mask === null && rule.window !== null && token - j >= rule.window;
  const weighed = rule.mask === null ? softmax(scores, hidden, run.head.learned_sinks ? bytes : null) : fromBytes(/** @type {Uint8Array} */ (bytes), run.head.learned_sinks);
  const { weights } = weighed;
  const lengths = Float64Array.from({ length: n }, (_, j) => length(valueAt(j)));
  const sum = new Float32Array(dValue);
  for (let j = 0; j < n; j += 1) valueAt(j).forEach((each, i) => { sum[i] += weights[j] * each; });
  const seen = Array.from(weights.keys()).filter((j) => !hidden(j));
  return { why: null, found: {
    key: `${run.id}/${layer}/${head}/${token}/${positions}/${bits}`, bits, divisor: divisorOf(rule.scaling),
    query, raw, scaled, scores, ...weighed, lengths, taken: lengths.map((each, j) => each * weights[j]), sum,
    nHidden: n - seen.length, queryLength: length(query), sumLength: length(sum), keyLength: (j) => length(keyAt(j)), keyAt, valueAt, hidden,
    productsAt: (j) => query.map((each, i) => each * keyAt(j)[i]),
    strongest: (most) => strongest(seen, weights, token, most),
  } };
}

/** With a learned sink, whose score does not travel, the strongest weight of the row's 8 bits tells what the sink took.
 * @param {Float64Array} scores @param {(j: number) => boolean} hidden @param {Uint8Array | null} bytes */
function softmax(scores, hidden, bytes) {
  const most = scores.reduce((top, each, j) => (hidden(j) ? top : Math.max(top, each)), -Infinity);
  const powers = scores.map((each, j) => (hidden(j) ? 0 : Math.exp(each - most)));
  const seenPowers = powers.reduce((sum, each) => sum + each, 0);
  const total = bytes ? Math.max(seenPowers, 1 / (WEIGHTS[bytes[scores.indexOf(most)]] || 1e-9)) : seenPowers;
  return { powers, most, seenPowers, total, weights: powers.map((each) => each / total), sink: bytes ? 1 - seenPowers / total : 0,
    note: bytes ? phrase("The learned sink's share is estimated from the run's 8-bit weights, within about 1%.") : "" };
}

/** What a score is divided by, with four digits that count. @param {number} scaling */
function divisorOf(scaling) {
  const divisor = Number((1 / scaling).toPrecision(6));
  return divisor.toFixed(Number.isInteger(divisor) ? 2 : Math.max(2, 3 - Math.floor(Math.log10(divisor))));
}

/** Without a learned sink the weights must sum to 1; with one, what they leave is the sink's.
 * @param {Uint8Array} bytes @param {boolean} withSink */
function fromBytes(bytes, withSink) {
  const rough = Float64Array.from(bytes, (byte) => WEIGHTS[byte]);
  const seen = rough.reduce((sum, each) => sum + each, 0) || 1;
  const whole = withSink ? Math.max(seen, 1) : seen;
  return { powers: null, most: NaN, seenPowers: NaN, total: NaN, sink: Math.max(0, 1 - seen / whole), weights: rough.map((each) => each / whole),
    note: phrase("This layer adds its own mask to the scores, which this page does not include: the weights are the run's, from 8 bits.") };
}

/** The strongest keys, the strongest first; the first token and the token itself always among them.
 * @param {number[]} seen @param {Float64Array} weights @param {number} self @param {number} most */
function strongest(seen, weights, self, most) {
  const order = [...seen].sort((a, b) => weights[b] - weights[a]);
  return order.filter((j, place) => place < most || j === 0 || j === self);
}

/** Weights in hundredths of a percent, rounded so that they sum to what they are together: the largest remainders go up.
 * Only to tenths where they come from fewer bits. @param {Work} found */
export function hundredths(found) {
  const step = isRough(found) ? 10 : 1;
  const exact = Array.from(found.weights, (each) => (each * 10000) / step);
  const whole = exact.map(Math.floor);
  const left = Math.round(exact.reduce((sum, each) => sum + each, 0)) - whole.reduce((sum, each) => sum + each, 0);
  const order = exact.map((each, j) => [each - whole[j], j]).sort((a, b) => b[0] - a[0]);
  for (const [, j] of order.slice(0, left)) whole[j] += 1;
  return whole.map((each) => each * step);
}

/** @param {number} share in hundredths of a percent @param {Work} found whose weights it is of */
export function asPercent(share, found) {
  return `${(share / 100).toFixed(isRough(found) ? 1 : 2)}%`;
}

/** From 16-bit vectors or 8-bit weights: a second decimal of a percent would be made up. @param {Work} found */
function isRough({ bits, powers }) {
  return bits === 16 || powers === null;
}

/** @param {Float32Array} one @param {Float32Array} other */
function dot(one, other) {
  let sum = 0;
  for (let i = 0; i < one.length; i += 1) sum += one[i] * other[i];
  return sum;
}

/** @param {Float32Array} vector */
function length(vector) {
  return Math.sqrt(dot(vector, vector));
}
