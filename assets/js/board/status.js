// @ts-check
// The lines and buttons beside a form: what they say, which of them make sense now, and how far the model is.

/** @typedef {{id: string | null, kind: string, version: number, state: string, what: string, fraction: number | null, refusal: string, press: number, seq: number}} Report */

const READY_MS = 5000; // between two looks at whether the program is there
const CUT_OFF = "Cut off: the program does not answer any more. What had arrived stays here.";
const BEFORE = "Shown again: what ran last, before you left this page.";

/** Say how far the model is, and ask again and again; `back` is called when a silent program answers.
 * @param {string} base @param {() => void} back */
export function watchModel(base, back) {
  let name = "";
  let asked = 0;
  const ask = async () => {
    const mine = ++asked;
    try {
      const answer = await fetch(`${base}/model${name && `?name=${encodeURIComponent(name)}`}`);
      if (mine !== asked) return;
      if (answer.status >= 500) throw new Error(answer.statusText);
      const silent = unheard();
      if (answer.ok) showModel(await answer.json());
      else if (silent) delete document.body.dataset.model;
      if (silent) back();
    } catch {
      if (mine === asked) showSilence();
    }
    if (mine === asked) setTimeout(ask, document.body.dataset.model === "ready" ? READY_MS : 700);
  };
  document.addEventListener("tokenoscope-model", (event) => {
    name = /** @type {CustomEvent} */ (event).detail;
    ask();
  });
  ask();
}

/** @param {{phase: string, text: string, fraction: number | null}} state */
function showModel({ phase, text, fraction }) {
  document.body.dataset.model = phase;
  write(".ts-model-text", text);
  progress(".ts-loading", phase === "loading" ? fraction ?? undefined : null);
}

/** The program is gone: nothing runs, nothing can be asked of it. */
function showSilence() {
  showModel({ phase: "silent", text: "The program does not answer. Is it still running?", fraction: null });
  for (const selector of ["#pause", "#resume", "#step", "#stop"]) enable(selector, false);
  if ((document.body.dataset.run ?? "over") !== "over") {
    document.body.dataset.run = "over";
    write(".ts-run-text", CUT_OFF);
    write(".ts-spoken", "Cut off: the program does not answer any more.");
  }
  progress(".ts-progress", null);
}

/** Whether nothing more comes of an experiment. @param {Report} report */
export function isOver({ state }) {
  return ["done", "stopped", "failed", "cut off", "before", "overtaken"].includes(state);
}

/** Say how an experiment stands. @param {Report} report @param {string} ended what to say when it is over */
export function showExperiment(report, ended) {
  if (unheard()) return;
  const { state, what, fraction, refusal } = report;
  const over = isOver(report);
  document.body.dataset.run = over ? "over" : state;
  enable("#stop", !over);
  write(".ts-refusal", refusal);
  const end = state === "cut off" ? CUT_OFF : state === "before" ? BEFORE : ended;
  write(".ts-run-text", over ? (refusal ? "" : end) : what);
  progress(".ts-progress", over ? null : fraction ?? undefined);
}

/** What ran when the program fell silent is over, unless it tells of itself again. @param {Partial<Record<string, Report>>} told by kind */
export function cutOff(told) {
  for (const [kind, report] of Object.entries(told)) if (report && !isOver(report)) told[kind] = { ...report, state: "cut off" };
}

/** @param {string} selector */
export function find(selector) {
  return /** @type {HTMLElement | null} */ (document.querySelector(selector));
}

/** @param {string} selector @param {string} text */
export function write(selector, text) {
  const element = find(selector);
  if (element && element.textContent !== text) element.textContent = text;
}

/** Whether the program has stopped answering: what it said last is not what is so. */
export function unheard() {
  return document.body.dataset.model === "silent";
}

/** @param {string} selector @param {boolean} on */
export function enable(selector, on) {
  const button = /** @type {HTMLButtonElement | null} */ (find(selector));
  if (button) button.disabled = !on;
}

/** @param {string} selector @param {number | null | undefined} value undefined: nobody knows how far; null: nothing to show */
export function progress(selector, value) {
  const bar = /** @type {HTMLProgressElement | null} */ (find(selector));
  if (!bar) return;
  bar.hidden = value === null;
  if (value === undefined) bar.removeAttribute("value");
  else if (value !== null) bar.value = value;
}
