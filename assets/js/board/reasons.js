// @ts-check
// Explaining a step of a run: whether it can be, how it is asked for, and what came of it, step by step and rival by rival.

import { Attribution } from "../data/attribution.js";
import { followRecord, Gone, saidBy } from "../data/follow.js";
import { ServedRecord } from "../data/record.js";
import { phrase } from "../core/texts.js";
import { sameUpTo } from "./forks.js";

/** @typedef {import("../data/store.js").Run} Run */
/** @typedef {import("../data/follow.js").Status} Status */
/** @typedef {{step: number, card: string}} Opening */
/** @typedef {{ask: (experiment: string, values: Record<string, any>, opening: Opening | null) => void, waits: (run: Run) => "going" | "adding" | "loading" | "away" | "", isRecorded: (run: Run) => boolean, redraw: () => void}} Acts */
/** What is asked for. @typedef {{run: Run, step: number, rival: number}} Asked */

const CARD = "why-token";
const WAITS = {
  going: phrase("This run is not finished. When it is, its steps can be explained."),
  adding: phrase("The logit lens is being added to this run. After that, its steps can be explained."),
  loading: phrase("The model is being loaded. After that, the steps of this run can be explained."),
  away: phrase("The model is not available: the steps of this run cannot be explained now."),
};
const ASKED = phrase("Requested…");
const FIRST = phrase("Running the recorded prompt here first…");
const OTHER = phrase("Run here, the prompt produced different tokens before this step than in the recording. Explain a step of this run instead.");
const STOPPED = phrase("Stopped before the step was explained.");

export class Reasons {
  /** @param {string} base @param {Acts} acts */
  constructor(base, acts) {
    this.base = base;
    this.acts = acts;
    /** @type {Map<string, Attribution>} */
    this.found = new Map();
    /** @type {Map<string, string>} what came of the last press, where it is no attribution */
    this.texts = new Map();
    /** @type {Asked | null} the press that is not answered yet, or whose record is on its way */
    this.asked = null;
    /** @type {{like: Asked, id: string | null} | null} a recorded run that is run here first */
    this.first = null;
  }

  /** Why its steps cannot be explained now; empty if they can. @param {Run} run */
  why(run) {
    const waits = this.acts.waits(run);
    return waits && WAITS[waits];
  }

  /** @param {Run} run */
  isRecorded(run) {
    return this.acts.isRecorded(run);
  }

  /** @param {Run} run @param {number} step @param {number} rival @returns {import("../data/view.js").Reason} */
  at(run, step, rival) {
    const key = keyOf({ run, step, rival });
    const isGoing = [this.asked, this.first?.like].some((each) => each && keyOf(each) === key);
    return { found: this.found.get(key) ?? null, said: this.texts.get(key) ?? "", isGoing };
  }

  /** @param {Run} run @param {number} step @param {number} rival */
  ask(run, step, rival) {
    const asked = { run, step, rival };
    if (this.acts.isRecorded(run)) {
      this.first = { like: asked, id: null };
      this.tell(asked, FIRST);
      this.acts.ask("run", { ...run.head.settings, prompt: run.head.prompt }, { step, card: CARD });
      return;
    }
    this.asked = asked;
    this.tell(asked, ASKED);
    this.acts.ask("attribute", { run: run.id, step, rival_id: rival }, null);
  }

  /** What a press for an attribution came to. @param {import("./page.js").Press} press */
  answered({ id, refusal }) {
    const { asked } = this;
    if (!asked) return;
    if (id) this.follow(asked, id);
    else this.end(asked, refusal);
  }

  /** News of a run: the one that a recorded run waits for. @param {import("./page.js").Held} held */
  heard({ id, own, status, record }) {
    const { first } = this;
    if (!first || !own || !status || status.experiment !== "run") return;
    first.id ??= id;
    if (first.id !== id || !status.over || (status.state === "done" && !status.complete)) return;
    const { like } = first;
    this.first = null;
    if (status.state !== "done" || !record || !("tokens" in record)) this.tell(like, status.refusal || STOPPED);
    else if (!sameUpTo(like.run, record, like.step)) this.tell(like, OTHER);
    else this.ask(record, like.step, like.rival);
  }

  /** @param {Asked} asked @param {string} id of the record */
  async follow(asked, id) {
    const record = new ServedRecord(id);
    try {
      for await (const { frames, status } of followRecord({ place: `${this.base}/records/${encodeURIComponent(id)}`, since: () => record.parts, signal: new AbortController().signal })) {
        for (const frame of frames ?? []) record.add(frame);
        if (record.data) this.found.set(keyOf(asked), new Attribution(record.data.about, record.data.tensors));
        if (status?.over && !record.data) return this.end(asked, status.refusal || STOPPED);
        if (record.data) return this.end(asked, "");
        if (status) this.tell(asked, going(status));
      }
    } catch (error) {
      if (!(error instanceof Gone)) throw error;
      this.end(asked, saidBy(error));
    }
    return undefined;
  }

  /** @param {Asked} asked @param {string} text */
  end(asked, text) {
    if (this.asked === asked) this.asked = null;
    this.tell(asked, text && `${text[0].toUpperCase()}${text.slice(1)}`);
  }

  /** @param {Asked} asked @param {string} text */
  tell(asked, text) {
    this.texts.set(keyOf(asked), text);
    this.acts.redraw();
  }
}

/** How far it is. @param {Status} status */
function going({ state, place, what, done, total }) {
  if (state === "waiting") return phrase("Waiting for the model: place {place}.", { place });
  return what ? phrase("{what}: pass {done} of {total}", { what: `${what[0].toUpperCase()}${what.slice(1)}`, done, total }) : ASKED;
}

/** @param {Asked} asked */
function keyOf({ run, step, rival }) {
  return `${run.id}/${step}/${rival}`;
}
