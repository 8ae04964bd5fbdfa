// @ts-check
// A record whose pictures the program draws, as the browser holds it: its facts, what can be selected in it, and which views it has.
// Of a Trace the browser holds every number instead: data/store.js.

import { parseFrames } from "./frames.js";
import { NOWHERE, clamp } from "./axes.js";

/** @typedef {import("./axes.js").At} At */
/** @typedef {import("./axes.js").Axis} Axis */
/** @typedef {import("./axes.js").MovingAxis} MovingAxis */
/** `lead`: what is seen, as markup, and `more` of it; `folded`: it opens when it is pressed; `glance`: it says what the record comes to, before all others; `follows`: what changes the picture; `missing`: why there is nothing to draw (yet); `note`: a sentence below it.
 * @typedef {{name: string, title: string, lead: string, more: string, folded: boolean, glance?: boolean, follows: string, missing?: string | null, note?: string}} ServedView */
/** What can be selected, and `starts`: which tick, or which round of each attempt, is worth looking at first, and `why`.
 * @typedef {{ticks?: number, rounds?: number[], starts?: number[], why?: string, layers?: number, heads?: number, requests?: string[], attempts?: string[], best?: number}} Counts */
/** @typedef {{html?: string | null, figure?: {data: any[], layout: any} | null, missing?: string | null, words?: string}} Drawing */
/** A picture that came along with a saved page. @typedef {{name: string, at: Partial<At>, dark: boolean | null, words?: string, picture: Drawing}} HeldPicture */

const USUAL = { context: 2048, users: 1, bits: 0 };
const MOST = { context: 10_000_000, users: 1_000_000, bits: 32 };

export class ServedRecord {
  /** @param {string} id */
  constructor(id) {
    this.id = id;
    this.experiment = "";
    this.version = 0;
    this.summary = ""; // what it is, in one sentence
    /** @type {MovingAxis | null} */
    this.moving = null;
    this.ended = false; // whether it will not grow any more
    this.stopped = false; // whether it ended before all of it was there
    /** @type {string[]} sentences of plain text */
    this.facts = [];
    /** @type {Counts} */
    this.counts = {};
    /** @type {ServedView[]} */
    this.views = [];
    /** @type {HeldPicture[]} */
    this.held = [];
    /** @type {Partial<At> | null} where a saved page begins */
    this.first = null;
    /** @type {{about: any, tensors: Record<string, import("./frames.js").Tensor>} | null} what a script draws from, of a kind that has it */
    this.data = null;
  }

  /** How many of its parts are here. */
  get parts() { return this.version; }

  /** Whether there is something to look at. */
  get begun() { return this.views.length > 0; }

  /** @param {Uint8Array} bytes */
  feed(bytes) {
    for (const frame of parseFrames(bytes)) this.add(frame);
  }

  /** @param {import("./frames.js").Frame} frame */
  add({ kind, about, tensors }) {
    if (kind === "picture") this.held.push(about);
    if (kind !== "record") return;
    const { experiment, version, summary = "", facts, counts, views, steps, at, data } = about;
    Object.assign(this, { experiment, version, summary, facts, counts, views, moving: steps ?? null, first: at ?? null, data: data ? { about: data, tensors } : null });
  }

  /** The axes that it has, in the order in which its address names them. @returns {Axis[]} */
  get axes() {
    if (this.moving === "tick") return ["tick", "request", "layer", "head"];
    if (this.moving === "round") return ["attempt", "round", "token"];
    return this.views.some((view) => view.follows === "load") ? ["context", "users", "bits"] : [];
  }

  /** How many places the axis that moves has here. @param {At} at */
  countAt({ attempt }) {
    return this.moving === "tick" ? this.counts.ticks ?? 0 : this.counts.rounds?.[attempt] ?? 0;
  }

  /** A place that exists. Another attempt is looked at where it is most telling, or, while it grows, at its newest round.
   * @param {At} from @param {Partial<At>} change @returns {At} */
  place(from, change) {
    const { layers = 0, heads = 0, requests = [], attempts = [], starts = [] } = this.counts;
    const to = { ...from, ...change };
    to.layer = clamp(to.layer, 0, Math.max(layers - 1, 0));
    to.head = clamp(to.head, 0, Math.max(heads - 1, 0));
    to.request = clamp(to.request, 0, Math.max(requests.length - 1, 0));
    to.attempt = clamp(to.attempt, 0, Math.max(attempts.length - 1, 0));
    for (const name of /** @type {const} */ (["context", "users"])) to[name] = clamp(to[name] || USUAL[name], 1, MOST[name]);
    to.bits = clamp(to.bits, 0, MOST.bits);
    const last = Math.max(this.countAt(to) - 1, 0);
    if (change.attempt !== undefined && change.round === undefined && to.attempt !== from.attempt) to.round = this.ended ? starts[to.attempt] ?? 0 : last;
    if (this.moving) to[this.moving] = clamp(to[this.moving], 0, last);
    to.token = Math.max(to.token, 0);
    return to;
  }

  /** What a person sees who has selected nothing: the newest, and once it has ended what is most telling. @returns {Partial<At>} */
  get lead() {
    const { starts = [], best = 0, attempts = [] } = this.counts;
    if (this.first) return this.first;
    if (this.moving === "tick") return { tick: this.ended ? starts[0] ?? 0 : this.countAt(NOWHERE) - 1 };
    if (this.moving !== "round") return {};
    const attempt = this.ended ? best : Math.max(attempts.length - 1, 0);
    return { attempt, round: this.ended ? starts[attempt] ?? 0 : this.countAt({ ...NOWHERE, attempt }) - 1 };
  }
}
