// @ts-check
// Every picture in little, beside the pictures: what each of them says of the selection, always in sight. A click goes there.

import { h, fill } from "../core/dom.js";
import { fit } from "../core/canvas.js";
import { phrase } from "../core/texts.js";

/** @typedef {import("./card.js").Card} Card */
/** @typedef {import("./card.js").State} State */

const [WIDTH, HEIGHT] = [92, 30];

export class Rail {
  /** @param {Card[]} cards in the order of the data */
  constructor(cards) {
    this.rows = cards.map((card) => makeRow(card));
    this.element = h("nav", { class: "ts-rail", "aria-label": phrase("The pictures"), hidden: true }, ...this.rows.map((row) => row.element),
      h("p", { class: "ts-rail-loop" }, phrase("↺ the chosen token is the next input")));
  }

  /** @param {State} state */
  paint(state) {
    this.element.hidden = false;
    for (const row of this.rows) row.glance = row.card.view.glance?.(state) ?? null;
    for (const { glance, canvas } of this.rows) {
      const g = fit(canvas, WIDTH, HEIGHT);
      glance?.mini?.(g, WIDTH, HEIGHT);
    }
  }

  draw() {
    for (const row of this.rows) {
      const words = row.glance?.value.map((part) => (part instanceof Node ? part.textContent : part || "")).join("") ?? "";
      if (row.shown === words) continue;
      row.shown = words;
      fill(row.value, ...(row.glance?.value ?? []));
    }
  }

  /** Mark the picture that is being looked at: the first one in sight. @param {Card | undefined} card */
  mark(card) {
    for (const row of this.rows) row.element.setAttribute("aria-current", String(row.card === card));
  }
}

/** @param {Card} card */
function makeRow(card) {
  const canvas = h("canvas", { class: "ts-rail-mini", "aria-hidden": "true" });
  const value = h("span", { class: "ts-rail-value" });
  const go = () => {
    const smooth = !window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    card.element.scrollIntoView({ behavior: smooth ? "smooth" : "auto", block: "start" });
    card.element.focus({ preventScroll: true });
  };
  const element = h("button", { type: "button", class: "ts-rail-row", "data-goes-to": card.view.id, onclick: go }, canvas,
    h("span", { class: "ts-rail-words" }, h("span", { class: "ts-rail-title" }, card.view.title), value));
  return { card, canvas, value, element, glance: /** @type {import("./card.js").Glance | null} */ (null), shown: "" };
}
