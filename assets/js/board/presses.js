// @ts-check
// What the form's buttons do beside what they ask of the program: one that begins something hands the keys to the board, and Step
// begins a run where none is going.

import { enable, find } from "./status.js";

export class Presses {
  /** @param {string[]} begin the buttons that begin something @param {(button: Element) => HTMLElement | undefined} board where what one of them begins is shown */
  constructor(begin, board) {
    this.begin = begin.join(", ");
    this.board = board;
    document.addEventListener("click", (event) => this.pressed(event), { capture: true });
  }

  /** @param {MouseEvent} event */
  pressed(event) {
    const button = event.target instanceof Element ? event.target.closest("button") : null;
    if (!button) return;
    if (button.matches("#step") && document.body.dataset.run === "over") {
      event.stopImmediatePropagation();
      find("#run-held")?.click();
    } else if (button.matches(this.begin)) setTimeout(() => this.leave(button));
  }

  /** The board's keys work, and Space does not begin the same again. @param {HTMLElement} button */
  leave(button) {
    const board = this.board(button);
    if (!board || document.activeElement !== button) return;
    board.tabIndex = -1;
    board.focus({ preventScroll: true });
  }

  /** How the job stands has been said. @param {string} state the job's, "over", or "lost" where the program does not answer */
  said(state) {
    const run = /** @type {HTMLButtonElement | null} */ (find("#run"));
    if (state === "over" && run) enable("#step", !run.disabled);
  }
}
