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
    /** @type {{token: number, level: number, event: PointerEvent, isNarrow: boolean} | null} */
    this.shown = null;
  }

  /** @param {Run} run @param {number} token @param {number} level -1: the token itself @param {PointerEvent} event @param {boolean} isNarrow whether the picture has no room for
   * its word: then the tokens around it stand here */
  show(run, token, level, event, isNarrow) {
    this.shown = { token, level, event, isNarrow };
    const here = phrase("“{token}”, position {position}", { token: word(run.tokens[token]).text, position: token });
    const guess = level >= 0 ? guessAt(run, level, token) : null;
    const place = level < 0 ? "" : level === 0 ? phrase("the embedding, before any layer") : phrase("after layer {layer}", { layer: level - 1 });
    const said = guess ? phrase("would predict “{word}”, {share}", { word: word({ id: guess.id, text: run.texts.get(guess.id) ?? "" }).text, share: percentShort(guess.probability) }) : level >= 0 ? lensWord(run, token) : "";
    const pass = run.steps[run.stepOf[token]];
    const length = level >= 0 && pass?.norms ? phrase("its vector is {length} long", { length: plain(pass.norms[level * pass.n + (token - pass.first)]) }) : "";
    fill(this.element, isNarrow && around(run, token), h("b", {}, here), ...[[place, said].filter(Boolean).join(": "), length].filter(Boolean).flatMap((text) => [h("br"), text]));
    this.element.hidden = false;
    this.move(event);
  }

  /** Say it once more: more may be known of it by now. @param {Run} run */
  again(run) {
    if (!this.element.hidden && this.shown) this.show(run, this.shown.token, this.shown.level, this.shown.event, this.shown.isNarrow);
  }

  /** @param {PointerEvent} event */
  move(event) {
    if (this.shown) this.shown.event = event;
    const { clientX, clientY } = event;
    const right = clientX > window.innerWidth - 320;
    this.element.style.transform = `translate(${right ? clientX - 16 : clientX + 16}px, ${clientY + 18}px)${right ? " translateX(-100%)" : ""}`;
  }

  hide() {
    this.element.hidden = true;
  }
}

const AROUND = 4; // tokens before the one that is pointed at, and after it

/** The text around a token, which stands out. @param {Run} run @param {number} token */
function around(run, token) {
  const text = (/** @type {number} */ from, /** @type {number} */ to) => run.tokens.slice(Math.max(from, 0), to).map((each) => each.text.replace(/\s*\n\s*/g, " ↵ ")).join("");
  return h("bdi", { class: "ts-loom-around" }, token > AROUND && "…", text(token - AROUND, token), h("mark", {}, text(token, token + 1)), text(token + 1, token + 1 + AROUND), token + 1 + AROUND < run.tokens.length && "…");
}
