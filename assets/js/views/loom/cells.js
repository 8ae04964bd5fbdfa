// @ts-check
// The cells: what the model would say at each place, by colour and word; the residual stream beside each column, keys and values behind it.

import { fit, hatch, mix, overColour } from "../../core/canvas.js";
import { percent } from "../../core/format.js";
import { phrase } from "../../core/texts.js";
import { isState } from "../../data/cache_shape.js";
import { blocks, guessAt, isComing } from "./guesses.js";
import { fitting, word, write } from "./ink.js";

/** @typedef {import("../../data/store.js").Run} Run */
/** @typedef {import("./geometry.js").Geometry} Geometry */
/** @typedef {import("../../core/canvas.js").Paint} Paint */
/** What is to be seen of the run: passes up to `step`, and of that pass levels up to `top`; tokens that are `marked` at the foot; whether the pass `climbs`: it is played. @typedef {{run: Run, step: number, top: number, focus: number[], keep: boolean, marked: Set<number>, climbs: boolean}} Seen */

const SPINE = 13; // px, of the longest vector
const SPINE_EXPONENT = 0.42; // the first token's vector is a hundred times as long as others: a power still shows both
const USUAL_LENGTH = 200;
const GAP = 1.5; // px between blocks
const FOLLOWS_SHARE = 0.82; // of orange, so that cells are not louder than the token that is handed on
const [FADED, BESIDE] = [0.55, 0.75]; // what earlier passes have read, and what this pass reads beside what is looked at
const WORD_ROOM = 13; // px of height that a word needs
const COMING_ROOM = 36; // px of width that it needs to say that it is coming
const SAID_ROOM = 230; // px of narrow columns that have room for what is said of them

/** @param {CanvasRenderingContext2D} g @param {Geometry} geometry @param {Seen} seen @param {Paint} colours */
export function drawCells(g, geometry, seen, colours) {
  const { run, step } = seen;
  const pass = run.steps[step];
  for (let token = 0; token < geometry.count; token += 1) {
    if (token > pass.last) drawEmpty(g, geometry, token, colours);
    else if (geometry.columns[token].wide) (seen.climbs && topOf(seen, token) === run.nLayers ? drawKeptColumn : drawColumn)(g, geometry, seen, token, colours);
    else token = drawNarrow(g, geometry, seen, token, colours);
  }
}

/** @type {Map<string, HTMLCanvasElement>} columns as they were drawn: while a pass climbs, all but its own stay as they are from frame to frame */
const COLUMNS = new Map();
const [MOST_COLUMNS, BESIDE_PX] = [160, 10];

/** A whole column, drawn once for as long as it looks the same. @param {CanvasRenderingContext2D} g @param {Geometry} geometry @param {Seen} seen @param {number} token @param {Paint} colours */
function drawKeptColumn(g, geometry, seen, token, colours) {
  const { run, step, focus } = seen;
  const [low, high] = [geometry.cell(token, 0), geometry.cell(token, geometry.levels - 1)];
  const [x, y] = [Math.min(low.x, high.x) - BESIDE_PX, Math.min(low.y, high.y) - BESIDE_PX];
  const [w, hgt] = [Math.abs(high.x - low.x) + low.w + 2 * BESIDE_PX, Math.abs(high.y - low.y) + low.h + 2 * BESIDE_PX];
  const guesses = run.lensPlace(0, token) !== null || (isComing(run, token) ? "coming" : "none");
  const key = [run.id, guesses, run.tokens[token + 1]?.id, token, w, hgt, run.stepOf[token] < step, focus.includes(token), seen.keep, colours.stamp].join("/");
  let kept = COLUMNS.get(key);
  if (!kept) {
    kept = document.createElement("canvas");
    const own = fit(kept, Math.ceil(w), Math.ceil(hgt));
    own.translate(-x, -y);
    drawColumn(own, geometry, seen, token, colours);
    if (COLUMNS.size >= MOST_COLUMNS) COLUMNS.delete(COLUMNS.keys().next().value ?? "");
    COLUMNS.set(key, kept);
  }
  g.drawImage(kept, x, y, Math.ceil(w), Math.ceil(hgt));
}

/** Narrow columns side by side, from this one on, as one picture: a point for each cell. Returns the last of them. @param {CanvasRenderingContext2D} g
 * @param {Geometry} geometry @param {Seen} seen @param {number} first @param {Paint} colours */
