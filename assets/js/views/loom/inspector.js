// @ts-check
// Beside the loom: the likeliest next tokens, and a closer look at the part that is selected. Each part leads to its card below.

import { button, fadeWhatGoesOn, fill, h, say } from "../../core/dom.js";
import { count } from "../../core/format.js";
import { phrase } from "../../core/texts.js";
import { percentShort } from "./cells.js";
import { HeadMap } from "./head_map.js";
import { guessAt } from "./guesses.js";
import { partOf } from "./inspector_parts.js";
import { shareBar } from "./share_bar.js";
import { word } from "./ink.js";
import { LIST } from "./output.js";

/** @typedef {import("../../data/view.js").State} State */
/** @typedef {import("./loom.js").Part} Part */
/** @typedef {import("../../data/view.js").Named} Named */
/** A row of the list: `share` of the probability; `token`: the run can be continued with it. @typedef {{text: string, mark: boolean, share: number, isChosen: boolean, isRest?: boolean, token?: Named}} Likely */

/** Which card has all of a part. @type {Record<Part, [string, string]>} */
const CARDS = {
  head: ["attention", phrase("All of attention")], cell: ["layers", phrase("All of this layer")], token: ["tokens", phrase("All tokens and their vectors")],
  choice: ["next-token", phrase("All of the choice, and What if?")], cache: ["kv-cache", phrase("All of the cache")],
};

export class Inspector {
  /** @param {(part: Part, go?: Partial<import("../../data/axes.js").At>) => void} turnTo @param {(go: Partial<import("../../data/axes.js").At> | null) => void} preview
   * @param {(card: string) => void} show
   * @param {((token: Named) => void) | null} pick a token to continue the run with; null: nothing continues it
   * @param {(() => void) | null} explain why the step chose its token; null: nobody can */
  constructor(turnTo, preview, show, pick, explain) {
    this.turnTo = turnTo;
    this.pick = pick;
    this.likely = h("h3", { class: "ts-loom-title" });
    this.rows = Array.from({ length: LIST.most + 1 }, () => ({ element: h("li", { class: "ts-likely" }), key: "" }));
    this.list = h("ol", { class: "ts-likelies" }, ...this.rows.map(({ element }) => element));
    this.crumb = h("p", { class: "ts-loom-crumb" });
    this.title = h("h3", { class: "ts-loom-title" });
    this.body = h("div", { class: "ts-inspector-body" });
    this.notes = h("div", { class: "ts-inspector-body" });
    this.heads = new HeadMap((go) => turnTo("head", go), preview);
    this.more = button("", () => show(CARDS[this.part][0]), { class: "ts-button ts-loom-more" });
    this.why = explain && h("button", { type: "button", class: "ts-button ts-loom-why", title: phrase("Why this token?"), "aria-label": phrase("Why this token?"), onclick: (/** @type {Event} */ event) => { event.stopPropagation(); explain(); } }, phrase("Why?"));
    const close = button("×", () => this.lift(false), { class: "ts-button ts-sheet-close", "aria-label": phrase("Close") });
    this.closer = h("section", { class: "ts-inspector", "aria-label": phrase("a closer look") }, close, this.crumb, this.title, this.body, this.heads.element, this.notes, this.more);
    this.element = h("aside", { class: "ts-loom-side" }, h("section", { class: "ts-loom-output", "aria-label": phrase("the likeliest next tokens"), onclick: () => this.turnTo("choice") }, this.likely, this.list, this.why), this.closer);
    this.grown = fadeWhatGoesOn(this.closer);
    /** @type {Part} */
    this.part = "head";
    this.drawn = "";
  }

  /** Where a phone shows it, it lies over the foot of the window as a sheet, so that what was tapped is in sight. @param {boolean} isUp */
  lift(isUp) {
    this.closer.classList.toggle("ts-sheet", isUp);
  }

  /** @param {State} state @param {Part} part */
  draw(state, part) {
    this.part = part;
    const { run, at } = state;
    const key = [run.id, run.stamp, at.step, at.layer, at.head, at.token, part, run.nRead, state.colours.stamp].join("/");
    if (key === this.drawn) return;
    this.drawn = key;
    const { crumb, title, body, notes } = partOf(part, state);
    say(this.crumb, crumb);
    say(this.title, title);
    fill(this.body, ...body);
    fill(this.notes, ...(notes ?? []));
    this.heads.element.hidden = part !== "head" && part !== "cell";
    if (!this.heads.element.hidden) this.heads.draw(state);
    say(this.more, CARDS[part][1]);
    this.closer.scrollTop = 0;
    this.grown();
  }

  /** Draw its canvas again, and leave the words and the scrolling. @param {State} state */
  repaint(state) {
    if (!this.heads.element.hidden) this.heads.draw(state);
  }

  /** @param {State} state @param {number | null} level that a pass has come to while it is played */
  drawLikely({ run, step }, level) {
    const choice = step.choices[0];
    const stops = level !== null && level < run.nLayers && level >= 0;
    const likely = stops ? atLevel(run, level, step.last) : choice ? ofChoice(run, choice) : [];
    if (stops && !likely.length) say(this.likely, phrase("The guess at this layer is coming"));
    else if (stops) say(this.likely, level === 0 ? phrase("If it stopped here, before any layer") : phrase("If it stopped here, after layer {layer}", { layer: level - 1 }));
    else say(this.likely, phrase("The next token, out of {n}", { n: count(run.head.model.d_vocab) }));
    this.rows.forEach((row, i) => {
      const each = likely[i];
      const key = JSON.stringify(each ?? null);
      if (key === row.key) return;
      row.key = key;
      row.element.className = `ts-likely ${each?.isChosen ? "ts-likely-chosen" : ""} ${each?.isRest ? "ts-likely-rest" : ""}`;
      if (!each) return fill(row.element);
      const [bar, { token }] = [shareBar(each.share), each];
      const name = phrase("Continue from here with {token}", { token: phrase("“{token}”", { token: each.text }) });
      const press = token && this.pick && h("button", { type: "button", class: "ts-likely-press", "aria-label": name, title: name, onclick: () => this.pick?.(token) });
      return fill(row.element, press, h("bdi", { class: `ts-token-text ${each.mark ? "ts-mark" : ""}`, title: each.text }, each.text), bar, h("span", { class: "ts-likely-share" }, percentShort(each.share)));
    });
  }
}

/** @param {import("../../data/store.js").Run} run @param {import("../../data/store.js").Choice} choice @returns {Likely[]} */
function ofChoice(run, choice) {
  const shown = choice.candidates.slice(0, LIST.most).map((each) => ({ ...word(run.named(each)), share: each.probability, isChosen: each.id === choice.id, token: run.named(each) }));
  return [...shown, rest(shown, phrase("all others"))];
}

/** @param {import("../../data/store.js").Run} run @param {number} level @param {number} token @returns {Likely[]} */
function atLevel(run, level, token) {
  if (!guessAt(run, level, token)) return [];
  const shown = run.lensAt(level, token).slice(0, LIST.most).map((each) => ({ ...word(each), share: each.probability, isChosen: run.tokens[token + 1]?.id === each.id }));
  return [...shown, rest(shown, phrase("all others"))];
}

/** @param {Likely[]} shown @param {string} text @returns {Likely} */
function rest(shown, text) {
  return { text, mark: false, share: Math.max(1 - shown.reduce((sum, { share }) => sum + share, 0), 0), isChosen: false, isRest: true };
}


