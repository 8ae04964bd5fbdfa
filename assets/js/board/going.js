// @ts-check
// How a job stands, at the top of its board: where a page has several, the lines beside the form may be screens away.

import { h, say } from "../core/dom.js";
import { phrase } from "../core/texts.js";
import { sentence } from "./sentences.js";
import { showFraction } from "./status.js";

export class Going {
  constructor() {
    this.words = h("span");
    this.bar = h("progress", { max: 1, "aria-label": phrase("progress") });
    this.element = h("p", { class: "ts-going", hidden: true }, this.words, this.bar);
  }

  /** @param {import("../data/follow.js").Status | null} status null: nothing of the visitor's own is shown, or on its way @param {import("./sentences.js").Circumstances} circumstances */
  show(status, circumstances) {
    this.element.hidden = status === null;
    if (!status) return;
    const { state, what } = status;
    const words = sentence(status, circumstances);
    say(this.words, state === "running" && words === what ? phrase("Running: {what}", { what }) : words);
    showFraction(this.bar, status.over || circumstances.cutOff ? null : status.fraction ?? undefined);
  }
}
