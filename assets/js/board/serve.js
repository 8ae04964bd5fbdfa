// @ts-check
// The page "Serve": two parts, each with its board; says beside the form how things stand.

import { keepRecord, recordBefore } from "../data/session_memory.js";
import { cutOff, find, isOver, showExperiment, watchModel } from "./status.js";
import { ServingBoard } from "./serving_board.js";
import { themed } from "./shown.js";
import { listenToKeys } from "./stepper.js";

/** @typedef {import("./status.js").Report} Report */
/** @typedef {"batching" | "speculation"} Part */
/** @typedef {{element: HTMLElement, base: string, props: {value: Report}, watch: (name: string, fn: () => void) => void, kind: Part}} Link */

/** @type {Part[]} */
const PARTS = ["batching", "speculation"];
const DONE = { batching: "Done: all texts are written, in all three ways.", speculation: "Done: all drafts are tried." };

/** What each part was told last: the lines beside the form are those of the part in sight. @type {Partial<Record<Part, Report>>} */
const told = {};

/** Wire one part of the page. @param {Link} link */
export function connect({ element, base, props, watch, kind }) {
  const root = /** @type {HTMLElement} */ (element.querySelector(".ts-board") ?? element);
  const board = new ServingBoard(root, base, kind);
  if (kind === "batching") {
    watchModel(base, () => { cutOff(told); tell(); });
    wireParts();
  }
  const take = (/** @type {Report} */ report) => {
    told[kind] = report;
    keepRecord(report);
    board.hear(report, isOver(report));
    tell();
  };
  const hear = () => {
    const report = props.value;
    if (report && report.seq >= (told[kind]?.seq ?? -1)) take(report);
  };
  watch("value", hear);
  hear();
  recordBefore(base, kind).then((before) => { if (before && !told[kind]?.press) take(before); });
  themed(() => board.redraw());
  listenToKeys(() => part() === kind, board.keys());
}

/** @returns {Part} */
function part() {
  return document.body.dataset.part === "speculation" ? "speculation" : "batching";
}

/** Tabs as their pattern wants them: arrows move, and the address remembers. */
function wireParts() {
  const tabs = PARTS.map((name) => /** @type {HTMLButtonElement} */ (find(`#part-${name}`)));
  const show = (/** @type {number} */ at) => {
    document.body.dataset.part = PARTS[at];
    tabs.forEach((tab, i) => {
      tab.setAttribute("aria-selected", String(i === at));
      tab.tabIndex = i === at ? 0 : -1;
    });
    tell();
  };
  const choose = (/** @type {number} */ at) => {
    show(at);
    history.replaceState(null, "", location.pathname + location.search + (at ? `#${PARTS[at]}` : "")); // a hash alone is taken from the base
  };
  tabs.forEach((tab, at) => {
    tab.addEventListener("click", () => choose(at));
    tab.addEventListener("keydown", (event) => {
      if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
      event.preventDefault();
      choose(1 - at);
      tabs[1 - at].focus();
    });
  });
  show(location.hash === "#speculation" ? 1 : 0);
}

/** Say how the part in sight stands. */
function tell() {
  const report = told[part()];
  if (report) showExperiment(report, report.id ? ended(report.state) : "");
}

/** @param {string} state */
function ended(state) {
  if (state === "stopped") return "Stopped. What was seen stays.";
  if (state === "overtaken") return "Ended, because the other part of this page was started. What was seen stays.";
  return state === "failed" ? "Ended." : DONE[part()];
}
