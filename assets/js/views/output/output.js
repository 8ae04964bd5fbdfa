// @ts-check
// The text as it stands: prompt and answer, each written token tinted by how unsure the model was.

import { h, fill, fadeWhatGoesOn, keepInView, tokenText, quoted } from "../../core/dom.js";
import { percent, plain, count } from "../../core/format.js";
import { additions, flowing, typedPart } from "../../data/running_text.js";
import { ReservedSpace } from "../../core/reserve_space.js";

/** @typedef {import("../../data/store.js").Run} Run */
/** @typedef {import("../../data/store.js").Step} Step */

const SURE = 0.8; // a likelier token blends in
const DOUBT = "Entropy measures doubt, in nats: 0 is sure; the more tokens are likely, the higher it is";
const TINT = 0.85; // of the colour of doubt, at most: the text on it stays legible
const MOST_HIGH = 412; // px: twelve lines
const MOST_MINI = 400; // tokens drawn in little

/** @type {import("../../board/card.js").View} */
export const output = {
  id: "output",
  title: "The text",
  sentence: "What the model read and what it wrote, token by token. The stronger the tint under a written token, the less likely the model "
    + "found it. Point at one to see its numbers, click it to stay there and see below why it was chosen.",
  create(body, { selection }) {
    const text = h("p", { class: "ts-text", role: "group", tabindex: "0", dir: "auto", "aria-label": "Prompt and written text" });
    const grown = fadeWhatGoesOn(text, MOST_HIGH);
    const readout = h("p", { class: "ts-readout", "aria-live": "polite", title: DOUBT });
    const room = new ReservedSpace(readout, "readout");
    const template = h("span", { class: "ts-swatch ts-is-prompt ts-is-template" }, "added by the chat template");
    body.append(
      h("p", { class: "ts-legend" }, h("span", { class: "ts-swatch ts-is-prompt" }, "prompt"), template,
        h("span", { class: "ts-swatch ts-is-generated" }, "written by the model"), h("span", { class: "ts-now-key" }, "written in this pass"),
        h("span", { class: "ts-not-yet-key" }, "not written yet"),
        h("span", { class: "ts-doubt-key" }, "likely (80% and more)", h("span", { class: "ts-doubt-scale", "aria-hidden": "true" }), "unlikely")),
      text, room.element);
    /** @type {HTMLElement[]} */
    let drawn = [];
    let of = "";
    let said = 0; // passes whose words have room
    let settled = 0; // what comes later leaves the tokens before this one as they are
    /** @type {[number, number] | null} */
    let typed = null;
    /** @type {[number, number]} */
    let marked = [-1, -1];

    /** @param {Run} run @param {number} position */
    function make(run, position) {
      if (position < run.nPrompt) {
        const added = typed !== null && (position < typed[0] || position >= typed[1]);
        return h("span", { class: `ts-word ts-is-prompt ${added ? "ts-is-template" : ""}` });
      }
      const step = run.chosenBy(position);
      const choice = choiceOf(run, position);
      const doubt = doubtOf(choice.probability);
      const element = h("span", {
        class: `ts-word ts-is-generated ${doubt > 0 ? "ts-is-doubtful" : ""}`,
        title: `${percent(choice.probability)}, ${placeOf(choice.rank)}`,
        onclick: () => selection.set({ step }, { lock: true }),
        onpointerenter: (event) => { if (/** @type {PointerEvent} */ (event).pointerType === "mouse") selection.preview({ step }); },
        onpointerleave: () => selection.preview(null),
      });
      element.style.setProperty("--ts-share", `${Math.round(doubt * TINT * 100)}%`);
      return element;
    }

    /** @param {Run} run */
    function grow(run) {
      while (drawn.length < run.tokens.length) drawn.push(make(run, drawn.length));
      const parts = additions(run, settled);
      parts.forEach((part, i) => fill(drawn[settled + i], ...flowing(run.tokens[settled + i], part)));
      text.append(...drawn.slice(text.children.length));
      grown();
      const whole = parts.findLastIndex((part, i) => part === run.tokens[settled + i].text);
      if (whole > 0) settled += whole;
    }

    return {
      draw({ run, step }) {
        if (of !== run.id) {
          of = run.id;
          drawn = [];
          settled = said = 0;
          room.clear();
          marked = [-1, -1];
          typed = run.head.settings.chat ? typedPart(run) : null;
          template.hidden = typed === null;
          fill(text);
        }
        if (drawn.length < run.tokens.length) {
          grow(run);
          marked = [-1, -1];
        }
        for (; said < run.steps.length; said += 1) room.keep(...words(run, run.steps[said]));
        const end = step.chosenAt + step.choices.length;
        if (marked[0] === step.chosenAt && marked[1] === end) return;
        const [from, to] = marked[1] < 0 ? [0, drawn.length] : [Math.min(marked[0], step.chosenAt), Math.max(marked[1], end)];
        for (let i = from; i < to; i += 1) { // what lies outside the two passes stays as it is
          drawn[i].classList.toggle("ts-not-yet", i >= end);
          drawn[i].classList.toggle("ts-now", i >= step.chosenAt && i < end);
        }
        marked = [step.chosenAt, end];
        keepInView(text, drawn[step.chosenAt]);
        fill(readout, ...words(run, step));
      },
      numbers({ run }) {
        const rows = run.tokens.slice(run.nPrompt).map((token, i) => {
          const choice = choiceOf(run, run.nPrompt + i);
          return [count(run.nPrompt + i), tokenText(token), count(choice.id), percent(choice.probability), count(choice.rank + 1), plain(choice.entropy)];
        });
        return {
          columns: ["position", "token", "id", "probability", "place in likelihood", "entropy (nats)"],
          rows,
          note: `Probabilities are raw: over all ${count(run.head.model.d_vocab)} tokens, before any setting such as temperature changes them. Entropy measures doubt: `
            + "e to its power is how many equally likely tokens would leave as much of it.",
          code: "from model import Trace\nrun = Trace.open('run.trace')\nfor choice in run.choices:\n"
            + "    print(repr(run.texts[choice.id]), choice.probability, choice.rank + 1, choice.entropy)",
        };
      },
    };
  },
  glance({ run, step, colours }) {
    const written = run.tokens.length - run.nPrompt;
    return {
      value: [`wrote ${count(step.chosenAt + step.choices.length - run.nPrompt)} of ${count(written)}`],
      mini: (g, width, height) => drawMini(g, width, height, run, step, colours),
    };
  },
};

