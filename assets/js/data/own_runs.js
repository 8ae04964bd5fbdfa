// @ts-check
// The runs of a tab's own, newest first: which there are, what each is, and how they are kept over a reload. No DOM.

/** A run that this visitor has asked for. `name`: as the visitor calls it, empty where the prompt does; `settings` are those of its record, so that its
 * prompt can be run again as it was; `tokens`: how many it wrote; `model` that made it, and the beginning of its `text`; `forked`: where a person chose a token; `gone`: the program does not keep it any more.
 * @typedef {{id: string, name: string, prompt: string, settings: Record<string, any>, tokens: number, forked: Forked | null, model?: string, text?: string, gone?: boolean}} OwnRun */
/** @typedef {{run: string, step: number, token: string}} Forked */

export const MOST = 20;
const NAME = 80; // letters that a person may give
const SHOWN = 60; // letters of a prompt that name a run

/** Add a run, or tell more of one that is there; beyond the bound the oldest go, but never the one that is shown.
 * @param {OwnRun[]} runs @param {OwnRun} run @param {string | null} shown @returns {OwnRun[]} */
export function withRun(runs, run, shown) {
  const at = runs.findIndex(({ id }) => id === run.id);
  if (at >= 0) return runs.map((each, i) => (i === at ? { ...run, name: each.name } : each));
  return bounded([run, ...runs], shown);
}

/** Put a run that was taken out back in its place. @param {OwnRun[]} runs @param {OwnRun} run @param {number} place @param {string | null} shown */
export function broughtBack(runs, run, place, shown) {
  return bounded([...runs.slice(0, place), run, ...runs.slice(place)], shown);
}

/** @param {OwnRun[]} runs @param {string | null} shown */
function bounded(runs, shown) {
  const left = [...runs];
  for (let i = left.length - 1; i > 0 && left.length > MOST; i -= 1) if (left[i].id !== shown) left.splice(i, 1);
  return left;
}

/** The same runs, one of them renamed; an empty name is the prompt's again. @param {OwnRun[]} runs @param {string} id @param {string} name */
export function renamed(runs, id, name) {
  const given = name.trim().slice(0, NAME);
  return runs.map((each) => (each.id === id ? { ...each, name: given === nameOf({ ...each, name: "" }) ? "" : given } : each));
}

/** What a run is called: as the visitor says, else by its prompt, cut. @param {OwnRun} run */
export function nameOf({ name, prompt }) {
  if (name) return name;
  const points = [...prompt.trim().replace(/\s+/g, " ")];
  return points.length > SHOWN ? `${points.slice(0, SHOWN - 1).join("")}…` : points.join("");
}

/** Where to look when this run is taken away: the next older one that is there, else the next newer. @param {OwnRun[]} runs @param {string} id */
export function nextTo(runs, id) {
  const at = runs.findIndex((each) => each.id === id);
  const there = [...runs.slice(at + 1), ...runs.slice(0, Math.max(at, 0)).reverse()].find((each) => each.id !== id && !each.gone);
  return there?.id ?? null;
}

/** What of a run is remembered, as text. @param {OwnRun[]} runs */
export function written(runs) {
  return JSON.stringify(runs.map(({ gone, ...kept }) => kept));
}

/** What such a text says; a browser's memory may hold anything, and what cannot be read is left out. @param {string | null} text @returns {OwnRun[]} */
export function read(text) {
  let found;
  try { found = JSON.parse(text ?? "[]"); } catch { return []; }
  if (!Array.isArray(found)) return [];
  return found.filter((each) => each && typeof each.id === "string" && each.id && typeof each.prompt === "string").slice(0, MOST).map((each) => ({
    id: each.id,
    name: typeof each.name === "string" ? each.name.slice(0, NAME) : "",
    prompt: each.prompt,
    settings: each.settings && typeof each.settings === "object" && !Array.isArray(each.settings) ? each.settings : {},
    tokens: Number.isInteger(each.tokens) ? each.tokens : 0,
    forked: readForked(each.forked),
  }));
}

/** @param {any} forked @returns {Forked | null} */
function readForked(forked) {
  const fits = forked && typeof forked.run === "string" && Number.isInteger(forked.step) && typeof forked.token === "string";
  return fits ? { run: forked.run, step: forked.step, token: forked.token } : null;
}
