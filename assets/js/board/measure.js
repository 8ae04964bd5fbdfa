// @ts-check
// The page "Measure": asks for the pictures of a record as it grows, and draws them; says beside the form how things stand.

import { h, fill, say } from "../core/dom.js";
import { keepRecord, recordBefore } from "../data/session_memory.js";
import { loadPlotly } from "../data/slices.js";
import { Shown, isDark, offer, themed } from "./shown.js";
import { cutOff, isOver, showExperiment, watchModel } from "./status.js";

/** @typedef {import("./status.js").Report} Report */
/** @typedef {import("./shown.js").Picture} Picture */
/** @typedef {{element: HTMLElement, base: string, props: {value: Report}, watch: (name: string, fn: () => void) => void, kind: string}} Link */

const EMPTY = {
  measurement: ["What this model costs on this machine",
    "Press Measure. The prompt is read and continued several times without recording, then with and without the KV cache at "
    + "growing lengths, and then for several texts at once. It takes about half a minute, and every piece is drawn as it comes."],
  trials: ["The same run with a smaller cache",
    "Press “Try smaller caches”. The run is replayed with keys and values in fewer bits, and with some of them taken out: "
    + "you see the bytes that each saves, and what it does to the next token."],
};

const DONE = { measurement: "Done: measured.", trials: "Done: all caches tried." };

/** What each board was told last: the lines beside the form are those of the one that runs. @type {Partial<Record<string, Report>>} */
const told = {};

/** Wire one board of the page: that of a measurement, or that of trials. @param {Link} link */
export function connect({ element, base, props, watch, kind }) {
  const root = /** @type {HTMLElement} */ (element.querySelector(".ts-board") ?? element);
  const board = new Board(root, base, kind);
  if (kind === "measurement") watchModel(base, () => { cutOff(told); tell(); });
  const take = (/** @type {Report} */ report) => {
    board.hear(report);
    told[kind] = report;
    keepRecord(report);
    tell();
  };
  const hear = () => {
    const report = props.value;
    if (report && report.seq >= board.report.seq) take(report);
  };
  watch("value", hear);
  board.hear(props.value);
  recordBefore(base, kind).then((before) => { if (before && !board.report.press) take(before); });
  themed(() => board.ask());
}

class Board {
  /** @param {HTMLElement} root @param {string} base @param {string} kind */
  constructor(root, base, kind) {
    this.base = base;
    const [title, sentence] = EMPTY[/** @type {keyof EMPTY} */ (kind)];
    this.empty = h("section", { class: "ts-card" }, h("h2", { class: "ts-title" }, title), h("p", { class: "ts-sentence" }, sentence));
    this.keep = h("p", { class: "ts-keep-record", hidden: true });
    this.facts = h("ul", { class: "ts-measured-notes" });
    this.origin = h("section", { class: "ts-card", hidden: true }, h("h2", { class: "ts-title" }, "What was run, and where"), this.facts);
    this.list = h("div", { class: "ts-board-list" });
    this.bill = new Bill(() => this.ask());
    /** @type {Map<string, Shown>} */
    this.shown = new Map();
    /** @type {Report} */
    this.report = { id: null, kind, version: 0, state: "done", what: "", fraction: null, refusal: "", press: 0, seq: -1 };
    this.drawn = "";
    this.busy = false;
    this.again = false;
    fill(root, this.empty, this.keep, this.bill.refusal, this.list, this.origin); // which moves into the bill once there is one
  }

  /** @param {Report} report */
  hear(report) {
    const was = this.report;
    this.report = report.id || !was.id ? report : { ...report, id: was.id, version: was.version }; // what was measured stays in sight
    if (this.report.id && `${this.report.id}/${this.report.version}` !== this.drawn) this.ask();
    this.keep.hidden = !this.report.id || !isOver(report);
    if (!this.keep.hidden) offer(this.keep, `${this.base}/experiments/${encodeURIComponent(String(this.report.id))}`);
  }

