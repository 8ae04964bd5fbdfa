// A selection stays in the record, previews on hover, and follows a record that grows until a person goes elsewhere.

import { test } from "node:test";
import assert from "node:assert/strict";
import { Run } from "../../assets/js/data/store.js";
import { ServedRecord } from "../../assets/js/data/record.js";
import { NOWHERE } from "../../assets/js/data/axes.js";
import { Selection } from "../../assets/js/data/selection.js";

/** A run of a prompt of 5 tokens and one more token a step, with 4 layers of 6 heads. */
function run(steps, ended = true) {
  const made = new Run("r");
  made.head = { model: { n_layers: 4, n_heads: 6 }, n_prompt: 5 };
  grow(made, steps);
  if (ended) made.end = {};
  return made;
}

function grow(made, steps) {
  for (let index = made.steps.length; index < steps; index += 1) {
    const [first, n] = index === 0 ? [0, 5] : [index + 4, 1];
    made.steps.push({ index, first, last: first + n - 1, n });
    for (let i = 0; i < n; i += 1) made.stepOf[first + i] = index;
  }
}

function serving(ticks, ended = true) {
  const record = new ServedRecord("s");
  record.add({ kind: "record", tensors: {}, about: { experiment: "serve", version: 1, facts: [], steps: "tick", views: [{ name: "a", follows: "tick" }],
    counts: { ticks, starts: [2], layers: 3, heads: 2, requests: ["A", "B"] } } });
  record.ended = ended;
  return record;
}

function drafting(rounds, ended = true) {
  const record = new ServedRecord("d");
  record.add({ kind: "record", tensors: {}, about: { experiment: "speculate", version: 1, facts: [], steps: "round", views: [{ name: "a", follows: "round" }],
    counts: { rounds, attempts: rounds.map(String), starts: rounds.map(() => 1), best: 1 } } });
  record.ended = ended;
  return record;
}

const first = () => ({ step: 0, layer: 2, head: 3 });

function opened(record, following = false, asked = null) {
  const selection = new Selection();
  selection.open(record, record instanceof Run ? first : () => record.lead, following, asked);
  return selection;
}

test("every place exists: out of range becomes the nearest", () => {
  const selection = opened(run(4));
  selection.set({ step: 99, layer: -3, head: 99 });
  assert.deepEqual([selection.at.step, selection.at.layer, selection.at.head], [3, 0, 5]);
  selection.set({ step: -Infinity });
  assert.equal(selection.at.step, 0);
  selection.set({ token: 99 });
  assert.equal(selection.at.token, 7, "the last token that was read");
});

test("a step brings its own last token along, a token not yet read its step", () => {
  const selection = opened(run(4));
  assert.equal(selection.at.token, 4);
  selection.set({ step: 2 });
  assert.equal(selection.at.token, 6);
  selection.set({ token: 1 });
  assert.deepEqual([selection.at.step, selection.at.token], [2, 1]);
  selection.set({ token: 7 });
  assert.deepEqual([selection.at.step, selection.at.token], [3, 7]);
});

test("hover previews and leaves no trace; a click locks; Esc unlocks", () => {
  const selection = opened(run(4));
  selection.preview({ token: 1 });
  assert.equal(selection.at.token, 1);
  selection.preview(null);
  assert.equal(selection.at.token, 4);
  selection.set({ token: 2 }, { lock: true });
  selection.preview({ token: 0 });
  assert.equal(selection.at.token, 2);
  selection.unlock();
  selection.preview({ token: 0 });
  assert.equal(selection.at.token, 0);
  assert.equal(selection.base.token, 2);
});

test("nothing is told twice while the pointer stays where it is, nor previewed while it rests", () => {
  const selection = opened(run(4));
  let told = 0;
  selection.onChange(() => { told += 1; });
  selection.preview({ token: 1 });
  selection.preview({ token: 1 });
  assert.equal(told, 1);
  selection.pointerRests = true;
  selection.preview({ token: 2 });
  assert.equal(selection.at.token, 1);
});

