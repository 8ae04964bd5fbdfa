// @ts-check
// One head's map: this token (row) looks back at (column). One pixel a weight, kept until something in it changes.

import { h, fill, quoted } from "../../core/dom.js";
import { context2d, fit, hatch, cut, pointer, taps, widthOf, MONO } from "../../core/canvas.js";
import { label, roughly } from "../../core/format.js";
import { WEIGHTS } from "../../data/store.js";
import { whichOne } from "./attention_looks.js";
import { phrase, phraseParts } from "../../core/texts.js";

/** @typedef {import("../../board/card.js").State} State */
/** @typedef {import("../../core/canvas.js").Paint} Paint */
/** @typedef {{run: string, layer: number, head: number, rows: number, scale: Uint32Array, sink: boolean, image: HTMLCanvasElement, most: number, cells: number}} Drawn */
/** @typedef {{left: number, top: number, cell: number, n: number, side: number}} Layout */
/** How the parts of the card tell each other which key of the row is looked at: pointed at for now, or pinned by a click.
 * @typedef {{key: number | null, point: (key: number | null) => void, pin: (key: number) => void}} Pointed */

const MOST_CELLS = 512; // pixels a side of the map; a longer run shows the largest weight of each square
const LINE = 18; // pixels from one name to the next
const COLUMNS = phrase("attends to (column)");
const ROWS = [phrase("this token"), phrase("(row)")];

/** @param {import("../../board/selection.js").Selection} selection @param {Pointed} pointed @param {() => void} redraw */
export function makeMap(selection, pointed, redraw) {
  const canvas = h("canvas", { class: "ts-map", role: "img", tabindex: "0", "data-own-keys": true });
  const box = h("div", { class: "ts-map-box" }, canvas);
  const words = h("p", { class: "ts-readout ts-one-weight" });
  const legend = h("p", { class: "ts-note" });
  const element = h("div", { class: "ts-map-pane" }, box, words, legend);
  const width = widthOf(box, redraw);
  /** @type {Drawn | null} */
  let drawn = null;
  /** @type {Layout | null} */
  let layout = null;
  /** @type {State | null} */
  let last = null;
  /** @type {{row: number, column: number} | null} */
  let cell = null;
  /** @type {Map<string, string>} names cut to their room */
  const names = new Map();
  let namesOf = "";
  let longest = 0;

  const place = (/** @type {MouseEvent} */ event) => {
    if (!layout || !last) return null;
    const { x, y } = pointer(canvas, event);
    const [column, row] = [Math.floor((x - layout.left) / layout.cell), Math.floor((y - layout.top) / layout.cell)];
    return row >= 0 && row <= last.step.last && column >= 0 && column <= row ? { row, column } : null;
  };
  canvas.addEventListener("pointermove", (event) => {
    cell = place(event);
    if (event.pointerType === "mouse") selection.preview(cell && { token: cell.row });
    pointed.point(cell && cell.column);
    if (last) sayCell(last);
  });
  canvas.addEventListener("pointerleave", () => {
    cell = null;
    selection.preview(null);
    pointed.point(null);
  });
  canvas.addEventListener("click", (event) => {
    const at = place(event);
    if (!at) return;
    selection.set({ token: at.row }, { lock: true });
    pointed.pin(at.column);
  });
  canvas.addEventListener("keydown", (event) => {
    const { token } = selection.at;
    const key = pointed.key ?? token;
    if (event.key === "ArrowUp") selection.set({ token: Math.max(token - 1, 0) });
    else if (event.key === "ArrowDown") selection.set({ token: Math.min(token + 1, last?.step.last ?? token) });
    else if (event.key === "ArrowLeft") pointed.point(Math.max(key - 1, 0));
    else if (event.key === "ArrowRight") pointed.point(Math.min(key + 1, token));
    else if (event.key === "Enter") selection.set({ token }, { lock: true });
    else return;
    event.preventDefault();
  });
  canvas.addEventListener("blur", () => pointed.point(null));

  /** @param {State} state */
  function sayCell({ run, at }) {
    const looked = cell ?? (pointed.key === null ? null : { row: at.token, column: Math.min(pointed.key, at.token) });
    const row = looked && run.row(at.layer, at.head, looked.row);
    if (!looked || !row) fill(words, taps() ? phrase("Tap a square for its weight.") : phrase("Point at a square for its weight; a click keeps it."));
    else fill(words, ...phraseParts("{query} attends to {key}: {weight}.", { query: [quoted(run.tokens[looked.row]), whichOne(run, looked.row, looked.row)],
      key: [quoted(run.tokens[looked.column]), whichOne(run, looked.column, looked.row)], weight: roughly(WEIGHTS[row[looked.column]]) }));
  }

  /** @param {string} text @param {number} room @param {CanvasRenderingContext2D} g */
  const short = (text, room, g) => {
    const key = `${Math.round(room)} ${text}`;
    const found = names.get(key);
    if (found !== undefined) return found;
    const made = cut(g, text, room);
    names.set(key, made);
    return made;
  };

  return {
    element,
    /** The weight that is drawn in the strongest colour. */
    get most() { return drawn ? drawn.most : 0; },
    /** @param {State} state @param {boolean} withoutSink */
    paint(state, withoutSink) {
      last = state;
      const { run, at, step, colours } = state;
      const n = run.nRead;
      drawn = imageOf(drawn, state, withoutSink);
      if (!width()) return;
      if (namesOf !== `${run.id}/${n}`) {
        namesOf = `${run.id}/${n}`;
        names.clear();
        longest = run.tokens.slice(0, n).reduce((most, token) => Math.max(most, [...label(token, 24)].length), 0);
      }
      layout = layOut(width(), n, longest);
      const { left, top, side } = layout;
      const g = fit(canvas, Math.ceil(left + side + 3), Math.ceil(top + side + 4), MONO);
      g.imageSmoothingEnabled = drawn.cells < n;
      g.drawImage(drawn.image, left, top, side, side);
      if (withoutSink) hatch(g, left, top, Math.max(layout.cell, 2), side, colours.line);
      drawGround(g, state, layout);
      drawNames(g, state, layout, pointed.key, short);
      drawSelected(g, state, layout, pointed.key);
      canvas.setAttribute("aria-label", phrase("Attention of layer {layer}, head {head}: {n} tokens by {n} tokens. The row of {token} is selected and read out beside it. Arrow up and down: another row; left and right: one weight; Enter keeps the row.",
        { layer: at.layer, head: at.head, n, token: label(run.tokens[at.token]) }));
      g.fillStyle = colours.muted;
      g.textAlign = "left";
      g.textBaseline = "alphabetic";
      g.fillText(short(`${COLUMNS} →`, side, g), left, 13);
      g.fillText(ROWS[0], 0, top - 27);
      g.fillText(`${ROWS[1]} ↓`, 0, top - 11);
      drawWhy(g, state, layout);
    },
    /** @param {State} state @param {boolean} withoutSink */
    draw(state, withoutSink) {
      sayCell(state);
      sayScale(legend, drawn ? drawn.most : 0, state.colours, withoutSink);
    },
  };
}

