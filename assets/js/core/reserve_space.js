// @ts-check
// Words that change from pass to pass keep the room of the longest of them, so that nothing below them moves.

import { h } from "./dom.js";

const SLACK = " 0000"; // bold and monospaced letters are wider than the plain ones that hold the room
const TOKEN = 18; // letters of a quoted token that are shown, its quotes included

/** The room is a CSS `content`: it is nobody's text, neither read aloud, nor found, nor copied. */
export class ReservedSpace {
  /** @param {HTMLElement} words @param {"readout" | "headline" | "note" | "bytes" | "name"} kind how the words are set */
  constructor(words, kind) {
    this.element = h("div", { class: `ts-steady ts-steady-${kind}` }, words);
    this.slack = kind === "bytes" || kind === "name" ? "" : SLACK;
    this.longest = 0;
  }

  /** Forget the run before. */
  clear() {
    this.longest = 0;
    delete this.element.dataset.room;
  }

  /** These words will stand here too. @param {import("./dom.js").Child[]} parts */
  keep(...parts) {
    const text = parts.map((part) => (part instanceof Node ? (part.textContent ?? "").slice(0, TOKEN) : part || "")).join("");
    if (text.length <= this.longest) return;
    this.longest = text.length;
    this.element.dataset.room = text + this.slack;
  }
}
