// @ts-check
// What the cache would be: with a key/value head for each query head, and with longer texts and more users, all to scale.

import { h, fill, say } from "../../core/dom.js";
import { taps } from "../../core/canvas.js";
import { count, size } from "../../core/format.js";
import { assumedWords, bytesByShape, sharing } from "../../data/cache_shape.js";
import { counted, phrase } from "../../core/texts.js";

/** @typedef {import("../../data/store.js").Run} Run */

const LENGTHS = [1024, 8192, 131072];
const USERS = [1, 8, 64];

/** What sharing saves: the bar of what there is beside the bar of one key/value head for each query head. */
export class Saving {
  constructor() {
    this.title = h("h3", { class: "ts-subtitle" }, phrase("What sharing key/value heads saves"));
    this.words = h("p", { class: "ts-note" });
    this.has = bar("ts-heads");
    this.would = bar("ts-heads ts-would-be");
    this.legend = h("p", { class: "ts-legend" }, h("span", { class: "ts-key-key" }), phrase("keys"), h("span", { class: "ts-key-value" }), phrase("values, of one head each"));
    this.element = h("div", {}, this.title, this.has.element, this.would.element, this.legend, this.words);
  }

  /** @param {Run} run @param {import("../../data/store.js").Step} step */
  draw(run, step) {
    const times = sharing(run);
    const [heads, all] = [run.head.model.n_kv_heads, run.nHeads];
    const bytes = step.kvBytes;
    this.has.set(counted(heads, "{n} key/value head", "{n} key/value heads", { n: count(heads) }), heads, heads / all, size(bytes));
    this.would.element.hidden = times <= 1;
    if (times > 1) this.would.set(phrase("{n}, one per query head", { n: count(all) }), all, 1, size(bytes * times));
    say(this.words, times > 1
      ? counted(heads, "{all} query heads share {n} key/value head (multi-query attention): without sharing the cache would be {times} times as large, {would} bytes instead of {bytes}.",
        "{all} query heads share {n} key/value heads, {times} per head (grouped-query attention): without sharing the cache would be {times} times as large, {would} bytes instead of {bytes}.",
        { all, times: plainly(times), would: count(bytes * times), bytes: count(bytes) })
      : phrase("Each of the {n} query heads has its own keys and values: this model shares none.", { n: all }));
  }
}

/** @param {string} kind */
function bar(kind) {
  const [name, fillBar, number] = [h("span", { class: "ts-saving-name" }), h("span", { class: kind }), h("span", { class: "ts-saving-number" })];
  const element = h("p", { class: "ts-saving" }, name, h("span", { class: "ts-saving-track" }, fillBar), number);
  return {
    element,
    /** @param {string} words @param {number} heads @param {number} share @param {string} bytes */
    set(words, heads, share, bytes) {
      say(name, words);
      say(number, bytes);
      fillBar.style.width = `${100 * share}%`;
      fillBar.style.backgroundSize = `${100 / heads}% 100%`;
    },
  };
}

/** The same model with longer texts and more users: nine squares and its weights, their areas on one scale. */
export class Scale {
  constructor() {
    this.grid = h("div", { class: "ts-scale-grid", role: "group", "aria-label": phrase("Cache sizes by tokens and users, to scale") });
    this.said = h("p", { class: "ts-readout", "aria-live": "polite" });
    this.note = h("p", { class: "ts-note" });
    this.weights = h("span", {});
    this.element = h("div", {}, h("h3", { class: "ts-subtitle" }, phrase("The same model with longer texts and more users")),
      h("p", { class: "ts-note" }, phrase("Each user’s text needs its own cache, and every token adds the same amount. That is why long chats and many users cost memory: the weights are stored once, a cache for each user.")),
      h("p", { class: "ts-legend" }, h("span", {}, h("span", { class: "ts-cell-key ts-key-weights" }), this.weights), h("span", {}, h("span", { class: "ts-cell-key ts-square-cache" }), phrase("the caches: keys and values"))),
      h("div", { class: "ts-scale-box" }, this.grid), this.said, this.note);
    this.of = "";
  }

