// @ts-check
// The one selection that every picture follows: which pass, layer, head and token. Hover previews, a click locks.

/** @typedef {{step: number, layer: number, head: number, token: number}} At
 *  step: which pass; token: the position whose row is looked at, one that this pass or an earlier one has read */
/** @typedef {import("../data/store.js").Run} Run */

export class Selection {
  constructor() {
    /** @type {Run | null} */
    this.run = null;
    /** @type {At} */
    this.base = { step: 0, layer: 0, head: 0, token: 0 };
    /** @type {At | null} */
    this.hovered = null;
    this.locked = false;
    /** whether the pointer rests while the page moves under it: what comes under it then was not pointed at */
    this.pointerRests = false;
    /** whether a person has chosen a layer or a head, which another run then keeps */
    this.chosen = false;
    /** whether the newest pass is followed while a run is written */
    this.following = false;
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

  /** Begin on another run: where the layer and the head were chosen, and it has them, they stay.
   * @param {Run} run @param {() => Partial<At>} first where to look if nothing was chosen @param {boolean} following */
  open(run, first, following) {
    const { layer, head } = this.base;
    const at = this.chosen && layer < run.nLayers && head < run.nHeads ? { step: 0, layer, head } : first();
    this.run = run;
    this.locked = false;
    this.following = following;
    this.base = this.settle({ step: 0, layer: 0, head: 0, token: 0 }, at);
    this.hovered = null;
    this.tell();
  }

  /** Go somewhere and stay. @param {Partial<At>} change @param {{lock?: boolean}} [how] */
  set(change, { lock = false } = {}) {
    if (!this.run) return;
    const last = this.run.steps.length - 1;
    if (lock || (change.step !== undefined && change.step < last)) this.following = false;
    else if (change.step !== undefined) this.following = !this.run.end;
    this.base = this.settle(this.base, change);
    this.hovered = null;
    if (change.layer !== undefined || change.head !== undefined) this.chosen = true;
    if (lock) this.locked = true;
    this.tell();
  }

  /** Look without going there; does nothing while the selection is locked. @param {Partial<At> | null} change */
  preview(change) {
    if (!this.run || this.locked || (change && this.pointerRests)) return;
    const hovered = change && this.settle(this.base, change);
    if (same(hovered, this.hovered)) return;
    this.hovered = hovered;
    this.tell();
  }

  unlock() {
    this.locked = false;
    this.hovered = null;
    this.tell();
  }

  /** A run has grown: follow it, if that is what the person does. */
  grown() {
    if (!this.run) return;
    if (this.following) this.base = this.settle(this.base, { step: this.run.steps.length - 1 });
    this.tell();
  }

  /** A place that exists: a new pass brings its own last token along, a token not yet read brings its pass.
   * @param {At} from @param {Partial<At>} change @returns {At} */
  settle(from, change) {
    const run = /** @type {Run} */ (this.run);
    const to = { ...from, ...change };
    const lastStep = Math.max(run.steps.length - 1, 0);
    to.step = clamp(to.step, 0, lastStep);
    to.layer = clamp(to.layer, 0, run.nLayers - 1);
    to.head = clamp(to.head, 0, run.nHeads - 1);
    const step = run.steps[to.step];
    if (!step) return { ...to, token: 0 };
    if (change.token === undefined) {
      if (change.step !== undefined) to.token = step.last;
    } else if (change.step === undefined && to.token > step.last) {
      to.step = run.stepOf[to.token] ?? lastStep;
    }
    to.token = clamp(to.token, 0, run.steps[to.step].last);
    return to;
  }

  tell() {
    for (const listener of this.listeners) listener();
  }
}

/** @param {number} number @param {number} low @param {number} high */
function clamp(number, low, high) {
  return Math.min(Math.max(number, low), high);
}

/** @param {At | null} one @param {At | null} other */
function same(one, other) {
  return one === other || (one !== null && other !== null && one.step === other.step && one.layer === other.layer
    && one.head === other.head && one.token === other.token);
}

/** Where to look first: the head whose last prompt token looks most sharply at one other word, the first token and
 * itself left out. @param {Run} run @returns {Partial<At>} */
export function firstLook(run) {
  const start = { step: 0, layer: Math.floor(run.nLayers / 2), head: 0 };
  const step = run.steps[0];
  if (!step || !step.attention) return start;
  let best = -1;
  for (let layer = 0; layer < run.nLayers; layer += 1) {
    for (let head = 0; head < run.nHeads; head += 1) {
      const row = run.row(layer, head, step.last);
      if (!row) continue;
      for (let key = 1; key < row.length - 1; key += 1) {
        if (row[key] > best) {
          best = row[key];
          start.layer = layer;
          start.head = head;
        }
      }
    }
  }
  return start;
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

/** What each key does. */
export const KEYS = [
  ["←  →", "the pass before, the next pass"],
  ["↑  ↓", "a layer up, a layer down"],
  ["[  ]", "the head before, the next head"],
  ["Home  End", "the first pass, the newest pass"],
  ["Space", "play or pause"],
  ["Esc", "unlock the selection"],
  ["?", "this list"],
];

/** Listen for keys. Typing in a form is left alone, and so are keys that a focused control uses itself.
 * @param {HTMLElement} root @param {Selection} selection @param {{play: () => void, help: () => void, escape: () => boolean}} actions */
export function listenToKeys(root, selection, actions) {
  /** @type {Record<string, () => void>} */
  const moves = {
    ArrowLeft: () => selection.set({ step: selection.at.step - 1 }),
    ArrowRight: () => selection.set({ step: selection.at.step + 1 }),
    ArrowUp: () => selection.set({ layer: selection.at.layer + 1 }),
    ArrowDown: () => selection.set({ layer: selection.at.layer - 1 }),
    "[": () => selection.set({ head: selection.at.head - 1 }),
    "]": () => selection.set({ head: selection.at.head + 1 }),
    Home: () => selection.set({ step: 0 }),
    End: () => selection.set({ step: Infinity }),
    " ": actions.play,
    "?": actions.help,
  };
  const listener = (/** @type {KeyboardEvent} */ event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || !selection.run) return;
    const target = event.target instanceof Element ? event.target : root;
    const inside = root.contains(target);
    if (!inside && target !== document.body) return;
    if (target.closest("input, textarea, select, [contenteditable=true]")) return;
    if (event.key === "Escape") {
      if (!actions.escape()) selection.unlock();
      return;
    }
    if (event.key === " " && target.closest("button, summary, a")) return;
    if (target.closest("[data-own-keys]") && event.key.startsWith("Arrow")) return;
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    move();
  };
  document.addEventListener("keydown", listener);
  return () => document.removeEventListener("keydown", listener);
}
