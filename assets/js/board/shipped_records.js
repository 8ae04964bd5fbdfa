// @ts-check
// The records that come with the app: choose one to look at, while the model still loads or for a lesson that never changes.

import { h, fill, button } from "../core/dom.js";
import { phrase } from "../core/texts.js";
import { fillPrompt } from "./status.js";

/** @typedef {{id: string, experiment: string, label: string, prompt: string, chat: boolean}} Shipped */

export class ShippedRecords {
  /** @param {string} base @param {(id: string) => void} choose */
  constructor(base, choose) {
    this.choose = choose;
    /** @type {Shipped[]} */
    this.records = [];
    /** @type {Set<string>} prompts that the page itself offers */
    this.offered = new Set();
    this.key = "";
    this.element = h("p", { class: "ts-recorded", role: "group", "aria-label": phrase("Recorded runs"), hidden: true });
    this.loaded = this.load(base);
  }

  /** @param {string} base */
  async load(base) {
    const answer = await fetch(`${base}/records`).catch(() => null);
    if (!answer?.ok) return; // the page does without them
    const { records, offered } = await answer.json();
    this.records = records;
    this.offered = new Set(offered);
  }

  /** @param {string | null} id */
  has(id) {
    return this.records.some((record) => record.id === id);
  }

  /** @param {string | null} shown the record that is shown @param {boolean} busy whether one of the visitor's own is on its way */
  show(shown, busy) {
    const key = `${shown}/${busy}/${this.records.length}`;
    if (this.key === key) return;
    this.key = key;
    this.element.hidden = this.records.length === 0;
    const chip = (/** @type {string} */ name, /** @type {boolean} */ now, /** @type {() => void} */ press) => {
      const made = button(name, press, { "aria-pressed": String(now) });
      made.disabled = busy && !now; // a run on its way is shown as it goes
      return made;
    };
    fill(this.element, h("span", {}, phrase("Recorded:")),
      ...this.records.map((record) => chip(record.label, record.id === shown, () => this.press(record))));
  }

  /** @param {Shipped} record */
  press(record) {
    const prompt = /** @type {HTMLTextAreaElement | null} */ (document.querySelector("#prompt textarea"));
    const chat = /** @type {HTMLInputElement | null} */ (document.querySelector("#chat input"));
    if (prompt && (prompt.value.trim() === "" || this.offered.has(prompt.value))) { // never over a person's own words
      fillPrompt(record.prompt);
      if (chat && chat.checked !== record.chat) chat.click();
    }
    this.choose(record.id);
  }
}
