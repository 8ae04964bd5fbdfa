// The lens of a long run: what is looked at is asked for after a rest, a few columns at a time, and never twice.

import { test, mock, beforeEach } from "node:test";
import assert from "node:assert/strict";
import { LensColumns } from "../../assets/js/data/lens_columns.js";
import { Run } from "../../assets/js/data/store.js";

mock.timers.enable({ apis: ["setTimeout"] });
globalThis.window = globalThis; // the module's timers are the window's

/** @type {string[]} */
let asked;
/** @type {(path: string) => Promise<number[]>} */
let answer;
let redrawn;

/** A run of so many tokens, to which an answer adds the columns that it names. */
function long(n = 600, shown = {}) {
  const run = new Run("run");
  run.head = { shows: { lens: null }, lens_up_to: 512, model: { n_layers: 2 }, ...shown };
  run.stepOf = Array(n).fill(0);
  run.end = { ended: "length" };
  run.feed = (positions) => {
    const size = [3, positions.length, 1];
    const count = 3 * positions.length;
    run.addSlice("lens_slice", { positions }, { ids: { data: new Int32Array(count), shape: size }, probabilities: { data: new Float32Array(count), shape: size } });
    return 0;
  };
  return run;
}

function columns(run, server = { live: true, get: (path) => { asked.push(path); return answer(path); } }) {
  const made = new LensColumns(() => { redrawn += 1; });
  made.open(run, server);
  return made;
}

const rest = async (ms = 1000) => {
  mock.timers.tick(ms);
  for (let i = 0; i < 8; i += 1) await Promise.resolve();
};
const all = (path) => Promise.resolve(path.slice("lens/".length).split(",").map(Number));

beforeEach(() => {
  asked = [];
  answer = all;
  redrawn = 0;
});

test("a pointer that moves asks for nothing, one that rests asks once", async () => {
  const run = long();
  const lens = columns(run);
  for (const token of [5, 6, 7]) { lens.look([token, 599]); mock.timers.tick(100); }
  assert.deepEqual(asked, []);
  lens.look([7, 599]); // drawn again: the same is looked at
  mock.timers.tick(100);
  await rest(0);
  assert.deepEqual(asked, ["lens/7,599"]);
  assert.ok(run.lensPlace(2, 7) && !run.lensPlace(0, 6) && redrawn === 1);
  lens.look([7, 599]);
  await rest();
  assert.equal(asked.length, 1);
});

test("a few columns come at a time, the most important first, and none beyond what was read", async () => {
  const lens = columns(long());
  const wide = Array.from({ length: 12 }, (_, i) => 610 - i);
  for (let i = 0; i < 4; i += 1) { lens.look([3, ...wide]); await rest(); }
  assert.deepEqual(asked, ["lens/3,599"]);
  const more = Array.from({ length: 12 }, (_, i) => 100 + i);
  for (let i = 0; i < 4; i += 1) { lens.look(more); await rest(); }
  assert.deepEqual(asked.slice(1), ["lens/100,101,102,103,104,105,106,107", "lens/108,109,110,111"]);
});

test("a refusal is said, and asked again only after a while", async () => {
  const run = long();
  const lens = columns(run);
  answer = () => Promise.reject(Object.assign(new Error("The model is busy."), { name: "Gone" }));
  lens.look([1]);
  await rest(200);
  assert.equal(lens.why(), "The model is busy.");
  lens.look([1]);
  await rest(200);
  assert.equal(asked.length, 1);
  answer = all;
  await rest(2000);
  lens.look([1]);
  await rest();
  assert.deepEqual(asked, ["lens/1", "lens/1"]);
  assert.ok(run.lensPlace(0, 1));
});

test("nothing is asked for of a short run, one that goes on, one that is only recorded, or a saved page", async () => {
  const going = long();
  going.end = null;
  for (const lens of [columns(long(512)), columns(long(600, { shows: { lens: "no head" } })), columns(going), columns(long(), { live: false, get: (path) => { asked.push(path); return all(path); } }), columns(long(), null)]) {
    lens.look([1]);
    await rest();
  }
  assert.deepEqual(asked, []);
  assert.match(columns(long(), null).why(), /saved page.*more than 512 tokens/);
  assert.match(columns(long(), { live: false, get: all }).why(), /recorded run/);
  assert.match(columns(going).why(), /once the run has ended/);
  assert.deepEqual([columns(long(), null).comes, columns(long()).comes], [false, true]);
});

test("an answer that comes late is kept by the run that it is of", async () => {
  const [one, other] = [long(), long()];
  const lens = columns(one);
  let give = (_) => {};
  answer = () => new Promise((done) => { give = done; });
  lens.look([9]);
  await rest();
  lens.open(other, null);
  give([9]);
  await rest();
  assert.ok(one.lensPlace(0, 9) && !other.lensPlace(0, 9) && redrawn === 0);
});
