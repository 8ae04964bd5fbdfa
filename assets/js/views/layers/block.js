// @ts-check
// One layer as the model has it, drawn from the parts that ran in it: the residual stream as a spine, its branches beside it.
// Everything flows upwards, as the layers are numbered.

import { h, fill, say } from "../../core/dom.js";
import { taps, widthOf } from "../../core/canvas.js";
import { count } from "../../core/format.js";
import { branchesOf, leaf } from "./parts.js";
import { aboutPart, noBlock, sumOf, titleOf } from "./block_words.js";
import { svg, words, arrow, arrowHead, fitting, wide, sharedOut } from "../../core/svg.js";
import { Stack } from "./stack.js";
import { counted, phrase, phraseParts } from "../../core/texts.js";

/** @typedef {import("../../data/view.js").State} State */
/** @typedef {import("./parts.js").Piece} Piece */
/** @typedef {import("./parts.js").Branch} Branch */
/** @typedef {{x: number, y: number, width: number, height: number}} Box */

const [SPINE, FRAME] = [62, 88]; // the middle of the one, where the other begins; left of both is the stack of layers
const [TALL, LOW, HEADS] = [62, 32, 56]; // heights: of boxes with three lines and with one, of the heads
const [GAP, APART, TOP, BOTTOM] = [18, 26, 32, 38]; // between rows and between branches; above and below them all

/** The diagram: `draw` follows the selection, and builds anew where the model or the width is another.
 * @param {HTMLElement} box @param {import("../../data/view.js").Context} context */
export function makeBlock(box, { selection, redraw }) {
  const empty = h("p", { class: "ts-empty" });
  const drawing = h("div", { class: "ts-block-drawing" });
  const readout = h("p", { class: "ts-readout ts-block-readout", "aria-live": "polite" });
  const shares = h("div", { class: "ts-block-shares", "aria-hidden": "true" });
  const sum = h("p", { class: "ts-note" });
  const about = h("p", { class: "ts-note" }, phrase("The grey column is the residual stream: each token's vector on its way up through all layers. Norm: scales the vector to a standard length. MLP (multi-layer perceptron): two matrices of weights with a non-linear function between them."));
  box.append(empty, about, drawing, readout, shares, sum);
  const width = widthOf(drawing, redraw);
  /** @type {Picture | null} */
  let picture = null;
  let made = "";
  /** @type {State | null} */
  let last = null;

  const pointed = (/** @type {Piece | null} */ piece) => {
    if (!last) return;
    for (const [each, marks] of picture?.marks ?? []) for (const mark of marks) mark.classList.toggle("ts-pointed", each === piece);
    if (piece) fill(readout, ...phraseParts("{part} ({name}): {about}", { part: h("b", {}, piece.plain), name: piece.part.name, about: aboutPart(piece, last.run) }));
    else say(readout, taps() ? phrase("Tap a part to see what it does and how large it is.") : phrase("Point at a part to see what it does and how large it is."));
  };

  return {
    /** @param {State} state */
    draw(state) {
      last = state;
      const { run, at } = state;
      const parts = run.head.model.block ?? [];
      const wide = Math.min(width(), 480);
      const now = `${run.id}/${wide}/${run.embeddings?.position}`;
      if (now !== made) {
        made = now;
        const missing = parts.length ? "" : noBlock(run);
        empty.hidden = !missing;
        say(empty, missing);
        for (const each of [about, readout, shares, sum]) each.hidden = Boolean(missing);
        picture = !missing && wide ? new Picture(state, wide, selection, pointed) : null;
        fill(drawing, picture?.svg);
        if (picture) {
          fill(shares, ...shareBars(picture));
          say(sum, sumOf(run, picture.branches));
          pointed(null);
        }
      }
      picture?.mark(at);
    },
  };
}

/** Draws it once; afterwards only the marks of the selected layer and head move. */
class Picture {
  /** @param {State} state @param {number} width @param {import("../../data/selection.js").Selection} selection @param {(piece: Piece | null) => void} pointed */
  constructor({ run }, width, selection, pointed) {
    this.run = run;
    this.width = width;
    this.pointed = pointed;
    this.selection = selection;
    /** @type {Map<Piece, Element[]>} what shows each part */
    this.marks = new Map();
    /** @type {SVGElement[]} the parts, in the order in which they run */
    this.stops = [];
    /** @type {SVGElement[]} */
    this.heads = [];
    this.branches = branchesOf(run.head.model.block);
    this.frames = svg("g"); // below the lines, which go below the boxes
    this.lines = svg("g");
    this.boxes = svg("g");
    this.height = this.layOut();
    this.stack = new Stack(run, this.height, selection);
    this.svg = svg("svg", { class: "ts-block", width, height: this.height, viewBox: `0 0 ${width} ${this.height}`, role: "group", "data-own-keys": "",
      "aria-label": phrase("One layer of {n}, from bottom to top: {parts}", { n: run.nLayers, parts: this.branches.map((branch) => branch.rows.flat().map((piece) => piece.plain).join(", ")).join("; ") }) },
    arrowHead(), this.stack.element, this.frames, this.lines, this.boxes);
    this.svg.addEventListener("keydown", (event) => this.step(event));
    this.stops.forEach((stop, i) => stop.setAttribute("tabindex", i ? "-1" : "0"));
  }

