// @ts-check
// The loop of writing: what this pass read, the model with its cache, what it wrote, and the way back. From one pass to the
// next the written token really flies to where it is read; nothing else moves.

import { h, fill, say, tokenText, watchSight } from "../../core/dom.js";
import { count } from "../../core/format.js";
import { ReservedSpace } from "../../core/reserve_space.js";
import { counted, phrase } from "../../core/texts.js";

/** @typedef {import("../../data/store.js").Run} Run */
/** @typedef {import("../../data/store.js").Step} Step */

const [LONGEST_MS, SHORTEST_MS] = [380, 120]; // of a flight
const [FROM_START, TO_END] = [1, 2]; // tokens of a long prompt that are shown

/** @param {import("../../data/selection.js").Selection} selection */
export function makeLoop(selection) {
  const room = h("div", { class: "ts-loop-room", "aria-hidden": "true" }); // holds what the fullest pass reads: no pass is higher
  const [read, readWords] = [h("div", { class: "ts-loop-chips" }), h("span", { class: "ts-loop-words" })];
  const [written, writtenWords] = [h("div", { class: "ts-loop-chips" }), h("span", { class: "ts-loop-words" })];
  const [layers, cache] = [h("strong"), h("span", { class: "ts-loop-words" })];
  const words = { read: new ReservedSpace(readWords, "name"), cache: new ReservedSpace(cache, "name"), written: new ReservedSpace(writtenWords, "name") };
  const back = h("div", { class: "ts-loop-back" }, h("span"));
  const arrow = () => h("span", { class: "ts-loop-arrow", "aria-hidden": "true" }, "→");
  const element = h("div", { class: "ts-loop" },
    h("div", { class: "ts-loop-box" }, words.read.element, h("div", { class: "ts-loop-read" }, read, room)), arrow(),
    h("div", { class: "ts-loop-box ts-loop-model" }, layers, words.cache.element), arrow(),
    h("div", { class: "ts-loop-box" }, words.written.element, written), back);
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");
  let inSight = false;
  watchSight(element, (entry) => { inSight = entry.isIntersecting; });
  /** from the place of reading to the place of writing, and down to the way back; measured when they move, not when a token flies */
  let path = { across: 0, down: 0 };
  const measure = () => {
    const [from, to, under] = [read, written, back].map((each) => each.getBoundingClientRect());
    path = { across: (to.left + to.right - from.left - from.right) / 2, down: (under.top + under.bottom - from.top - from.bottom) / 2 };
  };
  const observer = new ResizeObserver(measure);
  for (const each of [element, read, written]) observer.observe(each);
  let shown = { run: "", step: -1, tokens: 0, ended: false };
  let since = 0;
  let [roomOf, roomFor] = ["", 0];

  /** @param {Element | null} chip @param {number} ms */
  function fly(chip, ms) {
    const { across, down } = path;
    chip?.animate([{ transform: `translate(${across}px, 0)` }, { transform: `translate(${across}px, ${down}px)`, offset: 0.25 },
      { transform: `translate(0, ${down}px)`, offset: 0.75 }, { transform: "none" }], { duration: ms, easing: "ease-in-out" });
  }

  return {
    element,
    /** @param {Run} run @param {Step} step */
    draw(run, step) {
      if (roomOf !== run.id) {
        roomOf = run.id;
        roomFor = 0;
        for (const each of Object.values(words)) each.clear();
        const most = run.steps.reduce((best, each) => (each.n > best.n ? each : best), run.steps[0]);
        fill(room, ...chips(run, most.first, most.n));
      }
      for (; roomFor < run.steps.length; roomFor += 1) {
        const each = run.steps[roomFor];
        words.read.keep(readsWhat(each));
        words.cache.keep(cacheWords(run, each));
        words.written.keep(writesWhat(each));
      }
      if (shown.run === run.id && shown.step === step.index && shown.tokens === run.tokens.length && shown.ended === (run.end !== null)) return;
      const goesOn = shown.run === run.id && shown.step === step.index - 1 && step.n === 1 && !selection.hovered;
      const now = performance.now();
      const ms = Math.min(LONGEST_MS, now - since); // a fast run is not slowed down, nor shown in the wrong place
      since = now;
      shown = { run: run.id, step: step.index, tokens: run.tokens.length, ended: run.end !== null };
      say(readWords, readsWhat(step));
      fill(read, ...chips(run, step.first, step.n));
      say(layers, counted(run.nLayers, "{n} layer", "{n} layers"));
      say(cache, cacheWords(run, step));
      say(writtenWords, writesWhat(step));
      fill(written, ...chips(run, step.chosenAt, step.choices.length));
      back.classList.toggle("ts-loop-ends", step.index === run.steps.length - 1 && run.end !== null);
      say(/** @type {Element} */ (back.firstElementChild), wayBack(run, step));
      if (goesOn && inSight && !still.matches && ms >= SHORTEST_MS) fly(read.firstElementChild, ms);
    },
  };
}

/** @param {Step} step */
function readsWhat({ n }) {
  return counted(n, "reads {n} token", "reads {n} tokens", { n: count(n) });
}

/** @param {Step} step */
function writesWhat({ choices }) {
  return choices.length ? phrase("writes") : phrase("writes nothing yet");
}

/** @param {Run} run @param {Step} step */
function wayBack(run, step) {
  if (step.index < run.steps.length - 1 || !run.end) return step.choices.length ? phrase("the next pass reads it") : phrase("the next pass reads more of the prompt");
  return phrase("the run ended here");
}

/** @param {Run} run @param {Step} step */
function cacheWords(run, step) {
  const n = step.last + 1;
  const drops = run.head.rules.some((/** @type {{window: number | null}} */ rule) => rule.window !== null && rule.window <= n);
  if (drops) return counted(n, "KV cache: {n} token kept, fewer in layers with a window", "KV cache: {n} tokens kept, fewer in layers with a window", { n: count(n) });
  return counted(n, "KV cache: {n} token kept", "KV cache: {n} tokens kept", { n: count(n) });
}

/** The tokens from `first` on; of many, the first and the last. @param {Run} run @param {number} first @param {number} n */
function chips(run, first, n) {
  const chip = (/** @type {number} */ position) =>
    h("span", { class: `ts-loop-chip ${position < run.nPrompt ? "ts-is-prompt" : "ts-is-generated"}` }, tokenText(run.tokens[position]));
  const range = (/** @type {number} */ from, /** @type {number} */ to) => Array.from({ length: to - from }, (_, i) => chip(from + i));
  if (n <= FROM_START + TO_END + 1) return range(first, first + n);
  return [...range(first, first + FROM_START), h("span", { class: "ts-muted" }, phrase("… {n} more …", { n: count(n - FROM_START - TO_END) })), ...range(first + n - TO_END, first + n)];
}