/** The text in little: a bar a token, as long as its text, line after line.
 * @param {CanvasRenderingContext2D} g @param {number} width @param {number} height @param {Run} run @param {Step} step @param {import("../../core/canvas.js").Paint} colours */
function drawMini(g, width, height, run, step, colours) {
  const [line, bar] = [6, 4];
  const first = Math.max(0, run.tokens.length - MOST_MINI);
  const letters = run.tokens.slice(first).reduce((sum, token) => sum + token.text.length + 1, 0);
  const letter = Math.min(2, (width * Math.floor(height / line) * 0.92) / letters);
  const end = step.chosenAt + step.choices.length;
  let [x, y] = [0, 1];
  for (let i = first; i < run.tokens.length; i += 1) {
    const w = Math.min(width, (run.tokens[i].text.length + 1) * letter);
    if (x + w > width) [x, y] = [0, y + line];
    g.globalAlpha = i < end ? 1 : 0.25;
    g.fillStyle = i < run.nPrompt ? colours.prompt : colours.generated;
    g.fillRect(x, y, Math.max(w - 1, 0.5), bar);
    if (i >= step.chosenAt && i < end) {
      g.fillStyle = colours.ink;
      g.fillRect(x, y - 1, Math.max(w - 1, 2), bar + 2);
    }
    x += w;
  }
  g.globalAlpha = 1;
}

/** @param {number} probability */
function doubtOf(probability) {
  return Math.max(0, (SURE - probability) / SURE);
}

/** @param {Run} run @param {number} position */
function choiceOf(run, position) {
  const step = run.steps[run.chosenBy(position)];
  return step.choices[position - step.chosenAt];
}

/** @param {number} rank from 0 */
function placeOf(rank) {
  return rank === 0 ? "the likeliest" : `number ${count(rank + 1)} in likelihood`;
}

/** Entropy in words: among how many equally likely tokens the doubt would be the same. @param {number} entropy in nats */
function inDoubtAmong(entropy) {
  const many = Math.exp(entropy);
  if (many < 1.15) return "The model was all but sure";
  return `The model was as unsure as among ${many < 9.95 ? many.toFixed(1) : count(many)} equally likely tokens`;
}

/** @param {Run} run @param {Step} step @returns {import("../../core/dom.js").Child[]} */
function words(run, step) {
  const choice = step.choices[0];
  if (!choice) return ["This pass read a part of the prompt and wrote nothing yet."];
  return ["Written in this pass: ", quoted(run.tokens[step.chosenAt]), ", given ", h("strong", {}, percent(choice.probability)),
    `: ${placeOf(choice.rank)} of ${count(run.head.model.d_vocab)} tokens. ${inDoubtAmong(choice.entropy)} (entropy ${plain(choice.entropy)} nats, a measure of doubt: 0 is sure).`];
}
