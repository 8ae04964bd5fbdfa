// @ts-check
// What changes while a person points and the run plays, above the cells: arcs of attention, the place pointed at, the front of a pass.

import { mix } from "../../core/canvas.js";
import { phrase } from "../../core/texts.js";
import { STRONG } from "./arcs.js";
import { percentShort } from "./cells.js";
import { rounded, setFont, word, write } from "./ink.js";

/** @typedef {import("./cells.js").Seen} Seen */
/** @typedef {import("./geometry.js").Geometry} Geometry */
/** @typedef {import("./arcs.js").Looks} Looks */
/** @typedef {import("../../core/canvas.js").Paint} Paint */
/** Where attention is shown: from which cell, of which head; null: of all heads. @typedef {{token: number, layer: number, head: number | null, looks: Looks}} Attention */

const THICK = 20; // px: an arc of 100%
const LEAST_SPAN = 0.16; // of its span that an arc may be thick
const NAMED = 4; // of the strongest arcs
const NARROW_PLACE = 7; // px: the frame around a cell of a column that is narrower
const LOW_STEP = 7; // px of a layer: where it is less, names lie over all that is below
const SAID = 0.08; // an arc that is stronger is named

/** The names of layers, the selected one's in bold. @param {CanvasRenderingContext2D} g @param {Geometry} geometry @param {number} layer @param {Paint} colours */
export function drawNames(g, geometry, layer, colours) {
  const n = geometry.levels - 1;
  if (geometry.transposed) write(g, phrase("layer"), geometry.low - 4, geometry.before - 11, { colour: colours.muted, align: "right" });
  const every = geometry.step * 5 >= 40 || geometry.transposed ? 5 : 10;
  for (let level = 0; level <= n; level += 1) {
    const at = level - 1;
    const isSelected = at === layer;
    const near = !isSelected && Math.abs(at - layer) * geometry.step < (geometry.transposed ? 22 : 15);
    if (!isSelected && (near || (at === 0 && geometry.step < 14 && !geometry.transposed) || (level !== 0 && at % every !== 0 && at !== n - 1) || (at !== n - 1 && level !== 0 && (n - 1 - at) * geometry.step < 15))) continue;
    const box = geometry.cell(0, level);
    const text = level === 0 ? phrase("embedding") : geometry.transposed ? String(at) : phrase("layer {layer}", { layer: at });
    if (geometry.transposed) {
      if (level) write(g, text, box.x + box.w / 2, geometry.before - 11, { colour: isSelected ? colours.ink : colours.muted, bold: isSelected, align: "center" });
    } else write(g, text, geometry.before - 12, box.y + box.h / 2 - 0.5, { colour: isSelected ? colours.ink : colours.muted, bold: isSelected, align: "right", most: geometry.before - 13 });
  }
}

