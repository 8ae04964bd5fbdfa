// @ts-check
// The one selection that every picture follows: an index along each axis of the record. Hover previews, a click locks.

import { NOWHERE } from "./axes.js";

/** @typedef {import("./axes.js").At} At */
/** @typedef {import("./axes.js").Axis} Axis */
/** @typedef {import("./axes.js").MovingAxis} MovingAxis */
/** @typedef {import("./store.js").Run} Run */
/** What is looked at, whatever its kind: `place` makes a selection one that exists, `lead` is where it is newest or most telling.
 * @typedef {{id: string, experiment: string, axes: Axis[], moving: MovingAxis | null, ended: boolean, begun: boolean, lead: Partial<At>,
 *   countAt: (at: At) => number, place: (from: At, change: Partial<At>) => At}} Looked */

export class Selection {
  constructor() {
    /** @type {Looked | null} */
    this.record = null;
    /** @type {At} */
    this.base = NOWHERE;
    /** @type {At | null} */
    this.hovered = null;
    this.locked = false;
    /** whether the pointer rests while the page moves under it: what comes under it then was not pointed at */
    this.pointerRests = false;
    /** whether a person has selected a layer or a head, which another record then keeps */
    this.chosen = false;
    /** whether what is newest is followed while a record grows, and whether the transport does that, at its own pace */
    this.following = false;
    this.paced = false;
    /** @type {Partial<At> | null} a place asked for that may still be on its way */
    this.pending = null;
    /** @type {Set<() => void>} */
    this.listeners = new Set();
  }

  /** What the pictures show now. @returns {At} */
  get at() {
    return this.hovered ?? this.base;
  }

  /** @param {() => void} listener */
  onChange(listener) {
    this.listeners.add(listener);
  }

  /** Begin on another record: where the layer and the head were selected by a person, and it has them, they stay.
   * @param {Looked} record @param {() => Partial<At>} first where to look if nothing was selected @param {boolean} following
   * @param {Partial<At> | null} [asked] the place that an address names */
  open(record, first, following, asked = null) {
    const { layer, head, context, users, bits } = this.base;
    const kept = record.place(NOWHERE, { layer, head });
    const stays = this.chosen && kept.layer === layer && kept.head === head;
    this.record = record;
    this.locked = false;
    this.following = following && !asked;
    this.pending = asked && !record.ended ? asked : null;
    this.base = record.place({ ...NOWHERE, context, users, bits }, asked ?? { ...first(), ...(stays ? { layer, head } : {}) });
    this.hovered = null;
    this.tell();
  }

  /** Go somewhere and stay. @param {Partial<At>} change @param {{lock?: boolean}} [how] */
  set(change, { lock = false } = {}) {
    const { record } = this;
    if (!record) return;
    this.pending = null;
    const moving = record.moving && change[record.moving];
    const last = record.countAt(this.base) - 1;
    if (lock || change.attempt !== undefined || (typeof moving === "number" && moving < last)) this.following = false;
    else if (typeof moving === "number") this.following = !record.ended;
    this.base = record.place(this.base, change);
    this.hovered = null;
    if (change.layer !== undefined || change.head !== undefined) this.chosen = true;
    if (lock) this.locked = true;
    this.tell();
  }

  /** Move along the axis that moves. @param {number} by */
  move(by) {
    const moving = this.record?.moving;
    if (moving) this.set({ [moving]: this.at[moving] + by });
  }

  /** Look without going there; does nothing while the selection is locked. @param {Partial<At> | null} change */
  preview(change) {
    const { record } = this;
    if (!record || this.locked || (change && this.pointerRests)) return;
    const hovered = change && record.place(this.base, change);
    if (same(hovered, this.hovered)) return;
    this.hovered = hovered;
    this.tell();
  }

  unlock() {
    this.locked = false;
    this.hovered = null;
    this.tell();
  }

  /** The record has grown: go to a place that was asked for, or follow what is newest, if that is what the person does. */
  grown() {
    const { record } = this;
    if (!record) return;
    if (this.pending) this.base = record.place(this.base, this.pending);
    else if (this.following && !this.paced) this.base = record.place(this.base, record.lead);
    if (record.ended) this.pending = null;
    this.tell();
  }

  tell() {
    for (const listener of this.listeners) listener();
  }
}

/** @param {At | null} one @param {At | null} other */
function same(one, other) {
  return one === other || (one !== null && other !== null && /** @type {Axis[]} */ (Object.keys(one)).every((axis) => one[axis] === other[axis]));
}

const SAME_MS = 30; // events of one movement

/** Tell a pointer that moves from one that rests while something scrolls under it: browsers send events for both, the second at the
 * place on the screen where the first had left it. @param {Selection} selection */
export function watchPointer(selection) {
  let last = { x: NaN, y: NaN, at: 0 };
  const look = (/** @type {PointerEvent} */ event) => {
    const moved = event.screenX !== last.x || event.screenY !== last.y;
    if (moved) last = { x: event.screenX, y: event.screenY, at: event.timeStamp };
    selection.pointerRests = event.pointerType === "mouse" && !moved && event.timeStamp - last.at > SAME_MS;
  };
  for (const name of /** @type {const} */ (["pointerover", "pointerenter", "pointermove"])) document.addEventListener(name, look, { capture: true, passive: true });
  for (const name of ["keydown", "focusin", "pointerdown"]) document.addEventListener(name, () => { selection.pointerRests = false; }, { capture: true, passive: true });
}
