// @ts-check
// Continuing a run from the step that is looked at: with one of the candidates, or with any token, named by its text.

import { h, fill, button, quoted } from "../../core/dom.js";
import { count } from "../../core/format.js";
import { savedWords } from "../../data/origin.js";

/** @typedef {import("../../board/card.js").State} State */
/** @typedef {import("../../board/card.js").Fork} Fork */
/** @typedef {import("../../data/store.js").Choice} Choice */
/** @typedef {{id: number, text: string, hex?: string}} Named */

export class ForkForm {
  /** @param {Fork} fork @param {() => void} changed */
  constructor(fork, changed) {
    this.fork = fork;
    this.changed = changed;
    /** @type {{of: string, token: Named} | null} the candidate that was pressed, of one step */
    this.picked = null;
    /** @type {State | null} */
    this.state = null;
    this.key = "";
    this.go = button("", () => this.ask(), { class: "ts-button ts-fork-go" });
    this.field = h("input", { type: "text", class: "ts-fork-field", maxlength: 200, autocomplete: "off", spellcheck: "false", placeholder: "such as ␣Rome", oninput: () => this.type() });
    this.said = h("p", { class: "ts-note ts-fork-said", role: "status" });
    this.form = h("form", { class: "ts-fork-form", onsubmit: (event) => { event.preventDefault(); this.ask(); } },
      this.go, h("label", { class: "ts-fork-other" }, "or another token ", this.field));
    this.element = h("div", { class: "ts-fork", role: "group", "aria-label": "Continue from this step with another token" }, this.form, this.said);
  }

  /** The candidate that is picked at this step. @param {State} state */
  pickedAt(state) {
    return this.picked?.of === placeOf(state) ? this.picked.token : null;
  }

  /** Pick a candidate, or none. @param {Named} token */
  pick(token) {
    if (!this.state) return;
    this.picked = this.pickedAt(this.state)?.id === token.id ? null : { of: placeOf(this.state), token };
    this.field.value = "";
    this.fork.clear();
    this.changed();
  }

  type() {
    this.picked = null;
    this.fork.clear();
    this.changed();
  }

  /** The token to go on with; null: none is named. @returns {{id?: number, text: string, hex?: string} | null} */
  get token() {
    return this.field.value !== "" ? { text: this.field.value } : this.state && this.pickedAt(this.state);
  }

  ask() {
    const { state, token } = this;
    if (state && token && !this.fork.why(state.run)) this.fork.ask(state.run, state.step.index, token);
  }

  /** @param {State} state @param {Choice} choice */
  draw(state, choice) {
    this.state = state;
    const { token } = this;
    const [why, came] = [this.fork.why(state.run), this.fork.said()];
    this.form.hidden = why !== "";
    const key = JSON.stringify([placeOf(state), why, came, token, choice.id]);
    if (key === this.key) return;
    this.key = key;
    this.go.disabled = token === null;
    fill(this.go, "Continue from here", ...(token ? [" with ", quoted(token)] : []));
    fill(this.said, ...(came ? [h("span", { class: "ts-fork-came" }, came)] : why ? [why] : this.happens(state, choice, token)));
  }

  /** What will happen. @param {State} state @param {Choice} choice @param {{id?: number, text: string} | null} token */
  happens({ run, step }, choice, token) {
    const at = `step ${count(step.index)}`;
    const first = this.fork.isRecorded(run) ? " This is a recording: its prompt is run again here first." : "";
    const chosen = run.tokens[step.chosenAt];
    if (!token) return [`Press or type a token to continue the run from ${at} with it, in place of `, quoted(chosen), ". A blank before a word belongs to the token."];
    if (token.id === choice.id || token.text === chosen.text) return [`This is the token that was chosen at ${at}: the fork writes the same run.${first}`];
    const most = run.head.settings.max_new_tokens;
    return ["A new run goes on with ", quoted(token), ` after ${at}, until it has ${most === 1 ? "1 new token" : `${count(most)} new tokens`} in all. The settings are this run’s, not the form’s.${first}`];
  }
}

/** @param {State} state */
function placeOf({ run, step }) {
  return `${run.id}/${step.index}`;
}

/** Where a run was continued from, and what that saved: said at every step of it, so that stepping moves nothing. */
export class OriginLine {
  /** @param {Fork | null} fork */
  constructor(fork) {
    this.fork = fork;
    this.element = h("p", { class: "ts-note ts-fork-origin", hidden: true });
    this.key = "";
  }

  /** @param {State} state */
  draw({ run }) {
    const { origin } = run.head;
    const parent = origin ? this.fork?.parent(origin.run) ?? null : null;
    const key = `${run.id}/${parent?.name}`;
    if (key === this.key) return;
    this.key = key;
    this.element.hidden = !origin;
    if (!origin) return;
    const [token, before] = [[origin.token_id, origin.token], [origin.instead_of, origin.instead_of_token]].map(([id, text]) => quoted(run.named({ id, text })));
    const name = parent?.name ?? origin.run;
    const from = name ? [" from ", h("bdi", { class: "ts-fork-name" }, `“${name}”`)] : [];
    const did = origin.token_id === origin.instead_of ? [token, " again"] : [token, " in place of ", before];
    fill(this.element, "Forked", ...from, ` at step ${count(origin.step)}: a person chose `, ...did, `. ${savedWords(origin)}`,
      parent && " ", parent && button("Look at that run", parent.look, { class: "ts-button ts-fork-parent" }));
  }
}
