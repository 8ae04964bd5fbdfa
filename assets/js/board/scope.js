// @ts-check
// The pictures of one run, linked by one selection. `mount` stands in the app and pulls frames from its routes;
// `mountPage` stands in an exported page and has them all.

import { Run, wholeFrames } from "../data/store.js";
import { Selection, firstLook, listenToKeys, watchPointer, KEYS } from "./selection.js";
import { Player } from "./player.js";
import { Card } from "./card.js";
import { ServerViews } from "./server_views.js";
import { Rail } from "./rail.js";
import { Recorded } from "./recorded.js";
import { paint } from "../core/canvas.js";
import { follow, get, Slices } from "../data/slices.js";
import { h, fill, say, table, button } from "../core/dom.js";
import { count, size, COUNTING } from "../core/format.js";
import { output } from "../views/output/output.js";
import { tokens } from "../views/tokens/tokens.js";
import { attention } from "../views/attention/attention.js";
import { layers } from "../views/layers/layers.js";
import { nextToken } from "../views/next_token/next_token.js";
import { kvCache } from "../views/kv_cache/kv_cache.js";
import { embeddings } from "../views/embeddings/embeddings.js";
import { passes } from "../views/passes/passes.js";

/** @typedef {{id: string | null, source: string, ready: number, done: boolean, state: string, place: number, eta_s: number | null,
 *   max_new_tokens: number, message: string}} Notice */

const VIEWS = [output, tokens, embeddings, passes, attention, layers, nextToken, kvCache]; // in the order of the data
const STYLES = ["theme.css", "scope.css", ...VIEWS.map((view) => `views/${view.id}.css`)];
const RETRY_MS = 2000;
const ANSWER_MS = 500; // an answer that follows a run takes longer, unless the run has ended
const REST_MS = 150; // without a change, before what is out of sight is drawn: whoever scrubs has the machine alone

/** The pictures in the app. `value` and every later notice say which run there is and how many frames are ready; `choose` shows
 * another run than the visitor's newest: a recorded one, or null for the newest again.
 * @param {{element: HTMLElement, base: string, value: Notice, watch: (name: string, listener: (notice: Notice) => void) => void,
 *   choose: (run: import("./recorded.js").Offer | null) => void, rail?: HTMLElement | null}} link */
export async function mount({ element, base, value, watch, choose, rail }) {
  await Promise.all(STYLES.map((name) => loadStyle(new URL(`../../css/${name}`, import.meta.url).href)));
  const recorded = new Recorded(base, choose);
  const scope = new Scope(element, { recorded, serverViews: new ServerViews(base), rail, plotly: `${base}/plotly.js` });
  const puller = new Puller(scope, base);
  const hear = (/** @type {Notice} */ notice) => {
    recorded.notice(notice);
    puller.notice(notice);
  };
  watch("value", hear);
  if (value) hear(value);
  element.dataset.ready = "1";
  return scope;
}

/** The pictures in a page of their own. @param {{element: HTMLElement, frames: Uint8Array}} page */
export function mountPage({ element, frames }) {
  const scope = new Scope(element);
  const run = new Run("page");
  run.feed(frames);
  scope.open(run, null, false);
  element.dataset.ready = "1";
  return scope;
}

class Scope {
  /** `rail` is where the rail goes, if not beside the pictures; `plotly` the address of plotly.js.
   * @param {HTMLElement} element @param {{recorded?: Recorded, serverViews?: ServerViews, rail?: HTMLElement | null, plotly?: string}} [app] what needs the app behind the page */
  constructor(element, { recorded, serverViews, rail, plotly } = {}) {
    this.element = element;
    this.serverViews = serverViews;
    /** @type {Run | null} */
    this.run = null;
    this.selection = new Selection();
    this.slices = new Slices(() => this.redraw(), plotly);
    this.frame = 0;
    this.rest = 0;
    this.idle = 0;
    this.drawMs = 0;
    this.help = helpSheet();
    this.player = new Player(this.selection, () => this.help.showModal());
    const context = { selection: this.selection, redraw: () => this.redraw(), ...this.slices.offers() };
    this.cards = VIEWS.map((view) => new Card(view, context));
    this.rail = new Rail(this.cards);
    this.message = h("p", { class: "ts-empty", role: "status" });
    this.model = h("p", { class: "ts-model-line" });
    this.pictures = h("div", { class: "ts-pictures", hidden: true }, recorded?.element, this.player.element,
      h("div", { class: "ts-cards" }, ...this.cards.map((card) => card.element)), serverViews?.element, this.model);
    element.classList.add("ts-root", "ts-scope");
    rail?.classList.add("ts-root", "ts-scope");
    rail?.append(this.rail.element);
    fill(element, this.message, rail ? this.pictures : h("div", { class: "ts-with-rail" }, this.rail.element, this.pictures), this.help);
    this.colours = paint(element);
    this.selection.onChange(() => this.redraw());
    watchPointer(this.selection);
    listenToKeys(element, this.selection, {
      play: () => this.player.toggle(),
      help: () => (this.help.open ? this.help.close() : this.help.showModal()),
      escape: () => this.help.open && (this.help.close(), true),
    });
    this.watchPage();
    this.watchCards();
    this.say("Type a prompt and press Run: the run appears here, pass by pass.");
    Object.assign(window, { tokenoscope: { store: this, selection: this.selection } });
  }