function drawNarrow(g, geometry, seen, first, colours) {
  const { run, step } = seen;
  const isEarlier = (/** @type {number} */ token) => run.stepOf[token] < step;
  let last = first;
  while (last + 1 < geometry.count && !geometry.columns[last + 1].wide && last + 1 <= run.steps[step].last && isEarlier(last + 1) === isEarlier(first)) last += 1;
  const top = topOf(seen, first);
  if (top < 0) return last;
  const { transposed, levels } = geometry;
  const { canvas, missing } = pointsOf(run, isEarlier(first) ? FADED : BESIDE, transposed, colours);
  const lacks = missing[last + 1] - missing[first];
  const n = last - first + 1;
  const [one, other] = [geometry.cell(first, transposed ? 0 : top), geometry.cell(last, transposed ? top : 0)];
  const box = { x: one.x, y: one.y, w: other.x + other.w - one.x, h: other.y + other.h - one.y };
  if (lacks) drawMissing(g, box, colours);
  g.imageSmoothingEnabled = false;
  if (transposed) g.drawImage(canvas, 0, first, top + 1, n, box.x, box.y, box.w, box.h);
  else g.drawImage(canvas, first, levels - 1 - top, n, top + 1, box.x, box.y, box.w, box.h);
  if (lacks > n / 2 && run.lensOnDemand && box.w >= SAID_ROOM && box.h >= WORD_ROOM) {
    write(g, isComing(run, first) ? phrase("computed when looked at") : phrase("not computed"), box.x + box.w / 2, box.y + box.h / 2, { colour: colours.muted, align: "center", halo: colours.sunk, size: 14 });
  }
  return last;
}

/** A point for each cell of a run, nothing where it is not there; how many columns are not there, before each token.
 * @typedef {{canvas: HTMLCanvasElement, missing: Int32Array}} Points */
/** @type {Map<string, Points>} of a run: it costs tens of milliseconds where it is long, and steps are scrubbed over */
const POINTS = new Map();
const MOST_POINTS = 4;

/** @param {Run} run @param {number} faded @param {boolean} transposed @param {Paint} colours @returns {Points} */
function pointsOf(run, faded, transposed, colours) {
  const key = [run.id, run.frames, run.lensSlices, run.nRead, faded, transposed, colours.stamp].join("/");
  const known = POINTS.get(key);
  if (known) return known;
  const [n, levels] = [run.nRead, run.nLayers + 1];
  const [off, points] = transposed ? bitmap(levels, n) : bitmap(n, levels);
  const words = new Uint32Array(points.data.buffer);
  const missing = new Int32Array(n + 1);
  const [along, up] = transposed ? [levels, 1] : [1, -n]; // from one token, from one level to the next
  const start = transposed ? 0 : (levels - 1) * n;
  const [follows, other] = [shades(true, faded, colours).words, shades(false, faded, colours).words];
  for (let token = 0; token < n; token += 1) {
    const place = run.lensPlace(0, token);
    missing[token + 1] = missing[token] + Number(!place);
    if (!place) continue;
    const next = run.tokens[token + 1]?.id;
    for (let level = 0; level < levels; level += 1) {
      const at = place.at + level * place.stride;
      words[start + token * along + level * up] = (place.ids[at] === next ? follows : other)[Math.round(place.probabilities[at] * 255)];
    }
  }
  off.putImageData(points, 0, 0);
  if (POINTS.size >= MOST_POINTS) POINTS.delete(POINTS.keys().next().value ?? "");
  const made = { canvas: off.canvas, missing };
  POINTS.set(key, made);
  return made;
}

/** Below narrow columns, some of which are not there yet. @param {CanvasRenderingContext2D} g @param {import("./geometry.js").Box} box @param {Paint} colours */
function drawMissing(g, box, colours) {
  g.fillStyle = colours.sunk;
  g.fillRect(box.x, box.y, box.w, box.h);
  hatch(g, box.x, box.y, box.w, box.h, colours.line, 8);
}

/** A bitmap to draw in, cleared, and its points. @param {number} w @param {number} hgt @returns {[CanvasRenderingContext2D, ImageData]} */
function bitmap(w, hgt) {
  const canvas = document.createElement("canvas");
  canvas.width = w;
  canvas.height = hgt;
  const g = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  return [g, g.createImageData(w, hgt)];
}

/** The colours of all probabilities, in 256 steps: as CSS has them, and as ImageData words. @typedef {{css: string[], words: Uint32Array}} Shades */
/** @type {Map<string, Shades>} */
const SHADES = new Map();

