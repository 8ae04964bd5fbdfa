// @ts-check
// The lines and buttons beside a form: what they say, which of them make sense now, and how far the model is.

import { sentence } from "./sentences.js";
import { tellOffers } from "./offers.js";
import { phrase } from "../core/texts.js";

/** @typedef {import("../data/follow.js").Status} Status */

const READY_MS = 5000; // between two looks at whether the program is there
const LOADING_MS = 700;
const STEP_MS = 250;

/** Say how far the model is, and ask again and again; `silent` is called when the program falls silent, `back` when it answers again.
 * @param {string} base @param {{silent: () => void, back: () => void}} calls */
export function watchModel(base, { silent, back }) {
  let name = "";
  let asked = 0;
  const ask = async () => {
    const mine = ++asked;
    try {
      const answer = await fetch(`${base}/model${name && `?name=${encodeURIComponent(name)}`}`);
      if (mine !== asked) return;
      if (answer.status >= 500) throw new Error(answer.statusText);
      const was = isSilent();
      if (answer.ok) showModel(await answer.json());
      else if (was) delete document.body.dataset.model;
      if (was) back();
    } catch {
      if (mine === asked) {
        showModel({ phase: "silent", text: phrase("The program does not answer. Is it still running?"), fraction: null });
        silent();
      }
    }
    if (mine === asked) setTimeout(ask, document.body.dataset.model === "ready" ? READY_MS : LOADING_MS);
  };
  document.addEventListener("tokenoscope-model", (event) => {
    name = /** @type {CustomEvent} */ (event).detail;
    ask();
  });
  ask();
}

/** @param {{phase: string, text: string, fraction: number | null, offers?: import("./offers.js").Offers | null}} state */
function showModel({ phase, text, fraction, offers }) {
  document.body.dataset.model = phase;
  if (phase !== "silent") tellOffers(offers);
  write(".ts-model-text", text);
  progress(".ts-loading", phase === "loading" ? fraction ?? undefined : null);
}

/** Whether the program has stopped answering: what it said last is not what is so. */
export function isSilent() {
  return document.body.dataset.model === "silent";
}

/** What the lines say: how a job stands, and why the last press came to nothing.
 * @typedef {{status: Status | null, circumstances: import("./sentences.js").Circumstances, message: string, refusal: string}} Said */

/** Shows how a job stands; lets a single step, which runs for a moment, look paused throughout. */
export class StatusLine {
  /** @param {(state: string) => void} shows hears what is shown */
  constructor(shows) {
    this.shows = shows;
    this.shown = "";
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.later = undefined;
    /** @type {Said} */
    this.said = { status: null, circumstances: {}, message: "", refusal: "" };
  }

  /** @param {Said} said */
  say(said) {
    this.said = said;
    const state = said.status?.state;
    const maybeBrief = this.shown === "paused" && (state === "running" || state === "waiting") && !said.circumstances.cutOff;
    if (!maybeBrief) this.show();
    else this.later ??= setTimeout(() => this.show(), STEP_MS);
  }

  show() {
    clearTimeout(this.later);
    this.later = undefined;
    const { status, circumstances, message, refusal } = this.said;
    const over = !status || status.over || circumstances.cutOff === true;
    const state = over ? "over" : status.state;
    const words = status ? sentence(status, circumstances) : "";
    this.shown = state;
    document.body.dataset.run = state;
    enable("#pause", state === "running");
    enable("#resume", state === "paused");
    enable("#step", state === "running" || state === "paused");
    enable("#stop", !over);
    write(".ts-run-text", words);
    write(".ts-spoken", state === "running" ? phrase("Running.") : words); // read out once a state, not once a token
    write(".ts-message", message);
    write(".ts-refusal", refusal);
    this.shows(circumstances.cutOff ? "lost" : state);
    progress(".ts-progress", over ? null : status.fraction ?? undefined);
  }
}

/** @param {string} selector */
export function find(selector) {
  return /** @type {HTMLElement | null} */ (document.querySelector(selector));
}

/** Put a prompt into the form, as if it were typed. @param {string} text */
export function fillPrompt(text) {
  const field = /** @type {HTMLTextAreaElement | null} */ (find("#prompt textarea"));
  if (!field) return;
  field.value = text;
  field.dispatchEvent(new Event("input", { bubbles: true }));
}

/** @param {string} selector @param {string} text */
function write(selector, text) {
  const element = find(selector);
  if (element && element.textContent !== text) element.textContent = text;
}

/** @param {string} selector @param {boolean} on */
export function enable(selector, on) {
  const button = /** @type {HTMLButtonElement | null} */ (find(selector));
  if (button) button.disabled = !on;
}

/** @param {string} selector @param {number | null | undefined} value undefined: nobody knows how far; null: nothing to show */
function progress(selector, value) {
  const bar = /** @type {HTMLProgressElement | null} */ (find(selector));
  if (bar) showFraction(bar, value);
}

/** @param {HTMLProgressElement} bar @param {number | null | undefined} value as above */
export function showFraction(bar, value) {
  bar.hidden = value === null;
  if (value === undefined) bar.removeAttribute("value");
  else if (value !== null) bar.value = value;
}
