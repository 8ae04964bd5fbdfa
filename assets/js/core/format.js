// @ts-check
// How numbers read, and how token text is made visible. The number formats repeat viz/theme.py; a test compares them.

import { phrase } from "./texts.js";

/** How layers, heads and tokens are numbered: one number for one thing, on the page and in the code. */
export const COUNTING = phrase("Layers, heads and tokens are counted from 0, as in the code.");
/** The same in short, beside the numbers. */
export const FROM_0 = phrase("counted from 0");
/** And why, for whoever points at it. */
export const WHY_FROM_0 = phrase("The first one is number 0, as in the code and in the files: one number for one thing.");

/** A step by its number, the index in `steps`, among those of its run; the prefill is step 0. @param {number} step @param {number} n how many there are */
export function stepOf(step, n) {
  return n > 1 ? phrase("Step {step} of 0–{last}", { step: count(step), last: count(n - 1) }) : phrase("Step {step}", { step: count(step) });
}

/** A tick of served texts by its number, among all of them. @param {number} tick @param {number} n how many there are */
export function tickOf(tick, n) {
  return n > 1 ? phrase("Tick {tick} of 0–{last}", { tick: count(tick), last: count(n - 1) }) : phrase("Tick {tick}", { tick: count(tick) });
}

/** A round of a draft by its number, among all of them. @param {number} round @param {number} n how many there are */
export function roundOf(round, n) {
  return n > 1 ? phrase("Round {round} of 0–{last}", { round: count(round), last: count(n - 1) }) : phrase("Round {round}", { round: count(round) });
}

