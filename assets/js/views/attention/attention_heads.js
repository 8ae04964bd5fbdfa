// @ts-check
// All layers and heads to choose from, and what each mostly does: measured, in a word, in shares, and by mark in the grid.

import { h, fill, say, button } from "../../core/dom.js";
import { fit, pointer, widthOf } from "../../core/canvas.js";
import { COUNTING, over, under } from "../../core/format.js";
import { drawThumbs } from "./thumbnails.js";
import { phrase } from "../../core/texts.js";

/** @typedef {import("../../data/view.js").State} State */
/** @typedef {import("../../data/store.js").Run} Run */
/** @typedef {{left: number, top: number, cell: number, gap: number, group: number}} Layout */

const [LEFT, TOP, GAP] = [46, 24, 5]; // GAP: between heads that share different key/value heads
const [LARGEST, HIGHEST] = [38, 340]; // pixels: one square, all heads
const [FINGER, FINGER_HIGHEST] = [26, 620]; // the same for fingers: a square that can be hit; what is wider scrolls sideways
/** By the name that a record gives each pattern: what it is called, and what it means. @type {Record<string, {name: string, means: string}>} */
const PATTERNS = {
  "first token": { name: phrase("first token"), means: phrase("“first token”: nearly all its weight is on the first token; the head is idle here.") },
  "previous token": { name: phrase("previous token"), means: phrase("“previous token”: most of the rest goes to the previous token.") },
  itself: { name: phrase("itself"), means: phrase("“itself”: most of the rest stays on the token itself.") },
  "same token before": { name: phrase("same token before"), means: phrase("“same token before”: if the same token appeared earlier, the head attends to it.") },
  "after the same token": { name: phrase("after the same token"), means: phrase("“after the same token”: if the same token appeared earlier, the head attends to the token that followed it, and so can copy (an “induction head”).") },
  "learned sink": { name: phrase("learned sink"), means: phrase("“learned sink”: nearly all its weight goes to its learned sink; the head is idle here.") },
  spread: { name: phrase("spread"), means: phrase("“spread”: no such pattern; nothing named here gets half of the weight that is not on the first token.") },
};

/** @param {string} word of a record */
export function patternName(word) {
  return PATTERNS[word]?.name ?? word;
}


