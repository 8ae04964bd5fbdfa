// @ts-check
// One head's map as pixels: pooled where a run has more tokens than the screen has pixels for it, coloured on a square-root
// scale, and the legend that says both.

import { h, fill } from "../../core/dom.js";
import { context2d } from "../../core/canvas.js";
import { count, roughly } from "../../core/format.js";
import { WEIGHTS } from "../../data/store.js";
import { phrase, phraseParts } from "../../core/texts.js";

/** @typedef {import("../../data/view.js").State} State */
/** @typedef {import("../../core/canvas.js").Paint} Paint */
/** @typedef {{run: string, layer: number, head: number, rows: number, scale: Uint32Array, sink: boolean, image: HTMLCanvasElement, most: number, cells: number}} Drawn */

/** How far along the colour scale a weight is: by its square root, so that weights of a few percent are seen beside one of 50%.
 * @param {number} weight @param {number} most the weight in the strongest colour */
export function colourShare(weight, most) {
  return Math.sqrt(Math.min(1, weight / (most || 1)));
}

/** The map's image, drawn anew only where something in it has changed. With fewer `cells` a side than tokens, each shows the
 * highest of the weights that fall into it. @param {Drawn | null} old @param {State} state @param {boolean} withoutSink @param {number} cells @returns {Drawn} */
export function imageOf(old, { run, at, colours }, withoutSink, cells) {
  const rows = run.nRead;
  if (old && old.run === run.id && old.layer === at.layer && old.head === at.head && old.rows === rows && old.cells === cells && old.scale === colours.scale && old.sink === withoutSink) return old;
  const { bytes, most } = pooled(run, at, cells, withoutSink);
  const image = old?.image ?? document.createElement("canvas");
  image.width = image.height = cells;
  paintBytes(image, bytes, WEIGHTS[most], colours);
  return { run: run.id, layer: at.layer, head: at.head, rows, scale: colours.scale, sink: withoutSink, image, most: WEIGHTS[most], cells };
}

/** The highest byte of each cell, and of all. @param {State["run"]} run @param {State["at"]} at @param {number} cells @param {boolean} withoutSink */
export function pooled(run, at, cells, withoutSink) {
  const rows = run.nRead;
  const bytes = new Uint8Array(cells * cells);
  let most = 0;
  for (let p = 0; p < rows; p += 1) {
    const row = run.row(at.layer, at.head, p);
    if (!row) continue;
    const line = Math.floor((p * cells) / rows) * cells;
    for (let key = withoutSink ? 1 : 0; key <= p; key += 1) {
      const cell = line + (cells === rows ? key : Math.floor((key * cells) / rows));
      if (row[key] > bytes[cell]) bytes[cell] = row[key];
      if (row[key] > most) most = row[key];
    }
  }
  return { bytes, most };
}

/** @param {HTMLCanvasElement} image @param {Uint8Array} bytes @param {number} most @param {Paint} colours */
export function paintBytes(image, bytes, most, colours) {
  const g = context2d(image);
  const data = g.createImageData(image.width, image.height);
  const words = new Uint32Array(data.data.buffer);
  const shades = Array.from(WEIGHTS, (weight) => colours.scale[Math.round(colourShare(weight, most) * 255)]);
  for (let i = 0; i < bytes.length; i += 1) words[i] = shades[bytes[i]];
  g.putImageData(data, 0, 0);
}

/** What the colours of the map mean, and what a square of it shows. @param {HTMLElement} legend @param {{most: number, cells: number, rows: number}} drawn
 * @param {Paint} colours @param {boolean} withoutSink @param {boolean} scrolls whether a part of the map is out of sight */
export function sayScale(legend, { most, cells, rows }, colours, withoutSink, scrolls) {
  const key = `${most}/${cells}/${rows}/${colours.weight}/${withoutSink}/${scrolls}`;
  if (legend.dataset.key === key) return;
  legend.dataset.key = key;
  const bar = h("span", { class: "ts-bar-scale" });
  bar.style.backgroundImage = `linear-gradient(to right, ${colours.card}, ${colours.weight})`;
  const values = { bar, most: roughly(most), middle: roughly(most / 4) };
  fill(legend, ...(withoutSink ? phraseParts("0% {bar} {most}, the highest weight outside the first column; {middle} is half-way: a square-root scale. From 8 bits per weight (± 0.4 percentage points).", values)
    : phraseParts("0% {bar} {most}, the highest weight in this map; {middle} is half-way: a square-root scale. From 8 bits per weight (± 0.4 percentage points).", values)),
  cells < rows && ` ${phrase("The run has more tokens than the map has pixels: {rows} rows on {cells} lines, and each square shows the highest weight in it.", { rows: count(rows), cells: count(cells) })}`,
  scrolls && ` ${phrase("The map scrolls sideways: all tokens are in it.")}`);
}
