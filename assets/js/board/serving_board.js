// @ts-check
// One part of the page "Serve": holds the pictures of every tick or round of a record as it grows, and shows those of
// the one that is looked at. What is too large to hold is asked for when the pick has rested.

import { h, fill } from "../core/dom.js";
import { loadPlotly } from "../data/slices.js";
import { Stepper } from "./stepper.js";
import { Choices, NOTHING_PICKED, markPicked, pressed, pressedByKey, revealTick } from "./record_selection.js";
import { Shown, isDark, offer } from "./shown.js";

/** @typedef {import("./status.js").Report} Report */
/** @typedef {import("./serve.js").Part} Part */
/** @typedef {import("./shown.js").Picture} Picture */
/** @typedef {{starts?: number[], why?: string, layers?: number, heads?: number, requests?: string[], attempts?: string[], best?: number}} Counts */
/** @typedef {import("./record_selection.js").Pick} Pick */

const REST_MS = 120;
const EMPTY = {
  batching: ["Several texts at once",
    "Press Serve. The model reads and writes all the texts of the form together: every pass, called a tick here, takes a few tokens of each. "
    + "You see who waits, who is read and who writes, which block of the cache holds whose tokens, and that no text looks into another. "
    + "Then the same texts are served in a padded batch and one by one, and the three are timed."],
  speculation: ["A draft before the model",
    "Press Speculate. Something quick guesses the next few tokens, and the model judges all of them in one pass: what it agrees with is written at once. "
    + "You see each guess, the two probabilities, the number that decided, and whether all of this was faster than writing plainly."],
};

export class ServingBoard {
  /** @param {HTMLElement} root @param {string} base @param {Part} kind */
  constructor(root, base, kind) {
    this.base = base;
    this.kind = kind;
    /** @type {"tick" | "round"} */
    this.step = kind === "batching" ? "tick" : "round";
    const [title, sentence] = EMPTY[kind];
    this.empty = h("section", { class: "ts-card" }, h("h2", { class: "ts-title" }, title), h("p", { class: "ts-sentence" }, sentence));
    this.keep = h("p", { class: "ts-keep-record", hidden: true });
    this.facts = h("ul", { class: "ts-measured-notes" });
    this.origin = h("section", { class: "ts-card", hidden: true }, h("h2", { class: "ts-title" }, "What was run, and where"), this.facts);
    this.list = h("div", { class: "ts-board-list ts-serving-list" });
    this.stepper = new Stepper(this.step, (at) => this.pick({ [this.step]: at }));
    this.choices = new Choices(kind === "batching" ? ["request", "layer", "head"] : ["attempt"], (some) => this.chosen(some));
    if (kind === "speculation") this.stepper.element.querySelector(".ts-player-row")?.append(this.choices.element);
    this.trouble = h("p", { class: "ts-empty", role: "status", hidden: true });
    /** @type {Map<string, Shown>} */
    this.shown = new Map();
    /** @type {Pick} */
    this.at = { ...NOTHING_PICKED };
    /** @type {string | null} */
    this.id = null;
    this.version = this.drawn = 0;
    this.over = true;
    this.listed = false; // a person has chosen who drafts
    /** @type {Counts} */
    this.counts = {};
    this.busy = this.again = false;
    this.timer = this.asked = this.followed = 0;
    /** @type {any} */
    this.plotly = null;
    /** @type {Map<string, Picture>[]} by tick or round */
    this.frames = [];
    /** @type {string[]} */
    this.words = [];
    root.addEventListener("click", (event) => this.clicked(event));
    root.addEventListener("keydown", (event) => { if (pressedByKey(event)) this.clicked(event); });
    fill(root, this.empty, this.stepper.element, this.trouble, this.list, this.keep, this.origin);
  }

  /** Nothing of a record is held. */
  forget() {
    this.frames = [];
    this.words = [];
  }

  /** @param {Report} report @param {boolean} over */
  hear(report, over) {
    if (report.id && report.id !== this.id) {
      this.id = report.id;
      this.drawn = 0;
      this.at = { ...this.at, tick: 0, round: 0, attempt: 0, token: 0, request: 0 };
      this.listed = false;
      this.forget();
      this.stepper.clear();
    }
    if (!report.id) return; // what was seen before stays in sight
    const ended = over && !this.over;
    [this.version, this.over] = [report.version, over];
    if (this.version !== this.drawn || ended) this.ask();
    this.keep.hidden = !over;
    if (over) offer(this.keep, this.place(report.id));
  }

