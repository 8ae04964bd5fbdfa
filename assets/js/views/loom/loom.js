// @ts-check
// The loom: the whole run in one picture. Columns are tokens, rows are layers; attention, cache, output and the loop back in one place.

import { fit, pointer, widthOf } from "../../core/canvas.js";
import { fill, h, say, watchSight } from "../../core/dom.js";
import { phrase } from "../../core/texts.js";
import { looksOfHead, looksOfLayer } from "./arcs.js";
import { drawCells } from "./cells.js";
import { WIDE } from "./columns.js";
import { drawFoot } from "./foot.js";
import { Geometry } from "./geometry.js";
import { guessAt } from "./guesses.js";
import { setFont, word } from "./ink.js";
import { Inspector } from "./inspector.js";
import { LoomTable } from "./loom_table.js";
import { drawFalling, drawOutput } from "./output.js";
import { drawArcs, drawFront, drawNames, drawPlace } from "./overlay.js";
import { Readout } from "./readout.js";
import { SearchField } from "./search_field.js";
import { captions, chapterAt, line } from "./story.js";
import { drawTop } from "./top.js";

/** @typedef {import("../../data/view.js").State} State */
/** @typedef {import("../../data/selection.js").Selection} Selection */
/** @typedef {import("../../data/store.js").Run} Run */
/** @typedef {import("./story.js").Chapter} Chapter */
/** What the inspector shows. @typedef {"head" | "cell" | "token" | "choice" | "cache"} Part */
/** How far a pass is played: in levels up to L + 1, then how far the chosen token has fallen, 0 to 1. @typedef {{level: number, falling: number}} Front */

const NARROW = "(max-width: 760px)"; // as in loom.css: tokens go down
const REST_MS = 120;
const [SEEN_FROM, SEEN_UP_TO] = [60, 0.6]; // px below the window's top, and the share of its height above the transport
const [LEAST_HEIGHT, ROW_DOWN, EDGES_DOWN, NARROW_DOWN] = [220, 30, 46, 500]; // px
/** @type {Record<Chapter, Part>} */
const PART_OF = { read: "token", look: "head", guess: "cell", choose: "choice", keep: "cache" };
/** @type {Record<Part, Chapter>} */
const CHAPTER_OF = { token: "read", head: "look", cell: "guess", choice: "choose", cache: "keep" };
const PHONE = "(max-width: 600px)"; // as in loom.css

export class Loom {
  /** @param {{selection: Selection, redraw: () => void, climb: () => void, show: (card: string) => void, lens: {look: (positions: number[]) => void},
   *   pick: ((token: import("../../data/view.js").Named) => void) | null, explain: (() => void) | null}} context `lens` is told which columns are looked at, `pick` with which token to continue, `explain` that its choice is to be explained */
  constructor({ selection, redraw, climb, show, lens, pick, explain }) {
    this.selection = selection;
    this.lens = lens;
    this.redraw = redraw;
    this.climb = climb;
    /** @type {Part} */
    this.part = "head";
    /** @type {Front | null} */
    this.front = null;
    this.playedStep = -1;
    this.seenStep = -1;
    /** @type {{token: number, level: number} | null} */
    this.pointed = null;
    this.says = h("p", { class: "ts-loom-line" });
    this.about = h("p", { class: "ts-loom-about" });
    this.base = h("canvas", { class: "ts-loom-base", "aria-hidden": "true" });
    this.over = h("canvas", { class: "ts-loom-over", tabindex: "0", role: "img", "aria-label": phrase("The loom: tokens across, layers up, and in each cell the token that the model would predict there.") });
    this.picture = h("div", { class: "ts-loom-picture" }, this.base, this.over);
    this.inspector = new Inspector((part, go) => this.turnTo(part, go), (go) => selection.preview(go), show, pick, explain);
    this.readout = new Readout();
    this.stage = h("div", { class: "ts-loom-stage" }, this.picture, this.inspector.element);
    this.search = new SearchField(selection, { changed: redraw, go: (token) => this.found(token), left: () => this.over.focus({ preventScroll: true }) });
    this.head = h("div", { class: "ts-loom-says" }, this.says, this.about, this.search.element);
    this.warning = h("p", { class: "ts-loom-warning", role: "note" });
    this.element = h("section", { class: "ts-loom", "aria-label": phrase("the whole run") }, this.head, this.warning, this.stage, this.readout.element);
    this.table = new LoomTable(selection);
    this.captions = h("ol", { class: "ts-story" });
    this.reveals = -1;
    this.story = h("div", { class: "ts-story-box" }, this.captions, this.table.element);
    this.width = widthOf(this.picture, () => { this.drawnBase = ""; redraw(); });
    this.drawnBase = this.readKey = "";
    this.told = "";
    this.rest = 0;
    this.restedAt = -Infinity;
    /** @type {State | null} */
    this.state = null;
    this.inSight = true; // until the browser says otherwise
    watchSight(this.element, (entry) => {
      this.inSight = entry.isIntersecting;
      if (this.inSight) redraw();
    });
    /** @type {Geometry | null} */
    this.geometry = null;
    /** @type {{key: string, sizes: number[]}} */
    this.wanted = { key: "", sizes: [] };
    this.listen();
  }

