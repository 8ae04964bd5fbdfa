// Frames are read as they were written, whatever pieces they arrive in.

import { test } from "node:test";
import assert from "node:assert/strict";
import { FrameBuffer, parseFrames, wholeFrames } from "../../assets/js/data/frames.js";
import { joined, pack } from "./pack.js";

const arrays = { small: Uint8Array.of(1, 2, 3), numbers: Float32Array.of(0.5, -2, Infinity), ids: Int32Array.of(-1, 7), steps: Uint16Array.of(65535) };

test("a frame says its kind, what it is about, and its arrays with their shapes", () => {
  const [frame, ...rest] = parseFrames(pack("step", { index: 3, text: "é\u2028" }, arrays, { shapes: { numbers: [1, 3] } }));
  assert.deepEqual(rest, []);
  assert.equal(frame.kind, "step");
  assert.deepEqual(frame.about, { index: 3, text: "é\u2028" });
  assert.deepEqual(frame.tensors.numbers, { data: arrays.numbers, shape: [1, 3] });
  for (const name of ["small", "ids", "steps"]) assert.deepEqual(frame.tensors[name].data, arrays[name]);
});

test("arrays that do not stand at a multiple of their items' size are read too", () => {
  for (const pad of [1, 2, 3]) assert.deepEqual(parseFrames(pack("a", {}, arrays, { pad }))[0].tensors.ids.data, arrays.ids);
});

test("half-precision numbers become floats", () => {
  const halves = Uint16Array.of(0x3c00, 0xc000, 0x7c00, 0xfc00, 0x0001, 0x8000, 0x3555);
  const { data } = parseFrames(pack("a", {}, { halves }, { dtypes: { halves: "F16" } }))[0].tensors.halves;
  assert.deepEqual([...data.subarray(0, 4)], [1, -2, Infinity, -Infinity]);
  assert.equal(data[4], 2 ** -24);
  assert.ok(Object.is(data[5], -0));
  assert.ok(Math.abs(data[6] - 1 / 3) < 2e-4);
});

test("what is cut short is said to be, and never read as something else", () => {
  const bytes = pack("a", { x: 1 }, arrays);
  for (let n = 1; n < bytes.length; n += 1) assert.throws(() => parseFrames(bytes.subarray(0, n)), /cut short/);
  const header = new TextDecoder().decode(bytes).replace('"data_offsets":[0,3]', '"data_offsets":[0,2]');
  assert.throws(() => parseFrames(new TextEncoder().encode(header)), /cut short in small|JSON/);
});

test("an array that would reach beyond its frame is not read", () => {
  const frame = pack("a", {}, { x: Uint8Array.of(1, 2, 3) }, { shapes: { x: [9] } });
  const text = new TextDecoder().decode(frame).replace('"data_offsets":[0,3]', '"data_offsets":[0,9]');
  assert.throws(() => parseFrames(joined(new TextEncoder().encode(text), pack("b", {}))), /cut short in x/);
});

test("a type that the page does not read is named", () => {
  assert.throws(() => parseFrames(pack("a", {}, { x: Uint8Array.of(1) }, { dtypes: { x: "BF16" } })), /x as BF16/);
});

test("whole frames are counted, and handed out once, whatever pieces they come in", () => {
  const frames = [pack("one", { n: 1 }, arrays), pack("two", { n: 2 }), pack("three", { n: 3 }, { big: new Float32Array(100) })];
  const bytes = joined(...frames);
  assert.equal(wholeFrames(bytes), bytes.length);
  assert.equal(wholeFrames(bytes.subarray(0, bytes.length - 1)), frames[0].length + frames[1].length);
  for (const size of [1, 2, 3, 7, 50, 1000, bytes.length]) {
    const buffer = new FrameBuffer();
    const kinds = [];
    for (let at = 0; at < bytes.length; at += size) kinds.push(...buffer.add(bytes.subarray(at, at + size)).map(({ kind }) => kind));
    assert.deepEqual(kinds, ["one", "two", "three"], `pieces of ${size}`);
    assert.equal(buffer.length, 0);
  }
});
