// @ts-check
// How probability flows from stage to stage: one bar of 100% a stage, ribbons between them, what is removed ends hatched.

import { h, say } from "../../core/dom.js";
import { cut, fit, hatch, overColour, widthOf } from "../../core/canvas.js";
import { count, label } from "../../core/format.js";
import { effect, hint, named } from "./levels.js";
import { phrase } from "../../core/texts.js";

/** @typedef {import("./levels.js").Level} Level */
/** @typedef {{id: number, text: string, hex?: string}} Drawn */
/** `to`: how much of it the next stage keeps. @typedef {{id: number, text: string, hex?: string, share: number, to: number}} Part */

const ROW = 48;
const [TOP, BAR] = [5, 24];
const TRACKED = 6; // tokens with a ribbon of their own
const REST = -1;
const ALL_OTHERS = phrase("all others");

export class Flow {
  /** @param {() => void} redraw @param {(level: number, lock: boolean) => void} go @param {() => void} leave */
  constructor(redraw, go, leave) {
    this.canvas = h("canvas", { "aria-hidden": "true" });
    const box = h("div", { class: "ts-flow-bars" }, this.canvas);
    this.rows = h("div", { class: "ts-flow-rows", onpointerleave: leave });
    this.element = h("div", { class: "ts-flow", role: "group", "aria-label": phrase("Stages of the distribution: select one") }, this.rows, box);
    this.width = widthOf(box, redraw);
    this.go = go;
    /** @type {{button: HTMLElement, name: HTMLElement, did: HTMLElement, left: HTMLElement}[]} */
    this.made = [];
  }

  /** @param {Level[]} levels @param {number} shown */
  draw(levels, shown) {
    while (this.made.length < levels.length) this.made.push(this.make(this.made.length));
    this.made.forEach(({ button, name, did, left }, i) => {
      button.hidden = i >= levels.length;
      if (button.hidden) return;
      button.setAttribute("aria-pressed", String(i === shown));
      say(name, named(levels[i]));
      say(did, effect(levels[i]));
      say(left, i === 0 ? phrase("all {n}", { n: count(levels[i].alive) }) : levels[i].alive < levels[0].alive ? phrase("{n} left", { n: count(levels[i].alive) }) : "");
      button.title = hint(levels[i]);
    });
  }

  /** @param {number} i */
  make(i) {
    const [name, did, left] = [h("span", { class: "ts-flow-name" }), h("span", { class: "ts-flow-did" }), h("span", { class: "ts-flow-left" })];
    const look = (/** @type {Event} */ event) => { if (/** @type {PointerEvent} */ (event).pointerType === "mouse") this.go(i, false); };
    const button = h("button", { type: "button", class: "ts-flow-row", onclick: () => this.go(i, true), onpointerenter: look },
      h("span", { class: "ts-flow-words" }, name, did), left);
    this.rows.append(button);
    return { button, name, did, left };
  }

  /** @param {Level[]} levels @param {Drawn} drawn @param {number} shown @param {import("../../core/canvas.js").Paint} colours */
  paint(levels, drawn, shown, colours) {
    const width = this.width();
    if (!width) return;
    const g = fit(this.canvas, width, ROW * levels.length);
    const parts = levels.map((level, i) => partsOf(levels, i, drawn));
    parts.forEach((here, i) => {
      if (i + 1 < parts.length) ribbons(g, here, parts[i + 1], i, width, drawn.id, colours);
    });
    parts.forEach((here, i) => bar(g, here, i, width, drawn.id, colours));
    g.strokeStyle = colours.ink;
    g.lineWidth = 2;
    g.strokeRect(1, shown * ROW + TOP - 1, width - 2, BAR + 2);
    g.lineWidth = 1;
  }
}

