// @ts-check
// What every picture shares: a title, one sentence, the picture, and "Numbers and code" below it.

import { h, fill, table, button } from "../core/dom.js";
import { afresh } from "../core/canvas.js";
import { count, isNumber } from "../core/format.js";
import { counted, phrase } from "../core/texts.js";
import { rememberedAllCards } from "../data/session_memory.js";
import { SaveMenu } from "./save_menu.js";
import { rowsIn, rowsOf } from "./saved_numbers.js";

/** @typedef {import("../data/view.js").State} State */
/** @typedef {import("../data/view.js").Numbers} Numbers */
/** @typedef {import("../data/view.js").Context} Context */
/** @typedef {import("../data/view.js").View} View */

const FEW = 10; // rows that a box of numbers shows without scrolling

export class Card {
  /** @param {View} view @param {Context} context */
  constructor(view, context) {
    this.view = view;
    this.context = context;
    this.body = h("div", { class: "ts-body" });
    this.sheet = h("div", { class: "ts-sheet" });
    this.details = h("details", { class: "ts-details", ontoggle: () => this.drawSheet() },
      h("summary", {}, phrase("Numbers and code")), this.sheet);
    const title = h("h2", { class: "ts-title", id: `ts-${view.id}-title` }, view.title);
    const rest = [...caption(view.lead, view.more), this.body];
    this.element = h("section", { class: `ts-card ts-card-${view.id}`, "aria-labelledby": `ts-${view.id}-title`, "data-view": view.id, tabindex: "-1" },
      ...(view.folded ? [h("details", { class: "ts-folded", open: rememberedAllCards() }, h("summary", {}, title), ...rest)] : [title, ...rest]));
    this.picture = view.create(this.body, context);
    if (this.picture.numbers) this.element.append(this.details);
    this.element.prepend(new SaveMenu(view.title, () => this.saved()).element);
    /** @type {State | null} */
    this.state = null;
    this.asked = 0;
    this.inSight = true; // until the browser says otherwise
    this.stale = false; // whether it shows less than the selection asks for
  }

  /** Whether it is open at all: one that is not is never drawn. @param {boolean} isOpen */
  show(isOpen) {
    if (isOpen && this.element.hidden) this.inSight = this.stale = true;
    if (!isOpen) this.stale = false;
    this.element.hidden = !isOpen;
  }

  get isOpen() {
    return !this.element.hidden;
  }

  /** @param {State} state */
  paint(state) {
    this.picture.paint?.(state);
  }

  /** @param {State} state */
  draw(state) {
    this.state = state;
    this.stale = false;
    this.picture.draw(state);
    this.element.dataset.run = state.run?.id ?? "";
    this.element.dataset.at = `${state.at.step}/${state.at.layer}/${state.at.head}/${state.at.token}`;
    if (this.details.open) this.drawSheet();
  }

  /** What a file of it holds; null before there is anything to see. @returns {import("./save_menu.js").Saved | null} */
  saved() {
    const { state, picture, view, body, context } = this;
    if (!state) return null;
    const anew = { ...state, colours: afresh(state.colours) };
    return {
      name: view.id, title: view.title, box: body, colours: state.colours, plotly: context.plotly, ...context.about(state.at),
      repaint: () => { picture.paint?.(anew); picture.draw(anew); },
      numbers: async () => (picture.numbers ? rowsOf(await picture.numbers(state)) : rowsIn(body)),
    };
  }

  async drawSheet() {
    if (!this.details.open || !this.state || !this.picture.numbers) return;
    this.asked += 1;
    const asked = this.asked;
    const numbers = await this.picture.numbers(this.state);
    if (asked !== this.asked) return;
    const rows = numbers.rows.slice(0, 400);
    const left = numbers.rows.length - rows.length;
    const title = phrase("{title}: values", { title: this.view.title });
    const values = table(title, numbers.columns, rows.map((row) => row.map(typeset)));
    alignNumbers(values);
    fill(this.sheet,
      h("p", { class: "ts-note" }, numbers.note),
      h("div", { class: "ts-scroll", tabindex: "0", role: "region", "aria-label": title }, values),
      h("p", { class: "ts-note" }, rowsWords(numbers.rows.length, left)),
      copier(phrase("Copy the table"), () => tabbed(numbers)),
      h("p", { class: "ts-note" }, phrase("The same in Python, from a run saved as a trace file:")),
      h("pre", { class: "ts-code", tabindex: "0" }, h("code", {}, numbers.code)),
      copier(phrase("Copy the code"), () => numbers.code));
  }
}

/** What is seen, and behind a press more of it. @param {string | (Node | string)[]} lead @param {string | (Node | string)[]} [more] */
export function caption(lead, more = "") {
  const parts = (/** @type {string | (Node | string)[]} */ text) => (typeof text === "string" ? [text] : text);
  const line = h("p", { class: "ts-sentence" }, ...parts(lead));
  return more.length ? [line, h("details", { class: "ts-tell" }, h("summary", {}, phrase("more")), h("p", {}, ...parts(more)))] : [line];
}

/** How many rows there are, and how many of them are not drawn. @param {number} n @param {number} left */
function rowsWords(n, left) {
  const rows = { n: count(n), left: count(left) };
  if (left > 0) return phrase("{n} rows; the table scrolls. {left} of them are not drawn, but are copied with the table.", rows);
  return n > FEW ? phrase("{n} rows; the table scrolls.", rows) : counted(n, "{n} row.", "{n} rows.");
}

/** A cell as it is read: a minus as long as a plus. Copied it keeps its hyphen, which spreadsheets know. @param {import("../core/dom.js").Child} cell */
function typeset(cell) {
  return typeof cell === "string" && /^-[\d.]/.test(cell) ? `−${cell.slice(1)}` : cell;
}

/** Columns that hold nothing but numbers end at one line. @param {HTMLTableElement} values */
function alignNumbers(values) {
  const rows = Array.from(values.rows);
  const width = rows[0]?.cells.length ?? 0;
  for (let column = 0; column < width; column += 1) {
    const cells = rows.map((row) => row.cells[column]);
    const texts = cells.slice(1).map((cell) => cell?.textContent ?? "").filter((text) => text !== "" && text !== "–");
    if (texts.length && texts.every(isNumber)) for (const cell of cells) cell?.classList.add("ts-number");
  }
}

/** @param {string} name @param {() => string} text */
function copier(name, text) {
  const said = h("span", { class: "ts-muted", role: "status" });
  const press = async () => {
    try {
      await navigator.clipboard.writeText(text());
      fill(said, phrase("Copied."));
    } catch {
      fill(said, phrase("The browser does not allow this page to copy. Select the text and copy it."));
    }
  };
  return h("p", { class: "ts-row" }, button(name, press), said);
}

/** A table as tab-separated text, for a spreadsheet. @param {Numbers} numbers */
function tabbed(numbers) {
  const cell = (/** @type {import("../core/dom.js").Child} */ child) =>
    (child instanceof Node ? child.textContent ?? "" : String(child || "")).replace(/[\t\n]/g, " ");
  return [numbers.columns, ...numbers.rows].map((row) => row.map(cell).join("\t")).join("\n");
}
