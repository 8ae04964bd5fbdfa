// @ts-check
// Every head's map as a small square, all layers and heads in one image: the grid from which one is chosen.

import { context2d } from "./canvas.js";
import { WEIGHTS } from "./store.js";

/** @typedef {import("./store.js").Run} Run */
/** @typedef {import("./canvas.js").Paint} Paint */

const THUMB = 22; // samples a side of a thumbnail

/** Every head's map at THUMB samples a side, one image. @param {Run} run @param {Paint} colours @param {boolean} withoutSink */
export function drawThumbs(run, colours, withoutSink) {
  const image = document.createElement("canvas");
  const side = THUMB;
  image.width = run.nLayers * side;
  image.height = run.nHeads * side;
  const g = context2d(image);
  const data = g.createImageData(image.width, image.height);
  const words = new Uint32Array(data.data.buffer);
  words.fill(colours.scale[0]);
  const rows = run.nRead;
  const square = new Uint8Array(side * side);
  for (let layer = 0; layer < run.nLayers; layer += 1) {
    for (let head = 0; head < run.nHeads; head += 1) {
      square.fill(0);
      if (!run.row(layer, head, rows - 1)) {
        bands(run, layer, head, words, layer * side + head * side * image.width, image.width, colours);
        continue;
      }
      const most = sample(run, layer, head, rows, square, withoutSink) || 1;
      const scale = 255 / WEIGHTS[most];
      for (let y = 0; y < side; y += 1) {
        const line = (head * side + y) * image.width + layer * side;
        for (let x = 0; x <= y; x += 1) words[line + x] = colours.scale[Math.min(255, Math.round(WEIGHTS[square[y * side + x]] * scale))];
      }
    }
  }
  g.putImageData(data, 0, 0);
  return image;
}

/** Of a head whose rows are not held, three bands: its weight on the first token, on the one before, on the token itself.
 * @param {Run} run @param {number} layer @param {number} head @param {Uint32Array} words @param {number} corner @param {number} width @param {Paint} colours */
function bands(run, layer, head, words, corner, width, colours) {
  const summary = run.steps[run.steps.length - 1].summary;
  if (!summary) return;
  const band = Math.floor((THUMB - 2) / 3);
  for (let which = 0; which < 3; which += 1) {
    const colour = colours.scale[Math.round(summary[(layer * run.nHeads + head) * 4 + 1 + which] * 255)];
    for (let y = 0; y < band; y += 1) words.fill(colour, corner + (1 + which * band + y) * width + 1, corner + (1 + which * band + y) * width + THUMB - 1);
  }
}

/** One head's map shrunk to a small square, the largest of a few samples in each cell. Returns the largest byte.
 * @param {Run} run @param {number} layer @param {number} head @param {number} rows @param {Uint8Array} square @param {boolean} withoutSink */
function sample(run, layer, head, rows, square, withoutSink) {
  const side = THUMB;
  let most = 0;
  for (let y = 0; y < side; y += 1) {
    const row = run.row(layer, head, Math.min(rows - 1, Math.floor(((y + 0.5) * rows) / side)));
    if (!row) continue;
    for (let x = 0; x <= y; x += 1) {
      const from = Math.floor((x * rows) / side);
      const to = Math.min(row.length, Math.max(from + 1, Math.floor(((x + 1) * rows) / side)));
      let top = 0;
      for (let key = Math.max(from, withoutSink ? 1 : 0); key < to; key += 1) if (row[key] > top) top = row[key];
      square[y * side + x] = top;
      if (top > most) most = top;
    }
  }
  return most;
}