/** @param {number} width @param {number} n @param {number} longest characters of the longest name @returns {Layout} */
function layOut(width, n, longest) {
  const left = 98;
  const top = LINE + Math.min(84, Math.max(26, longest * 8.5 + 12));
  const cell = Math.min(34, (width - left - 4) / n);
  return { left, top, cell, n, side: cell * n };
}

/** What is not read yet, the frame, and where the prompt ends.
 * @param {CanvasRenderingContext2D} g @param {State} state @param {Layout} layout */
function drawGround(g, { run, step, colours }, { left, top, cell, n, side }) {
  const future = (n - 1 - step.last) * cell;
  if (future > 0) {
    g.fillStyle = colours.card;
    g.fillRect(left, top + side - future, side, future);
    hatch(g, left, top + side - future, side, future, colours.line, 8);
  }
  g.strokeStyle = colours.line;
  g.strokeRect(left, top, side, side);
  const edge = run.nPrompt * cell;
  if (edge >= side) return;
  g.setLineDash([4, 3]);
  g.strokeStyle = colours.muted;
  g.beginPath();
  g.moveTo(left, top + edge);
  g.lineTo(left + side, top + edge);
  g.moveTo(left + edge, top);
  g.lineTo(left + edge, top + side);
  g.stroke();
  g.setLineDash([]);
}

/** Why parts of the map are empty, where there is room to say it. @param {CanvasRenderingContext2D} g @param {State} state @param {Layout} layout */
function drawWhy(g, { step, colours }, { left, top, side, cell, n }) {
  const future = (n - 1 - step.last) * cell;
  const say = (/** @type {string} */ words, /** @type {number} */ x, /** @type {number} */ y) => { // over whatever line runs there
    const half = words.length * 4.3 + 4;
    g.fillStyle = colours.card;
    g.fillRect(x - half, y - 12, 2 * half, 24);
    g.fillStyle = colours.muted;
    g.fillText(words, x, y + 5);
  };
  g.textAlign = "center";
  if (side > 230 && side - future > 60) say(phrase("causal mask"), left + side - 84, top + 16);
  if (future >= 44 && side >= 150) say(phrase("not read yet"), left + side / 2, top + side - future / 2);
}

/** Token names beside rows and above columns: as many as fit without touching, the selected ones always.
 * @param {CanvasRenderingContext2D} g @param {State} state @param {Layout} layout @param {number | null} key
 * @param {(text: string, room: number, g: CanvasRenderingContext2D) => string} short */
