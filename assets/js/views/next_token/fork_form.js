// @ts-check
// Continuing a run from the step that is looked at: with one of the candidates, or with any token, named by its text.

import { h, fill, button, quoted } from "../../core/dom.js";
import { count } from "../../core/format.js";
import { savedWords } from "../../data/origin.js";
import { phrase, phraseParts } from "../../core/texts.js";

/** @typedef {import("../../data/view.js").State} State */
/** @typedef {import("../../data/view.js").Fork} Fork */
/** @typedef {import("../../data/store.js").Choice} Choice */
/** @typedef {import("../../data/view.js").Named} Named */

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
    this.field = h("input", { type: "text", class: "ts-fork-field", maxlength: 200, autocomplete: "off", spellcheck: "false", placeholder: phrase("for example ␣Rome"), oninput: () => this.type() });
    this.said = h("p", { class: "ts-note ts-fork-said", role: "status" });
    this.form = h("form", { class: "ts-fork-form", onsubmit: (event) => { event.preventDefault(); this.ask(); } },
      this.go, h("label", { class: "ts-fork-other" }, phrase("or another token"), " ", this.field));
    this.element = h("div", { class: "ts-fork", role: "group", "aria-label": phrase("Continue from this step with another token") }, this.form, this.said);
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

  /** Pick this candidate of a step that may not have been drawn yet. @param {State} state @param {Named} token */
  choose(state, token) {
    this.state = state;
    this.picked = null;
    this.pick(token);
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
    fill(this.go, ...(token ? phraseParts("Continue from here with {token}", { token: quoted(token) }) : [phrase("Continue from here")]));
    fill(this.said, ...(came ? [h("span", { class: "ts-fork-came" }, came)] : why ? [why] : this.happens(state, choice, token)));
  }

  /** What will happen. @param {State} state @param {Choice} choice @param {{id?: number, text: string} | null} token */
  happens({ run, step }, choice, token) {
    const at = count(step.index);
    const first = this.fork.isRecorded(run) ? ` ${phrase("This is a recording: its prompt is run again here first.")}` : "";
    const chosen = run.tokens[step.chosenAt];
    if (!token) {
      return [...phraseParts("Select or type a token: the run continues from step {step} with it, in place of {token}.", { step: at, token: quoted(chosen) }),
        " ", phrase("A space before a word is part of the token.")];
    }
    if (token.id === choice.id || token.text === chosen.text) return [phrase("This token was chosen at step {step}: the fork repeats the same run.", { step: at }), first];
    const most = run.head.settings.max_new_tokens;
    const goes = { token: quoted(token), step: at, n: count(most) };
    return [...(most === 1 ? phraseParts("A new run continues with {token} at step {step}, up to {n} new token in total.", goes)
      : phraseParts("A new run continues with {token} at step {step}, up to {n} new tokens in total.", goes)), " ", phrase("It uses this run’s settings, not the form’s."), first];
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
    fill(this.element, ...forkedWords(origin, parent?.name ?? origin.run, token, before), " ", savedWords(origin),
      parent && " ", parent && button(phrase("Show the original run"), parent.look, { class: "ts-button ts-fork-parent" }));
  }
}

/** Where it was forked, and with which token. @param {import("../../data/origin.js").Origin} origin @param {string} name of the run that it continues
 * @param {import("../../core/dom.js").Child} token @param {import("../../core/dom.js").Child} before the token in whose place it stands */
function forkedWords(origin, name, token, before) {
  const values = { run: h("bdi", { class: "ts-fork-name" }, name), step: count(origin.step), token, before };
  if (origin.token_id === origin.instead_of) {
    return name ? phraseParts("Forked from “{run}” at step {step}: a person chose {token} again.", values) : phraseParts("Forked at step {step}: a person chose {token} again.", values);
  }
  return name ? phraseParts("Forked from “{run}” at step {step}: a person chose {token} in place of {before}.", values)
    : phraseParts("Forked at step {step}: a person chose {token} in place of {before}.", values);
}
