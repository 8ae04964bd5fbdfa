// What is measured late in a run says whether it is coming, or never will.

import { test } from "node:test";
import assert from "node:assert/strict";
import { whyMissing } from "../../assets/js/board/late.js";

test("a picture without data is coming, or was stopped, or is not there for its own reason", () => {
  assert.match(whyMissing({ ended: false, stopped: false }, "not asked for"), /^Coming/);
  assert.equal(whyMissing({ ended: true, stopped: true }, "not asked for"), "Not measured: it was stopped.");
  assert.equal(whyMissing({ ended: true, stopped: false }, "not asked for"), "not asked for");
});
