// @ts-check
// The page "Measure": asks for the pictures of a record as it grows, and draws them; says beside the form how things stand.

import { h, fill, say } from "./dom.js";
import { rebuilt } from "./tables.js";
import { loadPlotly } from "./wants.js";
import { watchModel, enable, progress, write } from "./status.js";

/** @typedef {{id: string | null, kind: string, version: number, state: string, what: string, fraction: number | null, refusal: string, seq: number}} Report */
/** @typedef {{name: string, title: string, caption: string, said: string, follows: string, missing?: string, html?: string, figure?: {data: any[], layout: any}}} Picture */
/** @typedef {{element: HTMLElement, base: string, props: {value: Report}, watch: (name: string, fn: () => void) => void, kind: string}} Link */

const CONFIG = { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["select2d", "lasso2d"] };
const OVER = ["done", "stopped", "failed"];
const EMPTY = {
  measurement: ["What this model costs on this machine",
    "Press Measure. The prompt is read and continued several times without recording, then with and without the KV cache at "
    + "growing lengths, and then for several texts at once. It takes about half a minute, and every piece is drawn as it comes."],
  trials: ["The same run with a smaller cache",
    "Press “Try smaller caches”. The run is replayed with keys and values in fewer bits, and with some of them taken out: "
    + "you see the bytes that each saves, and what it does to the next token."],
};

/** Wire one board of the page: that of a measurement, or that of trials. @param {Link} link */
export function connect({ element, base, props, watch, kind }) {
  const root = /** @type {HTMLElement} */ (element.querySelector(".ts-board") ?? element);
  const board = new Board(root, base, kind);
  if (kind === "measurement") watchModel(base, () => {});
  const hear = () => {
    const report = props.value;
    if (!report || report.seq < board.report.seq) return;
    board.hear(report);
    tell(report, kind);
  };
  watch("value", hear);
  board.hear(props.value);
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
    this.report = { id: null, kind, version: 0, state: "done", what: "", fraction: null, refusal: "", seq: -1 };
    this.drawn = "";
    this.busy = false;
    this.again = false;
    fill(root, this.empty, this.keep, this.list, this.origin);
  }

  /** @param {Report} report */
  hear(report) {
    const was = this.report;
    this.report = report.id || !was.id ? report : { ...report, id: was.id, version: was.version }; // what was measured stays in sight
    if (this.report.id && `${this.report.id}/${this.report.version}` !== this.drawn) this.ask();
    const over = OVER.includes(report.state);
    this.keep.hidden = !this.report.id || !over;
    if (!this.keep.hidden) this.offer(String(this.report.id));
  }

  /** @param {string} id */
  offer(id) {
    const place = `${this.base}/experiments/${encodeURIComponent(id)}`;
    fill(this.keep, "Keep it as a ", h("a", { href: `${place}/page`, download: true }, "web page"), " or as a ",
      h("a", { href: `${place}/file`, download: true }, "file"), " that the Python library opens.");
  }

  /** Fetch the pictures and draw those that have changed; one request at a time, the newest last. */
  async ask() {
    const { id, version } = this.report;
    if (!id) return;
    if (this.busy) { this.again = true; return; }
    this.busy = true;
    const dark = document.body.classList.contains("dark") ? "&dark=1" : "";
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
        if (picture.follows === "load" && !this.bill.element.isConnected) this.list.append(this.bill.element);
        this.list.append(shown.element);
      }
      await shown.draw(picture, plotly);
    }
    this.bill.refuse("");
  }
}

class Shown {
  /** @param {Picture} picture */
  constructor({ name, title, said }) {
    this.body = h("div", { class: "ts-chart" });
    this.element = h("section", { class: "ts-card ts-measured-card", "data-picture": name },
      h("h2", { class: "ts-title" }, title), h("p", { class: "ts-sentence" }, ...rebuilt(said)), this.body);
    this.last = "";
  }

  /** @param {Picture} picture @param {any} plotly */
  async draw({ missing, html, figure, title }, plotly) {
    const now = JSON.stringify([missing, html, figure]);
    if (now === this.last) return;
    this.last = now;
    if (figure && plotly) {
      if (!this.body.classList.contains("js-plotly-plot")) fill(this.body);
      this.body.setAttribute("role", "figure");
      this.body.setAttribute("aria-label", title);
      await plotly.react(this.body, figure.data, figure.layout, CONFIG);
      return;
    }
    if (this.body.classList.contains("js-plotly-plot")) plotly?.purge(this.body);
    if (missing) fill(this.body, h("p", { class: "ts-empty" }, missing));
    else fill(this.body, ...rebuilt(html ?? ""));
    for (const box of this.body.querySelectorAll(".ts-measured")) { // keys scroll it where it is narrow
      for (const [name, value] of [["tabindex", "0"], ["role", "region"], ["aria-label", title]]) box.setAttribute(name, value);
    }
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
        h("label", {}, "Context ", this.said.context, this.context), h("label", {}, "Users ", this.said.users, this.users), h("label", {}, "Precision ", this.bits)),
      this.refusal);
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

/** Say how an experiment stands. @param {Report} report @param {string} kind */
function tell({ state, what, fraction, refusal }, kind) {
  const over = OVER.includes(state);
  enable("#stop", !over);
  write(".ts-refusal", refusal);
  const done = { done: kind === "trials" ? "Done: all caches tried." : "Done: measured.", stopped: "Stopped. What was measured stays.", failed: "Ended." };
  write(".ts-run-text", over ? (refusal ? "" : done[/** @type {keyof done} */ (state)]) : what);
  progress(".ts-progress", over ? null : fraction ?? undefined);
}

/** Draw again when the page turns dark or light. @param {() => void} redraw */
function themed(redraw) {
  let dark = document.body.classList.contains("dark");
  new MutationObserver(() => {
    if (dark === document.body.classList.contains("dark")) return;
    dark = !dark;
    redraw();
  }).observe(document.body, { attributes: true, attributeFilter: ["class"] });
}

