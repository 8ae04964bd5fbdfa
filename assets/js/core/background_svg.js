// @ts-check
// An element's background as SVG: its colour, and the gradients that the style sheets here use, as bars, scales and stripes.

import { short } from "./svg_recorder.js";

/** @typedef {{x: number, y: number, w: number, h: number}} Box */
/** A colour of a gradient and from where to where it is plain, in px. @typedef {{colour: string, from: number, to: number}} Stop */

let made = 0; // all of one page: their names stand in one file

/** @param {CSSStyleDeclaration} style @param {Box} box */
export function backgroundSvg(style, box) {
  const colour = plainColour(style.backgroundColor);
  const radius = radiusOf(style, box);
  const rest = `${placed(box)}${radius ? ` rx="${short(radius)}"` : ""}`;
  const flat = colour ? `<rect${rest} fill="${colour}"/>` : "";
  if (style.backgroundImage === "none" || style.backgroundAttachment.includes("local")) return flat; // the shadows of what scrolls
  const [sizes, places, repeats] = [style.backgroundSize, style.backgroundPosition, style.backgroundRepeat].map(apart);
  const layers = apart(style.backgroundImage).map((image, i) => layer(image, box, rest, { size: sizes[i % sizes.length], place: places[i % places.length], repeat: repeats[i % repeats.length] }));
  return flat + layers.reverse().join("");
}

/** @param {string} image @param {Box} box @param {string} rest what its rectangle has beside the colour, where it fills the box
 * @param {{size: string, place: string, repeat: string}} how */
function layer(image, box, rest, { size, place, repeat }) {
  const [, repeating, inside] = /^(repeating-)?linear-gradient\((.+)\)$/.exec(image) ?? [];
  if (!inside) return "";
  const [width, height = "auto"] = size.split(" ");
  const tile = { w: width === "auto" ? box.w : pixels(width, box.w), h: height === "auto" ? box.h : pixels(height, box.h) };
  const [left, top = "0%"] = place.split(" ");
  const first = { x: box.x + pixels(left, box.w - tile.w), y: box.y + pixels(top, box.h - tile.h), ...tile };
  if (tile.w < 0.5 || tile.h < 0.5) return "";
  const isWhole = tile.w >= box.w - 0.5 && tile.h >= box.h - 0.5;
  const n = repeat.startsWith("repeat") && tile.w < box.w ? Math.ceil(box.w / tile.w) : 1;
  return Array.from({ length: n }, (_, i) => {
    const at = { ...first, x: first.x + i * tile.w };
    const { defined, fill } = filling(inside, at, Boolean(repeating));
    const seen = { ...at, w: Math.min(at.w, box.x + box.w - at.x) };
    return `${defined}<rect${isWhole ? rest : placed(seen)} fill="${fill}"/>`;
  }).join("");
}

/** A gradient's colours in this box. @param {string} inside @param {Box} box @param {boolean} repeating */
function filling(inside, box, repeating) {
  const parts = apart(inside);
  const [, degrees] = /^([\d.]+)deg$/.exec(parts[0]) ?? [];
  const turn = degrees ? Number(degrees) : /** @type {Record<string, number>} */ ({ "to right": 90, "to left": 270, "to top": 0, "to bottom": 180 })[parts[0]];
  const along = turn ?? 180;
  const stops = stopsOf(turn === undefined ? parts : parts.slice(1), along % 180 === 90 ? box.w : box.h);
  const [first] = stops;
  if (stops.every(({ colour }) => colour === first.colour)) return { defined: "", fill: plainColour(first.colour) ?? "none" };
  made += 1;
  const id = `tokenoscope-ground-${made}`;
  return { defined: repeating ? stripes(id, stops, along, box) : gradient(id, stops, along, box), fill: `url(#${id})` };
}

/** @param {string} id @param {Stop[]} stops @param {number} turn @param {Box} box */
function gradient(id, stops, turn, { x, y, w, h }) {
  const [x1, y1, x2, y2] = turn === 90 ? [x, y, x + w, y] : turn === 270 ? [x + w, y, x, y] : turn === 0 ? [x, y + h, x, y] : [x, y, x, y + h];
  const long = turn % 180 === 90 ? w : h;
  const marks = stops.flatMap(({ colour, from, to }) => (from === to ? [from] : [from, to]).map((at) => `<stop offset="${short(at / long)}"${inkOf(colour, "stop-color")}/>`));
  return `<linearGradient id="${id}" gradientUnits="userSpaceOnUse" x1="${short(x1)}" y1="${short(y1)}" x2="${short(x2)}" y2="${short(y2)}">${marks.join("")}</linearGradient>`;
}

