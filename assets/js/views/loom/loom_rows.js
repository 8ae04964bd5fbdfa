// @ts-check
// The loom's numbers for a file: what the model would say at each place that has been read, likeliest first.

import { label } from "../../core/format.js";
import { phrase } from "../../core/texts.js";

/** @param {import("../../data/store.js").Run} run @returns {{columns: string[], rows: string[][]}} */
export function loomRows(run) {
  const levels = Array.from({ length: run.nLayers + 1 }, (_, level) => level);
  const rows = run.tokens.slice(0, run.nRead).flatMap((token, position) => levels.flatMap((level) => run.lensAt(level, position).map((guess, rank) => [
    String(position), label(token), level ? String(level - 1) : phrase("embedding"), String(rank + 1), String(guess.id), label(guess), String(guess.probability)])));
  return { columns: [phrase("position"), phrase("token"), phrase("after layer"), phrase("rank"), phrase("guess id"), phrase("guess"), phrase("probability")], rows };
}
