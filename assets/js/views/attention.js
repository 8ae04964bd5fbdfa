// @ts-check
// Where each token looks back: one head's map, the looked-at row in words, and a grid of all layers and heads.

import { h, fill, keepInView, say, tokenText, quoted, button } from "../dom.js";
import { context2d, fit, hatch, cut, pointer, shade, textOn, widthOf, MONO } from "../canvas.js";
import { decoded, label, plain, roughly } from "../format.js";
import { WEIGHTS } from "../store.js";
import { COUNTING } from "../selection.js";
import { drawThumbs } from "../thumbnails.js";

/** @typedef {import("../store.js").Run} Run */
/** @typedef {import("../canvas.js").Paint} Paint */
/** @typedef {{run: string, layer: number, head: number, rows: number, scale: Uint32Array, sink: boolean, image: HTMLCanvasElement, most: number, cells: number}} Drawn */

const MOST_CELLS = 512; // pixels a side of the map; a longer run shows the largest weight of each square
const SINK_FIRST = "Weights must sum to 100%, so a head with nothing to fetch rests on the first token (an “attention sink”): it marks idleness more than importance.";
const SINK_LEARNED = "The weights on tokens sum to less than 100%: the rest goes to this head's learned sink, a score that belongs to no token and takes what a head with nothing to fetch leaves.";