  /** Drawn once a run: nothing in it follows the selection. @param {Run} run */
  draw(run) {
    if (this.of === run.id) return;
    this.of = run.id;
    const one = bytesByShape(run, LENGTHS[0]);
    this.element.hidden = one === null;
    if (one === null) return;
    const weights = run.head.model.weights_bytes;
    const most = Math.max(weights, ...LENGTHS.map((tokens) => (bytesByShape(run, tokens) ?? 0) * USERS[USERS.length - 1]));
    const side = (/** @type {number} */ bytes) => Math.sqrt(bytes / most);
    const rest = taps() ? phrase("Tap a square to compare it with the weights.") : phrase("Point at a square to compare it with the weights.");
    const heads = LENGTHS.map((tokens) => h("span", { class: "ts-scale-head" }, phrase("{n}k tokens", { n: tokens / 1024 })));
    const rows = USERS.flatMap((users) => [h("span", { class: "ts-scale-user" }, usersIn(users)),
      ...LENGTHS.map((tokens) => this.cell(run, tokens, users, weights, side, rest))]);
    fill(this.grid, h("span", {}), ...heads, ...rows);
    say(this.said, rest);
    say(this.weights, phrase("the model’s weights, {size}: the same square each time, for comparison", { size: size(weights) }));
    const assumed = assumedWords(run);
    const over = LENGTHS.filter((tokens) => tokens > run.head.model.n_ctx);
    say(this.note, [phrase("Calculated from the model’s dimensions, in {dtype} as in this run. All areas are on one linear scale, so the smallest is only a dot.", { dtype: run.head.model.dtype }),
      over.length && phrase("* Longer than this model’s context of {n} tokens, beyond what it was trained for.", { n: count(run.head.model.n_ctx) }), assumed].filter(Boolean).join(" "));
  }

  /** @param {Run} run @param {number} tokens @param {number} users @param {number} weights @param {(bytes: number) => number} side @param {string} rest */
  cell(run, tokens, users, weights, side, rest) {
    const bytes = (bytesByShape(run, tokens) ?? 0) * users;
    const over = tokens > run.head.model.n_ctx;
    const square = (/** @type {string} */ kind, /** @type {number} */ of) => {
      const element = h("span", { class: kind });
      element.style.setProperty("--ts-share", String(side(of)));
      return element;
    };
    const both = [square(`ts-square-cache ${over ? "ts-too-long" : ""}`, bytes), square("ts-square-weights", weights)];
    if (bytes < weights) both.reverse();
    const times = bytes / weights;
    const values = { users: usersIn(users), tokens: count(tokens), size: size(bytes), times: plainly(times), percent: plainly(100 * times) };
    const compared = times >= 1 ? phrase("{users} with {tokens} tokens each: {size}, {times} times the weights.", values) : phrase("{users} with {tokens} tokens each: {size}, {percent}% of the weights.", values);
    const words = over ? `${compared} ${phrase("Longer than this model’s context.")}` : compared;
    const look = () => say(this.said, words);
    const area = h("span", { class: "ts-area" }, ...both);
    area.style.setProperty("--ts-share", String(Math.max(side(bytes), side(weights))));
    return h("button", { type: "button", class: "ts-scale-cell", "aria-label": words, onpointerenter: look, onfocus: look, onclick: look, onpointerleave: () => say(this.said, rest) },
      area, h("span", { class: "ts-scale-size" }, `${size(bytes)}${over ? "*" : ""}`));
  }
}

/** @param {number} users */
function usersIn(users) {
  return counted(users, "{n} user", "{n} users");
}

/** @param {number} number */
function plainly(number) {
  return number >= 100 ? count(number) : String(Number(number.toPrecision(2)));
}
