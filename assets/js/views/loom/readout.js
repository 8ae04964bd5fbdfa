// @ts-check
// A few words at the pointer: which cell that is, and what the model would say there.

import { h, fill } from "../../core/dom.js";
import { plain } from "../../core/format.js";
import { phrase } from "../../core/texts.js";
import { percentShort } from "./cells.js";
import { guessAt, lensWord } from "./guesses.js";
import { word } from "./ink.js";

/** @typedef {import("../../data/store.js").Run} Run */

export class Readout {
  constructor() {
    this.element = h("div", { class: "ts-loom-readout", hidden: true, "aria-hidden": "true" });
  }

  /** @param {Run} run @param {number} token @param {number} level -1: the token itself @param {PointerEvent} event */
  show(run, token, level, event) {
    const here = phrase("“{token}”, position {position}", { token: word(run.tokens[token]).text, position: token });
    const guess = level >= 0 ? guessAt(run, level, token) : null;
    const place = level < 0 ? "" : level === 0 ? phrase("the embedding, before any layer") : phrase("after layer {layer}", { layer: level - 1 });
    const said = guess ? phrase("would say “{word}”, {share}", { word: word({ id: guess.id, text: run.texts.get(guess.id) ?? "" }).text, share: percentShort(guess.probability) }) : level >= 0 ? lensWord(run, token) : "";
    const pass = run.steps[run.stepOf[token]];
    const length = level >= 0 && pass?.norms ? phrase("its vector is {length} long", { length: plain(pass.norms[level * pass.n + (token - pass.first)]) }) : "";
    fill(this.element, h("b", {}, here), ...[[place, said].filter(Boolean).join(": "), length].filter(Boolean).flatMap((text) => [h("br"), text]));
    this.element.hidden = false;
    this.move(event);
  }

  /** @param {PointerEvent} event */
  move({ clientX, clientY }) {
    const right = clientX > window.innerWidth - 320;
    this.element.style.transform = `translate(${right ? clientX - 16 : clientX + 16}px, ${clientY + 18}px)${right ? " translateX(-100%)" : ""}`;
  }

  hide() {
    this.element.hidden = true;
  }
}
