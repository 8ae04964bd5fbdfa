// @ts-check
// The keys of a board: they work wherever the focus is, except in text fields, and where a focused control uses them itself.

import { phrase } from "../core/texts.js";

/** What each key does. */
export const KEYS = [
  ["←  →", phrase("previous, next step, tick or round")],
  ["↑  ↓", phrase("one layer up, one layer down")],
  ["[  ]", phrase("previous, next head")],
  [phrase("Home  End"), phrase("first, newest step, tick or round")],
  [phrase("Space"), phrase("play or pause the replay")],
  ["/", phrase("find a token of a long run; Enter goes to the next place, Shift + Enter to the previous one")],
  [phrase("Esc"), phrase("unpin the selection")],
  ["?", phrase("this list")],
  [phrase("Ctrl + Enter"), phrase("submit the form")],
];

const TEXT_FIELDS = "textarea, select, [contenteditable=true], input:not([type=checkbox], [type=radio], [type=range], [type=button], [type=submit], [type=reset])";
const SCROLLS = "[role=region]"; // by arrows, while it has the focus itself
const UP_AND_DOWN_OF_ITS_OWN = "[data-own-up-down]"; // left and right are the board's there
const ARROWS_OF_ITS_OWN = "[data-own-keys], [role=tab], [role=listbox], [role=grid], [role=slider]:not(.ts-axis), input[type=range], input[type=radio]";
const SPACE_OF_ITS_OWN = "button, a, summary, input, [role=button], [role=tab]";

/** What a press of a key asks for, or null where it is none of ours.
 * @param {{key: string, ctrlKey: boolean, metaKey: boolean, altKey: boolean, defaultPrevented: boolean}} event
 * @param {(selector: string) => boolean} isIn whether what has the focus is one of these, or in one
 * @param {(selector: string) => boolean} is whether it is one of these @returns {string | null} */
export function keyFor({ key, ctrlKey, metaKey, altKey, defaultPrevented }, isIn, is) {
  if (defaultPrevented || altKey) return null;
  if (ctrlKey || metaKey) return key === "Enter" ? "run" : null;
  if (isIn(TEXT_FIELDS)) return null;
  if (key === " " && isIn(SPACE_OF_ITS_OWN)) return null;
  if (["ArrowUp", "ArrowDown", "Home", "End"].includes(key) && isIn(UP_AND_DOWN_OF_ITS_OWN)) return null;
  if ((key.startsWith("Arrow") || key === "Home" || key === "End") && (isIn(ARROWS_OF_ITS_OWN) || is(SCROLLS))) return null;
  return key;
}

/** Do what keys ask for. @param {(key: string) => (() => void) | undefined} moves what a key does now, if anything @returns {() => void} stops listening */
export function listenToKeys(moves) {
  const listener = (/** @type {KeyboardEvent} */ event) => {
    const target = event.target instanceof Element ? event.target : document.body;
    const key = keyFor(event, (selector) => target.closest(selector) !== null, (selector) => target.matches(selector));
    const move = key === null ? undefined : moves(key);
    if (!move) return;
    event.preventDefault();
    move();
  };
  document.addEventListener("keydown", listener);
  return () => document.removeEventListener("keydown", listener);
}
