// @ts-check
// Continuing a run from one of its steps with another token: whether it can be, how it is asked for, and what came of it.

import { phrase } from "../core/texts.js";

/** @typedef {import("../data/store.js").Run} Run */
/** @typedef {import("./page.js").Press} Press */
/** @typedef {import("./page.js").Held} Held */
/** @typedef {{id?: number, text: string}} Token */
/** What the page does; `card`: the one to open the new run at. @typedef {{ask: (experiment: string, values: Record<string, any>, step: number, card: string | null) => void, held: (id: string) => Held | undefined,
 *   nameOf: (id: string) => string | null, look: (id: string) => void, redraw: () => void}} Acts */

const GOING = phrase("This run is not finished. When it is, it can be continued from here with another token.");
const ADDING = phrase("The logit lens is being added to this run. After that, it can be continued from here with another token.");
const LOADING = phrase("The model is being loaded. After that, this run can be continued from here with another token.");
const AWAY = phrase("The model is not available: this run cannot be continued now.");
const ASKED = phrase("Requested: the new run appears as soon as it starts.");
const FIRST = phrase("Running the recorded prompt here first…");
const OTHER = phrase("Run here, the prompt produced different tokens before this step than in the recording. Choose a token of this run instead.");
const STOPPED = phrase("The run was stopped before it could be continued.");

export class Forks {
  /** @param {Acts} acts */
  constructor(acts) {
    this.acts = acts;
    this.text = "";
    /** @type {string | null} the job that was asked for last */
    this.id = null;
    this.pressed = false; // and is not answered yet
    /** @type {{like: Run, step: number, token: Token, card: string | null} | null} what is asked for when that job is done: a recorded run is run again first */
    this.then = null;
    new MutationObserver(acts.redraw).observe(document.body, { attributes: true, attributeFilter: ["data-model"] });
  }

  /** Why it cannot be continued now; empty if it can. @param {Run} run */
  why(run) {
    const waits = this.waits(run);
    return waits && { going: GOING, adding: ADDING, loading: LOADING, away: AWAY }[waits];
  }

  /** What keeps work from being asked for on a run; empty for nothing. @param {Run} run @returns {"going" | "adding" | "loading" | "away" | ""} */
  waits(run) {
    const held = this.acts.held(run.id);
    if (!run.end) return "going";
    if (held && !held.shipped && held.status && !held.status.complete) return "adding";
    const { model } = document.body.dataset;
    if (model === undefined || model === "loading") return "loading";
    return model === "silent" ? "away" : ""; // the run's own model is loaded when it is continued, whichever is chosen in the form
  }

  /** Whether the program holds no more of it than was sent. @param {Run} run */
  isRecorded(run) {
    return this.acts.held(run.id)?.shipped ?? false;
  }

  said() {
    return this.text && `${this.text[0].toUpperCase()}${this.text.slice(1)}`;
  }

  /** Another token is named: what came of the last one is read. */
  clear() {
    if (!this.pressed && !this.then) this.tell("");
  }

  /** The run that another was continued from, where it can be looked at. @param {string} id */
  parent(id) {
    const name = this.acts.nameOf(id);
    return name === null ? null : { name, look: () => this.acts.look(id) };
  }

  /** @param {Run} run @param {number} step @param {Token} token @param {string | null} [card] that is open then; null: the new run is looked at from the top */
  ask(run, step, token, card = "next-token") {
    const first = this.isRecorded(run);
    this.then = first ? { like: run, step, token, card } : null;
    this.pressed = true;
    this.tell(first ? FIRST : ASKED);
    if (first) this.acts.ask("run", { ...run.head.settings, prompt: run.head.prompt }, step, card);
    else this.acts.ask("fork", { run: run.id, step, ...(token.id === undefined ? { token: token.text } : { token_id: token.id }) }, step, card);
  }

  /** What a press came to, whoever pressed. @param {Press} press */
  answered({ id, refusal }) {
    const mine = this.pressed;
    this.pressed = false;
    this.id = mine ? id : null;
    if (!mine || !id) this.then = null;
    if (!mine || refusal) this.tell(mine ? refusal : "");
  }

  /** News of a record. @param {Held} held */
  heard({ id, status, record }) {
    if (id !== this.id || !status) return;
    const { over } = status;
    if (!this.then) {
      if (record?.begun || over) this.tell(status.refusal);
      return;
    }
    if (!over || (status.state === "done" && !status.complete)) return;
    const { like, step, token, card } = this.then;
    this.then = null;
    this.id = null;
    if (status.state !== "done" || !record || !("tokens" in record)) this.tell(status.refusal || STOPPED);
    else if (sameUpTo(like, record, step)) this.ask(record, step, token, card);
    else this.tell(OTHER);
  }

  /** @param {string} text */
  tell(text) {
    if (text === this.text) return;
    this.text = text;
    this.acts.redraw();
  }
}

/** Whether two runs read the same tokens before they chose at this step. @param {Run} one @param {Run} other @param {number} step */
export function sameUpTo(one, other, step) {
  const read = one.steps[step]?.chosenAt;
  if (read === undefined || read !== other.steps[step]?.chosenAt) return false;
  return one.tokens.slice(0, read).every(({ id }, i) => id === other.tokens[i].id);
}