/** @param {import("../../data/selection.js").Selection} selection @param {() => void} redraw */
export function makeHeads(selection, redraw) {
  const canvas = h("canvas", { class: "ts-grid-canvas", role: "img", tabindex: "0", "data-own-keys": true });
  const box = h("div", { class: "ts-grid-box" }, canvas);
  const words = h("p", { class: "ts-note ts-grid-words" });
  const list = h("div", { class: "ts-head-words", role: "group", "aria-label": phrase("Heads by what they mostly do: press to go to the next one; all of them are marked in the grid") });
  const listTitle = h("p", { class: "ts-head-words-title" });
  const means = h("p", { class: "ts-note ts-word-means" });
  const pane = h("div", { class: "ts-head-grid" }, box, words);
  const width = widthOf(box, redraw);
  const element = h("div", {},
    h("h3", { class: "ts-subtitle" }, phrase("All layers (across) and heads (down): choose one")),
    h("div", { class: "ts-all-heads" }, pane, h("div", { class: "ts-head-side" }, listTitle, list, means)));
  let thumbs = { key: "", image: document.createElement("canvas"), at: 0 };
  /** @type {Layout | null} */
  let layout = null;
  /** @type {Run | null} */
  let run = null;
  /** @type {number | null} the word that is pointed at, as an index */
  let hovered = null;
  /** @type {number | null} the word that was pressed */
  let pressed = null;
  /** @type {{word: number, element: HTMLButtonElement, number: HTMLElement, places: number[]}[]} */
  let buttons = [];
  let listOf = "";

  const headAt = (/** @type {MouseEvent} */ event) => {
    if (!layout || !run) return null;
    const { x, y } = pointer(canvas, event);
    const layer = Math.floor((x - LEFT) / layout.cell);
    if (layer < 0 || layer >= run.nLayers || y < TOP) return null;
    for (let head = 0; head < run.nHeads; head += 1) if (y < topOf(layout, head) + layout.cell) return { layer, head };
    return null;
  };
  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerType === "mouse") selection.preview(headAt(event));
  });
  canvas.addEventListener("pointerleave", () => selection.preview(null));
  canvas.addEventListener("click", (event) => {
    const at = headAt(event);
    if (at) selection.set(at, { lock: true });
  });
  canvas.addEventListener("keydown", (event) => {
    const { layer, head } = selection.at;
    if (event.key === "ArrowRight") selection.set({ layer: layer + 1 });
    else if (event.key === "ArrowLeft") selection.set({ layer: layer - 1 });
    else if (event.key === "ArrowUp") selection.set({ head: head - 1 });
    else if (event.key === "ArrowDown") selection.set({ head: head + 1 });
    else if (event.key === "Enter") selection.set({ layer, head }, { lock: true });
    else return;
    event.preventDefault();
  });
  const mark = (/** @type {number | null} */ word) => { hovered = word; redraw(); };
  /** To the next head of this word in the order of layers, after the last one to the first.
   * @param {number} word @param {number[]} places @param {number} nHeads */
  const goOn = (word, places, nHeads) => {
    const { layer, head } = selection.at;
    const place = places.find((each) => each > layer * nHeads + head) ?? places[0];
    selection.set({ layer: Math.floor(place / nHeads), head: place % nHeads }, { lock: true });
    pressed = word;
    redraw();
  };
  list.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { pressed = null; hovered = null; redraw(); }
  });

  /** @param {Run} of */
  function makeList(of) {
    const { heads } = of;
    const key = `${of.id}/${heads !== null}/${of.end !== null}`;
    if (listOf === key) return;
    listOf = key;
    [hovered, pressed, buttons] = [null, null, []];
    if (!heads) {
      say(listTitle, of.end ? phrase("What each head mostly does was not measured in this run.") : phrase("What each head mostly does is measured when the run has ended."));
      fill(list);
      return;
    }
    say(listTitle, phrase("The main pattern of the heads, with the number of heads:"));
    buttons = heads.words.flatMap((name, word) => {
      const places = Array.from(heads.word.keys()).filter((place) => heads.word[place] === word);
      const number = h("b", {});
      return places.length ? [{ word, places, number, element: button("", () => goOn(word, places, of.nHeads), {}, patternName(name), number) }] : [];
    });
    for (const { word, element: each } of buttons) {
      each.addEventListener("pointerenter", () => mark(word));
      each.addEventListener("pointerleave", () => mark(null));
      each.addEventListener("focus", () => mark(word));
      each.addEventListener("blur", () => mark(null));
    }
    fill(list, ...buttons.map((each) => each.element));
  }

  const scrolls = () => layout !== null && run !== null && LEFT + layout.cell * run.nLayers + 2 > width() + 1;
  let shownLayer = "";
  /** Where the grid scrolls, bring the selected layer into sight. @param {Run} of @param {number} layer */
  function showLayer(of, layer) {
    const now = `${of.id}/${layer}/${width()}`;
    if (shownLayer === now || !layout || !width()) return;
    shownLayer = now;
    if (!scrolls()) return;
    const { cell } = layout;
    const left = LEFT + layer * cell;
    setTimeout(() => {
      if (left < box.scrollLeft || left + cell > box.scrollLeft + box.clientWidth) box.scrollLeft = left - box.clientWidth / 2;
    });
  }

  return {
    element,
    /** @param {State} state @param {boolean} withoutSink */
    paint(state, withoutSink) {
      const { at, colours } = state;
      run = state.run;
      if (!selection.locked) pressed = null;
      if (!width()) return;
      layout = layOut(run, width());
      const key = `${run.id}/${run.nRead}/${run.layers.size}/${run.little !== null}/${withoutSink}/${colours.weight}${colours.card}`;
      const now = performance.now();
      if (thumbs.key !== key && (run.end || !thumbs.key || now - thumbs.at > 400)) {
        thumbs = { key, image: drawThumbs(run, colours, withoutSink), at: now };
      }
      const g = fit(canvas, Math.ceil(LEFT + layout.cell * run.nLayers + 2), Math.ceil(topOf(layout, run.nHeads) - layout.gap + 2));
      drawSquares(g, state, layout, thumbs.image);
      const marked = hovered ?? pressed;
      if (marked !== null && run.heads) drawMarked(g, state, layout, run.heads.word, marked);
      drawAxes(g, state, layout);
      g.strokeStyle = colours.ink;
      g.lineWidth = 3;
      g.strokeRect(LEFT + at.layer * layout.cell, topOf(layout, at.head), layout.cell, layout.cell);
      g.lineWidth = 1;
      canvas.setAttribute("aria-label", phrase("A grid of {layers} layers (across) by {heads} heads (down); layer {layer}, head {head} is selected. Arrow keys move in it, Enter keeps the head.", { layers: run.nLayers, heads: run.nHeads, layer: at.layer, head: at.head }));
    },
    /** @param {State} state */
    draw(state) {
      const { run: of, at } = state;
      makeList(of);
      showLayer(of, at.layer);
      const widest = `${Math.ceil(LEFT + of.nLayers * largest(of) + 4)}px`;
      if (pane.style.maxWidth !== widest) pane.style.maxWidth = widest;
      const marked = hovered ?? pressed;
      for (const { word, places, number, element: each } of buttons) {
        const now = places.indexOf(at.layer * of.nHeads + at.head);
        each.setAttribute("aria-pressed", String(word === pressed));
        each.classList.toggle("ts-of-selected", now >= 0);
        say(number, word === pressed && now >= 0 ? phrase("{n} of {all}", { n: now + 1, all: places.length }) : String(places.length));
      }
      const shown = marked === null ? of.wordOf(at.layer, at.head) : of.heads?.words[marked];
      say(means, shown ? PATTERNS[shown]?.means ?? "" : "");
      say(words, [of.little ? phrase("Each small square is that head's map in little, on a square-root colour scale too: {n} of its rows, evenly spread, and in each cell the largest weight of its row; point at one to see it large, click to keep it.", { n: of.little.lines })
        : phrase("Each small square is that head's whole map, on a square-root colour scale too; point at one to see it large, click to keep it."),
        of.nRead > of.head.rows_up_to && !of.little && phrase("In a run this long most squares show three bands instead: the head's weight on the first token, on the previous token and on the token itself, in the newest pass."),
        groupOf(of) > 1 && phrase("A bracket joins heads that share one key/value head."), scrolls() && phrase("The grid scrolls sideways: all layers are in it."), COUNTING].filter(Boolean).join(" "));
    },
  };
}

