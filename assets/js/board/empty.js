// @ts-check
// What is said of each kind before there is a record of it.

import { h } from "../core/dom.js";

export const RUN_EMPTY = "Type a prompt and press Run: the run appears here, pass by pass.";
/** What is said of a kind before there is a record: a title and a sentence. @type {Record<string, [string, string]>} */
const EMPTY = {
  measure: ["What this model costs on this machine",
    "Press Measure. The prompt is read and continued several times without recording, then with and without the KV cache at "
    + "growing lengths, and then for several texts at once. It takes about half a minute, and every piece is drawn as it comes."],
  cache: ["The same run with a smaller cache",
    "Press “Try smaller caches”. The run is replayed with keys and values in fewer bits, and with some of them taken out: "
    + "you see the bytes that each saves, and what it does to the next token."],
  serve: ["Several texts at once",
    "Press Serve. The model reads and writes all the texts of the form together: every pass, called a tick here, takes a few tokens of each. "
    + "You see who waits, who is read and who writes, which block of the cache holds whose tokens, and that no text looks into another. "
    + "Then the same texts are served in a padded batch and one by one, and the three are timed."],
  speculate: ["A draft before the model",
    "Press Speculate. Something quick guesses the next few tokens, and the model judges all of them in one pass: what it agrees with is written at once. "
    + "You see each guess, the two probabilities, the number that decided, and whether all of this was faster than writing plainly."],
};

/** A card in place of the pictures. @param {string} experiment */
export function emptyCard(experiment) {
  const [title, sentence] = EMPTY[experiment] ?? ["Nothing here yet", "Fill in the form and press its button: what comes of it is drawn here."];
  return h("section", { class: "ts-card" }, h("h2", { class: "ts-title" }, title), h("p", { class: "ts-sentence" }, sentence));
}