/** @type {import("../card.js").View} */
export const attention = {
  id: "attention",
  title: "Attention",
  sentence: "Before a token becomes the next guess, every head lets it look back at the tokens before it and take something from them. "
    + "In the map, this token (row) looks back at (column); the stronger the colour, the more.",
  create(body, context) {
    const { selection } = context;
    const layerName = h("span", { class: "ts-stepper-value" });
    const headName = h("span", { class: "ts-stepper-value" });
    const sinkSwitch = h("input", { type: "checkbox", id: "ts-sink", checked: true, onchange: () => context.redraw() });
    const sinkWords = h("p", { class: "ts-aside" });
    const looks = h("div", { class: "ts-looks", role: "group", tabindex: "0", "aria-label": "The tokens it looks back at" });
    const looksTitle = h("p", { class: "ts-looks-title" });
    const best = h("p", { class: "ts-readout", "aria-live": "polite" });
    const map = h("canvas", { class: "ts-map", role: "img", tabindex: "0" });
    const legend = h("p", { class: "ts-note" });
    const hoverWords = h("p", { class: "ts-readout" });
    const grid = h("canvas", { class: "ts-grid-canvas", role: "img", tabindex: "0" });
    const gridWords = h("p", { class: "ts-readout" });
    const empty = h("p", { class: "ts-empty" });
    const mapBox = h("div", { class: "ts-map-box" }, map);
    const mapRow = h("div", { class: "ts-map-row" }, mapBox, h("div", { class: "ts-map-words" }, sinkWords, hoverWords));
    const gridBox = h("div", { class: "ts-grid-box" }, grid);
    const picture = h("div", {},
      h("div", { class: "ts-row" },
        stepper("layer", layerName, () => selection.set({ layer: selection.at.layer - 1 }), () => selection.set({ layer: selection.at.layer + 1 })),
        stepper("head", headName, () => selection.set({ head: selection.at.head - 1 }), () => selection.set({ head: selection.at.head + 1 })),
        h("span", { class: "ts-note" }, COUNTING)),
      looksTitle, looks, best,
      h("p", { class: "ts-row" }, h("label", { class: "ts-check", for: "ts-sink" }, sinkSwitch, "leave the first token out of the colours")),
      mapRow, legend,
      h("h3", { class: "ts-subtitle" }, "All layers and heads: click one"), gridBox, gridWords);
    body.append(empty, picture);
    const mapWidth = widthOf(mapRow, context.redraw);
    const gridWidth = widthOf(gridBox, context.redraw);

    /** @type {Drawn | null} */
    let drawn = null;
    let thumbs = { key: "", image: document.createElement("canvas"), at: 0 };
    /** @type {{left: number, top: number, cell: number, n: number} | null} */
    let layout = null;
    /** @type {{left: number, top: number, cell: number} | null} */
    let gridLayout = null;
    /** @type {import("../card.js").State | null} */
    let last = null;
    /** @type {HTMLElement[]} */
    let chips = [];
    let chipsOf = "";

    const place = (/** @type {MouseEvent} */ event) => {
      if (!layout || !last) return null;
      const { x, y } = pointer(map, event);
      const [column, row] = [Math.floor((x - layout.left) / layout.cell), Math.floor((y - layout.top) / layout.cell)];
      return row >= 0 && row < layout.n && column >= 0 && column <= row ? { row, column } : null;
    };
    map.addEventListener("pointermove", (event) => {
      const at = place(event);
      if (event.pointerType === "mouse") selection.preview(at && last && at.row <= last.step.last ? { token: at.row } : null);
      sayCell(hoverWords, last, at);
    });
    map.addEventListener("pointerleave", () => { selection.preview(null); sayCell(hoverWords, last, null); });
    map.addEventListener("click", (event) => {
      const at = place(event);
      if (at) selection.set({ token: at.row }, { lock: true });
    });
    const thumbAt = (/** @type {MouseEvent} */ event) => {
      if (!gridLayout || !last) return null;
      const { x, y } = pointer(grid, event);
      const [layer, head] = [Math.floor((x - gridLayout.left) / gridLayout.cell), Math.floor((y - gridLayout.top) / gridLayout.cell)];
      return layer >= 0 && layer < last.run.nLayers && head >= 0 && head < last.run.nHeads ? { layer, head } : null;
    };
    grid.addEventListener("pointermove", (event) => {
      const at = thumbAt(event);
      if (event.pointerType === "mouse") selection.preview(at);
    });
    grid.addEventListener("pointerleave", () => selection.preview(null));
    grid.addEventListener("click", (event) => {
      const at = thumbAt(event);
      if (at) selection.set(at, { lock: true });
    });

    /** @param {import("../card.js").State} state @param {boolean} withoutSink */
    function drawMap(state, withoutSink) {
      const { run, at, step, colours } = state;
      const n = run.nRead;
      drawn = imageOf(drawn, state, withoutSink);
      const width = mapWidth();
      if (!width) return;
      const names = Math.min(110, width * 0.24);
      const cell = Math.min(34, (width - names - 4) / n);
      const top = Math.min(names, 96) + 6;
      layout = { left: names, top, cell, n };
      const side = cell * n;
      const g = fit(map, Math.ceil(names + side + 3), Math.ceil(top + side + 4), MONO);
      g.imageSmoothingEnabled = drawn.cells < n;
      g.drawImage(drawn.image, names, top, side, side);
      if (withoutSink) hatch(g, names, top, Math.max(cell, 2), side, colours.line);
      const future = (n - 1 - step.last) * cell;
      if (future > 0) {
        g.globalAlpha = 0.78;
        g.fillStyle = colours.card;
        g.fillRect(names, top + side - future, side, future);
        g.globalAlpha = 1;
        hatch(g, names, top + side - future, side, future, colours.line, 8);
      }
      g.strokeStyle = colours.line;
      g.strokeRect(names, top, side, side);
      const edge = run.nPrompt * cell;
      if (edge < side) {
        g.setLineDash([4, 3]);
        g.strokeStyle = colours.muted;
        g.beginPath();
        g.moveTo(names, top + edge);
        g.lineTo(names + side, top + edge);
        g.moveTo(names + edge, top);
        g.lineTo(names + edge, top + side);
        g.stroke();
        g.setLineDash([]);
      }
      drawNames(g, state, { left: names, top, cell, n });
      g.strokeStyle = colours.ink;
      g.lineWidth = 2;
      const room = cell < 8 ? 2 : 0; // around a thin row, not over it
      g.strokeRect(names - room, top + at.token * cell - room, (at.token + 1) * cell + 2 * room, cell + 2 * room);
      g.lineWidth = 1;
      map.setAttribute("aria-label", `Attention of layer ${at.layer}, head ${at.head}: ${n} tokens by ${n} tokens. `
        + `The row of ${label(run.tokens[at.token])} is selected and read out above.`);
    }

    /** @param {import("../card.js").State} state @param {boolean} withoutSink */
    function drawGrid(state, withoutSink) {
      const { run, at, colours } = state;
      const width = gridWidth();
      if (!width) return;
      const [left, top] = [34, 24];
      const cell = Math.min(30, (width - left - 2) / run.nLayers);
      gridLayout = { left, top, cell };
      const height = top + cell * run.nHeads + 2;
      const key = `${run.id}/${run.nRead}/${run.layers.size}/${withoutSink}/${cell}/${colours.weight}`;
      const now = performance.now();
      if (thumbs.key !== key && (run.end || !thumbs.key || now - thumbs.at > 400)) {
        thumbs = { key, image: drawThumbs(run, colours, withoutSink), at: now };
      }
      const g = fit(grid, width, Math.ceil(height));
      g.imageSmoothingEnabled = false;
      g.drawImage(thumbs.image, left, top, cell * run.nLayers, cell * run.nHeads);
      g.strokeStyle = colours.line;
      g.beginPath();
      for (let layer = 0; layer <= run.nLayers; layer += 1) { g.moveTo(left + layer * cell, top); g.lineTo(left + layer * cell, top + cell * run.nHeads); }
      for (let head = 0; head <= run.nHeads; head += 1) { g.moveTo(left, top + head * cell); g.lineTo(left + cell * run.nLayers, top + head * cell); }
      g.stroke();
      g.fillStyle = colours.muted;
      g.textAlign = "center";
      const every = Math.max(1, Math.ceil(26 / cell));
      for (let layer = 0; layer < run.nLayers; layer += 1) {
        if (layer === at.layer || (layer % every === 0 && Math.abs(layer - at.layer) >= every)) {
          g.fillStyle = layer === at.layer ? colours.ink : colours.muted;
          g.fillText(String(layer), left + (layer + 0.5) * cell, top - 8);
        }
      }
      g.textAlign = "right";
      const everyHead = Math.max(1, Math.ceil(17 / cell));
      for (let head = 0; head < run.nHeads; head += 1) {
        if (head === at.head || (head % everyHead === 0 && Math.abs(head - at.head) >= everyHead)) {
          g.fillStyle = head === at.head ? colours.ink : colours.muted;
          g.fillText(String(head), left - 8, top + (head + 0.5) * cell + 5);
        }
      }
      g.strokeStyle = colours.ink;
      g.lineWidth = 3;
      g.strokeRect(left + at.layer * cell, top + at.head * cell, cell, cell);
      g.lineWidth = 1;
      grid.setAttribute("aria-label", `A grid of ${run.nLayers} layers (across) by ${run.nHeads} heads (down); layer ${at.layer}, head ${at.head} is selected.`);
      const group = run.nHeads / run.head.model.n_kv_heads;
      say(gridWords, `Across: layers 0 to ${run.nLayers - 1}, the way the data goes. Down: heads 0 to ${run.nHeads - 1}. Each small square is that head's whole map.`
        + (run.nRead > run.head.rows_up_to ? " In a run this long most squares show three bands instead: the head's weight on the first token, on the token before, on the token itself, in the newest pass." : "")
        + (group > 1 ? ` ${group} heads in a row share one key and value head.` : ""));
    }

    return {
      paint(state) {
        last = state;
        const { run, at } = state;
        if (!run.showsAttention) return;
        if (run.row(at.layer, at.head, at.token)) drawMap(state, sinkSwitch.checked);
        drawGrid(state, sinkSwitch.checked);
      },
      draw(state) {
        const { run, at, colours } = state;
        const reason = run.head.shows.attention;
        const missing = reason ?? (run.holds(at.layer, at.token) ? null : context.wantLayer(at.layer));
        empty.hidden = missing === null;
        picture.hidden = reason !== null;
        if (missing !== null) say(empty, reason === null ? missing : `This model's attention is not shown: ${reason}.`);
        if (reason !== null) return;
        say(layerName, `layer ${at.layer} of 0–${run.nLayers - 1}`);
        say(headName, `head ${at.head} of 0–${run.nHeads - 1}`);
        const withoutSink = sinkSwitch.checked;
        const row = run.row(at.layer, at.head, at.token);
        if (chipsOf !== run.id) { chipsOf = run.id; chips = []; fill(looks); }
        drawLooks(state, row, { looks, looksTitle, best, chips, withoutSink, selection });
        for (const part of [mapRow, legend, looks, best]) part.hidden = row === null;
        if (row) {
          keepInView(looks, chips[strongestKey(row)]);
          saySink(sinkWords, state);
          sayScale(legend, drawn ? drawn.most : 0, colours, withoutSink);
        }
      },
      async numbers({ run, at }) {
        const exact = await context.wantRow(at.layer, at.head, at.token);
        const row = run.row(at.layer, at.head, at.token);
        const rows = Array.from({ length: at.token + 1 }, (_, key) => {
          const weight = exact ? plain(exact.weights[key]) : row ? decoded(row[key]) : "–";
          return [String(key), tokenText(run.tokens[key]), exact ? plain(exact.scores[key]) : "–", weight];
        });
        return {
          columns: ["position", "looks back at", "query · key, scaled", exact ? "weight, exact" : "weight, from 8 bits"],
          rows,
          note: exact ? `Exact: float32, from the model's own queries and keys. ${rowWords(run, at.layer)}`
            : "From 8 bits a weight, all that this page holds of it: off by at most 0.004 before rounding; the scores (–) are not in it. Recorded runs and saved pages have no more: "
              + "run it live, or open its trace file, for the exact numbers.",
          code: rowCode(run, at),
        };
      },
    };
  },
};

