// @ts-check
// Text becomes tokens: each piece with its bytes and its number; fragments of one character stand together. Beside them, of
// a chat turn, what the model really reads: what the person typed and what the chat template put around it.

import { h, fill, fadeWhatGoesOn, keepInView, tokenText, quoted } from "../../core/dom.js";
import { bytesOf, count, label, tokenPieces } from "../../core/format.js";
import { additions, flowing, typedPart } from "../../data/running_text.js";
import { isPrompt, isTemplate, nameOf, origin, promptSources } from "../../data/prompt_sources.js";
import { ReservedSpace } from "../../core/reserve_space.js";
import { isFragment } from "../../data/store.js";
import { phrase, phraseParts } from "../../core/texts.js";

/** @typedef {import("../../data/store.js").Run} Run */
/** @typedef {import("../../data/prompt_sources.js").From} From */

const NAMES = new Map([["[ZWJ]", phrase("a joiner (ZWJ)")], ["[ZWNJ]", phrase("a non-joiner (ZWNJ)")], ["\ufe0f", phrase("an emoji variation selector (VS16)")], ["\ufe0e", phrase("a text variation selector (VS15)")]]);
const MOST_HIGH = 408; // px: eight rows of tokens, or twelve lines
const MOST_BYTES = 24; // shown of one token

