// @ts-check
// The looked-at row in words: every token shaded by its weight, and the strongest by number.

import { h, fadeWhatGoesOn, fill, keepInView, say, tokenText, quoted } from "../../core/dom.js";
import { shade, textOn } from "../../core/canvas.js";
import { roughly } from "../../core/format.js";
import { WEIGHTS } from "../../data/store.js";
import { colourShare } from "./attention_pixels.js";
import { phrase, phraseParts } from "../../core/texts.js";

/** @typedef {import("../../data/view.js").State} State */

const MANY = 60; // tokens: a list this long fills its box, whichever of them are read

/** @param {import("../../data/selection.js").Selection} selection @param {import("./attention_map.js").Pointed} pointed */
export function makeLooks(selection, pointed) {
  const title = h("p", { class: "ts-looks-title" });
  const looks = h("div", { class: "ts-looks", role: "group", tabindex: "0", "data-own-keys": true,
    "aria-label": phrase("The tokens it attends to: arrow left and right point at one, Enter goes to it") });
  const looksOn = fadeWhatGoesOn(looks);
  const best = h("p", { class: "ts-readout ts-looks-best", "aria-live": "polite" });
  const element = h("div", { class: "ts-looks-box" }, title, looks, best);
  /** @type {{chip: HTMLElement, share: HTMLElement, look: string}[]} */
  let chips = [];
  let chipsOf = "";
  let bestOf = "";
  /** @type {{scale: Uint32Array | null, shades: [string, string][]}} */
  let palette = { scale: null, shades: [] };

  const chipAt = (/** @type {Event} */ event) => chips.findIndex(({ chip }) => event.target instanceof Node && chip.contains(event.target));
  looks.addEventListener("pointerover", (event) => {
    const key = chipAt(event);
    pointed.point(key < 0 ? null : key);
  });
  looks.addEventListener("pointerleave", () => pointed.point(null));
  looks.addEventListener("click", (event) => {
    const key = chipAt(event);
    if (key >= 0) selection.set({ token: key }, { lock: true });
  });
  looks.addEventListener("keydown", (event) => {
    const { token } = selection.at;
    const key = pointed.key ?? token;
    if (event.key === "ArrowLeft") pointed.point(Math.max(key - 1, 0));
    else if (event.key === "ArrowRight") pointed.point(Math.min(key + 1, token));
    else if (event.key === "Enter") selection.set({ token: key }, { lock: true });
    else return;
    event.preventDefault();
    keepInView(looks, chips[pointed.key ?? token]?.chip);
  });
  looks.addEventListener("blur", () => pointed.point(null));

  /** @param {import("../../core/canvas.js").Paint} colours */
  const shadesOf = (colours) => {
    if (palette.scale !== colours.scale) {
      palette = { scale: colours.scale, shades: Array.from({ length: 256 }, (_, i) => [shade(colours, i / 255), textOn(colours, i / 255)]) };
    }
    return palette.shades;
  };

  return {
    element,
    /** @param {State} state @param {Uint8Array | null} row @param {boolean} withoutSink @param {number} most the weight that the map draws in its strongest colour */
    draw({ run, at, colours }, row, withoutSink, most) {
      if (chipsOf !== run.id) { chipsOf = run.id; chips = []; bestOf = ""; fill(looks); }
      while (chips.length < run.tokens.length) {
        const position = chips.length;
        const share = h("span", { class: "ts-look-share" });
        const chip = h("span", { class: `ts-look ${position < run.nPrompt ? "ts-is-prompt" : "ts-is-generated"}` }, tokenText(run.tokens[position]), share);
        chips.push({ chip, share, look: "" });
        looks.append(chip);
      }
      element.hidden = row === null;
      looks.classList.toggle("ts-looks-full", run.tokens.length > MANY);
      const shades = shadesOf(colours);
      chips.forEach((each, i) => {
        const shown = row !== null && i <= at.token;
        const left = shown && withoutSink && i === 0 && row.length > 1;
        const level = !shown || left ? 0 : Math.round(colourShare(WEIGHTS[row[i]], most) * 255);
        const look = `${shown} ${left} ${level} ${shown ? row[i] : ""} ${i === at.token} ${i === pointed.key} ${colours.weight}`;
        if (each.look === look) return;
        each.look = look;
        each.chip.classList.toggle("ts-look-later", !shown);
        if (!shown) return;
        say(each.share, inShort(WEIGHTS[row[i]]));
        [each.chip.style.backgroundColor, each.chip.style.color] = shades[level];
        each.chip.classList.toggle("ts-left-out", left);
        each.chip.classList.toggle("ts-self", i === at.token);
        each.chip.classList.toggle("ts-key-pointed", i === pointed.key);
      });
      const key = `${run.id}/${at.layer}/${at.head}/${at.token}/${row !== null}`;
      if (bestOf === key) return;
      bestOf = key;
      fill(title, ...phraseParts("{token} (token {n}) attends to these tokens, in the colours of the map and on its square-root scale:", { token: quoted(run.tokens[at.token]), n: String(at.token) }));
      if (!row) return;
      const order = Array.from(row.keys()).sort((a, b) => row[b] - row[a]).slice(0, 5).filter((i) => row[i] > 0);
      fill(best, ...order.flatMap((i, place) => [place ? ", " : "", quoted(run.tokens[i]), `${whichOne(run, i, at.token)} ${roughly(WEIGHTS[row[i]])}`, i === at.token ? ` ${phrase("(itself)")}` : i === 0 ? ` ${phrase("(first)")}` : ""]), ".");
      keepInView(looks, chips[strongestKey(row)].chip);
      looksOn();
    },
  };
}

/** The token's position, where the same text stands more than once up to the token that looks back.
 * @param {import("../../data/store.js").Run} run @param {number} key @param {number} last */
export function whichOne({ tokens }, key, last) {
  for (let i = 0; i <= last; i += 1) if (i !== key && tokens[i].text === tokens[key].text) return ` ${phrase("(token {n})", { n: key })}`;
  return "";
}

/** The number under a token, as long as the width that is kept for it; nothing for what is hardly looked at. @param {number} weight */
function inShort(weight) {
  const value = weight * 100;
  if (value < 0.95) return "";
  return value >= 99.5 ? ">99%" : `${value.toFixed(value < 9.95 ? 1 : 0)}%`;
}

/** Where a row looks most, the first token left out. @param {Uint8Array} row */
export function strongestKey(row) {
  let best = row.length - 1;
  for (let i = 1; i < row.length; i += 1) if (row[i] > row[best]) best = i;
  return best;
}
