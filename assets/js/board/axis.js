// @ts-check
// What the transport tells of the axis that moves: the passes of a run, as wide as they took; the ticks or the rounds of another record.

import { h, quoted } from "../core/dom.js";
import { count, duration, stepOf } from "../core/format.js";

/** @typedef {import("./transport.js").Axis} Axis */
/** @typedef {import("../data/axes.js").At} At */

/** @param {import("./card.js").State} state @returns {Axis} */
export function runAxis({ run, at, step }) {
  const written = step.choices.length ? quoted(run.tokens[step.chosenAt]) : "nothing yet";
  const read = step.n === 1 ? quoted(run.tokens[step.first]) : `${count(step.n)} tokens`;
  return {
    first: 0,
    places: run.steps.map(({ seconds, kind }) => ({ width: seconds, hatched: kind !== "decode" })),
    at: at.step,
    words: [
      h("span", {}, h("strong", {}, stepOf(at.step, run.steps.length)), ` (${step.kind}): read `, read, ", wrote ", written),
      run.head.origin && crumb("forked at step", count(run.head.origin.step)),
      crumb("layer", String(at.layer)), crumb("head", String(at.head)), crumb("token", String(at.token), quoted(run.tokens[at.token])),
    ],
    spoken: `${stepOf(at.step, run.steps.length).toLowerCase()}, ${step.kind}, ${duration(step.seconds)}`,
    title: `This pass took ${duration(step.seconds)}. Widths are to scale: seconds as recorded; recording makes it slower.`,
    wait_ms: (place) => (run.steps[place]?.seconds ?? 0) * 1000,
  };
}

/** @param {import("../data/record.js").ServedRecord} record @param {At} at @param {string} words what happened there @returns {Axis | null} null: nothing moves */
export function servedAxis(record, at, words) {
  const { moving, counts, ended } = record;
  if (!moving) return null;
  const n = record.countAt(at);
  const name = moving === "tick" ? "Tick" : "Round";
  const why = words && moving === "tick" && ended && at.tick === counts.starts?.[0] ? counts.why ?? "" : ""; // why this tick is shown first
  return {
    first: 1,
    places: Array.from({ length: n }, () => ({ width: 1, hatched: false })),
    at: at[moving],
    words: [h("span", {}, h("strong", {}, `${name} ${at[moving] + 1} of ${n}`), ` ${words}${why}`)],
    spoken: `${moving} ${at[moving] + 1} of ${n}`,
    title: "",
    wait_ms: null,
  };
}

/** @param {string} name @param {string} value @param {Node | string} [extra] */
function crumb(name, value, extra = "") {
  return h("span", { class: "ts-crumb" }, `${name} ${value}`, extra ? " " : "", extra);
}
