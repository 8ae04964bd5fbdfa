// @ts-check
// Every picture in little, below the loom: what each of them says of the selection. One that is pressed opens as a card, one at a time
// or all at once.

import { bringInSight, h, fill, say, button, watchSight } from "../core/dom.js";
import { fit } from "../core/canvas.js";
import { phrase } from "../core/texts.js";
import { forgetAllCards, rememberAllCards, rememberedAllCards } from "../data/session_memory.js";

/** @typedef {import("./card.js").Card} Card */
/** @typedef {import("../data/view.js").State} State */

const [WIDTH, HEIGHT] = [92, 30];

export class Rail {
  /** @param {Card[]} cards in the order of the data @param {() => void} changed another card is open @param {() => void} redraw */
  constructor(cards, changed, redraw) {
    this.changed = changed;
    /** whether it is drawn with everything else: out of sight it waits until the selection rests */
    this.isNear = true;
    /** @type {string | null} the card that is open, where they are not all */
    this.opened = null;
    this.all = rememberedAllCards();
    this.rows = cards.map((card) => makeRow(card, () => this.press(card.view.id)));
    this.allButton = button("", () => this.toggleAll(), { class: "ts-button ts-rail-all" });
    this.element = h("section", { class: "ts-rail", "aria-label": phrase("The pictures"), hidden: true },
      h("p", { class: "ts-rail-head" }, h("b", {}, phrase("Look closer")), h("span", { class: "ts-muted" }, phrase("Each part of this step. Press one to open it.")), this.allButton),
      h("div", { class: "ts-rail-rows" }, ...this.rows.map((row) => row.element)));
    watchSight(this.element, (entry) => {
      this.isNear = entry.isIntersecting || this.element.hidden;
      if (this.isNear) redraw();
    }, { rootMargin: "150px" });
    this.lay();
  }

  /** Open this card, or none. @param {string | null} name */
  open(name) {
    const known = this.rows.some(({ card }) => card.view.id === name) ? name : null;
    if (known === this.opened) return;
    this.opened = known;
    this.lay();
  }

  /** @param {string} name */
  press(name) {
    if (this.all) this.opened = name;
    else this.open(this.opened === name ? null : name);
    this.go();
  }

  /** Bring the open card in sight, with the row that it was pressed in. */
  go() {
    const row = this.rows.find(({ card }) => card.view.id === this.opened);
    const place = this.all ? row?.card.element : this.element;
    if (!row || !place) return;
    bringInSight(place);
    if (this.all) row.card.element.focus({ preventScroll: true });
  }

  toggleAll() {
    this.all = !this.all;
    if (this.all) rememberAllCards();
    else forgetAllCards();
    this.lay();
  }

  lay() {
    for (const { card, element } of this.rows) {
      const isOpen = !element.hidden && (this.all || card.view.id === this.opened);
      element.setAttribute("aria-expanded", String(isOpen));
      card.show(isOpen);
    }
    say(this.allButton, this.all ? phrase("Close all") : phrase("Open all"));
    this.changed();
  }

  /** @param {State} state */
  paint(state) {
    this.element.hidden = false;
    this.fit(state.run);
    for (const row of this.rows) row.glance = row.card.view.glance?.(state) ?? null;
    for (const { glance, canvas } of this.rows) {
      const g = fit(canvas, WIDTH, HEIGHT);
      glance?.mini?.(g, WIDTH, HEIGHT);
    }
  }

  /** Leave out the pictures of what this run has not. @param {import("../data/store.js").Run} run */
  fit(run) {
    const before = this.rows.map(({ element }) => element.hidden).join();
    for (const { card, element } of this.rows) element.hidden = card.view.isFor?.(run) === false;
    if (this.rows.map(({ element }) => element.hidden).join() !== before) this.lay();
  }

  draw() {
    for (const row of this.rows) {
      const words = row.glance?.value.map((part) => (part instanceof Node ? part.textContent : part || "")).join("") ?? "";
      if (row.shown === words) continue;
      row.shown = words;
      fill(row.value, ...(row.glance?.value ?? []));
    }
  }

  /** Where all are open, mark the picture that is being looked at: the first one in sight. @param {Card | undefined} card */
  mark(card) {
    if (this.all) this.opened = card?.view.id ?? null;
    for (const row of this.rows) row.element.setAttribute("aria-current", String(this.all && row.card === card));
  }
}

/** @param {Card} card @param {() => void} press */
function makeRow(card, press) {
  const canvas = h("canvas", { class: "ts-rail-mini", "aria-hidden": "true" });
  const value = h("span", { class: "ts-rail-value" });
  const element = h("button", { type: "button", class: "ts-rail-row", "data-goes-to": card.view.id, onclick: press }, canvas,
    h("span", { class: "ts-rail-words" }, h("span", { class: "ts-rail-title" }, card.view.title), value));
  return { card, canvas, value, element, glance: /** @type {import("../data/view.js").Glance | null} */ (null), shown: "" };
}