/** @param {string} id @param {Stop[]} stops @param {number} turn @param {Box} box */
function stripes(id, stops, turn, { x, y }) {
  const every = stops[stops.length - 1].to;
  const marks = stops.flatMap(({ colour, from, to }) => [{ colour, at: from }, { colour, at: to }]);
  const bars = marks.slice(1).map(({ at }, i) => (at > marks[i].at ? `<rect x="${short(marks[i].at)}" width="${short(at - marks[i].at)}" height="${short(every)}"${inkOf(marks[i].colour, "fill")}/>` : ""));
  return `<pattern id="${id}" patternUnits="userSpaceOnUse" width="${short(every)}" height="${short(every)}" patternTransform="translate(${short(x)} ${short(y)}) rotate(${turn - 90})">${bars.join("")}</pattern>`;
}

/** @param {string[]} parts @param {number} long @returns {Stop[]} */
function stopsOf(parts, long) {
  return parts.map((part, i) => {
    const [, colour, where] = /^(\w+(?:\([^)]*\))?)\s*(.*)$/.exec(part) ?? ["", "none", ""];
    const at = (where.match(/calc\([^)]*\)|\S+/g) ?? []).map((each) => pixels(each, long));
    const from = at[0] ?? (i / Math.max(parts.length - 1, 1)) * long;
    return { colour, from, to: at[1] ?? from };
  });
}

/** A length of CSS, such as `calc(50% - 2px)`. @param {string} text @param {number} whole */
function pixels(text, whole) {
  return Array.from(text.matchAll(/([+-]?)\s*([\d.]+)(%|px)/g)).reduce((sum, [, sign, number, unit]) => sum + (sign === "-" ? -1 : 1) * Number(number) * (unit === "%" ? whole / 100 : 1), 0);
}

/** What stands between the commas that are not within brackets. @param {string} list */
export function apart(list) {
  /** @type {string[]} */
  const parts = [""];
  let depth = 0;
  for (const letter of list) {
    if (letter === "(") depth += 1;
    if (letter === ")") depth -= 1;
    if (letter === "," && depth === 0) parts.push("");
    else parts[parts.length - 1] += letter;
  }
  return parts.map((part) => part.trim());
}

/** @param {string} colour @param {"fill" | "stop-color"} name */
function inkOf(colour, name) {
  const plain = plainColour(colour);
  return plain ? ` ${name}="${plain}"` : ` ${name}="#808080" ${name === "fill" ? "fill" : "stop"}-opacity="0"`;
}

/** A colour as SVG 1.1 has it, null for none: CSS computes mixed ones as `color(srgb r g b / a)`. @param {string | undefined} colour */
export function plainColour(colour) {
  const [, r, g, b, a = "1"] = /^color\(srgb ([\d.e-]+) ([\d.e-]+) ([\d.e-]+)(?: \/ ([\d.e-]+))?\)$/.exec(colour ?? "") ?? [];
  if (r !== undefined) {
    const channels = [r, g, b].map((each) => Math.round(Number(each) * 255)).join(", ");
    return Number(a) === 0 ? null : Number(a) < 1 ? `rgba(${channels}, ${a})` : `rgb(${channels})`;
  }
  return !colour || colour === "transparent" || colour === "none" || /^rgba\(.*, 0\)$/.test(colour) ? null : colour;
}

/** How round the corners of a box are: no more than its sides allow. @param {CSSStyleDeclaration} style @param {Box} box */
export function radiusOf({ borderTopLeftRadius }, { w, h }) {
  const radius = parseFloat(borderTopLeftRadius) || 0;
  return Math.min(borderTopLeftRadius.includes("%") ? (radius / 100) * Math.min(w, h) : radius, w / 2, h / 2);
}

/** @param {Box} box */
export function placed({ x, y, w, h }) {
  return ` x="${short(x)}" y="${short(y)}" width="${short(Math.max(w, 0))}" height="${short(Math.max(h, 0))}"`;
}