/** The parts of one level: the tokens that are followed, then all others. @param {Level[]} levels @param {number} at @param {Drawn} drawn @returns {Part[]} */
function partsOf(levels, at, drawn) {
  const [level, next] = [levels[at], levels[at + 1]];
  /** @type {Drawn[]} */
  const followed = levels[0].candidates.slice(0, TRACKED);
  if (!followed.some((each) => each.id === drawn.id)) followed.push(drawn);
  /** @type {Part[]} */
  const parts = [];
  let [rest, gone] = [1, next?.goneMass ?? 0];
  for (const { id, text, hex } of followed) {
    const share = chance(level, id, drawn.id);
    if (!share) continue;
    const removed = next !== undefined && chance(next, id, drawn.id) === null;
    parts.push({ id, text, hex, share, to: removed ? 0 : share });
    rest -= share;
    if (removed) gone -= share;
  }
  if (rest > 1e-6) parts.push({ id: REST, text: "", share: rest, to: Math.max(rest - Math.max(gone, 0), 0) });
  return parts;
}

/** null: it cannot be chosen; undefined: not known. @param {Level} level @param {number} id @param {number} chosen */
function chance(level, id, chosen) {
  if (id === chosen) return level.chosen;
  const found = level.candidates.find((each) => each.id === id);
  return found ? found.probability : level.alive <= level.candidates.length ? null : undefined;
}

/** @param {CanvasRenderingContext2D} g @param {Part[]} parts @param {number} row @param {number} width @param {number} chosen @param {import("../../core/canvas.js").Paint} colours */
function bar(g, parts, row, width, chosen, colours) {
  const y = row * ROW + TOP;
  let x = 0;
  parts.forEach((part, k) => {
    const [w, kept] = [part.share * width, part.to * width];
    tint(g, part, k, chosen, colours);
    g.fillRect(x, y, kept, BAR);
    g.globalAlpha = 1;
    if (w - kept > 0.5) hatch(g, x + kept, y, w - kept, BAR, colours.muted, 5);
    const name = w > 24 && part.id !== REST ? cut(g, label(part, 20), w - 8) : "";
    if (name.length > 3 || (name && !name.endsWith("…"))) {
      g.fillStyle = part.id === chosen ? overColour(colours, colours.generated) : colours.ink;
      g.fillText(name, x + 4, y + 17);
    } else if (part.id === REST && kept > g.measureText(ALL_OTHERS).width + 10) {
      g.fillStyle = colours.ink;
      g.fillText(ALL_OTHERS, x + 5, y + 17);
    }
    x += w;
    g.fillStyle = colours.card;
    if (k < parts.length - 1) g.fillRect(x - 0.5, y, 1, BAR);
  });
  g.strokeStyle = colours.muted;
  g.strokeRect(0.5, y + 0.5, width - 1, BAR - 1);
}

/** @param {CanvasRenderingContext2D} g @param {Part[]} from @param {Part[]} to @param {number} row @param {number} width @param {number} chosen @param {import("../../core/canvas.js").Paint} colours */
function ribbons(g, from, to, row, width, chosen, colours) {
  const [top, bottom] = [row * ROW + TOP + BAR, (row + 1) * ROW + TOP];
  const middle = (top + bottom) / 2;
  let x = 0;
  from.forEach((part, k) => {
    const [a, b] = [x, x + part.to * width];
    x += part.share * width;
    let c = 0;
    for (const each of to) {
      if (each.id === part.id) break;
      c += each.share * width;
    }
    const met = to.find((each) => each.id === part.id);
    if (!met || !part.to) return;
    const d = c + met.share * width;
    tint(g, part, k, chosen, colours);
    g.globalAlpha *= 0.55;
    g.beginPath();
    g.moveTo(a, top);
    g.bezierCurveTo(a, middle, c, middle, c, bottom);
    g.lineTo(d, bottom);
    g.bezierCurveTo(d, middle, b, middle, b, top);
    g.fill();
    g.globalAlpha = 1;
  });
}

/** The drawn token in its own colour, the others paler from one to the next. @param {CanvasRenderingContext2D} g @param {Part} part @param {number} k @param {number} chosen @param {import("../../core/canvas.js").Paint} colours */
function tint(g, part, k, chosen, colours) {
  g.fillStyle = part.id === chosen ? colours.generated : colours.ink;
  g.globalAlpha = part.id === chosen ? 1 : part.id === REST ? 0.07 : Math.max(0.34 - k * 0.04, 0.12);
}
