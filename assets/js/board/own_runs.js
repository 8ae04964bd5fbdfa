// @ts-check
// The list of the visitor's own runs: look at one again, rename it, take it out of the list and bring it back.

import { h, fill, say, button, tokenText } from "../core/dom.js";
import { count } from "../core/format.js";
import { counted, phrase, phraseParts } from "../core/texts.js";
import { broughtBack, nameOf, nextTo, renamed, withRun } from "../data/own_runs.js";
import { rememberedRuns, rememberRuns } from "../data/session_memory.js";

/** @typedef {import("../data/own_runs.js").OwnRun} OwnRun */
/** What the page does for the list. @typedef {{look: (id: string) => void, again: (run: OwnRun) => void, takenOut: (id: string, next: string | null) => void}} Acts */

const TEXT = 12; // tokens of what a run wrote that stand in the list

export class OwnRuns {
  /** @param {string} base @param {Acts} acts */
  constructor(base, acts) {
    this.acts = acts;
    this.runs = rememberedRuns();
    /** @type {{run: OwnRun, place: number, shown: boolean} | null} what was taken out last */
    this.out = null;
    /** @type {Set<string>} taken out: what still comes of them puts none back */
    this.left = new Set();
    this.shown = /** @type {string | null} */ (null);
    this.going = /** @type {string | null} */ (null);
    this.editing = /** @type {string | null} */ (null);
    this.key = "";
    /** @type {Map<string, HTMLElement>} what each entry says of its run */
    this.words = new Map();
    /** @type {Map<string, HTMLElement>} which model wrote each of them, and how it begins */
    this.texts = new Map();
    this.list = h("ol", { class: "ts-own-runs" });
    this.undo = h("p", { class: "ts-own-out", role: "status" });
    this.element = h("section", { class: "ts-own ts-root ts-scope", "aria-label": phrase("Your runs"), hidden: true }, h("h2", { class: "ts-own-title" }, phrase("Your runs")), this.list, this.undo);
    this.check(base);
  }

  /** @param {string} id */
  of(id) {
    return this.runs.find((run) => run.id === id) ?? null;
  }

  /** What it is called, where it can be looked at. @param {string} id */
  nameOf(id) {
    const run = this.of(id);
    return run && !run.gone ? nameOf(run) : null;
  }

  /** Which of them the program still keeps. @param {string} base */
  async check(base) {
    if (!this.runs.length) return;
    const answer = await fetch(`${base}/held?ids=${this.runs.map(({ id }) => id).join(",")}`).catch(() => null);
    if (!answer?.ok) return; // nobody knows
    const { held } = await answer.json();
    for (const run of this.runs) if (!held.includes(run.id)) this.gone(run.id);
  }

  /** A run of the visitor's own, as far as it is. @param {import("../data/store.js").Run} run @param {boolean} over */
  note(run, over) {
    const { origin, prompt, settings } = run.head;
    const before = this.of(run.id);
    const tokens = run.tokens.length - run.nPrompt;
    if (this.left.has(run.id) || (before && before.tokens === tokens && !over)) return;
    const forked = origin ? { run: origin.run, step: origin.step, token: origin.token } : null;
    const text = run.tokens.slice(run.nPrompt, run.nPrompt + TEXT).map((token) => token.text).join("").trim();
    this.runs = withRun(this.runs, { id: run.id, name: "", prompt, settings, tokens, forked, model: run.head.model.name, text }, this.shown);
    if (!before) this.out = null; // one has gone on since
    if (!before || over) rememberRuns(this.runs);
    this.draw();
  }

  /** The program does not keep it any more. @param {string} id @returns {boolean} whether it is in the list */
  gone(id) {
    const run = this.of(id);
    if (!run) return false;
    run.gone = true;
    this.draw();
    return true;
  }

  /** @param {string | null} shown the record that is looked at @param {string | null} going the run of one's own that is on its way */
  show(shown, going) {
    this.shown = shown;
    this.going = going;
    this.draw();
  }

  /** Entries are made anew only where more than a count of tokens has changed: who presses one meanwhile presses it. */
  draw() {
    if (this.editing && this.list.querySelector("input")) return; // a list drawn meanwhile takes nothing back
    this.element.hidden = this.runs.length === 0 && !this.out;
    const key = JSON.stringify([this.runs.map(({ tokens, text, ...rest }) => rest), this.shown, this.going, this.editing]);
    if (key !== this.key) {
      this.key = key;
      const focused = focusIn(this.list);
      this.words.clear();
      this.texts.clear();
      fill(this.list, ...this.runs.map((run) => this.entry(run)));
      focusOn(this.list, focused);
    }
    this.offerUndo();
    for (const run of this.runs) {
      fill(/** @type {HTMLElement} */ (this.words.get(run.id)), ...this.what(run));
      say(/** @type {HTMLElement} */ (this.texts.get(run.id)), run.text && run.model ? phrase("{model} wrote “{text}”", { model: run.model, text: run.text }) : "");
    }
  }

  offerUndo() {
    const out = this.out?.run.id ?? "";
    if (this.undo.dataset.of === out) return; // its button may have the focus
    this.undo.dataset.of = out;
    if (this.out) fill(this.undo, h("span", { class: "ts-own-removed" }, ...phraseParts("“{run}” was removed.", { run: h("bdi", { class: "ts-own-cut" }, nameOf(this.out.run)) })), button(phrase("Undo"), () => this.bringBack()));
    else fill(this.undo);
  }

