// @ts-check
// What a memory bill is worked out for: tokens of context, users at once, and bits of a number.

import { h, say } from "../core/dom.js";
import { count } from "../core/format.js";
import { counted, phrase } from "../core/texts.js";

/** @typedef {import("../data/axes.js").At} At */

const SHORTEST = 128; // tokens of context at the left end of the slider

export class MemoryLoad {
  /** @param {(change: Partial<At>) => void} changed */
  constructor(changed) {
    const slider = (/** @type {string} */ name, /** @type {number} */ most, /** @type {(power: number) => Partial<At>} */ change) =>
      h("input", { type: "range", min: 0, max: most, step: 1, value: 0, "aria-label": name,
        oninput: (/** @type {Event} */ event) => changed(change(2 ** Number(/** @type {HTMLInputElement} */ (event.target).value))) });
    this.context = slider(phrase("tokens of context"), 10, (factor) => ({ context: SHORTEST * factor }));
    this.users = slider(phrase("concurrent users"), 8, (users) => ({ users }));
    this.bits = h("select", { class: "ts-select", "aria-label": phrase("bits per number"), onchange: () => changed({ bits: Number(this.bits.value) }) },
      ...[0, 32, 16, 8, 4].map((value) => h("option", { value }, value ? phrase("{n} bits", { n: value }) : phrase("as loaded"))));
    this.said = { context: h("output", {}), users: h("output", {}) };
    this.element = h("section", { class: "ts-card ts-bill" }, h("h2", { class: "ts-title" }, phrase("Settings of the memory bill")),
      h("div", { class: "ts-bill-row" },
        h("label", {}, phrase("Context"), " ", this.said.context, this.context), h("label", {}, phrase("Users"), " ", this.said.users, this.users), h("label", {}, phrase("Precision"), " ", this.bits)));
  }

  /** @param {At} at */
  show({ context, users, bits }) {
    const words = { context: counted(context, "{n} token", "{n} tokens", { n: count(context) }), users: counted(users, "{n} user", "{n} users") };
    for (const name of /** @type {const} */ (["context", "users"])) {
      say(this.said[name], words[name]);
      this[name].setAttribute("aria-valuetext", words[name]);
    }
    this.context.value = String(Math.round(Math.log2(context / SHORTEST)));
    this.users.value = String(Math.round(Math.log2(users)));
    this.bits.value = String(bits);
  }
}
