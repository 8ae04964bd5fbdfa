// @ts-check
// Rows that a person types, kept as JSON in the value of a form's field: added, taken away, and brought back.

import { h, fill, button } from "../core/dom.js";

/** What the buttons say, and the classes of the list and of the buttons. @typedef {{add: string, undo: string, list: string, button: string}} Looks */

/** @template Row */
export class RowList {
  /** @param {(value: string) => void} tell @param {Looks} looks */
  constructor(tell, looks) {
    this.tell = tell;
    this.value = "";
    /** @type {Row[]} */
    this.rows = [];
    /** What stood here before something else took its place, or a row was taken away. @type {Row[] | null} */
    this.before = null;
    this.pressed = false; // anything on this page
    document.addEventListener("click", () => { this.pressed = true; }, { capture: true, once: true });
    this.list = h("ol", { class: looks.list });
    this.undo = button(looks.undo, () => this.bringBack(), { class: looks.button });
    this.add = button(looks.add, () => this.change([...this.rows, this.fresh()], this.rows.length), { class: looks.button });
  }

  /** The rows that a value says. @param {string} value @returns {Row[]} */
  read(value) { throw new Error(`no rows can be read from ${value}`); }

  /** A row that is added. @returns {Row} */
  fresh() { throw new Error("no row can be added"); }

  /** @param {Row} row @param {number} at @returns {HTMLElement} */
  row(row, at) { throw new Error(`row ${at} cannot be drawn: ${row}`); }

  /** @param {string} value */
  show(value) {
    if (value === this.value) return; // it says what was typed here
    this.before = this.pressed && this.rows.length ? this.rows : null; // else it comes from the last visit
    this.value = value;
    this.rows = this.read(value);
    this.draw();
  }

  bringBack() {
    if (this.before) this.change(this.before, 0);
  }

  /** Other rows; the cursor goes into the text at `focus`, and `before` can be brought back.
   * @param {Row[]} rows @param {number} focus @param {Row[] | null} [before] */
  change(rows, focus, before = null) {
    this.replace(rows, before);
    const texts = this.list.querySelectorAll("textarea");
    (texts[Math.min(focus, texts.length - 1)] ?? this.add).focus();
  }

  /** The same, and the cursor stays where it is. @param {Row[]} rows @param {Row[] | null} before */
  replace(rows, before) {
    this.rows = rows;
    this.before = before;
    this.draw();
    this.keep();
  }

  /** @param {number} at */
  takeAway(at) {
    this.change(this.rows.filter((_, i) => i !== at), at, this.rows);
  }

  keep() {
    this.value = JSON.stringify(this.rows);
    this.tell(this.value);
  }

  draw() {
    this.undo.hidden = this.before === null;
    fill(this.list, ...this.rows.map((row, at) => this.row(row, at)));
  }
}
