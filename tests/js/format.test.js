// Words and numbers: a step bears the number that the address, the command line and the code know it by.

import assert from "node:assert/strict";
import { test } from "node:test";
import { stepOf } from "../../assets/js/core/format.js";

test("a step is called by its index, of those that there are", () => {
  assert.equal(stepOf(0, 16), "Step 0 of 0–15");
  assert.equal(stepOf(15, 16), "Step 15 of 0–15");
  assert.equal(stepOf(0, 1), "Step 0", "alone: there is nothing to count");
  assert.equal(stepOf(1234, 2001), "Step 1,234 of 0–2,000");
});