  /** Fetch the pictures and draw those that have changed; one request at a time, the newest last. */
  async ask() {
    const { id, version } = this.report;
    if (!id) return;
    if (this.busy) { this.again = true; return; }
    this.busy = true;
    const dark = isDark() ? "&dark=1" : "";
    try {
      const answer = await fetch(`${this.base}/experiments/${encodeURIComponent(id)}/pictures?${this.bill.query()}${dark}`);
      if (!answer.ok) throw new Error(await answer.text());
      /** @type {{facts: string[], pictures: Picture[]}} */
      const { facts, pictures } = await answer.json();
      this.drawn = `${id}/${version}`;
      fill(this.facts, ...facts.map((each) => h("li", {}, each)));
      this.origin.hidden = false;
      await this.draw(pictures);
    } catch (error) {
      this.bill.refuse(error instanceof Error ? error.message : String(error));
    }
    this.busy = false;
    if (this.again) {
      this.again = false;
      this.ask();
    }
  }

  /** @param {Picture[]} pictures */
  async draw(pictures) {
    const plotly = pictures.some((each) => each.figure) ? await loadPlotly(`${this.base}/plotly.js`) : null;
    this.empty.hidden = true;
    for (const picture of pictures) {
      let shown = this.shown.get(picture.name);
      if (!shown) {
        shown = new Shown(picture);
        this.shown.set(picture.name, shown);
        if (picture.follows === "load" && !this.bill.element.isConnected) {
          this.bill.element.append(this.bill.refusal);
          this.list.append(this.bill.element);
        }
        this.list.append(shown.element);
      }
      await shown.draw(picture, plotly);
    }
    this.bill.refuse("");
  }
}

/** What the memory bill is reckoned for. */
class Bill {
  /** @param {() => void} changed */
  constructor(changed) {
    const slider = (/** @type {string} */ name, /** @type {number} */ most, /** @type {number} */ at) =>
      h("input", { type: "range", min: 0, max: most, step: 1, value: at, "aria-label": name, oninput: () => { this.say(); changed(); } });
    this.context = slider("tokens of context", 10, 4); // powers of two from 128 on
    this.users = slider("users at once", 8, 0);
    this.bits = h("select", { class: "ts-select", "aria-label": "bits a number", onchange: () => changed() },
      ...[["", "as loaded"], ["32", "32 bits"], ["16", "16 bits"], ["8", "8 bits"], ["4", "4 bits"]].map(([value, text]) => h("option", { value }, text)));
    this.said = { context: h("output", {}), users: h("output", {}) };
    this.refusal = h("p", { class: "ts-empty", role: "status", hidden: true });
    this.element = h("section", { class: "ts-card ts-bill" }, h("h2", { class: "ts-title" }, "The bill: for what?"),
      h("div", { class: "ts-bill-row" },
        h("label", {}, "Context ", this.said.context, this.context), h("label", {}, "Users ", this.said.users, this.users), h("label", {}, "Precision ", this.bits)));
    this.say();
  }

  get values() {
    return { context: 128 * 2 ** Number(this.context.value), users: 2 ** Number(this.users.value) };
  }

  say() {
    const { context, users } = this.values;
    say(this.said.context, `${context.toLocaleString("en-US")} tokens`);
    say(this.said.users, users === 1 ? "1 user" : `${users} users`);
    this.context.setAttribute("aria-valuetext", `${context} tokens`);
    this.users.setAttribute("aria-valuetext", `${users} users`);
  }

  query() {
    const { context, users } = this.values;
    return `context=${context}&users=${users}${this.bits.value && `&bits=${this.bits.value}`}`;
  }

  /** @param {string} why */
  refuse(why) {
    say(this.refusal, why);
    this.refusal.hidden = why === "";
  }
}

/** Say how what runs stands, or what was pressed last; a refusal is said until the next press. */
function tell() {
  const all = Object.values(told).filter((each) => !!each).sort((one, other) => other.press - one.press);
  const shown = all.find((each) => !isOver(each)) ?? all[0];
  if (shown) showExperiment({ ...shown, refusal: all[0].refusal }, ended(shown));
}

/** @param {Report} report */
function ended({ state, kind }) {
  if (state === "stopped") return "Stopped. What was measured stays.";
  if (state === "overtaken") return "Ended, because something else was started. What was measured stays.";
  return state === "failed" ? "Ended." : DONE[/** @type {keyof DONE} */ (kind)];
}