/** @type {import("../../data/view.js").View} */
export const tokens = {
  id: "tokens",
  title: phrase("Text to tokens"),
  lead: phrase("The tokenizer splits the text into tokens: words or parts of words."),
  more: phrase("The model does not read letters. Each token is a number in the vocabulary, shown below its text."),
  create(body, { selection }) {
    const strip = h("div", { class: "ts-strip", role: "listbox", "aria-label": phrase("Tokens"), tabindex: "0", "data-own-keys": true });
    const grown = fadeWhatGoesOn(strip, MOST_HIGH);
    const way = makeWay();
    const readout = h("p", { class: "ts-readout", "aria-live": "polite" });
    const room = new ReservedSpace(readout, "readout");
    const reads = makeReads(selection);
    const panes = h("div", { class: "ts-token-panes" }, h("div", {}, strip, way.element, room.element), reads.element);
    const template = h("span", { class: "ts-template-key", hidden: true }, phrase("added by the chat template"));
    body.append(
      h("p", { class: "ts-legend" }, h("span", { class: "ts-swatch ts-is-prompt" }, phrase("prompt")), template, h("span", { class: "ts-swatch ts-is-generated" }, phrase("written by the model")),
        h("span", { class: "ts-chip-key" }, phrase("special or added token")), h("span", { class: "ts-now-key" }, phrase("written in this pass")),
        h("span", { class: "ts-not-yet-key" }, phrase("not written yet")), h("span", { class: "ts-frame-key" }, phrase("the selected token")),
        h("span", { class: "ts-muted" }, phrase("␣ is a space, ↵ a new line, “byte” or “bytes” a part of a character"))),
      panes);
    /** @type {HTMLElement[]} */
    let drawn = [];
    /** @type {number[]} how each chip looks now: selected 1, not yet there 2, written in this pass 4 */
    let looks = [];
    let of = "";
    let shown = "";
    /** @type {From[] | null} where a chat's prompt comes from */
    let sources = null;
    /** @type {HTMLElement | null} */
    let group = null;

    strip.addEventListener("keydown", (event) => {
      const by = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
      if (!by) return;
      event.preventDefault();
      selection.set({ token: selection.at.token + by }, { lock: true });
    });

    /** @param {Run} run @param {number} position */
    function make(run, position) {
      const token = run.tokens[position];
      return h("div", {
        class: `ts-chip ${position < run.nPrompt ? "ts-is-prompt" : "ts-is-generated"} ${token.special || token.marker ? "ts-is-special" : ""} ${isTemplate(sources, position) ? "ts-from-template" : ""}`,
        role: "option", id: `ts-token-${position}`, "aria-selected": "false",
        "aria-label": phrase("token {n}, {text}, id {id}, {origin}", { n: count(position), text: label(token), id: count(token.id), origin: origin(run, position, sources) }),
        ...pointing(selection, position),
      }, tokenText(token), h("span", { class: "ts-id" }, count(token.id)));
    }

    /** @param {Run} run */
    function append(run) {
      if (drawn.length < run.tokens.length) grown();
      while (drawn.length < run.tokens.length) {
        const position = drawn.length;
        const chip = make(run, position);
        drawn.push(chip);
        room.keep(...aboutToken(run, position, sources));
        way.keep(run, position);
        const fragment = isFragment(run.tokens[position]);
        if (!fragment) group = null;
        else if (group === null) {
          group = h("div", { class: "ts-fragments", role: "group" });
          strip.append(group);
        }
        (group ?? strip).append(chip);
        const joined = group && run.joined(position);
        if (group && joined) {
          group.append(h("span", { class: "ts-fragments-name", "aria-hidden": "true" }, ...phraseParts("{n} tokens make {text}", { n: String(group.children.length), text: makes(joined.text) })));
          group = null;
        }
      }
    }

    return {
      draw({ run, at, step, word }) {
        if (of !== run.id) {
          of = run.id;
          drawn = [];
          looks = [];
          group = null;
          shown = "";
          fill(strip);
          room.clear();
          way.open();
          sources = promptSources(run);
          template.hidden = sources === null;
          reads.open(run, sources);
          panes.classList.toggle("ts-has-template", Boolean(run.head.settings.chat));
        }
        append(run);
        const now = `${word}/${at.step}/${drawn.length}`;
        if (now === shown) return;
        shown = now;
        drawn.forEach((chip, i) => {
          const look = i === word ? 1 : 0;
          const late = i > step.last && i < step.chosenAt || i >= step.chosenAt + step.choices.length ? 2 : 0;
          const fresh = i >= step.chosenAt && i < step.chosenAt + step.choices.length ? 4 : 0;
          if (looks[i] === look + late + fresh) return;
          looks[i] = look + late + fresh;
          chip.setAttribute("aria-selected", String(look > 0));
          chip.classList.toggle("ts-not-yet", late > 0);
          chip.classList.toggle("ts-now", fresh > 0);
        });
        strip.setAttribute("aria-activedescendant", `ts-token-${word}`);
        keepInView(strip, drawn[word]);
        way.draw(run, word);
        reads.draw(word);
        fill(readout, ...aboutToken(run, word, sources));
      },
      numbers({ run }) {
        return {
          columns: [phrase("position"), phrase("token"), phrase("id"), phrase("bytes"), phrase("byte range in the text"), phrase("origin")],
          rows: run.tokens.map((token, i) => [count(i), tokenText(token), count(token.id), bytesOf(token.hex) || phrase("(not available)"), placeOf(token), origin(run, i, sources)]),
          note: phrase("Bytes are UTF-8, in hexadecimal. Byte ranges in the text count from 0 and include both ends. A token can be part of a character, a word, or a special token of the chat template."),
          code: "from model import Trace\nrun = Trace.open('run.trace')\nfor token in run.tokens:\n    print(token.id, repr(token.text), token.data.hex(' '), token.span)",
        };
      },
    };
  },
  glance({ run, word, colours }) {
    const token = run.tokens[word];
    return { value: token ? [quoted(token), ` ${count(token.id)}`] : [], mini: (g, width, height) => drawMini(g, width, height, run, word, colours) };
  },
};

/** The strip in little, from a few tokens before the selected one on.
 * @param {CanvasRenderingContext2D} g @param {number} width @param {number} height @param {Run} run @param {number} selected @param {import("../../core/canvas.js").Paint} colours */
function drawMini(g, width, height, run, selected, colours) {
  const [row, high] = [10, 8];
  let [x, y] = [0, 1];
  for (let i = Math.max(0, Math.min(selected - 4, run.tokens.length - 16)); i < run.tokens.length; i += 1) {
    const w = Math.min(6 + run.tokens[i].text.length * 2.2, 34);
    if (x + w > width) [x, y] = [0, y + row];
    if (y + high > height) return;
    g.strokeStyle = colours.line;
    g.fillStyle = i === selected ? colours.ink : colours.sunk;
    g.fillRect(x, y, w - 2, high);
    g.fillStyle = i < run.nPrompt ? colours.prompt : colours.generated;
    g.fillRect(x, y + high - 3, w - 2, 3);
    x += w;
  }
}

