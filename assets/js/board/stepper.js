// @ts-check
// A bar that says which tick or round is looked at, and moves over them: buttons, a slider, keys, and play.

import { h, fill, say, button } from "../core/dom.js";

const PACES = [["1 a second", 1000], ["3 a second", 333], ["10 a second", 100]];

export class Stepper {
  /** @param {string} name of what is stepped over, as in "tick" @param {(at: number) => void} changed */
  constructor(name, changed) {
    this.name = name;
    this.changed = changed;
    this.count = 0;
    this.at = 0;
    this.timer = 0;
    this.chosen = false; // a person has moved: nothing else moves it any more
    this.words = h("p", { class: "ts-crumbs", role: "status" });
    this.axis = h("input", { type: "range", min: 0, max: 0, step: 1, value: 0, class: "ts-serving-axis", "aria-label": name,
      oninput: () => { this.pause(); this.go(Number(this.axis.value)); } });
    this.play = button("▶ Play", () => this.toggle(), { class: "ts-button ts-play", "aria-pressed": "false" });
    this.pace = h("select", { class: "ts-select", "aria-label": "pace of playing" }, ...PACES.map(([text], i) => h("option", { value: i, selected: i === 1 }, String(text))));
    this.element = h("div", { class: "ts-player ts-serving-bar", hidden: true },
      h("div", { class: "ts-player-bar" }, this.words,
        h("div", { class: "ts-player-row" },
          h("span", { class: "ts-player-buttons" },
            button("◀", () => this.go(this.at - 1), { "aria-label": `${name} before`, title: `${name} before (left arrow)` }), this.play,
            button("▶", () => this.go(this.at + 1), { "aria-label": `next ${name}`, title: `next ${name} (right arrow)` })),
          this.axis, h("span", { class: "ts-player-buttons" }, this.pace))));
  }

  /** There are so many now. Who has not moved yet is shown the newest. @param {number} count */
  grow(count) {
    const [wasAt, wasCount] = [this.at, this.count];
    this.count = count;
    this.element.hidden = count === 0;
    this.axis.max = String(Math.max(count - 1, 0));
    if (!this.chosen || wasAt >= count) this.at = Math.max(count - 1, 0);
    this.axis.value = String(this.at);
    return this.at !== wasAt || wasCount === 0;
  }

  /** Something else is shown: its steps are counted anew. */
  clear() {
    this.pause();
    this.chosen = false;
    this.count = this.at = 0;
  }

  /** A person moves. @param {number} at */
  go(at) {
    this.chosen = true;
    this.show(at);
  }

  /** @param {number} at */
  show(at) {
    const to = Math.min(Math.max(at, 0), Math.max(this.count - 1, 0));
    if (to === this.at) return;
    this.at = to;
    this.axis.value = String(to);
    this.changed(to);
  }

  /** What is looked at, in words. @param {import("../core/dom.js").Child[]} words */
  tell(...words) {
    fill(this.words, ...words);
    this.axis.setAttribute("aria-valuetext", `${this.name} ${this.at + 1} of ${this.count}`);
  }

  toggle() {
    if (this.timer) { this.pause(); return; }
    this.chosen = true;
    if (this.at >= this.count - 1) this.show(0);
    this.words.setAttribute("aria-live", "off"); // nobody can hear that many
    say(this.play, "❚❚ Pause");
    this.play.setAttribute("aria-pressed", "true");
    this.next();
  }

  next() {
    this.timer = window.setTimeout(() => {
      this.show(this.at + 1);
      if (this.at >= this.count - 1) this.pause();
      else this.next();
    }, Number(PACES[Number(this.pace.value)][1]));
  }

  pause() {
    window.clearTimeout(this.timer);
    this.timer = 0;
    this.words.setAttribute("aria-live", "polite");
    say(this.play, "▶ Play");
    this.play.setAttribute("aria-pressed", "false");
  }
}

/** Do what a key stands for, unless somebody types, or the key means something to the part that has the focus.
 * @param {() => boolean} heard whether this part of the page is in sight @param {Record<string, () => void>} moves */
export function listenToKeys(heard, moves) {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || !moves[event.key] || !heard()) return;
    const target = event.target instanceof Element ? event.target : document.body;
    if (target.closest("input, textarea, select, [role=tab], [contenteditable]")) return;
    if (event.key === " " && target.closest("button, a, summary, [role=button]")) return;
    if (event.key.startsWith("Arrow") && (target.matches("[role=region]") || target.closest("[role=slider], [role=listbox], [role=grid]"))) return;
    event.preventDefault();
    moves[event.key]();
  });
}
