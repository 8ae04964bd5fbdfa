// How a job stands, in words: one sentence for every kind and every state.

import { test } from "node:test";
import assert from "node:assert/strict";
import { sentence } from "../../assets/js/board/sentences.js";

const status = (about) => ({ id: "x", experiment: "run", state: "running", over: ["done", "stopped", "failed"].includes(about.state), place: 0, version: 1, parts: 1, what: "", fraction: null, eta_s: null, complete: false,
  refusal: "", done: 3, total: 9, stopped_by: "", ...about });

const SAID = [
  [{ state: "waiting", place: 3, eta_s: 100 }, "Waiting: 3 before yours, about 2 min left."],
  [{ state: "waiting", place: 1 }, "Waiting: yours is next."],
  [{ state: "waiting", what: "The model is being loaded: 40%. Your run starts by itself." }, "The model is being loaded: 40%. Your run starts by itself."],
  [{ state: "waiting" }, "Waiting to begin."],
  [{ state: "waiting", experiment: "serve", place: 2 }, "Waiting: 2 before yours."],
  [{ done: 0 }, "Running: reading the prompt."],
  [{ eta_s: 0.2 }, "Running: token 3 of at most 9, about 1 s left."],
  [{ state: "paused" }, "Paused: token 3 of at most 9. Step runs one more token."],
  [{ state: "stopped", stopped_by: "person" }, "Stopped after 3 tokens."],
  [{ state: "stopped", done: 1 }, "Stopped after 1 token."],
  [{ state: "stopped", stopped_by: "overtaken" }, "Ended after 3 tokens because another run was started."],
  [{ state: "stopped", stopped_by: "silence" }, "Ended because the program lost contact with this page for a while. What was received so far stays."],
  [{ state: "failed" }, "Ended after 3 tokens."],
  [{ state: "done", complete: true }, "Done: 3 tokens written."],
  [{ experiment: "measure", what: "Timing piece 2 of 5." }, "Timing piece 2 of 5."],
  [{ experiment: "measure", state: "done" }, "Done: measured."],
  [{ experiment: "cache", state: "done" }, "Done: all caches are measured."],
  [{ experiment: "serve", state: "done" }, "Done: all texts are written under all three schedulers."],
  [{ experiment: "speculate", state: "done" }, "Done: all drafting methods are measured."],
  [{ experiment: "measure", state: "stopped", stopped_by: "person" }, "Stopped. The measurements so far stay."],
  [{ experiment: "serve", state: "stopped", stopped_by: "person" }, "Stopped. The results so far stay."],
  [{ experiment: "measure", state: "stopped", stopped_by: "overtaken" }, "Ended because something else was started. The measurements so far stay."],
  [{ experiment: "serve", state: "stopped", stopped_by: "overtaken" }, "Ended because the other part of this page was started. The results so far stay."],
  [{ experiment: "speculate", state: "failed" }, "Ended."],
  [{ experiment: "speculate", state: "failed", refusal: "The prompt is empty." }, ""],
  [{ experiment: "a kind to come", state: "done" }, "Done."],
];

for (const [about, said] of SAID) test(`${JSON.stringify(about)} is told`, () => assert.equal(sentence(status(about)), said));

test("what ran before the page was left, what comes with the app, and what fell silent is told as such", () => {
  const over = status({ experiment: "serve", state: "done" });
  assert.equal(sentence(over, { restored: true }), "Showing your last result from before you left this page.");
  assert.match(sentence(status({ experiment: "serve", what: "piece" }), { restored: true }), /^piece$/);
  assert.match(sentence(status({ state: "done" }), { shipped: true }), /^Showing a recorded run/);
  assert.match(sentence(status({}), { cutOff: true }), /^Connection lost: the program does not answer/);
});

test("a run that another kind made is told token by token too, as its board is that of runs", () => {
  assert.equal(sentence(status({ experiment: "fork" }), { experiment: "run" }), "Running: token 3 of at most 9.");
});

test("the record knows why no more was written", () => {
  for (const [ended, complete, said] of [
    ["end of sequence", true, "Done: 3 tokens written; the model wrote its end-of-sequence token."],
    ["end of sequence", false, "Done: 3 tokens written; the model wrote its end-of-sequence token. Adding the logit lens…"],
    ["length", true, "Done: 3 tokens written, as many as requested."],
  ]) assert.equal(sentence(status({ state: "done", complete }), { record: { end: { ended } } }), said);
});
