// @ts-check
// What a router chose, as numbers.

/** @typedef {import("../../data/store.js").Run} Run */

/** The experts of one token in one layer, the largest weight first; empty in a layer without experts. @param {Run} run @param {number} layer @param {number} token
 * @returns {{id: number, weight: number}[]} */
export function choiceAt({ experts }, layer, token) {
  if (!experts || token >= experts.positions) return [];
  const start = (layer * experts.positions + token) * experts.chosen;
  return Array.from({ length: experts.chosen }, (_, k) => ({ id: experts.ids[start + k], weight: experts.weights[start + k] }))
    .filter(({ id }) => id >= 0).sort((one, other) => other.weight - one.weight);
}

/** Of each expert of a layer: the share of the run's tokens that are sent to it. @param {Run} run @param {number} layer @returns {number[]} */
export function shares(run, layer) {
  const found = new Array(run.head.n_experts).fill(0);
  const n = run.experts?.positions ?? 0;
  for (let token = 0; token < n; token += 1) for (const { id } of choiceAt(run, layer, token)) found[id] += 1 / n;
  return found;
}
