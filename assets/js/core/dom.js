// @ts-check
// Building elements. Text enters only as text: nothing here, or anywhere, parses HTML.

import { tokenPieces, label } from "./format.js";

/** @typedef {Node | string | null | undefined | false} Child */

const FADE = 36; // px of a scrolling box's edges that can be faded, as in scope.css
const LINE = 56; // px: nobody scrolls for less than this

/** An element with attributes and children; strings become text nodes.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, string | number | boolean | EventListener | undefined>} [attributes] a function listens: {onclick: fn}
 * @param {Child[]} children
 * @returns {HTMLElementTagNameMap[K]} */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== undefined) element.setAttribute(name, String(value));
  }
  fill(element, ...children);
  return element;
}

/** Replace what an element holds. @param {Element} element @param {Child[]} children */
export function fill(element, ...children) {
  element.replaceChildren(...children.filter((child) => child || child === "").map((child) => /** @type {Node | string} */ (child)));
}

/** Set text only where it differs: a layout saved. @param {Element} element @param {string} text */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Told whenever an element comes in sight or leaves it: of changes that a browser tells at once, the last.
 * @param {Element} element @param {(entry: IntersectionObserverEntry) => void} told @param {IntersectionObserverInit} [options] */
export function watchSight(element, told, options) {
  new IntersectionObserver((entries) => told(entries[entries.length - 1]), options).observe(element);
}

/** Whether nothing is to move by itself. */
export function isStill() {
  return window.matchMedia("(prefers-reduced-motion: reduce)").matches;
}

/** Scroll the page until this is at its top. @param {Element} element */
export function bringInSight(element) {
  element.scrollIntoView({ behavior: isStill() ? "auto" : "smooth", block: "start" });
}

/** One token, isolated from the direction of the text around it, with what cannot be seen made visible.
 * @param {{text: string, hex?: string, id?: number, special?: boolean}} token @param {string} [className] */
export function tokenText(token, className = "") {
  const pieces = tokenPieces(token);
  return h("bdi", { class: `ts-token-text ${token.special ? "ts-special" : ""} ${className}`.trim(), title: label(token, 300) },
    ...pieces.map((piece) => (piece.mark ? h("span", { class: "ts-mark" }, piece.text) : piece.text)));
}

/** A token quoted in a sentence. @param {{text: string, hex?: string, id?: number, special?: boolean} | undefined} token */
export function quoted(token) {
  if (!token) return "";
  const [open, close] = token.text.includes("\ufffd") && tokenPieces(token)[0].mark ? ["", ""] : ["“", "”"]; // a name, no text
  return h("span", { class: "ts-quoted" }, open, tokenText(token, "ts-short"), close);
}

/** A table with a caption for screen readers. @param {string} caption @param {string[]} columns @param {Child[][]} rows */
export function table(caption, columns, rows) {
  return h("table", { class: "ts-table" },
    h("caption", { class: "ts-hidden" }, caption),
    h("thead", {}, h("tr", {}, ...columns.map((column) => h("th", { scope: "col" }, column)))),
    h("tbody", {}, ...rows.map((row) => h("tr", {}, ...row.map((cell) => h("td", {}, cell))))));
}

/** Scroll a box, not the page, so that what it holds can be seen; after drawing, since it measures.
 * @param {HTMLElement} box @param {HTMLElement | undefined} part */
export function keepInView(box, part) {
  setTimeout(() => {
    if (!part || box.scrollHeight <= box.clientHeight) return;
    const [outer, inner] = [box.getBoundingClientRect(), part.getBoundingClientRect()];
    if (inner.top < outer.top + FADE || inner.bottom > outer.bottom - FADE) box.scrollTop += inner.top - outer.top - box.clientHeight / 2;
  });
}

/** Fade the edges of a box behind which there is more; returns what to call when its contents have grown.
 * @param {HTMLElement} box @param {number} [most] px: it scrolls only where its contents are higher than this by more than a line; else CSS says */
export function fadeWhatGoesOn(box, most = 0) {
  const look = () => {
    box.classList.toggle("ts-goes-back", box.scrollTop > 8);
    box.classList.toggle("ts-goes-on", box.scrollTop + box.clientHeight < box.scrollHeight - 8);
  };
  const measure = () => {
    if (most) box.style.maxHeight = box.scrollHeight > most + LINE ? `${most}px` : "none";
    look();
  };
  box.addEventListener("scroll", look, { passive: true });
  new ResizeObserver(() => setTimeout(measure)).observe(box); // later: an observer that changes what it observes is called again at once
  return () => { setTimeout(measure); };
}

/** @param {string} name @param {() => void} press @param {Record<string, string>} [attributes] @param {Child[]} children */
export function button(name, press, attributes = {}, ...children) {
  return h("button", { type: "button", class: "ts-button", onclick: () => press(), ...attributes }, ...(children.length ? children : [name]));
}

/** A name and a number, as one item of a row of facts. @param {string} name @param {Child[]} value */
export function fact(name, ...value) {
  return h("div", { class: "ts-fact" }, h("span", { class: "ts-fact-name" }, name), h("span", { class: "ts-fact-value" }, ...value));
}