  /** Branches one above the other; returns the height. */
  layOut() {
    const { run, width, branches } = this;
    const heights = branches.map(heightOf);
    const height = heights.reduce((sum, each) => sum + each, TOP + BOTTOM + APART * (branches.length - 1));
    const [edge, numbers] = [branches.some((each) => each.enters !== "sum") ? 14 : 0, count(run.head.model.d_model)];
    this.lines.append(svg("rect", { class: "ts-block-spine", x: SPINE - 6, y: 22, width: 12, height: height - 28 }),
      svg("path", { class: "ts-block-spine", d: `M ${SPINE - 13} 23 L ${SPINE} 6 L ${SPINE + 13} 23 Z` }));
    this.boxes.append(words(FRAME, 18, phrase("out: {n} numbers per token", { n: numbers }), "ts-block-code"), words(FRAME, height - 10, phrase("in: {n} numbers per token", { n: numbers }), "ts-block-code"));
    let y = height - BOTTOM;
    /** @type {{below: number, norm: Box | null}} */
    let before = { below: y, norm: null };
    branches.forEach((branch, i) => {
      const frame = { x: FRAME, y: y - heights[i], width: width - FRAME - 2 - edge, height: heights[i] };
      this.frames.append(svg("rect", { class: "ts-block-frame", rx: 8, ...frame }), words(frame.x + 12, frame.y + 20, titleOf(branch.kind, frame.width - 20), "ts-block-title"));
      before = this.branch(branch, frame, before);
      y = frame.y - APART;
    });
    return height;
  }

  /** One branch in its frame, from below. @param {Branch} branch @param {Box} frame @param {{below: number, norm: Box | null}} before */
  branch(branch, frame, before) {
    const margin = frame.width < 260 ? 6 : 12;
    const inner = { x: frame.x + margin, width: frame.width - 2 * margin };
    const entry = frame.y + frame.height - 9;
    let y = frame.y + frame.height - 2;
    /** @type {Box[]} */
    let below = [];
    /** @type {Box | null} */
    let norm = null;
    branch.rows.forEach((row, i) => {
      if (i === headsAt(branch)) {
        y -= GAP + HEADS;
        const heads = { ...inner, y, height: HEADS };
        this.drawHeads(heads);
        this.join(below, [heads]);
        below = [heads];
      }
      const height = heightOfRow(row);
      y -= GAP + height;
      const boxes = this.row(row, { ...inner, y, height }, standsOver(row, below));
      if (norm && i > 1 && isShared(row) !== isShared(branch.rows[i - 1])) below = this.beside(frame, norm, below[0], boxes);
      else if (below.length) below = this.joinRows(branch.rows[i - 1], row, below, boxes);
      else below = this.enter(branch, entry, before, boxes);
      if (i === 0 && row[0].role === "norm") [norm] = boxes;
    });
    const [exit] = below;
    const back = exit.y + exit.height / 2;
    this.lines.append(arrow(`M ${exit.x} ${back} H ${SPINE + 14}`));
    this.sign("+", SPINE, back);
    return { below: entry, norm };
  }

  /** The way from the stream into a branch. @param {Branch} branch @param {number} y @param {{below: number, norm: Box | null}} before @param {Box[]} boxes */
  enter(branch, y, before, boxes) {
    const edge = this.width - 5;
    let path = `M ${SPINE + 6} ${y}`;
    if (branch.enters === "fork") path = `M ${SPINE + 6} ${before.below + 17} H ${edge} V ${y}`;
    if (branch.enters === "norm" && before.norm) path = `M ${before.norm.x + before.norm.width} ${before.norm.y + before.norm.height / 2} H ${edge} V ${y}`;
    for (const box of boxes) this.lines.append(arrow(`${path} H ${middle(box)} V ${box.y + box.height + 2}`));
    return boxes;
  }

  /** What comes out of one row goes into the next. @param {Box[]} from @param {Box[]} to */
  join(from, to) {
    from.forEach((box, i) => {
      for (const target of from.length === 1 ? to : [to[Math.min(i, to.length - 1)]]) {
        const x = Math.min(Math.max(middle(box), target.x + 8), target.x + target.width - 8);
        this.lines.append(arrow(`M ${middle(box)} ${box.y} V ${box.y - 6} H ${x} V ${target.y + target.height + 2}`));
      }
    });
  }

