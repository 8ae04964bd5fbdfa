// @ts-check
// What each processor makes of one step's scores: the rules of the transformers library's own processors, in the order in
// which it runs them, over the full vocabulary. No DOM; nothing here runs the model or draws a token.
// Rules: transformers 5.23, generation/logits_process.py; a test compares every stage with those of model/sampling.py.

/** Neutral values (1, 0, 1, 0, 1) switch a processor off; temperature 0 takes the likeliest token.
 * @typedef {{temperature: number, topK: number, topP: number, minP: number, penalty: number}} Settings */
/** The tokens that can still be chosen, ids ascending, with their scores and probabilities.
 * @typedef {{ids: Int32Array, scores: Float32Array, chances: Float32Array}} Distribution */
/** What one processor did: how many tokens it removed, the probability that they held before it, and how much probability
 * changed its place (half the sum of all changes). @typedef {{name: string, setting: number, after: Distribution,
 * gone: number, goneMass: number, moved: number}} Stage */

const BUCKETS = 2048;

/** The distribution that the model gave: a softmax over every token that has a score. @param {Float32Array} scores @returns {Distribution} */
export function raw(scores) {
  const ids = new Int32Array(scores.length);
  let n = 0;
  for (let id = 0; id < scores.length; id += 1) if (scores[id] > -Infinity) { ids[n] = id; n += 1; }
  if (n === scores.length) return { ids, scores, chances: softmax(scores) };
  const kept = ids.slice(0, n);
  const left = Float32Array.from(kept, (id) => scores[id]);
  return { ids: kept, scores: left, chances: softmax(left) };
}

/** Every processor that these settings switch on, one after the other. `seen` are the ids of the prompt and of what was written
 * before this choice. @param {Distribution} from @param {Iterable<number>} seen @param {Settings} settings @returns {Stage[]} */
export function stages(from, seen, settings) {
  const { temperature, topK, topP, minP, penalty } = settings;
  /** @type {[string, number, boolean, (before: Distribution) => Distribution][]} */
  const processors = [
    ["repetition penalty", penalty, penalty !== 1, (before) => penalise(before, seen, penalty)],
    ["temperature", temperature, temperature !== 1, (before) => scored(before, scaled(before.scores, temperature))],
    ["top-k", topK, topK > 0, (before) => keepTopK(before, topK)],
    ["top-p", topP, topP < 1, (before) => keepTopP(before, topP)],
    ["min-p", minP, minP > 0, (before) => keepMinP(before, minP)],
  ];
  const on = processors.filter(([name, , isOn]) => isOn && (temperature > 0 || name === "repetition penalty"));
  let before = from;
  return on.map(([name, setting, , run]) => {
    const after = run(before);
    const stage = { name, setting, after, ...changed(before, after) };
    before = after;
    return stage;
  });
}

/** The likeliest tokens, likeliest first; of equally likely ones the first in the vocabulary.
 * @param {Distribution} distribution @param {number} most @returns {{id: number, score: number, probability: number}[]} */
export function likeliest({ ids, scores, chances }, most) {
  /** @type {number[]} places, best first */
  const best = [];
  for (let i = 0; i < scores.length; i += 1) {
    if (best.length === most && !(scores[i] > scores[best[most - 1]])) continue;
    let at = best.length;
    while (at > 0 && scores[i] > scores[best[at - 1]]) at -= 1;
    best.splice(at, 0, i);
    if (best.length > most) best.pop();
  }
  return best.map((i) => ({ id: ids[i], score: scores[i], probability: chances[i] }));
}

/** How likely a token is; null where it cannot be chosen any more. @param {Distribution} distribution @param {number} id */
export function chanceOf({ ids, chances }, id) {
  const at = placeOf(ids, id);
  return at < 0 ? null : chances[at];
}

/** @param {Int32Array} ids ascending @param {number} id @returns {number} -1 where it is not there */
function placeOf(ids, id) {
  let [low, high] = [0, ids.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ids[middle] < id) low = middle + 1;
    else high = middle;
  }
  return ids[low] === id ? low : -1;
}

/** @param {Float32Array} scores */
function softmax(scores) {
  const chances = new Float32Array(scores.length);
  const exponents = new Float64Array(scores.length);
  let [top, sum] = [-Infinity, 0];
  for (let i = 0; i < scores.length; i += 1) if (scores[i] > top) top = scores[i];
  for (let i = 0; i < scores.length; i += 1) sum += exponents[i] = Math.exp(scores[i] - top);
  for (let i = 0; i < scores.length; i += 1) chances[i] = exponents[i] / sum;
  return chances;
}

/** The same tokens with other scores. @param {Distribution} before @param {Float32Array} scores @returns {Distribution} */
function scored({ ids }, scores) {
  return { ids, scores, chances: softmax(scores) };
}

/** @param {Float32Array} scores @param {number} temperature */
function scaled(scores, temperature) {
  const by = Math.fround(temperature);
  const after = new Float32Array(scores.length);
  for (let i = 0; i < scores.length; i += 1) after[i] = scores[i] / by;
  return after;
}

