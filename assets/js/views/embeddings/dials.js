// @ts-check
// Rotary positions as clocks: one a pair of numbers, its hand at the angle by which the model turns that pair at this position.

import { h, say } from "../../core/dom.js";
import { fit, widthOf } from "../../core/canvas.js";
import { count } from "../../core/format.js";
import { phrase } from "../../core/texts.js";

/** @typedef {import("../../data/store.js").Embeddings} Embeddings */
/** @typedef {import("../../core/canvas.js").Paint} Paint */

const [SMALLEST, LARGEST] = [34, 52]; // px: a dial with the room around it

/** @param {() => void} redraw */
export function makeDials(redraw) {
  const canvas = h("canvas", { role: "img" });
  const box = h("div", { class: "ts-canvas-box" }, canvas);
  const words = h("p", { class: "ts-note" });
  const element = h("div", {}, h("p", { class: "ts-dials-ends", "aria-hidden": "true" }, h("span", {}, phrase("pair 0: fast")), h("span", {}, phrase("slow"))), box, words);
  const width = widthOf(box, redraw);
  let drawn = "";
  let told = "";
  /** @type {Paint | null} */
  let theme = null;

  return {
    element,
    /** @param {Embeddings} found @param {number} position @param {Paint} colours @param {string} run */
    paint(found, position, colours, run) {
      const { cos, sin, pairs } = found;
      const now = `${run}/${position}/${width()}`;
      if (!cos || !sin || !width() || drawn === now && theme === colours) return;
      [drawn, theme] = [now, colours];
      const columns = columnsFor(pairs, width());
      const side = Math.min(LARGEST, width() / columns);
      const g = fit(canvas, width(), Math.ceil(pairs / columns) * side);
      const angle = (/** @type {number} */ place, /** @type {number} */ pair) => Math.atan2(sin[place * pairs + pair], cos[place * pairs + pair]);
      g.lineCap = "round";
      for (let pair = 0; pair < pairs; pair += 1) {
        const [x, y, r] = [((pair % columns) + 0.5) * side, (Math.floor(pair / columns) + 0.5) * side, side / 2 - 2];
        g.beginPath();
        g.arc(x, y, r, 0, 2 * Math.PI);
        g.fillStyle = colours.sunk;
        g.fill();
        g.strokeStyle = colours.line;
        g.lineWidth = 1;
        g.stroke();
        if (position > 0) hand(g, x, y, r * 0.82, angle(position - 1, pair), colours.muted, 2, 0.6);
        hand(g, x, y, r * 0.82, angle(position, pair), colours.ink, 2.25, 1);
      }
    },
    /** @param {Embeddings} found @param {number} position @param {string} run */
    draw(found, position, run) {
      const now = `${run}/${position}`;
      if (told === now) return;
      told = now;
      canvas.setAttribute("aria-label", phrase("{n} dials; their hands show the angles of position {position}: fast pairs first", { n: found.pairs, position }));
      const [fast, slow] = [turn(found, 0), turn(found, found.pairs - 1)];
      say(words, [
        phrase("Each token's queries and keys are rotated by these angles, one pair of numbers at a time, before they are compared (rotary position embedding). The comparison then depends only on how far apart two tokens are."),
        fast && slow ? phrase("From one token to the next, pair 0 rotates by {fast} and pair {last} by {slow}: a full turn takes {fastTokens} and {slowTokens} tokens.", { fast: degrees(fast), last: found.pairs - 1, slow: degrees(slow), fastTokens: rounds(fast), slowTokens: rounds(slow) }) : "",
        position > 0 ? phrase("The grey hand shows the angle one token earlier.") : phrase("At position 0 nothing is rotated."),
      ].filter(Boolean).join(" "));
    },
  };
}

/** As few rows as the width allows, all of one length. @param {number} pairs @param {number} width */
function columnsFor(pairs, width) {
  const rows = Math.ceil(pairs / Math.max(1, Math.floor(width / SMALLEST)));
  return Math.ceil(pairs / rows);
}

/** Straight up is no turn; hands go round as those of a clock do.
 * @param {CanvasRenderingContext2D} g @param {number} x @param {number} y @param {number} length @param {number} angle @param {string} colour @param {number} wide @param {number} strength */
function hand(g, x, y, length, angle, colour, wide, strength) {
  g.globalAlpha = strength;
  g.strokeStyle = colour;
  g.lineWidth = wide;
  g.beginPath();
  g.moveTo(x, y);
  g.lineTo(x + Math.sin(angle) * length, y - Math.cos(angle) * length);
  g.stroke();
  g.globalAlpha = 1;
}

/** By how much a pair turns from position 0 to 1, in radians; null where the run is too short to tell.
 * @param {Embeddings} found @param {number} pair */
function turn({ cos, sin, pairs }, pair) {
  if (!cos || !sin || cos.length < 2 * pairs) return null;
  const [before, after] = [Math.atan2(sin[pair], cos[pair]), Math.atan2(sin[pairs + pair], cos[pairs + pair])];
  return Math.abs(after - before) || null;
}

/** @param {number} radians */
function degrees(radians) {
  return `${Number(((radians * 180) / Math.PI).toPrecision(2))}°`;
}

/** @param {number} radians */
function rounds(radians) {
  const tokens = (2 * Math.PI) / radians;
  return tokens < 100 ? tokens.toFixed(1) : count(Number(tokens.toPrecision(2)));
}