/** How one layer makes weights of its scores, in words. @param {Run} run @param {number} layer */
function rowWords(run, layer) {
  const rule = run.head.rules[layer];
  return [
    run.head.learned_sinks ? "The weights are the softmax of the scaled scores and the head's learned sink, which takes the rest: they sum to less than 1." : "The weights are the softmax of the scaled scores.",
    rule.softcap !== null && `The scores are shown after this layer's soft cap of ${plain(rule.softcap)}.`,
    rule.mask !== null && "This layer's own mask hides some of the tokens: they weigh 0.",
    rule.mask === null && rule.window !== null && `Tokens outside the window of ${rule.window} weigh 0.`,
  ].filter(Boolean).join(" ");
}

/** The same row in Python, by all that this layer does to its scores. @param {Run} run @param {import("../selection.js").At} at */
function rowCode(run, at) {
  const rule = run.head.rules[at.layer];
  const sink = run.head.learned_sinks;
  return [
    "import torch", "from model import Trace", "run = Trace.open('run.trace')",
    `layer, head, row = ${at.layer}, ${at.head}, ${at.token}`,
    "rule, group = run.rules[layer], run.queries.shape[1] // run.keys.shape[1]",
    "q = torch.tensor(run.queries[layer, head, row])",
    "k = torch.tensor(run.keys[layer, head // group, : row + 1])",
    "scores = k @ q * rule.scaling",
    rule.softcap !== null && "scores = rule.softcap * torch.tanh(scores / rule.softcap)",
    rule.mask !== null && "scores += torch.tensor(run.masks[rule.mask, row, : row + 1])",
    rule.mask === null && rule.window !== null && "scores[: max(row + 1 - rule.window, 0)] = -torch.inf   # outside the window",
    sink && "scores = torch.cat([scores, torch.tensor(run.sinks[layer, head]).reshape(1)])   # the learned sink",
    `weights = torch.softmax(scores, dim=0)${sink ? "[:-1]" : ""}   # = run.pattern(layer, head)[row, : row + 1]`,
  ].filter(Boolean).join("\n");
}

