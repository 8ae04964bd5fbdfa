// @ts-check
// Every head's map as a small square, all layers and heads in one image: the grid from which one is chosen.

import { context2d } from "../../core/canvas.js";
import { WEIGHTS } from "../../data/store.js";
import { colourShare } from "./attention_pixels.js";

/** @typedef {import("../../data/store.js").Run} Run */
/** @typedef {import("../../core/canvas.js").Paint} Paint */

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
  const kept = new Uint8Array(side * side);
  for (let layer = 0; layer < run.nLayers; layer += 1) {
    for (let head = 0; head < run.nHeads; head += 1) {
      const corner = layer * side + head * side * image.width;
      if (run.little) little(run.little, layer * run.nHeads + head, words, corner, image.width, colours, withoutSink);
      else if (!run.isPooled && run.row(layer, head, run.nRead - 1)) square(run, layer, head, kept, words, corner, image.width, colours, withoutSink);
      else bands(run, layer, head, words, corner, image.width, colours);
    }
  }
  g.putImageData(data, 0, 0);
  return image;
}

/** @type {{key: string, image: HTMLCanvasElement}} */
const single = { key: "", image: document.createElement("canvas") };

/** One head's map by itself, without the first column; kept until another is asked for.
 * @param {Run} run @param {number} layer @param {number} head @param {Paint} colours */
export function drawThumb(run, layer, head, colours) {
  const key = `${run.id}/${run.nRead}/${run.layers.size}/${run.little !== null}/${layer}/${head}/${colours.weight}${colours.card}`;
  if (single.key === key) return single.image;
  single.key = key;
  single.image.width = single.image.height = THUMB;
  const g = context2d(single.image);
  const data = g.createImageData(THUMB, THUMB);
  const words = new Uint32Array(data.data.buffer);
  words.fill(colours.scale[0]);
  if (run.little) little(run.little, layer * run.nHeads + head, words, 0, THUMB, colours, true);
  else if (!run.isPooled) square(run, layer, head, new Uint8Array(THUMB * THUMB), words, 0, THUMB, colours, true);
  g.putImageData(data, 0, 0);
  return single.image;
}

/** One head's map of a long run, whose lines are some of its rows. @param {import("../../data/store.js").LittleMaps} all @param {number} place of the head
 * @param {Uint32Array} words @param {number} corner @param {number} width @param {Paint} colours @param {boolean} withoutSink */
function little({ maps, first, lines }, place, words, corner, width, colours, withoutSink) {
  const map = maps.slice(place * lines * lines, (place + 1) * lines * lines);
  if (!withoutSink) for (let y = 0; y < lines; y += 1) map[y * lines] = Math.max(map[y * lines], first[place * lines + y]);
  const most = WEIGHTS[map.reduce((top, byte) => Math.max(top, byte), 0)];
  for (let y = 0; y < lines; y += 1) {
    for (let x = 0; x <= y; x += 1) words[corner + y * width + x] = colours.scale[Math.round(colourShare(WEIGHTS[map[y * lines + x]], most) * 255)];
  }
}

/** Of a head whose rows are not held, three bands: its weight on the first token, on the one before, on the token itself.
 * @param {Run} run @param {number} layer @param {number} head @param {Uint32Array} words @param {number} corner @param {number} width @param {Paint} colours */
function bands(run, layer, head, words, corner, width, colours) {
  const summary = run.steps[run.steps.length - 1].summary;
  if (!summary) return;
  const band = Math.floor((THUMB - 2) / 3);
  for (let which = 0; which < 3; which += 1) {
    const colour = colours.scale[Math.round(colourShare(summary[(layer * run.nHeads + head) * 4 + 1 + which], 1) * 255)];
    for (let y = 0; y < band; y += 1) words.fill(colour, corner + (1 + which * band + y) * width + 1, corner + (1 + which * band + y) * width + THUMB - 1);
  }
}

/** One head's map as a square of an image whose lines are `width` words long.
 * @param {Run} run @param {number} layer @param {number} head @param {Uint8Array} kept room for its bytes @param {Uint32Array} words @param {number} corner
 * @param {number} width @param {Paint} colours @param {boolean} withoutSink */
function square(run, layer, head, kept, words, corner, width, colours, withoutSink) {
  kept.fill(0);
  const most = WEIGHTS[sample(run, layer, head, run.nRead, kept, withoutSink)];
  for (let y = 0; y < THUMB; y += 1) {
    for (let x = 0; x <= y; x += 1) words[corner + y * width + x] = colours.scale[Math.round(colourShare(WEIGHTS[kept[y * THUMB + x]], most) * 255)];
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
