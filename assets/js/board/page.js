// @ts-check
// Between Gradio and the scope: hands the server's notices on in their order, and says beside the form how things stand.

import { enable, find, progress, unheard, watchModel, write } from "./status.js";

/** @typedef {{id: string | null, source: string, ready: number, done: boolean, state: string, place: number,
 *   eta_s: number | null, n_steps: number, max_new_tokens: number, ended: string, message: string, refusal: string, seq: number}} Notice */
/** @typedef {{element: HTMLElement, base: string, props: {value: Notice}, watch: (name: string, fn: () => void) => void,
 *   trigger: (name: string, data?: any) => void, version: string}} Link */

const STEP_MS = 250;
const MEMORY = "tokenoscope-run"; // where the tab keeps its last run

/** Wire one page. @param {Link} link */
export async function connect({ element, base, props, watch, trigger, version }) {
  const before = await runBefore(base);
  let latest = before ? { ...props.value, ...before } : props.value;
  /** @type {{run: import("./recorded.js").Offer, insteadOf: string | null} | null} a recorded run, shown until there is a newer one */
  let chosen = null;
  /** @type {((notice: Notice) => void)[]} */
  const listeners = [];
  const tell = teller(base);
  tell(latest);
  const hear = () => {
    if (chosen && chosen.insteadOf !== latest.id) chosen = null;
    const notice = chosen ? { ...latest, ...shownAs(chosen.run) } : latest;
    tell(notice);
    for (const listener of listeners) listener(notice);
  };
  watch("value", () => {
    const notice = props.value;
    if (!notice || notice.seq <= latest.seq) return; // a stream that a newer request overtook
    latest = before && notice.source === "recorded" ? { ...before, refusal: notice.refusal, message: notice.message, seq: notice.seq } : notice;
    keep(latest);
    hear();
  });
  watchModel(base, () => { if (isOver(latest)) tell(latest); }); // what still runs tells of itself within a second
  const { mount } = await import(`./scope.js?v=${version}`);
  const root = /** @type {HTMLElement} */ (element.querySelector(".ts-scope-root") ?? element);
  mount({ element: root, base, value: latest, rail: find("#rail .ts-rail-root"),
    choose: (/** @type {import("./recorded.js").Offer | null} */ run) => { chosen = run && { run, insteadOf: latest.id }; hear(); },
    watch: (/** @type {string} */ name, /** @type {(notice: Notice) => void} */ fn) => { if (name === "value") listeners.push(fn); } });
}

/** Remember a finished run of one's own for as long as the tab is open: other pages of the app lead back to it. @param {Notice} notice */
function keep(notice) {
  if (notice.source !== "live" || !notice.id || !notice.done || !notice.ready) return;
  try { sessionStorage.setItem(MEMORY, JSON.stringify(notice)); } catch { /* a private window keeps nothing */ }
}

/** That run, if the program still has it. @param {string} base @returns {Promise<Notice | null>} */
async function runBefore(base) {
  try {
    const kept = JSON.parse(sessionStorage.getItem(MEMORY) ?? "null");
    if (!kept) return null;
    const answer = await fetch(`${base}/runs/${encodeURIComponent(kept.id)}/frames?from=${kept.ready}`);
    if (answer.ok) return { ...kept, refusal: "", message: "" };
    sessionStorage.removeItem(MEMORY);
  } catch { /* nothing was kept, or nobody answers */ }
  return null;
}

/** @param {import("./recorded.js").Offer} run */
function shownAs({ name, ready }) {
  return { id: name, source: "recorded", ready };
}

/** @param {Notice} notice */
function isOver({ done, state }) {
  return done || ["done", "stopped", "failed"].includes(state);
}

/** Shows notices, and lets a single step, which runs for a moment, look paused throughout. @param {string} base */
function teller(base) {
  let shown = "";
  let later = 0;
  /** @type {Notice} */
  let newest;
  const now = () => {
    clearTimeout(later);
    later = 0;
    shown = newest.state;
    show(newest);
    offer(newest, base);
  };
  return (/** @type {Notice} */ notice) => {
    newest = notice;
    const maybeBrief = shown === "paused" && (notice.state === "running" || notice.state === "waiting");
    if (!maybeBrief) now();
    else if (!later) later = window.setTimeout(now, STEP_MS);
  };
}

/** Show one notice: the buttons that make sense now, how far the run is, what was refused. @param {Notice} notice */
function show(notice) {
  if (unheard()) return;
  const over = isOver(notice);
  document.body.dataset.run = over ? "over" : notice.state;
  enable("#pause", notice.state === "running");
  enable("#resume", notice.state === "paused");
  enable("#step", notice.state === "running" || notice.state === "paused");
  enable("#stop", !over);
  const line = notice.id === null && over ? "" : sentence(notice);
  write(".ts-run-text", line);
  write(".ts-spoken", notice.state === "running" && !over ? "Running." : line); // read out once a state, not once a token
  write(".ts-message", notice.message);
  write(".ts-refusal", notice.refusal);
  progress(".ts-progress", over ? null : notice.max_new_tokens ? notice.n_steps / notice.max_new_tokens : 0);
}

/** Offer a finished run as files to keep. @param {Notice} notice @param {string} base */
function offer({ id, source, done, ready }, base) {
  const line = find(".ts-keep");
  if (!line) return;
  const kept = source === "live" && id && done && ready;
  const query = new URLSearchParams([...new URLSearchParams(location.search)].filter(([name]) => name === "__theme"));
  if (kept) query.set("run", String(id));
  find('.ts-nav [data-page="measure"]')?.setAttribute("href", `measure${query.size ? `?${query}` : ""}`);
  line.hidden = !kept;
  for (const what of line.hidden ? [] : ["page", "trace"]) {
    find(`.ts-keep-${what}`)?.setAttribute("href", `${base}/runs/${encodeURIComponent(String(id))}/${what}`);
  }
}

/** How the run stands, in words. @param {Notice} notice */
export function sentence({ source, state, done, place, n_steps, max_new_tokens, ended, eta_s }) {
  const tokens = n_steps === 1 ? "1 token" : `${n_steps} tokens`;
  const at = n_steps === 0 ? "reading the prompt" : `token ${n_steps} of at most ${max_new_tokens}`;
  const left = eta_s === null ? "" : `, about ${seconds(eta_s)} left`;
  if (source === "recorded" && state === "done") return "Showing a recorded run. Press Run for one of your own, with the prompt above.";
  switch (state) {
    case "waiting":
      if (place > 1) return `Waiting: ${place} runs before yours${left}.`; // the one that runs is among them
      return place === 1 ? `Waiting: yours is next${left}.` : "Waiting to begin.";
    case "running": return `Running: ${at}${left}.`;
    case "paused": return `Paused: ${at}. Step goes one token on.`;
    case "stopped": return `Stopped after ${tokens}.`;
    case "failed": return `Ended after ${tokens}.`;
    default: return `Done: ${tokens} written${why(ended)}.${done ? "" : " Adding the logit lens…"}`;
  }
}

/** @param {string} ended */
function why(ended) {
  if (ended === "end of sequence") return "; the model wrote its end mark";
  return ended === "length" ? ", as many as asked" : "";
}

/** @param {number} left */
function seconds(left) {
  return left < 60 ? `${Math.max(1, Math.round(left))} s` : `${Math.round(left / 60)} min`;
}
