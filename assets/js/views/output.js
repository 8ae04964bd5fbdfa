// @ts-check
// The text as it stands: prompt and answer, each written token tinted by how unsure the model was.

import { h, fill, keepInView, tokenText, quoted } from "../dom.js";
import { percent, plain, count } from "../format.js";

const SURE = 0.8; // a likelier token blends in

/** @type {import("../card.js").View} */
export const output = {
  id: "output",
  title: "The text",
  sentence: "What the model read and what it wrote. The stronger the tint under a written token, the less likely the model found it; "
    + "above 80% there is none. Click a written token to see why it was chosen.",
  create(body, { selection }) {
    const text = h("p", { class: "ts-text", role: "group", tabindex: "0", "aria-label": "Prompt and written text" });
    const readout = h("p", { class: "ts-readout", "aria-live": "polite" });
    body.append(
      h("p", { class: "ts-legend" }, h("span", { class: "ts-swatch ts-is-prompt" }, "prompt"), h("span", { class: "ts-swatch ts-is-generated" }, "written by the model"),
        h("span", { class: "ts-swatch ts-is-doubtful" }, "it was in doubt")),
      text, readout);
    /** @type {HTMLElement[]} */
    let drawn = [];
    let of = "";
    /** @type {[number, number]} */
    let marked = [-1, -1];

    /** @param {import("../store.js").Run} run @param {number} position */
    function make(run, position) {
      const token = run.tokens[position];
      if (position < run.nPrompt) return h("span", { class: "ts-word ts-is-prompt" }, flowing(token));
      const step = run.chosenBy(position);
      const { probability, rank } = choiceOf(run, position);
      const doubt = Math.max(0, (SURE - probability) / SURE);
      const element = h("span", {
        class: `ts-word ts-is-generated ${doubt > 0 ? "ts-is-doubtful" : ""}`,
        title: `${percent(probability)}${rank > 0 ? `, number ${count(rank + 1)} in likelihood` : ", the likeliest"}`,
        onclick: () => selection.set({ step }, { lock: true }),
        onpointerenter: (event) => { if (/** @type {PointerEvent} */ (event).pointerType === "mouse") selection.preview({ step }); },
        onpointerleave: () => selection.preview(null),
      }, flowing(token));
      element.style.setProperty("--ts-share", `${Math.round(doubt * 85)}%`);
      return element;
    }

    return {
      draw({ run, step }) {
        if (of !== run.id) {
          of = run.id;
          drawn = [];
          marked = [-1, -1];
          fill(text);
        }
        while (drawn.length < run.tokens.length) {
          const element = make(run, drawn.length);
          drawn.push(element);
          text.append(element);
          const joined = run.joined(drawn.length - 1);
          if (joined) drawn.slice(joined.first).forEach((part, i, parts) => fill(part, i === parts.length - 1 && h("bdi", { class: "ts-flow" }, joined.text)));
        }
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

/** A token in running text: spaces and line ends do what they mean, controls stay visible. @param {import("../store.js").Token} token */
function flowing(token) {
  const fits = /^[ \n]*[^\s\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufffd]*$/u.test(token.text) && token.text !== "" && !token.special;
  if (!fits) return tokenText(token);
  const ends = token.text.match(/^ *\n[ \n]*$/u);
  return h("bdi", { class: "ts-flow" }, ends && h("span", { class: "ts-mark" }, "↵".repeat(token.text.split("\n").length - 1)), token.text);
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
