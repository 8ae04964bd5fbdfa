// Files that other programs open: rows as spreadsheets read them, and a PNG that says how large it is on paper.

import test from "node:test";
import assert from "node:assert/strict";
import { crc32, deflateSync } from "node:zlib";
import { csvOf, plainCell } from "../../assets/js/core/csv.js";
import { withDensity } from "../../assets/js/core/png_density.js";
import { aboutRun, aboutServed } from "../../assets/js/board/about_moment.js";
import { loomRows } from "../../assets/js/views/loom/loom_rows.js";

test("rows are quoted as RFC 4180 says, after the mark by which spreadsheets know UTF-8", () => {
  const text = csvOf(["token", "note"], [["a,b", 'say "hi"'], ["line\nend", "ö"], ["", " x "]]);
  assert.equal(text, '\ufefftoken,note\r\n"a,b","say ""hi"""\r\n"line\nend",ö\r\n, x \r\n');
});

test("text that begins as a formula does is not run as one, and numbers stay numbers", () => {
  const [, ...lines] = csvOf(["x"], [["=1+1"], ["@SUM(A1)"], ["+a"], ["-b"], ["-0.25"], ["+1.5"], ["="], ["-"], ["=a,b"]]).split("\r\n");
  assert.deepEqual(lines.slice(0, -1), ["'=1+1", "'@SUM(A1)", "'+a", "'-b", "-0.25", "+1.5", "=", "-", '"\'=a,b"']);
});

test("a number as it is read is one that programs read", () => {
  const cells = { "1,234": "1234", "−0.5": "-0.5", "-1,234,567.25": "-1234567.25", "1e−7": "1e-7", "–": "", "12.5%": "12.5%", "a − b": "a − b", "␣the, and": "␣the, and", "1,23": "1,23" };
  for (const [read, plain] of Object.entries(cells)) assert.equal(plainCell(read), plain, read);
});

test("a PNG says its pixels an inch in a chunk with a right checksum, and is otherwise as it was", () => {
  const chunk = (name, data) => {
    const body = Buffer.concat([Buffer.from(name), data]);
    const [size, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
    size.writeUInt32BE(data.length);
    sum.writeUInt32BE(crc32(body));
    return Buffer.concat([size, body, sum]);
  };
  const png = Buffer.concat([Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]), chunk("IHDR", Buffer.from([0, 0, 0, 1, 0, 0, 0, 1, 8, 0, 0, 0, 0])),
    chunk("IDAT", deflateSync(Buffer.from([0, 255]))), chunk("IEND", Buffer.alloc(0))]);
  const made = Buffer.from(withDensity(new Uint8Array(png), 288));
  const data = Buffer.alloc(9);
  data.writeUInt32BE(11339, 0); // a metre has 39.37 inches
  data.writeUInt32BE(11339, 4);
  data[8] = 1;
  assert.deepEqual(made, Buffer.concat([png.subarray(0, 33), chunk("pHYs", data), png.subarray(33)]));
});

test("a file is named by what is looked at, and says in words which model, text and place that is", () => {
  const run = { head: { model: { name: "m" }, prompt: `one\ntwo ${"x".repeat(200)}` }, steps: [{}, {}, {}, {}] };
  const { place, words } = aboutRun(run, { step: 3, layer: 1, head: 2, token: 7 });
  assert.equal(place, "step3");
  assert.match(words[0], /^m, prompt “one two x{81}…”$/);
  assert.equal(words[1], "Step 3 of 0–3, layer 1, head 2, token 7");
  const served = { moving: "tick", summary: "Four texts.", countAt: () => 9 };
  assert.deepEqual(aboutServed(served, { tick: 3 }), { place: "tick3", words: ["Four texts.", "Tick 3 of 0–8"] }); // as on the screen
  assert.deepEqual(aboutServed({ ...served, moving: null }, { tick: 3 }), { place: "", words: ["Four texts."] });
});

test("the loom's rows hold each guess of each place that was read, likeliest first", () => {
  const run = { nLayers: 1, nRead: 2, tokens: [{ text: "a" }, { text: " b" }, { text: "c" }],
    lensAt: (level, position) => (position ? [{ id: 7, text: " x", probability: 0.5 + level / 4 }, { id: 8, text: "y", probability: 0.125 }] : []) };
  assert.deepEqual(loomRows(run).rows, [["1", "␣b", "embedding", "1", "7", "␣x", "0.5"], ["1", "␣b", "embedding", "2", "8", "y", "0.125"],
    ["1", "␣b", "0", "1", "7", "␣x", "0.75"], ["1", "␣b", "0", "2", "8", "y", "0.125"]]);
});
