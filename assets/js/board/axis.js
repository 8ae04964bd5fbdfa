// @ts-check
// What the transport tells of the axis that moves: the passes of a run, as wide as they took; the ticks or the rounds of another record.

import { h, quoted } from "../core/dom.js";
import { count, duration, FROM_0, roundOf, stepOf, tickOf, WHY_FROM_0 } from "../core/format.js";
import { word } from "../views/loom/ink.js";
import { kindName } from "../data/pass_kinds.js";
import { counted, phrase, phraseParts } from "../core/texts.js";

/** @typedef {import("./transport.js").Axis} Axis */
/** @typedef {import("../data/axes.js").At} At */

/** @param {import("../data/view.js").State} state @returns {Axis} */
export function runAxis({ run, at, step, word: selected }) {
  const written = step.choices.length ? quoted(run.tokens[step.chosenAt]) : phrase("nothing yet");
  const read = step.n === 1 ? quoted(run.tokens[step.first]) : counted(step.n, "{n} token", "{n} tokens", { n: count(step.n) });
  return {
    first: 0,
    places: run.steps.map(({ seconds, kind, first, n }) => ({ width: seconds, name: n === 1 ? word(run.tokens[first]).text : kindName(kind) })),
    at: at.step,
    words: [
      h("span", {}, ...phraseParts("{step} ({kind}): read {read}, wrote {written}", { step: h("strong", {}, stepOf(at.step, run.steps.length)), kind: kindName(step.kind), read, written })),
      run.head.origin && crumb(phrase("forked at step {n}", { n: count(run.head.origin.step) })),
      crumb(phrase("layer {n}", { n: at.layer })), crumb(phrase("head {n}", { n: at.head })), crumb(...phraseParts(selected > step.last ? "token {n} {token}, written in this step" : "token {n} {token}", { n: String(selected), token: quoted(run.tokens[selected]) })), fromZero(),
    ],
    spoken: phrase("{step}, {kind}, {time}", { step: stepOf(at.step, run.steps.length), kind: kindName(step.kind), time: duration(step.seconds) }),
    title: phrase("This pass took {time}. Widths are proportional to the recorded seconds; recording makes a pass slower.", { time: duration(step.seconds) }),
    said: (place) => passWords(run, place),
    inside: (place) => (run.steps[place]?.entered.length ? run.steps[place] : null),
    wait_ms: (place) => (run.steps[place]?.seconds ?? 0) * 1000,
  };
}

/** What a pass read, wrote and took, for who points at it. @param {import("../data/store.js").Run} run @param {number} i */
function passWords(run, i) {
  const { n, first, choices, chosenAt, seconds } = run.steps[i];
  const read = n === 1 ? phrase("“{token}”", { token: word(run.tokens[first]).text }) : counted(n, "{n} token", "{n} tokens", { n: count(n) });
  const wrote = choices.length ? phrase("“{token}”", { token: word(run.tokens[chosenAt]).text }) : phrase("nothing yet");
  return phrase("{step}: read {read}, wrote {wrote}, took {time} (recorded)", { step: stepOf(i, run.steps.length), read, wrote, time: duration(seconds) });
}

/** @param {import("../data/record.js").ServedRecord} record @param {At} at @param {string} words what happened there @returns {Axis | null} null: nothing moves */
export function servedAxis(record, at, words) {
  const { moving, counts, ended } = record;
  if (!moving) return null;
  const n = record.countAt(at);
  const where = (moving === "tick" ? tickOf : roundOf)(at[moving], n);
  const why = words && moving === "tick" && ended && at.tick === counts.starts?.[0] ? counts.why ?? "" : ""; // why this tick is shown first
  return {
    first: 0,
    places: Array.from({ length: n }, () => ({ width: 1 })),
    at: at[moving],
    words: [h("span", {}, h("strong", {}, where), words && ":", ` ${words}${why} `, fromZero())],
    spoken: where,
    title: "",
    wait_ms: null,
  };
}

/** What whoever reads a number here first has to know of it. */
function fromZero() {
  return h("span", { class: "ts-from-0", title: WHY_FROM_0 }, FROM_0);
}

/** @param {import("../core/dom.js").Child[]} words */
function crumb(...words) {
  return h("span", { class: "ts-crumb" }, ...words);
}
