// What is watched for coming in sight is told the last of what the browser tells at once.
import assert from "node:assert/strict";
import { test } from "node:test";
import { watchSight } from "../../assets/js/core/dom.js";

test("of an element that was hidden and shown between two frames, the last is told", () => {
  /** @type {any} */
  let tell;
  globalThis.IntersectionObserver = /** @type {any} */ (class {
    /** @param {any} told */
    constructor(told) { tell = told; }
    observe() {}
  });
  /** @type {boolean[]} */
  const seen = [];
  watchSight(/** @type {any} */ ({}), (entry) => seen.push(entry.isIntersecting));
  tell([{ isIntersecting: false }, { isIntersecting: true }]);
  tell([{ isIntersecting: false }]);
  assert.deepEqual(seen, [true, false]);
});
