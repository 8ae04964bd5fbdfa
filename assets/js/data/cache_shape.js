// @ts-check
// What the shape of a KV cache says of its bytes: layers, heads, widths, and how many tokens each layer keeps.

import { count } from "../core/format.js";
import { phrase } from "../core/texts.js";

/** @typedef {import("./store.js").Run} Run */

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
  if (!rules.length) return phrase("How far this model's layers look back is not recorded, so how many tokens they keep is not known: the calculated sizes assume that all are kept. They may be smaller.");
  return phrase("In {n} of {all} layers a custom mask determines which tokens are visible, so how many tokens they keep is not known: the calculated sizes assume that all are kept. They may be smaller.", { n: count(masked), all: count(run.nLayers) });
}

/** Which layers drop old tokens. @param {Run} run */
export function windowWords(run) {
  /** @type {Map<number, number>} */
  const layers = new Map();
  for (let layer = 0; layer < run.nLayers; layer += 1) {
    const window = windowOf(run, layer);
    if (window !== null) layers.set(window, (layers.get(window) ?? 0) + 1);
  }
  return [...layers].map(([window, n]) => phrase("{n} of {all} layers attend to a window of {window} tokens, the newest one included: they keep the last {kept} and drop older ones.",
    { n, all: run.nLayers, window: count(window), kept: count(window - 1) })).join(" ");
}

/** What each layer holds after a pass, in bytes. @param {Run} run @param {import("./store.js").Step} step */
export function bytesOfLayers(run, step) {
  return step.layerBytes.length ? step.layerBytes : new Array(run.nLayers).fill(step.kvBytes / run.nLayers);
}

/** Of these, the bytes of states: of fixed size, whatever was read. @param {Run} run @param {import("./store.js").Step} step */
export function statesOfLayers(run, step) {
  return step.stateBytes.length ? step.stateBytes : new Array(run.nLayers).fill(0);
}

/** Whether a layer keeps a state and no keys and values. @param {Run} run @param {import("./store.js").Step} step @param {number} layer */
export function isState(run, step, layer) {
  const state = step.stateBytes[layer] ?? 0;
  return state > 0 && state === bytesOfLayers(run, step)[layer];
}

/** The sum that gives the bytes after a pass, and whether it is what was measured. @param {Run} run @param {import("./store.js").Step} step */
export function shapeWords(run, step) {
  const shape = run.head.kv_shape;
  const bytes = bytesByShape(run, step.last + 1);
  if (!shape || bytes === null) return phrase("The shape of this model's cache is not recorded; the bytes above are measured.");
  const [all, whole] = [keptInAll(run, step.last + 1), run.nLayers * (step.last + 1)];
  const values = { layers: run.nLayers, tokens: count(step.last + 1), kept: count(all), heads: shape.heads, key: shape.key, value: shape.value, item: shape.item_bytes, bytes: count(bytes), measured: count(step.kvBytes) };
  const sum = all === whole ? phrase("Calculated: {layers} layers × {tokens} tokens × {heads} key/value heads × ({key} + {value}) numbers × {item} bytes = {bytes} bytes.", values)
    : phrase("Calculated: {kept} tokens kept, summed over the layers, × {heads} key/value heads × ({key} + {value}) numbers × {item} bytes = {bytes} bytes.", values);
  return `${sum} ${bytes === step.kvBytes ? phrase("This is exactly what was measured.") : phrase("Measured: {measured} bytes; the difference is what else the cache keeps or leaves out.", values)}`;
}
