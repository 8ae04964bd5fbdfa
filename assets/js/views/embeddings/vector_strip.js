// @ts-check
// A vector as it is: a small square a number, in rows as one reads, the sign by hue and the size by strength.

import { h, say } from "../../core/dom.js";
import { context2d, fit, pointer, widthOf } from "../../core/canvas.js";
import { count } from "../../core/format.js";
import { phrase } from "../../core/texts.js";

/** @typedef {import("../../core/canvas.js").Paint} Paint */
/** What to draw: `key` names it, so that it is drawn once. @typedef {{key: string, numbers: Float32Array, limit: number}} Strip */

const [SMALLEST, LARGEST, HIGHEST] = [3, 18, 270]; // px: a square's side, the picture's height

/** @param {() => void} redraw @param {string} what it is, for those who cannot see it */
export function makeStrip(redraw, what) {
  const canvas = h("canvas", { role: "img", tabindex: "0", "data-own-keys": true });
  const box = h("div", { class: "ts-canvas-box ts-vector-box" }, canvas);
  const said = h("span", { class: "ts-vector-said" });
  const [low, high] = [h("span"), h("span")];
  const element = h("div", {}, box, h("p", { class: "ts-vector-scale" }, low, h("span", { class: "ts-diverging", "aria-hidden": "true" }), high, said));
  const width = widthOf(box, redraw);
  const image = document.createElement("canvas");
  /** @type {{strip: Strip, colours: Paint, columns: number, side: number} | null} */
  let drawn = null;
  let looked = -1;

  /** @param {number} index */
  function look(index) {
    if (!drawn || index === looked) return;
    const { strip } = drawn;
    looked = index >= 0 && index < strip.numbers.length ? index : -1;
    stamp();
    say(said, looked < 0 ? "" : phrase("number {n}: {value}", { n: looked, value: signed(strip.numbers[looked]) }));
  }

  canvas.addEventListener("pointermove", (event) => {
    if (!drawn) return;
    const { x, y } = pointer(canvas, event);
    const column = Math.floor(x / drawn.side);
    look(column < drawn.columns ? Math.floor(y / drawn.side) * drawn.columns + column : -1);
  });
  canvas.addEventListener("pointerleave", () => look(-1));
  canvas.addEventListener("blur", () => look(-1));
  canvas.addEventListener("keydown", (event) => {
    if (!drawn || !event.key.startsWith("Arrow")) return;
    event.preventDefault();
    const by = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: drawn.columns, ArrowUp: -drawn.columns }[event.key] ?? 0;
    look(Math.min(Math.max(looked + by, 0), drawn.strip.numbers.length - 1));
  });

  /** The image, enlarged, and what is looked at. */
  function stamp() {
    if (!drawn) return;
    const { colours, columns, side } = drawn;
    const g = fit(canvas, columns * side, image.height * side);
    g.imageSmoothingEnabled = false;
    g.drawImage(image, 0, 0, image.width * side, image.height * side);
    if (side >= 7) {
      g.fillStyle = colours.card;
      for (let c = 1; c < columns; c += 1) g.fillRect(c * side - 1, 0, 1, image.height * side);
      for (let r = 1; r < image.height; r += 1) g.fillRect(0, r * side - 1, columns * side, 1);
    }
    if (looked < 0) return;
    g.strokeStyle = colours.ink;
    g.lineWidth = 2;
    g.strokeRect((looked % columns) * side, Math.floor(looked / columns) * side, side - 1, side - 1);
  }

  return {
    element,
    /** @param {Strip} strip @param {Paint} colours */
    paint(strip, colours) {
      if (!width()) return;
      const side = Math.min(LARGEST, Math.max(SMALLEST, Math.floor(Math.sqrt((width() * HIGHEST) / strip.numbers.length))));
      const columns = Math.min(strip.numbers.length, Math.floor(width() / side));
      if (drawn?.strip.key === strip.key && drawn.colours === colours && drawn.columns === columns) return;
      drawn = { strip, colours, columns, side };
      looked = -1;
      drawNumbers(image, strip, columns, signs(colours));
      stamp();
    },
    /** What stands in words about it; it touches the page only where that changed. */
    draw() {
      if (!drawn) return;
      const { strip } = drawn;
      say(low, phrase("{n} or less", { n: signed(-strip.limit) }));
      say(high, phrase("{n} or more", { n: signed(strip.limit) }));
      if (looked < 0) say(said, "");
      const label = phrase("{what}: {n} numbers from {least} to {most}; arrow keys move between them", { what, n: count(strip.numbers.length), least: signed(least(strip.numbers)), most: signed(most(strip.numbers)) });
      if (canvas.getAttribute("aria-label") !== label) canvas.setAttribute("aria-label", label);
    },
  };
}

/** A number with its sign and enough digits to tell neighbours apart. @param {number} number */
export function signed(number) {
  const size = Math.abs(number);
  return `${number < 0 ? "−" : ""}${size >= 0.01 || size === 0 ? size.toFixed(3) : size.toPrecision(2)}`;
}

/** The end of the scale for vectors of one kind: all but one number in 200 lie within it. @param {Float32Array} numbers */
export function limitOf(numbers) {
  const every = Math.max(1, Math.floor(numbers.length / 20_000));
  const sizes = Float32Array.from({ length: Math.ceil(numbers.length / every) }, (_, i) => Math.abs(numbers[i * every])).sort();
  return sizes[Math.floor(sizes.length * 0.995)] || 1;
}

/** One pixel a number. @param {HTMLCanvasElement} image @param {{numbers: Float32Array, limit: number}} strip @param {number} columns
 * @param {{plus: number[], minus: number[], none: number[]}} ends */
export function drawNumbers(image, { numbers, limit }, columns, ends) {
  image.width = columns;
  image.height = Math.ceil(numbers.length / columns);
  const g = context2d(image);
  const data = g.createImageData(image.width, image.height);
  for (let i = 0; i < numbers.length; i += 1) {
    const share = Math.min(1, Math.abs(numbers[i]) / limit);
    const end = numbers[i] < 0 ? ends.minus : ends.plus;
    for (let c = 0; c < 3; c += 1) data.data[i * 4 + c] = ends.none[c] + (end[c] - ends.none[c]) * share;
    data.data[i * 4 + 3] = 255;
  }
  g.putImageData(data, 0, 0);
}

/** @type {WeakMap<Paint, {plus: number[], minus: number[], none: number[]}>} */
const known = new WeakMap();

/** The two hues of a signed number, which stand for no role, and nothing between them. @param {Paint} colours */
export function signs(colours) {
  const found = known.get(colours);
  if (found) return found;
  const style = getComputedStyle(document.querySelector(".ts-vector-box") ?? document.body);
  const ends = { plus: rgb(style.getPropertyValue("--ts-plus")), minus: rgb(style.getPropertyValue("--ts-minus")), none: rgb(colours.card) };
  known.set(colours, ends);
  return ends;
}

/** @param {string} hex */
function rgb(hex) {
  return [1, 3, 5].map((i) => parseInt(hex.trim().slice(i, i + 2), 16) || 0);
}

/** @param {Float32Array} numbers */
function least(numbers) {
  return numbers.reduce((low, number) => Math.min(low, number), Infinity);
}

/** @param {Float32Array} numbers */
function most(numbers) {
  return numbers.reduce((high, number) => Math.max(high, number), -Infinity);
}
