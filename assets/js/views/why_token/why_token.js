// @ts-check
// Why a step chose its token: the rival to hold it against, a press that asks, and the picture of what came.

import { button, fill, h, quoted } from "../../core/dom.js";
import { label, percent } from "../../core/format.js";
import { phrase, phraseParts } from "../../core/texts.js";
import { numbersOf } from "./why_numbers.js";
import { signed } from "./why_words.js";
import { WhyPicture } from "./why_picture.js";

/** @typedef {import("../../data/view.js").State} State */
/** @typedef {import("../../data/store.js").Candidate} Candidate */

const RIVALS = 10;

/** What the rail says of the step that is looked at. @type {((state: State) => import("../../core/dom.js").Child[]) | null} */
let glanced = null;
/** @type {((state: State) => import("../../data/attribution.js").Attribution | null) | null} */
let foundAt = null;

/** @type {import("../../data/view.js").View} */
export const whyToken = {
  id: "why-token",
  title: phrase("Why this token?"),
  asks: true,
  lead: phrase("How much each part pushed this token ahead of its rival, in logits."),
  more: phrase("A logit is a token's score before the softmax: ahead by 1 is 2.7 times as likely. The final norm's scale is held at what it was in this pass, so that parts add up; what a part does by changing later parts counts as theirs. Source: Elhage et al. 2021, “A Mathematical Framework for Transformer Circuits”."),
  create(body, context) {
    const view = new WhyToken(context);
    body.append(view.element);
    glanced = (state) => view.glance(state);
    foundAt = (state) => view.reasonAt(state)?.found ?? null;
    return { draw: (state) => view.draw(state), pick: (state) => view.press(state), numbers: (state) => numbersOf(view.reasonAt(state)?.found ?? null) };
  },
  glance(state) {
    const found = foundAt?.(state);
    return { value: glanced?.(state) ?? [], ...(found ? { mini: (g, width, height) => miniature(g, width, height, found, state.colours) } : {}) };
  },
};

class WhyToken {
  /** @param {import("../../data/view.js").Context} context */
  constructor(context) {
    this.reasons = /** @type {import("../../data/view.js").Reasons} */ (context.reasons); // where nobody answers, the board leaves the card out
    this.redraw = context.redraw;
    /** @type {Map<string, number>} the rival that was chosen, by step */
    this.chosen = new Map();
    /** @type {State | null} */
    this.state = null;
    this.key = "";
    this.question = h("span", {});
    this.list = h("select", { class: "ts-select", "aria-label": phrase("the rival"), onchange: () => this.choose(Number(this.list.value)) });
    this.go = button(phrase("Explain"), () => this.ask(), { class: "ts-button" });
    this.asking = h("div", { class: "ts-why-ask" }, this.question, this.list, this.go);
    this.said = h("p", { class: "ts-note ts-why-waits", role: "status" });
    this.picture = new WhyPicture();
    this.element = h("div", {}, this.asking, this.said, this.picture.element);
  }

  /** The likeliest tokens but the chosen one. @param {State} state @returns {Candidate[]} */
  rivals({ step }) {
    const choice = step.choices[0];
    return choice ? choice.candidates.filter(({ id }) => id !== choice.id).slice(0, RIVALS) : [];
  }

  /** @param {State} state */
  rivalAt(state) {
    return this.chosen.get(placeOf(state)) ?? this.rivals(state)[0]?.id ?? null;
  }

  /** @param {State} state */
  reasonAt(state) {
    const rival = this.rivalAt(state);
    return rival === null ? null : this.reasons.at(state.run, state.step.index, rival);
  }

  /** @param {number} id */
  choose(id) {
    if (!this.state) return;
    this.chosen.set(placeOf(this.state), id);
    this.redraw();
  }

  /** Pressed where the token stands: a run that is here is explained at once, a recording only says what would be done. @param {State} state */
  press(state) {
    this.state = state;
    const reason = this.reasonAt(state);
    if (reason && !reason.found && !reason.isGoing && !this.reasons.isRecorded(state.run) && !this.reasons.why(state.run)) this.ask();
  }

  ask() {
    const { state } = this;
    const rival = state && this.rivalAt(state);
    if (state && rival !== null) this.reasons.ask(state.run, state.step.index, rival);
  }

  /** @param {State} state */
  draw(state) {
    this.state = state;
    const { run, step, colours } = state;
    const choice = step.choices[0];
    const [rivals, rival, reason] = [this.rivals(state), this.rivalAt(state), this.reasonAt(state)];
    const why = !choice ? phrase("This pass chose no token.") : reason?.found ? "" : this.reasons.why(run);
    const key = JSON.stringify([placeOf(state), run.nRead, rival, why, reason?.said, reason?.isGoing, reason?.found != null]);
    if (key !== this.key) {
      this.key = key;
      this.asking.hidden = !choice;
      if (choice) fill(this.question, ...phraseParts("Why {token} and not", { token: quoted(run.tokens[step.chosenAt]) }));
      fill(this.list, ...rivals.map((each) => h("option", { value: each.id, selected: each.id === rival }, `${label(run.named(each), 30)}  ${percent(each.probability)}`)));
      this.go.hidden = reason?.found != null;
      this.go.disabled = why !== "" || reason?.isGoing === true;
      fill(this.said, why || reason?.said || (reason?.found ? "" : this.happens(state)));
      this.picture.element.hidden = !reason?.found;
    }
    if (reason?.found) this.picture.draw(reason.found, colours);
  }

  /** @param {State} state */
  happens({ run }) {
    return this.reasons.isRecorded(run) ? phrase("Explain runs this step again and measures every part. This is a recording: its prompt is run again here first.") : phrase("Explain runs this step again and measures every part.");
  }

  /** @param {State} state @returns {import("../../core/dom.js").Child[]} */
  glance(state) {
    const found = this.reasonAt(state)?.found;
    if (!state.step.choices[0]) return [phrase("none yet")];
    if (!found) return [phrase("not asked yet")];
    return [`${signed(found.about.total)} `, ...phraseParts("against {rival}", { rival: quoted(found.about.rival) })];
  }
}

/** The sums, one after the other. @param {CanvasRenderingContext2D} g @param {number} width @param {number} height
 * @param {import("../../data/attribution.js").Attribution} found @param {import("../../core/canvas.js").Paint} colours */
function miniature(g, width, height, { parts, about }, colours) {
  const ends = parts.flatMap(({ from, to }) => [from, to]);
  const [low, high] = [Math.min(...ends), Math.max(...ends)];
  const y = (/** @type {number} */ value) => 1 + ((high - value) / (high - low || 1)) * (height - 2);
  const w = width / (parts.length + 3);
  parts.forEach(({ value, from, to }, i) => {
    g.fillStyle = value >= 0 ? colours.generated : colours.baseline;
    g.fillRect(i * w, y(Math.max(from, to)), Math.max(w - 0.3, 0.7), Math.max(Math.abs(y(to) - y(from)), 1));
  });
  g.fillStyle = colours.ink;
  g.fillRect((parts.length + 1) * w, y(Math.max(about.total, 0)), 2 * w, Math.max(Math.abs(y(about.total) - y(0)), 1));
}

/** @param {State} state */
function placeOf({ run, step }) {
  return `${run.id}/${step.index}`;
}
