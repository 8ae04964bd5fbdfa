// @ts-check
// A board: the pictures of one record, whatever its kind, linked by one selection and moved over by one transport.
// board/page.js fills it in the app, board/saved_page.js in a page of its own.

import { ServedRecord } from "../data/record.js";
import { Pictures } from "../data/pictures.js";
import { get, Slices } from "../data/slices.js";
import { answered } from "../data/follow.js";
import { afresh, paint, widthOf } from "../core/canvas.js";
import { h, fill, say, table, button } from "../core/dom.js";
import { COUNTING } from "../core/format.js";
import { Selection, watchPointer } from "../data/selection.js";
import { KEYS } from "./keys.js";
import { Transport } from "./transport.js";
import { Card } from "./card.js";
import { Rail } from "./rail.js";
import { ServerViews } from "./server_views.js";
import { serverView } from "./server_picture.js";
import { servedWhy } from "../views/why_token/served_why.js";
import { Choices, markSelected, pressed, pressedByKey, revealTick } from "./choices.js";
import { sayLate, whyMissing } from "./late.js";
import { MemoryLoad } from "./memory_load.js";
import { RUN_VIEWS, aboutModel } from "./run_views.js";
import { Loom } from "../views/loom/loom.js";
import { loomRows } from "../views/loom/loom_rows.js";
import { Going } from "./going.js";
import { opening } from "../views/loom/opening.js";
import { runAxis, servedAxis } from "./axis.js";
import { SaveMenu } from "./save_menu.js";
import { aboutRun, aboutServed } from "./about_moment.js";
import { phrase } from "../core/texts.js";

/** @typedef {import("../data/store.js").Run} Run */
/** @typedef {import("../data/axes.js").At} At */
/** What a page gives a board: the address of the program (null: a saved page), what stands before there is
 * a record, above the transport and below the cards, how a run is continued and its steps are explained, and whom to tell that the selection, or the card that is read, has changed.
 * @typedef {{base: string | null, changed: () => void, empty?: HTMLElement | null, above?: HTMLElement | null, below?: HTMLElement | null,
 *   fork?: import("../data/view.js").Fork | null, reasons?: import("../data/view.js").Reasons | null}} App */
/** How a record is opened: `live`: the program holds the record itself, with every number as it was computed; null: nobody does.
 * @typedef {{live: boolean | null, following: boolean, at?: Partial<At> | null, card?: string | null}} Opening */

const REST_MS = 150; // without a change, before what is out of sight is drawn: whoever scrubs has the machine alone
const LISTS = /** @type {const} */ ({ serve: ["request", "layer", "head"], speculate: ["attempt"] });

export class Board {
  /** @param {HTMLElement} element @param {string} experiment of the records that it shows @param {App} app */
  constructor(element, experiment, app) {
    this.element = element;
    this.experiment = experiment;
    this.app = app;
    /** @type {Run | ServedRecord | null} */
    this.record = null;
    this.selection = new Selection();
    this.slices = new Slices(() => this.redraw(), app.base ? `${app.base}/plotly.js` : undefined);
    this.pictures = new Pictures(() => this.redraw());
    /** @type {ServerViews | null} */
    this.serverViews = null;
    /** @type {Rail | null} */
    this.rail = null;
    /** @type {Loom | null} */
    this.loom = null;
    this.frame = 0;
    this.whole = false; // whether more than a pass that climbs has changed
    this.rest = 0;
    this.idle = 0;
    this.drawMs = 0;
    /** @type {At | null} */
    this.drawnAt = null;
    /** @type {string | null} the card that is read, and one that is still to be scrolled to */
    this.reading = null;
    /** @type {string | null} */
    this.goal = null;
    this.help = helpSheet();
    this.transport = new Transport(this.selection, () => this.help.showModal(), experiment === "run" ? (front) => this.loom?.play(front) : undefined);
    /** @type {Card[]} */
    this.cards = [];
    this.message = h("div", { class: "ts-empty", role: "status", hidden: true });
    this.going = new Going();
    this.facts = h("ul", { class: "ts-measured-notes" });
    this.origin = h("section", { class: "ts-card ts-origin", hidden: true }, h("h2", { class: "ts-title" }, phrase("What was run, and where")), this.facts);
    this.model = h("p", { class: "ts-model-line" });
    this.glance = h("div", { class: "ts-cards ts-first" }); // what a record comes to, before what it is moved over by
    this.list = h("div", { class: "ts-cards", "data-experiment": experiment });
    this.below = h("div", { class: "ts-below" }, app.below, this.origin, this.model);
    this.pictureBox = h("div", { class: "ts-pictures", hidden: true }, this.glance, this.transport.edge, this.transport.element, this.list, this.below);
    this.load = new MemoryLoad((change) => this.selection.set(change));
    this.choices = new Choices([...LISTS[/** @type {keyof typeof LISTS} */ (experiment)] ?? []], (change) => this.select(change));
    this.build();
    this.colours = paint(element);
    this.selection.onChange(() => { this.redraw(); app.changed(); });
    watchPointer(this.selection);
    this.watchPage();
    this.watchCards();
    this.listen();
  }

