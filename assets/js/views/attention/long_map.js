// @ts-check
// One head's map of a long run: pooled, each square the largest weight of many tokens by many; and, where a square is
// pressed, the exact weights of a part of it.

import { h, fill, say, button, quoted } from "../../core/dom.js";
import { fit, hatch, cut, pointer, widthOf, pixelRatio, MONO } from "../../core/canvas.js";
import { count, label, percent, plain, roughly } from "../../core/format.js";
import { WEIGHTS } from "../../data/store.js";
import { whichOne } from "./attention_looks.js";
import { paintBytes } from "./attention_pixels.js";
import { phrase, phraseParts } from "../../core/texts.js";

/** @typedef {import("../../data/view.js").State} State */
/** @typedef {import("../../data/store.js").MapPart} MapPart */
/** @typedef {import("../../data/store.js").PooledMap} PooledMap */
/** What of the map is drawn: `n` tokens a side, from this row and this key on, in bytes of `size` by `size` tokens each, `cells` a side.
 * @typedef {{row: number, key: number, n: number, size: number, cells: number, bytes: Uint8Array, most: number, exact: MapPart | null}} Shown */
/** @typedef {{left: number, top: number, cell: number, side: number}} Layout  `cell`: pixels a token */

const [LEFT, TOP, NAME] = [98, 72, 14]; // pixels: the names of the rows and of the columns, and from one name to the next
const PART = 256; // tokens a side of an exact part: viz/wire/slices.py sends as many
const ROOM = 662; // pixels across, as for a map of many tokens

