// @ts-check
// Two maps of a router's choices, on canvases: experts by tokens in one layer, and layers by experts.

import { cut, fit, mix } from "../../core/canvas.js";
import { label } from "../../core/format.js";
import { phrase } from "../../core/texts.js";
import { choiceAt, shares } from "./choices.js";

/** @typedef {import("../../data/view.js").State} State */
/** Where the cells of a map are. @typedef {{left: number, top: number, column: number, row: number, columns: number, rows: number}} Places */

const [LEFT, TOP, FOOT] = [78, 4, 24]; // px
const [ROWS_HIGH, ROW_MOST, ROW_LEAST] = [300, 24, 3]; // px
const [COLUMN_MOST, NAME] = [72, 26]; // px; a narrower column has no room for its token
const FAINT = 0.1; // of the colour, for the least weight that is not 0

/** @param {HTMLCanvasElement} canvas @param {number} width @param {State} state @returns {Places} */
export function drawTokens(canvas, width, state) {
  const { run, at, step, colours } = state;
  const [rows, columns] = [run.head.n_experts, run.experts?.positions ?? 0];
  const places = { left: LEFT, top: TOP, column: Math.min((width - LEFT - 2) / columns, COLUMN_MOST), row: rowOf(rows), columns, rows };
  const g = ground(canvas, width, places, colours, FOOT);
  for (let token = 0; token < columns; token += 1) {
    for (const { id, weight } of choiceAt(run, at.layer, token)) cell(g, places, token, id, Math.min(weight, 1), token > step.last, colours);
  }
  names(g, places, (row) => phrase("expert {id}", { id: row }), -1, colours);
  if (places.column < NAME) ends(g, places, phrase("token {n}", { n: 0 }), colours);
  g.textAlign = "center";
  for (let token = 0; token < columns && places.column >= NAME; token += 1) {
    g.fillStyle = token === at.token ? colours.ink : colours.muted;
    g.fillText(cut(g, label(run.tokens[token], 20), places.column - 4), LEFT + (token + 0.5) * places.column, TOP + rows * places.row + 17);
  }
  frame(g, LEFT + at.token * places.column, TOP, places.column, rows * places.row, colours);
  canvas.setAttribute("aria-label", phrase("{n} experts by {tokens} tokens in layer {layer}; a table of it stands under Numbers and code.", { n: rows, tokens: columns, layer: at.layer }));
  return places;
}

/** @param {HTMLCanvasElement} canvas @param {number} width @param {State} state @returns {Places} */
export function drawLoads(canvas, width, { run, at, colours }) {
  const [rows, columns] = [run.nLayers, run.head.n_experts];
  const places = { left: LEFT, top: TOP, column: Math.min((width - LEFT - 2) / columns, COLUMN_MOST), row: rowOf(rows), columns, rows };
  const g = ground(canvas, width, places, colours, FOOT);
  const all = Array.from({ length: rows }, (_, layer) => shares(run, layer));
  const most = Math.max(...all.flat(), 1e-9);
  all.forEach((load, layer) => load.forEach((share, id) => { if (share) cell(g, places, id, layer, share / most, false, colours); }));
  names(g, places, (row) => phrase("layer {n}", { n: row }), at.layer, colours);
  ends(g, places, phrase("expert {id}", { id: 0 }), colours);
  frame(g, LEFT, TOP + at.layer * places.row, columns * places.column, places.row, colours);
  canvas.setAttribute("aria-label", phrase("{layers} layers by {n} experts: how many of the run's tokens each is given.", { layers: rows, n: columns }));
  return places;
}

/** @param {number} rows */
function rowOf(rows) {
  return Math.min(Math.max(ROWS_HIGH / rows, ROW_LEAST), ROW_MOST);
}

/** A canvas of that size with a pale ground below all cells. @param {HTMLCanvasElement} canvas @param {number} width @param {Places} places @param {import("../../core/canvas.js").Paint} colours @param {number} foot */
function ground(canvas, width, { left, top, column, row, columns, rows }, colours, foot) {
  const g = fit(canvas, width, top + rows * row + foot);
  g.fillStyle = colours.sunk;
  g.fillRect(left, top, columns * column, rows * row);
  return g;
}

/** @param {CanvasRenderingContext2D} g @param {Places} places @param {number} x @param {number} y @param {number} share @param {boolean} isToCome @param {import("../../core/canvas.js").Paint} colours */
function cell(g, { left, top, column, row }, x, y, share, isToCome, colours) {
  g.globalAlpha = isToCome ? 0.3 : 1;
  g.fillStyle = mix(colours.card, colours.weight, FAINT + (1 - FAINT) * share);
  g.fillRect(left + x * column, top + y * row, Math.max(column - 1, 0.8), Math.max(row - 1, 0.8));
  g.globalAlpha = 1;
}

/** The names of rows, as many as have room, and the selected one in any case. @param {CanvasRenderingContext2D} g @param {Places} places @param {(row: number) => string} name
 * @param {number} selected @param {import("../../core/canvas.js").Paint} colours */
function names(g, { left, top, row, rows }, name, selected, colours) {
  const every = Math.ceil(16 / row);
  g.textAlign = "right";
  for (let i = 0; i < rows; i += 1) {
    const isNear = selected >= 0 && i !== selected && Math.abs(i - selected) * row < 15;
    if (i !== selected && (isNear || i % every)) continue;
    g.fillStyle = i === selected ? colours.ink : colours.muted;
    g.fillText(name(i), left - 8, top + (i + 0.5) * row + 5);
  }
}

/** Below a map: which column is its first, and which its last. @param {CanvasRenderingContext2D} g @param {Places} places @param {string} first @param {import("../../core/canvas.js").Paint} colours */
function ends(g, { left, top, column, row, columns, rows }, first, colours) {
  const y = top + rows * row + 17;
  g.fillStyle = colours.muted;
  g.textAlign = "left";
  g.fillText(first, left, y);
  g.textAlign = "right";
  if (column * columns > 130) g.fillText(String(columns - 1), left + columns * column, y);
}

/** @param {CanvasRenderingContext2D} g @param {number} x @param {number} y @param {number} w @param {number} hgt @param {import("../../core/canvas.js").Paint} colours */
function frame(g, x, y, w, hgt, colours) {
  g.strokeStyle = colours.ink;
  g.lineWidth = 2;
  g.strokeRect(x, y, Math.max(w - 1, 2), hgt - 1);
  g.lineWidth = 1;
}