  listen() {
    const { over, selection } = this;
    over.addEventListener("pointermove", (event) => {
      if (event.pointerType === "mouse") this.point(this.hitAt(event), event);
    });
    over.addEventListener("pointerleave", () => this.point(null));
    over.addEventListener("click", (event) => {
      const hit = this.hitAt(event);
      if (!hit || this.front) return;
      this.point(null);
      this.part = hit.part === "cell" ? "cell" : hit.part === "chip" ? "token" : "cache";
      this.inspector.lift(true);
      if (window.matchMedia(PHONE).matches && event.clientY > window.innerHeight * 0.35) window.scrollBy({ top: event.clientY - 120 }); // above the sheet
      selection.set({ token: hit.token, ...(hit.part === "cell" && hit.level > 0 ? { layer: hit.level - 1 } : {}) }, { lock: true });
    });
  }

  /** @param {MouseEvent} event */
  hitAt(event) {
    const { x, y } = pointer(this.over, event);
    return this.geometry?.hit(x, y) ?? null;
  }

  /** @param {import("./geometry.js").Hit | null} hit @param {PointerEvent} [event] */
  point(hit, event) {
    const run = /** @type {Run | null} */ (this.selection.record);
    const last = run?.steps[this.selection.at.step]?.last ?? -1;
    const pointed = hit && hit.token <= last && !this.front ? { token: hit.token, level: hit.part === "cell" ? hit.level : -1 } : null;
    if (pointed?.token === this.pointed?.token && pointed?.level === this.pointed?.level) {
      if (pointed && event) this.readout.move(event);
      return;
    }
    this.pointed = pointed;
    if (!pointed || !run || !event) this.readout.hide();
    else this.readout.show(run, pointed.token, pointed.level, event, !this.geometry?.columns[pointed.token].wide);
    this.redraw();
  }

  /** A token was searched for. @param {number} token */
  found(token) {
    this.point(null);
    this.part = "token";
    this.reveals = token;
    this.selection.set({ token }, { lock: true });
  }

  /** A pass begins to be played: who saw the row before its own, where tokens go down, sees its own; and of the prefill, who looks at the picture. */
  follow() {
    const run = /** @type {Run | null} */ (this.selection.record);
    const first = run?.steps[this.playedStep]?.first ?? 0;
    if (!this.geometry?.transposed || first >= this.geometry.count) return;
    if (first === 0) {
      if (this.isLookedAt()) this.reveals = 0;
      return;
    }
    const y = this.windowY(first - 1);
    if (y >= SEEN_FROM && y < window.innerHeight) this.reveals = first;
  }

  /** Where a token's row is in the window, where tokens go down. @param {number} token */
  windowY(token) {
    return this.over.getBoundingClientRect().top + (this.geometry?.cell(token, 0).y ?? 0);
  }

  /** Whether a good part of the picture is in the window. */
  isLookedAt() {
    const { top, bottom } = this.picture.getBoundingClientRect();
    return top < window.innerHeight * 0.7 && bottom > window.innerHeight * 0.3 && window.scrollY > 0;
  }

  /** Bring a token that was found in sight, where tokens go down. */
  reveal() {
    const token = this.reveals;
    this.reveals = -1;
    if (token < 0 || !this.geometry?.transposed) return;
    const y = this.windowY(token);
    if (y < SEEN_FROM || y > window.innerHeight * SEEN_UP_TO) window.scrollBy({ top: y - window.innerHeight * (SEEN_UP_TO / 2) });
  }

  /** @param {Part} part @param {Partial<import("../../data/axes.js").At>} [go] */
  turnTo(part, go = {}) {
    this.part = part;
    this.inspector.lift(true);
    this.selection.set(go);
  }

  /** A record begins. */
  open() {
    this.part = "head";
    this.inspector.lift(false);
    this.drawnBase = "";
    this.told = "";
    this.wanted.key = "";
    this.front = null;
    this.point(null);
    this.search.open();
  }