  /** Which cards are in sight: the others are drawn when the browser has nothing else to do. */
  watchCards() {
    const observer = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        const card = this.cards.find((each) => each.element === entry.target);
        if (card) card.inSight = entry.isIntersecting;
      }
      if (this.cards.some((card) => card.inSight && card.stale)) this.redraw();
    });
    const looked = new Set();
    const reader = new IntersectionObserver((entries) => { // the card in the upper half of the window, below the player
      for (const entry of entries) entry.isIntersecting ? looked.add(entry.target) : looked.delete(entry.target);
      this.rail.mark(this.cards.find((card) => looked.has(card.element)));
    }, { rootMargin: "-180px 0px -50% 0px" });
    for (const card of this.cards) for (const each of [observer, reader]) each.observe(card.element);
  }

  /** Widths and themes change under us. */
  watchPage() {
    new ResizeObserver(() => this.redraw()).observe(this.element);
    const repaint = () => { this.colours = paint(this.element); this.redraw(); };
    const observer = new MutationObserver(repaint);
    for (const element of [document.documentElement, document.body]) observer.observe(element, { attributes: true, attributeFilter: ["class"] });
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  }

  /** Show another run. @param {Run} run @param {import("../data/slices.js").Server | null} server @param {boolean} following */
  open(run, server, following) {
    this.player.pause();
    window.clearTimeout(this.rest);
    cancelIdle(this.idle);
    this.run = run;
    this.slices.open(run, server);
    this.say("");
    this.pictures.hidden = false;
    this.element.dataset.run = run.id;
    this.selection.open(run, () => firstLook(run), following);
    this.grown();
  }

  /** The run that is shown has more frames. */
  grown() {
    if (!this.run) return;
    this.element.dataset.frames = String(this.run.frames);
    say(this.model, aboutModel(this.run));
    this.selection.grown();
  }

  /** @param {string} text */
  say(text) {
    say(this.message, text);
    this.message.hidden = text === "";
  }

  redraw() {
    if (!this.frame) this.frame = requestAnimationFrame(() => this.draw());
  }

  draw() {
    this.frame = 0;
    const run = this.run;
    const at = this.selection.at;
    const step = run?.steps[at.step];
    if (!run || !step) return;
    const began = performance.now();
    const state = { run, at, step, colours: this.colours };
    for (const card of this.cards) card.stale = true;
    const seen = this.cards.filter((card) => card.inSight);
    this.player.paint(state);
    this.rail.paint(state);
    for (const card of seen) card.paint(state);
    this.player.draw(state);
    for (const card of seen) card.draw(state);
    this.rail.draw();
    this.serverViews?.draw(run, this.slices.live, this.selection.base);
    this.drawMs = performance.now() - began;
    cancelIdle(this.idle);
    window.clearTimeout(this.rest);
    this.rest = window.setTimeout(() => this.drawRest(state), REST_MS);
  }

  /** Draw the cards that are out of sight, one idle moment after the other, until the selection moves on. @param {import("./card.js").State} state */
  drawRest(state) {
    const stale = this.cards.find((card) => card.stale);
    if (!stale) return;
    this.idle = whenIdle(() => {
      stale.paint(state);
      stale.draw(state);
      this.drawRest(state);
    });
  }
}

/** Fetches the frames of the run that notices name: those that are ready, and the others as they come. */
class Puller {
  /** @param {Scope} scope @param {string} base */
  constructor(scope, base) {
    this.scope = scope;
    this.base = base;
    /** @type {Notice | null} */
    this.wanted = null;
    this.busy = false;
    /** @type {Run | null} the run that is being fetched; shown once it has its first pass */
    this.run = null;
    this.away = new AbortController();
    this.retry = 0;
  }

  /** @param {Notice | null} notice */
  async notice(notice) {
    if (!notice || !notice.id) return;
    this.wanted = notice;
    if (this.run && this.run.id !== notice.id) this.away.abort(); // another run is wanted now
    window.clearTimeout(this.retry);
    if (this.busy) return;
    this.busy = true;
    let doing = notice;
    try {
      while (this.wanted) {
        doing = /** @type {Notice} */ (this.wanted);
        this.wanted = null;
        await this.pull(doing);
      }
    } catch (error) {
      this.failed(doing, error instanceof Error ? error.message : String(error));
    } finally {
      this.busy = false;
    }
  }

