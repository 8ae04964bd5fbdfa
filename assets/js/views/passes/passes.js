// @ts-check
// Prefill and decode: every pass to scale, and the loop in which the written token becomes what is read next.

import { h, fill, say, tokenText } from "../../core/dom.js";
import { fit, hatch, pointer, widthOf } from "../../core/canvas.js";
import { count, duration, stepOf } from "../../core/format.js";
import { ReservedSpace } from "../../core/reserve_space.js";
import { kindName } from "../../data/pass_kinds.js";
import { makeLoop } from "./loop.js";
import { counted, phrase } from "../../core/texts.js";

/** @typedef {import("../../data/store.js").Run} Run */
/** @typedef {import("../../data/store.js").Step} Step */
/** @typedef {import("../../core/canvas.js").Paint} Paint */

const [TOP, TALL, ROW, FOOT] = [22, 84, 26, 24]; // px: a number, the highest pile of tokens, the row of time, its ticks
const BASE = TOP + TALL;
const LONG_NUMBER = 60; // px
const TICK_ROOM = 84; // px between two ticks, at least

/** @type {import("../../data/view.js").View} */
export const passes = {
  id: "passes",
  title: phrase("Prefill and decode"),
  lead: phrase("The prefill reads the whole prompt at once; each decode step reads one token."),
  more: phrase("Each decode step reads the token just written, and writes the next."),
  create(body, { selection, redraw }) {
    const phases = h("div", { class: "ts-phases" });
    const axis = h("canvas", { class: "ts-pass-axis", role: "slider", tabindex: "0", "aria-label": phrase("step, on an axis of time"), "aria-valuemin": "0" });
    const box = h("div", { class: "ts-canvas-box" }, axis);
    const words = h("p", { class: "ts-readout", "aria-live": "polite" });
    const room = new ReservedSpace(words, "readout");
    const note = h("p", { class: "ts-note" });
    const loop = makeLoop(selection);
    body.append(
      h("h3", { class: "ts-subtitle" }, phrase("Every pass to scale: height is tokens read, width is time")), box, room.element,
      h("div", { class: "ts-loop-panes" }, h("div", {}, h("h3", { class: "ts-subtitle" }, phrase("The loop")), loop.element),
        h("div", {}, h("h3", { class: "ts-subtitle" }, phrase("Time per phase")), phases, note)));
    const width = widthOf(box, redraw);
    /** @type {Run | null} */
    let shown = null;
    let told = "";

    const stepAt = (/** @type {MouseEvent} */ event) => ({ step: stepUnder(shown?.steps ?? [], pointer(axis, event).x / (width() || 1)) });
    axis.addEventListener("pointermove", (event) => { if (event.pointerType === "mouse") selection.preview(stepAt(event)); });
    axis.addEventListener("pointerleave", () => selection.preview(null));
    axis.addEventListener("click", (event) => selection.set(stepAt(event), { lock: true }));
    axis.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      selection.set({ step: selection.at.step }, { lock: true });
    });

    return {
      paint({ run, at, colours }) {
        shown = run;
        if (width()) drawAxis(axis, width(), run, at.step, colours);
      },
      draw({ run, step }) {
        loop.draw(run, step);
        say(words, aboutPass(run, step));
        axis.setAttribute("aria-valuemax", String(run.steps.length - 1));
        axis.setAttribute("aria-valuenow", String(step.index));
        axis.setAttribute("aria-valuetext", phrase("{step}, {kind}, read {tokens} in {time}", passValues(run, step)));
        const now = `${run.id}/${run.steps.length}`;
        if (told === now) return;
        told = now;
        room.clear();
        for (const each of run.steps) room.keep(aboutPass(run, each));
        const [read, decoded] = phasesOf(run);
        fill(phases, phase(phrase("Prefill"), "ts-is-prompt", read), decoded.tokens > 0 && phase(phrase("Decode"), "ts-is-generated", decoded));
        say(note, aboutPhases(read, decoded));
      },
      numbers({ run }) {
        return {
          columns: [phrase("step"), phrase("kind"), phrase("tokens read"), phrase("positions"), phrase("wrote"), phrase("seconds"), phrase("tokens per second"), phrase("KV cache afterwards")],
          rows: run.steps.map((step) => [count(step.index), kindName(step.kind), count(step.n), step.n > 1 ? `${count(step.first)}–${count(step.last)}` : count(step.first),
            step.choices.length ? tokenText(run.tokens[step.chosenAt]) : phrase("nothing"), step.seconds.toFixed(4), rate(step.n, step.seconds), phrase("{n} bytes", { n: count(step.kvBytes) })]),
          note: phrase("Seconds are as recorded and include the cost of recording every layer. Without recording each pass is faster."),
          code: "from model import Trace\nrun = Trace.open('run.trace')\nfor step in run.steps:\n"
            + "    print(step.kind, step.n_tokens, step.seconds, step.n_tokens / step.seconds)",
        };
      },
    };
  },
  glance({ run, step, colours }) {
    return {
      value: [phrase("{n} read, {time}", { n: count(step.n), time: duration(step.seconds) })],
      mini(g, width, height) {
        blocks(run, width, (each, x, w) => {
          const tall = Math.max(1, (each.n / mostRead(run)) * (height - 12));
          g.globalAlpha = each.index <= step.index ? 1 : 0.3;
          g.fillStyle = colourOf(each, colours);
          g.fillRect(x, height - 10 - tall, Math.max(w - 0.5, 0.5), tall);
          g.fillStyle = each === step ? colours.ink : colourOf(each, colours);
          g.fillRect(x, height - 8, Math.max(w - 0.5, each === step ? 2 : 0.5), 7);
        });
        g.globalAlpha = 1;
      },
    };
  },
};

