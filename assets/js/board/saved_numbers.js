// @ts-check
// The numbers of a picture as rows of text: those of its sheet, or where the program drew it, those of its tables and charts.

import { plainCell } from "../core/csv.js";
import { phrase } from "../core/texts.js";

/** @typedef {{columns: string[], rows: string[][]}} Rows */

/** @param {import("../data/view.js").Numbers} numbers @returns {Rows} */
export function rowsOf({ columns, rows }) {
  return { columns, rows: rows.map((row) => row.map((cell) => plainCell(cell instanceof Node ? cell.textContent ?? "" : String(cell || "")))) };
}

const UNSEEN = ".ts-term-means, .ts-hidden"; // explanations of a word, and what is read out

/** What the program drew: each table, and of each chart its traces; where there is neither, the lines of text. @param {HTMLElement} box @returns {Rows} */
export function rowsIn(box) {
  const charts = Array.from(box.querySelectorAll(".js-plotly-plot")).flatMap((chart) => traces(chart));
  const tables = Array.from(box.querySelectorAll("table"), tableRows).flat();
  if (charts.length) return { columns: [phrase("trace"), "x", "y", "z"], rows: [...charts, ...tables] };
  if (!tables.length) return { columns: [phrase("text")], rows: box.innerText.split("\n").map((line) => line.trim()).filter(Boolean).map((line) => [line]) };
  const [columns, ...rows] = tables;
  return { columns, rows };
}

/** @param {HTMLTableElement} table */
function tableRows(table) {
  return Array.from(table.rows, (row) => Array.from(row.cells).flatMap((cell) => [plainCell(wordsOf(cell)), ...Array(cell.colSpan - 1).fill("")]));
}

/** The words of a cell that are seen, each part of it apart. @param {Element} cell */
function wordsOf(cell) {
  const seen = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT, (node) => (node.parentElement?.closest(UNSEEN) ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_ACCEPT));
  let words = "";
  for (let node = seen.nextNode(), last = null; node; [last, node] = [node, seen.nextNode()]) {
    const apart = last && [last, node].some((each) => each?.parentElement !== cell && getComputedStyle(/** @type {Element} */ (each?.parentElement)).display !== "inline");
    words += (apart ? " " : "") + (node.nodeValue ?? "");
  }
  return words.replace(/\s+/g, " ").trim();
}

/** A row for each point of a chart; of a heat map for each cell. @param {Element} chart @returns {string[][]} */
function traces(chart) {
  const { _fullData: all = [] } = /** @type {any} */ (chart);
  return all.filter((/** @type {any} */ trace) => trace.visible !== false).flatMap((/** @type {any} */ trace) => {
    const [x, y] = [trace.x, trace.y].map((each) => Array.from(each ?? []));
    const name = String(trace._input?.name ?? ""); // plotly makes names of its own
    if (trace.z) return Array.from(trace.z).flatMap((row, i) => Array.from(/** @type {ArrayLike<any>} */ (row), (z, j) => [name, text(x[j] ?? j), text(y[i] ?? i), text(z)]));
    return Array.from({ length: Math.max(x.length, y.length) }, (_, i) => [name, text(x[i] ?? i), text(y[i] ?? i), ""]);
  });
}

/** @param {unknown} value */
function text(value) {
  return value === null || value === undefined ? "" : String(value);
}
