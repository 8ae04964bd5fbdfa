// The Python that repeats one row of attention takes the mask that its layer, or its head, was given.

import { test } from "node:test";
import assert from "node:assert/strict";
import { rowCode, rowWords } from "../../assets/js/views/attention/attention_code.js";

const run = (rule) => ({ head: { rules: [{ softcap: null, window: null, mask: null, mask_each_head: false, ...rule }], learned_sinks: false } });
const at = { layer: 0, head: 1, token: 2 };

test("a layer without a mask adds none", () => {
  assert.ok(!rowCode(run({}), at).includes("masks"));
});

test("a mask of all heads is the layer's", () => {
  assert.ok(rowCode(run({ mask: 3 }), at).includes("run.masks[rule.mask, row, : row + 1]"));
  assert.ok(rowWords(run({ mask: 3 }), 0).includes("hides some of the tokens"));
});

test("a mask of each head is the head's, and hides nothing by itself", () => {
  const rule = { mask: 0, mask_each_head: true };
  assert.ok(rowCode(run(rule), at).includes("run.masks[rule.mask + head, row, : row + 1]"));
  assert.ok(!rowWords(run(rule), 0).includes("hides") && rowWords(run(rule), 0).includes("ALiBi"));
});
