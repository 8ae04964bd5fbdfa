// How far up a pass is, by the times at which its layers were entered.

import test from "node:test";
import assert from "node:assert/strict";
import { levelAt } from "../../assets/js/board/climb.js";

test("a pass is in the layer that it has entered, for as long as that layer took", () => {
  const entered = [0.01, 0.02, 0.05, 0.06]; // three layers, the second three times as long
  assert.deepEqual([0, 0.005, 0.01, 0.015, 0.02, 0.035, 0.05, 0.06, 1].map((at) => Math.round(100 * levelAt(entered, at)) / 100), [-1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 3]);
});