/** @param {boolean} follows @param {number} faded @param {Paint} colours @returns {Shades} */
function shades(follows, faded, colours) {
  const full = follows ? colours.generated : colours.guess;
  const key = `${full}${colours.card}${faded}${follows}`;
  const known = SHADES.get(key);
  if (known) return known;
  const css = Array.from({ length: 256 }, (_, i) => mix(colours.card, full, (0.12 + (0.88 * i) / 255) * faded * (follows ? FOLLOWS_SHARE : 1)));
  const words = Uint32Array.from(css, (hex) => 0xff000000 + (parseInt(hex.slice(5, 7), 16) << 16) + (parseInt(hex.slice(3, 5), 16) << 8) + parseInt(hex.slice(1, 3), 16));
  const made = { css, words };
  SHADES.set(key, made);
  return made;
}

/** The highest level of a column that has been computed. @param {Seen} seen @param {number} token */
export function topOf({ run, step, top }, token) {
  return run.stepOf[token] < step ? run.nLayers : top;
}

/** @param {CanvasRenderingContext2D} g @param {Geometry} geometry @param {Seen} seen @param {number} token @param {Paint} colours */
function drawColumn(g, geometry, seen, token, colours) {
  const { run, step, focus } = seen;
  const top = topOf(seen, token);
  if (top < 0) return drawEmpty(g, geometry, token, colours);
  const faded = focus.includes(token) ? 1 : run.stepOf[token] < step ? FADED : BESIDE;
  const { wide } = geometry.columns[token];
  for (const block of blocks(run, token, top)) {
    drawBlock(g, geometry, run, token, block, faded, colours);
    if (wide) writeGuess(g, geometry, run, token, block, { faded, isFocus: focus.includes(token), keep: seen.keep }, colours);
  }
  if (!wide) return undefined;
  drawSpine(g, geometry, run, token, top, colours);
  drawKept(g, geometry, run, token, Math.min(top, run.nLayers), { faded, keep: seen.keep }, colours);
  return undefined;
}

/** @param {CanvasRenderingContext2D} g @param {Geometry} geometry @param {Run} run @param {number} token @param {import("./guesses.js").Block} block @param {number} faded @param {Paint} colours */
function drawBlock(g, geometry, run, token, { low, high, guess }, faded, colours) {
  const { wide } = geometry.columns[token];
  const inner = wide ? 4 : 0;
  if (!guess) {
    const box = geometry.block(token, low, high);
    g.fillStyle = colours.sunk;
    g.fillRect(box.x + inner, box.y, box.w - inner - (wide ? 3 : 0), box.h - (wide ? GAP : 0));
    if (!wide) return;
    hatch(g, box.x + inner, box.y, box.w - inner - 3, box.h - GAP, colours.line, 8);
    if (isComing(run, token) && box.h >= WORD_ROOM && box.w >= COMING_ROOM) write(g, phrase("coming"), box.x + inner + (box.w - inner - 3) / 2, box.y + box.h / 2, { colour: colours.muted, align: "center", most: box.w - inner - 5, halo: colours.sunk });
    return;
  }
  for (let level = low; level <= high; level += 1) {
    const here = guessAt(run, level, token);
    if (!here) continue;
    const box = geometry.cell(token, level);
    g.fillStyle = cellColour(here, faded, colours);
    const isEnd = level === (geometry.transposed ? high : low);
    if (geometry.transposed) g.fillRect(box.x, box.y + 2, box.w - (isEnd && wide ? GAP : -0.5), box.h - (wide ? 6 : 0));
    else g.fillRect(box.x + inner, box.y, box.w - inner - (wide ? 3 : 0), box.h - (isEnd && wide ? GAP : -0.5));
  }
}

/** @param {import("./guesses.js").Guess} guess @param {number} faded @param {Paint} colours */
export function cellColour(guess, faded, colours) {
  return shades(guess.follows, faded, colours).css[Math.round(guess.probability * 255)];
}

/** The guess, once a block: where it begins, with its share there. @param {CanvasRenderingContext2D} g @param {Geometry} geometry @param {Run} run @param {number} token
 * @param {import("./guesses.js").Block} block @param {{faded: number, isFocus: boolean, keep: boolean}} how @param {Paint} colours */
