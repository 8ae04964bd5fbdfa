// @ts-check
// Drawing on a canvas: sharp pixels, colours from the page's theme, and the scale that turns a weight into a colour.

/** @typedef {{ink: string, muted: string, card: string, sunk: string, line: string, spine: string, guess: string, weight: string, "weight-text": string, prompt: string, generated: string,
 *   doubt: string, baseline: string, query: string, key: string, value: string, "prompt-text": string, "generated-text": string, scale: Uint32Array, stamp: number}} Paint  `stamp` grows each time that pictures are to be drawn anew */

/** What is drawn through: it gets the canvas's own context, in CSS pixels and cleared. @typedef {(canvas: HTMLCanvasElement, context: CanvasRenderingContext2D, width: number, height: number) => CanvasRenderingContext2D} Through */
/** @type {Through | null} */
let through = null;

/** Whatever `draw` draws on canvases goes through something else, which sees each call. @param {Through} by @param {() => void} draw */
export function drawThrough(by, draw) {
  through = by;
  try {
    draw();
  } finally {
    through = null;
  }
}

/** Set the size in CSS pixels and return a cleared context in those units, with this font. The font is set only when
 * the canvas is new: setting it makes the browser settle the style of the whole page, which costs more than the drawing.
 * @param {HTMLCanvasElement} canvas @param {number} width @param {number} height @param {string} [font] */
export function fit(canvas, width, height, font = FONT) {
  const ratio = pixelRatio();
  const [w, hgt] = [Math.round(width * ratio), Math.round(height * ratio)];
  const fresh = canvas.width !== w || canvas.height !== hgt;
  if (fresh) {
    canvas.width = w;
    canvas.height = hgt;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const context = context2d(canvas);
  if (fresh) context.font = font;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return through ? through(canvas, context, width, height) : context;
}

/** Canvas pixels in a CSS pixel. */
export function pixelRatio() {
  return Math.min(window.devicePixelRatio || 1, 3);
}

/** @param {HTMLCanvasElement} canvas */
export function context2d(canvas) {
  return /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
}

/** The width of a box without asking for it while drawing: that would make the browser lay out the page in between.
 * @param {Element} box @param {() => void} changed @returns {() => number} 0 until it is laid out */
export function widthOf(box, changed) {
  let width = 0;
  new ResizeObserver(([entry]) => {
    const now = Math.floor(entry.contentRect.width);
    if (now === width) return;
    width = now;
    changed();
  }).observe(box);
  return () => width;
}

/** The theme's colours as the page has them now. @param {Element} root @returns {Paint} */
export function paint(root) {
  const style = getComputedStyle(root);
  const get = (/** @type {string} */ name) => style.getPropertyValue(`--ts-${name}`).trim() || "#808080";
  const names = ["ink", "muted", "card", "sunk", "line", "spine", "guess", "weight", "weight-text", "prompt", "generated", "doubt", "baseline", "query", "key", "value", "prompt-text", "generated-text"];
  const colours = Object.fromEntries(names.map((name) => [name, get(name)]));
  return afresh(/** @type {Paint} */ ({ ...colours, scale: scale(colours.card, colours.weight), stamp: 0 }));
}

let stamps = 0;

/** The same colours, with which nothing has been drawn yet: who draws only what has changed draws again. @param {Paint} colours @returns {Paint} */
export function afresh(colours) {
  stamps += 1;
  return { ...colours, stamp: stamps };
}

/** 256 colours from the ground (nothing) to the role's colour (the most), as ImageData words.
 * @param {string} from @param {string} to */
export function scale(from, to) {
  const [a, b] = [rgb(from), rgb(to)];
  const words = new Uint32Array(256);
  const bytes = new Uint8Array(words.buffer);
  for (let i = 0; i < 256; i += 1) {
    for (let c = 0; c < 3; c += 1) bytes[i * 4 + c] = Math.round(a[c] + ((b[c] - a[c]) * i) / 255);
    bytes[i * 4 + 3] = 255;
  }
  return words;
}

/** A colour between two others. @param {string} from @param {string} to @param {number} share 0 to 1 @returns {string} hex */
export function mix(from, to, share) {
  const [a, b] = [rgb(from), rgb(to)];
  return `#${a.map((c, i) => Math.round(c + (b[i] - c) * share).toString(16).padStart(2, "0")).join("")}`;
}

/** @param {string} hex */
function rgb(hex) {
  return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16) || 0);
}

/** A colour of the scale, for what is not drawn pixel by pixel. @param {Paint} colours @param {number} share 0 to 1 */
export function shade(colours, share) {
  const word = colours.scale[Math.round(Math.min(Math.max(share, 0), 1) * 255)];
  return `rgb(${word & 255} ${(word >> 8) & 255} ${(word >> 16) & 255})`;
}

/** The text colour that reads better on a colour of the scale. @param {Paint} colours @param {number} share 0 to 1 */
export function textOn(colours, share) {
  const word = colours.scale[Math.round(Math.min(Math.max(share, 0), 1) * 255)];
  return reads(colours, [word & 255, (word >> 8) & 255, (word >> 16) & 255]);
}

/** The text colour that reads better on this colour. @param {Paint} colours @param {string} hex */
export function overColour(colours, hex) {
  return reads(colours, rgb(hex));
}

/** @param {Paint} colours @param {number[]} channels */
function reads(colours, channels) {
  const ground = luminance(channels);
  const apart = (/** @type {string} */ text) => {
    const [high, low] = [ground, luminance(rgb(text))].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  };
  const better = apart(colours.ink) >= apart(colours.card) ? colours.ink : colours.card;
  if (apart(better) >= 4.5) return better;
  return apart("#000000") >= apart("#ffffff") ? "#000000" : "#ffffff"; // on any colour one of the two has 4.58 at least
}

/** @param {number[]} channels */
function luminance(channels) {
  const [r, g, b] = channels.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** Slanted lines over an area: what is left out, or not computed yet.
 * @param {CanvasRenderingContext2D} context @param {number} x @param {number} y @param {number} width @param {number} height @param {string} colour @param {number} [gap] */
export function hatch(context, x, y, width, height, colour, gap = 6) {
  if (width <= 0 || height <= 0) return;
  context.save();
  context.beginPath();
  context.rect(x, y, width, height);
  context.clip();
  context.strokeStyle = colour;
  context.lineWidth = 1;
  context.beginPath();
  for (let d = -height; d < width; d += gap) {
    context.moveTo(x + d, y + height);
    context.lineTo(x + d + height, y);
  }
  context.stroke();
  context.restore();
}

/** Text cut to a width. @param {CanvasRenderingContext2D} context @param {string} text @param {number} width */
export function cut(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  const points = [...text];
  let [low, high] = [0, points.length];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (context.measureText(`${points.slice(0, middle).join("")}…`).width <= width) low = middle;
    else high = middle - 1;
  }
  return `${points.slice(0, low).join("")}…`;
}

/** Where a pointer is on a canvas, in CSS pixels. @param {HTMLCanvasElement} canvas @param {MouseEvent} event */
export function pointer(canvas, event) {
  const box = canvas.getBoundingClientRect();
  return { x: event.clientX - box.left, y: event.clientY - box.top };
}

/** Whether a person looks closer here by tapping, without a pointer that rests. */
export function taps() {
  return window.matchMedia("(hover: none)").matches;
}

/** What canvases and charts are written in: viz/theme.py says the same of plotly's. */
export const FONT_FAMILY = "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', sans-serif";
export const FONT = `14px ${FONT_FAMILY}`;
export const MONO = "14px ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace";
