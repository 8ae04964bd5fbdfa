// @ts-check
// Selecting in pictures that the program draws: elements that stand for a tick, a text or a token, and lists to choose from.

import { h, fill } from "../core/dom.js";
import { phrase } from "../core/texts.js";

/** @typedef {import("../data/axes.js").At} At */
/** @typedef {"request" | "layer" | "head" | "attempt"} Listed */

/** @type {("tick" | "request" | "round" | "token")[]} */
const MARKED = ["tick", "request", "round", "token"];
const WORDS = { request: phrase("text"), layer: phrase("layer"), head: phrase("head"), attempt: phrase("drafting method") };

/** What the pressed element stands for, as its data-pick says. @param {Event} event @returns {Partial<At> | null} */
export function pressed(event) {
  const target = event.target instanceof Element ? event.target : null;
  const element = target?.closest("[data-pick]");
  const cell = /** @type {HTMLTableCellElement | null | undefined} */ (target?.closest(".ts-lanes tbody td"));
  if (!element) return cell ? { tick: cell.cellIndex - 1 } : null; // a cell of the lanes stands for its column
  const some = Object.fromEntries(new URLSearchParams(element.getAttribute("data-pick") ?? ""));
  return Object.fromEntries(Object.entries(some).map(([name, value]) => [name, Number(value)]));
}

/** Enter and Space press what has the focus, as they press buttons. @param {KeyboardEvent} event @returns {boolean} */
export function pressedByKey(event) {
  const presses = (event.key === "Enter" || event.key === " ") && event.target instanceof Element && event.target.matches("[data-pick]");
  if (presses) event.preventDefault(); // Space would scroll the page
  return presses;
}

/** Keys reach and press what stands for something, and scroll what is wider than the page. @param {Element} root @param {string} title */
export function makeReachable(root, title) {
  for (const each of root.querySelectorAll("[data-pick]")) for (const [name, value] of [["tabindex", "0"], ["role", "button"]]) each.setAttribute(name, value);
  for (const box of root.querySelectorAll(".ts-measured")) for (const [name, value] of [["tabindex", "0"], ["role", "region"], ["aria-label", title]]) box.setAttribute(name, value);
}

/** Elements that stand for what is selected say so; of the ticks, Tab reaches that one, and arrows lead on. @param {Element} root @param {At} at */
export function markSelected(root, at) {
  for (const name of MARKED) {
    for (const each of root.querySelectorAll(`[data-${name}]`)) each.classList.toggle(`ts-picked-${name}`, Number(each.getAttribute(`data-${name}`)) === at[name]);
  }
  for (const each of root.querySelectorAll("[data-tick][data-pick]")) each.setAttribute("tabindex", Number(each.getAttribute("data-tick")) === at.tick ? "0" : "-1");
}

/** The lanes scroll sideways to the tick that is looked at, where it is out of their sight. @param {Element} root */
export function revealTick(root) {
  const picked = root.querySelector(".ts-lanes .ts-picked-tick");
  const box = picked?.closest(".ts-lanes");
  if (!picked || !box) return;
  const [column, seen, names] = [picked.getBoundingClientRect(), box.getBoundingClientRect(), box.querySelector("th")?.getBoundingClientRect().width ?? 0];
  const room = (seen.width - names) / 4; // of what comes before or after it
  if (column.left < seen.left + names) box.scrollLeft -= seen.left + names - column.left + room;
  else if (column.right > seen.right) box.scrollLeft += column.right - seen.right + room;
}

/** What can be selected beside the tick or the round, as lists to choose from. */
export class Choices {
  /** @param {Listed[]} names @param {(some: Partial<At>) => void} changed */
  constructor(names, changed) {
    this.names = names;
    this.lists = Object.fromEntries(names.map((name) => [name, h("select", { class: "ts-select", "aria-label": WORDS[name],
      onchange: (/** @type {Event} */ event) => changed({ [name]: Number(/** @type {HTMLSelectElement} */ (event.target).value) }) })]));
    this.element = h("span", { class: "ts-serving-choices" }, ...names.map((name) => h("label", {}, `${WORDS[name]} `, this.lists[name])));
  }

  /** @param {Partial<Record<Listed, string[]>>} offered @param {At} at */
  offer(offered, at) {
    for (const name of this.names) {
      const there = offered[name] ?? [];
      if (there.join("\n") !== [...this.lists[name].options].map((each) => each.text).join("\n")) fill(this.lists[name], ...there.map((text, i) => h("option", { value: i }, text)));
    }
    this.show(at);
  }

  /** @param {At} at */
  show(at) {
    for (const name of this.names) this.lists[name].value = String(at[name]);
  }
}
