// @ts-check
// A tab remembers the record of its own that it showed last, of each kind, and its list of runs: after a reload, or a visit to another page of the
// app, it is shown again. A browser remembers whether all cards are open.

import { read, written } from "./own_runs.js";

/** `asked`: the form's prompt for it, if it has one. @typedef {{id: string, experiment: string, prompt?: string}} Remembered */

const MEMORY = "tokenoscope-record-"; // and the kind

/** @param {Remembered} record */
export function remember(record) {
  try { sessionStorage.setItem(MEMORY + record.experiment, JSON.stringify(record)); } catch { /* a private window keeps nothing */ }
}

/** @param {string} experiment @returns {Remembered | null} */
export function remembered(experiment) {
  try {
    const { id, prompt } = JSON.parse(sessionStorage.getItem(MEMORY + experiment) ?? "null") ?? {};
    if (typeof id === "string" && id) return { id, experiment, ...(typeof prompt === "string" ? { prompt } : {}) };
    forget(experiment);
  } catch { /* nothing that can be read */ }
  return null;
}

/** @param {string} experiment */
export function forget(experiment) {
  try { sessionStorage.removeItem(MEMORY + experiment); } catch { /* nothing was kept */ }
}

const RUNS = "tokenoscope-runs";

/** @param {import("./own_runs.js").OwnRun[]} runs */
export function rememberRuns(runs) {
  try { sessionStorage.setItem(RUNS, written(runs)); } catch { /* a private window keeps nothing, a full one no more */ }
}

/** @returns {import("./own_runs.js").OwnRun[]} */
export function rememberedRuns() {
  try { return read(sessionStorage.getItem(RUNS)); } catch { return []; }
}

const ALL_CARDS = "tokenoscope-all-cards";

/** Whoever opened all cards finds them open on the next visit too, and tables unfolded. */
export function rememberAllCards() {
  try { localStorage.setItem(ALL_CARDS, "1"); } catch { /* a private window keeps nothing */ }
}

export function forgetAllCards() {
  try { localStorage.removeItem(ALL_CARDS); } catch { /* nothing was kept */ }
}

export function rememberedAllCards() {
  try { return localStorage.getItem(ALL_CARDS) !== null; } catch { return false; }
}
