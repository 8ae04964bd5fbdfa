// A word is found wherever it stands in a run, and Enter walks over its places and around the ends.

import { test } from "node:test";
import assert from "node:assert/strict";
import { findTokens, nextFound } from "../../assets/js/views/loom/token_search.js";

const tokens = ["The", " model", " remod", "els", "\n", "MODEL", " token", "oscope"].map((text) => ({ text }));
const firsts = (found) => found.map(({ first, last }) => [first, last]);

test("a word is found within a token, over several of them, and in capitals", () => {
  assert.deepEqual(firsts(findTokens(tokens, "model")), [[1, 1], [2, 3], [5, 5]]);
  assert.deepEqual(firsts(findTokens(tokens, "Tokenoscope")), [[6, 7]]);
  assert.deepEqual(firsts(findTokens(tokens, " model")), [[1, 1]]);
  assert.deepEqual(firsts(findTokens(tokens, "els\nmodel token")), [[3, 6]]);
});

test("nothing is found of nothing, nor beyond what was read", () => {
  for (const words of ["", "  ", "zebra", "oscopes"]) assert.deepEqual(findTokens(tokens, words), []);
  assert.deepEqual(firsts(findTokens(tokens, "model", 3)), [[1, 1]]);
});

test("a word that stands twice in one token is one place", () => {
  assert.deepEqual(firsts(findTokens([{ text: "haha" }, { text: " aha" }], "ha")), [[0, 0], [1, 1]]);
});

test("a letter that grows in small letters shifts no place", () => {
  assert.deepEqual(firsts(findTokens([{ text: "İİİ" }, { text: "ab" }, { text: "cd" }], "cd")), [[2, 2]]);
});

test("places are walked over from where one is, and around the ends", () => {
  const found = findTokens(tokens, "model");
  assert.deepEqual([0, 1, 2, 4, 5, 7].map((token) => nextFound(found, token, 1)), [0, 1, 2, 2, 0, 0]);
  assert.deepEqual([0, 1, 2, 4, 5, 7].map((token) => nextFound(found, token, -1)), [2, 2, 0, 1, 1, 2]);
  assert.equal(nextFound([], 3, 1), -1);
});
