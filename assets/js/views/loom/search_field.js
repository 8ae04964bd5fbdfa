// @ts-check
// A field that finds a word in the run: its places are marked at the loom's foot, and Enter goes from one to the next.

import { button, h, say } from "../../core/dom.js";
import { count } from "../../core/format.js";
import { counted, phrase } from "../../core/texts.js";
import { findTokens, nextFound } from "./token_search.js";

/** @typedef {import("../../data/store.js").Run} Run */

export const FEW = 40; // tokens that are all in sight: nobody has to search

export class SearchField {
  /** @param {import("../../data/selection.js").Selection} selection @param {{changed: () => void, go: (token: number) => void, left: () => void}} tell
   * `changed`: other places are marked; `go`: this token was found; `left`: the field is no longer needed */
  constructor(selection, tell) {
    this.selection = selection;
    this.tell = tell;
    /** @type {import("./token_search.js").Found[]} */
    this.found = [];
    this.at = -1;
    this.searched = "";
    this.input = h("input", { type: "search", class: "ts-search-input", placeholder: phrase("Find a token"), "aria-label": phrase("Find a token of this run"), title: phrase("Find a token (/). Enter: next place; Shift + Enter: previous one; Esc: leave."), spellcheck: "false", autocomplete: "off", enterkeyhint: "search" });
    this.said = h("span", { class: "ts-search-said", role: "status" });
    this.back = button("‹", () => this.walk(-1), { class: "ts-button ts-search-step", "aria-label": phrase("previous place") });
    this.on = button("›", () => this.walk(1), { class: "ts-button ts-search-step", "aria-label": phrase("next place") });
    this.element = h("div", { class: "ts-search", role: "search", hidden: true }, this.input, this.said, this.back, this.on);
    this.input.addEventListener("input", () => this.look());
    this.input.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.isComposing) this.walk(event.shiftKey ? -1 : 1);
      else if (event.key === "Escape") this.leave();
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    this.tellCount();
  }

  get run() {
    return /** @type {Run | null} */ (this.selection.record);
  }

  /** Another record begins. */
  open() {
    this.input.value = "";
    this.look();
  }

  /** Shown for runs of many tokens. @param {Run} run */
  draw(run) {
    this.element.hidden = run.tokens.length <= FEW;
    const moved = this.at >= 0 && this.selection.base.token !== this.found[this.at]?.first;
    if (this.input.value && this.key(run) !== this.searched) this.look();
    else if (moved) {
      this.at = -1; // somebody went elsewhere
      this.tellCount();
    }
  }

  focus() {
    this.input.focus();
    this.input.select();
  }

  /** Search anew for what is typed. */
  look() {
    const { run } = this;
    this.searched = run ? this.key(run) : "";
    this.found = run ? findTokens(run.tokens, this.input.value, run.nRead) : [];
    this.at = -1;
    this.tellCount();
    this.tell.changed();
  }

  /** @param {Run} run */
  key(run) {
    return `${run.id}/${run.nRead}/${this.input.value}`;
  }

  /** @param {1 | -1} way */
  walk(way) {
    this.at = nextFound(this.found, this.selection.base.token, way);
    this.tellCount();
    if (this.at >= 0) this.tell.go(this.found[this.at].first);
  }

  leave() {
    this.input.value = "";
    this.look();
    this.tell.left();
  }

  tellCount() {
    const n = this.found.length;
    const typed = this.input.value.trim() !== "";
    this.back.hidden = this.on.hidden = !n;
    this.said.hidden = !typed;
    if (!typed) say(this.said, "");
    else if (!n) say(this.said, phrase("not found"));
    else if (this.at < 0) say(this.said, counted(n, "{n} place", "{n} places", { n: count(n) }));
    else say(this.said, phrase("{i} of {n}", { i: count(this.at + 1), n: count(n) }));
  }

  /** The tokens of all places. @returns {Set<number>} */
  get marked() {
    return new Set(this.found.flatMap(({ first, last }) => Array.from({ length: last - first + 1 }, (_, i) => first + i)));
  }
}