  /** Returns where what this row makes comes out. A gate's activation stands above the gate alone, and is multiplied with what stands
   * beside it; norms inside the heads stand above queries and keys alone.
   * @param {Piece[]} lower @param {Piece[]} row @param {Box[]} below @param {Box[]} boxes */
  joinRows(lower, row, below, boxes) {
    if (isGated(lower) && row[0].role === "activation") {
      const [[gate, up], [box]] = [below, boxes];
      const y = box.y + box.height / 2;
      this.lines.append(arrow(`M ${middle(gate)} ${gate.y} V ${box.y + box.height + 2}`), arrow(`M ${box.x + box.width} ${y} H ${middle(up) - 14}`),
        arrow(`M ${middle(up)} ${up.y} V ${y + 14}`));
      this.sign("×", middle(up), y);
      return [{ x: middle(up) - 11, y: y - 11, width: 22, height: 22 }];
    }
    const over = standsOver(row, below) ? 2 : below.length;
    this.join(below.slice(0, over), boxes);
    return [...boxes, ...below.slice(over)];
  }

  /** An expert that works on every token stands beside those that are chosen: it reads the norm too, and both are added.
   * @param {Box} frame @param {Box} norm @param {Box} done @param {Box[]} boxes */
  beside(frame, norm, done, boxes) {
    for (const box of boxes) this.lines.append(arrow(`M ${norm.x} ${norm.y + norm.height / 2} H ${frame.x + 5} V ${box.y + box.height + 9} H ${middle(box)} V ${box.y + box.height + 2}`));
    this.lines.append(arrow(`M ${done.x + done.width} ${done.y + done.height / 2} H ${frame.x + frame.width - 5} V ${frame.y + 28} H ${SPINE} V ${frame.y + 36}`));
    return boxes;
  }

  /** @param {string} text @param {number} x @param {number} y */
  sign(text, x, y) {
    this.boxes.append(svg("circle", { class: "ts-block-sign", cx: x, cy: y, r: 11 }), words(x, y + 6, text, "ts-block-plus", "middle"));
  }

  /** The boxes of one row, as wide as what they give, as far as their words fit. @param {Piece[]} row @param {Box} place
   * @param {Box[] | null} over the boxes above which they stand @returns {Box[]} */
  row(row, place, over) {
    const half = row[0].role === "activation" && this.branches.some((branch) => branch.rows.some((each, i) => each === row && i > 0 && isGated(branch.rows[i - 1])));
    const space = half ? place.width / 2 - 4 : place.width;
    const widths = sharedOut(row.map((piece) => Math.max(piece.part.d_out, 1)), space - 8 * (row.length - 1), 72);
    let { x } = place;
    return row.map((piece, i) => {
      const box = { x: over?.[i].x ?? x, y: place.y, width: over?.[i].width ?? widths[i], height: place.height };
      x += widths[i] + 8;
      this.part(piece, box);
      return box;
    });
  }

  /** @param {Piece} piece @param {Box} box */
  part(piece, box) {
    const { part, role, plain } = piece;
    const shape = part.d_in === part.d_out && part.kind !== "linear" ? String(part.d_in) : `${part.d_in}→${part.d_out}`;
    const code = part.kind === "activation" ? part.module.replace(/Activation$/, "") : isShared([piece]) ? phrase("shared {name}", { name: leaf(part) }) : leaf(part);
    const x = middle(box);
    const name = (/** @type {string} */ text) => svg("tspan", { class: "ts-block-name" }, text);
    const about = part.kind === "activation" ? [`${code}\u2002${shape}`, code, ""] : [`${code}\u2002${shape}`, shape, ""];
    const lines = box.height === TALL
      ? [svg("text", { x, y: box.y + 19, "text-anchor": "middle" }, name(plain)), ...[[code], [shape, `→${part.d_out}`]].map((texts, i) => words(x, box.y + 37 + i * 17, fitting(texts, box.width - 4), "ts-block-code", "middle"))]
      : [svg("text", { x, y: box.y + 21, "text-anchor": "middle", class: "ts-block-code" }, name(fitting([plain], box.width - 4, true)),
        `\u2002${fitting(about, box.width - 20 - wide(plain, true))}`.trimEnd())];
    const group = svg("g", { class: `ts-block-part ts-block-${role}`, role: "img", "aria-label": phrase("{part} ({name}): {about}", { part: plain, name: part.name, about: aboutPart(piece, this.run) }) },
      svg("rect", { x: box.x, y: box.y, width: box.width, height: box.height, rx: 5 }), ...lines);
    this.reach(group, piece);
    this.boxes.append(group);
    this.stops.push(group);
  }

