// @ts-check
// The transport: where we are in the record, in words; play, pause and scrub over its passes, ticks or rounds.

import { h, fill, say, button, isStill, watchSight } from "../core/dom.js";
import { cut, fit, FONT, mix, pointer, widthOf } from "../core/canvas.js";
import { phrase } from "../core/texts.js";
import { Climb, FALL_MS } from "./climb.js";

/** A place along the axis that moves: how wide it is drawn, in a unit of its own, and what it is called. @typedef {{width: number, name?: string}} Place */
/** What is told of the axis that moves. `first`: the number of its first place; `words` say where we are, `spoken` is the same in short, `title` what its widths mean; `wait_ms`: how long a
 * place lasted, if it was timed.
 * `said`: what happened at a place, for who points at it; `inside`: when the layers of a place were entered, if that is known.
 * @typedef {{said?: (at: number) => string, inside?: (at: number) => import("./climb.js").Timed | null, first: number, places: Place[], at: number, words: import("../core/dom.js").Child[], spoken: string, title: string, wait_ms: ((at: number) => number) | null}} Axis */
/** @typedef {import("../data/axes.js").MovingAxis} MovingAxis */
/** @typedef {import("../data/store.js").Run} Run */

const NAMES = {
  step: { axis: phrase("step"), again: phrase("Play all steps again, from the prompt on."), back: phrase("previous step"), on: phrase("next step"), backKey: phrase("previous step (left arrow)"), onKey: phrase("next step (right arrow)") },
  tick: { axis: phrase("tick"), again: phrase("Play all ticks again, from the first one on."), back: phrase("previous tick"), on: phrase("next tick"), backKey: phrase("previous tick (left arrow)"), onKey: phrase("next tick (right arrow)") },
  round: { axis: phrase("round"), again: phrase("Play all rounds again, from the first one on."), back: phrase("previous round"), on: phrase("next round"), backKey: phrase("previous round (left arrow)"), onKey: phrase("next round (right arrow)") },
};
/** The button that plays: its sign, its words, and fewer of them where there is little room. */
const PLAY = {
  plays: ["❚❚", phrase("Pause the replay"), phrase("Pause")],
  anew: ["↺", phrase("Replay from start"), phrase("Replay")],
  rests: ["▶", phrase("Play"), phrase("Play")],
};
/** @type {[string, number][]} */
const PACES = [[phrase("{n} per second", { n: 1 }), 1000], [phrase("{n} per second", { n: 2 }), 500], [phrase("{n} per second", { n: 10 }), 100]];
const AS_RECORDED = 0;
/** Milliseconds of the pace at which a new run is watched, the least that layers can be seen at, and which part of them the chosen token falls. */
const [WATCHED_MS, SEEN_MS, FALL_PART] = [500, 300, 0.4];
/** How many times slower than recorded, where layers can be seen. */
const SLOWER = [5, 20, 60];
const HEIGHT = 30;
const [LEAST_NAME_ROOM, NAME_ROOM] = [14, 34]; // px: below the second a name is drawn whole or not at all
const [USUAL, USUAL_TIMED] = [1, 1]; // of PACES, of SLOWER

