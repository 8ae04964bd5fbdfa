// @ts-check
// How a job stands, in words for the line beside the form.

/** @typedef {import("../data/follow.js").Status} Status */
/** Beside the status: a `trace` is told token by token; `shipped` records come with the app; `restored` ones ran before the page was left; of those `cutOff` nothing more was heard.
 * @typedef {{trace?: boolean, shipped?: boolean, restored?: boolean, cutOff?: boolean}} Circumstances */

const CUT_OFF = "Cut off: the program does not answer any more. What had arrived stays here.";
const RESTORED = "Shown again: what ran last, before you left this page.";
const SHIPPED = "Showing a recorded run. Press Run for one of your own, with the prompt above.";
const UNHEARD = "Ended, because this page was not heard of for a while. What had arrived stays.";

/** @type {Record<string, {done: string, stays: string, other: string}>} */
const KINDS = {
  measure: { done: "Done: measured.", stays: "What was measured stays.", other: "something else" },
  cache: { done: "Done: all caches tried.", stays: "What was measured stays.", other: "something else" },
  serve: { done: "Done: all texts are written, in all three ways.", stays: "What was seen stays.", other: "the other part of this page" },
  speculate: { done: "Done: all drafts are tried.", stays: "What was seen stays.", other: "the other part of this page" },
};

/** Whether nothing more is written, measured or tried; a run may still be added to. @param {Status} status */
export function isOver({ state }) {
  return ["done", "stopped", "failed"].includes(state);
}

/** @param {Status} status @param {Circumstances} [circumstances] */
export function sentence(status, { trace = status.experiment === "run", shipped = false, restored = false, cutOff = false } = {}) {
  if (cutOff) return CUT_OFF;
  if (shipped) return SHIPPED;
  if (status.state === "waiting") return waiting(status, trace);
  if (status.state === "stopped" && status.stopped_by === "silence") return UNHEARD;
  if (trace) return ofTrace(status);
  if (isOver(status) && restored) return RESTORED;
  return ofOther(status);
}

/** @param {Status} status @param {boolean} trace */
function waiting({ place, what, eta_s }, trace) {
  if (place === 0) return what || "Waiting to begin.";
  const left = eta_s === null ? "" : `, about ${seconds(eta_s)} left`;
  if (!trace) return `Waiting: ${place} before yours${left}.`;
  return place === 1 ? `Waiting: yours is next${left}.` : `Waiting: ${place} runs before yours${left}.`; // the one that runs is among them
}

/** @param {Status} status */
function ofTrace({ state, done, max_new_tokens: most, ended, complete, eta_s, stopped_by: by }) {
  const tokens = done === 1 ? "1 token" : `${done} tokens`;
  const at = done === 0 ? "reading the prompt" : `token ${done} of at most ${most}`;
  if (state === "running") return `Running: ${at}${eta_s === null ? "" : `, about ${seconds(eta_s)} left`}.`;
  if (state === "paused") return `Paused: ${at}. Step goes one token on.`;
  if (state === "failed") return `Ended after ${tokens}.`;
  if (state === "stopped") return by === "overtaken" ? `Ended after ${tokens}, because another run was started.` : `Stopped after ${tokens}.`;
  return `Done: ${tokens} written${why(ended)}.${complete ? "" : " Adding the logit lens…"}`;
}

/** @param {Status} status */
function ofOther({ state, experiment, what, refusal, stopped_by: by }) {
  const { done, stays, other } = KINDS[experiment] ?? { done: "Done.", stays: "What had arrived stays.", other: "something else" };
  if (state === "running" || state === "paused") return what;
  if (state === "failed") return refusal ? "" : "Ended.";
  if (state === "stopped") return by === "overtaken" ? `Ended, because ${other} was started. ${stays}` : `Stopped. ${stays}`;
  return done;
}

/** @param {string} ended */
function why(ended) {
  if (ended === "end of sequence") return "; the model wrote its end mark";
  return ended === "length" ? ", as many as asked" : "";
}

/** @param {number} left */
function seconds(left) {
  return left < 60 ? `${Math.max(1, Math.round(left))} s` : `${Math.round(left / 60)} min`;
}
