// @ts-check
// The foot of the loom: every token as a chip, the cache as a tape below it, and how large it is by now.

import { mix } from "../../core/canvas.js";
import { size } from "../../core/format.js";
import { phrase } from "../../core/texts.js";
import { isState } from "../../data/cache_shape.js";
import { rounded, setFont, word, write } from "./ink.js";
import { topOf } from "./cells.js";

/** @typedef {import("./cells.js").Seen} Seen */
/** @typedef {import("./geometry.js").Geometry} Geometry */
/** @typedef {import("../../core/canvas.js").Paint} Paint */

/** @param {CanvasRenderingContext2D} g @param {Geometry} geometry @param {Seen} seen @param {Paint} colours */
export function drawFoot(g, geometry, seen, colours) {
  for (let token = 0; token < geometry.count; token += 1) {
    const last = alike(geometry, seen, token);
    if (last > token) drawStretch(g, geometry, seen, token, last, colours);
    else {
      drawChip(g, geometry, seen, token, colours);
      drawTape(g, geometry, seen, token, colours);
    }
    token = last;
  }
  for (const token of seen.marked) drawMark(g, geometry, token, seen.focus.includes(token), colours);
  if (geometry.transposed) return;
  const [chip, tape] = [geometry.chip(0), geometry.tape(0)];
  for (const [text, box] of /** @type {const} */ ([[phrase("tokens"), chip], [phrase("cache"), tape]])) {
    write(g, text, geometry.before - 10, box.y + box.h / 2, { colour: colours.muted, align: "right", size: 13 });
  }
  writeBytes(g, geometry, seen, tape.y + tape.h + 16, colours);
}

/** A token that was searched for: its chip is framed, and where columns are narrow a mark stays in sight. @param {CanvasRenderingContext2D} g
 * @param {Geometry} geometry @param {number} token @param {boolean} isFocus @param {Paint} colours */
function drawMark(g, geometry, token, isFocus, colours) {
  const box = geometry.chip(token);
  g.fillStyle = g.strokeStyle = colours.ink;
  g.lineWidth = isFocus ? 2.2 : 1.4;
  if (geometry.columns[token].wide) {
    rounded(g, box.x + 1, box.y + (geometry.transposed ? 1.5 : 0), box.w - 4, box.h - (geometry.transposed ? 3 : 0), 5);
    g.stroke();
    return;
  }
  const [x, y] = geometry.transposed ? [box.x + box.w, box.y + box.h / 2] : [box.x + box.w / 2, box.y + 6];
  g.beginPath();
  g.moveTo(x, y);
  if (geometry.transposed) { g.lineTo(x + 9, y - 4); g.lineTo(x + 9, y + 4); } else { g.lineTo(x - 4, y - 9); g.lineTo(x + 4, y - 9); }
  g.closePath();
  g.fill();
}

const HAIR = 1.5; // px: columns that are narrower are not told apart

/** The last of the columns from this one on that look alike and are too narrow to be told apart. @param {Geometry} geometry @param {Seen} seen @param {number} first */
function alike({ columns, count }, { run, step }, first) {
  const { last: read } = run.steps[step];
  const kind = (/** @type {number} */ token) => (token > read ? 0 : (token < run.nPrompt ? 1 : 2) + (run.stepOf[token] < step ? 2 : 0));
  const isHair = (/** @type {number} */ token) => !columns[token].wide && columns[token].size < HAIR;
  let last = first;
  while (isHair(first) && last + 1 < count && isHair(last + 1) && kind(last + 1) === kind(first)) last += 1;
  return last;
}

/** Narrow chips and their keys and values as one. @param {CanvasRenderingContext2D} g @param {Geometry} geometry @param {Seen} seen @param {number} first @param {number} last @param {Paint} colours */
function drawStretch(g, geometry, seen, first, last, colours) {
  const { run, step } = seen;
  const [one, other] = [geometry.chip(first), geometry.chip(last)];
  g.fillStyle = first > run.steps[step].last ? colours.line : first < run.nPrompt ? colours.muted : colours.generated;
  if (geometry.transposed) g.fillRect(one.x, one.y, one.w, other.y + other.h - one.y);
  else g.fillRect(one.x, one.y + 8, other.x + other.w - one.x, one.h - 12);
  if (first > run.steps[step].last) return;
  const share = Math.min(Math.max(topOf(seen, first), 0) / run.nLayers, 1);
  const [begin, end] = [geometry.tape(first), geometry.tape(last)];
  for (const [i, colour] of [colours.key, colours.value].entries()) {
    g.fillStyle = colour;
    if (geometry.transposed) g.fillRect(begin.x + i * 4.5, begin.y, 3.5, (end.y + end.h - begin.y) * share);
    else g.fillRect(begin.x, begin.y + i * 6.5, (end.x + end.w - begin.x) * share, 5.5);
  }
}

/** A chip: solid for a prompt's token, dashed below for a written one; an empty frame while it is not known. @param {CanvasRenderingContext2D} g
 * @param {Geometry} geometry @param {Seen} seen @param {number} token @param {Paint} colours */
