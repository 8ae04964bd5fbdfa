// @ts-check
// What a part of the page looks like, as SVG: its boxes, borders and lines of text where the browser has laid them out, and
// its canvases, drawings and charts. Not all of CSS: what the pictures here are made of.

import { apart, backgroundSvg, placed, plainColour, radiusOf } from "./background_svg.js";
import { escaped, fontOf, short, wellFormed } from "./svg_recorder.js";

/** What stands for elements that the page cannot tell of: a canvas that was recorded, a chart. @typedef {Map<Element, string>} Known */

const LEFT_OUT = "button.ts-button:not([aria-pressed]), select, input, summary, iframe, .ts-check, .ts-fork, .ts-hidden, .ts-save"; // what is pressed, and what is not seen
const COPIED = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray", "stroke-linecap", "stroke-linejoin", "opacity",
  "font-family", "font-size", "font-weight", "font-style", "text-anchor", "dominant-baseline", "visibility", "marker-end"];
const COLOURS = new Set(["fill", "stroke"]);
const DASHES = /** @type {Record<string, number[]>} */ ({ dashed: [3, 2], dotted: [1, 1] }); // in widths of the line
const SIDES = /** @type {const} */ (["Top", "Right", "Bottom", "Left"]);

let clips = 0;

/** A box of the page, its top left corner at 0, 0. @param {Element} box @param {Known} known */
export function elementSvg(box, known) {
  const { left, top } = box.getBoundingClientRect();
  return drawn(box, { known, left, top });
}

/** @typedef {{known: Known, left: number, top: number}} Place */
/** @typedef {import("./background_svg.js").Box} Box */

/** @param {Element} element @param {Place} place @returns {string} */
function drawn(element, place) {
  const style = getComputedStyle(element);
  if (style.display === "none" || style.opacity === "0" || element.matches(LEFT_OUT)) return "";
  if (style.position === "fixed") return ""; // it lies over the page, such as the sheet of the loom on a phone
  const at = boxOf(element.getBoundingClientRect(), place);
  const isSeen = style.visibility === "visible";
  const parts = isSeen && style.display !== "contents" && at.w && at.h ? [turned(element, style, at)] : [];
  const known = place.known.get(element);
  if (known !== undefined) parts.push(`<g transform="translate(${short(at.x)} ${short(at.y)})">${known}</g>`);
  else if (element instanceof HTMLCanvasElement) parts.push(bitmap(element, at));
  else if (element instanceof SVGSVGElement) parts.push(copied(element, at));
  else parts.push(clippedTo(element, style, at, inside(element, style, isSeen, place)));
  const shown = parts.join("");
  return style.opacity === "1" || !shown ? shown : `<g opacity="${style.opacity}">${shown}</g>`;
}