export class Transport {
  /** @param {import("../data/selection.js").Selection} selection @param {() => void} help @param {(front: import("../views/loom/loom.js").Front | null) => void} [climb] shows how
   * far a pass has come */
  constructor(selection, help, climb) {
    this.selection = selection;
    this.climb = climb ? new Climb(climb) : null;
    this.playedPlace = -1;
    /** whether a run is followed while it goes on, at a pace that can be watched, and whether all that there is of it was played */
    this.watching = false;
    this.waiting = false;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    /** @type {Axis | null} */
    this.axis = null;
    this.told = ""; // of the place that is pointed at
    /** @type {import("../core/canvas.js").Paint | null} */
    this.colours = null;
    /** @type {MovingAxis | null} */
    this.moving = null;
    this.crumbs = h("p", { class: "ts-crumbs", role: "status" });
    this.words = { full: h("span", { class: "ts-play-full" }), brief: h("span", { class: "ts-play-brief" }) };
    this.play = button("", () => this.toggle(), { class: "ts-button ts-play" }, this.words.full, this.words.brief);
    this.back = button("◀", () => selection.move(-1));
    this.on = button("▶", () => selection.move(1));
    this.pace = h("select", { class: "ts-select", "aria-label": phrase("playback speed") });
    this.unpin = button(phrase("Unpin"), () => selection.unlock(), { title: phrase("The selection is pinned. Unpin it (Esc) to preview by pointing again.") });
    this.jump = button(phrase("Jump to now"), () => this.jumpToNow(), { class: "ts-button ts-jump", title: phrase("Show the newest step, and go on with the run as fast as it goes.") });
    this.canvas = h("canvas", { class: "ts-axis", role: "slider", tabindex: "0" });
    this.axisBox = h("div", { class: "ts-axis-box" }, this.canvas);
    this.width = widthOf(this.axisBox, () => this.drawAxis());
    this.row = h("div", { class: "ts-player-row" },
      h("span", { class: "ts-player-buttons" }, this.back, this.play, this.on), this.axisBox,
      h("span", { class: "ts-player-buttons" }, this.jump, this.unpin, this.pace, button("?", help, { class: "ts-button ts-player-keys", "aria-label": phrase("keyboard shortcuts") })));
    this.element = h("div", { class: "ts-player", hidden: true },
      h("div", { class: "ts-player-bar" },
        h("div", { class: "ts-player-top" }, this.crumbs), this.row));
    this.edge = h("div", { class: "ts-player-edge", "aria-hidden": "true" });
    watchSight(this.edge, (entry) => this.element.classList.toggle("ts-stuck", entry.boundingClientRect.top < 0 && !entry.isIntersecting));
    this.sayPlay();
    this.listen();
  }

  listen() {
    let held = false;
    const place = (/** @type {PointerEvent} */ event) => ({ [/** @type {MovingAxis} */ (this.moving)]: this.placeAt(event) });
    this.canvas.addEventListener("pointerdown", (event) => {
      held = true;
      this.canvas.setPointerCapture(event.pointerId);
      this.pause();
      this.selection.set(place(event));
    });
    this.canvas.addEventListener("pointermove", (event) => {
      this.told = this.axis?.said?.(this.placeAt(event)) ?? "";
      if (held) this.selection.set(place(event));
      else if (event.pointerType === "mouse") this.selection.preview(place(event));
    });
    for (const end of /** @type {const} */ (["pointerup", "pointercancel"])) this.canvas.addEventListener(end, () => { held = false; });
    this.canvas.addEventListener("pointerleave", () => {
      this.told = "";
      this.selection.preview(null);
    });
  }

  /** Another record, whose axis is named so. @param {MovingAxis | null} moving @param {boolean} timed whether it can be played as it was recorded */
  open(moving, timed) {
    this.pause();
    this.climb?.reset();
    this.watching = false;
    this.axis = null;
    if (moving === this.moving) return;
    this.moving = moving;
    this.element.dataset.moving = moving ?? "";
    const names = NAMES[moving ?? "step"]; // without an axis nothing of the transport is shown
    this.canvas.setAttribute("aria-label", names.axis);
    for (const [each, words, title] of /** @type {const} */ ([[this.back, names.back, names.backKey], [this.on, names.on, names.onKey]])) {
      each.setAttribute("aria-label", words);
      each.title = title;
    }
    fill(this.pace, ...(timed ? SLOWER.map((times) => h("option", { value: -times }, phrase("{times}× slower", { times }))) : []),
      timed && h("option", { value: AS_RECORDED }, phrase("as recorded")), ...PACES.map(([words, ms]) => h("option", { value: ms }, words)));
    this.pace.selectedIndex = timed ? USUAL_TIMED : USUAL;
  }

  /** Whether this run's layers can be watched: they were timed, and things may move. @param {Run | null} run */
  canWatch(run) {
    return Boolean(run?.steps[0]?.entered.length && !isStill());
  }

