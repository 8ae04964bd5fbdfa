// @ts-check
// Where each token of a chat's prompt comes from: the chat template, the system prompt, an earlier turn, or the prompt itself.

import { typedPart } from "./running_text.js";
import { phrase } from "../core/texts.js";
import { count } from "../core/format.js";

/** @typedef {import("./store.js").Run} Run */
/** @typedef {"template" | "system" | "user" | "assistant"} Source */
/** `turn` counts the earlier turns from 0; null: the prompt itself, or no turn. @typedef {{source: Source, turn: number | null}} From */

/** Of each token of the prompt where it comes from; null in a plain prompt, and where the template changed what was typed.
 * @param {Run} run @returns {From[] | null} */
export function promptSources(run) {
  if (!run.head.settings.chat) return null;
  /** @type {{first: number, stop: number, source: Source, turn: number | null}[]} */
  const spans = run.head.spans ?? [];
  if (spans.length) return spans.flatMap(({ first, stop, source, turn }) => Array(stop - first).fill({ source, turn }));
  if ((run.head.settings.turns ?? []).length || run.head.settings.system) return null;
  const typed = typedPart(run); // a record from before there were spans
  return typed && run.tokens.slice(0, run.nPrompt).map((_, i) => ({ source: i >= typed[0] && i < typed[1] ? "user" : "template", turn: null }));
}

/** @param {From[] | null} sources @param {number} position */
export function isTemplate(sources, position) {
  return sources?.[position]?.source === "template";
}

/** Whether this is what a person typed as the prompt. @param {From} from */
export function isPrompt({ source, turn }) {
  return source === "user" && turn === null;
}

/** What the prompt is made of, in words: the name of one part. @param {From} from */
export function nameOf({ source, turn }) {
  if (source === "template") return phrase("chat template");
  if (source === "system") return phrase("system prompt");
  if (turn === null) return phrase("prompt");
  return source === "user" ? phrase("turn {n}, user", { n: count(turn + 1) }) : phrase("turn {n}, assistant", { n: count(turn + 1) });
}

/** Who put a token there. @param {Run} run @param {number} position @param {From[] | null} sources */
export function origin(run, position, sources) {
  const { special, marker } = run.tokens[position];
  const where = whoPut(run, position, sources?.[position]);
  if (special) return phrase("{where}, a special token", { where });
  return marker ? phrase("{where}, an added token", { where }) : where;
}

/** @param {Run} run @param {number} position @param {From | undefined} from */
function whoPut(run, position, from) {
  if (position >= run.nPrompt) return phrase("written by the model");
  if (!from || isPrompt(from)) return phrase("from the prompt");
  if (from.source === "template") return phrase("added by the chat template");
  if (from.source === "system") return phrase("from the system prompt");
  const n = count(/** @type {number} */ (from.turn) + 1);
  return from.source === "user" ? phrase("from earlier turn {n}, user", { n }) : phrase("from earlier turn {n}, assistant", { n });
}
