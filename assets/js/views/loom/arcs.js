// @ts-check
// Which arcs end at a cell: where one head, or the heads of a layer together, looked from there.

import { WEIGHTS } from "../../data/store.js";

/** @typedef {import("../../data/store.js").Run} Run */
/** One look back: the token looked at, its share of the attention, and the head; null: the mean of all heads.
 * @typedef {{source: number, share: number, head: number | null}} Arc */
/** `sink`: the first token's share, drawn as a stub. @typedef {{arcs: Arc[], sink: number}} Looks */

const LEAST = 0.05; // of one head's attention; what is less would be a hair
export const STRONG = 0.15; // of one head, where all heads of a layer are shown
const MOST = 12;

/** Where one head looks from a token, strongest last, so that it is drawn on top. Null where its rows are not here.
 * @param {Run} run @param {number} layer @param {number} head @param {number} token @returns {Looks | null} */
export function looksOfHead(run, layer, head, token) {
  const row = run.row(layer, head, token);
  return row && { ...found(row, head, LEAST), sink: token > 0 ? WEIGHTS[row[0]] : 0 };
}

/** Where the heads of a layer look from a token: an arc for each strong look of a head; `sink` is the mean of the heads.
 * @param {Run} run @param {number} layer @param {number} token @returns {Looks | null} */
export function looksOfLayer(run, layer, token) {
  /** @type {Arc[]} */
  const arcs = [];
  let sink = 0;
  for (let head = 0; head < run.nHeads; head += 1) {
    const row = run.row(layer, head, token);
    if (!row) return null;
    if (token > 0) sink += WEIGHTS[row[0]] / run.nHeads;
    arcs.push(...found(row, head, STRONG).arcs);
  }
  return { arcs: strongest(arcs), sink };
}

/** How far back the head of this cell looks: the strongest look that is neither at the first token, nor at itself or just before.
 * @param {Run} run @param {number} layer @param {number} head @param {number} token @returns {Arc | null} */
export function farthestLook(run, layer, head, token) {
  const row = run.row(layer, head, token);
  if (!row) return null;
  let best = -1;
  for (let source = 1; source < token - 1; source += 1) if (best < 0 || row[source] > row[best]) best = source;
  return best < 0 ? null : { source: best, share: WEIGHTS[row[best]], head };
}

/** @param {Uint8Array} row @param {number} head @param {number} least */
function found(row, head, least) {
  /** @type {Arc[]} */
  const arcs = [];
  for (let source = 1; source < row.length - 1; source += 1) {
    const share = WEIGHTS[row[source]];
    if (share >= least) arcs.push({ source, share, head });
  }
  return { arcs: strongest(arcs) };
}

/** @param {Arc[]} arcs */
function strongest(arcs) {
  return arcs.sort((one, other) => one.share - other.share).slice(-MOST);
}
