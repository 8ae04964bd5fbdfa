// @ts-check
// What is measured late in a run: whether it is coming, or never will, because the run was stopped. The record cannot know.

import { say } from "../core/dom.js";
import { phrase } from "../core/texts.js";

/** @typedef {import("../data/record.js").ServedRecord} ServedRecord */

/** Why a whole picture has nothing to show. @param {ServedRecord} record @param {string} missing as the program says it @returns {string} */
export function whyMissing({ ended, stopped }, missing) {
  if (!ended) return phrase("Coming: this is measured later in the run.");
  return stopped ? phrase("Not measured: it was stopped.") : missing;
}

/** Say it where a picture has a place for a number that is measured late. @param {Element} root @param {ServedRecord} record */
export function sayLate(root, { ended, stopped }) {
  const words = !ended ? phrase("coming") : stopped ? phrase("not measured: it was stopped") : phrase("not measured");
  for (const each of root.querySelectorAll(".ts-late")) say(each, words);
}
