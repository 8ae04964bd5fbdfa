// @ts-check
// The maps of the logit lens: guesses written into cells as far as they fit, and all tokens as colours alone.
// Cells are kept as an image; a change of the selection draws that image and its marks.

import { context2d, cut, fit, pixelRatio, pointer, scale, shade, textOn } from "../../core/canvas.js";
import { label } from "../../core/format.js";
import { phrase } from "../../core/texts.js";

/** @typedef {import("../../data/view.js").State} State */
/** Where the cells of a map are. @typedef {{first: number, n: number, cell: number, row: number, top: number, levels: number}} Layout */

const [ROW, FOOT, HEAD] = [18, 22, 22]; // px, as in layers.css: the list beside the map has the same rows
const [CELL, CELL_MOST] = [58, 96];

/** The guesses in words, for as many tokens as have room; the selected one is always among them. */
export class Guesses {
  constructor() {
    this.image = document.createElement("canvas");
    this.spare = document.createElement("canvas");
    this.key = "";
    this.first = 0;
    /** @type {Map<number, string>} by token */
    this.cuts = new Map();
    /** @type {Tints | null} */
    this.tints = null;
  }

  /** @param {HTMLCanvasElement} canvas @param {State} state @param {number} width @param {boolean} held whether the pointer is in the map
   * @returns {Layout | null} */
  draw(canvas, state, width, held) {
    const { run, at, colours } = state;
    const lens = /** @type {import("../../data/store.js").Lens} */ (run.lens);
    if (width < CELL) return null;
    const n = Math.min(lens.positions, Math.floor(width / CELL));
    const cell = Math.min(Math.floor(width / n), CELL_MOST);
    const layout = { first: this.place(n, at.token, lens.positions, held), n, cell, row: ROW, top: HEAD, levels: run.nLayers + 1 };
    this.fill(state, layout);
    const g = fit(canvas, width, HEAD + layout.levels * ROW + FOOT);
    g.drawImage(this.image, 0, HEAD, n * cell, layout.levels * ROW);
    marks(g, state, layout, 0.94); // words half faded would be hard to read
    g.textAlign = "center";
    const ahead = layout.first + n - 1 - Math.max(state.step.last, layout.first - 1);
    g.fillStyle = colours.muted;
    if (ahead * cell > 96) g.fillText(phrase("not read yet"), (n - ahead / 2) * cell, HEAD + (layout.levels * ROW) / 2 + 5);
    for (let i = 0; i < n; i += 1) {
      const token = run.tokens[layout.first + i];
      const x = (i + 0.5) * cell;
      g.fillStyle = layout.first + i === at.token ? colours.ink : colours.muted;
      g.fillText(cut(g, label(token, 20), cell - 6), x, HEAD + layout.levels * ROW + 16);
      if (layout.first + i === at.token || n < 4) g.fillText(phrase("token {n}", { n: layout.first + i }), Math.min(Math.max(x, 38), n * cell - 38), 15);
    }
    g.textAlign = "left";
    return layout;
  }

  /** The window ends at the token. Under the pointer it moves no more than it must: it would run away from what is pointed at.
   * @param {number} n @param {number} token @param {number} positions @param {boolean} held */
  place(n, token, positions, held) {
    const inside = held && token >= this.first && token < this.first + n;
    const first = inside ? this.first : held && token < this.first ? token : token - n + 1;
    return Math.min(Math.max(first, 0), Math.max(positions - n, 0));
  }

  /** Draw the cells that are not in the image yet. @param {State} state @param {Layout} layout */
  fill({ run, colours }, { first, n, cell, levels }) {
    const ratio = pixelRatio();
    const lens = /** @type {import("../../data/store.js").Lens} */ (run.lens);
    const key = [run.id, lens.positions, n, cell, levels, ratio, run.tokens.length, colours.stamp].join("/");
    const moved = first - this.first;
    if (key === this.key && moved === 0) return;
    const kept = key === this.key ? n - Math.abs(moved) : 0;
    if (key !== this.key) {
      this.cuts.clear();
      this.tints = tintsOf(colours);
    }
    this.key = key;
    this.first = first;
    const g = fit(this.spare, n * cell, levels * ROW);
    if (kept > 0) g.drawImage(this.image, -moved * cell, 0, n * cell, levels * ROW);
    const fresh = Array.from({ length: n }, (_, i) => i).filter((i) => kept <= 0 || (moved > 0 ? i >= kept : i < -moved));
    for (const i of fresh) this.column(g, run, first + i, i * cell, cell, levels);
    [this.image, this.spare] = [this.spare, this.image];
  }

  /** @param {CanvasRenderingContext2D} g @param {import("../../data/store.js").Run} run @param {number} token @param {number} x @param {number} cell @param {number} levels */
  column(g, run, token, x, cell, levels) {
    const lens = /** @type {import("../../data/store.js").Lens} */ (run.lens);
    const tints = /** @type {Tints} */ (this.tints);
    const next = run.tokens[token + 1]?.id ?? -1;
    for (let level = 0; level < levels; level += 1) {
      const at = (level * lens.positions + token) * lens.kept;
      const id = lens.ids[at];
      const tint = id === next ? tints.right : tints.other;
      const share = Math.round(lens.probabilities[at] * 255);
      const y = (levels - 1 - level) * ROW;
      g.fillStyle = tint.fill[share];
      g.fillRect(x, y, cell - 1, ROW - 1);
      let text = this.cuts.get(id);
      if (text === undefined) {
        text = cut(g, label({ id, text: run.texts.get(id) ?? "", hex: run.hexes.get(id) }, 20), cell - 7);
        this.cuts.set(id, text);
      }
      g.fillStyle = tint.text[share];
      g.fillText(text, x + 3, y + 13);
    }
  }
}