/** The box itself; one that is rotated about its middle as it is without that, and then rotated. @param {Element} element @param {CSSStyleDeclaration} style @param {Box} at */
function turned(element, style, at) {
  const [, a, b] = /^matrix\(([^,]+), ([^,]+),/.exec(style.transform) ?? [];
  if (!Number(b) || !(element instanceof HTMLElement)) return backgroundSvg(style, at) + rings(element, style, at) + borders(style, at);
  const [w, h] = [element.offsetWidth, element.offsetHeight];
  const [x, y] = [at.x + at.w / 2, at.y + at.h / 2];
  const own = { x: x - w / 2, y: y - h / 2, w, h };
  return `<g transform="rotate(${short((Math.atan2(Number(b), Number(a)) * 180) / Math.PI)} ${short(x)} ${short(y)})">${backgroundSvg(style, own)}${borders(style, own)}</g>`;
}

/** @param {Element} element @param {CSSStyleDeclaration} style @param {boolean} isSeen @param {Place} place */
function inside(element, style, isSeen, place) {
  return Array.from(element.childNodes, (child) => {
    if (child instanceof Element) return element instanceof HTMLDetailsElement && !element.open && child.tagName !== "SUMMARY" ? "" : drawn(child, place);
    return child instanceof Text && isSeen ? linesOf(child, style, place) : "";
  }).join("");
}

/** Where a box scrolls or cuts what is in it, as much of it as is seen. @param {Element} element @param {CSSStyleDeclaration} style @param {Box} at @param {string} shown */
function clippedTo(element, style, at, shown) {
  const cuts = style.overflowX !== "visible" && style.display !== "inline" && (element.scrollWidth > element.clientWidth + 1 || element.scrollHeight > element.clientHeight + 1);
  if (!cuts || !shown) return shown;
  clips += 1;
  return `<clipPath id="tokenoscope-box-${clips}"><rect${placed(at)}/></clipPath><g clip-path="url(#tokenoscope-box-${clips})">${shown}</g>`;
}

/** Lines around or inside the box: shadows without a blur, and an outline that is not the focus. @param {Element} element @param {CSSStyleDeclaration} style @param {Box} box */
function rings(element, style, box) {
  const { boxShadow, outlineStyle, outlineWidth, outlineOffset, outlineColor } = style;
  const radius = radiusOf(style, box);
  const shadows = apart(boxShadow).map((shadow) => {
    const [, colour, wide, inset] = /^(\w+\([^)]*\)) 0px 0px 0px ([\d.]+)px( inset)?$/.exec(shadow) ?? [];
    return ring(box, colour, Number(wide), inset ? -wide : 0, radius);
  });
  const isOutlined = outlineStyle !== "none" && !element.matches(":focus-visible");
  return shadows.join("") + (isOutlined ? ring(box, outlineColor, parseFloat(outlineWidth), parseFloat(outlineOffset), radius) : "");
}

/** @param {Box} box @param {string | undefined} colour @param {number} wide @param {number} off how far from the box it begins @param {number} radius */
function ring({ x, y, w, h }, colour, wide, off, radius) {
  const plain = plainColour(colour);
  const out = off + wide / 2;
  return wide && plain ? `<rect${placed({ x: x - out, y: y - out, w: w + 2 * out, h: h + 2 * out })} rx="${short(radius)}" fill="none" stroke="${plain}" stroke-width="${short(wide)}"/>` : "";
}

/** Four equal borders as one outline, others side by side. @param {CSSStyleDeclaration} style @param {Box} at */
function borders(style, { x, y, w, h }) {
  const sides = SIDES.map((side) => {
    const [wide, kind, colour] = [parseFloat(style[`border${side}Width`]), style[`border${side}Style`], plainColour(style[`border${side}Color`])];
    return wide && colour && kind !== "none" ? { wide, line: ` stroke="${colour}" stroke-width="${short(wide)}"${DASHES[kind] ? ` stroke-dasharray="${DASHES[kind].map((each) => each * wide).join(" ")}"` : ""}` } : null;
  });
  const [first] = sides;
  if (first && sides.every((side) => side?.line === first.line)) {
    const half = first.wide / 2;
    return `<rect${placed({ x: x + half, y: y + half, w: w - first.wide, h: h - first.wide })} rx="${short(Math.max(radiusOf(style, { x, y, w, h }) - half, 0))}" fill="none"${first.line}/>`;
  }
  return sides.map((side, i) => {
    if (!side) return "";
    const half = side.wide / 2;
    const [ax, ay, bx, by] = [[x, y + half, x + w, y + half], [x + w - half, y, x + w - half, y + h], [x, y + h - half, x + w, y + h - half], [x + half, y, x + half, y + h]][i].map(short);
    return `<path d="M${ax} ${ay}L${bx} ${by}"${side.line}/>`;
  }).join("");
}