  /** @param {OwnRun} run */
  entry(run) {
    const name = nameOf(run);
    const now = run.id === this.shown;
    const words = h("span", { class: "ts-own-what" });
    this.words.set(run.id, words);
    const wrote = h("bdi", { class: "ts-own-text" });
    this.texts.set(run.id, wrote);
    const act = (/** @type {string} */ sign, /** @type {string} */ does, /** @type {{title: string, label: string}} */ { title, label }, /** @type {() => void} */ press) =>
      button(sign, press, { class: "ts-own-act", "aria-label": label, title, "data-does": does });
    const [rename, remove] = [{ title: phrase("rename"), label: phrase("rename: {run}", { run: name }) }, { title: phrase("remove"), label: phrase("remove: {run}", { run: name }) }];
    const look = run.id === this.editing ? this.editor(run, words)
      : h("button", { type: "button", class: "ts-own-look", "data-does": "look", "aria-current": now ? "true" : undefined, disabled: run.gone === true, onclick: () => this.acts.look(run.id) },
        h("bdi", { class: "ts-own-name", title: name }, name), words, wrote);
    return h("li", { class: "ts-own-run", "data-run-id": run.id }, look,
      h("span", { class: "ts-own-acts" }, act("✎", "rename", rename, () => this.edit(run.id)), run.id !== this.going && act("×", "remove", remove, () => this.takeOut(run.id))),
      run.gone === true && button(phrase("Run its prompt again"), () => this.acts.again(run), { class: "ts-button ts-own-again" }));
  }

  /** What it is, in a few words. @param {OwnRun} run @returns {import("../core/dom.js").Child[]} */
  what(run) {
    const state = run.gone ? phrase("no longer kept") : run.id === this.going ? phrase("running") : run.id === this.shown ? phrase("shown") : "";
    const tokens = counted(run.tokens, "{n} token", "{n} tokens", { n: count(run.tokens) });
    const forked = run.forked ? phraseParts("forked at step {step} with {token}", { step: count(run.forked.step), token: tokenText({ text: run.forked.token }) }) : [];
    return [state, state && ", ", tokens, forked.length > 0 && ", ", ...forked];
  }

  /** @param {string} id */
  edit(id) {
    this.editing = id;
    this.draw();
    const field = this.list.querySelector("input");
    field?.focus();
    field?.select();
  }

  /** A field in place of the name: Enter keeps what is typed, Esc restores what was. @param {OwnRun} run @param {HTMLElement} words */
  editor(run, words) {
    const done = (/** @type {string | null} */ name) => {
      if (this.editing !== run.id) return; // the field also loses the focus when it goes
      this.editing = null;
      if (name !== null) {
        this.runs = renamed(this.runs, run.id, name);
        rememberRuns(this.runs);
      }
      this.draw();
    };
    const leave = (/** @type {string | null} */ name) => { done(name); control(this.list, run.id, "rename")?.focus(); };
    const field = h("input", { type: "text", class: "ts-own-field", "aria-label": phrase("name of this run"), maxlength: 80, value: nameOf(run),
      onblur: () => done(field.value),
      onkeydown: (/** @type {Event} */ event) => {
        const { key, isComposing } = /** @type {KeyboardEvent} */ (event);
        if (isComposing || (key !== "Enter" && key !== "Escape")) return;
        event.preventDefault();
        event.stopPropagation();
        leave(key === "Enter" ? field.value : null);
      } });
    return h("span", { class: "ts-own-look" }, field, words);
  }

  /** @param {string} id */
  takeOut(id) {
    const place = this.runs.findIndex((run) => run.id === id);
    if (place < 0) return;
    const next = nextTo(this.runs, id);
    this.out = { run: this.runs[place], place, shown: id === this.shown };
    this.left.add(id);
    this.runs = this.runs.filter((run) => run.id !== id);
    rememberRuns(this.runs);
    this.draw();
    this.undo.querySelector("button")?.focus();
    if (this.out.shown) this.acts.takenOut(id, next);
  }

  bringBack() {
    if (!this.out) return;
    const { run, place, shown } = this.out;
    this.out = null;
    this.left.delete(run.id);
    this.runs = broughtBack(this.runs, run, place, this.shown);
    rememberRuns(this.runs);
    this.draw();
    control(this.list, run.id, "look")?.focus();
    if (shown && !run.gone) this.acts.look(run.id);
  }
}

/** One entry's control. @param {Element} list @param {string} id @param {string} does @returns {HTMLElement | null} */
function control(list, id, does) {
  const entry = Array.from(list.children).find((each) => /** @type {HTMLElement} */ (each).dataset.runId === id);
  return /** @type {HTMLElement | null} */ (entry?.querySelector(`[data-does="${does}"]`) ?? null);
}

/** Which entry's control has the focus: it is drawn anew. @param {Element} list @returns {[string, string] | null} */
function focusIn(list) {
  const focused = /** @type {HTMLElement | null} */ (list.contains(document.activeElement) ? document.activeElement : null);
  const id = /** @type {HTMLElement | null | undefined} */ (focused?.closest("[data-run-id]"))?.dataset.runId;
  return focused?.dataset.does && id ? [id, focused.dataset.does] : null;
}

/** @param {Element} list @param {[string, string] | null} focused */
function focusOn(list, focused) {
  if (focused) control(list, ...focused)?.focus();
}
