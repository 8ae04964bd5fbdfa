// @ts-check
// Text becomes tokens: each piece with its number; fragments of one character stand together.

import { h, fill, fadeWhatGoesOn, keepInView, tokenText, quoted } from "../dom.js";
import { bytesOf, count, label, tokenPieces } from "../format.js";
import { isFragment } from "../store.js";

const NAMES = new Map([["[ZWJ]", "a joiner (ZWJ)"], ["[ZWNJ]", "a non-joiner (ZWNJ)"], ["\ufe0f", "an emoji mark (VS16)"], ["\ufe0e", "a text mark (VS15)"]]);

/** @type {import("../card.js").View} */
export const tokens = {
  id: "tokens",
  title: "Text to tokens",
  sentence: "The model never sees letters. The text is cut into tokens, and each token is a number from its vocabulary; "
    + "the number stands below the piece. Click a token to see what it looks at.",
  create(body, { selection }) {
    const strip = h("div", { class: "ts-strip", role: "listbox", "aria-label": "Tokens", tabindex: "0", "data-own-keys": true });
    const grown = fadeWhatGoesOn(strip);
    const readout = h("p", { class: "ts-readout", "aria-live": "polite" });
    body.append(
      h("p", { class: "ts-legend" }, h("span", { class: "ts-swatch ts-is-prompt" }, "prompt"), h("span", { class: "ts-swatch ts-is-generated" }, "written by the model"),
        h("span", { class: "ts-muted" }, "· is a space, ↵ a new line, “byte” or “bytes” a part of a character")),
      strip, readout);
    /** @type {HTMLElement[]} */
    let drawn = [];
    let of = "";
    let shown = "";
    /** @type {HTMLElement | null} */
    let group = null;

    strip.addEventListener("keydown", (event) => {
      const by = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
      if (!by) return;
      event.preventDefault();
      selection.set({ token: selection.at.token + by }, { lock: true });
    });

    /** @param {import("../store.js").Run} run @param {number} position */
    function make(run, position) {
      const token = run.tokens[position];
      return h("div", {
        class: `ts-chip ${position < run.nPrompt ? "ts-is-prompt" : "ts-is-generated"}`,
        role: "option", id: `ts-token-${position}`, "aria-selected": "false",
        "aria-label": `token ${position}, ${label(token)}, id ${token.id}, ${position < run.nPrompt ? "prompt" : "written"}`,
        onclick: () => selection.set({ token: position }, { lock: true }),
        onpointerenter: (event) => { if (/** @type {PointerEvent} */ (event).pointerType === "mouse") selection.preview({ token: position }); },
        onpointerleave: () => selection.preview(null),
      }, tokenText(token), h("span", { class: "ts-id" }, String(token.id)));
    }

    /** @param {import("../store.js").Run} run */
    function append(run) {
      if (drawn.length < run.tokens.length) grown();
      while (drawn.length < run.tokens.length) {
        const position = drawn.length;
        const chip = make(run, position);
        drawn.push(chip);
        const fragment = isFragment(run.tokens[position]);
        if (!fragment) group = null;
        else if (group === null) {
          group = h("div", { class: "ts-fragments", role: "group" });
          strip.append(group);
        }
        (group ?? strip).append(chip);
        const joined = group && run.joined(position);
        if (group && joined) {
          group.append(h("span", { class: "ts-fragments-name", "aria-hidden": "true" }, `${group.children.length} tokens make `, makes(joined.text)));
          group = null;
        }
      }
    }

    return {
      draw({ run, at, step }) {
        if (of !== run.id) {
          of = run.id;
          drawn = [];
          group = null;
          shown = "";
          fill(strip);
        }
        append(run);
        const now = `${at.token}/${at.step}/${drawn.length}`;
        if (now !== shown) {
          shown = now;
          drawn.forEach((chip, i) => {
            chip.setAttribute("aria-selected", String(i === at.token));
            chip.classList.toggle("ts-not-yet", i > step.last && i < step.chosenAt || i >= step.chosenAt + step.choices.length);
            chip.classList.toggle("ts-now", i >= step.chosenAt && i < step.chosenAt + step.choices.length);
          });
          strip.setAttribute("aria-activedescendant", `ts-token-${at.token}`);
          keepInView(strip, drawn[at.token]);
          sayToken(readout, run, at.token);
        }
      },
      numbers({ run }) {
        return {
          columns: ["position", "token", "id", "bytes", "bytes of the text", "from"],
          rows: run.tokens.map((token, i) => [String(i), tokenText(token), String(token.id), bytesOf(token.hex) || "(not given)",
            `${token.span[0]}–${token.span[1]}`, token.special ? "the format" : token.generated ? "the model" : "the prompt"]),
          note: "Bytes are in UTF-8, in hexadecimal. A token can be part of a character, a word, or a mark of the chat format.",
          code: "from model import Trace\nrun = Trace.open('run.trace')\nfor token in run.tokens:\n    print(token.id, repr(token.text), token.data.hex(' '), token.span)",
        };
      },
    };
  },
};

/** What fragments make together, named where it cannot be seen. @param {string} text */
function makes(text) {
  const trimmed = text.trim() || text;
  return h("bdi", {}, /^[\p{M}\p{Cf}\s]+$/u.test(trimmed) ? tokenPieces({ text: trimmed }).map((piece) => NAMES.get(piece.text) ?? piece.text).join("") : trimmed);
}

/** @param {HTMLElement} readout @param {import("../store.js").Run} run @param {number} position */
function sayToken(readout, run, position) {
  const token = run.tokens[position];
  if (!token) return;
  const from = token.special ? "a mark of the format" : position < run.nPrompt ? "from the prompt" : "written by the model";
  fill(readout, `Token ${position} (of 0–${run.tokens.length - 1}): `, quoted(token), `, id ${token.id} of ${count(run.head.model.d_vocab)}, ${from}`,
    token.hex ? `, ${token.hex.length > 2 ? "bytes" : "byte"} ${bytesOf(token.hex.slice(0, 48))}${token.hex.length > 48 ? " …" : ""}.` : ".");
}
