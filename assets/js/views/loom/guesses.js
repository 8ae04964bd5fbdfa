// @ts-check
// What the model would say at each place, as the logit lens has it: one guess a cell, and neighbouring layers with the same guess as one block.

import { phrase } from "../../core/texts.js";

/** @typedef {import("../../data/store.js").Run} Run */
/** What the model would say at a level (0: the embedding, L: after the last layer): null while it is still to come.
 * `follows`: it is the token that really came next. @typedef {{id: number, probability: number, follows: boolean}} Guess */
/** Levels `low` to `high` of one column that have the same guess; null: still to come. @typedef {{low: number, high: number, guess: Guess | null}} Block */

/** @param {Run} run @param {number} level @param {number} token @returns {Guess | null} */
export function guessAt(run, level, token) {
  const place = run.lensPlace(level, token);
  if (!place) return null;
  const id = place.ids[place.at];
  return { id, probability: place.probabilities[place.at], follows: run.tokens[token + 1]?.id === id };
}

/** The blocks of one column up to a level, from the embedding up. @param {Run} run @param {number} token @param {number} [top] @returns {Block[]} */
export function blocks(run, token, top = run.nLayers) {
  /** @type {Block[]} */
  const found = [];
  for (let level = 0; level <= top; level += 1) {
    const guess = guessAt(run, level, token);
    const last = found[found.length - 1];
    if (last && last.guess?.id === guess?.id) {
      last.high = level;
    } else found.push({ low: level, high: level, guess });
  }
  return found;
}

/** When the token that followed is first said in a column, and from which level on for good; null where it never is, or is still to come.
 * @param {Run} run @param {number} token @returns {{first: number, forGood: number | null} | null} */
export function settled(run, token) {
  let [first, forGood] = [-1, -1];
  for (let level = 0; level <= run.nLayers; level += 1) {
    const guess = guessAt(run, level, token);
    if (!guess) return null;
    if (guess.follows && first < 0) first = level;
    if (!guess.follows) forGood = -1;
    else if (forGood < 0) forGood = level;
  }
  return first < 0 ? null : { first, forGood: forGood < 0 ? null : forGood };
}

/** Why a place has no guess: it is coming, or it never will. @param {Run} run @param {number} token */
export function lensWord(run, token) {
  if (run.lensOnDemand) return run.lensSource?.why() ?? "";
  if (run.head.shows.lens !== null) return phrase("The logit lens is not shown for this model.");
  if (run.end?.ended === "stopped" && !run.lensPlace(0, token)) return phrase("Not computed: the run was stopped.");
  if (run.late && !run.lens) return phrase("Not in this run.");
  const { size } = run.columns;
  return size ? phrase("Coming: the logit lens has {n} of {all} columns.", { n: size, all: run.nRead }) : phrase("Coming: the logit lens of this column is not there yet.");
}

/** Whether what a column would say is still to come. @param {Run} run @param {number} token */
export function isComing(run, token) {
  if (run.lensOnDemand) return run.lensSource?.comes ?? false;
  return run.head.shows.lens === null && !run.lens && !run.late && !(run.end?.ended === "stopped" && !run.lensPlace(0, token));
}