  /** The page has turned dark or light. */
  redraw() {
    this.forget();
    this.ask();
  }

  /** @param {string | null} id */
  place(id) {
    return `${this.base}/experiments/${encodeURIComponent(String(id))}`;
  }

  /** @param {string} path @param {Record<string, string | number>} query @returns {Promise<any>} */
  async get(path, query) {
    const asked = Object.entries({ ...query, dark: isDark() ? 1 : 0 }).map(([name, value]) => `${name}=${encodeURIComponent(value)}`);
    const answer = await fetch(`${this.place(this.id)}/${path}?${asked.join("&")}`);
    if (!answer.ok) throw new Error(await answer.text());
    return answer.json();
  }

  /** Fetch what is new of the record and draw it; one request at a time, the newest last. */
  async ask() {
    if (!this.id) return;
    if (this.busy) { this.again = true; return; }
    this.busy = true;
    const [id, version, over] = [this.id, this.version, this.over];
    try {
      /** @type {{facts: string[], counts: Counts, pictures: Picture[]}} */
      const { facts, counts, pictures } = await this.get("pictures", { ...this.at });
      if (id === this.id) {
        this.counts = counts;
        if (over) this.frames = []; // the end may say more of the ticks before it
        if (await this.fetchFrames()) {
          fill(this.facts, ...facts.map((each) => h("li", {}, each)));
          this.origin.hidden = false;
          this.drawn = version;
          await this.draw(pictures);
          if (!this.stepper.chosen) this.lead(over);
        } else this.again = true;
      }
      this.say("");
    } catch (error) {
      this.say(error instanceof Error ? error.message : String(error));
    }
    this.busy = false;
    if (this.again) {
      this.again = false;
      this.ask();
    }
  }

  /** Who has chosen nothing sees the draft that is tried now, and at the end the best one where it begins to be right. @param {boolean} over */
  lead(over) {
    const { attempts, best = 0, starts = [] } = this.counts;
    const attempt = over ? best : Math.max((attempts?.length ?? 0) - 1, 0);
    if (attempt !== this.at.attempt && !this.listed) this.pick({ attempt }); // which comes back here
    else if (over) this.stepper.show(starts[this.at.attempt] ?? 0);
  }

  /** The pictures of the ticks or rounds that are not here yet; false if meanwhile those of something else are wanted.
   * @returns {Promise<boolean>} */
  async fetchFrames() {
    const { frames } = this;
    let count = Infinity;
    while (frames.length < count) {
      const from = frames.length;
      const got = await this.get("frames", { from, attempt: this.at.attempt });
      if (frames !== this.frames) return false; // they were forgotten: another run, another draft, another theme
      count = got.count;
      got.words.forEach((/** @type {string} */ words, /** @type {number} */ i) => {
        this.words[from + i] = words;
        frames[from + i] = new Map(Object.entries(got.frames).map(([name, list]) => [name, /** @type {Picture[]} */ (list)[i]]));
      });
      if (!got.words.length) break;
    }
    return true;
  }

  /** @param {string} why */
  say(why) {
    this.trouble.textContent = why;
    this.trouble.hidden = why === "";
  }

  /** @param {Picture[]} pictures */
  async draw(pictures) {
    this.plotly ??= pictures.some((each) => each.figure) ? await loadPlotly(`${this.base}/plotly.js`) : null;
    this.empty.hidden = true;
    const numbers = (/** @type {number} */ n) => Array.from({ length: n }, (_, i) => String(i));
    const { requests = [], attempts = [], layers = 0, heads = 0 } = this.counts;
    this.choices.offer({ request: requests, attempt: attempts, layer: numbers(layers), head: numbers(heads) }, this.at);
    this.stepper.grow(this.frames.length);
    this.at[this.step] = this.stepper.at;
    for (const picture of pictures) {
      let shown = this.shown.get(picture.name);
      if (!shown) {
        shown = new Shown(picture, (some) => this.pick(some));
        this.shown.set(picture.name, shown);
        this.list.append(shown.element);
        if (picture.follows === "pick") shown.body.before(this.choices.element);
      }
      shown.picture = picture;
      if (picture.follows === "nothing" || picture.follows === "attempt") await shown.draw(picture, this.plotly);
    }
    this.follow();
  }

