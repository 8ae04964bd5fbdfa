// @ts-check
// The loom as a table, for who cannot see it or wants its numbers: one token's column, a row for each layer.

import { button, fill, h, say, table } from "../../core/dom.js";
import { percent, plain } from "../../core/format.js";
import { phrase } from "../../core/texts.js";
import { guessAt, lensWord } from "./guesses.js";
import { word } from "./ink.js";

/** @typedef {import("../../data/view.js").State} State */

export class LoomTable {
  /** @param {import("../../data/selection.js").Selection} selection */
  constructor(selection) {
    this.of = h("p", { class: "ts-note", role: "status" });
    this.rows = h("div", { class: "ts-sheet ts-scroll", tabindex: "0", role: "region", "aria-label": phrase("the selected token's column, layer by layer") });
    const by = (/** @type {number} */ n) => () => selection.set({ token: selection.at.token + n });
    this.element = h("details", { class: "ts-details ts-loom-table", ontoggle: () => this.fill() },
      h("summary", {}, phrase("The picture as a table")),
      h("p", { class: "ts-row" }, button(phrase("previous token"), by(-1)), button(phrase("next token"), by(1))), this.of, this.rows);
    /** @type {State | null} */
    this.state = null;
    this.filled = "";
  }

  /** @param {State} state */
  draw(state) {
    this.state = state;
    this.fill();
  }

  fill() {
    if (!this.element.open || !this.state) return;
    const { run, at } = this.state;
    const key = `${run.id}/${run.stamp}/${at.token}/${at.step}`;
    if (key === this.filled) return;
    this.filled = key;
    const pass = run.steps[run.stepOf[at.token]];
    say(this.of, phrase("Token {position}, “{token}”, read in step {step}:", { position: at.token, token: word(run.tokens[at.token]).text, step: pass?.index ?? 0 }));
    const rows = Array.from({ length: run.nLayers + 1 }, (_, i) => {
      const level = run.nLayers - i;
      const guess = guessAt(run, level, at.token);
      const length = pass?.norms ? plain(pass.norms[level * pass.n + (at.token - pass.first)]) : "–";
      return [level ? phrase("layer {layer}", { layer: level - 1 }) : phrase("embedding"),
        guess ? h("bdi", { class: "ts-token-text" }, word({ id: guess.id, text: run.texts.get(guess.id) ?? "", hex: run.hexes.get(guess.id) }).text) : lensWord(run, at.token),
        guess ? percent(guess.probability) : "–", guess?.follows ? phrase("yes") : phrase("no"), length];
    });
    fill(this.rows, table(phrase("the selected token's column, layer by layer"),
      [phrase("after"), phrase("it would predict"), phrase("probability"), phrase("came next"), phrase("length of its vector")], rows));
  }
}