  /** While a pass is played. @param {Front | null} front */
  play(front) {
    const goesOn = front !== null && this.front !== null;
    this.front = front;
    this.playedStep = this.selection.at.step;
    if (goesOn) return this.climb();
    if (front) this.follow();
    this.restedAt = -Infinity; // words go with the pass that begins
    return this.redraw();
  }

  /** @param {State} state */
  seen({ run, at }) {
    const { base } = this.selection;
    const last = run.steps[at.step].last;
    const top = this.front ? Math.min(Math.floor(this.front.level), run.nLayers) : run.nLayers;
    return { run, step: at.step, top, focus: [...new Set([last, this.front ? last : Math.min(base.token, last)])], keep: this.part === "cache", climbs: this.front !== null, marked: this.search.marked };
  }

  /** @param {State} state */
  paint(state) {
    if (state.at.step !== this.playedStep) this.front = null; // the selection has moved on
    const width = this.width();
    if (!width) return;
    const { run, at, colours } = state;
    const transposed = window.matchMedia(NARROW).matches;
    const seen = this.seen(state);
    const wanted = this.sizes(run, transposed);
    this.picture.style.height = transposed ? `${heightDown(run.tokens.length)}px` : "";
    const height = transposed ? heightDown(run.tokens.length) : Math.max(this.picture.clientHeight, LEAST_HEIGHT);
    if (transposed && !this.front && at.step !== this.seenStep && this.isLookedAt()) this.reveals = run.steps[at.step].last; // who steps sees the row
    this.seenStep = at.step;
    const key = [run.id, run.stamp, at.step, seen.top, seen.focus, seen.keep, this.search.searched, width, height, colours.stamp].join("/");
    if (key !== this.drawnBase) {
      this.drawnBase = key;
      const { last } = run.steps[at.step];
      this.geometry = new Geometry({ width, height, transposed, levels: run.nLayers + 1, wanted, focus: seen.focus, known: last + 2 });
      const g = fit(this.base, width, height);
      drawCells(g, this.geometry, seen, colours);
      drawTop(g, this.geometry, seen, this.front, colours);
      drawFoot(g, this.geometry, seen, colours);
      drawOutput(g, this.geometry, seen, colours);
    }
    this.paintOver(state, seen);
    this.reveal();
    this.lookAt(run, seen);
    if (key !== this.readKey) this.readout.again(run); // what is pointed at may be known by now
    this.readKey = key;
  }

  /** Columns with words, and what is pointed at, are looked at. @param {Run} run @param {import("./cells.js").Seen} seen */
  lookAt(run, { focus }) {
    if (!run.lensOnDemand || !this.geometry) return;
    const wide = this.geometry.columns.flatMap((column, i) => (column.wide ? [i] : [])).reverse();
    this.lens.look([...(this.pointed ? [this.pointed.token] : []), ...focus.toReversed(), ...wide]);
  }

  /** @param {State} state @param {import("./cells.js").Seen} seen */
  paintOver({ run, at, colours }, seen) {
    const { geometry, pointed, front } = this;
    if (!geometry) return;
    const g = fit(this.over, geometry.width, geometry.height);
    const { last } = run.steps[at.step];
    if (front) {
      const layer = Math.min(Math.max(Math.floor(front.level) - 1, 0), run.nLayers - 1);
      drawNames(g, geometry, layer, colours);
      if (front.level <= run.nLayers) {
        drawFront(g, geometry, seen, front.level, colours);
        const looks = front.level >= 1 ? looksOfLayer(run, layer, last) : null;
        if (looks) drawArcs(g, geometry, seen, { token: last, layer, head: null, looks }, colours);
      } else drawFalling(g, geometry, seen, front.falling, colours);
      return;
    }
    const place = pointed && pointed.level > 0 ? { token: pointed.token, layer: pointed.level - 1 } : { token: Math.min(at.token, last), layer: at.layer };
    drawNames(g, geometry, place.layer, colours);
    const head = pointed || this.part !== "head" ? null : at.head;
    const looks = this.part === "token" && !pointed ? null : head === null ? looksOfLayer(run, place.layer, place.token) : looksOfHead(run, place.layer, head, place.token);
    drawPlace(g, geometry, pointed?.token ?? place.token, pointed ? Math.max(pointed.level, 0) : place.layer + 1, pointed !== null, colours);
    if (looks && (this.part === "head" || this.part === "cell" || pointed)) drawArcs(g, geometry, seen, { ...place, head, looks }, colours);
  }

