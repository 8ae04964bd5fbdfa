// @ts-check
// What a board shows, in the words below the title of a saved picture and in the name of its file.

import { roundOf, stepOf, tickOf } from "../core/format.js";
import { phrase } from "../core/texts.js";

/** @typedef {import("../data/axes.js").At} At */

const MOST = 90; // characters of a prompt

/** @param {import("../data/store.js").Run} run @param {At} at */
export function aboutRun(run, at) {
  const { model, prompt } = run.head;
  return {
    place: `step${at.step}`,
    words: [phrase("{model}, prompt “{prompt}”", { model: model.name, prompt: beginning(prompt) }),
      phrase("{step}, layer {layer}, head {head}, token {token}", { step: stepOf(at.step, run.steps.length), layer: at.layer, head: at.head, token: at.token })],
  };
}

/** @param {import("../data/record.js").ServedRecord} record @param {At} at */
export function aboutServed(record, at) {
  const { moving, summary } = record;
  const n = record.countAt(at);
  const where = moving === "tick" ? tickOf(at.tick, n) : moving === "round" ? roundOf(at.round, n) : "";
  return { place: moving ? `${moving}${at[moving]}` : "", words: [summary, where].filter(Boolean) };
}

/** A text on one line, cut where it is long. @param {string} text */
function beginning(text) {
  const points = [...text.replace(/\s+/g, " ").trim()];
  return points.length > MOST ? `${points.slice(0, MOST - 1).join("")}…` : points.join("");
}