/** @param {HTMLCanvasElement} axis @param {number} width @param {Run} run @param {number} selected @param {Paint} colours */
function drawAxis(axis, width, run, selected, colours) {
  const g = fit(axis, width, BASE + 6 + ROW + FOOT);
  const most = mostRead(run);
  let free = -LONG_NUMBER; // up to where numbers stand
  g.textAlign = "center";
  blocks(run, width, (step, x, w) => {
    const tall = Math.max((TALL * step.n) / most, 2);
    const gap = w > 4 ? 1 : 0;
    g.globalAlpha = step.index <= selected ? 1 : 0.35;
    g.fillStyle = colourOf(step, colours);
    g.fillRect(x, BASE - tall, w - gap, tall);
    g.fillRect(x, BASE + 6, w - gap, ROW);
    if (step.kind !== "decode") {
      hatch(g, x, BASE - tall, w - gap, tall, colours.card, 7);
      hatch(g, x, BASE + 6, w - gap, ROW, colours.card, 7);
    }
    g.globalAlpha = 1;
    if (step.index === selected) {
      g.strokeStyle = colours.ink;
      g.lineWidth = 2;
      g.strokeRect(Math.min(x + 1, width - 3), BASE - tall - 1, Math.max(w - gap - 2, 2), tall + ROW + 8);
    }
    const number = count(step.n);
    const [half, middle] = [number.length * 4 + 1, x + w / 2];
    const fits = w >= 2 * half + 2 || (step.n > 1 && middle - half > free); // what a narrow prefill read is said too
    if (!fits && step.index !== selected) return;
    free = Math.max(free, Math.max(middle, half) + half);
    g.fillStyle = step.index === selected ? colours.ink : colours.muted;
    g.fillText(number, Math.min(Math.max(middle, half), width - half), BASE - tall - 6);
  });
  g.fillStyle = colours.muted;
  g.textAlign = "right";
  if (run.steps.length > 1) g.fillText(phrase("tokens read"), width, TOP - 6);
  drawTicks(g, width, secondsOf(run), colours);
}

/** @param {CanvasRenderingContext2D} g @param {number} width @param {number} total @param {Paint} colours */
function drawTicks(g, width, total, colours) {
  const every = niceStep((total * TICK_ROOM) / width);
  g.fillStyle = colours.muted;
  g.strokeStyle = colours.muted;
  g.lineWidth = 1;
  for (let k = 0; k * every <= total; k += 1) {
    const x = (k * every * width) / total;
    if (width - x < 24) return;
    g.beginPath();
    g.moveTo(x + 0.5, BASE + 6 + ROW);
    g.lineTo(x + 0.5, BASE + 11 + ROW);
    g.stroke();
    g.textAlign = k === 0 ? "left" : "center";
    g.fillText(tickText(k * every, every), x, BASE + FOOT + ROW + 2);
  }
}

