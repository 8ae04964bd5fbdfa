// @ts-check
// A distribution's stages and the likeliest tokens at one of them: the flow, a sentence, and bars, the rest's share as one of them.

import { h, fill, say, tokenText } from "../../core/dom.js";
import { count, percent } from "../../core/format.js";
import { Flow } from "./flow.js";
import { sentence } from "./levels.js";
import { ReservedSpace } from "../../core/reserve_space.js";
import { counted, phrase } from "../../core/texts.js";

/** @typedef {import("./levels.js").Level} Level */
/** `drawn` is the token that was chosen; `ghost` says how likely a token was in the run itself at a stage of this name; null: it could
 * not be chosen. @typedef {{levels: Level[], drawn: {id: number, text: string, hex?: string}, vocabulary: number, ghost?: (id: number, level: Level) => number | null}} Shown */
/** @typedef {{element: HTMLElement, button: HTMLButtonElement | null, name: HTMLElement, bar: HTMLElement, ghost: HTMLElement, number: HTMLElement, of: string}} Row */

const MOST = 10;

export class Distribution {
  /** @param {() => void} redraw @param {"first" | "last"} opens the stage that is shown until a person chooses one
   * @param {((token: {id: number, text: string, hex?: string}) => void) | null} [press] makes a button of each candidate; Tab reaches one of them, arrows lead on */
  constructor(redraw, opens, press = null) {
    this.press = press;
    /** @type {number | null} the candidate that is pressed */
    this.pressed = null;
    this.opens = opens;
    this.redraw = redraw;
    /** @type {number | null} */
    this.picked = null;
    /** @type {number | null} */
    this.hovered = null;
    this.flow = new Flow(redraw, (level, lock) => this.go(level, lock), () => this.look(null));
    this.words = h("p", { class: "ts-note ts-stage-words" });
    this.room = new ReservedSpace(this.words, "note");
    this.most = 0;
    this.stages = h("div", { class: "ts-stages" }, this.flow.element, this.room.element);
    this.bars = h("ol", { class: `ts-bars ts-chances ${press ? "ts-pressable" : ""}`, "data-own-up-down": press !== null });
    if (press) this.bars.addEventListener("keydown", (event) => this.move(event));
    /** @type {Row[]} */
    this.rows = [];
    /** @type {{id: number, text: string, hex?: string}[]} the candidates of the rows */
    this.offered = [];
    this.reached = 0; // the row that Tab reaches
    /** @type {Shown | null} */
    this.shown = null;
  }

  /** A run begins: nothing is known of its passes. */
  clear() {
    this.room.clear();
    this.most = 0;
  }

  /** These stages can be shown here: nothing below moves when they are. @param {Level[]} levels @param {number} drawn @param {number} vocabulary */
  keep(levels, drawn, vocabulary) {
    for (const level of levels) {
      this.room.keep(sentence(level, vocabulary));
      const shown = Math.min(level.candidates.length, MOST);
      const more = Number(Boolean(level.chosen) && !level.candidates.slice(0, MOST).some((each) => each.id === drawn));
      this.most = Math.max(this.most, shown + more + Number(level.alive > shown + more));
    }
    this.bars.style.setProperty("--ts-rows", String(this.most));
  }

  /** @param {number} level @param {boolean} lock */
  go(level, lock) {
    if (!lock) { this.look(level); return; }
    this.picked = level;
    this.look(null);
    this.redraw();
  }

  /** @param {number | null} level */
  look(level) {
    if (this.hovered === level) return;
    this.hovered = level;
    this.redraw();
  }

  /** @param {Shown} shown */
  at({ levels }) {
    const last = levels.length - 1;
    return Math.min(this.hovered ?? this.picked ?? (this.opens === "first" ? 0 : last), last);
  }

  /** @param {Shown} shown @param {import("../../core/canvas.js").Paint} colours */
  paint(shown, colours) {
    this.flow.paint(shown.levels, shown.drawn, this.at(shown), colours);
  }

