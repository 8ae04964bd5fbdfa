// @ts-check
// The texts to be served: a row each, with the tokens to write for it; kept as JSON in the value of the form's field.

import { h, fill, button } from "../core/dom.js";
import { phrase } from "../core/texts.js";
import { RowList } from "./row_list.js";

/** @typedef {{element: HTMLElement, props: {value: string}, watch: (name: string, fn: () => void) => void, most: number, newTokens: number}} Link */
/** @typedef {[string, number]} Row a text, and how many tokens to write for it */

const NEW_TOKENS = 16;

/** @param {Link} link */
export function connect({ element, props, watch, most, newTokens }) {
  const root = /** @type {HTMLElement} */ (element.querySelector(".ts-texts-root") ?? element);
  const editor = new Editor(root, most, newTokens, (value) => { props.value = value; });
  watch("value", () => editor.show(props.value));
  editor.show(props.value);
}

/** @extends {RowList<Row>} */
class Editor extends RowList {
  /** @param {HTMLElement} root @param {number} most rows @param {number} newTokens of a row, at most @param {(value: string) => void} tell */
  constructor(root, most, newTokens, tell) {
    super(tell, { add: phrase("+ Add a text"), undo: phrase("Restore the previous texts"), list: "ts-texts", button: "ts-texts-add" });
    this.most = most;
    this.newTokens = newTokens;
    fill(root, h("p", { class: "ts-texts-head" }, h("span", {}, phrase("Texts")), h("span", {}, phrase("New tokens"))), this.list, this.add, this.undo);
  }

  /** What a browser kept may be anything, and then an empty row stands for it. @param {string} value @returns {Row[]} */
  read(value) {
    try {
      const rows = JSON.parse(value);
      const fits = Array.isArray(rows) && rows.every((row) => Array.isArray(row) && typeof row[0] === "string" && (typeof row[1] === "number" || row[1] === null));
      if (fits) return rows;
    } catch { /* no rows */ }
    return [["", NEW_TOKENS]];
  }

  /** @returns {Row} */
  fresh() { return ["", Math.min(NEW_TOKENS, this.newTokens)]; }

  draw() {
    super.draw();
    this.add.disabled = this.rows.length >= this.most;
    this.add.title = this.add.disabled ? phrase("This host serves at most {n} texts at once.", { n: this.most }) : "";
  }

  /** @param {Row} row @param {number} at */
  row(row, at) {
    const name = letter(at);
    const text = h("textarea", { rows: 3, "aria-label": phrase("text {name}", { name }), placeholder: phrase("Type the beginning of a text."),
      oninput: (/** @type {Event} */ event) => { row[0] = /** @type {HTMLTextAreaElement} */ (event.target).value; this.keep(); } });
    text.value = row[0];
    const count = h("input", { type: "number", min: 1, max: this.newTokens, step: 1, value: row[1], "aria-label": phrase("new tokens of text {name}", { name }),
      oninput: (/** @type {Event} */ event) => { row[1] = /** @type {HTMLInputElement} */ (event.target).valueAsNumber; this.keep(); } });
    return h("li", { class: "ts-texts-row" }, h("span", { class: `ts-texts-name ts-request-${at % 12}`, "aria-hidden": "true" }, name), text,
      h("span", { class: "ts-texts-side" }, count,
        button("×", () => this.takeAway(at), { class: "ts-texts-away", "aria-label": phrase("remove text {name}", { name }), title: phrase("remove") })));
  }
}

/** What a text is called, as it is wherever it is drawn: A to Z, AA, AB, ... @param {number} at @returns {string} */
function letter(at) {
  return (at < 26 ? "" : letter(Math.floor(at / 26) - 1)) + String.fromCharCode(65 + (at % 26));
}
