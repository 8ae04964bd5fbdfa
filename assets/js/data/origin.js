// @ts-check
// What the record of a run that was continued from another says of it, in words: where, with which token, and what that saved.

import { count, duration } from "../core/format.js";

/** As in viz/wire/frames.py. @typedef {{run: string, step: number, token_id: number, instead_of: number, n_reused: number, n_replayed: number, recorded_s: number, restore_s: number,
 *   note: string, saved_s: number, token: string, instead_of_token: string}} Origin */

/** What was not computed again, as measured. @param {Origin} origin */
export function savedWords({ n_reused: reused, n_replayed: replayed, recorded_s: there, restore_s: here, saved_s: saved, note }) {
  if (replayed) return `${positions(replayed)} run again, in ${duration(here)}${note ? `: ${note}` : ""}.`;
  if (!reused) return "";
  const gain = saved > 0 ? `${duration(saved)} saved` : "nothing saved";
  return `${positions(reused)} not computed again: their keys and values came from its record. Reading them back took ${duration(here)}, computing them ${duration(there)} (recorded): ${gain}.`;
}

/** @param {number} n */
function positions(n) {
  return n === 1 ? "1 position was" : `${count(n)} positions were`;
}