/** What pointing at a token and clicking it do. @param {import("../../data/selection.js").Selection} selection @param {number} position */
function pointing(selection, position) {
  return {
    onclick: () => selection.set({ token: position }, { lock: true }),
    onpointerenter: (/** @type {Event} */ event) => { if (/** @type {PointerEvent} */ (event).pointerType === "mouse") selection.preview({ token: position }); },
    onpointerleave: () => selection.preview(null),
  };
}

/** The selected token's way from text to number: its piece, its bytes and where they stand in the text, its id. */
function makeWay() {
  const piece = h("span", { class: "ts-way-value" });
  const bytes = h("span", { class: "ts-way-value ts-way-bytes" });
  const where = h("span", { class: "ts-way-name" });
  const mark = h("span", { class: "ts-ruler-mark" });
  const id = h("span", { class: "ts-way-value" });
  const [bytesRoom, whereRoom] = [new ReservedSpace(bytes, "bytes"), new ReservedSpace(where, "name")];
  const stage = (/** @type {string | Node} */ name, /** @type {Node[]} */ ...parts) => h("div", { class: "ts-way-stage" }, ...parts, name instanceof Node ? name : h("span", { class: "ts-way-name" }, name));
  const arrow = () => h("span", { class: "ts-way-arrow", "aria-hidden": "true" }, "→");
  const element = h("div", { class: "ts-way", "aria-hidden": "true" }, stage(phrase("token text"), piece), arrow(),
    stage(whereRoom.element, bytesRoom.element, h("span", { class: "ts-ruler" }, mark)), arrow(), stage(phrase("token id"), id));
  return {
    element,
    open() {
      bytesRoom.clear();
      whereRoom.clear();
    },
    /** This token can stand here. @param {Run} run @param {number} position */
    keep(run, position) {
      bytesRoom.keep(shortBytes(run.tokens[position]));
      whereRoom.keep(phrase("{range} of {all}", { range: placeOf(run.tokens[position]), all: count(run.tokens[run.tokens.length - 1].span[1]) }));
    },
    /** @param {Run} run @param {number} position */
    draw(run, position) {
      const token = run.tokens[position];
      if (!token) return;
      const [first, end] = token.span;
      const whole = run.tokens[run.tokens.length - 1].span[1] || 1;
      fill(piece, tokenText(token));
      fill(bytes, shortBytes(token));
      fill(where, phrase("{range} of {all}", { range: placeOf(token), all: count(whole) }));
      mark.style.left = `${(first / whole) * 100}%`;
      mark.style.width = `${((end - first) / whole) * 100}%`;
      mark.className = `ts-ruler-mark ${position < run.nPrompt ? "ts-is-prompt" : "ts-is-generated"}`;
      fill(id, count(token.id));
    },
  };
}

/** @param {import("../../data/store.js").Token} token */
function shortBytes({ hex }) {
  return hex ? `${bytesOf(hex.slice(0, MOST_BYTES * 2))}${hex.length > MOST_BYTES * 2 ? " …" : ""}` : phrase("(not available)");
}

/** What the model really reads: of a chat turn the whole templated prompt; of a plain run a line that says so.
 * @param {import("../../data/selection.js").Selection} selection */