/** @param {CanvasRenderingContext2D} g @param {Geometry} geometry @param {Seen} seen @param {Attention} attention @param {Paint} colours */
export function drawArcs(g, geometry, { run }, { token, layer, head, looks }, colours) {
  const reader = middle(geometry, token, layer + 1, true);
  /** @type {{text: string, x: number, y: number, share: number}[]} */
  const names = [];
  let apex = { x: reader.x, y: reader.y, rise: 0 };
  const named = new Set([...looks.arcs].reverse().filter(({ share }, i) => share >= SAID && i < NAMED).map(({ source }) => source));
  for (const { source, share, head: own } of looks.arcs) {
    const from = middle(geometry, source, layer + 1, false);
    const [dx, dy] = [reader.x - from.x, reader.y - from.y];
    const rise = Math.min(18 + Math.hypot(dx, dy) * 0.3, geometry.transposed ? 110 : Math.max(14, Math.min(190, reader.y - geometry.high + 24)));
    const path = () => {
      g.beginPath();
      g.moveTo(from.x, from.y - (geometry.transposed ? 0 : 5));
      if (geometry.transposed) g.bezierCurveTo(from.x + rise, from.y + dy * 0.1, reader.x + rise, reader.y - dy * 0.1, reader.x, reader.y);
      else g.bezierCurveTo(from.x + dx * 0.08, from.y - rise * 1.25, reader.x - dx * 0.16, reader.y - rise * 1.25, reader.x, reader.y - 2);
    };
    const thick = Math.max(1.4, Math.min(share * THICK, Math.abs(geometry.transposed ? dy : dx) * LEAST_SPAN)); // between neighbours an arc stays one
    g.lineCap = "round";
    for (const [colour, width] of /** @type {const} */ ([[colours.card, thick + 4], [mix(colours.card, colours.weight, Math.min(0.62 + share, 1)), thick]])) {
      path();
      g.strokeStyle = colour;
      g.lineWidth = width;
      g.stroke();
    }
    if (rise > apex.rise) apex = { x: from.x + dx * 0.46, y: reader.y - rise * 0.97, rise };
    if (!named.has(source) || looks.arcs.some((other) => other.source === source && other.share > share)) continue;
    const said = geometry.transposed ? percentShort(share) : `${word(run.tokens[source]).text} ${percentShort(share)}`;
    names.push({ text: head === null && own !== null && !geometry.transposed ? phrase("{look}, head {head}", { look: said, head: own }) : said, x: from.x, y: from.y, share });
  }
  drawSink(g, geometry, reader, looks.sink, colours);
  drawTip(g, geometry, reader, colours);
  if (!geometry.transposed && apex.rise && apex.y > geometry.high - 6) {
    write(g, head === null ? phrase("heads with over {share}", { share: percentShort(STRONG) }) : phrase("head {head}", { head }), apex.x, Math.max(apex.y - 13, geometry.high - 8), { colour: colours["weight-text"], bold: true, align: "center", halo: colours.card });
  }
  nameArcs(g, geometry, names, looks.sink, head === null ? phrase("first token {share}, mean", { share: percentShort(looks.sink) }) : phrase("first token {share}", { share: percentShort(looks.sink) }), reader, colours);
}

/** Where an arc begins, and where it ends: at the near edge of the reader's cell. @param {Geometry} geometry @param {number} token @param {number} level @param {boolean} isReader */
function middle(geometry, token, level, isReader) {
  const box = geometry.cell(token, level);
  if (geometry.transposed) return { x: box.x + box.w / 2, y: box.y + (isReader ? 4 : box.h / 2) };
  return { x: isReader ? box.x + 5 : box.x + box.w / 2, y: box.y + box.h / 2 };
}

/** The first token's share as a hatched stub: an arc for it would hide the others. @param {CanvasRenderingContext2D} g @param {Geometry} geometry @param {{x: number, y: number}} reader @param {number} sink @param {Paint} colours */
function drawSink(g, geometry, reader, sink, colours) {
  if (sink < 0.02) return;
  const thick = Math.max(3, sink * THICK);
  g.lineCap = "butt";
  for (const [colour, dash, width] of /** @type {const} */ ([[colours.card, [], thick + 3], [colours.weight, [3, 3], thick]])) {
    g.strokeStyle = colour;
    g.setLineDash(dash);
    g.lineWidth = width;
    g.beginPath();
    g.moveTo(...(geometry.transposed ? /** @type {const} */ ([reader.x, reader.y - 36]) : /** @type {const} */ ([reader.x - 40, reader.y])));
    g.lineTo(reader.x, reader.y);
    g.stroke();
  }
  g.setLineDash([]);
}

/** The arrow at the one who looks. @param {CanvasRenderingContext2D} g @param {Geometry} geometry @param {{x: number, y: number}} at @param {Paint} colours */
function drawTip(g, geometry, { x, y }, colours) {
  g.fillStyle = colours.weight;
  g.strokeStyle = colours.card;
  g.lineWidth = 1;
  g.beginPath();
  if (geometry.transposed) { g.moveTo(x, y + 7); g.lineTo(x - 6, y - 4); g.lineTo(x + 6, y - 4); } else { g.moveTo(x + 8, y - 1); g.lineTo(x - 3, y - 7); g.lineTo(x - 3, y + 5); }
  g.closePath();
  g.fill();
  g.stroke();
}

/** Names below the beginnings of the arcs, moved apart. @param {CanvasRenderingContext2D} g @param {Geometry} geometry @param {{text: string, x: number, y: number, share: number}[]} names
 * @param {number} sink @param {string} sinkSaid @param {{x: number, y: number}} reader @param {Paint} colours */
