// @ts-check
// A distribution on its way: as the model gave it, and after each processor; from the record, or made anew from the scores.

import { count, percent, plain } from "../../core/format.js";
import { chanceOf, likeliest, stages } from "../../data/sampling.js";

/** @typedef {import("../../data/store.js").Run} Run */
/** @typedef {import("../../data/store.js").Choice} Choice */
/** @typedef {import("../../data/store.js").Candidate} Candidate */
/** @typedef {import("../../data/sampling.js").Distribution} Distribution */
/** One distribution, and what was done to the one before it: tokens removed and the probability they held, and how much probability
 * changed its place (`atLeast`: the record holds only the likeliest, so it may be more). `chosen`: how likely the token was that
 * was drawn; null: it cannot be chosen any more; undefined: the record does not say.
 * @typedef {{name: string, setting: number | null, alive: number, gone: number, goneMass: number, moved: number, atLeast: boolean,
 *   candidates: Candidate[], chosen: number | null | undefined}} Level */

const MOST = 10; // candidates of a level
const WORDS = /** @type {Record<string, string>} */ ({
  "repetition penalty": "lowers the scores of tokens that already stand in the text",
  "temperature": "divides every score: below 1 the likely get likelier, above 1 the unlikely gain",
  "top-k": "keeps only the k likeliest tokens",
  "top-p": "keeps the likeliest tokens that together reach p",
  "min-p": "drops tokens below a share of the likeliest one's probability",
});

/** The levels of a choice as they ran. @param {Run} run @param {Choice} choice @returns {Level[]} */
export function recordedLevels(run, choice) {
  const named = (/** @type {Candidate[]} */ candidates) => candidates.map((each) => run.named(each));
  /** @type {Level[]} */
  const levels = [{ name: "raw", setting: null, alive: run.head.model.d_vocab, gone: 0, goneMass: 0, moved: 0, atLeast: false,
    candidates: named(choice.candidates), chosen: choice.probability }];
  choice.stages.forEach((stage, i) => {
    const before = levels[i];
    const candidates = named(stage.candidates);
    const gone = before.alive - stage.alive;
    const moved = gone > 0 ? { moved: stage.removed_mass, atLeast: false } : movedAmong(before.candidates, candidates, stage.name === "temperature");
    const winner = i === choice.stages.length - 1 ? choice.runners[0]?.probability : undefined;
    const chosen = candidates.find((each) => each.id === choice.id)?.probability ?? winner;
    levels.push({ name: stage.name, setting: stage.setting, alive: stage.alive, gone, goneMass: stage.removed_mass, ...moved, candidates, chosen });
  });
  return levels;
}

/** The levels that these settings make of one step's scores. @param {Run} run @param {Choice} choice @param {Distribution} first
 * @param {number[]} seen the ids before this choice @param {import("../../data/sampling.js").Settings} settings @returns {Level[]} */
export function madeLevels(run, choice, first, seen, settings) {
  const known = new Map(choice.candidates.map((each) => [each.id, each]));
  const level = (/** @type {Distribution} */ after) => ({
    alive: after.ids.length, atLeast: false, chosen: chanceOf(after, choice.id),
    candidates: likeliest(after, MOST).map((each) => run.named({ ...each, text: known.get(each.id)?.text ?? run.texts.get(each.id) ?? `#${each.id}` })),
  });
  return [{ name: "raw", setting: null, gone: 0, goneMass: 0, moved: 0, ...level(first) },
    ...stages(first, seen, settings).map(({ name, setting, gone, goneMass, moved, after }) => ({ name, setting, gone, goneMass, moved, ...level(after) }))];
}

/** What moved, as far as the likeliest tokens tell. Where scores keep their order, all that are not known change the same way
 * as the last that is: then this is all of it. @param {Candidate[]} before @param {Candidate[]} after @param {boolean} ordered */
function movedAmong(before, after, ordered) {
  const was = new Map(before.map((each) => [each.id, each.probability]));
  let [sum, rest, last] = [0, 0, 0];
  for (const { id, probability } of after) {
    const chance = was.get(id);
    if (chance === undefined) continue;
    last = probability - chance;
    sum += Math.abs(last);
    rest -= last;
  }
  return { moved: (sum + Math.abs(rest)) / 2, atLeast: !(ordered && last * rest >= 0) };
}

/** What was done, in a few words. @param {Level} level */
export function effect(level) {
  if (level.name === "raw") return "as the model said";
  if (level.gone > 0) return `removed ${percent(level.goneMass)}`;
  if (level.moved < 1e-6) return "no change";
  return `moved ${level.atLeast ? "at least " : ""}${percent(level.moved)}`;
}

/** What the few words mean. @param {Level} level */
export function hint(level) {
  if (level.name === "raw") return "The model’s own probabilities, before any setting changes them";
  if (level.gone > 0) return `“removed ${percent(level.goneMass)}”: tokens that held ${percent(level.goneMass)} of the probability can no longer be chosen; “left” counts those that can`;
  return level.moved < 1e-6 ? "Every token is as likely as before" : `“moved ${level.atLeast ? "at least " : ""}${percent(level.moved)}”: some tokens became less likely by so much in all, and others more likely by as much; none was removed`;
}

/** A level in a sentence. @param {Level} level @param {number} vocabulary */
export function sentence(level, vocabulary) {
  if (level.name === "raw") {
    return `As the model said it, before any setting changes the chances: ${count(level.alive)} of ${count(vocabulary)} tokens have a chance.`;
  }
  const does = WORDS[level.name] ? ` ${WORDS[level.name]}` : "";
  const did = level.gone > 0 ? `it removed ${count(level.gone)} tokens that held ${percent(level.goneMass)} of the probability; those left share it out among them`
    : level.moved < 1e-6 ? "it changed nothing" : `it moved ${level.atLeast ? "at least " : ""}${percent(level.moved)} of the probability to other tokens and removed none`;
  const name = named(level);
  return `${name[0].toUpperCase()}${name.slice(1)}${does}. Here ${did}. ${count(level.alive)} can still be chosen.`;
}

/** A level by its name and setting. @param {Level} level */
export function named(level) {
  return level.setting === null ? level.name : `${level.name} ${plain(level.setting)}`;
}
