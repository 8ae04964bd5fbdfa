// The list of a tab's own runs: bounded, renamed, taken out and brought back, and read from whatever a browser kept.

import assert from "node:assert/strict";
import { test } from "node:test";
import { MOST, broughtBack, nameOf, nextTo, read, renamed, withRun, written } from "../../assets/js/data/own_runs.js";

const run = (id, more = {}) => ({ id, name: "", prompt: `the prompt of ${id}`, settings: { seed: 1 }, tokens: 3, forked: null, ...more });
const ids = (runs) => runs.map(({ id }) => id).join(" ");

test("the newest stands first; what more is known of a run leaves its place and its name", () => {
  let runs = withRun(withRun([], run("a"), null), run("b"), null);
  runs = renamed(runs, "a", "mine");
  runs = withRun(runs, run("a", { tokens: 9 }), null);
  assert.equal(ids(runs), "b a");
  assert.deepEqual([runs[1].name, runs[1].tokens], ["mine", 9]);
});

test("beyond the bound the oldest goes, but never the one that is shown", () => {
  let runs = [];
  for (let i = 0; i < MOST; i += 1) runs = withRun(runs, run(`r${i}`), null);
  assert.equal(ids(withRun(runs, run("new"), null)), ids([run("new"), ...runs.slice(0, -1)]));
  const kept = withRun(runs, run("new"), "r0");
  assert.equal(kept.length, MOST);
  assert.deepEqual([kept[0].id, kept[MOST - 1].id], ["new", "r0"]);
  assert.ok(!ids(kept).split(" ").includes("r1"));
});

test("a run is called by its prompt, cut between characters, until it is given a name, and again when that is empty", () => {
  assert.equal(nameOf(run("a", { prompt: "  two\n lines " })), "two lines");
  const long = nameOf(run("a", { prompt: "👩🏽‍🚀".repeat(200) }));
  assert.ok(long.endsWith("…") && [...long].length === 60 && !long.includes("\ufffd"));
  const [named] = renamed([run("a")], "a", "  Rome  ");
  assert.equal(nameOf(named), "Rome");
  assert.equal(nameOf(renamed([named], "a", "  ")[0]), "the prompt of a");
  assert.equal(renamed([run("a")], "a", "the prompt of a")[0].name, "", "the prompt is no name of its own");
});

test("a run that is taken out comes back in its place; meanwhile the next one is looked at", () => {
  const runs = [run("c"), run("b"), run("a")];
  assert.equal(nextTo(runs, "b"), "a");
  assert.equal(nextTo(runs, "a"), "b");
  assert.equal(nextTo([run("c"), run("b", { gone: true })], "c"), null);
  assert.equal(ids(broughtBack([run("c"), run("a")], run("b"), 1, null)), "c b a");
});

test("what is remembered is read as it was; of anything else, what can be", () => {
  const runs = [run("b", { forked: { run: "a", step: 3, token: " Rome" }, name: "<b>" }), run("a")];
  assert.deepEqual(read(written(runs)), runs);
  assert.deepEqual(read(written([run("a", { gone: true })])), [run("a")], "whether it is kept is asked again");
  for (const text of [null, "", "{", "7", "null", '{"id": "a"}', '[null, 3, {"id": 5}, {"id": "a"}]']) assert.deepEqual(read(text), []);
  const [odd] = read('[{"id": "a", "prompt": "p", "name": 5, "settings": [1], "tokens": "x", "forked": {"step": 1}}]');
  assert.deepEqual(odd, { id: "a", name: "", prompt: "p", settings: {}, tokens: 0, forked: null });
});