function nameArcs(g, geometry, names, sink, sinkSaid, reader, colours) {
  if (sink >= 0.05 && (geometry.transposed || geometry.step >= LOW_STEP)) names.push({ text: sinkSaid, x: geometry.transposed ? reader.x - 50 : reader.x - 26, y: reader.y, share: 0 });
  /** @type {{x: number, y: number, w: number}[]} */
  const placed = [];
  for (const name of names.sort((one, other) => other.share - one.share)) {
    setFont(g, { bold: name.share > 0 });
    const w = g.measureText(name.text).width + 14;
    let [x, y] = geometry.transposed ? [besideStart(geometry, name.x, w), name.y] : [name.x, belowStart(geometry, name.y)];
    x = Math.min(Math.max(x, w / 2 + 2), geometry.width - w / 2 - 2);
    const apart = !geometry.transposed && y + 32 > geometry.low ? -22 : 22; // tokens stand below
    for (let tries = 0; tries < 4 && placed.some((each) => Math.abs(each.x - x) < (each.w + w) / 2 + 2 && Math.abs(each.y - y) < 21); tries += 1) y += apart;
    placed.push({ x, y, w });
    rounded(g, x - w / 2, y - 10, w, 20, 10);
    g.fillStyle = name.share ? colours.weight : colours.card;
    g.fill();
    g.strokeStyle = name.share ? colours.card : colours.weight;
    g.lineWidth = 1.2;
    g.stroke();
    write(g, name.text, x, y, { colour: name.share ? colours.card : colours["weight-text"], bold: name.share > 0, align: "center" });
  }
}

/** Where a name's middle stands below the beginning of its arc, or above it where tokens stand below. @param {Geometry} geometry @param {number} y */
function belowStart(geometry, y) {
  const by = Math.max(geometry.step, 14) / 2 + 11;
  return y + by + 10 > geometry.low ? y - by : y + by;
}

/** Where a name's middle stands beside the beginning of its arc, so that no token lies under it. @param {Geometry} geometry @param {number} x @param {number} w */
function besideStart(geometry, x, w) {
  return x - w - 10 >= geometry.low ? x - w / 2 - 10 : Math.max(x + 10, geometry.low) + w / 2;
}

/** The cell that is looked at. @param {CanvasRenderingContext2D} g @param {Geometry} geometry @param {number} token @param {number} level @param {boolean} isHovered @param {Paint} colours */
export function drawPlace(g, geometry, token, level, isHovered, colours) {
  const box = geometry.cell(token, level);
  if (isHovered) {
    g.globalAlpha = 0.1;
    g.fillStyle = colours.ink;
    if (geometry.transposed) g.fillRect(box.x, geometry.before, box.w, box.y - geometry.before);
    else g.fillRect(geometry.before, box.y, box.x - geometry.before + 4, box.h);
    g.globalAlpha = 1;
  }
  g.strokeStyle = colours.ink;
  g.lineWidth = isHovered ? 1.6 : 2;
  if (geometry.columns[token].wide) rounded(g, box.x + (geometry.transposed ? 0 : 3), box.y - 1, box.w - (geometry.transposed ? 0 : 5), box.h + 1, 3);
  else if (geometry.transposed) rounded(g, box.x, box.y + box.h / 2 - NARROW_PLACE / 2, box.w, NARROW_PLACE, 2);
  else rounded(g, box.x + box.w / 2 - NARROW_PLACE / 2, box.y - 1, NARROW_PLACE, box.h + 1, 2);
  g.stroke();
}

/** How far a pass has come. @param {CanvasRenderingContext2D} g @param {Geometry} geometry @param {Seen} seen @param {number} front in levels @param {Paint} colours */
export function drawFront(g, geometry, { run, step }, front, colours) {
  const { first, last } = run.steps[step];
  const level = Math.min(Math.max(front, 0), run.nLayers);
  const [one, other] = [geometry.cell(first, 0), geometry.cell(last, 0)];
  g.fillStyle = colours.ink;
  if (geometry.transposed) g.fillRect(geometry.low + (level + 1) * geometry.step - 1.5, one.y, 2.5, other.y + other.h - one.y);
  else g.fillRect(one.x, geometry.low - (level + 1) * geometry.step - 2, other.x + other.w - one.x, 2.5);
}
