// @ts-check
// The text as it stands: prompt and answer, each written token tinted by how unsure the model was.

import { h, fill, fadeWhatGoesOn, keepInView, tokenText, quoted } from "../dom.js";
import { percent, plain, count, running } from "../format.js";
import { isFragment } from "../store.js";

const SURE = 0.8; // a likelier token blends in

/** @type {import("../card.js").View} */
export const output = {
  id: "output",
  title: "The text",
  sentence: "What the model read and what it wrote. The stronger the tint under a written token, the less likely the model found it; "
    + "above 80% there is none. Click a written token to see why it was chosen.",
  create(body, { selection }) {
    const text = h("p", { class: "ts-text", role: "group", tabindex: "0", dir: "auto", "aria-label": "Prompt and written text" });
    const grown = fadeWhatGoesOn(text);
    const readout = h("p", { class: "ts-readout", "aria-live": "polite" });
    body.append(
      h("p", { class: "ts-legend" }, h("span", { class: "ts-swatch ts-is-prompt" }, "prompt"), h("span", { class: "ts-swatch ts-is-generated" }, "written by the model"),
        h("span", { class: "ts-swatch ts-is-doubtful" }, "it was in doubt")),
      text, readout);
    /** @type {HTMLElement[]} */
    let drawn = [];
    let of = "";
    let settled = 0; // what comes later leaves the tokens before this one as they are
    /** @type {[number, number]} */
    let marked = [-1, -1];

    /** @param {import("../store.js").Run} run @param {number} position */
    function make(run, position) {
      if (position < run.nPrompt) return h("span", { class: "ts-word ts-is-prompt" });
      const step = run.chosenBy(position);
      const { probability, rank } = choiceOf(run, position);
      const doubt = Math.max(0, (SURE - probability) / SURE);
      const element = h("span", {
        class: `ts-word ts-is-generated ${doubt > 0 ? "ts-is-doubtful" : ""}`,
        title: `${percent(probability)}${rank > 0 ? `, number ${count(rank + 1)} in likelihood` : ", the likeliest"}`,
        onclick: () => selection.set({ step }, { lock: true }),
        onpointerenter: (event) => { if (/** @type {PointerEvent} */ (event).pointerType === "mouse") selection.preview({ step }); },
        onpointerleave: () => selection.preview(null),
      });
      element.style.setProperty("--ts-share", `${Math.round(doubt * 85)}%`);
      return element;
    }

    /** @param {import("../store.js").Run} run */
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
          settled = 0;
          marked = [-1, -1];
          fill(text);
        }
        if (drawn.length < run.tokens.length) grow(run);
        const end = step.chosenAt + step.choices.length;
        if (marked[0] !== step.chosenAt || marked[1] !== end) {
          drawn.forEach((element, i) => {
            element.classList.toggle("ts-not-yet", i >= end);
            element.classList.toggle("ts-now", i >= step.chosenAt && i < end);
          });
          marked = [step.chosenAt, end];
          keepInView(text, drawn[step.chosenAt]);
        }
        say(readout, run, step);
      },
      numbers({ run }) {
        const rows = run.tokens.slice(run.nPrompt).map((token, i) => {
          const choice = choiceOf(run, run.nPrompt + i);
          return [String(run.nPrompt + i), tokenText(token), String(choice.id), percent(choice.probability), count(choice.rank + 1), `${plain(choice.entropy)} nats`];
        });
        return {
          columns: ["position", "token", "id", "probability", "place in likelihood", "entropy"],
          rows,
          note: `Probabilities are raw: over all ${count(run.head.model.d_vocab)} tokens, before any processor.`,
          code: "from model import Trace\nrun = Trace.open('run.trace')\nfor choice in run.choices:\n"
            + "    print(run.texts[choice.id], choice.probability, choice.rank)",
        };
      },
    };
  },
};

/** What each token from `from` on adds to the running text; null where it shows by its bytes or its name. What reads as one
 * character, such as an accent or an emoji made of several, goes to the token that ends it.
 * @param {import("../store.js").Run} run @param {number} from @returns {(string | null)[]} */
function additions(run, from) {
  /** @type {(string | null)[]} */
  const texts = run.tokens.slice(from).map((token) => (token.special || token.text === "" || isFragment(token) ? null : token.text));
  for (let i = 0; i < texts.length; i += 1) {
    const joined = run.joined(from + i);
    if (joined) texts.fill("", Math.max(joined.first - from, 0), i).fill(joined.text, i, i + 1);
  }
  for (let first = 0; first < texts.length; first += 1) {
    let end = first;
    while (end < texts.length && texts[end] !== null) end += 1;
    const parts = /** @type {string[]} */ (texts.slice(first, end));
    moveToEnds(parts).forEach((part, i) => { texts[first + i] = part; });
    first = end;
  }
  return texts;
}

/** The same text, cut so that no character as a person sees it is cut. @param {string[]} parts */
function moveToEnds(parts) {
  const moved = parts.map(() => "");
  let [at, k, length] = [0, 0, parts[0]?.length ?? 0];
  for (const character of characters(parts.join(""))) {
    at += character.length;
    while (length < at) { k += 1; length += parts[k].length; }
    moved[k] += character;
  }
  return moved;
}

/** What a person sees as one character; a control in it, which is seen by its name, stands alone. @param {string} text @returns {string[]} */
function characters(text) {
  if (!("Segmenter" in Intl)) return [...text];
  return [...new Intl.Segmenter().segment(text)].flatMap(({ segment }) => (running(segment).some((piece) => piece.mark) ? [...segment] : [segment]));
}

/** A token in running text, in the text's own direction: spaces and line ends do what they mean, controls and marks of direction
 * stay visible and do nothing. @param {import("../store.js").Token} token @param {string | null} text */
function flowing(token, text) {
  if (text === null) return [tokenText(token)];
  return running(text).map((piece) => (piece.mark ? h("bdi", { class: "ts-mark" }, piece.text) : piece.text));
}

/** @param {import("../store.js").Run} run @param {number} position */
function choiceOf(run, position) {
  const step = run.steps[run.chosenBy(position)];
  return step.choices[position - step.chosenAt];
}

/** @param {HTMLElement} readout @param {import("../store.js").Run} run @param {import("../store.js").Step} step */
function say(readout, run, step) {
  const choice = step.choices[0];
  if (!choice) {
    fill(readout, "This pass read a part of the prompt and wrote nothing yet.");
    return;
  }
  fill(readout, "This pass wrote ", quoted(run.tokens[step.chosenAt]), `: ${percent(choice.probability)}, `,
    choice.rank === 0 ? "the likeliest" : `number ${count(choice.rank + 1)} in likelihood`, ` of ${count(run.head.model.d_vocab)} tokens.`);
}