function makeReads(selection) {
  const text = h("p", { class: "ts-reads", dir: "auto", tabindex: "0", role: "group", "aria-label": phrase("The prompt with its chat template") });
  const grown = fadeWhatGoesOn(text, MOST_HIGH);
  const words = h("p", { class: "ts-note" });
  const earlier = h("span", { class: "ts-earlier" }, phrase("said before it"));
  const legend = h("p", { class: "ts-legend" }, h("span", { class: "ts-typed" }, phrase("typed as the prompt")), earlier, h("span", { class: "ts-added" }, phrase("added by the chat template")));
  const title = h("h3", { class: "ts-subtitle" }, phrase("What the model reads"));
  const element = h("div", { class: "ts-reads-pane" }, title, legend, text, words);
  /** @type {HTMLElement[]} */
  let drawn = [];
  let marked = -1;
  return {
    element,
    /** @param {Run} run @param {From[] | null} sources */
    open(run, sources) {
      const chat = Boolean(run.head.settings.chat);
      for (const part of [title, text]) part.hidden = !chat;
      legend.hidden = sources === null;
      earlier.hidden = !sources?.some(isEarlier);
      fill(words, ...(chat ? aboutTemplate(sources) : aboutPlain(run, typedPart(run))));
      const parts = chat ? additions(run, 0).slice(0, run.nPrompt) : [];
      drawn = parts.map((part, i) => h("span", { class: `ts-read ${lookOf(sources?.[i])}`, ...pointing(selection, i) }, ...flowing(run.tokens[i], part)));
      fill(text, ...drawn.flatMap((each, i) => [begins(sources, i) && h("span", { class: "ts-read-who" }, nameOf(/** @type {From[]} */ (sources)[i])), each]));
      marked = -1;
      grown();
    },
    /** @param {number} position */
    draw(position) {
      if (!drawn.length || marked === position) return;
      drawn[marked]?.classList.remove("ts-read-now");
      drawn[position]?.classList.add("ts-read-now");
      marked = position;
      keepInView(text, drawn[position]);
    },
  };
}

/** Whether a message was said before the prompt: the system prompt, or an earlier turn. @param {From} from */
function isEarlier(from) {
  return from.source !== "template" && !isPrompt(from);
}

/** @param {From | undefined} from */
function lookOf(from) {
  if (!from) return "";
  return from.source === "template" ? "ts-added" : isPrompt(from) ? "ts-typed" : "ts-earlier";
}

/** Whether a message that was said before the prompt begins at this token, so that it is named there. @param {From[] | null} sources @param {number} i */
function begins(sources, i) {
  if (!sources || !isEarlier(sources[i])) return false;
  return sources[i - 1]?.source !== sources[i].source || sources[i - 1].turn !== sources[i].turn;
}

/** @param {From[] | null} sources */
function aboutTemplate(sources) {
  return [sources === null && `${phrase("The template changed the typed text, so the two are not told apart.")} `,
    phrase("The model was trained on conversations in this format. The special tokens mark who speaks; without them the model would only continue the text.")];
}

/** @param {Run} run @param {[number, number] | null} typed */
function aboutPlain(run, typed) {
  const before = typed ? run.tokens.slice(0, typed[0]) : [];
  const tokens = before.flatMap((token, i) => [i ? " " : "", quoted(token)]);
  return [...(tokens.length ? phraseParts("This is a plain prompt: the tokenizer put {tokens} before it and added nothing else.", { tokens }) : [phrase("This is a plain prompt: nothing was added to what was typed.")]),
    " ", phrase("The form's Chat switch wraps it in the model's chat template, if the model has one.")];
}

/** What fragments make together, named where it cannot be seen. @param {string} text */
function makes(text) {
  const trimmed = text.trim() || text;
  return h("bdi", {}, /^[\p{M}\p{Cf}\s]+$/u.test(trimmed) ? tokenPieces({ text: trimmed }).map((piece) => NAMES.get(piece.text) ?? piece.text).join("") : trimmed);
}

/** Where its bytes stand in the text: counted from 0, the last one included. @param {import("../../data/store.js").Token} token */
function placeOf({ span: [first, end] }) {
  if (end <= first) return phrase("no bytes");
  return end - first === 1 ? phrase("byte {n}", { n: count(first) }) : phrase("bytes {first}–{last}", { first: count(first), last: count(end - 1) });
}

/** @param {Run} run @param {number} position @param {From[] | null} sources @returns {import("../../core/dom.js").Child[]} */
function aboutToken(run, position, sources) {
  const token = run.tokens[position];
  if (!token) return [];
  return phraseParts("Token {n} (of 0–{last}): {token}, {origin}: id {id} of {all}, {range} of the text.", { n: count(position), last: count(run.tokens.length - 1), token: quoted(token),
    origin: origin(run, position, sources), id: count(token.id), all: count(run.head.model.d_vocab), range: placeOf(token) });
}