  /** How wide each column's words are, measured once a run and size of it. @param {Run} run @param {boolean} transposed */
  sizes(run, transposed) {
    const key = `${run.id}/${run.tokens.length}/${transposed}/${run.lens !== null}`;
    if (this.wanted.key === key) return this.wanted.sizes;
    const g = /** @type {CanvasRenderingContext2D} */ (this.over.getContext("2d", { willReadFrequently: true }));
    setFont(g, { bold: true, size: 13.5 });
    const sizes = run.tokens.map((token, i) => {
      if (transposed) return ROW_DOWN;
      const guess = i < run.nRead ? guessAt(run, run.nLayers, i) : null;
      const said = guess ? g.measureText(word({ id: guess.id, text: run.texts.get(guess.id) ?? "" }).text).width : 0;
      return Math.min(Math.max(g.measureText(word(token).text).width + 14, said + 18, 34), 68);
    });
    this.wanted = { key, sizes };
    return sizes;
  }

  /** @param {State} state */
  draw(state) {
    const { run, at } = state;
    const moment = this.front && this.front.level <= run.nLayers ? Math.floor(this.front.level) : null;
    say(this.says, line(run, at, moment));
    const { model } = run.head;
    if (this.about.dataset.of !== run.id) say(this.warning, run.head.shows.parity ? phrase("These numbers may not be what the model computes unwatched: {reason}.", { reason: run.head.shows.parity }) : "");
    if (this.about.dataset.of !== run.id) fill(this.about, h("span", { class: "ts-model-note", title: model.note || undefined }, [model.name, model.note].filter(Boolean).join(", ")));
    this.about.dataset.of = run.id;
    this.markChapter(run);
    this.search.draw(run);
    this.inspector.drawLikely(state, this.front ? Math.min(Math.floor(this.front.level), run.nLayers) : null);
    this.state = state;
    if (this.rest) return; // while steps fly by, words are made anew a few times a second
    const since = performance.now() - this.restedAt;
    if (since >= REST_MS) this.drawRest();
    else this.rest = window.setTimeout(() => this.drawRest(), REST_MS - since);
  }

  /** All canvases in its frame, now. @param {State} state */
  repaint(state) {
    this.paint(state);
    this.inspector.repaint(state);
  }

  /** The words beside and below the picture. */
  drawRest() {
    const { state } = this;
    this.rest = 0;
    this.restedAt = performance.now();
    if (!state || state.run !== this.selection.record) return;
    this.inspector.draw(this.front ? this.climbed(state, this.front) : state, this.part);
    this.drawStory(state);
    this.table.draw(state);
  }

  /** While a pass is played, a closer look is at the layer that it has come to. @param {State} state @param {Front} front @returns {State} */
  climbed(state, { level }) {
    const { run, at } = state;
    const layer = Math.min(Math.max(Math.floor(level) - 1, 0), run.nLayers - 1);
    return { ...state, at: { ...at, layer, token: run.steps[at.step].last } };
  }

  /** The caption of what is looked at, or of what is played now, is marked. @param {Run} run */
  markChapter(run) {
    const now = this.front ? chapterAt(this.front, run.nLayers) : CHAPTER_OF[this.part];
    for (const each of this.captions.querySelectorAll("button")) {
      const pressed = String(each.dataset.chapter === now);
      if (each.getAttribute("aria-pressed") !== pressed) each.setAttribute("aria-pressed", pressed);
    }
  }

  /** @param {State} state */
  drawStory({ run, at }) {
    const all = captions(run, at);
    const key = JSON.stringify(all.map(({ text }) => text));
    if (key === this.told) return;
    this.told = key;
    const held = this.captions.contains(document.activeElement) ? Array.from(this.captions.querySelectorAll("button")).indexOf(/** @type {any} */ (document.activeElement)) : -1;
    fill(this.captions, ...all.map(({ chapter, title, text, go }, i) => h("li", {},
      h("button", { type: "button", class: "ts-caption", "data-chapter": chapter, onclick: () => this.turnTo(PART_OF[chapter], go) },
        h("span", { class: "ts-caption-number" }, String(i + 1)),
        h("span", {}, h("b", {}, title), h("span", { class: "ts-caption-text" }, text))))));
    this.markChapter(run);
    this.captions.querySelectorAll("button")[held]?.focus();
  }
}

/** Where tokens go down, the picture is as high as all of them need, at whatever step; of a long run older ones share what they have. @param {number} n tokens of the run */
function heightDown(n) {
  return EDGES_DOWN + ROW_DOWN * (Math.min(n, WIDE) + 1) + Math.min(2 * Math.max(n - WIDE, 0), NARROW_DOWN);
}