  build() {
    const { element, app } = this;
    element.classList.add("ts-root", "ts-scope", "ts-board");
    element.dataset.experiment = this.experiment;
    fill(element, app.above, this.going.element, app.empty, this.message, this.pictureBox, this.help);
    if (this.experiment === "run") this.runCards(); // before there is a run: it is in sight the sooner
    if (this.experiment === "speculate") this.transport.row.append(this.choices.element);
  }

  /** The cards of a run, whatever made it: the loom, and below it the cards with their rail. */
  runCards() {
    const { app } = this;
    if (this.rail) return;
    this.setCards(RUN_VIEWS.filter(({ asks }) => !asks || app.reasons).map((view) => new Card(view, this.context())));
    this.loom = new Loom({ selection: this.selection, redraw: () => this.redraw(), climb: () => this.climb(), show: (card) => this.show(card), lens: this.slices.lens, pick: app.fork ? (token) => this.pick(token) : null, explain: app.reasons ? () => this.explain() : null });
    this.pictureBox.prepend(this.loom.element);
    this.loom.head.append(new SaveMenu(phrase("the whole run"), () => this.savedLoom()).element);
    this.transport.element.after(this.loom.story);
    this.rail = new Rail(this.cards, () => this.opened(), () => this.redraw());
    this.list.before(this.rail.element);
    if (!app.base) return;
    this.serverViews = new ServerViews(app.base);
    this.cards.find((card) => card.view.id === "attention")?.element.append(this.serverViews.element);
  }

  /** Another card is open, or all are. */
  opened() {
    if (!this.rail) return;
    this.reading = this.rail.opened;
    this.redraw();
    this.app.changed();
  }

  /** What a view may ask for. @returns {import("../data/view.js").Context} */
  context() {
    return { selection: this.selection, redraw: () => this.redraw(), fork: this.app.fork ?? null, reasons: this.app.reasons ?? null, about: (at) => this.about(at), ...this.slices.offers() };
  }

  /** What the board shows at a place. @param {At} at */
  about(at) {
    const { record } = this;
    if (!record) return { place: "", words: [] };
    return record instanceof ServedRecord ? aboutServed(record, at) : aboutRun(record, at);
  }

  /** What a file of the loom holds. @returns {import("./save_menu.js").Saved | null} */
  savedLoom() {
    const { loom, slices } = this;
    if (!loom?.state) return null;
    const { state } = loom;
    return {
      name: "loom", title: loom.says.textContent ?? "", box: loom.stage, colours: state.colours, plotly: slices.offers().plotly, ...this.about(state.at),
      repaint: () => loom.repaint({ ...state, colours: afresh(state.colours) }),
      numbers: async () => loomRows(state.run),
    };
  }

  /** Of a run, as its views know it. @returns {Run | null} */
  get run() {
    return this.record instanceof ServedRecord ? null : this.record;
  }

  /** @param {Card[]} cards */
  setCards(cards) {
    for (const card of this.cards) if (!cards.includes(card)) this.sight?.unwatch(card);
    for (const card of cards) if (!this.cards.includes(card)) this.sight?.watch(card);
    this.cards = cards;
    const isGlance = (/** @type {Card} */ card) => card.view.isGlance === true;
    fill(this.glance, ...cards.filter(isGlance).map((card) => card.element));
    fill(this.list, ...cards.filter((card) => !isGlance(card)).map((card) => card.element));
  }

  /** The cards of a record that the program draws: one a view, in its order; those that are here already stay. @param {ServedRecord} record */
  serveCards(record) {
    const names = record.views.map(({ name }) => name);
    if (names.join() === this.cards.map((card) => card.view.id).join()) return;
    this.setCards(record.views.map((served) => this.cards.find((card) => card.view.id === served.name) ?? this.servedCard(served)));
    const follows = (/** @type {string} */ what) => this.cards[record.views.findIndex((served) => served.follows === what)];
    if (this.app.base && follows("load")) follows("load").element.before(this.load.element);
    if (this.app.base && this.experiment === "serve") follows("pick")?.body.before(this.choices.element);
  }