/** @param {import("../../data/view.js").Context} context @param {import("./attention_map.js").Pointed} pointed */
export function makeLongMap(context, pointed) {
  const { selection, redraw } = context;
  const canvas = h("canvas", { class: "ts-map ts-long-map", role: "img", tabindex: "0", "data-own-keys": true });
  const box = h("div", { class: "ts-map-box" }, canvas);
  const words = h("p", { class: "ts-readout ts-one-weight" });
  const why = h("p", { class: "ts-note", role: "status" });
  const legend = h("p", { class: "ts-note ts-long-legend" });
  const whole = button(phrase("Whole map"), () => { zoomTo(null); });
  const here = button(phrase("Exact weights at the selected token"), () => { zoomTo({ row: selection.at.token, key: pointed.key ?? selection.at.token }); });
  const element = h("div", { class: "ts-map-pane" }, h("p", { class: "ts-row" }, here, whole), box, why, words, legend);
  const width = widthOf(box, redraw);
  const image = document.createElement("canvas");
  /** @type {{row: number, key: number} | null} where an exact part begins */
  let corner = null;
  let drawnOf = "";
  /** @type {Shown | null} */
  let shown = null;
  /** @type {Layout | null} */
  let layout = null;
  /** @type {State | null} */
  let last = null;
  /** @type {{row: number, key: number} | null} the tokens that are pointed at */
  let cell = null;
  let missing = "";

  /** Show the exact weights around a place, or the whole map again. @param {{row: number, key: number} | null} place */
  function zoomTo(place) {
    const most = (last?.run.nRead ?? 0) - PART;
    const from = (/** @type {number} */ token) => Math.max(0, Math.min(token - PART / 2, most));
    corner = place && { row: from(place.row), key: from(place.key) };
    cell = null;
    redraw();
  }

  const place = (/** @type {MouseEvent} */ event) => {
    if (!layout || !shown || !last) return null;
    const { x, y } = pointer(canvas, event);
    const [key, row] = [Math.floor((x - layout.left) / layout.cell), Math.floor((y - layout.top) / layout.cell)];
    if (row < 0 || key < 0 || row >= shown.n || key >= shown.n) return null;
    const at = { row: row + shown.row, key: key + shown.key };
    return at.key <= at.row && at.row <= last.step.last ? at : null;
  };
  canvas.addEventListener("pointermove", (event) => {
    cell = place(event);
    if (shown?.exact) pointed.point(cell && cell.key);
    if (last) sayCell(last);
  });
  canvas.addEventListener("pointerleave", () => {
    cell = null;
    pointed.point(null);
    if (last) sayCell(last);
  });
  canvas.addEventListener("click", (event) => {
    const at = place(event);
    if (!at) return;
    if (!shown?.exact) {
      zoomTo(at);
      return;
    }
    selection.set({ token: at.row }, { lock: true });
    pointed.pin(at.key);
  });
  canvas.addEventListener("keydown", (event) => {
    const { token } = selection.at;
    const key = pointed.key ?? token;
    if (event.key === "ArrowUp") selection.set({ token: Math.max(token - 1, 0) });
    else if (event.key === "ArrowDown") selection.set({ token: Math.min(token + 1, last?.step.last ?? token) });
    else if (event.key === "ArrowLeft") pointed.point(Math.max(key - 1, 0));
    else if (event.key === "ArrowRight") pointed.point(Math.min(key + 1, token));
    else if (event.key === "Enter") zoomTo({ row: token, key });
    else if (event.key === "Escape" && corner) zoomTo(null);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  canvas.addEventListener("blur", () => pointed.point(null));

  /** @param {State} state */
  function sayCell({ run, at }) {
    const looked = cell ?? (shown?.exact && pointed.key !== null ? { row: at.token, key: pointed.key } : null);
    if (!shown || !looked) {
      fill(words, shown?.exact ? phrase("Point at a square for its weight; a click keeps its row.") : phrase("Press a square for the exact weights of {n} by {n} tokens around it.", { n: PART }));
      return;
    }
    const { exact, row, key, n } = shown;
    const [down, across] = [looked.row - row, looked.key - key];
    if (exact && down >= 0 && across >= 0 && down < n && across < n) {
      const weight = exact.weights[down * exact.n + across];
      fill(words, ...phraseParts("{query} attends to {key}: {weight}.", { query: [quoted(run.tokens[looked.row]), whichOne(run, looked.row, looked.row)],
        key: [quoted(run.tokens[looked.key]), whichOne(run, looked.key, looked.row)], weight: `${percent(weight)} (${plain(weight)})` }));
      return;
    }
    const { size, cells, bytes } = shown;
    const [line, column] = [Math.floor(down / size), Math.floor(across / size)];
    const range = (/** @type {number} */ i, /** @type {number} */ from) => phrase("{first}–{last}", { first: from + i * size, last: Math.min(from + (i + 1) * size, run.nRead) - 1 });
    fill(words, phrase("Tokens {rows} attend to tokens {keys}: the largest weight is {weight}. Press for each.", { rows: range(line, row), keys: range(column, key), weight: roughly(WEIGHTS[bytes[line * cells + column]] ?? 0) }));
  }

  /** @param {State} state @param {boolean} withoutSink @param {number} side pixels on the screen */
  function look(state, withoutSink, side) {
    const { run, at, colours } = state;
    const part = corner && context.mapPartSlice(at.layer, at.head, corner.row, corner.key);
    const map = part?.found ? null : context.mapSlice(at.layer, at.head);
    missing = map?.why ?? part?.why ?? "";
    const most = Math.max(1, Math.floor(side * pixelRatio()));
    const now = `${run.id}/${run.nRead}/${at.layer}/${at.head}/${part?.found ? `${corner?.row}/${corner?.key}` : map?.found !== null}/${withoutSink}/${most}/${colours.weight}${colours.card}`;
    if (drawnOf === now) return;
    drawnOf = now;
    shown = part?.found ? shownPart(part.found, withoutSink, most) : map?.found ? shownWhole(map.found, run.nRead, withoutSink, most) : null;
    if (!shown) return;
    image.width = image.height = shown.cells;
    paintBytes(image, shown.bytes, WEIGHTS[shown.most], colours);
  }

  return {
    element,
    /** Whether it has asked for what it is to show. */
    get waits() { return missing !== ""; },
    /** The weight that is drawn in the strongest colour. */
    get most() { return shown ? WEIGHTS[shown.most] : 0; },
    /** @param {State} state @param {boolean} withoutSink */
    paint(state, withoutSink) {
      if (last && last.run.id !== state.run.id) corner = null;
      last = state;
      if (!width()) return;
      const side = width() - LEFT - 4;
      look(state, withoutSink, side);
      if (!shown) return;
      layout = { left: LEFT, top: TOP, side, cell: side / shown.n };
      const g = fit(canvas, Math.ceil(LEFT + side + 3), Math.ceil(TOP + side + 4), MONO);
      g.imageSmoothingEnabled = false; // a pixel of the screen shows one square, no mixture
      const covered = shown.n / shown.size; // squares: the last may cover fewer tokens
      g.drawImage(image, 0, 0, covered, covered, LEFT, TOP, side, side);
      if (withoutSink && shown.key === 0) hatch(g, LEFT, TOP, Math.max(layout.cell, 2), side, state.colours.line);
      drawGround(g, state, shown, layout);
      drawNames(g, state, shown, layout);
      canvas.setAttribute("aria-label", shown.exact ? phrase("Attention of layer {layer}, head {head}: the exact weights of tokens {row} to {last} on tokens {key} and on. Arrow up and down: another row; Escape: the whole map.",
        { layer: state.at.layer, head: state.at.head, row: shown.row, last: shown.row + shown.n - 1, key: shown.key })
        : phrase("Attention of layer {layer}, head {head}: {n} tokens by {n} tokens, pooled. Arrow up and down: another row; Enter: the exact weights around the selected token.", { layer: state.at.layer, head: state.at.head, n: shown.n }));
    },
    /** @param {State} state @param {boolean} withoutSink */
    draw(state, withoutSink) {
      say(why, missing);
      why.hidden = missing === "";
      whole.hidden = corner === null;
      canvas.hidden = words.hidden = legend.hidden = here.hidden = shown === null;
      element.parentElement?.style.setProperty("--ts-map-room", `${ROOM}px`);
      if (!shown) return;
      sayCell(state);
      sayLegend(legend, shown, state, withoutSink);
    },
  };
}

/** @param {PooledMap} map @param {number} n tokens of the run @param {boolean} withoutSink @param {number} mostCells that the screen has pixels for @returns {Shown} */
function shownWhole({ bytes, first, cells, size }, n, withoutSink, mostCells) {
  const all = bytes.slice();
  if (!withoutSink) for (let line = 0; line < cells; line += 1) all[line * cells] = Math.max(all[line * cells], first[line]);
  return { row: 0, key: 0, n, exact: null, ...pooledTo(all, cells, size, mostCells) };
}

/** @param {MapPart} part @param {boolean} withoutSink @param {number} mostCells @returns {Shown} */
function shownPart(part, withoutSink, mostCells) {
  const { row, key, n, weights } = part;
  const bytes = Uint8Array.from(weights, (weight, i) => (withoutSink && key === 0 && i % n === 0 ? 0 : Math.round(Math.sqrt(weight) * 255)));
  return { row, key, n, exact: part, ...pooledTo(bytes, n, 1, mostCells) };
}

/** The highest byte of each square of a square, in so few squares that the screen has a pixel for each.
 * @param {Uint8Array} bytes @param {number} cells @param {number} size tokens a side of a cell @param {number} mostCells */
export function pooledTo(bytes, cells, size, mostCells) {
  const group = Math.ceil(cells / mostCells);
  const fewer = Math.ceil(cells / group);
  const made = new Uint8Array(fewer * fewer);
  let most = 0;
  for (let i = 0; i < bytes.length; i += 1) {
    const at = Math.floor(Math.floor(i / cells) / group) * fewer + Math.floor((i % cells) / group);
    if (bytes[i] > made[at]) made[at] = bytes[i];
    if (bytes[i] > most) most = bytes[i];
  }
  return { bytes: made, cells: fewer, size: size * group, most };
}

/** What is not read yet, the frame, where the prompt ends, and the selected row.
 * @param {CanvasRenderingContext2D} g @param {State} state @param {Shown} shown @param {Layout} layout */
function drawGround(g, { run, at, step, colours }, { row, key, n, size }, { left, top, side, cell }) {
  const read = step.last + 1 < run.nRead ? Math.floor((step.last + 1) / size) * size : run.nRead; // a square with a row that is not read yet is not shown
  const later = Math.min(n, Math.max(0, row + n - read)) * cell;
  if (later > 0) {
    g.fillStyle = colours.card;
    g.fillRect(left, top + side - later, side, later);
    hatch(g, left, top + side - later, side, later, colours.line, 8);
  }
  g.strokeStyle = colours.line;
  g.strokeRect(left, top, side, side);
  g.setLineDash([4, 3]);
  g.strokeStyle = colours.muted;
  g.beginPath();
  for (const [edge, isRow] of /** @type {[number, boolean][]} */ ([[run.nPrompt - row, true], [run.nPrompt - key, false]])) {
    if (edge <= 0 || edge >= n) continue;
    g.moveTo(left + (isRow ? 0 : edge * cell), top + (isRow ? edge * cell : 0));
    g.lineTo(left + (isRow ? side : edge * cell), top + (isRow ? edge * cell : side));
  }
  g.stroke();
  g.setLineDash([]);
  if (at.token < row || at.token >= row + n) return;
  g.strokeStyle = colours.ink;
  g.lineWidth = 2;
  g.strokeRect(left - 2, top + (at.token - row) * cell - 2, Math.min(side, Math.max(0, at.token + 1 - key) * cell) + 4, cell + 4);
  g.lineWidth = 1;
}

/** The next 1, 2 or 5 times a power of ten. @param {number} least */
function roundStep(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((each) => each * power).find((each) => each >= least) ?? least;
}

/** Positions along the whole map; along a part of it the tokens themselves. @param {CanvasRenderingContext2D} g @param {State} state @param {Shown} shown @param {Layout} layout */
function drawNames(g, { run, colours }, { row, key, n, exact }, { left, top, side, cell }) {
  const name = (/** @type {number} */ token) => (exact ? label(run.tokens[token], 24) : count(token));
  const every = exact ? Math.ceil(NAME / cell) : roundStep((3 * NAME) / cell);
  g.fillStyle = colours.muted;
  g.textAlign = "left";
  g.textBaseline = "alphabetic";
  g.fillText(cut(g, `${phrase("attends to (column)")} →`, side), left, 13);
  g.fillText(phrase("this token"), 0, top - 27);
  g.fillText(`${phrase("(row)")} ↓`, 0, top - 11);
  g.textBaseline = "middle";
  for (let i = 0; i < n; i += every) {
    g.textAlign = "right";
    g.fillText(cut(g, name(row + i), left - 8), left - 5, top + (i + 0.5) * cell);
    g.save();
    g.textAlign = "left";
    g.translate(left + (i + 0.5) * cell, top - 5);
    g.rotate(-Math.PI / 2);
    g.fillText(cut(g, name(key + i), top - 27), 0, 0);
    g.restore();
  }
  g.textAlign = "left";
  g.textBaseline = "alphabetic";
}

/** What a square and its colour mean. @param {HTMLElement} legend @param {Shown} shown @param {State} state @param {boolean} withoutSink */
function sayLegend(legend, { most, size, exact, row, key, n }, { colours }, withoutSink) {
  const now = `${most}/${size}/${exact !== null}/${row}/${key}/${colours.weight}/${withoutSink}`;
  if (legend.dataset.key === now) return;
  legend.dataset.key = now;
  const bar = h("span", { class: "ts-bar-scale" });
  bar.style.backgroundImage = `linear-gradient(to right, ${colours.card}, ${colours.weight})`;
  const values = { bar, most: roughly(WEIGHTS[most]), middle: roughly(WEIGHTS[most] / 4) };
  const pooled = phrase("Each square is the largest of {size} × {size} tokens.", { size: count(size) });
  fill(legend, ...phraseParts("0% {bar} {most}, the highest weight in this map; {middle} is half-way: a square-root scale.", values), " ",
    exact ? phrase("Exact: tokens {row}–{lastRow} attend to tokens {key}–{lastKey}.", { row: count(row), lastRow: count(row + n - 1), key: count(key), lastKey: count(key + n - 1) }) : pooled,
    exact && size > 1 && ` ${pooled}`,
    withoutSink && key === 0 && ` ${phrase("The first token is left out of the colours.")}`);
}