function writeGuess(g, geometry, run, token, { low, high, guess }, { faded, isFocus }, colours) {
  if (!guess) return;
  const box = geometry.block(token, low, high);
  const n = high - low + 1;
  if (geometry.transposed ? box.w < 16 || box.h < WORD_ROOM : box.h < WORD_ROOM || (!isFocus && n < 2 && high !== run.nLayers && geometry.step < 20)) return;
  const isTop = high === run.nLayers; // what is chosen from: its share is the last layer's, not that where the guess began
  const first = geometry.cell(token, isTop ? high : low);
  const told = guessAt(run, isTop ? high : low, token) ?? guess;
  const ground = cellColour(told, faded, colours);
  const ink = mix(overColour(colours, ground), colours.card, faded < 1 ? 0.1 : 0);
  const said = word({ id: guess.id, text: run.texts.get(guess.id) ?? "", hex: run.hexes.get(guess.id) });
  if (geometry.transposed) {
    write(g, fitting(said, box.w - 6), box.x + 4, box.y + box.h / 2 - 1, { colour: ink, bold: guess.follows, slanted: said.mark, most: box.w - 6 });
    return;
  }
  const y = geometry.step < WORD_ROOM ? (isTop ? box.y + WORD_ROOM / 2 : box.y + box.h - WORD_ROOM / 2) : first.y + first.h / 2 - 0.5;
  const right = isFocus && faded === 1 ? write(g, percentShort(told.probability), box.x + box.w - 8, y, { colour: ink, align: "right" }) + 6 : 0;
  const room = box.w - 13 - right;
  write(g, fitting(said, room), box.x + 7.5, y, { colour: ink, bold: guess.follows, slanted: said.mark, most: room });
}

/** In two digits, as there is no room for three. @param {number} share */
export function percentShort(share) {
  if (share > 0 && share < 0.000995) return phrase("<0.1%");
  if (share > 0.9995 && share < 1) return phrase(">99.9%");
  if (share >= 0.995) return percent(share > 0.9995 ? share : 0.995).replace(".50", "").replace(".5", "");
  return share >= 0.0995 ? `${Math.round(share * 100)}%` : percent(share);
}

/** How long the residual stream's vector is at each level: a line beside the column. @param {CanvasRenderingContext2D} g @param {Geometry} geometry @param {Run} run @param {number} token @param {number} top @param {Paint} colours */
function drawSpine(g, geometry, run, token, top, colours) {
  const pass = run.steps[run.stepOf[token]];
  if (!pass.norms) return;
  g.fillStyle = colours.spine;
  for (let level = 0; level <= top; level += 1) {
    const length = pass.norms[level * pass.n + (token - pass.first)];
    const thick = Math.min(SPINE, 0.9 + 1.9 * (length / USUAL_LENGTH) ** SPINE_EXPONENT);
    const box = geometry.cell(token, level);
    if (geometry.transposed) g.fillRect(box.x, box.y + 1 - thick / 4, box.w + 0.5, thick / 2);
    else g.fillRect(box.x + 1.6 - thick / 2, box.y - 0.5, thick, box.h + 1);
  }
}

/** Keys and values that the cache keeps of each layer: two lines behind each cell. @param {CanvasRenderingContext2D} g @param {Geometry} geometry @param {Run} run
 * @param {number} token @param {number} top @param {{faded: number, keep: boolean}} how @param {Paint} colours */
function drawKept(g, geometry, run, token, top, { faded, keep }, colours) {
  const pass = run.steps[run.stepOf[token]];
  const thick = keep ? 3.2 : 1.5;
  g.globalAlpha = keep ? 1 : 0.75 * faded;
  for (const [i, colour] of [colours.key, colours.value].entries()) {
    g.fillStyle = colour;
    for (let level = 1; level <= top; level += 1) {
      if (pass.stateBytes.length && isState(run, pass, level - 1)) continue;
      const box = geometry.cell(token, level);
      if (geometry.transposed) g.fillRect(box.x, box.y + box.h - 4 + i * thick, box.w - 1, thick);
      else g.fillRect(box.x + box.w - 3 - (1 - i) * thick, box.y, thick, box.h - GAP);
    }
  }
  g.globalAlpha = 1;
}

/** A column that nothing was computed of. @param {CanvasRenderingContext2D} g @param {Geometry} geometry @param {number} token @param {Paint} colours */
function drawEmpty(g, geometry, token, colours) {
  if (!geometry.columns[token].wide) return;
  g.fillStyle = colours.sunk;
  for (let level = 1; level < geometry.levels; level += 2) {
    const box = geometry.cell(token, level);
    if (geometry.transposed) g.fillRect(box.x, box.y + box.h / 2, 2, 1.5);
    else g.fillRect(box.x + 5, box.y + box.h / 2, box.w - 12, 1.5);
  }
}