  /** Follow a new run from its first pass, at a pace at which its layers can be watched: the run may soon be ahead. */
  watch() {
    this.watching = true;
    this.pace.value = String(WATCHED_MS);
    this.selection.paced = true;
  }

  /** Show the newest pass, and every newer one as it comes. */
  jumpToNow() {
    this.pause();
    this.watching = false;
    this.climb?.reset();
    if (this.moving) this.selection.set({ [this.moving]: Infinity });
  }

  toggle() {
    if (this.timer === undefined) this.start();
    else {
      this.pause();
      this.selection.following = false; // not even what comes next moves it on
    }
  }

  start() {
    if (!this.axis || !this.moving) return;
    if (this.playedPlace !== this.place) this.climb?.reset();
    if (this.beginsAnew(this.place)) this.selection.set({ [this.moving]: 0 });
    this.crumbs.setAttribute("aria-live", "off"); // nobody can hear that many
    this.selection.paced = true;
    this.wait();
    this.sayPlay();
  }

  /** Whether playing from this place begins at the first one: everything was played, or is in sight. @param {number} place */
  beginsAnew(place) {
    return !this.watching && !this.climb?.played && place >= this.last;
  }

  /** What a press of the button that plays does now. */
  sayPlay() {
    const plays = this.timer !== undefined;
    const anew = !plays && this.moving !== null && this.beginsAnew(this.selection.base[this.moving]);
    const [sign, words, brief] = PLAY[plays ? "plays" : anew ? "anew" : "rests"];
    say(this.words.full, `${sign} ${words}`);
    say(this.words.brief, `${sign} ${brief}`);
    const meanwhile = plays && this.goesOn && this.moving === "step" ? phrase("The model goes on meanwhile: it is paused by “Pause the run”.") : "";
    const title = anew ? NAMES[this.moving ?? "step"].again : meanwhile;
    for (const [name, value] of Object.entries({ "aria-label": words, "aria-pressed": String(plays), title })) {
      if (this.play.getAttribute(name) !== value) this.play.setAttribute(name, value);
    }
  }

  get place() { return this.moving ? this.selection.at[this.moving] : 0; }
  get last() { return (this.selection.record?.countAt(this.selection.at) ?? 0) - 1; }

  /** Wait as long as the place that is shown next lasted, or as the pace says, then show it. */
  wait() {
    const [pace, inside] = [Number(this.pace.value), this.axis?.inside?.(this.place)];
    const slower = -pace;
    if ((slower > 0 || pace >= SEEN_MS) && this.climb && inside && !isStill()) {
      this.timer = 0;
      this.playedPlace = this.place;
      if (slower > 0) this.climb.start(inside, slower, FALL_MS, () => this.next());
      else this.climb.start(inside, (pace * (1 - FALL_PART)) / (inside.seconds * 1000), pace * FALL_PART, () => this.next());
      return;
    }
    const ms = slower > 0 ? slower * Math.max(this.axis?.wait_ms?.(this.place) ?? 0, 16) : Number(this.pace.value) || Math.max(this.axis?.wait_ms?.(this.place + 1) ?? 0, 16);
    this.timer = setTimeout(() => this.next(), ms);
  }

  /** The place that was played is over. */
  next() {
    const wasLast = this.place >= this.last;
    this.waiting = wasLast && this.goesOn;
    if (this.waiting) return;
    if (!wasLast) this.selection.move(1);
    if (wasLast || (this.place >= this.last && !this.climb)) {
      this.watching = false;
      this.pause();
    } else this.wait();
  }

  get goesOn() { return this.selection.record?.ended === false; }

  /** A run that is to be watched is there, or what was waited for: the record has grown, or ended. */
  goOn() {
    if (this.watching && this.timer === undefined && this.selection.paced) this.start();
    if (!this.waiting || (this.place >= this.last && this.goesOn)) return;
    this.waiting = false;
    this.next();
  }

  pause() {
    if (this.timer === undefined) return;
    clearTimeout(this.timer);
    this.climb?.stop();
    this.waiting = this.selection.paced = false;
    this.timer = undefined;
    this.crumbs.setAttribute("aria-live", "polite");
    this.sayPlay();
  }