/** The selected head in words: what it mostly does, by its measured shares, and with which heads it shares keys and values.
 * @param {Run} run @param {number} layer @param {number} head @returns {{word: string | null, shares: string, group: string}} */
export function inWords(run, layer, head) {
  const group = groupOf(run);
  const first = head - (head % group);
  return {
    word: run.wordOf(layer, head),
    shares: sharesOf(run, layer, head),
    group: group === 1 ? "" : phrase("Heads {first}–{last} share key/value head {n}.", { first, last: first + group - 1, n: head / group | 0 }),
  };
}

/** @param {Run} run @param {number} layer @param {number} head */
function sharesOf(run, layer, head) {
  const { heads } = run;
  const word = run.wordOf(layer, head);
  if (!heads || word === null) return "";
  const place = layer * run.nHeads + head;
  const [first, before, self] = heads.shares.subarray(place * 6, place * 6 + 6);
  const [same, after] = heads.possible.subarray(place * 2, place * 2 + 2);
  const sink = run.head.learned_sinks ? Math.max(0, 1 - heads.shares.subarray(place * 6, place * 6 + 6).reduce((sum, each) => sum + each, 0)) : 0;
  const rest = Math.max(1 - first - sink, 1e-9);
  const idle = sink > 0.005 ? phrase("It puts {first} on the first token and {sink} on its learned sink.", { first: whole(first), sink: whole(sink) }) : phrase("It puts {first} on the first token.", { first: whole(first) });
  const does = word === "first token" || word === "learned sink" ? ""
    : word === "same token before" ? phrase("If the same token appeared earlier ({rows} rows), it puts {share} on it.", { rows: heads.rowsSame, share: whole(same) })
    : word === "after the same token" ? phrase("If the same token appeared earlier ({rows} rows), it puts {share} on the token that followed it.", { rows: heads.rowsAfter, share: whole(after) })
    : phrase("Of the rest it puts {before} on the previous token and {self} on the token itself.", { before: whole(before / rest), self: whole(self / rest) });
  return [idle, does, phrase("Mean over {n} rows.", { n: heads.rows })].filter(Boolean).join(" ");
}

/** @param {number} share */
function whole(share) {
  if (share < 0.005) return under("1%");
  return share >= 0.995 ? over("99%") : `${(share * 100).toFixed(0)}%`;
}

/** How many neighbouring heads share one key/value head. @param {Run} run */
function groupOf(run) {
  return Math.max(1, Math.round(run.nHeads / run.head.model.n_kv_heads));
}

/** @param {Run} run @param {number} width @returns {Layout} */
function layOut(run, width) {
  const group = groupOf(run);
  const gap = group > 1 ? GAP : 0;
  const fits = Math.min(largest(run), (width - LEFT - 2) / run.nLayers);
  return { left: LEFT, top: TOP, cell: byFinger() ? Math.max(fits, Math.min(FINGER, FINGER_HIGHEST / run.nHeads)) : fits, gap, group };
}

