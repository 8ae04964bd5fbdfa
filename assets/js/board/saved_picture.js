// @ts-check
// A picture as a file: what stands in a box of the page as one SVG, with a title and what it shows, and that SVG as a PNG at print size.

import { drawThrough, pixelRatio } from "../core/canvas.js";
import { elementSvg } from "../core/element_svg.js";
import { withDensity } from "../core/png_density.js";
import { wide } from "../core/svg.js";
import { escaped, fontOf, short, SvgRecorder, wellFormed } from "../core/svg_recorder.js";

/** What a picture is made of: the `box` that it stands in, `words` of what it shows, and how its canvases are drawn again with other colours.
 * @typedef {{title: string, words: string[], box: HTMLElement, colours: import("../core/canvas.js").Paint, repaint: () => void, plotly: () => Promise<any>}} Subject */
/** @typedef {{svg: string, width: number, height: number}} Picture */

const [MARGIN, TITLE, LINE, GAP, NARROWEST] = [24, 28, 20, 14, 320]; // px
const TITLE_WIDER = (20 / 14) * 1.2; // than words of a line: it is larger, and bold
const SANS = "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', sans-serif";
const [PER_INCH, TIMES, MOST_SIDE] = [96, 3, 16384]; // CSS pixels in an inch; how many pixels a CSS pixel has on paper; what browsers' canvases hold

/** @param {Subject} subject @returns {Promise<Picture>} */
export async function pictureOf({ title, words, box, colours, repaint, plotly }) {
  const known = await charts(box, plotly);
  for (const [canvas, recorder] of recorded(colours.card, repaint)) known.set(canvas, nested(recorder));
  const size = box.getBoundingClientRect();
  const width = Math.ceil(Math.max(size.width, NARROWEST) + 2 * MARGIN);
  const heads = broken(title, (width - 2 * MARGIN) / TITLE_WIDER);
  const lines = words.flatMap((each) => broken(each, width - 2 * MARGIN));
  const below = MARGIN + heads.length * TITLE;
  const top = below + lines.length * LINE + GAP;
  const height = Math.ceil(top + size.height + MARGIN);
  const said = [...heads.map((line, i) => textLine(line, MARGIN + i * TITLE + 18, "650 20px", colours.ink)), ...lines.map((line, i) => textLine(line, below + i * LINE + 14, "400 14px", colours.muted))];
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}"><title>${escaped(title)}</title>`
    + `<rect width="${width}" height="${height}" fill="${colours.card}"/>${said.join("")}<g transform="translate(${MARGIN} ${short(top)})">${elementSvg(box, known)}</g></svg>\n`;
  return { svg, width, height };
}

/** The same in pixels, three for each of the screen's: a file that says so is as large on paper as on the screen. @param {Picture} picture @returns {Promise<Blob>} */
export async function pngOf({ svg, width, height }) {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
  await image.decode();
  const times = Math.min(TIMES, MOST_SIDE / Math.max(width, height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.floor(width * times);
  canvas.height = Math.floor(height * times);
  canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
  const blob = await new Promise((/** @type {(blob: Blob | null) => void} */ done) => canvas.toBlob(done, "image/png"));
  if (!blob) throw new Error("the canvas gave no PNG");
  return new Blob([withDensity(new Uint8Array(await blob.arrayBuffer()), PER_INCH * times)], { type: "image/png" });
}

/** Each canvas that is drawn while the picture is drawn anew. @param {string} ground @param {() => void} repaint */
function recorded(ground, repaint) {
  /** @type {Map<HTMLCanvasElement, SvgRecorder>} */
  const drawn = new Map();
  drawThrough((canvas, context, width, height) => {
    const recorder = new SvgRecorder(context, { ratio: pixelRatio(), width, height, ground, drawn });
    drawn.set(canvas, recorder);
    return /** @type {CanvasRenderingContext2D} */ (/** @type {unknown} */ (recorder));
  }, repaint);
  return drawn;
}

/** @param {SvgRecorder} recorder */
function nested({ svg, width, height }) {
  return `<svg width="${short(width)}" height="${short(height)}">${svg}</svg>`;
}

/** The charts in a box, as plotly draws them for files. @param {HTMLElement} box @param {() => Promise<any>} plotly */
async function charts(box, plotly) {
  /** @type {Map<Element, string>} */
  const known = new Map();
  for (const chart of box.querySelectorAll(".js-plotly-plot")) {
    const { width, height } = chart.getBoundingClientRect();
    if (!width || !height) continue;
    const address = await (await plotly()).toImage(chart, { format: "svg", width: Math.round(width), height: Math.round(height) });
    known.set(chart, wellFormed(decodeURIComponent(address.slice(address.indexOf(",") + 1)))); // never parsed here: a saved page's policy forbids its styles
  }
  return known;
}

/** Words in lines no longer than the picture is wide. @param {string} text @param {number} width */
function broken(text, width) {
  /** @type {string[]} */
  const lines = [];
  for (const word of text.split(" ")) {
    const last = lines[lines.length - 1];
    if (last !== undefined && wide(`${last} ${word}`) <= width) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

/** @param {string} text @param {number} y @param {string} font @param {string} colour */
function textLine(text, y, font, colour) {
  return `<text x="${MARGIN}" y="${y}"${fontOf(`${font} ${SANS}`)} fill="${colour}">${escaped(text)}</text>`;
}