/** The text of one node, a line of it at a time. @param {Text} node @param {CSSStyleDeclaration} style @param {Place} place */
function linesOf(node, style, place) {
  if (!node.data.trim() && !style.whiteSpace.startsWith("pre")) return "";
  const colour = plainColour(style.color) ?? "none";
  const named = `${style.fontStyle === "italic" ? "italic " : ""}${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
  const font = fontOf(named);
  const { rise, fall } = heightOf(named);
  return lines(node, style.whiteSpace.startsWith("pre")).map(({ text, rect }) => {
    const y = rect.top + (rect.height - rise - fall) / 2 + rise - place.top;
    return `<text x="${short(rect.left - place.left)}" y="${short(y)}"${font} xml:space="preserve" fill="${colour}">${escaped(text)}</text>`;
  }).join("");
}

/** @param {Text} node @param {boolean} keepsSpace */
function lines(node, keepsSpace) {
  const range = document.createRange();
  const spaced = (/** @type {string} */ text) => (keepsSpace ? text : text.replace(/\s+/g, " "));
  range.selectNodeContents(node);
  const all = range.getClientRects();
  if (all.length === 1 && (keepsSpace || !/^\s/.test(node.data))) return [{ text: spaced(node.data), rect: all[0] }];
  /** @type {{text: string, rect: {left: number, top: number, height: number}}[]} */
  const found = [];
  let at = 0;
  for (const point of node.data) {
    range.setStart(node, at);
    range.setEnd(node, at += point.length);
    const rect = range.getClientRects()[0];
    const last = found[found.length - 1];
    if (!rect || (!rect.width && /\s/.test(point))) continue; // a space where a line begins or ends
    if (last && Math.abs(last.rect.top - rect.top) < 2) last.text += point;
    else found.push({ text: point, rect });
  }
  return found.map(({ text, rect }) => ({ text: spaced(text), rect }));
}

/** @type {Map<string, {rise: number, fall: number}>} by font */
const HEIGHTS = new Map();
/** @type {CanvasRenderingContext2D | null} */
let ruler = null;

/** How far a font reaches above and below its line. @param {string} font */
function heightOf(font) {
  let found = HEIGHTS.get(font);
  if (found) return found;
  ruler ??= document.createElement("canvas").getContext("2d");
  if (!ruler) return { rise: 0, fall: 0 };
  ruler.font = font;
  const { fontBoundingBoxAscent: rise, fontBoundingBoxDescent: fall } = ruler.measureText("x");
  HEIGHTS.set(font, found = { rise, fall });
  return found;
}

/** A canvas that nothing is known of but its pixels. @param {HTMLCanvasElement} canvas @param {Box} at */
function bitmap(canvas, at) {
  return canvas.width && canvas.height && at.w && at.h ? `<image${placed(at)} preserveAspectRatio="none" href="${canvas.toDataURL("image/png")}"/>` : "";
}

/** A drawing of the page, with what its style sheets say of each part. @param {SVGSVGElement} drawing @param {Box} at */
function copied(drawing, at) {
  if (!at.w || !at.h) return "";
  const copy = /** @type {SVGSVGElement} */ (drawing.cloneNode(true));
  dress(drawing, copy);
  for (const [name, value] of Object.entries({ x: at.x, y: at.y, width: at.w, height: at.h })) copy.setAttribute(name, short(value));
  if (getComputedStyle(drawing).overflow === "visible") copy.setAttribute("overflow", "visible");
  return wellFormed(new XMLSerializer().serializeToString(copy));
}

/** @param {Element} from @param {Element} to */
function dress(from, to) {
  const style = getComputedStyle(from);
  for (const name of COPIED) {
    const value = style.getPropertyValue(name);
    if (value) to.setAttribute(name, COLOURS.has(name) ? (value.startsWith("url") ? value : plainColour(value) ?? "none") : value);
  }
  for (const name of ["class", "style", "tabindex"]) to.removeAttribute(name);
  Array.from(from.children).forEach((child, i) => dress(child, to.children[i]));
  for (const child of Array.from(from.children).map((each, i) => (getComputedStyle(each).display === "none" ? to.children[i] : null))) child?.remove();
}

/** @param {DOMRect} rect @param {Place} place @returns {Box} */
function boxOf(rect, place) {
  return { x: rect.left - place.left, y: rect.top - place.top, w: rect.width, h: rect.height };
}
