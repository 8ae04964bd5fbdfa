// @ts-check
// Above the columns: what this pass is, which columns it reads, and what the colours say.

import { mix } from "../../core/canvas.js";
import { duration } from "../../core/format.js";
import { phrase } from "../../core/texts.js";
import { setFont, write } from "./ink.js";

/** @typedef {import("./cells.js").Seen} Seen */
/** @typedef {import("./geometry.js").Geometry} Geometry */
/** @typedef {import("../../core/canvas.js").Paint} Paint */

const LEGEND = 430; // px that it needs
const SPINE = 110; // px more, for the bar at the left of a column
const TO_COME = 150; // px of empty columns that have room for what is said of them

/** @param {CanvasRenderingContext2D} g @param {Geometry} geometry @param {Seen} seen @param {import("./loom.js").Front | null} front @param {Paint} colours */
export function drawTop(g, geometry, { run, step }, front, colours) {
  const pass = run.steps[step];
  const time = pass.seconds ? duration(pass.seconds) : "";
  if (geometry.transposed) return drawTopDown(g, geometry, pass, time, colours);
  const text = pass.kind === "reread" ? phrase("Read again: {n} tokens in one pass, {time} as recorded", { n: pass.n, time })
    : pass.n > 1 ? phrase("Prefill: {n} tokens in one pass, {time} as recorded", { n: pass.n, time })
    : phrase("Decode: one token, {time} as recorded; it reads {n} from the cache", { n: pass.first, time });
  const room = geometry.width - geometry.before - 8;
  setFont(g, { bold: true, size: 14 });
  const said = g.measureText(text).width > room ? inShort(pass, time) : text;
  const width = write(g, said, geometry.before + 1, 16, { colour: colours.ink, bold: true, size: 14, most: room });
  bracket(g, geometry, pass, colours);
  drawToCome(g, geometry, pass, colours);
  const left = geometry.before + width + 30;
  if (geometry.width - left > LEGEND) drawLegend(g, geometry.width - 12, 16, geometry.width - left > LEGEND + SPINE, colours);
}

/** What this pass is, where there is little room. @param {import("../../data/store.js").Step} pass @param {string} time */
function inShort(pass, time) {
  if (pass.kind === "reread") return phrase("Read again: {n} tokens in one pass, {time}", { n: pass.n, time });
  return pass.n > 1 ? phrase("Prefill: {n} tokens in one pass, {time}", { n: pass.n, time })
    : phrase("Decode: one token, {time}; reads {n} from the cache", { n: pass.first, time });
}

/** Over rows of tokens there is less room: what this pass is, and which lines are the cache. @param {CanvasRenderingContext2D} g @param {Geometry} geometry
 * @param {import("../../data/store.js").Step} pass @param {string} time @param {Paint} colours */
function drawTopDown(g, geometry, pass, time, colours) {
  write(g, inShort(pass, time), 3, 12, { colour: colours.ink, bold: true, size: 14, most: geometry.width - 6 });
  write(g, phrase("cache"), 3, geometry.before - 11, { colour: colours.muted });
}

/** Over the columns that are still empty: what will fill them. @param {CanvasRenderingContext2D} g @param {Geometry} geometry @param {import("../../data/store.js").Step} pass @param {Paint} colours */
function drawToCome(g, geometry, { first, last }, colours) {
  const next = last + 2; // the chosen token falls into the one before
  if (first > 0 || next >= geometry.count) return;
  const [x, y] = [geometry.cell(next, 0).x + 10, geometry.low - 44];
  const room = geometry.width - 12 - x;
  if (room < TO_COME) return;
  write(g, phrase("Decode"), x, y, { colour: colours.ink, bold: true, size: 14 });
  write(g, phrase("one token a pass, from here on"), x, y + 19, { colour: colours.muted, size: 13.5, most: room });
}

/** Over the columns that the pass reads. @param {CanvasRenderingContext2D} g @param {Geometry} geometry @param {import("../../data/store.js").Step} pass @param {Paint} colours */
function bracket(g, geometry, { first, last }, colours) {
  const [one, other] = [geometry.cell(first, geometry.levels - 1), geometry.cell(last, geometry.levels - 1)];
  const end = other.x + other.w - 4;
  g.strokeStyle = colours.muted;
  g.lineWidth = 1.2;
  g.beginPath();
  g.moveTo(one.x + 2, one.y - 6);
  g.lineTo(one.x + 2, one.y - 13);
  g.lineTo(end, one.y - 13);
  g.lineTo(end, one.y - 6);
  g.stroke();
}

/** @param {CanvasRenderingContext2D} g @param {number} right @param {number} y @param {boolean} isWhole @param {Paint} colours */
function drawLegend(g, right, y, isWhole, colours) {
  let x = right;
  const end = (/** @type {string} */ text) => { x -= write(g, text, x, y, { colour: colours.muted, align: "right" }) + 6; };
  const box = (/** @type {string} */ colour, w = 14) => { g.fillStyle = colour; g.fillRect(x - w, y - 7, w, 13); x -= w; };
  setFont(g, {});
  if (isWhole) {
    end(phrase("length of the vector"));
    g.fillStyle = colours.spine;
    g.fillRect(x - 6, y - 8, 6, 15);
    x -= 24;
  }
  end(isWhole ? phrase("came next") : phrase("the token that came next"));
  box(mix(colours.card, colours.generated, 0.8), 16);
  x -= 18;
  end(phrase("sure"));
  for (const share of [1, 0.75, 0.5, 0.3, 0.12]) box(mix(colours.card, colours.guess, share));
  x -= 6;
  end(phrase("a guess: unsure"));
}
