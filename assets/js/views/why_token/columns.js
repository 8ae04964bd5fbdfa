// @ts-check
// The columns that the waterfall and the map of heads share: the embedding, each layer, what is left, the sum.

export const LEFT = 46; // px for the numbers at the axis
const RIGHT = 6;

/** `x` of a layer's column, whose width is `layer`; the embedding's ends where layer 0 begins, `rest` and `sum` follow the last.
 * @typedef {{left: number, layer: number, end: number, x: (layer: number) => number, embedding: number, rest: number, sum: number, wide: number}} Columns */

/** @param {number} width @param {number} nLayers @returns {Columns} */
export function columnsOf(width, nLayers) {
  const room = width - LEFT - RIGHT;
  const wide = Math.max(Math.min(room * 0.05, 46), 10); // of the three that are no layer
  const layer = Math.max((room - 3 * wide) / nLayers, 1);
  const first = LEFT + wide;
  const end = first + layer * nLayers;
  return { left: LEFT, layer, end, x: (at) => first + at * layer, embedding: LEFT, rest: end, sum: end + wide, wide };
}

/** Which layers are numbered below their columns: as many as have room. @param {Columns} columns @param {number} nLayers @returns {number[]} */
export function numbered({ layer }, nLayers) {
  const every = [1, 2, 5, 10, 20, 50].find((each) => each * layer >= 26) ?? 100;
  return Array.from({ length: Math.ceil(nLayers / every) }, (_, i) => i * every);
}