test("a run that is written is followed, until a person goes back, and again from its end on", () => {
  const record = run(1, false);
  const selection = opened(record, true);
  const grown = (steps) => { grow(record, steps); selection.grown(); return selection.at.step; };
  assert.equal(grown(3), 2);
  selection.move(-1);
  assert.equal(grown(4), 1);
  selection.set({ step: Infinity });
  assert.equal(grown(5), 4);
  selection.set({ token: 0 }, { lock: true });
  assert.equal(grown(6), 4);
});

test("layer and head that a person selected stay for the next run, where it has them", () => {
  const selection = opened(run(4));
  selection.open(run(4), first, false);
  assert.deepEqual([selection.at.layer, selection.at.head], [2, 3], "nothing was selected");
  selection.set({ layer: 1 });
  selection.open(run(4), () => ({ step: 0, layer: 0, head: 0 }), false);
  assert.deepEqual([selection.at.layer, selection.at.head], [1, 3]);
  const small = run(4);
  small.head.model.n_layers = 1;
  selection.open(small, () => ({ step: 0, layer: 0, head: 5 }), false);
  assert.deepEqual([selection.at.layer, selection.at.head], [0, 5]);
});

test("a place that an address names is gone to as soon as it is here, and nothing is followed", () => {
  const record = run(1, false);
  const selection = opened(record, true, { step: 3, layer: 1, token: 2 });
  assert.deepEqual([selection.at.step, selection.at.layer], [0, 1]);
  grow(record, 6);
  record.end = {};
  selection.grown();
  assert.deepEqual([selection.at.step, selection.at.layer, selection.at.token], [3, 1, 2]);
  grow(record, 8);
  selection.grown();
  assert.equal(selection.at.step, 3);
});

test("a person who moves before that place is here is not taken there any more", () => {
  const record = run(2, false);
  const selection = opened(record, true, { step: 5 });
  selection.set({ step: 0 });
  grow(record, 8);
  selection.grown();
  assert.equal(selection.at.step, 0);
});

test("served texts: the newest tick while they are served, then the most telling one", () => {
  const record = serving(1, false);
  const selection = opened(record, true);
  record.counts.ticks = 6;
  selection.grown();
  assert.equal(selection.at.tick, 5);
  record.ended = true;
  selection.grown();
  assert.equal(selection.at.tick, 2);
});

test("a tick that a person selected stays while more come", () => {
  const record = serving(3, false);
  const selection = opened(record, true);
  selection.set({ tick: 1 });
  Object.assign(record.counts, { ticks: 9 });
  record.ended = true;
  selection.grown();
  assert.equal(selection.at.tick, 1);
});

test("of drafts the one that is tried is followed, then the best; another one opens where it is telling", () => {
  const record = drafting([3], false);
  const selection = opened(record, true);
  assert.deepEqual([selection.at.attempt, selection.at.round], [0, 2]);
  Object.assign(record.counts, { rounds: [3, 5], attempts: ["a", "b"], starts: [0, 1] });
  selection.grown();
  assert.deepEqual([selection.at.attempt, selection.at.round], [1, 4]);
  selection.set({ attempt: 0 });
  assert.deepEqual([selection.at.attempt, selection.at.round], [0, 2]);
  record.ended = true;
  selection.grown();
  assert.deepEqual([selection.at.attempt, selection.at.round], [0, 2], "a person selected it");
  selection.set({ attempt: 1 });
  assert.deepEqual([selection.at.attempt, selection.at.round], [1, 1]);
  selection.set({ round: 99 });
  assert.equal(selection.at.round, 4);
  assert.equal(opened(record, true).at.attempt, 1);
});

test("layers and heads of served texts are checked against the record's own", () => {
  const selection = opened(serving(5));
  selection.set({ layer: 7, head: 7, request: 7 });
  assert.deepEqual([selection.at.layer, selection.at.head, selection.at.request], [2, 1, 1]);
});

test("a memory bill begins with what is usual, and is never worked out for nothing", () => {
  const record = new ServedRecord("m");
  record.add({ kind: "record", tensors: {}, about: { experiment: "measure", version: 1, facts: [], steps: null, counts: {}, views: [{ name: "b", follows: "load" }] } });
  assert.deepEqual(record.axes, ["context", "users", "bits"]);
  assert.deepEqual(record.place(NOWHERE, {}), { ...NOWHERE, context: 2048, users: 1, bits: 0 });
  assert.equal(record.place(NOWHERE, { context: 0, users: -3 }).users, 1);
});
