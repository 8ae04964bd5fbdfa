// @ts-check
// How a job stands, in words for the line beside the form.

import { counted, phrase } from "../core/texts.js";

/** @typedef {import("../data/follow.js").Status} Status */
/** @typedef {import("../data/store.js").Run} Run */
/** @typedef {import("../data/record.js").ServedRecord} ServedRecord */
/** Beside the status: the `experiment` of the board that shows the record, by default the one that was asked for; the `record` itself, which knows
 * why a run wrote no more; `shipped` records come with the app; `restored` ones ran before the page was left; of those `cutOff` nothing more was heard.
 * @typedef {{experiment?: string | null, record?: Run | ServedRecord | null, shipped?: boolean, restored?: boolean, cutOff?: boolean}} Circumstances */
/** What a kind is told in: its own sentence for every state, or one for each end. `shipped`: of one that comes with the app.
 * @typedef {{tells?: (status: Status, record: Circumstances["record"]) => string, shipped?: string, done: string, stopped: string, overtaken: string}} Words */

const CUT_OFF = phrase("Connection lost: the program does not answer. What was received so far stays on this page.");
const RESTORED = phrase("Showing your last result from before you left this page.");
const SHIPPED = phrase("Showing a recorded result, made on another machine. Press the button above for your own.");
const UNHEARD = phrase("Ended because the program lost contact with this page for a while. What was received so far stays.");

const MEASURED = {
  stopped: phrase("Stopped. The measurements so far stay."),
  overtaken: phrase("Ended because something else was started. The measurements so far stay."),
};
const SERVED = {
  stopped: phrase("Stopped. The results so far stay."),
  overtaken: phrase("Ended because the other part of this page was started. The results so far stay."),
};
const OTHER = {
  done: phrase("Done."),
  stopped: phrase("Stopped. What was received so far stays."),
  overtaken: phrase("Ended because something else was started. What was received so far stays."),
};
/** `overtaken`: the visitor has started something else. @type {Record<string, Words>} */
const KINDS = {
  run: { ...OTHER, tells: tokenByToken, shipped: phrase("Showing a recorded run. Press Run to start your own with the prompt above.") },
  measure: { done: phrase("Done: measured."), ...MEASURED },
  cache: { done: phrase("Done: all caches are measured."), ...MEASURED },
  serve: { done: phrase("Done: all texts are written under all three schedulers."), ...SERVED },
  speculate: { done: phrase("Done: all drafting methods are measured."), ...SERVED },
};

/** @param {Status} status @param {Circumstances} [circumstances] */
export function sentence(status, { experiment, record = null, shipped = false, restored = false, cutOff = false } = {}) {
  const words = KINDS[experiment ?? status.experiment] ?? OTHER;
  if (cutOff) return CUT_OFF;
  if (shipped) return words.shipped ?? SHIPPED;
  if (status.state === "waiting") return waiting(status);
  if (status.state === "stopped" && status.stopped_by === "silence") return UNHEARD;
  if (words.tells) return words.tells(status, record);
  if (status.over && restored) return RESTORED;
  return byItsEnd(status, words);
}

/** @param {Status} status */
function waiting({ place, what, eta_s }) {
  if (place === 0) return what || phrase("Waiting to begin.");
  const time = eta_s === null ? null : seconds(eta_s);
  if (place === 1) return time ? phrase("Waiting: yours is next, about {time} left.", { time }) : phrase("Waiting: yours is next.");
  return time ? phrase("Waiting: {n} before yours, about {time} left.", { n: place, time }) : phrase("Waiting: {n} before yours.", { n: place }); // the one that runs is among them
}

/** @param {Status} status @param {Circumstances["record"]} record */
function tokenByToken({ state, done, total, complete, eta_s, stopped_by: by }, record) {
  if (state === "running") return running(done, total, eta_s === null ? null : seconds(eta_s));
  if (state === "paused") return done === 0 ? phrase("Paused: reading the prompt. Step runs one more token.") : phrase("Paused: token {n} of at most {most}. Step runs one more token.", { n: done, most: total });
  if (state === "failed") return counted(done, "Ended after {n} token.", "Ended after {n} tokens.");
  if (state === "stopped" && by === "overtaken") return counted(done, "Ended after {n} token because another run was started.", "Ended after {n} tokens because another run was started.");
  if (state === "stopped") return counted(done, "Stopped after {n} token.", "Stopped after {n} tokens.");
  const ended = record && "end" in record ? record.end?.ended : "";
  return complete ? written(done, ended) : `${written(done, ended)} ${phrase("Adding the logit lens…")}`;
}

/** @param {Status} status @param {Words} words */
function byItsEnd({ state, what, refusal, stopped_by: by }, { done, stopped, overtaken }) {
  if (state === "running" || state === "paused") return what;
  if (state === "failed") return refusal ? "" : phrase("Ended.");
  if (state === "stopped") return by === "overtaken" ? overtaken : stopped;
  return done;
}

/** @param {number} done @param {number} most @param {string | null} time how long it still takes */
function running(done, most, time) {
  if (done === 0) return time ? phrase("Running: reading the prompt, about {time} left.", { time }) : phrase("Running: reading the prompt.");
  return time ? phrase("Running: token {n} of at most {most}, about {time} left.", { n: done, most, time }) : phrase("Running: token {n} of at most {most}.", { n: done, most });
}

/** @param {number} done @param {string} ended why no more was written */
function written(done, ended) {
  if (ended === "end of sequence") return counted(done, "Done: {n} token written; the model wrote its end-of-sequence token.", "Done: {n} tokens written; the model wrote its end-of-sequence token.");
  if (ended === "length") return counted(done, "Done: {n} token written, as many as requested.", "Done: {n} tokens written, as many as requested.");
  return counted(done, "Done: {n} token written.", "Done: {n} tokens written.");
}

/** @param {number} left */
function seconds(left) {
  return left < 60 ? `${Math.max(1, Math.round(left))} s` : `${Math.round(left / 60)} min`;
}
