// The address of a moment: what is written is read back, and what is wrong in it is left out.

import { test } from "node:test";
import assert from "node:assert/strict";
import { readAddress, writeAddress } from "../../assets/js/board/address.js";
import { NOWHERE } from "../../assets/js/data/axes.js";

const run = { id: "a_B-9", axes: ["step", "layer", "head", "token"] };

test("a moment is written as the README says, and read back", () => {
  const at = { ...NOWHERE, step: 3, layer: 10, head: 4, token: 11, tick: 99 };
  const hash = writeAddress(run, at, "attention");
  assert.equal(hash, "#record=a_B-9&step=3&layer=10&head=4&token=11&card=attention");
  assert.deepEqual(readAddress(hash), { record: "a_B-9", at: { step: 3, layer: 10, head: 4, token: 11 }, card: "attention", word: "" });
  assert.equal(writeAddress(run, at, null), "#record=a_B-9&step=3&layer=10&head=4&token=11");
});

test("a memory bill that is worked out as loaded names no bits", () => {
  const measured = { id: "m", axes: ["context", "users", "bits"] };
  assert.equal(writeAddress(measured, { ...NOWHERE, context: 2048, users: 1 }, null), "#record=m&context=2048&users=1");
  assert.equal(readAddress(writeAddress(measured, { ...NOWHERE, context: 128, users: 4, bits: 8 }, null)).at.bits, 8);
});

test("one word alone is a part of the page", () => {
  assert.deepEqual(readAddress("#speculation"), { record: null, at: {}, card: null, word: "speculation" });
  assert.equal(readAddress("").word, "");
});

test("what a person or a stranger broke is left out", () => {
  for (const bad of ["-1", "1.5", "x", "", "1e3", "12345678901", " 1", "0x1"]) assert.deepEqual(readAddress(`#record=a&step=${bad}`).at, {}, bad);
  for (const bad of ["../x", "a/b", "a%00", "<img>", "", "a".repeat(81)]) assert.equal(readAddress(`#record=${encodeURIComponent(bad)}`).record, null, bad);
  assert.equal(readAddress("#record=a&card=%3Cscript%3E").card, null);
  assert.deepEqual(readAddress("#%E0%A4%A&&&=&step").record, null);
});