/** A positive score is divided, a negative one multiplied: both make it less likely. @param {Distribution} before @param {Iterable<number>} seen @param {number} penalty */
function penalise(before, seen, penalty) {
  const by = Math.fround(penalty);
  const scores = before.scores.slice();
  for (const id of new Set(seen)) {
    const at = placeOf(before.ids, id);
    if (at >= 0) scores[at] = scores[at] < 0 ? scores[at] * by : scores[at] / by;
  }
  return scored(before, scores);
}

/** As many of the likeliest, and all that are as likely as the last of them. @param {Distribution} before @param {number} k */
function keepTopK(before, k) {
  const { scores } = before;
  if (k >= scores.length) return before;
  const sorted = buckets(before);
  let [above, b] = [0, sorted.top];
  while (above + sorted.size(b) < k) { above += sorted.size(b); b -= 1; }
  const last = scores[sorted.places(b)[sorted.size(b) - (k - above)]];
  return only(before, (i) => scores[i] >= last);
}

/** From the least likely up, all are removed whose chances together stay within 1 - p; one is always kept.
 * @param {Distribution} before @param {number} p */
function keepTopP(before, p) {
  const { scores, chances } = before;
  const limit = Math.fround(1 - p);
  const sorted = buckets(before);
  let [sum, b] = [0, 0];
  while (b < sorted.top && Math.fround(sum + sorted.mass[b]) <= limit) { sum += sorted.mass[b]; b += 1; }
  const here = sorted.places(b);
  let first = 0;
  while (first < here.length - 1 && Math.fround(sum + chances[here[first]]) <= limit) { sum += chances[here[first]]; first += 1; }
  const [score, place] = [scores[here[first]], here[first]];
  return only(before, (i) => scores[i] > score || (scores[i] === score && i >= place));
}

/** All that are at least this share as likely as the likeliest. @param {Distribution} before @param {number} share */
function keepMinP(before, share) {
  const { chances } = before;
  let top = 0;
  for (let i = 0; i < chances.length; i += 1) if (chances[i] > top) top = chances[i];
  const least = Math.fround(Math.fround(share) * top);
  return only(before, (i) => !(chances[i] < least));
}

/** What is left, its chances raised until they add up to 1 again. @param {Distribution} before @param {(place: number) => boolean} stays @returns {Distribution} */
function only(before, stays) {
  const places = new Int32Array(before.ids.length);
  let [n, mass] = [0, 0];
  for (let i = 0; i < places.length; i += 1) {
    if (!stays(i)) continue;
    places[n] = i;
    n += 1;
    mass += before.chances[i];
  }
  if (n === before.ids.length) return before;
  const after = { ids: new Int32Array(n), scores: new Float32Array(n), chances: new Float32Array(n) };
  for (let j = 0; j < n; j += 1) {
    after.ids[j] = before.ids[places[j]];
    after.scores[j] = before.scores[places[j]];
    after.chances[j] = before.chances[places[j]] / mass;
  }
  return after;
}

/** Tokens thrown into buckets by score, lowest first: only the bucket in which a cut falls is ever sorted, which is what
 * makes a cut of a whole vocabulary quick. @param {Distribution} distribution */
function buckets({ scores, chances }) {
  let [low, high] = [Infinity, -Infinity];
  for (let i = 0; i < scores.length; i += 1) {
    if (scores[i] < low) low = scores[i];
    if (scores[i] > high) high = scores[i];
  }
  const per = high > low ? (BUCKETS - 1) / (high - low) : 0;
  const bucket = new Uint16Array(scores.length);
  const sizes = new Int32Array(BUCKETS);
  const mass = new Float64Array(BUCKETS);
  for (let i = 0; i < scores.length; i += 1) {
    const b = (scores[i] - low) * per | 0;
    bucket[i] = b;
    sizes[b] += 1;
    mass[b] += chances[i];
  }
  let top = BUCKETS - 1;
  while (sizes[top] === 0) top -= 1;
  return {
    mass,
    top,
    size: (/** @type {number} */ b) => sizes[b],
    /** Places in one bucket, lowest score first, of equal ones the first in the vocabulary. @param {number} b */
    places: (b) => {
      const found = new Int32Array(sizes[b]);
      let n = 0;
      for (let i = 0; n < found.length; i += 1) if (bucket[i] === b) { found[n] = i; n += 1; }
      return found.sort((one, other) => scores[one] - scores[other] || one - other);
    },
  };
}

/** What was removed, and how much probability changed its place. @param {Distribution} before @param {Distribution} after */
function changed(before, after) {
  const gone = before.ids.length - after.ids.length;
  if (after === before) return { gone: 0, goneMass: 0, moved: 0 };
  let [stayed, moves] = [0, 0];
  if (gone === 0) {
    for (let i = 0; i < before.ids.length; i += 1) moves += Math.abs(after.chances[i] - before.chances[i]);
    return { gone, goneMass: 0, moved: moves / 2 };
  }
  let goneMass = 0;
  for (let i = 0; i < before.ids.length; i += 1) {
    if (after.ids[stayed] === before.ids[i]) stayed += 1;
    else goneMass += before.chances[i];
  }
  return { gone, goneMass, moved: goneMass };
}
