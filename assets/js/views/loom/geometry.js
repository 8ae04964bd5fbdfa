// @ts-check
// Where everything in the loom is: tokens across and layers up, or on a narrow screen tokens down and layers across.

import { columnAt, columns } from "./columns.js";

/** @typedef {import("./columns.js").Column} Column */
/** @typedef {{x: number, y: number, w: number, h: number}} Box */
/** What lies under a pointer. @typedef {{part: "cell" | "chip" | "cache", token: number, level: number}} Hit */
/** `wanted` and `focus` as for `columns`; `levels`: how many cells a column has, the embedding among them.
 * @typedef {{width: number, height: number, transposed: boolean, levels: number, wanted: number[], focus: number[], known: number}} Sizes */

const ACROSS = { before: 92, after: 8, top: 64, foot: 78 }; // px: names of layers, air, the pass in words, chips and cache
const SMALL = { width: 620, before: 64 }; // px: so small a picture has less room for names
const DOWN = { before: 46, after: 14, top: 96, foot: 22 };
const DOWN_SIZES = { looked: 44, empty: 14 }; // px
const [LOOKED_SHARE, LOOKED_LEAST, LOOKED_MOST] = [0.1, 76, 112]; // of the room; px
const [EMPTY_LEAST, EMPTY] = [6, 34]; // px: less where words need the room
const [CHIP, TAPE] = [26, 13]; // px

export class Geometry {
  /** @param {Sizes} sizes */
  constructor(sizes) {
    const { width, height, transposed, levels, wanted, focus, known } = sizes;
    this.width = width;
    this.height = height;
    this.transposed = transposed;
    this.levels = levels;
    const edges = transposed ? DOWN : ACROSS;
    const along = transposed ? height : width;
    this.before = !transposed && width < SMALL.width ? SMALL.before : edges.before;
    this.room = Math.max(along - this.before - edges.after, 1);
    const looked = Math.min(Math.max(this.room * LOOKED_SHARE, LOOKED_LEAST), LOOKED_MOST);
    const left = this.room - wanted.reduce((sum, size, i) => sum + (focus.includes(i) ? Math.max(looked, size) : i < known ? size : 0), 0);
    const empty = Math.min(Math.max(left / Math.max(wanted.length - known, 1), EMPTY_LEAST), EMPTY);
    this.columns = columns({ wanted, focus, known, room: this.room, ...(transposed ? DOWN_SIZES : { looked, empty }) });
    const across = transposed ? width : height;
    this.low = transposed ? edges.top : across - edges.foot; // where the embedding's cells begin
    this.high = transposed ? across - edges.foot : edges.top; // where the last layer's cells end
    this.step = Math.abs(this.high - this.low) / levels;
  }

  get count() { return this.columns.length; }

  /** The place of a cell, its gaps included. @param {number} token @param {number} level @returns {Box} */
  cell(token, level) {
    const { start, size } = this.columns[token];
    return this.transposed
      ? { x: this.low + level * this.step, y: this.before + start, w: this.step, h: size }
      : { x: this.before + start, y: this.low - (level + 1) * this.step, w: size, h: this.step };
  }

  /** Several levels of one column as one place. @param {number} token @param {number} low @param {number} high @returns {Box} */
  block(token, low, high) {
    const [one, other] = [this.cell(token, low), this.cell(token, high)];
    return { x: Math.min(one.x, other.x), y: Math.min(one.y, other.y), w: other.x - one.x > 0 ? other.x + other.w - one.x : one.w, h: one.y - other.y > 0 ? one.y + one.h - other.y : one.h };
  }

  /** Where a token's text stands. @param {number} token @returns {Box} */
  chip(token) {
    const { start, size } = this.columns[token];
    return this.transposed
      ? { x: 14, y: this.before + start, w: this.low - 20, h: size }
      : { x: this.before + start, y: this.low + 5, w: size, h: CHIP };
  }

  /** Where a token's keys and values are drawn. @param {number} token @returns {Box} */
  tape(token) {
    const { start, size } = this.columns[token];
    return this.transposed
      ? { x: 2, y: this.before + start, w: 9, h: size }
      : { x: this.before + start, y: this.low + 5 + CHIP + 4, w: size, h: TAPE };
  }

  /** What lies at a place of the picture, or nearest to it. @param {number} x @param {number} y @returns {Hit | null} */
  hit(x, y) {
    if (!this.count) return null;
    const [along, across] = this.transposed ? [y, x] : [x, y];
    const token = columnAt(this.columns, along - this.before);
    const level = Math.floor((this.transposed ? across - this.low : this.low - across) / this.step);
    if (level >= this.levels) return level > this.levels + 1 ? null : { part: "cell", token, level: this.levels - 1 };
    if (level >= 0) return { part: "cell", token, level };
    const inChip = this.transposed ? across > 12 : across < this.low + 5 + CHIP + 2;
    return { part: inChip ? "chip" : "cache", token, level: 0 };
  }
}
