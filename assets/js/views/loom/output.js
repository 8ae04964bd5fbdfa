// @ts-check
// The output: the top of the live column fans into the likeliest tokens, and the chosen one goes back into the foot of the next column.

import { mix } from "../../core/canvas.js";
import { rounded, word, write } from "./ink.js";

/** @typedef {import("./cells.js").Seen} Seen */
/** @typedef {import("./geometry.js").Geometry} Geometry */
/** @typedef {import("../../core/canvas.js").Paint} Paint */

const WHOLE = 26; // px: a probability of 100%
export const LIST = { top: 36, row: 25, most: 5 }; // px: where the list beside the picture has its rows

/** @param {CanvasRenderingContext2D} g @param {Geometry} geometry @param {Seen} seen @param {Paint} colours */
export function drawOutput(g, geometry, seen, colours) {
  const { run, step } = seen;
  const pass = run.steps[step];
  const choice = pass.choices[0];
  if (!choice || seen.top < run.nLayers) return;
  if (geometry.transposed) {
    drawBackDown(g, geometry, pass.last, colours);
    return;
  }
  const box = geometry.cell(pass.last, run.nLayers);
  const shown = choice.candidates.slice(0, LIST.most);
  const rest = Math.max(1 - shown.reduce((sum, each) => sum + each.probability, 0), 0);
  const shares = [...shown.map(({ probability }) => probability), rest];
  const right = geometry.width;
  let before = 0;
  /** @type {{y: number, thick: number} | null} */
  let chosen = null;
  const ribbons = shares.map((share, i) => {
    const at = before + share / 2;
    before += share;
    return { i, thick: Math.max(WHOLE * share, 1.3), x: box.x + box.w / 2 + WHOLE * (at - 0.5), y: box.y - 11 - WHOLE * (1 - at) };
  });
  for (const { i, thick, x, y } of ribbons.reverse()) {
    const isChosen = shown[i]?.id === choice.id;
    const end = LIST.top + LIST.row * (i + 0.5);
    g.beginPath();
    g.moveTo(x, box.y - 1);
    g.bezierCurveTo(x, y + 8, x + 4, y, Math.max(x + 26, box.x + box.w), y);
    g.lineTo(Math.max(right - 46, box.x + box.w + 2), y);
    g.bezierCurveTo(right - 18, y, right - 26, end, right, end);
    g.lineWidth = thick;
    g.strokeStyle = isChosen ? colours.generated : i === shown.length ? colours.line : mix(colours.card, colours.guess, 0.8);
    g.stroke();
    if (isChosen) chosen = { y, thick };
  }
  drawBack(g, geometry, pass.last, chosen ?? { y: box.y - 11, thick: 2 }, colours);
}

/** The way of the chosen token into the next column. @param {CanvasRenderingContext2D} g @param {Geometry} geometry @param {number} last @param {{y: number, thick: number}} from @param {Paint} colours */
function drawBack(g, geometry, last, { y, thick }, colours) {
  if (last + 1 >= geometry.count) return;
  const chip = geometry.chip(last + 1);
  const [x, top, foot] = [chip.x + chip.w / 2 - 1, y + thick / 2, chip.y - 3];
  g.strokeStyle = colours.generated;
  g.lineWidth = 3;
  g.beginPath();
  g.moveTo(x - 26, top - 1);
  g.quadraticCurveTo(x, top - 1, x, top + 26);
  g.stroke();
  g.setLineDash([7, 5]);
  g.beginPath();
  g.moveTo(x, top + 26);
  g.lineTo(x, foot - 9);
  g.stroke();
  g.setLineDash([]);
  arrow(g, x, foot, colours.generated);
}

/** The same where tokens go down: from the end of the live row to the chip below. @param {CanvasRenderingContext2D} g @param {Geometry} geometry @param {number} last @param {Paint} colours */
function drawBackDown(g, geometry, last, colours) {
  if (last + 1 >= geometry.count) return;
  const [box, chip] = [geometry.cell(last, geometry.levels - 1), geometry.chip(last + 1)];
  const [x, from, to] = [box.x + box.w, box.y + box.h / 2, chip.y + chip.h / 2];
  g.strokeStyle = colours.generated;
  g.lineWidth = 3;
  g.beginPath();
  g.moveTo(x, from);
  g.bezierCurveTo(x + 14, from, x + 14, to, x - 4, to);
  g.stroke();
  g.setLineDash([7, 5]);
  g.beginPath();
  g.moveTo(x - 4, to);
  g.lineTo(chip.x + chip.w + 8, to);
  g.stroke();
  g.setLineDash([]);
  g.fillStyle = colours.generated;
  g.beginPath();
  g.moveTo(chip.x + chip.w - 1, to);
  g.lineTo(chip.x + chip.w + 10, to - 6);
  g.lineTo(chip.x + chip.w + 10, to + 6);
  g.fill();
}

/** The chosen token on its way: 0 at the top, 1 at the foot of the next column. @param {CanvasRenderingContext2D} g @param {Geometry} geometry @param {Seen} seen @param {number} way @param {Paint} colours */
export function drawFalling(g, geometry, { run, step }, way, colours) {
  const { last } = run.steps[step];
  if (last + 1 >= geometry.count || geometry.transposed) return;
  const [box, chip] = [geometry.cell(last, run.nLayers), geometry.chip(last + 1)];
  const [x, y] = [chip.x + chip.w / 2 - 1, box.y + (chip.y - box.y) * way * way];
  rounded(g, x - 32, y - 13, 64, 26, 6);
  g.fillStyle = mix(colours.card, colours.generated, 0.2);
  g.fill();
  g.strokeStyle = colours.generated;
  g.lineWidth = 2;
  g.stroke();
  write(g, word(run.tokens[last + 1]).text, x, y, { colour: colours.ink, bold: true, align: "center", most: 58 });
}

/** @param {CanvasRenderingContext2D} g @param {number} x @param {number} y @param {string} colour */
function arrow(g, x, y, colour) {
  g.fillStyle = colour;
  g.beginPath();
  g.moveTo(x, y + 2);
  g.lineTo(x - 7, y - 10);
  g.lineTo(x + 7, y - 10);
  g.fill();
}