  /** @param {import("../data/record.js").ServedView} served */
  servedCard(served) {
    const { name } = served;
    if (name === "why_token") return new Card(servedWhy(served, () => (this.record instanceof ServedRecord ? this.record.data : null)), this.context());
    const find = (/** @type {At} */ at) => {
      const { record } = this;
      const now = record instanceof ServedRecord ? record.views.find((each) => each.name === name) : undefined;
      if (!now || !(record instanceof ServedRecord)) return { missing: "" };
      const found = this.pictures.find(now, at);
      return found.missing ? { missing: whyMissing(record, found.missing) } : found;
    };
    return new Card(serverView(served, find, (change) => this.select(change), () => this.drawn()), this.context());
  }

  /** Which cards are in sight: the others are drawn when the browser has nothing else to do. */
  watchCards() {
    const observer = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        const card = this.cards.find((each) => each.element === entry.target);
        if (card) card.inSight = entry.isIntersecting;
      }
      if (this.record instanceof ServedRecord || this.cards.some((card) => card.inSight && card.stale)) this.redraw();
    });
    const looked = new Set();
    const reader = new IntersectionObserver((entries) => { // the card in the upper half of the window, below the transport
      for (const entry of entries) entry.isIntersecting ? looked.add(entry.target) : looked.delete(entry.target);
      const card = this.cards.find((each) => looked.has(each.element));
      if (this.rail && !this.rail.all) return;
      this.rail?.mark(card);
      const reading = !card || card === this.cards[0] ? null : card.view.id;
      if (reading === this.reading || this.goal) return;
      this.reading = reading;
      this.app.changed();
    }, { rootMargin: "-180px 0px -50% 0px" });
    this.sight = {
      watch: (/** @type {Card} */ card) => { for (const each of [observer, reader]) each.observe(card.element); },
      unwatch: (/** @type {Card} */ card) => { for (const each of [observer, reader]) each.unobserve(card.element); looked.delete(card.element); },
    };
    for (const card of this.cards) this.sight.watch(card);
  }

  /** Widths and themes change under us. */
  watchPage() {
    widthOf(this.element, () => this.redraw()); // its height changes with every card that is drawn for the first time
    const repaint = () => { this.colours = paint(this.element); this.redraw(); };
    const observer = new MutationObserver(repaint);
    for (const element of [document.documentElement, document.body]) observer.observe(element, { attributes: true, attributeFilter: ["class"] });
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
    for (const name of ["wheel", "touchstart", "pointerdown", "keydown"]) window.addEventListener(name, () => { this.goal = null; }, { passive: true });
  }

  /** Elements of server pictures stand for a tick, a text or a token. */
  listen() {
    const press = (/** @type {Event} */ event) => {
      const change = pressed(event);
      if (change) this.select(change);
    };
    this.list.addEventListener("click", press);
    this.list.addEventListener("keydown", (event) => { if (pressedByKey(event)) press(event); });
  }

  /** A person has selected something in a picture that the program drew. @param {Partial<At>} change */
  select(change) {
    if (this.record?.moving && change[this.record.moving] !== undefined) this.transport.pause();
    this.selection.set(change);
  }

  /** Show another record. @param {Run | ServedRecord} record @param {Opening} how */
  open(record, { live, following, at = null, card = null }) {
    window.clearTimeout(this.rest);
    cancelIdle(this.idle);
    this.record = record;
    this.drawnAt = null;
    this.goal = card;
    if (card) this.rail?.open(card);
    this.reading = card ?? (this.rail?.all ? null : this.rail?.opened ?? null);
    const { app } = this;
    const place = app.base && live !== null ? `${app.base}/records/${encodeURIComponent(record.id)}` : null;
    if (record instanceof ServedRecord) {
      this.pictures.open(record, place ? async (path, signal) => (await answered(`${place}/${path}`, signal)).json() : null);
      this.serveCards(record);
    } else {
      this.runCards();
      this.loom?.open();
      this.slices.open(record, place ? { live: live === true, get: (path) => get(`${place}/slice/${path}`) } : null);
    }
    this.say("");
    app.empty?.remove();
    this.pictureBox.hidden = false;
    this.element.dataset.run = record.id;
    this.transport.open(record.moving, record.moving === "step");
    const isWatched = following && !at && this.transport.canWatch(this.run);
    this.selection.open(record, () => (record instanceof ServedRecord ? record.lead : opening(record)), following, at);
    if (isWatched) this.transport.watch();
    this.grown();
  }

  /** Open a card and bring it in sight. @param {string} name */
  show(name) {
    this.rail?.open(name);
    this.rail?.go();
  }

  /** Continue the run with a token beside the loom; where it cannot be, or would be the same run, its card says so. @param {import("../data/view.js").Named} token */
  pick(token) {
    const state = this.loom?.state;
    const { fork } = this.app;
    if (state && fork && state.step.choices[0]?.id !== token.id && !fork.why(state.run)) {
      fork.ask(state.run, state.step.index, token, null);
      return;
    }
    if (state) this.cards.find((card) => card.view.id === "next-token")?.picture.pick?.(state, token);
    this.show("next-token");
  }

  /** Say why the step that is looked at chose its token, in its card. */
  explain() {
    const state = this.loom?.state;
    const card = this.cards.find(({ view }) => view.id === "why-token");
    if (state) card?.picture.pick?.(state, state.run.tokens[state.step.chosenAt]);
    this.show("why-token");
  }

  /** The record that is shown has grown. */
  grown() {
    const { record } = this;
    if (!record) return;
    this.element.dataset.frames = String(record.parts);
    if (record instanceof ServedRecord) {
      this.serveCards(record);
      fill(this.facts, ...record.facts.map((each) => h("li", {}, each)));
      this.origin.hidden = record.facts.length === 0;
    } else {
      say(this.model, aboutModel(record));
    }
    this.selection.grown();
  }

  /** Say something in place of the pictures, or above them. @param {...(import("../core/dom.js").Child)} parts */
  say(...parts) {
    const words = parts.map((each) => (each instanceof Node ? each.textContent : each || "")).join("");
    this.message.hidden = words === "";
    if (this.message.textContent !== words) fill(this.message, ...parts);
  }

  redraw() {
    this.whole = true;
    this.climb();
  }

  /** Draw how far a pass has come: nothing else has changed. */
  climb() {
    if (!this.frame) this.frame = requestAnimationFrame(() => this.draw());
  }

  /** Draw what was asked for. */
  draw() {
    this.frame = 0;
    const { record, whole } = this;
    const { at } = this.selection;
    const step = this.run?.steps[at.step];
    this.whole = false;
    if (!record?.begun || (this.run && !step)) return;
    const began = performance.now();
    const state = /** @type {import("../data/view.js").State} */ ({ run: this.run, step, colours: this.colours, word: at.token, at: asRead(this.run, at) });
    if (whole) this.drawWhole(record, at, state);
    else this.drawClimb(state);
    this.drawMs = performance.now() - began;
  }

  /** @param {import("../data/view.js").State} state */
  drawClimb(state) {
    this.transport.paint(runAxis(state), this.colours);
    if (!this.loom?.inSight) return;
    this.loom.paint(state);
    this.loom.draw(state);
  }

  /** @param {Run | ServedRecord} record @param {At} at @param {import("../data/view.js").State} state */
  drawWhole(record, at, state) {
    if (record instanceof ServedRecord) this.wish(record, at);
    for (const card of this.cards) card.stale = card.isOpen;
    const seen = this.cards.filter((card) => card.isOpen && (card.inSight || !this.run)); // server pictures change seldom, and are drawn by themselves
    this.transport.paint(record instanceof ServedRecord ? servedAxis(record, at, this.pictures.words(at)) : runAxis(state), this.colours);
    if (this.loom?.inSight) this.loom.paint(state);
    const rail = this.rail?.isNear ? this.rail : null;
    rail?.paint(state);
    for (const card of seen) card.paint(state);
    this.transport.draw();
    if (this.loom?.inSight) this.loom.draw(state);
    for (const card of seen) card.draw(state);
    rail?.draw();
    if (this.run) this.serverViews?.draw(this.run, this.slices.live, asRead(this.run, this.selection.base));
    this.drawn();
    cancelIdle(this.idle);
    window.clearTimeout(this.rest);
    this.rest = window.setTimeout(() => this.drawRest(state), REST_MS);
  }

  /** Ask for the pictures that this place wants, what is in sight first; show in the lists what is selected. @param {ServedRecord} record @param {At} at */
  wish(record, at) {
    const numbers = (/** @type {number} */ n) => Array.from({ length: n }, (_, i) => String(i));
    const { requests = [], attempts = [], layers = 0, heads = 0 } = record.counts;
    this.choices.offer({ request: requests, attempt: attempts, layer: numbers(layers), head: numbers(heads) }, at);
    if (record.axes.includes("context")) this.load.show(at);
    const moved = this.drawnAt !== null && this.drawnAt !== at;
    this.drawnAt = at;
    const wishes = record.views.map((view, i) => ({ view, at, near: this.cards[i]?.inSight ?? false }));
    this.pictures.want(wishes.sort((one, other) => Number(other.near) - Number(one.near)), this.dark, moved);
  }

  get dark() {
    return this.element.closest(".dark") !== null;
  }

  /** What server pictures say of the selection, once they are drawn; and a card that an address names comes in sight. */
  drawn() {
    if (this.record instanceof ServedRecord) {
      markSelected(this.list, this.selection.at);
      sayLate(this.pictureBox, this.record);
      revealTick(this.list);
    }
    if (this.goal) this.cards.find((card) => card.view.id === this.goal)?.element.scrollIntoView({ block: "start" });
  }

  /** Draw the cards that are out of sight, one idle moment after the other, until the selection moves on. @param {import("../data/view.js").State} state */
  drawRest(state) {
    const stale = this.cards.find((card) => card.stale);
    if (!stale) {
      if (!this.loom?.inSight && this.run) this.loom?.draw(state); // its words are read from anywhere
      if (!this.rail?.isNear) {
        this.rail?.paint(state);
        this.rail?.draw();
      }
      this.drawn();
      return;
    }
    this.idle = whenIdle(() => {
      stale.paint(state);
      stale.draw(state);
      this.drawRest(state);
    });
  }

  /** What a key does here, if anything. @param {string} key @returns {(() => void) | undefined} */
  onKey(key) {
    const { selection, record, transport } = this;
    if (key === "?") return () => (this.help.open ? this.help.close() : this.help.showModal());
    if (key === "Escape") return this.help.open ? () => this.help.close() : selection.locked || selection.hovered ? () => selection.unlock() : undefined;
    if (!record || this.help.open) return undefined;
    const { moving, axes } = record;
    /** @type {Record<string, [boolean, () => void]>} */
    const moves = {
      ArrowLeft: [moving !== null, () => selection.move(-1)],
      ArrowRight: [moving !== null, () => selection.move(1)],
      Home: [moving !== null, () => selection.move(-Infinity)],
      End: [moving !== null, () => selection.move(Infinity)],
      " ": [moving !== null, () => transport.toggle()],
      ArrowUp: [axes.includes("layer"), () => selection.set({ layer: selection.at.layer + 1 })],
      ArrowDown: [axes.includes("layer"), () => selection.set({ layer: selection.at.layer - 1 })],
      "[": [axes.includes("head"), () => selection.set({ head: selection.at.head - 1 })],
      "/": [this.loom !== null && !this.loom.search.element.hidden, () => this.loom?.search.focus()],
      "]": [axes.includes("head"), () => selection.set({ head: selection.at.head + 1 })],
    };
    const [has, move] = moves[key] ?? [false, () => {}];
    return has ? move : undefined;
  }
}