  /** Something else is looked at. @param {Partial<Pick>} some */
  pick(some) {
    const before = this.at;
    this.at = { ...before, ...some };
    if (some.tick !== undefined || some.round !== undefined) {
      this.stepper.show(this.at[this.step]); // which comes back here, if it moves
      this.at[this.step] = this.stepper.at;
    }
    if (this.at.attempt !== before.attempt) {
      this.at.round = 0;
      this.forget();
      this.stepper.clear();
      this.ask();
      return;
    }
    this.choices.show(this.at);
    this.follow();
  }

  /** Show what follows the pick: at once what is here, and what is not when the pick has rested. */
  async follow() {
    this.followed += 1;
    const [mine, frame] = [this.followed, this.frames[this.at[this.step]]];
    if (frame) this.tell();
    for (const [name, shown] of this.shown) {
      const picture = frame?.get(name);
      if (picture) {
        if (picture.figure) this.plotly ??= await loadPlotly(`${this.base}/plotly.js`);
        if (mine !== this.followed) return; // the pick has moved on
        await shown.draw({ ...shown.picture, ...picture }, this.plotly);
      }
    }
    markPicked(this.list, this.at);
    revealTick(this.list);
    window.clearTimeout(this.timer);
    if ([...this.shown.values()].some((each) => each.picture.follows === "pick")) this.timer = window.setTimeout(() => this.fetchPicked(), REST_MS);
  }

  /** Say which tick or round is looked at, and why one tick came in sight by itself. */
  tell() {
    const { at, count } = this.stepper;
    const why = this.step === "tick" && this.over && at === this.counts.starts?.[0] ? this.counts.why ?? "" : "";
    this.stepper.tell(h("strong", {}, `${this.step === "tick" ? "Tick" : "Round"} ${at + 1} of ${count}`), ` ${this.words[at] ?? ""}${why}`);
  }

  /** What is large is fetched for this one pick. */
  async fetchPicked() {
    this.asked += 1;
    const mine = this.asked;
    for (const shown of this.shown.values()) {
      if (shown.picture.follows !== "pick" || !this.id) continue;
      try {
        /** @type {Picture} */
        const picture = await this.get("picture", { ...this.at, name: shown.picture.name });
        if (picture.figure) this.plotly ??= await loadPlotly(`${this.base}/plotly.js`);
        if (mine !== this.asked) return; // a later one is asked for, and may have come first
        await shown.draw(picture, this.plotly);
      } catch (error) {
        if (mine === this.asked) await shown.draw({ ...shown.picture, missing: error instanceof Error ? error.message : String(error) }, this.plotly);
      }
    }
    markPicked(this.list, this.at);
  }

  /** An element that stands for a tick, a text or a token was pressed. @param {Event} event */
  clicked(event) {
    const some = pressed(event);
    if (some) this.chosen(some);
  }

  /** A person has picked. @param {Partial<Pick>} some */
  chosen(some) {
    if (some.attempt !== undefined) this.listed = true;
    if (some.tick !== undefined || some.round !== undefined) { this.stepper.pause(); this.stepper.chosen = true; }
    this.pick(some);
  }

  /** What each key does while this part is in sight. @returns {Record<string, () => void>} */
  keys() {
    const turn = (/** @type {"layer" | "head"} */ name, /** @type {number} */ by) => {
      const most = (name === "layer" ? this.counts.layers : this.counts.heads) ?? 0;
      if (most) this.pick({ [name]: Math.min(Math.max(this.at[name] + by, 0), most - 1) });
    };
    return {
      ArrowLeft: () => this.stepper.go(this.stepper.at - 1),
      ArrowRight: () => this.stepper.go(this.stepper.at + 1),
      Home: () => this.stepper.go(0),
      End: () => this.stepper.go(Infinity),
      " ": () => { if (this.stepper.count) this.stepper.toggle(); },
      ArrowUp: () => turn("layer", 1),
      ArrowDown: () => turn("layer", -1),
      "[": () => turn("head", -1),
      "]": () => turn("head", 1),
    };
  }
}
