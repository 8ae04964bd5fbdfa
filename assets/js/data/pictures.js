// @ts-check
// The pictures that the program draws of one record: held by what each of them follows, asked for one after the other, what is
// in sight first. What belongs to another record, or came too late, is never handed out.

import { saidBy } from "./follow.js";
import { phrase } from "../core/texts.js";

/** @typedef {import("./axes.js").At} At */
/** @typedef {import("./axes.js").Axis} Axis */
/** @typedef {import("./record.js").ServedRecord} ServedRecord */
/** @typedef {import("./record.js").ServedView} ServedView */
/** @typedef {import("./record.js").Drawing} Drawing */
/** `version` of the record of which it was drawn; `ended`: of its last version. @typedef {{drawing: Drawing, version: number, ended: boolean}} Held */
/** Asks the program for something of this record, as JSON. @typedef {(path: string, signal: AbortSignal) => Promise<any>} Get */
/** What is to be shown: a view at a place; `near`: it is in sight. @typedef {{view: ServedView, at: At, near: boolean}} Wish */

/** The axes that change a picture, by what its view says that it follows. @type {Record<string, Axis[]>} */
const FOLLOWED = {
  tick: ["tick"],
  round: ["attempt", "round"],
  attempt: ["attempt"],
  load: ["context", "users", "bits"],
  pick: ["tick", "layer", "head", "request", "attempt", "round", "token"],
};
const AT_ONCE = 100; // pictures along an axis in one answer, at most
const REST_MS = 120; // a selection that moves on asks for nothing that is large
const RETRY_MS = 2000;
const NOT_HELD = phrase("This page does not hold this picture.");

export class Pictures {
  /** @param {() => void} changed called when something new is held */
  constructor(changed) {
    this.changed = changed;
    /** @type {Map<string, Held>} */
    this.held = new Map();
    /** @type {Map<string, string>} what could not be had, and why */
    this.failed = new Map();
    /** @type {ServedRecord | null} */
    this.record = null;
    /** @type {Get | null} null: a saved page, which holds what it holds */
    this.get = null;
    this.dark = false;
    /** @type {Wish[]} */
    this.wishes = [];
    this.busy = false;
    this.rested = true;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    this.away = new AbortController();
    /** @type {Map<string, number>} up to where along the moving axis all pictures are held */
    this.reach = new Map();
  }

  /** Another record: nothing of the one before is handed out any more. @param {ServedRecord} record @param {Get | null} get */
  open(record, get) {
    this.record = record;
    this.get = get;
    this.held = new Map();
    this.failed = new Map();
    this.wishes = [];
    this.reach = new Map();
    this.away.abort();
    this.away = new AbortController();
    for (const { name, at, dark, words, picture } of record.held) {
      for (const mode of dark === null ? [false, true] : [dark]) this.held.set(address(name, Object.keys(at), at, mode), { drawing: { ...picture, words }, version: record.version, ended: true });
    }
  }

  /** What is wanted now, instead of what was. `moved`: the selection has just changed. @param {Wish[]} wishes @param {boolean} dark @param {boolean} moved */
  want(wishes, dark, moved) {
    this.wishes = wishes;
    this.dark = dark;
    if (moved && this.get) {
      this.rested = false;
      clearTimeout(this.timer);
      this.timer = setTimeout(() => { this.rested = true; this.work(); }, REST_MS);
    }
    this.work();
  }

  /** What to draw of a view at this place: a picture of this record, or why there is none (yet).
   * @param {ServedView} view @param {At} at @returns {Drawing} */
  find(view, at) {
    if (view.missing) return { missing: view.missing };
    const key = this.key(view, at);
    const found = this.held.get(key) ?? (this.get ? undefined : this.held.get(address(view.name, [], at, this.dark)));
    if (found) return found.drawing;
    return { missing: this.failed.get(key) ?? (this.get ? "" : NOT_HELD) };
  }

  /** What happened in the tick or round at this place, in words. @param {At} at */
  words(at) {
    for (const view of this.record?.views ?? []) {
      const words = this.isAlong(view) && this.held.get(this.key(view, at))?.drawing.words;
      if (words) return words;
    }
    return "";
  }

