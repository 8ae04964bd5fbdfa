// @ts-check
// The runs of the visitor's own on a page: the list of them, looking at one again, and continuing one from a step.

import { NOWHERE } from "../data/axes.js";
import { forget } from "../data/session_memory.js";
import { Forks } from "./forks.js";
import { Reasons } from "./reasons.js";
import { OwnRuns } from "./own_runs.js";
import { find } from "./status.js";

/** @typedef {import("../data/axes.js").At} At */

export class VisitorRuns {
  /** @param {import("./page.js").Page} page */
  constructor(page) {
    this.page = page;
    this.list = new OwnRuns(page.base, {
      look: (id) => this.look(id),
      again: (run) => page.ask("run", { ...run.settings, prompt: run.prompt }),
      takenOut: (id, next) => this.takenOut(id, next),
    });
    find("#runs .ts-runs-root")?.replaceChildren(this.list.element);
    this.forks = page.link.ask ? new Forks({
      ask: (experiment, values, step, card) => page.ask(experiment, values, { at: { ...this.lookedAt(), step }, card }),
      held: (id) => page.held.get(id),
      nameOf: (id) => this.list.nameOf(id),
      look: (id) => this.look(id),
      redraw: () => page.boards?.get("run")?.redraw(),
    }) : null;
    const { forks } = this;
    this.reasons = forks ? new Reasons(page.base, {
      ask: (experiment, values, opening) => page.ask(experiment, values, opening && { at: { ...this.lookedAt(), step: opening.step }, card: opening.card }),
      waits: (run) => forks.waits(run), isRecorded: (run) => forks.isRecorded(run), redraw: () => page.boards?.get("run")?.redraw(),
    }) : null;
  }

  /** Look again at a run of one's own: at the place that is looked at now, so that two runs can be compared. @param {string} id */
  look(id) {
    const board = this.page.boards.get("run");
    if (board?.record?.id === id && this.page.wanted.get("run") === id) return;
    const opening = board?.record && !this.page.isGoing(id) ? { at: this.lookedAt(), card: board.reading } : null;
    this.page.show({ id, experiment: "run", own: true, opening, ...(this.page.held.has(id) ? {} : { restored: true }) });
    this.page.tell();
  }

  /** The place in a run that another run may have too. @returns {Partial<At>} */
  lookedAt() {
    const { step, layer, head } = this.page.boards.get("run")?.selection.base ?? NOWHERE;
    return { step, layer, head };
  }

  /** The run that is shown was taken out of the list: another one is shown. @param {string} id @param {string | null} next */
  takenOut(id, next) {
    if (this.page.own.get("run") === id) this.page.own.delete("run");
    forget("run");
    const [first] = this.page.shipped.of("run");
    if (next) this.look(next);
    else if (first) this.page.choose(first.id, "run", true);
  }
}