/** @typedef {{fill: string[], text: string[]}} Tint */
/** @typedef {{other: Tint, right: Tint}} Tints */

/** The colours of all shares: of the role of weights, and of what was really written. @param {import("../../core/canvas.js").Paint} colours @returns {Tints} */
function tintsOf(colours) {
  const tint = (/** @type {Uint32Array} */ steps) => {
    // On a ground of middle brightness only black and white are far enough from it.
    const plain = { ...colours, scale: steps, ink: "#000000", card: "#ffffff" };
    const shares = Array.from({ length: 256 }, (_, i) => i / 255);
    return { fill: shares.map((share) => shade(plain, share)), text: shares.map((share) => textOn(plain, share)) };
  };
  return { other: tint(colours.scale), right: tint(scale(colours.card, colours.generated)) };
}

/** All tokens as colours; the frame shows which of them are written out. */
let all = { key: "", image: document.createElement("canvas") };

/** @param {HTMLCanvasElement} canvas @param {State} state @param {number} width @param {Layout | null} window_ @returns {Layout | null} */
export function overview(canvas, state, width, window_) {
  const { run, colours } = state;
  const lens = /** @type {import("../../data/store.js").Lens} */ (run.lens);
  if (!width) return null;
  const levels = run.nLayers + 1;
  const key = [run.id, lens.positions, run.tokens.length, colours.weight].join("/");
  if (all.key !== key) all = { key, image: pixels(run, colours) };
  const row = Math.min(Math.max(96 / levels, window_ ? 1 : 3), 10);
  const layout = { first: 0, n: lens.positions, cell: Math.min(width / lens.positions, 40), row, top: 2, levels };
  const g = fit(canvas, width, levels * row + 4);
  g.imageSmoothingEnabled = false;
  g.drawImage(all.image, 0, 2, layout.n * layout.cell, levels * row);
  marks(g, state, layout, 0.75);
  g.strokeStyle = colours.muted;
  g.setLineDash([4, 3]);
  if (window_) g.strokeRect(window_.first * layout.cell, 1, window_.n * layout.cell, levels * row + 2);
  g.setLineDash([]);
  return layout;
}

/** @param {import("../../data/store.js").Run} run @param {import("../../core/canvas.js").Paint} colours */
function pixels(run, colours) {
  const lens = /** @type {import("../../data/store.js").Lens} */ (run.lens);
  const [levels, n] = [run.nLayers + 1, lens.positions];
  const right = scale(colours.card, colours.generated);
  const image = document.createElement("canvas");
  image.width = n;
  image.height = levels;
  const g = context2d(image);
  const data = g.createImageData(n, levels);
  const words = new Uint32Array(data.data.buffer);
  for (let level = 0; level < levels; level += 1) {
    for (let p = 0; p < n; p += 1) {
      const at = (level * n + p) * lens.kept;
      const steps = lens.ids[at] === run.tokens[p + 1]?.id ? right : colours.scale;
      words[(levels - 1 - level) * n + p] = steps[Math.round(lens.probabilities[at] * 255)];
    }
  }
  g.putImageData(data, 0, 0);
  return image;
}

/** What is not read yet is faded; the selected column and cell are framed. @param {CanvasRenderingContext2D} g @param {State} state @param {Layout} layout @param {number} fade */
function marks(g, { at, step, colours }, { first, n, cell, row, top, levels }, fade) {
  const ahead = Math.max(step.last + 1, first);
  if (ahead < first + n) {
    g.globalAlpha = fade;
    g.fillStyle = colours.card;
    g.fillRect((ahead - first) * cell, top, (first + n - ahead) * cell, levels * row);
    g.globalAlpha = 1;
  }
  g.strokeStyle = colours.line;
  g.strokeRect(0.5, top - 0.5, n * cell - 1, levels * row);
  g.strokeStyle = colours.ink;
  const x = (at.token - first) * cell;
  g.strokeRect(x - 0.5, top - 0.5, Math.max(cell, 2), levels * row);
  g.lineWidth = 2;
  g.strokeRect(x, top + (levels - 2 - at.layer) * row - 0.5, Math.max(cell - 1, 2), row);
  g.lineWidth = 1;
}

/** @param {Layout | null} layout @param {HTMLCanvasElement} canvas @param {MouseEvent} event */
export function placeOf(layout, canvas, event) {
  if (!layout) return null;
  const { x, y } = pointer(canvas, event);
  const [column, fromTop] = [Math.floor(x / layout.cell), Math.floor((y - layout.top) / layout.row)];
  const inside = column >= 0 && column < layout.n && fromTop >= 0 && fromTop < layout.levels;
  return inside ? { token: layout.first + column, level: layout.levels - 1 - fromTop } : null;
}