  /** @param {ServedView} view @param {At} at @returns {string} */
  key(view, at) {
    return address(view.name, FOLLOWED[view.follows] ?? [], at, this.dark);
  }

  /** Whether all pictures of a view along the moving axis are held, so that moving asks for nothing. @param {ServedView} view */
  isAlong(view) {
    return view.follows === this.record?.moving;
  }

  /** Ask for what is wanted and not here, one after the other. */
  async work() {
    const { get, record } = this;
    if (this.busy || !get || !record) return;
    this.busy = true;
    for (let wish = this.next(); wish; wish = this.next()) {
      await this.fetch(wish, record, get);
      if (record !== this.record) break;
      this.changed();
    }
    this.busy = false;
    if (record !== this.record) this.work();
  }

  /** The first wish that is not fulfilled. @returns {{view: ServedView, at: At} | null} */
  next() {
    for (const { view, at, near } of this.wishes) {
      if (view.missing || (view.follows === "pick" && !this.rested)) continue;
      const first = this.isAlong(view) ? this.firstMissing(view, at) : this.lacks(view, at, near) ? at : null;
      if (first && !this.failed.has(this.key(view, first))) return { view, at: first };
    }
    return null;
  }

  /** Whether a picture is not here, or older than the record. Out of sight an old one will do until the record has ended.
   * @param {ServedView} view @param {At} at @param {boolean} near */
  lacks(view, at, near) {
    const found = this.held.get(this.key(view, at));
    const { version = 0, ended = false } = this.record ?? {};
    return !found || (found.version < version && (near || ended));
  }

  /** Where along the moving axis the first picture is missing; one drawn before the record had ended counts as missing then.
   * @param {ServedView} view @param {At} at @returns {At | null} */
  firstMissing(view, at) {
    const record = /** @type {ServedRecord} */ (this.record);
    const axis = /** @type {import("./axes.js").MovingAxis} */ (record.moving);
    const count = record.countAt(at);
    const way = `${this.key(view, { ...at, [axis]: -1 })}${record.ended ? "!" : ""}`;
    for (let i = this.reach.get(way) ?? 0; i < count; i += 1) {
      const found = this.held.get(this.key(view, { ...at, [axis]: i }));
      if (!found || (record.ended && !found.ended)) return { ...at, [axis]: i };
      this.reach.set(way, i + 1);
    }
    return null;
  }

  /** @param {{view: ServedView, at: At}} wish @param {ServedRecord} record @param {Get} get */
  async fetch({ view, at }, record, get) {
    const { dark, away } = this;
    const key = this.key(view, at);
    const { version, ended, moving } = record; // as they are before the answer: it may be of a newer one
    const along = this.isAlong(view) ? `&along=${moving}&from=${at[/** @type {Axis} */ (moving)]}` : "";
    try {
      const answer = await get(`view/${encodeURIComponent(view.name)}?${query(record.axes, at)}${along}${dark ? "&dark=1" : ""}`, away.signal);
      if (record !== this.record) return;
      const drawings = along ? answer.slice(0, AT_ONCE) : [answer];
      if (!drawings.length) throw new Error("nothing came");
      drawings.forEach((/** @type {Drawing} */ drawing, /** @type {number} */ i) => {
        const place = along ? { ...at, [/** @type {Axis} */ (moving)]: at[/** @type {Axis} */ (moving)] + i } : at;
        this.held.set(address(view.name, FOLLOWED[view.follows] ?? [], place, dark), { drawing, version, ended });
      });
    } catch (error) {
      if (record !== this.record) return;
      this.failed.set(key, saidBy(error));
      this.held.delete(key);
      setTimeout(() => { if (record === this.record) { this.failed.delete(key); this.work(); } }, RETRY_MS);
    }
  }
}

/** @param {string} name @param {string[]} axes @param {Partial<At>} at @param {boolean} dark */
function address(name, axes, at, dark) {
  return `${name}?${query(/** @type {Axis[]} */ (axes), at)}${dark ? "&dark=1" : ""}`;
}

/** @param {Axis[]} axes @param {Partial<At>} at */
function query(axes, at) {
  return axes.filter((axis) => axis !== "bits" || at.bits).map((axis) => `${axis}=${at[axis] ?? 0}`).join("&"); // 0 bits: as loaded
}
