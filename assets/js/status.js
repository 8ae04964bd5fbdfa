// @ts-check
// The lines and buttons beside a form: what they say, which of them make sense now, and how far the model is.

const READY_MS = 5000; // between two looks at whether the program is there

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
  const line = find(".ts-run-text")?.textContent ?? "";
  if (/^(Running|Waiting|Paused)/.test(line)) {
    document.body.dataset.run = "over";
    write(".ts-run-text", "Cut off: the program does not answer any more. What had arrived stays here.");
    write(".ts-spoken", "Cut off: the program does not answer any more.");
  }
  progress(".ts-progress", null);
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
