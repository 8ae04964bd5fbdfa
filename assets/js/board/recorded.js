// @ts-check
// The runs that come with the app: choose one to look at, while the model still loads or for a lesson that never changes.

import { h, fill, button } from "../core/dom.js";

/** @typedef {{name: string, label: string, prompt: string, chat: boolean, ready: number}} Offer */
/** @typedef {{id: string | null, source: string, done: boolean, state: string}} Notice */

export class Recorded {
  /** @param {string} base @param {(run: Offer | null) => void} choose null: the visitor's own run */
  constructor(base, choose) {
    this.choose = choose;
    /** @type {Offer[]} */
    this.runs = [];
    /** @type {Set<string>} prompts that the page itself offers */
    this.offered = new Set();
    this.shown = "";
    this.own = false;
    this.busy = false;
    this.element = h("p", { class: "ts-recorded", role: "group", "aria-label": "Recorded runs", hidden: true });
    this.load(base);
  }

  /** @param {string} base */
  async load(base) {
    const answer = await fetch(`${base}/recorded`).catch(() => null);
    if (!answer?.ok) return; // the page does without them
    const { runs, offered } = await answer.json();
    this.runs = runs;
    this.offered = new Set(offered);
    this.draw();
  }

  /** @param {Notice} notice */
  notice({ id, source, done, state }) {
    this.shown = source === "recorded" ? String(id) : "";
    this.own ||= source === "live" && id !== null;
    this.busy = !done && state !== "done";
    this.draw();
  }

  draw() {
    const key = `${this.shown}/${this.own}/${this.busy}/${this.runs.length}`;
    if (this.element.dataset.key === key) return;
    this.element.dataset.key = key;
    this.element.hidden = this.runs.length === 0;
    const chip = (/** @type {string} */ name, /** @type {boolean} */ now, /** @type {() => void} */ press) => {
      const made = button(name, press, { "aria-pressed": String(now) });
      made.disabled = this.busy && !now; // a run on its way is shown as it goes
      return made;
    };
    fill(this.element, h("span", {}, "Recorded:"),
      ...this.runs.map((run) => chip(run.label, run.name === this.shown, () => this.press(run))),
      this.own && h("span", {}, "Live:"), this.own && chip("your run", this.shown === "", () => this.choose(null)));
  }

  /** @param {Offer} run */
  press(run) {
    const prompt = /** @type {HTMLTextAreaElement | null} */ (document.querySelector("#prompt textarea"));
    const chat = /** @type {HTMLInputElement | null} */ (document.querySelector("#chat input"));
    if (prompt && (prompt.value.trim() === "" || this.offered.has(prompt.value))) { // never over a person's own words
      prompt.value = run.prompt;
      prompt.dispatchEvent(new Event("input", { bubbles: true }));
      if (chat && chat.checked !== run.chat) chat.click();
    }
    this.choose(run);
  }
}
