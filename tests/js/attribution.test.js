// An attribution as the browser holds it: its parts add up in order, and its heads and sources are found by their places.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Attribution, roundTicks } from "../../assets/js/data/attribution.js";

const token = { id: 1, text: " Rome" };
const made = (more = {}) => new Attribution(
  { step: 0, tokens: [token, token], token, rival: { id: 2, text: " Milan" }, chosen_id: 1, probabilities: [0.4, 0.1], embedding: 0.5, biases: 0.25, remainder: 0.75, total: 2.5, sources_note: "", notes: [] },
  {
    heads: { data: Float32Array.from([1, -2, 0.5, 0.25]), shape: [2, 2] },
    mlps: { data: Float32Array.from([1, 0.25]), shape: [2] },
    others: { data: Float32Array.from([0, 0.75]), shape: [2] },
    sources: { data: Float32Array.from([0.25, 0.75, -2, 0, 0.5, 0, 0, 0.25]), shape: [2, 2, 2] },
    ...more,
  },
);

test("each part goes on from the sum of those before it, and the last one ends at the total", () => {
  const { parts, about } = made();
  assert.deepEqual(parts.map(({ kind, layer }) => `${kind} ${layer}`), ["embedding -1", "attention 0", "mlp 0", "attention 1", "mlp 1", "other 1", "biases 2", "remainder 2"]);
  parts.slice(1).forEach((part, i) => assert.equal(part.from, parts[i].to));
  assert.equal(parts[parts.length - 1].to, about.total);
  assert.equal(parts[parts.length - 1].value, 0, "what other parts of the layers added is no remainder any more");
});

test("the strongest heads count by their size, of all layers or of one", () => {
  const found = made();
  assert.deepEqual(found.strongest(2), [{ layer: 0, head: 1, value: -2 }, { layer: 0, head: 0, value: 1 }]);
  assert.deepEqual(found.strongest(1, 1), [{ layer: 1, head: 0, value: 0.5 }]);
  assert.equal(found.attention(0), -1);
});

test("a head's sources sum to what it added; without them there are none", () => {
  const found = made();
  for (const { layer, head, value } of found.strongest(4)) assert.equal(found.sourcesOf(layer, head).reduce((sum, each) => sum + each, 0), value);
  assert.equal(made({ sources: undefined }).sourcesOf(0, 0), null);
});

test("ticks are round numbers within the ends", () => {
  assert.deepEqual(roundTicks(-0.7, 5.4, 4), [0, 2, 4]);
  assert.deepEqual(roundTicks(0, 0.05, 5).map((each) => each.toFixed(2)), ["0.00", "0.01", "0.02", "0.03", "0.04", "0.05"]);
  assert.deepEqual(roundTicks(0, 0, 4).length > 0, true);
});
