// @ts-check
// Where we are in the run, in words; play, pause and scrub over its passes on a measured axis.

import { h, fill, quoted, button } from "../core/dom.js";
import { fit, hatch, pointer, widthOf } from "../core/canvas.js";
import { count, duration } from "../core/format.js";

/** @typedef {import("./card.js").State} State */

const PACES = [["1 pass/s", 1000], ["3 passes/s", 333], ["as recorded", 0]];

export class Player {
  /** @param {import("./selection.js").Selection} selection @param {() => void} help */
  constructor(selection, help) {
    this.selection = selection;
    this.timer = 0;
    /** @type {State | null} */
    this.state = null;
    this.crumbs = h("p", { class: "ts-crumbs", role: "status" });
    this.play = button("▶ Play", () => this.toggle(), { class: "ts-button ts-play", "aria-pressed": "false" });
    this.pace = h("select", { class: "ts-select", "aria-label": "pace of playing" }, ...PACES.map(([name], i) => h("option", { value: i }, String(name))));
    this.lock = button("Unlock (Esc)", () => selection.unlock());
    this.axis = h("canvas", { class: "ts-axis", role: "slider", tabindex: "0", "aria-label": "pass", "aria-valuemin": "1" });
    this.axisBox = h("div", { class: "ts-axis-box" }, this.axis);
    this.width = widthOf(this.axisBox, () => { if (this.state) this.drawAxis(this.state); });
    this.element = h("div", { class: "ts-player" },
      h("div", { class: "ts-player-bar" },
        h("div", { class: "ts-player-top" }, this.crumbs, h("span", { class: "ts-player-lock" }, this.lock)),
        h("div", { class: "ts-player-row" },
          h("span", { class: "ts-player-buttons" },
            button("◀", () => this.move(-1), { "aria-label": "pass before", title: "pass before (left arrow)" }), this.play,
            button("▶", () => this.move(1), { "aria-label": "next pass", title: "next pass (right arrow)" })),
          this.axisBox,
          h("span", { class: "ts-player-buttons" }, this.pace, button("?", help, { "aria-label": "keys" })))));
    this.listen();
  }

  listen() {
    let held = false;
    const scrub = (/** @type {PointerEvent} */ event) => this.selection.set({ step: this.stepAt(event) });
    this.axis.addEventListener("pointerdown", (event) => {
      held = true;
      this.axis.setPointerCapture(event.pointerId);
      this.pause();
      scrub(event);
    });
    this.axis.addEventListener("pointermove", (event) => {
      if (held) scrub(event);
      else if (event.pointerType === "mouse") this.selection.preview({ step: this.stepAt(event) });
    });
    this.axis.addEventListener("pointerup", () => { held = false; });
    this.axis.addEventListener("pointerleave", () => this.selection.preview(null));
  }

  /** @param {number} by */
  move(by) {
    this.selection.set({ step: this.selection.at.step + by });
  }

  toggle() {
    if (this.timer) this.pause();
    else this.start();
  }

  start() {
    if (!this.state) return;
    if (this.selection.at.step >= this.state.run.steps.length - 1) this.selection.set({ step: 0 });
    this.tick();
    fill(this.play, "❚❚ Pause");
    this.play.setAttribute("aria-pressed", "true");
  }

  /** Wait as long as the pass that is shown next, then show it. */
  tick() {
    const run = this.selection.run;
    const next = run?.steps[this.selection.at.step + 1];
    if (!next) { this.pause(); return; }
    const wait = Number(PACES[Number(this.pace.value)][1]) || Math.max(next.seconds * 1000, 16);
    this.timer = window.setTimeout(() => { this.move(1); this.tick(); }, wait);
  }

  pause() {
    window.clearTimeout(this.timer);
    this.timer = 0;
    fill(this.play, "▶ Play");
    this.play.setAttribute("aria-pressed", "false");
  }

  /** @param {PointerEvent} event */
  stepAt(event) {
    const steps = this.state?.run.steps ?? [];
    const total = steps.reduce((sum, step) => sum + step.seconds, 0) || 1;
    let left = (pointer(this.axis, event).x / this.width()) * total;
    for (const step of steps) {
      left -= step.seconds;
      if (left <= 0) return step.index;
    }
    return Math.max(steps.length - 1, 0);
  }

  /** @param {State} state */
  paint(state) {
    this.state = state;
    this.drawAxis(state);
  }

  /** @param {State} state */
  draw(state) {
    const { run, at, step } = state;
    const written = step.choices.length ? quoted(run.tokens[step.chosenAt]) : "nothing yet";
    const read = step.n === 1 ? quoted(run.tokens[step.first]) : `${count(step.n)} tokens`;
    fill(this.crumbs,
      h("span", {}, h("strong", {}, `Pass ${at.step + 1} of ${run.steps.length}`), ` (${step.kind}): read `, read, ", wrote ", written),
      crumb("layer", String(at.layer)), crumb("head", String(at.head)), crumb("token", String(at.token), quoted(run.tokens[at.token])));
    this.lock.hidden = !this.selection.locked;
    this.axis.setAttribute("aria-valuemax", String(run.steps.length));
    this.axis.setAttribute("aria-valuenow", String(at.step + 1));
    this.axis.setAttribute("aria-valuetext", `pass ${at.step + 1} of ${run.steps.length}, ${step.kind}, ${duration(step.seconds)}`);
    const title = `This pass took ${duration(step.seconds)}. Widths are to scale: seconds as recorded; recording makes it slower.`;
    if (this.axis.title !== title) this.axis.title = title;
  }

  /** @param {State} state */
  drawAxis({ run, at, colours }) {
    const width = this.width();
    if (!width) return;
    const height = 30;
    const g = fit(this.axis, width, height);
    const total = run.steps.reduce((sum, step) => sum + step.seconds, 0) || 1;
    let x = 0;
    let mark = [0, 2];
    for (const step of run.steps) {
      const w = (step.seconds / total) * width;
      const gap = w > 4 ? 1 : 0;
      g.globalAlpha = step.index <= at.step ? 1 : 0.35;
      g.fillStyle = step.kind === "decode" ? colours.generated : colours.prompt;
      g.fillRect(x, 6, w - gap, height - 12);
      if (step.kind !== "decode") hatch(g, x, 6, w - gap, height - 12, colours.card, 7);
      g.globalAlpha = 1;
      if (step.index === at.step) mark = [x, Math.max(w - gap, 2)];
      x += w;
    }
    g.strokeStyle = colours.ink;
    g.lineWidth = 2;
    g.strokeRect(Math.min(mark[0] + 1, width - 3), 3, Math.max(mark[1] - 2, 2), height - 6);
  }
}

/** @param {string} name @param {string} value @param {Node | string} [extra] */
function crumb(name, value, extra = "") {
  return h("span", { class: "ts-crumb" }, `${name} ${value}`, extra ? " " : "", extra);
}