function drawChip(g, geometry, seen, token, colours) {
  const { run, step, top } = seen;
  const pass = run.steps[step];
  const box = geometry.chip(token);
  if (!geometry.columns[token].wide) {
    g.fillStyle = token > pass.last ? colours.line : token < run.nPrompt ? colours.muted : colours.generated;
    if (geometry.transposed) g.fillRect(box.x, box.y, box.w, Math.max(box.h - 1, 1));
    else g.fillRect(box.x, box.y + 8, Math.max(box.w - 1, box.w * 0.8), box.h - 12);
    return;
  }
  const isNext = token === pass.last + 1 && top >= run.nLayers && token < run.tokens.length;
  const known = token <= pass.last || isNext;
  const [x, y, w, h] = [box.x + 1, box.y + (geometry.transposed ? 1.5 : 0), box.w - 4, box.h - (geometry.transposed ? 3 : 0)];
  rounded(g, x, y, w, h, 5);
  if (!known && geometry.transposed && h < 16) return;
  if (!known) {
    g.setLineDash([2, 3]);
    g.strokeStyle = colours.line;
    g.lineWidth = 1.2;
    g.stroke();
    g.setLineDash([]);
    return;
  }
  const written = token >= run.nPrompt;
  g.fillStyle = written ? mix(colours.card, colours.generated, 0.16) : colours.sunk;
  g.fill();
  if (isNext) {
    g.strokeStyle = colours.generated;
    g.lineWidth = 2;
    g.stroke();
  }
  g.strokeStyle = written ? colours.generated : colours.muted;
  g.lineWidth = 2.2;
  g.setLineDash(written ? [4.5, 2.5] : []);
  g.beginPath();
  if (geometry.transposed) { g.moveTo(x + 3, y + h - 1.5); g.lineTo(x + w - 3, y + h - 1.5); } else { g.moveTo(x + 4, y + h - 3); g.lineTo(x + w - 4, y + h - 3); }
  g.stroke();
  g.setLineDash([]);
  const { text, mark } = word(run.tokens[token]);
  const bold = isNext || seen.focus.includes(token) || token === pass.last;
  if (geometry.transposed) write(g, text, x + 5, y + h / 2, { colour: colours.ink, bold, slanted: mark, most: w - 8, size: 14 });
  else write(g, text, x + w / 2, y + h / 2 - 1, { colour: colours.ink, bold, slanted: mark, align: "center", most: w - 4, size: 13.5 });
}

/** Keys above values, as far as they have been computed. @param {CanvasRenderingContext2D} g @param {Geometry} geometry @param {Seen} seen @param {number} token @param {Paint} colours */
function drawTape(g, geometry, seen, token, colours) {
  const { run, step, top } = seen;
  if (token > run.steps[step].last) return;
  const share = Math.min(Math.max(topOf(seen, token), 0) / run.nLayers, 1);
  const box = geometry.tape(token);
  const gap = geometry.columns[token].wide ? 4 : 0;
  for (const [i, colour] of [colours.key, colours.value].entries()) {
    g.fillStyle = colour;
    if (geometry.transposed) g.fillRect(box.x + i * 4.5, box.y + 1.5, 3.5, (box.h - 3) * share);
    else g.fillRect(box.x + 1, box.y + i * 6.5, Math.max(box.w - gap, box.w * 0.7) * share, 5.5);
  }
}

/** @param {CanvasRenderingContext2D} g @param {Geometry} geometry @param {Seen} seen @param {number} y @param {Paint} colours */
function writeBytes(g, geometry, seen, y, colours) {
  const { run, step, top } = seen;
  const pass = run.steps[step];
  const before = step ? run.steps[step - 1].kvBytes : 0;
  const share = Math.min(Math.max(top, 0) / run.nLayers, 1);
  const [bytes, each] = [before + (pass.kvBytes - before) * share, (pass.kvBytes - before) / pass.n];
  if (!pass.kvBytes) return;
  let x = geometry.before + 1;
  x += write(g, phrase("KV cache {bytes}", { bytes: size(bytes) }), x, y, { colour: colours.ink, bold: true, size: 14 }) + 12;
  for (const colour of [colours.key, colours.value]) {
    g.fillStyle = colour;
    g.fillRect(x, y - 5, 10, 10);
    x += 13;
  }
  x += 2;
  const n = run.nLayers;
  const states = pass.stateBytes.filter((_, layer) => isState(run, pass, layer)).length;
  const said = states ? phrase("keys and values of {tokens} tokens in {all} layers, and a state of fixed size in {states}", { tokens: pass.last + 1, all: n - states, states })
    : share < 1
    ? phrase("keys and values of {tokens} tokens, in {layers} of {all} layers so far", { tokens: pass.last + 1, layers: Math.max(top, 0), all: n })
    : phrase("keys and values of {tokens} tokens in {all} layers, kept so that they are not computed again. Each token adds {each}.", { tokens: pass.last + 1, all: n, each: size(each) });
  setFont(g, { size: 13.5 });
  write(g, said, x, y, { colour: colours.muted, size: 13.5, most: geometry.width - x - 8 });
}