  /** @param {Shown} shown */
  draw(shown) {
    const at = this.at(shown);
    const level = shown.levels[at];
    this.flow.draw(shown.levels, at);
    say(this.words, sentence(level, shown.vocabulary));
    this.drawBars(shown, level);
  }

  /** @param {Shown} shown @param {Level} level */
  drawBars({ drawn, vocabulary, ghost }, level) {
    /** @type {{id: number, text: string, hex?: string, probability: number}[]} */
    const shares = level.candidates.slice(0, MOST);
    if (level.chosen && !shares.some((each) => each.id === drawn.id)) shares.push({ ...drawn, probability: level.chosen });
    const others = level.alive - shares.length;
    const rest = others > 0 ? Math.max(1 - shares.reduce((sum, each) => sum + each.probability, 0), 0) : 0;
    const ghosts = shares.map((each) => (ghost ? ghost(each.id, level) : null));
    while (this.rows.length < shares.length + 1) this.rows.push(this.makeRow());
    this.offered = shares;
    this.reach(Math.min(this.reached, shares.length - 1));
    this.rows.forEach((row, i) => {
      const each = shares[i];
      row.element.hidden = i > shares.length || (i === shares.length && others <= 0);
      if (row.element.hidden) return;
      const isChosen = each?.id === drawn.id;
      row.element.className = `ts-bar ${isChosen ? "ts-chosen" : ""} ${each ? "" : "ts-rest"}`;
      const share = each ? each.probability : rest;
      row.bar.style.width = share ? `max(1px, ${100 * share}%)` : "0";
      const was = each ? ghosts[i] : null;
      row.ghost.hidden = !ghost || was === null;
      if (was !== null) row.ghost.style.width = `${100 * was}%`;
      if (row.button) {
        row.button.disabled = !each;
        if (each) row.button.setAttribute("aria-pressed", String(each.id === this.pressed));
        else row.button.removeAttribute("aria-pressed");
      }
      say(row.number, `${isChosen ? "✓ " : ""}${percent(share)}`);
      const of = each ? `${each.id} ${each.text}` : `${others}`;
      if (row.of === of) return;
      row.of = of;
      fill(row.name, each ? tokenText(each) : counted(others, "{n} other", "{n} others", { n: count(others) }));
    });
    this.bars.setAttribute("aria-label", phrase("The most likely tokens, then all others together. Probabilities are over all {n} tokens of the vocabulary.", { n: count(vocabulary) }));
  }

  makeRow() {
    const [name, bar, ghost, number] = [h("span", { class: "ts-bar-name" }), h("span", { class: "ts-bar-fill" }), h("span", { class: "ts-ghost", hidden: true }), h("span", { class: "ts-bar-number" })];
    const parts = [name, h("span", { class: "ts-bar-track" }, bar, ghost), number];
    const at = this.rows.length;
    const pressed = () => { this.reach(at); if (this.offered[at]) this.press?.(this.offered[at]); };
    const button = this.press && h("button", { type: "button", class: "ts-bar-press", tabindex: at === this.reached ? 0 : -1, onclick: pressed }, ...parts);
    const element = h("li", { class: "ts-bar" }, ...(button ? [button] : parts));
    this.bars.append(element);
    return { element, button, name, bar, ghost, number, of: "" };
  }

  /** Of the candidates, Tab reaches this one. @param {number} at */
  reach(at) {
    this.reached = Math.max(at, 0);
    this.rows.forEach(({ button }, i) => { if (button) button.tabIndex = i === this.reached ? 0 : -1; });
  }

  /** Up and down lead from candidate to candidate. @param {KeyboardEvent} event */
  move(event) {
    const last = this.offered.length - 1;
    const to = { ArrowUp: Math.max(this.reached - 1, 0), ArrowDown: Math.min(this.reached + 1, last), Home: 0, End: last }[event.key];
    if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.reach(to);
    this.rows[to].button?.focus();
  }
}
