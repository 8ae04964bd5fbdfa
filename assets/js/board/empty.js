// @ts-check
// What is said of each kind before there is a record of it.

import { h } from "../core/dom.js";
import { phrase } from "../core/texts.js";

export const RUN_EMPTY = phrase("Type a prompt and press Run: the run appears here, pass by pass.");
/** What is said of a kind before there is a record: a title and a sentence. @type {Record<string, [string, string]>} */
const EMPTY = {
  measure: [phrase("What this model costs on this machine"),
    phrase("Press Measure. The prompt is read and continued several times without recording, then with and without the KV cache at growing lengths, then in batches of several texts. It takes about half a minute; each measurement is drawn as it arrives.")],
  cache: [phrase("The same run with cache compression"),
    phrase("Press “Compress the cache”. The run is replayed with quantized keys and values, and with some of them evicted: you see how many bytes each method saves and how the next token changes.")],
  serve: [phrase("Several requests at once"),
    phrase("Press Serve. The model runs all texts of the form together: each pass, called a tick here, processes a few tokens of each. You see which requests wait, which are in prefill and which decode, which cache block holds whose tokens, and that no request attends to another. Then the same texts run in static batches and sequentially, and the three schedulers are timed.")],
  speculate: [phrase("Speculative decoding"),
    phrase("Press Speculate. A fast drafting method proposes the next few tokens, and the model verifies all of them in one pass: accepted tokens are written at once. You see each draft token, its two probabilities, the random number that decided, and whether it was faster than decoding without drafts.")],
};

/** What a board of several on a page is called. @param {string} experiment */
export function titleOf(experiment) {
  return EMPTY[experiment]?.[0] ?? "";
}

/** A card in place of the pictures. @param {string} experiment */
export function emptyCard(experiment) {
  const [title, sentence] = EMPTY[experiment] ?? [phrase("Nothing here yet"), phrase("Fill in the form and press its button: the results are drawn here.")];
  return h("section", { class: "ts-card ts-empty-card" }, h("h2", { class: "ts-title" }, title), h("p", { class: "ts-sentence" }, sentence));
}
