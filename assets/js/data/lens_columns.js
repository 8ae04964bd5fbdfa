// @ts-check
// The logit lens of a long run: columns that nobody has computed yet are asked for while they are looked at, a few at a time.

import { saidBy } from "./follow.js";
import { phrase } from "../core/texts.js";

/** @typedef {import("./store.js").Run} Run */
/** @typedef {import("./slices.js").Server} Server */

const AT_ONCE = 8; // columns in one question: about a second's work of the model
const REST_MS = 160; // for which the same columns are looked at before they are asked for: a pointer that moves asks for nothing
const RETRY_MS = 2000;

export class LensColumns {
  /** @param {() => void} redraw */
  constructor(redraw) {
    this.redraw = redraw;
    /** @type {Run | null} */
    this.run = null;
    /** @type {Server | null} */
    this.server = null;
    this.timer = 0;
    this.waitsFor = "";
    this.refused = "";
  }

  /** @param {Run} run @param {Server | null} server */
  open(run, server) {
    window.clearTimeout(this.timer);
    this.run = run;
    this.server = server;
    this.waitsFor = this.refused = "";
    run.lensSource = this;
  }

  /** Whether a column that is not there yet will be, where it is looked at. */
  get comes() { return this.server?.live ?? false; }

  /** These columns are looked at, the most important first: what is missing of them is asked for. @param {number[]} positions */
  look(positions) {
    const { run, server } = this;
    if (!run?.lensOnDemand || !run.end || !server?.live || this.refused || this.waitsFor === "answer") return;
    const wanted = [...new Set(positions)].filter((position) => position < run.nRead && !run.lensPlace(0, position)).slice(0, AT_ONCE);
    const key = wanted.join();
    if (key === this.waitsFor) return;
    window.clearTimeout(this.timer);
    this.waitsFor = key;
    if (wanted.length) this.timer = window.setTimeout(() => this.ask(run, server, key), REST_MS);
  }

  /** @param {Run} run @param {Server} server @param {string} columns */
  async ask(run, server, columns) {
    this.waitsFor = "answer";
    let refused = "";
    try {
      run.feed(await server.get(`lens/${columns}`)); // also where another run is shown by now: it is held there
    } catch (error) {
      refused = saidBy(error);
    }
    if (run !== this.run) return;
    this.waitsFor = "";
    this.refused = refused;
    if (refused) this.timer = window.setTimeout(() => { this.refused = ""; this.redraw(); }, RETRY_MS);
    this.redraw();
  }

  /** Why a column of a long run is not there (yet). */
  why() {
    const { run, server } = this;
    if (!run) return "";
    const n = run.head.lens_up_to;
    if (server === null) return phrase("Not in this saved page: of runs of more than {n} tokens it includes the columns that were computed before it was saved.", { n });
    if (!server.live) return phrase("Not in this recorded run: run its prompt yourself to see it.");
    if (!run.end) return phrase("Coming: computed once the run has ended, when it is looked at.");
    return this.refused || phrase("Coming: computed when it is looked at.");
  }
}
