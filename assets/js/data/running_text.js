// @ts-check
// The text of a run as it reads: characters whole, whatever the tokens' borders, and which part of it a person typed.

import { h, tokenText } from "../core/dom.js";
import { running } from "../core/format.js";
import { isFragment } from "./store.js";

/** What each token from `from` on adds to the running text; null where it shows by its bytes or its name. What reads as one
 * character, such as an accent or an emoji made of several, goes to the token that ends it.
 * @param {import("./store.js").Run} run @param {number} from @returns {(string | null)[]} */
export function additions(run, from) {
  /** @type {(string | null)[]} */
  const texts = run.tokens.slice(from).map((token) => (token.special || token.marker || token.text === "" || isFragment(token) ? null : token.text));
  for (let i = 0; i < texts.length; i += 1) {
    const joined = run.joined(from + i);
    if (joined) texts.fill("", Math.max(joined.first - from, 0), i).fill(joined.text, i, i + 1);
  }
  for (let first = 0; first < texts.length; first += 1) {
    let end = first;
    while (end < texts.length && texts[end] !== null) end += 1;
    const parts = /** @type {string[]} */ (texts.slice(first, end));
    moveToEnds(parts).forEach((part, i) => { texts[first + i] = part; });
    first = end;
  }
  return texts;
}

/** The same text, cut so that no character as a person sees it is cut. @param {string[]} parts */
function moveToEnds(parts) {
  const moved = parts.map(() => "");
  let [at, k, length] = [0, 0, parts[0]?.length ?? 0];
  for (const character of characters(parts.join(""))) {
    at += character.length;
    while (length < at) { k += 1; length += parts[k].length; }
    moved[k] += character;
  }
  return moved;
}

/** What a person sees as one character; a control in it, which is seen by its name, stands alone. @param {string} text @returns {string[]} */
function characters(text) {
  if (!("Segmenter" in Intl)) return [...text];
  return [...new Intl.Segmenter().segment(text)].flatMap(({ segment }) => (running(segment).some((piece) => piece.mark) ? [...segment] : [segment]));
}

/** A token in running text, in the text's own direction: spaces and line ends do what they mean, controls and marks of direction
 * stay visible and do nothing. @param {import("./store.js").Token} token @param {string | null} text */
export function flowing(token, text) {
  if (text === null) return [tokenText(token)];
  return running(text).map((piece) => (piece.mark ? h("bdi", { class: "ts-mark" }, piece.text) : piece.text));
}

/** Which tokens of the prompt hold what the person typed, [first, after the last]; the others were added by the chat template or
 * the tokenizer. Null where the typed bytes are not found as they are. @param {import("./store.js").Run} run @returns {[number, number] | null} */
export function typedPart(run) {
  const tokens = run.tokens.slice(0, run.nPrompt);
  const bytes = tokens.map((token) => token.hex).join("");
  const starts = new Map(tokens.map((token, i) => [token.span[0] * 2, i]));
  const ends = new Map(tokens.map((token, i) => [token.span[1] * 2, i + 1]));
  for (const typed of [run.head.prompt, run.head.prompt.trim()]) {
    const wanted = hexOf(typed);
    let best = null;
    let most = -1;
    for (let at = bytes.indexOf(wanted); wanted && at >= 0; at = bytes.indexOf(wanted, at + 1)) {
      if (at % 2) continue;
      const [first, end] = [starts.get(at), ends.get(at + wanted.length)];
      // The same words can stand in the template too: what the person typed ends before a mark of the format, mostly.
      const fits = Number(first !== undefined) + Number(end !== undefined) + 2 * Number(end !== undefined && tokens[end]?.special === true);
      if (fits >= most) [best, most] = [at, fits];
    }
    if (best === null) continue;
    const end = best + wanted.length;
    const inside = tokens.map((token) => token.span[1] * 2 > best && token.span[0] * 2 < end);
    return [inside.indexOf(true), inside.lastIndexOf(true) + 1];
  }
  return null;
}

/** @param {string} text */
function hexOf(text) {
  return Array.from(new TextEncoder().encode(text), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