const [whenIdle, cancelIdle] = "requestIdleCallback" in window
  ? [(/** @type {() => void} */ work) => window.requestIdleCallback(work, { timeout: 500 }), (/** @type {number} */ id) => window.cancelIdleCallback(id)]
  : [(/** @type {() => void} */ work) => window.setTimeout(work, 30), (/** @type {number} */ id) => window.clearTimeout(id)];

/** The same place among the tokens that its step has read. @param {Run | null} run @param {At} at @returns {At} */
function asRead(run, at) {
  const last = run?.steps[at.step]?.last ?? at.token;
  return at.token > last ? { ...at, token: last } : at;
}

function helpSheet() {
  const sheet = h("dialog", { class: "ts-help", "aria-label": phrase("Keyboard shortcuts") },
    h("h2", { class: "ts-title" }, phrase("Keyboard shortcuts")),
    table(phrase("Keyboard shortcuts"), [phrase("shortcut"), phrase("what it does")], KEYS.map(([key, does]) => [h("kbd", {}, key), does])),
    h("p", { class: "ts-note" }, phrase("Pointing at something previews it in every picture. A click or a tap pins the selection until you click something else or press Esc.")),
    h("p", { class: "ts-note" }, `${COUNTING} `, phrase("Steps count from 0 too: a step is one pass of the model, and step 0 is the prefill.")),
    button(phrase("Close"), () => sheet.close()));
  return sheet;
}
