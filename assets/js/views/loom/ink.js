// @ts-check
// How things are drawn in the loom: words in a place, mixed colours, a token in a few letters.

import { cut, FONT } from "../../core/canvas.js";
import { label } from "../../core/format.js";
import { phrase } from "../../core/texts.js";

/** @typedef {import("../../core/canvas.js").Paint} Paint */
/** How words are drawn; `most`: how wide they may be, in px. @typedef {{colour: string, bold?: boolean, slanted?: boolean, align?: CanvasTextAlign, most?: number, size?: number, halo?: string}} Style */
/** `mark`: no text of its own, but a name for what cannot be seen; `sign`: for it, where there is no room for the name. @typedef {{text: string, mark: boolean, sign?: string}} Word */

const NARROWEST = 0.74; // letters are squeezed that far before a word is cut
const NAME_ROOM = 40; // px that the name of a blank needs

/** A token in a few letters: without the blank before a word, what cannot be seen by its name.
 * @param {{text: string, hex?: string, id?: number} | undefined} token @returns {Word} */
export function word(token) {
  if (!token) return { text: "", mark: false };
  if (/^ +$/.test(token.text)) return { text: token.text.length > 1 ? phrase("{n} spaces", { n: token.text.length }) : phrase("space"), mark: true, sign: label({ text: token.text }, 2) };
  if (/^\n+$/.test(token.text)) return { text: "↵".repeat(Math.min(token.text.length, 3)), mark: true };
  return { text: label({ ...token, text: token.text.replace(/^ (?=\S)/, "") }, 40), mark: false };
}

/** What is written of a token where there is so much room. @param {Word} token @param {number} room px */
export function fitting({ text, sign }, room) {
  return sign !== undefined && room < NAME_ROOM ? sign : text;
}

/** Words at a place, their middle at y; how wide they are. @param {CanvasRenderingContext2D} g @param {string} text @param {number} x @param {number} y @param {Style} style */
export function write(g, text, x, y, { colour, bold = false, slanted = false, align = "left", most = Infinity, size = 13, halo }) {
  setFont(g, { bold, slanted, size });
  g.textAlign = align;
  g.textBaseline = "middle";
  const natural = widthOfWords(g, text);
  const squeeze = most === Infinity ? 1 : Math.max(Math.min(most / natural, 1), NARROWEST);
  const shown = squeeze > NARROWEST ? text : cut(g, text, most / NARROWEST);
  if (squeeze < 1) {
    g.save();
    g.translate(x, 0);
    g.scale(squeeze, 1);
    g.translate(-x, 0);
  }
  if (halo) {
    g.strokeStyle = halo;
    g.lineWidth = 4;
    g.lineJoin = "round";
    g.strokeText(shown, x, y);
  }
  g.fillStyle = colour;
  g.fillText(shown, x, y);
  const width = (shown === text ? natural : g.measureText(shown).width) * squeeze;
  if (squeeze < 1) g.restore();
  return width;
}

/** @type {Map<string, number>} */
const WIDTHS = new Map();

/** How wide words are in the font that is set: measured once. @param {CanvasRenderingContext2D} g @param {string} text */
function widthOfWords(g, text) {
  const key = `${g.font}/${text}`;
  let width = WIDTHS.get(key);
  if (width === undefined) {
    width = g.measureText(text).width;
    if (WIDTHS.size > 5000) WIDTHS.clear();
    WIDTHS.set(key, width);
  }
  return width;
}

/** @param {CanvasRenderingContext2D} g @param {{bold?: boolean, slanted?: boolean, size?: number}} how */
export function setFont(g, { bold = false, slanted = false, size = 13 }) {
  const font = `${slanted ? "italic " : ""}${bold ? "650 " : ""}${FONT.replace("14px", `${size}px`)}`;
  if (g.font !== font) g.font = font;
}

/** A rectangle with round corners, as a path. @param {CanvasRenderingContext2D} g @param {number} x @param {number} y @param {number} w @param {number} h @param {number} r */
export function rounded(g, x, y, w, h, r) {
  g.beginPath();
  g.roundRect(x, y, Math.max(w, 0), Math.max(h, 0), Math.max(Math.min(r, w / 2, h / 2), 0)); // a narrow column has no room for corners
}