  /** A part answers to the pointer and to the keyboard. @param {Element} element @param {Piece} piece */
  reach(element, piece) {
    for (const event of ["pointerenter", "focus"]) element.addEventListener(event, () => this.pointed(piece));
    for (const event of ["pointerleave", "blur"]) element.addEventListener(event, () => this.pointed(null));
    this.marks.set(piece, [...(this.marks.get(piece) ?? []), element]);
  }

  /** Query heads above the keys and values that they share; a click chooses the head. @param {Box} box */
  drawHeads(box) {
    const { nHeads, head: { model, learned_sinks: sinks }, embeddings } = this.run;
    const each = nHeads / Math.max(model.n_kv_heads || nHeads, 1);
    const groups = Math.ceil(nHeads / each);
    const group = Math.min(box.width / groups, each * 26 + 10);
    const apart = groups > 1 && group > 14 ? 8 : 0;
    const side = (group - apart) / each;
    const start = box.x + (box.width - group * groups + apart) / 2;
    const more = [embeddings?.position === "rotary" ? phrase("rotated by position") : "", sinks ? phrase("learned sinks") : ""].filter(Boolean);
    const said = each > 1 ? [phrase("{n} query heads on {groups} key/value heads", { n: nHeads, groups }), phrase("{n} heads on {groups} keys/values", { n: nHeads, groups })] : [counted(nHeads, "{n} head", "{n} heads")];
    this.boxes.append(words(middle(box), box.y + 14, fitting([[said[0], ...more].join(", "), ...said], box.width), "ts-block-code", "middle"));
    for (let i = 0; i < nHeads; i += 1) {
      const x = start + Math.floor(i / each) * group + (i % each) * side;
      const head = svg("rect", { class: "ts-block-head", x, y: box.y + 22, width: Math.max(side - 2, 1), height: 16 }, svg("title", {}, phrase("head {n}", { n: i })));
      head.addEventListener("click", () => this.selection.set({ head: i }, { lock: true }));
      this.heads.push(head);
      const wide = (side * each - 2) / 2;
      if (i % each > 0) continue;
      ["key", "value"].forEach((role, k) => this.boxes.append(svg("rect", { class: `ts-block-kv ts-block-${role}s`, x: x + k * wide, y: box.y + 42, width: wide, height: 9 })));
    }
    this.boxes.append(...this.heads);
  }

  /** Arrows go from part to part, up as the numbers go. @param {KeyboardEvent} event */
  step(event) {
    const by = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1 }[event.key];
    const now = this.stops.findIndex((stop) => stop === document.activeElement);
    if (!by || now < 0) return;
    event.preventDefault();
    const next = this.stops[Math.min(Math.max(now + by, 0), this.stops.length - 1)];
    this.stops.forEach((stop) => stop.setAttribute("tabindex", stop === next ? "0" : "-1"));
    next.focus();
  }

  /** @param {import("../../data/axes.js").At} at */
  mark({ layer, head }) {
    this.heads.forEach((each, i) => each.classList.toggle("ts-current", i === head));
    this.stack.mark(layer);
  }
}

/** @param {Box} box */
function middle(box) {
  return box.x + box.width / 2;
}

/** @param {Piece[]} row */
function heightOfRow(row) {
  return row.length > 1 && row[0].part.kind === "linear" ? TALL : LOW;
}

/** @param {Branch} branch */
function heightOf(branch) {
  const heads = headsAt(branch) >= 0 ? HEADS + GAP : 0;
  return branch.rows.reduce((sum, row) => sum + heightOfRow(row) + GAP, 36 + heads);
}

/** Before which row of a branch the heads stand: what they fetch goes into the output matrix. @param {Branch} branch */
function headsAt(branch) {
  return branch.kind === "attention" ? branch.rows.findIndex((row) => row[0].role === "output") : -1;
}

/** Norms inside the heads stand above queries and keys, not above values; one that serves both, above both.
 * @param {Piece[]} row @param {Box[]} below @returns {Box[] | null} */
function standsOver(row, below) {
  if (row[0].role !== "headNorm" || row.length > 2 || below.length !== 3) return null;
  const [query, key] = below;
  return row.length === 2 ? [query, key] : [{ ...query, width: key.x + key.width - query.x }];
}

/** @param {Piece[]} row */
function isShared(row) {
  return row[0].part.name.includes("shared");
}

/** @param {Piece[] | undefined} row */
function isGated(row) {
  return row?.length === 2 && row[0].role === "gate";
}

/** Where the parameters are, to scale. @param {Picture} picture */
function shareBars(picture) {
  const seen = new Set();
  return picture.branches.flatMap((branch) => branch.rows.flat()).filter(({ part }) => part.n_parameters > 0 && !seen.has(part.name) && seen.add(part.name)).map((piece) => {
    const bar = h("span", { class: `ts-block-share ts-block-${piece.role}` });
    bar.style.flexGrow = String(piece.part.n_parameters);
    picture.reach(bar, piece);
    return bar;
  });
}