/** @param {string} name @param {HTMLElement} value @param {() => void} less @param {() => void} more */
function stepper(name, value, less, more) {
  return h("span", { class: "ts-stepper", role: "group", "aria-label": name },
    button("−", less, { "aria-label": `${name} before` }), value, button("+", more, { "aria-label": `next ${name}` }));
}

/** The looked-at row in words: every token shaded by its weight, and the strongest by number.
 * @param {import("../card.js").State} state @param {Uint8Array | null} row
 * @param {{looks: HTMLElement, looksTitle: HTMLElement, best: HTMLElement, chips: HTMLElement[], withoutSink: boolean, selection: import("../selection.js").Selection}} parts */
function drawLooks({ run, at, colours }, row, { looks, looksTitle, best, chips, withoutSink, selection }) {
  fill(looksTitle, quoted(run.tokens[at.token]), ` (token ${at.token}) looks back at:`);
  while (chips.length < run.tokens.length) {
    const position = chips.length;
    const chip = h("span", { class: `ts-look ${position < run.nPrompt ? "ts-is-prompt" : "ts-is-generated"}`,
      onclick: () => selection.set({ token: position }, { lock: true }) }, tokenText(run.tokens[position]));
    chips.push(chip);
    looks.append(chip);
  }
  const most = row ? strongest(row, withoutSink) : 0;
  chips.forEach((chip, i) => {
    const shown = row !== null && i <= at.token;
    chip.hidden = !shown;
    if (!shown || !row) return;
    const left = withoutSink && i === 0 && row.length > 1;
    const share = left ? 0 : WEIGHTS[row[i]] / (most || 1);
    chip.style.backgroundColor = shade(colours, share);
    chip.style.color = textOn(colours, share);
    chip.classList.toggle("ts-left-out", left);
    chip.classList.toggle("ts-self", i === at.token);
  });
  if (!row) { fill(best); return; }
  const order = Array.from(row.keys()).sort((a, b) => row[b] - row[a]).slice(0, 5).filter((i) => row[i] > 0);
  fill(best, ...order.flatMap((i, place) => [place ? ", " : "", quoted(run.tokens[i]), ` ${roughly(WEIGHTS[row[i]])}`, i === at.token ? " (itself)" : i === 0 ? " (first)" : ""]), ".");
}

