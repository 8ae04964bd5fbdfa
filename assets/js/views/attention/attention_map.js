// @ts-check
// One head's map: this token (row) looks back at (column). One pixel a weight, kept until something in it changes.

import { h, fill, quoted } from "../../core/dom.js";
import { fit, hatch, cut, pointer, taps, widthOf, MONO } from "../../core/canvas.js";
import { label, roughly } from "../../core/format.js";
import { WEIGHTS } from "../../data/store.js";
import { whichOne } from "./attention_looks.js";
import { imageOf, sayScale } from "./attention_pixels.js";
import { phrase, phraseParts } from "../../core/texts.js";

/** @typedef {import("../../data/view.js").State} State */
/** @typedef {import("./attention_pixels.js").Drawn} Drawn */
/** @typedef {{left: number, top: number, cell: number, n: number, side: number}} Layout */
/** How the parts of the card tell each other which key of the row is looked at: pointed at for now, or pinned by a click.
 * @typedef {{key: number | null, point: (key: number | null) => void, pin: (key: number) => void}} Pointed */

const [LEFT, LINE] = [98, 18]; // pixels: the names of the rows, and a line above the map
const NAME = 14; // pixels from one name to the next: the height of its letters
const ALL_NAMED = 40; // tokens: up to so many every row and column has its name, and the map scrolls where that takes more room
const COLUMNS = phrase("attends to (column)");
const ROWS = [phrase("this token"), phrase("(row)")];

/** @param {import("../../data/selection.js").Selection} selection @param {Pointed} pointed @param {() => void} redraw */
export function makeMap(selection, pointed, redraw) {
  const canvas = h("canvas", { class: "ts-map", role: "img", tabindex: "0", "data-own-keys": true });
  const box = h("div", { class: "ts-map-box" }, canvas);
  const words = h("p", { class: "ts-readout ts-one-weight" });
  const legend = h("p", { class: "ts-note" });
  const element = h("div", { class: "ts-map-pane" }, box, words, legend);
  const width = widthOf(box, redraw);
  let scrolled = 0;
  box.addEventListener("scroll", () => { scrolled = box.scrollLeft; redraw(); });
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
    if (x - scrolled < LEFT) return null;
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
      if (!width()) return;
      if (namesOf !== `${run.id}/${n}`) {
        namesOf = `${run.id}/${n}`;
        names.clear();
        longest = run.tokens.slice(0, n).reduce((most, token) => Math.max(most, [...label(token, 24)].length), 0);
      }
      layout = layOut(width(), n, longest);
      const { left, top, side } = layout;
      drawn = imageOf(drawn, state, withoutSink, cellsOf(n, side));
      const g = fit(canvas, Math.ceil(left + side + 3), Math.ceil(top + side + 4), MONO);
      g.imageSmoothingEnabled = false; // a pixel of the screen shows one weight or the highest of some, no mixture
      g.drawImage(drawn.image, left, top, side, side);
      if (withoutSink) hatch(g, left, top, Math.max(layout.cell, 2), side, colours.line);
      drawGround(g, state, layout);
      drawColumnNames(g, state, layout, pointed.key, short);
      drawSelected(g, state, layout, pointed.key);
      canvas.setAttribute("aria-label", phrase("Attention of layer {layer}, head {head}: {n} tokens by {n} tokens. The row of {token} is selected and read out beside it. Arrow up and down: another row; left and right: one weight; Enter keeps the row.",
        { layer: at.layer, head: at.head, n, token: label(run.tokens[at.token]) }));
      g.fillStyle = colours.muted;
      g.textAlign = "left";
      g.textBaseline = "alphabetic";
      g.fillText(short(`${COLUMNS} →`, side, g), left, 13);
      drawWhy(g, state, layout);
      drawRowNames(g, state, layout, scrolled, short);
    },
    /** @param {State} state @param {boolean} withoutSink */
    draw(state, withoutSink) {
      sayCell(state);
      const room = `${roomFor(state.run.nRead)}px`;
      const panes = element.parentElement;
      if (panes && panes.style.getPropertyValue("--ts-map-room") !== room) panes.style.setProperty("--ts-map-room", room);
      if (drawn) sayScale(legend, drawn, state.colours, withoutSink, layout !== null && layout.left + layout.side + 3 > width() + 1);
    },
  };
}

/** @param {number} width @param {number} n @param {number} longest characters of the longest name @returns {Layout} */
function layOut(width, n, longest) {
  const top = LINE + Math.min(84, Math.max(26, longest * 8.5 + 12));
  const fits = (width - LEFT - 4) / n;
  const cell = Math.min(34, n <= ALL_NAMED ? Math.max(fits, NAME) : fits);
  return { left: LEFT, top, cell, n, side: cell * n };
}

/** Pixels across that the map needs to name every token. @param {number} n */
function roomFor(n) {
  return LEFT + 4 + Math.min(n, ALL_NAMED) * NAME;
}

/** Squares a side: a token each, as long as the screen has a pixel for each. @param {number} n @param {number} side */
function cellsOf(n, side) {
  return Math.min(n, Math.max(1, Math.floor(side * Math.min(window.devicePixelRatio || 1, 3))));
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

/** Which tokens have their names: as many as fit without touching, the selected one always. @param {number} cell @param {number} always */
function named(cell, always) {
  const every = Math.max(1, Math.ceil(NAME / cell));
  return (/** @type {number} */ i) => i === always || (i % every === 0 && Math.abs(i - always) >= every);
}

/** @param {CanvasRenderingContext2D} g @param {State} state @param {Layout} layout @param {number | null} key
 * @param {(text: string, room: number, g: CanvasRenderingContext2D) => string} short */
function drawColumnNames(g, { run, at, colours }, { left, top, cell, n }, key, short) {
  const shown = named(cell, key === null || key > at.token ? at.token : key);
  g.textBaseline = "middle";
  g.textAlign = "left";
  for (let i = 0; i < n; i += 1) {
    if (!shown(i)) continue;
    g.fillStyle = i === at.token || i === key ? colours.ink : colours.muted;
    g.save();
    g.translate(left + (i + 0.5) * cell, top - 5);
    g.rotate(-Math.PI / 2);
    g.fillText(short(label(run.tokens[i], 24), top - LINE - 9, g), 0, 0);
    g.restore();
  }
}

/** Beside the rows, and over the map where it is scrolled: a row keeps its name. @param {CanvasRenderingContext2D} g @param {State} state
 * @param {Layout} layout @param {number} scrolled pixels @param {(text: string, room: number, g: CanvasRenderingContext2D) => string} short */
function drawRowNames(g, { run, at, colours }, { left, top, cell, n, side }, scrolled, short) {
  const shown = named(cell, at.token);
  if (scrolled > 0) {
    g.fillStyle = colours.card;
    g.fillRect(scrolled, 0, left - 2, top + side + 4);
  }
  g.fillStyle = colours.muted;
  g.textAlign = "left";
  g.textBaseline = "alphabetic";
  g.fillText(ROWS[0], scrolled, top - 27);
  g.fillText(`${ROWS[1]} ↓`, scrolled, top - 11);
  g.textBaseline = "middle";
  g.textAlign = "right";
  for (let i = 0; i < n; i += 1) {
    if (!shown(i)) continue;
    g.fillStyle = i === at.token ? colours.ink : colours.muted;
    g.fillText(short(label(run.tokens[i], 24), left - 8, g), scrolled + left - 5, top + (i + 0.5) * cell);
  }
  g.textAlign = "left";
  g.textBaseline = "alphabetic";
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
