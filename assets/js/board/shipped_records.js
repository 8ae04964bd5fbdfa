// @ts-check
// The records that come with the app: choose one to look at, while the model still loads or for a lesson that never changes.

import { h, fill, button } from "../core/dom.js";
import { phrase } from "../core/texts.js";
import { fillPrompt } from "./status.js";

/** @typedef {{id: string, experiment: string, label: string, prompt: string, chat: boolean}} Shipped */

export class ShippedRecords {
  /** @param {string} base */
  constructor(base) {
    /** @type {Shipped[]} */
    this.records = [];
    /** @type {Set<string>} prompts that the page itself offers */
    this.offered = new Set();
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

  /** @param {string} experiment */
  of(experiment) {
    return this.records.filter((record) => record.experiment === experiment);
  }

  /** @param {string | null} id */
  has(id) {
    return this.records.some((record) => record.id === id);
  }

  /** Whether a person wrote it. @param {string} text */
  isOwn(text) {
    return text.trim() !== "" && !this.offered.has(text);
  }

  /** What it was asked with stands in the form then, but never over a person's own words. @param {Shipped} record */
  fillForm(record) {
    const prompt = /** @type {HTMLTextAreaElement | null} */ (document.querySelector("#prompt textarea"));
    const chat = /** @type {HTMLInputElement | null} */ (document.querySelector("#chat input"));
    const words = [...document.querySelectorAll(record.experiment === "serve" ? "#texts textarea" : "#prompt textarea")];
    if (words.some((each) => this.isOwn(/** @type {HTMLTextAreaElement} */ (each).value))) return;
    const whole = /** @type {HTMLElement | null} */ (document.getElementById(`fill-${record.id}`)); // viz/pages/fields.py: every field
    if (whole || !prompt) return whole?.click();
    fillPrompt(record.prompt);
    if (chat && chat.checked !== record.chat) chat.click();
  }
}

/** A row of buttons, one for each record of a kind that comes with the app; where it has one alone, and the visitor has one, both of them. */
export class ShippedRow {
  /** @param {ShippedRecords} all @param {string} experiment @param {(id: string, shipped: boolean) => void} choose */
  constructor(all, experiment, choose) {
    this.all = all;
    this.experiment = experiment;
    this.choose = choose;
    this.key = "";
    this.element = h("p", { class: "ts-recorded", role: "group", "aria-label": phrase("Recorded runs"), hidden: true });
  }

  /** @param {string | null} shown the record that is shown @param {boolean} busy whether one of the visitor's own is on its way @param {string | null} own the visitor's own */
  show(shown, busy, own) {
    const records = this.all.of(this.experiment);
    const key = `${shown}/${busy}/${records.length}/${own}`;
    if (this.key === key) return;
    this.key = key;
    const isRun = this.experiment === "run"; // its own are in a list of their own
    this.element.hidden = records.length === 0 || (!isRun && own === null);
    const chip = (/** @type {string} */ name, /** @type {boolean} */ now, /** @type {() => void} */ press) => {
      const made = button(name, press, { "aria-pressed": String(now) });
      made.disabled = busy && !now; // a run on its way is shown as it goes
      return made;
    };
    fill(this.element, isRun ? h("span", {}, phrase("Recorded:")) : null,
      ...records.map((record) => chip(isRun ? record.label : phrase("Recorded: {name}", { name: record.label }), record.id === shown, () => this.press(record))),
      !isRun && own !== null ? chip(phrase("Yours"), own === shown, () => this.choose(own, false)) : null);
  }

  /** @param {Shipped} record */
  press(record) {
    this.all.fillForm(record);
    this.choose(record.id, true);
  }
}