/** @param {Uint8Array} row @param {boolean} withoutSink */
function strongest(row, withoutSink) {
  let most = 0;
  for (let i = withoutSink && row.length > 1 ? 1 : 0; i < row.length; i += 1) if (row[i] > most) most = row[i];
  return WEIGHTS[most];
}

/** Where a row looks most, the first token left out. @param {Uint8Array} row */
function strongestKey(row) {
  let best = row.length - 1;
  for (let i = 1; i < row.length; i += 1) if (row[i] > row[best]) best = i;
  return best;
}

/** One head's map as an image, one pixel a weight; kept until something in it changes.
 * @param {Drawn | null} old @param {import("../card.js").State} state @param {boolean} withoutSink @returns {Drawn} */
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

/** Token names beside rows and above columns: as many as fit without touching, the selected one always.
 * @param {CanvasRenderingContext2D} g @param {import("../card.js").State} state @param {{left: number, top: number, cell: number, n: number}} layout */
function drawNames(g, { run, at, colours }, { left, top, cell, n }) {
  const every = Math.max(1, Math.ceil(18 / cell));
  g.textBaseline = "middle";
  for (let i = 0; i < n; i += 1) {
    if (i !== at.token && (i % every !== 0 || Math.abs(i - at.token) < every)) continue;
    const text = label(run.tokens[i], 24);
    g.fillStyle = i === at.token ? colours.ink : colours.muted;
    g.textAlign = "right";
    g.fillText(cut(g, text, left - 12), left - 6, top + (i + 0.5) * cell);
    g.save();
    g.translate(left + (i + 0.5) * cell, top - 6);
    g.rotate(-Math.PI / 2);
    g.textAlign = "left";
    g.fillText(cut(g, text, top - 12), 0, 0);
    g.restore();
  }
  g.textBaseline = "alphabetic";
}

/** What the colours of the map mean. @param {HTMLElement} legend @param {number} most @param {Paint} colours @param {boolean} withoutSink */
function sayScale(legend, most, colours, withoutSink) {
  const bar = h("span", { class: "ts-bar-scale" });
  bar.style.backgroundImage = `linear-gradient(to right, ${colours.card}, ${colours.weight})`;
  fill(legend, "0% ", bar, ` ${roughly(most)}`, withoutSink ? " (the most outside the first column, which is hatched)" : " (the most in this map)",
    "; drawn and read out from 8 bits a weight, off by at most 0.4 percentage points.");
}

/** @param {HTMLElement} words @param {import("../card.js").State | null} state @param {{row: number, column: number} | null} at */
function sayCell(words, state, at) {
  const row = state && at && state.run.row(state.at.layer, state.at.head, at.row);
  if (!state || !at || !row) { fill(words, "Point at the map for one weight; click a row to keep it."); return; }
  fill(words, quoted(state.run.tokens[at.row]), " looks back at ", quoted(state.run.tokens[at.column]), ` with ${roughly(WEIGHTS[row[at.column]])} of its attention.`);
}

/** What this head does with the first token, measured, and why. @param {HTMLElement} words @param {import("../card.js").State} state */
function saySink(words, { run, at, step }) {
  let [first, before, self, n] = [0, 0, 0, 0];
  for (let p = 1; p <= step.last; p += 1) {
    const row = run.row(at.layer, at.head, p);
    if (!row) continue;
    first += WEIGHTS[row[0]];
    before += p > 1 ? WEIGHTS[row[p - 1]] : 0;
    self += WEIGHTS[row[p]];
    n += 1;
  }
  if (!n) { say(words, "The first token has only itself to look at."); return; }
  say(words, `So far this head puts, on average, ${roughly(first / n)} on the first token, ${roughly(before / n)} on the token just before, `
    + `${roughly(self / n)} on the token itself. ${run.head.learned_sinks ? SINK_LEARNED : SINK_FIRST}`);
}
