// What is measured late in a run says whether it is coming, or never will.

import { test } from "node:test";
import assert from "node:assert/strict";
import { whyMissing } from "../../assets/js/board/late.js";
import { isCutShort, isOver } from "../../assets/js/board/sentences.js";

test("a picture without data is coming, or was stopped, or is not there for its own reason", () => {
  const said = (state) => whyMissing({ ended: isOver({ state }), stopped: isCutShort({ state }) }, "not asked for");
  for (const state of ["waiting", "running", "paused"]) assert.match(said(state), /^Coming/, state);
  for (const state of ["stopped", "failed"]) assert.equal(said(state), "Not measured: it was stopped.", state);
  assert.equal(said("done"), "not asked for");
});
