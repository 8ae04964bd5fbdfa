// @ts-check
// The address of a moment: which record, where in it, and which card, as in #record=ID&step=3&layer=10&head=4&token=11&card=attention.

import { AXES } from "../data/axes.js";

/** @typedef {import("../data/axes.js").At} At */
/** `word`: a hash that is one word alone, as #speculation. @typedef {{record: string | null, at: Partial<At>, card: string | null, word: string}} Address */

const LONGEST = 9; // digits of an index
const NAME = /^[\w-]{1,80}$/;

/** What a hash says; what it does not say, or says wrongly, is left out. @param {string} hash @returns {Address} */
export function readAddress(hash) {
  const text = hash.replace(/^#/, "");
  if (/^[a-z]+$/.test(text)) return { record: null, at: {}, card: null, word: text };
  const said = new URLSearchParams(text);
  /** @type {Partial<At>} */
  const at = {};
  for (const axis of AXES) {
    const value = said.get(axis);
    if (value !== null && /^\d+$/.test(value) && value.length <= LONGEST) at[axis] = Number(value);
  }
  return { record: named(said.get("record")), at, card: named(said.get("card")), word: "" };
}

/** The hash of a moment. @param {{id: string, axes: import("../data/axes.js").Axis[]}} record @param {At} at @param {string | null} card */
export function writeAddress({ id, axes }, at, card) {
  const said = new URLSearchParams({ record: id });
  for (const axis of axes) if (axis !== "bits" || at.bits) said.set(axis, String(at[axis]));
  if (card) said.set("card", card);
  return `#${said}`;
}

/** @param {string | null} text */
function named(text) {
  return text !== null && NAME.test(text) ? text : null;
}

const WRITE_MS = 300; // between two changes of the address: browsers refuse many in a row

/** The window's address: written when what is looked at has changed, and listened to when a person changes it. */
export class AddressBar {
  constructor() {
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    this.written = location.hash;
    this.next = "";
    this.record = /** @type {string | null} */ (null);
  }

  /** @param {{id: string, axes: import("../data/axes.js").Axis[]}} record @param {At} at @param {string | null} card */
  write(record, at, card) {
    this.set(writeAddress(record, at, card));
    if (record.id === this.record) return;
    this.record = record.id;
    this.flush(); // another record: a reload right after it opens this one
  }

  /** @param {string} hash */
  set(hash) {
    this.next = hash;
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      this.flush();
    }, WRITE_MS);
  }

  /** Write what waits, now: for what changes seldom, so that a reload right after it keeps it. */
  flush() {
    if (this.next === this.written) return;
    this.written = this.next;
    try {
      history.replaceState(history.state, "", location.pathname + location.search + this.next); // a hash alone is taken from the page's base
    } catch { /* a frame without an address of its own */ }
  }

  /** Call when the address was changed by a person, or by going back. @param {() => void} changed */
  listen(changed) {
    const look = () => {
      if (location.hash === this.written) return;
      clearTimeout(this.timer);
      this.timer = undefined;
      this.written = location.hash;
      changed();
    };
    for (const name of ["hashchange", "popstate"]) window.addEventListener(name, look);
  }
}