/** @param {number} number */
export function count(number) {
  return String(Math.round(number)).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** Three digits that count: 0.976, 45.4, 1,020, 1.57e−4. @param {number} number */
export function digits(number) {
  if (number === 0) return "0";
  if (number >= 999.5) return count(number);
  return number >= 0.0009995 ? number.toPrecision(3) : number.toExponential(2).replace("-", "−");
}

/** A probability as a percentage, with three digits that count; never a rounded 100% for what is less. @param {number} probability */
export function percent(probability) {
  const value = probability * 100;
  return value >= 99.95 && probability < 1 ? over("99.9%") : value >= 99.95 ? "100%" : `${digits(value)}%`;
}

/** A share known from 8 bits, as a percentage with the digits that they carry; the ends of the code are not 0% and 100%.
 * @param {number} share */
export function roughly(share) {
  const value = share * 100;
  if (value >= 99.5) return over("99%");
  if (value < 0.095) return under("0.1%");
  return `≈ ${value < 9.95 ? value.toFixed(1) : value.toFixed(0)}%`;
}

/** An attention weight as its byte tells it, the root of the weight in 255 steps: off by at most 0.0045. @param {number} byte */
export function decoded(byte) {
  const weight = (byte / 255) ** 2;
  if (byte === 0) return under("0.000004");
  if (byte === 255) return over("0.996");
  return weight >= 0.1 ? weight.toFixed(3) : weight.toPrecision(2);
}

/** Bytes in units of a thousand. @param {number} bytes */
export function size(bytes) {
  let rest = bytes;
  for (const unit of ["bytes", "kB", "MB", "GB"]) {
    if (rest < 999.5) return unit === "bytes" ? phrase("{n} bytes", { n: rest.toFixed(0) }) : `${threeDigits(rest)} ${unit}`;
    rest /= 1000;
  }
  return `${threeDigits(rest)} TB`;
}

/** @param {number} seconds */
export function duration(seconds) {
  return seconds < 0.9995 ? `${threeDigits(seconds * 1000)} ms` : `${threeDigits(seconds)} s`;
}

/** A number as the model computed it, with enough digits to tell neighbours apart. @param {number | null} number */
export function plain(number) {
  if (number === null || !Number.isFinite(number)) return phrase("not finite");
  const text = number.toPrecision(4);
  return text.includes("e") ? text : String(Number(text));
}

/** @param {string} number */
export function over(number) {
  return phrase("over {number}", { number });
}

/** @param {string} number */
export function under(number) {
  return phrase("under {number}", { number });
}

/** Whether a text is one number, bounded or with its unit: "5", "−0.3 ms", "under 0.1%". @param {string} text */
export function isNumber(text) {
  return NUMBERS.some((form) => form.test(text));
}

const NUMBERS = ["{number}", over("{number}"), under("{number}")].map((template) => {
  const [before, after = ""] = template.split("{number}").map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(`^${before}[<≈+−-]*\\d[\\d,.]*(?:e[−-]?\\d+)?(?: ?[^\\s\\d]{1,12})?${after}$`, "u");
});

/** @param {number} number */
function threeDigits(number) {
  if (number >= 99.95) return count(number);
  return number >= 9.995 ? number.toFixed(1) : number.toFixed(2);
}

/** @typedef {{text: string, mark: boolean}} Piece  mark: a symbol standing for a character that cannot be seen */

const NAMED = new Map([
  [0x09, "⇥"], [0x0a, "↵"], [0x20, "␣"], [0x7f, "␡"], [0xa0, "⍽"], [0xad, "[SHY]"], [0x61c, "[ALM]"], [0x200b, "[ZWSP]"],
  [0x200c, "[ZWNJ]"], [0x200d, "[ZWJ]"], [0x200e, "[LRM]"], [0x200f, "[RLM]"], [0x2028, "[LS]"], [0x2029, "[PS]"],
  [0x202a, "[LRE]"], [0x202b, "[RLE]"], [0x202c, "[PDF]"], [0x202d, "[LRO]"], [0x202e, "[RLO]"], [0x2060, "[WJ]"],
  [0x2066, "[LRI]"], [0x2067, "[RLI]"], [0x2068, "[FSI]"], [0x2069, "[PDI]"], [0xfeff, "[BOM]"],
]);

/** Token text as a person can see it: spaces, line ends, controls and direction marks become symbols.
 * @param {string} text @returns {Piece[]} */
export function visible(text) {
  /** @type {Piece[]} */
  const pieces = [];
  const points = [...text];
  points.forEach((point, i) => {
    const symbol = symbolFor(point, points[i - 1], points[i + 1]);
    const last = pieces[pieces.length - 1];
    const mark = symbol !== null;
    if (last && last.mark === mark) last.text += symbol ?? point;
    else pieces.push({ text: symbol ?? point, mark });
  });
  return pieces;
}

/** Text that runs on: spaces and line ends stay what they are, a line end with its symbol before it. @param {string} text @returns {Piece[]} */
export function running(text) {
  return (text.match(/ +|\n|[^ \n]+/gu) ?? []).flatMap((part) => {
    if (part === "\n") return [{ text: "↵", mark: true }, { text: "\n", mark: false }];
    return part[0] === " " ? [{ text: part, mark: false }] : visible(part);
  });
}

/** @param {string} point @param {string | undefined} before @param {string | undefined} after */
function symbolFor(point, before, after) {
  const code = point.codePointAt(0) ?? 0;
  const joins = code === 0x200d || code === 0x200c;
  if (joins && wide(before) && wide(after)) return null; // inside an emoji or a script that needs it
  const named = NAMED.get(code);
  if (named !== undefined) return named;
  if (code < 0x20) return String.fromCodePoint(0x2400 + code);
  if (code < 0xa0 && code >= 0x80) return `[U+00${code.toString(16).toUpperCase()}]`;
  if (code >= 0xd800 && code <= 0xdfff) return `[U+${code.toString(16).toUpperCase()}]`;
  return null;
}

/** @param {string | undefined} point */
function wide(point) {
  return point !== undefined && (point.codePointAt(0) ?? 0) > 0x2ff;
}

/** A token as one line of visible text, cut to `most` characters: for labels drawn on a canvas and for titles.
 * @param {{text: string, hex?: string, id?: number}} token @param {number} [most] */
export function label(token, most = 60) {
  const points = [...tokenPieces(token).map((piece) => piece.text).join("")];
  return points.length > most ? `${points.slice(0, most - 1).join("")}…` : points.join("");
}

/** The pieces of a token; a fragment of a character reads as its bytes, or as its id where they are not known.
 * @param {{text: string, hex?: string, id?: number}} token @returns {Piece[]} */
export function tokenPieces(token) {
  if (token.text.includes("\ufffd")) {
    if (token.hex === undefined) return [{ text: phrase("bytes #{id}", { id: token.id ?? "" }), mark: true }];
    if (token.hex && !token.hex.includes("efbfbd")) return [{ text: token.hex.length > 2 ? phrase("bytes {hex}", { hex: bytesOf(token.hex) }) : phrase("byte {hex}", { hex: bytesOf(token.hex) }), mark: true }];
  }
  return token.text === "" ? [{ text: phrase("(empty)"), mark: true }] : visible(token.text);
}

/** @param {string} hex */
export function bytesOf(hex) {
  return (hex.match(/../g) ?? []).join(" ").toUpperCase();
}