  /** @param {PointerEvent} event */
  placeAt(event) {
    const places = this.axis?.places ?? [];
    let left = (pointer(this.canvas, event).x / this.width()) * total(places);
    for (const [i, { width }] of places.entries()) {
      left -= width;
      if (left <= 0) return i;
    }
    return Math.max(places.length - 1, 0);
  }

  /** Draw the axis; before `draw`, which changes elements. @param {Axis | null} axis @param {import("../core/canvas.js").Paint} colours */
  paint(axis, colours) {
    this.axis = axis;
    this.colours = colours;
    if (this.climb?.playing && this.moving && this.playedPlace !== this.selection.base[this.moving]) { // somebody went elsewhere meanwhile
      this.climb.reset();
      this.wait();
    }
    this.element.hidden = !axis?.places.length;
    this.drawAxis();
  }

  draw() {
    const { axis } = this;
    if (!axis) return;
    fill(this.crumbs, ...axis.words);
    this.unpin.hidden = !this.selection.locked;
    this.sayPlay();
    const behind = this.last - this.place;
    this.jump.hidden = this.goesOn ? !this.watching && behind <= 0 : !this.watching || behind <= 0;
    this.jump.disabled = behind <= 0;
    this.canvas.setAttribute("aria-valuemin", String(axis.first));
    this.canvas.setAttribute("aria-valuemax", String(axis.first + axis.places.length - 1));
    this.canvas.setAttribute("aria-valuenow", String(axis.first + axis.at));
    this.canvas.setAttribute("aria-valuetext", axis.spoken);
    this.goOn();
    const title = this.told || axis.title;
    if (this.canvas.title !== title) this.canvas.title = title;
  }

  drawAxis() {
    const { axis, colours } = this;
    const width = this.width();
    if (!width || !axis || !colours) return;
    const g = fit(this.canvas, width, HEIGHT);
    const whole = total(axis.places);
    let x = 0;
    axis.places.forEach((place, i) => {
      const w = (place.width / whole) * width;
      const box = { x, w: Math.max(w - (w > 5 ? 3 : w > 2 ? 0.5 : 0), 0.5) };
      g.fillStyle = mix(colours.card, colours.spine, i < axis.at ? 0.5 : 0.2);
      g.beginPath();
      g.roundRect(box.x, 3, box.w, HEIGHT - 6, Math.min(5, box.w / 3));
      g.fill();
      if (i === axis.at) this.drawCurrent(g, box, colours);
      if (place.name && box.w > LEAST_NAME_ROOM) this.drawName(g, place.name, box, colours);
      x += w;
    });
  }

  /** The place that is shown, filled as far as it has been played. @param {CanvasRenderingContext2D} g @param {{x: number, w: number}} box @param {import("../core/canvas.js").Paint} colours */
  drawCurrent(g, box, colours) {
    const inside = this.axis?.inside?.(this.place);
    const played = this.climb?.played && inside ? Math.min(this.climb.played / (inside.seconds * 1000), 1) : 1;
    g.save();
    g.clip();
    g.fillStyle = mix(colours.card, colours.spine, 0.62);
    g.fillRect(box.x, 0, box.w * played, HEIGHT);
    g.restore();
    g.strokeStyle = colours.ink;
    g.lineWidth = 2;
    g.strokeRect(box.x + 1, 3, Math.max(box.w - 2, 1), HEIGHT - 6);
  }

  /** @param {CanvasRenderingContext2D} g @param {string} name @param {{x: number, w: number}} box @param {import("../core/canvas.js").Paint} colours */
  drawName(g, name, { x, w }, colours) {
    g.font = FONT;
    g.textAlign = "center";
    g.textBaseline = "middle";
    g.fillStyle = colours.ink;
    if (w <= NAME_ROOM && g.measureText(name).width > w - 4) return;
    g.fillText(cut(g, name, w - 4), x + w / 2, HEIGHT / 2);
  }
}

/** @param {Place[]} places */
function total(places) {
  return places.reduce((sum, { width }) => sum + width, 0) || 1;
}
