// The loom's arithmetic: how wide columns are, what a place is, which guesses are one block, which arcs are drawn, where it opens.

import test from "node:test";
import assert from "node:assert/strict";
import { columns, columnAt, WIDE } from "../../assets/js/views/loom/columns.js";
import { Geometry } from "../../assets/js/views/loom/geometry.js";
import { blocks, guessAt, settled } from "../../assets/js/views/loom/guesses.js";
import { farthestLook, looksOfHead, looksOfLayer } from "../../assets/js/views/loom/arcs.js";
import { opening } from "../../assets/js/views/loom/opening.js";
import { WEIGHTS } from "../../assets/js/data/store.js";

const sum = (all) => all.reduce((total, { size }) => total + size, 0);

test("columns fill the room, and those that are looked at are the widest", () => {
  const found = columns({ wanted: Array(12).fill(44), focus: [3, 11], known: 12, room: 900, looked: 90, empty: 34 });
  assert.ok(Math.abs(sum(found) - 900) < 300 && sum(found) <= 900.001);
  assert.ok(found[3].size > found[4].size && found[11].size === found[3].size);
  found.slice(1).forEach((column, i) => assert.ok(Math.abs(column.start - found[i].start - found[i].size) < 1e-9));
});

test("of a long run the newest columns and the one that is looked at have words, and all fit", () => {
  for (const [n, most] of [[25, 22], [128, 12], [2048, 12]]) {
    const found = columns({ wanted: Array(n).fill(44), focus: [5, n - 1], known: n, room: 1000, looked: 100, empty: 34 });
    const wide = found.flatMap((each, i) => (each.wide ? [i] : []));
    assert.equal(wide.length, most);
    const around = n > 100 ? [2, 3, 4, 5, 6, 7, 8] : [];
    assert.deepEqual(wide.slice(0, around.length), around);
    assert.deepEqual(wide.slice(around.length), Array.from({ length: most - around.length }, (_, i) => n - most + around.length + i));
    for (const i of wide) assert.ok(found[i].size >= 44 * 0.84, `${n}: the words of ${i} have ${found[i].size} px`);
    assert.ok(sum(found) <= 1000.001, `${n}: ${sum(found)}`);
  }
  const roomy = columns({ wanted: Array(400).fill(44), focus: [399], known: 400, room: 3000, looked: 100, empty: 34 });
  assert.equal(roomy.filter(({ wide }) => wide).length, WIDE);
});

test("each place of the picture is the cell that is drawn there, both ways round", () => {
  for (const transposed of [false, true]) {
    const geometry = new Geometry({ width: 900, height: 700, transposed, levels: 31, wanted: Array(19).fill(44), focus: [10, 11], known: 13 });
    for (const token of [0, 7, 18]) {
      for (const level of [0, 9, 30]) {
        const { x, y, w, h } = geometry.cell(token, level);
        assert.deepEqual(geometry.hit(x + w / 2, y + h / 2), { part: "cell", token, level });
        assert.equal(columnAt(geometry.columns, geometry.columns[token].start + 0.1), token);
      }
      const chip = geometry.chip(token);
      assert.deepEqual(geometry.hit(chip.x + chip.w / 2, chip.y + chip.h / 2), { part: "chip", token, level: 0 });
    }
  }
});

/** A run of these guesses [level][token], of tokens that read so, with rows of attention by layer, head and position. */
function fake({ ids, guesses, texts = [], rows = {}, nHeads = 1 }) {
  const nLayers = guesses.length - 1;
  return {
    id: "run", nLayers, nHeads, texts: new Map(), hexes: new Map(),
    tokens: ids.map((id, i) => ({ id, text: texts[i] ?? String(id) })),
    steps: [{ first: 0, last: ids.length - 2, n: ids.length - 1 }],
    lensPlace: (level, token) => (guesses[level][token] === undefined ? null : { ids: [guesses[level][token]], probabilities: [0.5], at: 0, kept: 1 }),
    row: (layer, head, position) => rows[`${layer}/${head}/${position}`] ?? null,
  };
}

test("layers with the same guess are one block, and what is to come is no guess", () => {
  const run = fake({ ids: [1, 2, 3], guesses: [[7, 7], [7, 8], [2, undefined], [2, undefined]] });
  assert.deepEqual(blocks(run, 0).map(({ low, high, guess }) => [low, high, guess.id, guess.follows]), [[0, 1, 7, false], [2, 3, 2, true]]);
  assert.deepEqual(blocks(run, 0, 1).map(({ low, high }) => [low, high]), [[0, 1]]);
  assert.equal(guessAt(run, 2, 1), null);
  assert.equal(blocks(run, 1).at(-1).guess, null);
  for (const { low, guess } of blocks(run, 0)) assert.deepEqual(guess, guessAt(run, low, 0)); // what is written at a cell is its own
});

test("when a token is first said, and from when on for good", () => {
  const said = (column) => settled(fake({ ids: [1, 2], guesses: column.map((id) => [id]) }), 0);
  assert.deepEqual(said([2, 7, 2, 2]), { first: 0, forGood: 2 });
  assert.deepEqual(said([7, 2, 7]), { first: 1, forGood: null });
  assert.equal(said([7, 7, 7]), null);
});

const byte = (share) => WEIGHTS.findIndex((weight) => weight >= share);
const row = (...shares) => Uint8Array.from(shares, byte);

test("arcs leave out the first token, itself, and what is too weak to be seen", () => {
  const rows = { "0/0/4": row(0.4, 0.3, 0.02, 0.2, 0.08), "0/1/4": row(0.1, 0.1, 0.6, 0.1, 0.1) };
  const run = fake({ ids: [1, 2, 3, 4, 5, 6], guesses: [[], []], rows, nHeads: 2 });
  const looks = looksOfHead(run, 0, 0, 4);
  assert.deepEqual(looks.arcs.map(({ source }) => source), [3, 1]);
  assert.ok(Math.abs(looks.sink - 0.4) < 0.01);
  assert.deepEqual(looksOfLayer(run, 0, 4).arcs.map(({ source, head }) => [source, head]), [[3, 0], [1, 0], [2, 1]]);
  assert.equal(farthestLook(run, 0, 1, 4).source, 2);
  assert.equal(looksOfHead(run, 0, 0, 3), null);
});

test("a run opens on the head that looks hardest at names further back", () => {
  const texts = ["The", " capital", " of", " France", " is", " Paris", ".", " Italy", " is", " Rome"];
  const rows = {
    "0/0/7": row(0.1, 0, 0.8, 0, 0, 0, 0, 0.1), // at "of", which is no name
    "1/0/7": row(0.1, 0, 0, 0.45, 0, 0.35, 0, 0.1),
    "1/1/5": row(0.1, 0, 0, 0.6, 0.2, 0.1),
    "0/1/8": row(0.1, 0, 0, 0.9, 0, 0, 0, 0, 0), // "is" is no name either
  };
  const run = fake({ ids: texts.map((_, i) => i), texts, guesses: [[], [], []], rows, nHeads: 2 });
  assert.deepEqual(opening(run), { step: 0, layer: 1, head: 0, token: 7 });
});