function drawNames(g, { run, at, colours }, { left, top, cell, n }, key, short) {
  const every = Math.max(1, Math.ceil(LINE / cell));
  const column = key === null || key > at.token ? at.token : key;
  const shown = (/** @type {number} */ i, /** @type {number} */ always) => i === always || (i % every === 0 && Math.abs(i - always) >= every);
  g.textBaseline = "middle";
  for (let i = 0; i < n; i += 1) {
    if (!shown(i, at.token) && !shown(i, column)) continue;
    const text = label(run.tokens[i], 24);
    g.fillStyle = i === at.token || i === key ? colours.ink : colours.muted;
    if (shown(i, at.token)) {
      g.textAlign = "right";
      g.fillText(short(text, left - 8, g), left - 5, top + (i + 0.5) * cell);
    }
    if (!shown(i, column)) continue;
    g.save();
    g.translate(left + (i + 0.5) * cell, top - 5);
    g.rotate(-Math.PI / 2);
    g.textAlign = "left";
    g.fillText(short(text, top - LINE - 9, g), 0, 0);
    g.restore();
  }
}

/** @param {CanvasRenderingContext2D} g @param {State} state @param {Layout} layout @param {number | null} key */
function drawSelected(g, { at, colours }, { left, top, cell }, key) {
  const room = cell < 8 ? 2 : 0; // around a thin row, not over it
  g.strokeStyle = colours.ink;
  g.lineWidth = 2;
  g.strokeRect(left - room, top + at.token * cell - room, (at.token + 1) * cell + 2 * room, cell + 2 * room);
  if (key !== null && key <= at.token) {
    g.lineWidth = 1;
    g.beginPath();
    g.moveTo(left + (key + 0.5) * cell, top - 3);
    g.lineTo(left + (key + 0.5) * cell, top + at.token * cell - room);
    g.stroke();
    g.lineWidth = 3;
    g.strokeRect(left + key * cell - room, top + at.token * cell - room, cell + 2 * room, cell + 2 * room);
  }
  g.lineWidth = 1;
}

/** @param {Drawn | null} old @param {State} state @param {boolean} withoutSink @returns {Drawn} */
function imageOf(old, { run, at, colours }, withoutSink) {
  const rows = run.nRead;
  if (old && old.run === run.id && old.layer === at.layer && old.head === at.head && old.rows === rows && old.scale === colours.scale && old.sink === withoutSink) return old;
  const cells = Math.min(rows, MOST_CELLS);
  const bytes = new Uint8Array(cells * cells);
  let most = 0;
  for (let p = 0; p < rows; p += 1) {
    const row = run.row(at.layer, at.head, p);
    if (!row) continue;
    const line = Math.floor((p * cells) / rows) * cells;
    for (let key = 0; key <= p; key += 1) {
      const cell = line + (cells === rows ? key : Math.floor((key * cells) / rows));
      if (row[key] > bytes[cell]) bytes[cell] = row[key];
      if (row[key] > most && !(withoutSink && key === 0)) most = row[key];
    }
  }
  const image = old?.image ?? document.createElement("canvas");
  image.width = cells;
  image.height = cells;
  paintBytes(image, bytes, most, colours, withoutSink);
  return { run: run.id, layer: at.layer, head: at.head, rows, scale: colours.scale, sink: withoutSink, image, most: WEIGHTS[most], cells };
}

/** @param {HTMLCanvasElement} image @param {Uint8Array} bytes @param {number} most @param {Paint} colours @param {boolean} withoutSink */
function paintBytes(image, bytes, most, colours, withoutSink) {
  const g = context2d(image);
  const data = g.createImageData(image.width, image.height);
  const words = new Uint32Array(data.data.buffer);
  const shades = new Uint32Array(256);
  for (let b = 0; b < 256; b += 1) shades[b] = colours.scale[Math.min(255, Math.round((WEIGHTS[b] / (WEIGHTS[most] || 1)) * 255))];
  for (let i = 0; i < bytes.length; i += 1) words[i] = withoutSink && i % image.width === 0 ? colours.scale[0] : shades[bytes[i]];
  g.putImageData(data, 0, 0);
}

/** What the colours of the map mean. @param {HTMLElement} legend @param {number} most @param {Paint} colours @param {boolean} withoutSink */
function sayScale(legend, most, colours, withoutSink) {
  const key = `${most}/${colours.weight}/${withoutSink}`;
  if (legend.dataset.key === key) return;
  legend.dataset.key = key;
  const bar = h("span", { class: "ts-bar-scale" });
  bar.style.backgroundImage = `linear-gradient(to right, ${colours.card}, ${colours.weight})`;
  const values = { bar, most: roughly(most) };
  fill(legend, ...(withoutSink ? phraseParts("0% {bar} {most}, the highest weight outside the first column; from 8 bits per weight (± 0.4 percentage points).", values)
    : phraseParts("0% {bar} {most}, the highest weight in this map; from 8 bits per weight (± 0.4 percentage points).", values)));
}
