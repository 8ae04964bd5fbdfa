// @ts-check
// What the record of a run that was continued from another says of it, in words: where, with which token, and what that saved.

import { count, duration } from "../core/format.js";
import { counted, phrase } from "../core/texts.js";

/** As in viz/wire/frames.py. @typedef {{run: string, step: number, token_id: number, instead_of: number, n_reused: number, n_replayed: number, recorded_s: number, restore_s: number,
 *   note: string, saved_s: number, token: string, instead_of_token: string}} Origin */

/** What was not computed again, as measured. @param {Origin} origin */
export function savedWords({ n_reused: reused, n_replayed: replayed, recorded_s: there, restore_s: here, saved_s: saved, note }) {
  if (replayed) {
    const values = { n: count(replayed), time: duration(here), reason: note };
    return note ? counted(replayed, "{n} position was run again, in {time}: {reason}.", "{n} positions were run again, in {time}: {reason}.", values)
      : counted(replayed, "{n} position was run again, in {time}.", "{n} positions were run again, in {time}.", values);
  }
  if (!reused) return "";
  const times = { restoring: duration(here), computing: duration(there), time: duration(saved) };
  const restored = counted(reused, "{n} position was not recomputed: its keys and values come from the original run’s record.",
    "{n} positions were not recomputed: their keys and values come from the original run’s record.", { n: count(reused) });
  return `${restored} ${saved > 0 ? phrase("Restoring took {restoring}, computing took {computing} when recorded: {time} saved.", times)
    : phrase("Restoring took {restoring}, computing took {computing} when recorded: nothing saved.", times)}`;
}
