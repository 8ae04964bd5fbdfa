// @ts-check
// How a job stands, in words for the line beside the form.

import { counted, phrase } from "../core/texts.js";

/** @typedef {import("../data/follow.js").Status} Status */
/** Beside the status: a `trace` is told token by token; `shipped` records come with the app; `restored` ones ran before the page was left; of those `cutOff` nothing more was heard.
 * @typedef {{trace?: boolean, shipped?: boolean, restored?: boolean, cutOff?: boolean}} Circumstances */

const CUT_OFF = phrase("Connection lost: the program does not answer. What was received so far stays on this page.");
const RESTORED = phrase("Showing your last result from before you left this page.");
const SHIPPED = phrase("Showing a recorded run. Press Run to start your own with the prompt above.");
const SHIPPED_OTHER = phrase("Showing a recorded result, made on another machine. Press the button above for your own.");
const UNHEARD = phrase("Ended because the program lost contact with this page for a while. What was received so far stays.");

const MEASURED = {
  stopped: phrase("Stopped. The measurements so far stay."),
  overtaken: phrase("Ended because something else was started. The measurements so far stay."),
};
const SERVED = {
  stopped: phrase("Stopped. The results so far stay."),
  overtaken: phrase("Ended because the other part of this page was started. The results so far stay."),
};
/** `overtaken`: the visitor has started something else. @type {Record<string, {done: string, stopped: string, overtaken: string}>} */
const KINDS = {
  measure: { done: phrase("Done: measured."), ...MEASURED },
  cache: { done: phrase("Done: all caches are measured."), ...MEASURED },
  serve: { done: phrase("Done: all texts are written under all three schedulers."), ...SERVED },
  speculate: { done: phrase("Done: all drafting methods are measured."), ...SERVED },
};
const OTHER = {
  done: phrase("Done."),
  stopped: phrase("Stopped. What was received so far stays."),
  overtaken: phrase("Ended because something else was started. What was received so far stays."),
};

/** Whether nothing more is written, measured or tried; a run may still be added to. @param {Status} status */
export function isOver({ state }) {
  return ["done", "stopped", "failed"].includes(state);
}

/** Whether it is over before all that was asked for was there. @param {Status} status */
export function isCutShort({ state }) {
  return ["stopped", "failed"].includes(state);
}

/** @param {Status} status @param {Circumstances} [circumstances] */
export function sentence(status, { trace = status.experiment === "run", shipped = false, restored = false, cutOff = false } = {}) {
  if (cutOff) return CUT_OFF;
  if (shipped) return trace ? SHIPPED : SHIPPED_OTHER;
  if (status.state === "waiting") return waiting(status, trace);
  if (status.state === "stopped" && status.stopped_by === "silence") return UNHEARD;
  if (trace) return ofTrace(status);
  if (isOver(status) && restored) return RESTORED;
  return ofOther(status);
}

/** @param {Status} status @param {boolean} trace */
function waiting({ place, what, eta_s }, trace) {
  if (place === 0) return what || phrase("Waiting to begin.");
  const time = eta_s === null ? null : seconds(eta_s);
  if (!trace) return time ? phrase("Waiting: {n} before yours, about {time} left.", { n: place, time }) : phrase("Waiting: {n} before yours.", { n: place });
  if (place === 1) return time ? phrase("Waiting: yours is next, about {time} left.", { time }) : phrase("Waiting: yours is next.");
  return time ? phrase("Waiting: {n} runs before yours, about {time} left.", { n: place, time }) : phrase("Waiting: {n} runs before yours.", { n: place }); // the one that runs is among them
}

/** @param {Status} status */
function ofTrace({ state, done, max_new_tokens: most, ended, complete, eta_s, stopped_by: by }) {
  if (state === "running") return running(done, most, eta_s === null ? null : seconds(eta_s));
  if (state === "paused") return done === 0 ? phrase("Paused: reading the prompt. Step runs one more token.") : phrase("Paused: token {n} of at most {most}. Step runs one more token.", { n: done, most });
  if (state === "failed") return counted(done, "Ended after {n} token.", "Ended after {n} tokens.");
  if (state === "stopped" && by === "overtaken") return counted(done, "Ended after {n} token because another run was started.", "Ended after {n} tokens because another run was started.");
  if (state === "stopped") return counted(done, "Stopped after {n} token.", "Stopped after {n} tokens.");
  return complete ? written(done, ended) : `${written(done, ended)} ${phrase("Adding the logit lens…")}`;
}

/** @param {Status} status */
function ofOther({ state, experiment, what, refusal, stopped_by: by }) {
  const { done, stopped, overtaken } = KINDS[experiment] ?? OTHER;
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