  /** @param {Notice} notice */
  async pull(notice) {
    const id = /** @type {string} */ (notice.id);
    if (this.run?.id !== id) this.run = new Run(id);
    const run = this.run;
    if (run.frames >= notice.ready) return;
    const recorded = notice.source === "recorded";
    const place = `${this.base}/${recorded ? "recorded" : "runs"}/${encodeURIComponent(id)}`;
    const server = { live: !recorded, get: (/** @type {string} */ path) => get(`${place}/${path}`) };
    const following = !notice.done && !recorded;
    this.away = new AbortController();
    const { signal } = this.away;
    try {
      let more = true;
      while (more) {
        const began = run.frames;
        const asked = performance.now();
        for await (const grown of this.answer(run, `${place}/frames?from=${run.frames}${following ? "&follow=1" : ""}`, signal)) {
          if (grown && run.steps.length) this.show(run, server, following);
        }
        more = following && !this.wanted?.done && (run.frames > began || performance.now() - asked > ANSWER_MS); // else the run has ended
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  /** Feed the run with one answer, piece by piece; tells of each whether it brought whole frames.
   * @param {Run} run @param {string} address @param {AbortSignal} signal @returns {AsyncGenerator<boolean>} */
  async* answer(run, address, signal) {
    let held = new Uint8Array();
    for await (const piece of follow(address, signal)) {
      held = joined(held, piece);
      const whole = wholeFrames(held);
      run.feed(held.slice(0, whole));
      held = held.slice(whole);
      yield whole > 0;
    }
  }

  /** @param {Run} run @param {import("../data/slices.js").Server} server @param {boolean} following */
  show(run, server, following) {
    this.scope.say("");
    if (this.scope.run === run) this.scope.grown();
    else this.scope.open(run, server, following);
  }

  /** @param {Notice} notice @param {string} why */
  failed(notice, why) {
    if (why.startsWith("gone:")) {
      this.scope.say(why.slice(5));
      return;
    }
    this.scope.say("The program does not answer; the pictures stay as they are. Trying again…");
    this.retry = window.setTimeout(() => { this.scope.say(""); this.notice(this.wanted ?? notice); }, RETRY_MS);
  }
}

/** @param {Uint8Array} first @param {Uint8Array} second */
function joined(first, second) {
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}

const [whenIdle, cancelIdle] = "requestIdleCallback" in window
  ? [(/** @type {() => void} */ work) => window.requestIdleCallback(work, { timeout: 500 }), (/** @type {number} */ id) => window.cancelIdleCallback(id)]
  : [(/** @type {() => void} */ work) => window.setTimeout(work, 30), (/** @type {number} */ id) => window.clearTimeout(id)];

/** A style sheet, there when it is loaded or cannot be: from the page's head, or added to it. @param {string} address */
function loadStyle(address) {
  const there = Array.from(document.querySelectorAll("link")).find((link) => link.rel === "stylesheet" && link.href === address);
  if (there?.sheet) return Promise.resolve();
  const link = there ?? h("link", { rel: "stylesheet", href: address });
  const loaded = new Promise((done) => { for (const end of ["load", "error"]) link.addEventListener(end, done); });
  if (!there) document.head.append(link);
  return loaded;
}

/** Which model, its size, how it was asked to choose, and what to know of it. @param {Run} run */
function aboutModel(run) {
  const { model, settings } = run.head;
  return [
    `${model.name}: ${count(model.n_parameters)} parameters (${size(model.weights_bytes)}), ${model.n_layers} layers, ${model.n_heads} heads, a vocabulary of ${count(model.d_vocab)}; ${model.dtype} on ${model.device}`,
    settings.temperature === 0 ? "greedy: always the likeliest token" : `temperature ${settings.temperature}, seed ${settings.seed}`,
    model.note,
    ...run.notes,
  ].filter(Boolean).map((/** @type {string} */ part) => `${part[0].toUpperCase()}${part.slice(1).replace(/\.$/, "")}.`).join(" ");
}

function helpSheet() {
  const sheet = h("dialog", { class: "ts-help", "aria-labelledby": "ts-help-title" },
    h("h2", { class: "ts-title", id: "ts-help-title" }, "Keys"),
    table("Keys and what they do", ["key", "what it does"], KEYS.map(([key, does]) => [h("kbd", {}, key), does])),
    h("p", { class: "ts-note" }, "Pointing at something previews it everywhere. A click or a tap locks it: it stays until you click elsewhere or press Esc."),
    h("p", { class: "ts-note" }, COUNTING, " Passes are counted like steps: the first is pass 1."),
    button("Close", () => sheet.close()));
  return sheet;
}
