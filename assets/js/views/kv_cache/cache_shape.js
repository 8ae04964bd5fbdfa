// @ts-check
// What the shape of a KV cache says of its bytes: layers, heads, widths, and how many tokens each layer keeps.

import { count } from "../../core/format.js";

/** @typedef {import("../../data/store.js").Run} Run */

/** The window of a layer in tokens, or null; where attention is not shown, windows are not known either.
 * @param {Run} run @param {number} layer @returns {number | null} */
function windowOf(run, layer) {
  return run.head.rules[layer]?.window ?? null;
}

/** How many of these tokens a layer keeps: the next one looks at itself and at window - 1 before it.
 * @param {Run} run @param {number} layer @param {number} positions */
export function kept(run, layer, positions) {
  const window = windowOf(run, layer);
  return window === null ? positions : Math.min(positions, Math.max(window - 1, 0));
}

/** Tokens kept, summed over the layers. @param {Run} run @param {number} positions */
function keptInAll(run, positions) {
  let sum = 0;
  for (let layer = 0; layer < run.nLayers; layer += 1) sum += kept(run, layer, positions);
  return sum;
}

/** Bytes of one token in one layer; null where the shape was not recorded. @param {Run} run */
export function bytesOfOne(run) {
  const shape = run.head.kv_shape;
  return shape ? shape.heads * (shape.key + shape.value) * shape.item_bytes : null;
}

/** Bytes after so many tokens, predicted. @param {Run} run @param {number} positions */
export function bytesByShape(run, positions) {
  const one = bytesOfOne(run);
  return one === null ? null : keptInAll(run, positions) * one;
}

/** How many query heads share each key/value head. @param {Run} run */
export function sharing(run) {
  return run.nHeads / run.head.model.n_kv_heads;
}

/** Whether some layer drops old tokens. @param {Run} run */
export function hasWindows(run) {
  return run.head.rules.some((/** @type {{window: number | null}} */ rule) => rule.window !== null);
}

/** What the shape has to take for granted: a window that cannot be read off a recorded mask, or was not recorded at all.
 * @param {Run} run @returns {string} empty where every layer's window is known */
export function assumedWords(run) {
  const { rules } = run.head;
  const masked = rules.filter((/** @type {{window: number | null, mask: number | null}} */ rule) => rule.mask !== null && rule.window === null).length;
  if (rules.length && !masked) return "";
  const which = rules.length ? `In ${count(masked)} of ${count(run.nLayers)} layers a mask of their own says which tokens are seen` : "How this model's layers look back is not recorded";
  return `${which}, so how many tokens they keep is not known: sizes worked out assume that all are kept. They may be smaller.`;
}

/** Which layers drop old tokens. @param {Run} run */
export function windowWords(run) {
  /** @type {Map<number, number>} */
  const layers = new Map();
  for (let layer = 0; layer < run.nLayers; layer += 1) {
    const window = windowOf(run, layer);
    if (window !== null) layers.set(window, (layers.get(window) ?? 0) + 1);
  }
  return [...layers].map(([window, n]) => `${n} of ${run.nLayers} layers look back over a window of ${count(window)} tokens, `
    + `the newest one included: they keep the last ${count(window - 1)} for it and drop older ones.`).join(" ");
}

/** The sum that gives the bytes after a pass, and whether it is what was measured. @param {Run} run @param {import("../../data/store.js").Step} step */
export function shapeWords(run, step) {
  const shape = run.head.kv_shape;
  const bytes = bytesByShape(run, step.last + 1);
  if (!shape || bytes === null) return "The shape of this model's cache is not recorded; the bytes above are measured.";
  const [all, whole] = [keptInAll(run, step.last + 1), run.nLayers * (step.last + 1)];
  const places = all === whole ? `${run.nLayers} layers × ${count(step.last + 1)} tokens` : `${count(all)} tokens kept, summed over the layers,`;
  const same = bytes === step.kvBytes ? "exactly what was measured" : `measured: ${count(step.kvBytes)} bytes (what else the cache keeps or leaves out makes the difference)`;
  return `Worked out: ${places} × ${shape.heads} key/value heads × (${shape.key} + ${shape.value}) numbers × ${shape.item_bytes} bytes = ${count(bytes)} bytes, ${same}.`;
}
