// @ts-check
// A distribution on its way: as the model gave it, and after each processor; from the record, or made anew from the scores.

import { count, percent, plain } from "../../core/format.js";
import { chanceOf, likeliest, stages } from "../../data/sampling.js";
import { counted, phrase } from "../../core/texts.js";

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
/** Each stage as a person reads it: its name, and what it does, in a sentence. @type {Record<string, {name: string, does: (setting: string) => string}>} */
const STAGES = {
  "raw": { name: phrase("raw"), does: () => phrase("The model’s own probabilities, before any setting is applied.") },
  "repetition penalty": { name: phrase("repetition penalty"),
    does: (setting) => phrase("Repetition penalty {setting} lowers the scores of tokens that are already in the text.", { setting }) },
  "temperature": { name: phrase("temperature"),
    does: (setting) => phrase("Temperature {setting} divides every score: below 1 likely tokens gain probability, above 1 unlikely tokens do.", { setting }) },
  "top-k": { name: phrase("top-k"), does: (setting) => phrase("Top-k {setting} keeps only the k most likely tokens.", { setting }) },
  "top-p": { name: phrase("top-p"), does: (setting) => phrase("Top-p {setting} keeps the most likely tokens that together reach probability p.", { setting }) },
  "min-p": { name: phrase("min-p"), does: (setting) => phrase("Min-p {setting} removes tokens below this share of the highest probability.", { setting }) },
};

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
  if (level.name === "raw") return phrase("from the model");
  if (level.gone > 0) return phrase("removed {share}", { share: percent(level.goneMass) });
  if (isUnchanged(level)) return phrase("no change");
  const share = percent(level.moved);
  return level.atLeast ? phrase("moved at least {share}", { share }) : phrase("moved {share}", { share });
}

/** What the few words mean. @param {Level} level */
export function hint(level) {
  if (level.name === "raw") return phrase("The model’s own probabilities, before any setting is applied.");
  if (level.gone > 0) return phrase("Tokens that held {share} of the probability can no longer be chosen; {n} are left.", { share: percent(level.goneMass), n: count(level.alive) });
  if (isUnchanged(level)) return phrase("Every token is as likely as before.");
  const share = percent(level.moved);
  return level.atLeast ? phrase("Some tokens lost at least {share} of the probability in total and others gained it; none was removed.", { share })
    : phrase("Some tokens lost {share} of the probability in total and others gained it; none was removed.", { share });
}

/** A level in sentences. @param {Level} level @param {number} vocabulary */
export function sentence(level, vocabulary) {
  const setting = level.setting === null ? "" : plain(level.setting);
  const does = STAGES[level.name]?.does(setting) ?? phrase("The stage {name} runs.", { name: named(level) });
  if (level.alive >= vocabulary) return level.name === "raw" ? `${does} ${phrase("All {n} tokens can be chosen.", { n: count(vocabulary) })}` : `${does} ${happened(level)}`;
  return `${does} ${happened(level)} ${counted(level.alive, "{n} token can still be chosen.", "{n} tokens can still be chosen.", { n: count(level.alive) })}`;
}

/** What a processor changed here. @param {Level} level */
function happened(level) {
  if (level.gone > 0) {
    return counted(level.gone, "Here it removes {n} token, which held {share} of the probability; the other probabilities are renormalized.",
      "Here it removes {n} tokens, which held {share} of the probability; the other probabilities are renormalized.", { n: count(level.gone), share: percent(level.goneMass) });
  }
  if (isUnchanged(level)) return phrase("Here it changes nothing.");
  const share = percent(level.moved);
  return level.atLeast ? phrase("Here it moves at least {share} of the probability to other tokens and removes none.", { share })
    : phrase("Here it moves {share} of the probability to other tokens and removes none.", { share });
}

/** @param {Level} level */
function isUnchanged({ gone, moved }) {
  return gone <= 0 && moved < 1e-6;
}

/** A stage as a person reads it. @param {string} name */
export function stageName(name) {
  return STAGES[name]?.name ?? name;
}

/** A level by its name and setting. @param {Level} level */
export function named({ name, setting }) {
  return setting === null ? stageName(name) : phrase("{name} {setting}", { name: stageName(name), setting: plain(setting) });
}