/** @param {number} least */
function niceStep(least) {
  const power = 10 ** Math.floor(Math.log10(least || 1));
  return [1, 2, 5, 10].map((n) => n * power).find((step) => step >= least) ?? power * 10;
}

/** @param {number} seconds @param {number} every */
function tickText(seconds, every) {
  if (seconds === 0) return "0 s";
  if (every < 0.1) return `${Number((seconds * 1000).toPrecision(6))} ms`;
  return `${Number(seconds.toPrecision(6))} s`;
}

/** Each pass with its place on the axis of time. @param {Run} run @param {number} width @param {(step: Step, x: number, w: number) => void} draw */
function blocks(run, width, draw) {
  const total = secondsOf(run);
  let x = 0;
  for (const step of run.steps) {
    const w = (step.seconds / total) * width;
    draw(step, x, w);
    x += w;
  }
}

/** Which pass stands at this share of the time. @param {Step[]} steps @param {number} share */
function stepUnder(steps, share) {
  let left = share * (steps.reduce((sum, step) => sum + step.seconds, 0) || 1);
  const found = steps.findIndex((step) => (left -= step.seconds) <= 0);
  return found < 0 ? Math.max(steps.length - 1, 0) : found;
}

/** @param {Run} run */
function secondsOf(run) {
  return run.steps.reduce((sum, step) => sum + step.seconds, 0) || 1;
}

/** @param {Run} run */
function mostRead(run) {
  return run.steps.reduce((most, step) => Math.max(most, step.n), 1);
}

/** @param {Step} step @param {Paint} colours */
function colourOf(step, colours) {
  return step.kind === "decode" ? colours.generated : colours.prompt;
}

/** @typedef {{passes: number, tokens: number, seconds: number}} Phase */

/** What reading the prompt took, and what the rest took. @param {Run} run @returns {[Phase, Phase]} */
function phasesOf(run) {
  const sum = (/** @type {Step[]} */ steps) => ({ passes: steps.length, tokens: steps.reduce((n, step) => n + step.n, 0), seconds: steps.reduce((s, step) => s + step.seconds, 0) });
  return [sum(run.steps.filter((step) => step.kind !== "decode")), sum(run.steps.filter((step) => step.kind === "decode"))];
}

/** @param {string} name @param {string} role @param {Phase} found */
function phase(name, role, { passes: n, tokens, seconds }) {
  return h("div", { class: `ts-phase ${role}` }, h("strong", {}, name),
    h("span", {}, counted(n, "read {tokens} in {n} pass: {time}", "read {tokens} in {n} passes: {time}", { n: count(n), tokens: tokensIn(tokens), time: duration(seconds) })),
    h("span", { class: "ts-phase-rate" }, phrase("{n} tokens per second", { n: rate(tokens, seconds) })));
}

/** @param {Phase} read @param {Phase} decoded */
function aboutPhases(read, decoded) {
  const recorded = phrase("Times are as recorded; recording makes every pass slower.");
  if (!decoded.tokens || !read.tokens) return recorded;
  const [first, then] = [read.seconds / read.tokens, decoded.seconds / decoded.tokens];
  const gain = then / first;
  if (gain < 1.2) return recorded;
  const why = phrase("Reading one token took {first} in the prefill and {then} in decode, {times} times as long: every pass loads all the weights, however many tokens it reads, and the prefill spreads that cost over {n} tokens.",
    { first: duration(first), then: duration(then), times: gain < 10 ? gain.toFixed(1) : count(gain), n: count(read.tokens) });
  return `${why} ${recorded}`;
}

/** @param {Run} run @param {Step} step */
function aboutPass(run, step) {
  return phrase("{step} ({kind}): read {tokens} in {time}, as recorded.", passValues(run, step));
}

/** @param {Run} run @param {Step} step */
function passValues(run, step) {
  return { step: stepOf(step.index, run.steps.length), kind: kindName(step.kind), tokens: tokensIn(step.n), time: duration(step.seconds) };
}

/** @param {number} tokens @param {number} seconds */
function rate(tokens, seconds) {
  const each = tokens / (seconds || 1);
  return each < 99.5 ? each.toFixed(1) : count(each);
}

/** @param {number} n */
function tokensIn(n) {
  return counted(n, "{n} token", "{n} tokens", { n: count(n) });
}