function byFinger() {
  return window.matchMedia("(pointer: coarse), (max-width: 600px)").matches;
}

/** The widest that a square may be, so that all heads fit in a height. @param {Run} run */
function largest(run) {
  return Math.min(LARGEST, Math.max(10, HIGHEST / run.nHeads));
}

/** @param {Layout} layout @param {number} head */
function topOf({ cell, gap, group }, head) {
  return TOP + head * cell + Math.floor(head / group) * gap;
}

/** @param {CanvasRenderingContext2D} g @param {State} state @param {Layout} layout @param {HTMLCanvasElement} image */
function drawSquares(g, { run, colours }, layout, image) {
  const { cell, group } = layout;
  const side = image.height / run.nHeads;
  g.imageSmoothingEnabled = false;
  g.strokeStyle = colours.line;
  g.beginPath();
  for (let head = 0; head < run.nHeads; head += group) {
    const [top, rows] = [topOf(layout, head), Math.min(group, run.nHeads - head)];
    g.drawImage(image, 0, head * side, image.width, rows * side, LEFT, top, cell * run.nLayers, cell * rows);
    for (let layer = 0; layer <= run.nLayers; layer += 1) { g.moveTo(LEFT + layer * cell, top); g.lineTo(LEFT + layer * cell, top + cell * rows); }
    for (let row = 0; row <= rows; row += 1) { g.moveTo(LEFT, top + row * cell); g.lineTo(LEFT + cell * run.nLayers, top + row * cell); }
  }
  g.stroke();
}

/** The heads of one word outlined, the others dimmed. @param {CanvasRenderingContext2D} g @param {State} state @param {Layout} layout
 * @param {Uint8Array} word @param {number} marked */
function drawMarked(g, { run, colours }, layout, word, marked) {
  const path = (/** @type {boolean} */ wanted) => {
    g.beginPath();
    for (let head = 0; head < run.nHeads; head += 1) {
      for (let layer = 0; layer < run.nLayers; layer += 1) {
        if ((word[layer * run.nHeads + head] === marked) === wanted) g.rect(LEFT + layer * layout.cell, topOf(layout, head), layout.cell, layout.cell);
      }
    }
  };
  g.globalAlpha = 0.78;
  g.fillStyle = colours.sunk;
  path(false);
  g.fill();
  g.globalAlpha = 1;
  g.strokeStyle = colours.ink;
  g.lineWidth = 1.5;
  path(true);
  g.stroke();
  g.lineWidth = 1;
}

/** Numbers of layers and heads, as many as fit, the selected ones always; brackets around heads that share keys and values.
 * @param {CanvasRenderingContext2D} g @param {State} state @param {Layout} layout */
function drawAxes(g, { run, at, colours }, layout) {
  const { cell, gap, group } = layout;
  const number = (/** @type {number} */ i, /** @type {number} */ chosen, /** @type {number} */ room, /** @type {number} */ x, /** @type {number} */ y) => {
    const every = Math.max(1, Math.ceil(room / cell));
    if (i !== chosen && (i % every !== 0 || Math.abs(i - chosen) < every)) return;
    g.fillStyle = i === chosen ? colours.ink : colours.muted;
    g.fillText(String(i), x, y);
  };
  g.textAlign = "center";
  for (let layer = 0; layer < run.nLayers; layer += 1) number(layer, at.layer, 26, LEFT + (layer + 0.5) * cell, TOP - 8);
  g.textAlign = "right";
  const bracket = group > 1 ? 12 : 0;
  for (let head = 0; head < run.nHeads; head += 1) number(head, at.head, 17, LEFT - 8 - bracket, topOf(layout, head) + cell / 2 + 5);
  if (!gap) return;
  for (let head = 0; head < run.nHeads; head += group) {
    const own = at.head >= head && at.head < head + group;
    const [top, bottom] = [topOf(layout, head) + 1, topOf(layout, head + group - 1) + cell - 1];
    g.strokeStyle = own ? colours.key : colours.muted;
    g.lineWidth = own ? 3 : 1.5;
    g.beginPath();
    g.moveTo(LEFT - 5, top);
    g.lineTo(LEFT - 11, top);
    g.lineTo(LEFT - 11, bottom);
    g.lineTo(LEFT - 5, bottom);
    g.stroke();
  }
  g.lineWidth = 1;
}
