// @ts-check
// A kept page of what was measured, served or drafted: draws its charts, dark or light, and of the pictures that it
// holds of every tick or round shows the one that is looked at.

import { h } from "../core/dom.js";
import { Stepper, listenToKeys } from "./stepper.js";
import { Choices, NOTHING_PICKED, markPicked, makeReachable, pressed, pressedByKey, revealTick } from "./record_selection.js";

/** @typedef {import("./record_selection.js").Pick} Pick */
/** @typedef {{name: "tick" | "round", at: Partial<Pick>, attempts: string[], starts: number[], words: string[][]}} Steps starts, words: for every attempt */

/** @param {Document} page */
export function mountPage(page) {
  const pictures = read(page, "pictures");
  const draw = (/** @type {boolean} */ isDark) => {
    page.documentElement.classList.toggle("dark", isDark);
    for (const { name, figure } of pictures[isDark ? "dark" : "light"]) {
      if (figure) /** @type {any} */ (window).Plotly.react(name, figure.data, figure.layout, { displaylogo: false, responsive: true });
    }
  };
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  draw(dark.matches);
  dark.addEventListener("change", (event) => draw(event.matches));
  page.getElementById("theme")?.addEventListener("click", () => draw(!page.documentElement.classList.contains("dark")));
  for (const card of page.querySelectorAll(".ts-card")) makeReachable(card, card.querySelector(".ts-title")?.textContent ?? "");
  const steps = read(page, "steps");
  if (steps) walk(page, steps);
}

/** A bar over the ticks or rounds. @param {Document} page @param {Steps} steps */
function walk(page, { name, at: first, attempts, starts, words }) {
  const cards = /** @type {HTMLElement} */ (page.querySelector(".ts-cards"));
  /** @type {Pick} */
  const at = { ...NOTHING_PICKED, ...first };
  const stepper = new Stepper(name, (to) => { at[name] = to; show(); });
  const choices = new Choices(attempts.length ? ["attempt"] : [], (some) => {
    Object.assign(at, some);
    at[name] = starts[at.attempt];
    count();
  });
  const show = () => {
    for (const each of /** @type {NodeListOf<HTMLElement>} */ (cards.querySelectorAll("[data-shown-at]"))) {
      each.hidden = [...new URLSearchParams(each.dataset.shownAt)].some(([of, value]) => at[/** @type {keyof Pick} */ (of)] !== Number(value));
    }
    stepper.tell(h("strong", {}, `${name === "tick" ? "Tick" : "Round"} ${at[name] + 1} of ${stepper.count}`), ` ${words[at.attempt][at[name]] ?? ""}`);
    choices.show(at);
    markPicked(cards, at);
    revealTick(cards);
  };
  const count = () => {
    stepper.clear();
    stepper.grow(words[at.attempt].length);
    stepper.show(at[name]);
    show();
  };
  const press = (/** @type {Event} */ event) => {
    const some = pressed(event);
    if (!some) return;
    stepper.pause();
    Object.assign(at, some);
    stepper.go(at[name]);
    show();
  };
  cards.addEventListener("click", press);
  cards.addEventListener("keydown", (event) => { if (pressedByKey(event)) press(event); });
  listenToKeys(() => true, {
    ArrowLeft: () => stepper.go(stepper.at - 1),
    ArrowRight: () => stepper.go(stepper.at + 1),
    Home: () => stepper.go(0),
    End: () => stepper.go(Infinity),
    " ": () => stepper.toggle(),
  });
  stepper.element.querySelector(".ts-player-row")?.append(choices.element);
  cards.prepend(stepper.element);
  choices.offer({ attempt: attempts }, at);
  count();
}

/** @param {Document} page @param {string} id @returns {any} */
function read(page, id) {
  return JSON.parse(page.getElementById(id)?.textContent ?? "null");
}
