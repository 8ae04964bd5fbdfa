// @ts-check
// The text as it stands: prompt and answer, each written token tinted by how unsure the model was.

import { button, h, fill, fadeWhatGoesOn, keepInView, tokenText, quoted } from "../../core/dom.js";
import { percent, plain, count } from "../../core/format.js";
import { additions, flowing } from "../../data/running_text.js";
import { isTemplate, promptSources } from "../../data/prompt_sources.js";
import { ReservedSpace } from "../../core/reserve_space.js";
import { phrase, phraseParts } from "../../core/texts.js";

/** @typedef {import("../../data/store.js").Run} Run */
/** @typedef {import("../../data/store.js").Step} Step */

const SURE = 0.8; // a likelier token blends in
const DOUBT = phrase("Entropy measures uncertainty, in nats: 0 is certain; the more tokens are likely, the higher it is");
const TINT = 0.85; // of the colour of doubt, at most: the text on it stays legible
const MOST_HIGH = 412; // px: twelve lines
const MOST_MINI = 400; // tokens drawn in little

/** @type {import("../../data/view.js").View} */
export const output = {
  id: "output",
  title: phrase("The text"),
  lead: phrase("What the model read and wrote; a strong tint marks an unlikely token."),
  more: phrase("The stronger the tint under a written token, the lower the probability that the model gave it. Point at a token to see its numbers; click it to select it and to see below why it was chosen."),
  create(body, { selection }) {
    const text = h("p", { class: "ts-text", role: "group", tabindex: "0", dir: "auto", "aria-label": phrase("Prompt and written text") });
    const grown = fadeWhatGoesOn(text, MOST_HIGH);
    const readout = h("p", { class: "ts-readout", "aria-live": "polite", title: DOUBT });
    const room = new ReservedSpace(readout, "readout");
    const surprise = h("p", { class: "ts-note" });
    const template = h("span", { class: "ts-swatch ts-is-prompt ts-is-template" }, phrase("added by the chat template"));
    body.append(
      h("p", { class: "ts-legend" }, h("span", { class: "ts-swatch ts-is-prompt" }, phrase("prompt")), template,
        h("span", { class: "ts-swatch ts-is-generated" }, phrase("written by the model")), h("span", { class: "ts-now-key" }, phrase("written in this pass")),
        h("span", { class: "ts-not-yet-key" }, phrase("not written yet")),
        h("span", { class: "ts-doubt-key" }, phrase("likely (80% and more)"), h("span", { class: "ts-doubt-scale", "aria-hidden": "true" }), phrase("unlikely"))),
      text, room.element, surprise);
    /** @type {HTMLElement[]} */
    let drawn = [];
    let of = "";
    let said = 0; // passes whose words have room
    let settled = 0; // what comes later leaves the tokens before this one as they are
    /** @type {import("../../data/prompt_sources.js").From[] | null} */
    let sources = null;
    /** @type {[number, number]} */
    let marked = [-1, -1];
    let told = -1;

    /** @param {Run} run @param {number} position */
    function make(run, position) {
      if (position < run.nPrompt) {
        return h("span", { class: `ts-word ts-is-prompt ${isTemplate(sources, position) ? "ts-is-template" : ""}` });
      }
      const step = run.chosenBy(position);
      const choice = choiceOf(run, position);
      const doubt = doubtOf(choice.probability);
      const element = h("span", {
        class: `ts-word ts-is-generated ${doubt > 0 ? "ts-is-doubtful" : ""}`,
        title: choice.rank === 0 ? phrase("{percent}, the most likely token", { percent: percent(choice.probability) }) : phrase("{percent}, rank {rank}", { percent: percent(choice.probability), rank: count(choice.rank + 1) }),
        onclick: () => selection.set({ step, token: position }, { lock: true }),
        onpointerenter: (event) => { if (/** @type {PointerEvent} */ (event).pointerType === "mouse") selection.preview({ step, token: position }); },
        onpointerleave: () => selection.preview(null),
      });
      element.style.setProperty("--ts-share", `${Math.round(doubt * TINT * 100)}%`);
      return element;
    }

    /** Name the least likely of the written tokens, once there are some to compare. @param {Run} run */
    function nameLeastLikely(run) {
      const written = run.tokens.slice(run.nPrompt).map((token, i) => ({ token, position: run.nPrompt + i, choice: choiceOf(run, run.nPrompt + i) }));
      surprise.hidden = written.length < 2;
      if (surprise.hidden) return;
      const least = written.reduce((best, each) => (each.choice.probability < best.choice.probability ? each : best));
      const step = run.chosenBy(least.position);
      const go = button("", () => selection.set({ step, token: least.position }, { lock: true }), { class: "ts-button" });
      fill(go, quoted(least.token));
      fill(surprise, ...phraseParts("The least likely token of this run: {token}, {percent}, written in step {step}.", { token: go, percent: percent(least.choice.probability), step: count(step) }));
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
      nameLeastLikely(run);
    }

    return {
      draw({ run, step, word }) {
        if (of !== run.id) {
          of = run.id;
          drawn = [];
          settled = said = 0;
          room.clear();
          marked = [-1, -1];
          sources = promptSources(run);
          template.hidden = sources === null;
          fill(text);
        }
        if (drawn.length < run.tokens.length) {
          grow(run);
          marked = [-1, -1];
        }
        for (; said < run.steps.length; said += 1) room.keep(...words(run, run.steps[said], 0));
        const end = step.chosenAt + step.choices.length;
        const position = Math.max(word, step.chosenAt);
        if (marked[0] === step.chosenAt && marked[1] === end && told === position) return;
        told = position;
        const [from, to] = marked[1] < 0 ? [0, drawn.length] : [Math.min(marked[0], step.chosenAt), Math.max(marked[1], end)];
        for (let i = from; i < to; i += 1) { // what lies outside the two passes stays as it is
          drawn[i].classList.toggle("ts-not-yet", i >= end);
          drawn[i].classList.toggle("ts-now", i >= step.chosenAt && i < end);
        }
        marked = [step.chosenAt, end];
        keepInView(text, drawn[step.chosenAt]);
        fill(readout, ...words(run, step, position));
      },
      numbers({ run }) {
        const rows = run.tokens.slice(run.nPrompt).map((token, i) => {
          const choice = choiceOf(run, run.nPrompt + i);
          return [count(run.nPrompt + i), tokenText(token), count(choice.id), percent(choice.probability), count(choice.rank + 1), plain(choice.entropy)];
        });
        return {
          columns: [phrase("position"), phrase("token"), phrase("id"), phrase("probability"), phrase("rank"), phrase("entropy (nats)")],
          rows,
          note: phrase("Probabilities are raw: over all {n} tokens, before settings such as temperature change them. Entropy measures uncertainty: e to the power of the entropy is the number of equally likely tokens with the same uncertainty.", { n: count(run.head.model.d_vocab) }),
          code: "from model import Trace\nrun = Trace.open('run.trace')\nfor choice in run.choices:\n"
            + "    print(repr(run.texts[choice.id]), choice.probability, choice.rank + 1, choice.entropy)",
        };
      },
    };
  },
  glance({ run, step, colours }) {
    const written = run.tokens.length - run.nPrompt;
    return {
      value: [phrase("wrote {n} of {all}", { n: count(step.chosenAt + step.choices.length - run.nPrompt), all: count(written) })],
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

/** Entropy in words: among how many equally likely tokens the uncertainty would be the same. @param {number} entropy in nats */
function entropyWords(entropy) {
  const many = Math.exp(entropy);
  if (many < 1.15) return phrase("The model was almost certain (entropy {entropy} nats, a measure of uncertainty: 0 is certain).", { entropy: plain(entropy) });
  return phrase("The model was as uncertain as among {n} equally likely tokens (entropy {entropy} nats, a measure of uncertainty: 0 is certain).", { n: many < 9.95 ? many.toFixed(1) : count(many), entropy: plain(entropy) });
}

/** @param {Run} run @param {Step} step @param {number} word the position of one of the tokens that it wrote, else the first of them
 * @returns {import("../../core/dom.js").Child[]} */
function words(run, step, word) {
  const position = Math.max(word, step.chosenAt);
  const choice = step.choices[position - step.chosenAt];
  if (!choice) return [phrase("This pass read a part of the prompt and wrote nothing yet.")];
  const values = { step: count(step.index), token: quoted(run.tokens[position]), n: count(position), percent: h("strong", {}, percent(choice.probability)), rank: count(choice.rank + 1), all: count(run.head.model.d_vocab) };
  const place = choice.rank === 0 ? phraseParts("Written in step {step}: {token} (token {n}), probability {percent}, the most likely of {all} tokens.", values)
    : phraseParts("Written in step {step}: {token} (token {n}), probability {percent}, rank {rank} of {all} tokens.", values);
  return [...place, " ", entropyWords(choice.entropy)];
}
