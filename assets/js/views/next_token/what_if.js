// @ts-check
// What other settings would make of a finished step: sliders that redraw its stages from its own scores of all tokens.

import { h, fill, say, button, quoted } from "../../core/dom.js";
import { count, percent } from "../../core/format.js";
import { chanceOf, raw, stages } from "../../data/sampling.js";
import { Distribution } from "./distribution.js";
import { madeLevels, stageName } from "./levels.js";
import { ReservedSpace } from "../../core/reserve_space.js";
import { phrase, phraseParts } from "../../core/texts.js";

/** @typedef {import("../../data/view.js").State} State */
/** @typedef {import("../../data/store.js").Choice} Choice */
/** @typedef {import("../../data/sampling.js").Settings} Settings */
/** @typedef {import("../../data/sampling.js").Stage} Stage */
/** @typedef {keyof Settings} Name */
/** @typedef {{key: string, levels: import("./levels.js").Level[], own: Stage[], from: import("../../data/sampling.js").Distribution, bits: number}} Made */

/** name, its stage, slider's least, most and step, the highest that can be typed, the value that switches it off, what it does
 * @type {[Name, string, number, number, number, number, number, string][]} */
const KNOBS = [
  ["penalty", "repetition penalty", 0.5, 2, 0.05, 10, 1, phrase("above 1: tokens of the text become less likely")],
  ["temperature", "temperature", 0, 2, 0.05, 100, 1, phrase("0: greedy; below 1 sharper, above 1 flatter")],
  ["topK", "top-k", 0, 200, 1, 1e6, 0, phrase("keeps the k most likely")],
  ["topP", "top-p", 0.01, 1, 0.01, 1, 1, phrase("keeps the most likely that together reach p")],
  ["minP", "min-p", 0, 1, 0.01, 1, 0, phrase("removes tokens below this share of the top one")],
];

const LONGEST_VERDICT = `${phrase("In the run, {token} was drawn.", { token: "“as long as it can be”" })} ${phrase("With these settings it could have been drawn, with probability {share}.", { share: "12.3%" })}`;

export class WhatIf {
  /** @param {import("../../data/view.js").Context} context @param {() => void} changed */
  constructor({ logitsSlice, redraw }, changed) {
    this.want = logitsSlice;
    this.changed = changed;
    this.knobs = KNOBS.map((knob) => this.makeKnob(knob));
    this.reset = button(phrase("Reset to this run’s settings"), () => { this.settings = null; changed(); });
    this.said = h("p", { class: "ts-readout", "aria-live": "polite" });
    this.room = new ReservedSpace(this.said, "readout");
    this.room.keep(LONGEST_VERDICT);
    this.note = h("p", { class: "ts-note" });
    this.picture = new Distribution(() => { changed(); redraw(); }, "last");
    this.result = h("div", {}, h("p", { class: "ts-legend" }, h("span", { class: "ts-ghost-key" }), phrase("an outline shows the token’s probability in the run itself")), this.picture.bars, this.picture.stages);
    this.element = h("details", { class: "ts-what-if", ontoggle: changed },
      h("summary", {}, h("span", { class: "ts-subtitle" }, phrase("What if?")), " ", h("span", { class: "ts-muted" }, phrase("Other settings, the same scores"))),
      h("div", { class: "ts-what-if-panes" },
        h("div", {}, h("div", { class: "ts-knobs" }, ...this.knobs.map((knob) => knob.element)), h("p", { class: "ts-legend" }, h("span", {}, h("span", { "aria-hidden": "true" }, "▲ "), phrase("the run’s own setting"))), h("p", { class: "ts-row" }, this.reset), this.room.element, this.note),
        this.result));
    /** @type {Settings | null} null: the run's own */
    this.settings = null;
    /** @type {Settings} the run's own */
    this.own = { temperature: 0, topK: 0, topP: 1, minP: 0, penalty: 1 };
    this.of = "";
    /** @type {Made | null} */
    this.made = null;
    /** @type {string | null} */
    this.why = null;
  }

  get open() { return this.element.hasAttribute("open"); }

  /** @param {KNOBS[number]} knob */
  makeKnob([name, stage, least, most, step, , off, does]) {
    const id = `ts-knob-${name}`;
    const label = stageName(stage);
    const hear = (/** @type {Event} */ event) => this.turn(name, /** @type {HTMLInputElement} */ (event.target));
    const slider = h("input", { type: "range", id, min: least, max: most, step, oninput: hear, "aria-describedby": `${id}-does ${id}-own` });
    const number = h("input", { type: "number", min: least, step: "any", onchange: hear, oninput: () => number.classList.add("ts-typing"), "aria-label": phrase("{name}, as a number", { name: label }) });
    const mark = h("span", { class: "ts-knob-mark", "aria-hidden": "true" });
    const own = h("span", { class: "ts-knob-own", id: `${id}-own` });
    const element = h("div", { class: "ts-knob" }, h("span", { class: "ts-knob-words" }, h("label", { for: id }, label), h("span", { class: "ts-knob-does", id: `${id}-does` }, does), own), h("span", { class: "ts-knob-slider" }, slider, mark), number);
    return { name, element, slider, number, mark, own, least, most, off };
  }

  /** @param {Name} name @param {HTMLInputElement} input */
  turn(name, input) {
    input.classList.remove("ts-typing");
    const value = input.valueAsNumber;
    if (Number.isFinite(value)) this.settings = { ...(this.settings ?? this.own), [name]: within(name, value) };
    this.changed();
  }

  /** @param {State} state @param {Choice} choice */
  prepare({ run, step }, choice) {
    if (this.of !== run.id) {
      this.of = run.id;
      this.settings = null;
      this.picture.clear();
    }
    this.own = ownSettings(run);
    if (!this.open) return;
    const index = step.chosenAt - run.nPrompt;
    const { found, why } = this.want(index);
    this.why = why;
    if (!found) { this.made = null; return; }
    const place = `${run.id}/${index}`;
    const key = `${place} ${JSON.stringify(this.settings)}`;
    if (this.made?.key === key) return;
    const seen = run.tokens.slice(0, step.chosenAt).map((token) => token.id);
    const [from, own] = this.made?.key.startsWith(`${place} `) ? [this.made.from, this.made.own] : first(found.scores, seen, this.own);
    this.made = { key, from, own, bits: found.bits, levels: madeLevels(run, choice, from, seen, this.settings ?? this.own) };
  }

  /** @param {State} state @returns {import("./distribution.js").Shown | null} */
  shown({ run, step }) {
    const { made } = this;
    if (!this.open || !made) return null;
    const ghost = (/** @type {number} */ id, /** @type {import("./levels.js").Level} */ level) => chanceOf(ownAt(made, level.name), id);
    return { levels: made.levels, drawn: run.tokens[step.chosenAt], vocabulary: run.head.model.d_vocab, ghost };
  }

  /** @param {State} state @param {Choice} choice */
  paint(state, choice) {
    this.prepare(state, choice);
    const shown = this.shown(state);
    if (shown) this.picture.paint(shown, state.colours);
  }

  /** @param {State} state @param {Choice} choice */
  draw(state, choice) {
    if (!this.open) return;
    const settings = this.settings ?? this.own;
    for (const knob of this.knobs) drawKnob(knob, settings[knob.name], this.own[knob.name]);
    this.reset.disabled = this.settings === null;
    const shown = this.shown(state);
    this.result.hidden = !shown;
    if (!shown || !this.made) {
      say(this.said, this.why ?? "");
      say(this.note, "");
      return;
    }
    this.picture.keep(this.made.levels, choice.id, shown.vocabulary);
    this.picture.draw(shown);
    const last = this.made.levels[this.made.levels.length - 1];
    fill(this.said, ...verdict(state, choice, last, settings));
    const n = count(state.run.head.model.d_vocab);
    say(this.note, this.made.bits === 16 ? phrase("Recomputed from this step’s scores of all {n} tokens, kept at 16 bits in this recording; the model did not run again.", { n })
      : phrase("Recomputed from this step’s scores of all {n} tokens; the model did not run again.", { n }));
  }
}

/** @param {Float32Array} scores @param {number[]} seen @param {Settings} own @returns {[import("../../data/sampling.js").Distribution, Stage[]]} */
function first(scores, seen, own) {
  const from = raw(scores);
  return [from, stages(from, seen, own)];
}

/** The run's own distribution after the processor of this name, or after the last one before it that ran. @param {Made} made @param {string} name */
function ownAt(made, name) {
  const order = KNOBS.map((knob) => knob[1]);
  const ran = made.own.filter((stage) => order.indexOf(stage.name) <= order.indexOf(name));
  return ran.length ? ran[ran.length - 1].after : made.from;
}

/** Whether the drawn token could have been drawn so. @param {State} state @param {Choice} choice @param {import("./levels.js").Level} last @param {Settings} settings */
function verdict({ run, step }, choice, last, settings) {
  const values = { token: quoted(run.tokens[step.chosenAt]) };
  const was = choice.byPerson ? phraseParts("In the run, a person chose {token}.", values) : choice.runners.length ? phraseParts("In the run, {token} was drawn.", values)
    : phraseParts("In the run, {token} was taken.", values);
  const taken = last.candidates[0];
  if (settings.temperature === 0) {
    return taken.id === choice.id ? [...was, " ", phrase("With these settings it is taken again: it is the most likely token, and temperature 0 is greedy.")]
      : [...was, " ", ...phraseParts("With these settings it is not taken: temperature 0 is greedy, and {token} is more likely, with {share}.", { token: quoted(taken), share: percent(taken.probability) })];
  }
  return last.chosen ? [...was, " ", phrase("With these settings it could have been drawn, with probability {share}.", { share: percent(last.chosen) })]
    : [...was, " ", h("strong", {}, phrase("With these settings it could not have been drawn."))];
}

/** @param {ReturnType<WhatIf["makeKnob"]>} knob @param {number} value @param {number} own */
function drawKnob({ slider, number, mark, own: said, least, most, off, name }, value, own) {
  if (slider.valueAsNumber !== Math.min(Math.max(value, least), most)) slider.value = String(value);
  const typing = number.classList.contains("ts-typing"); // a picture drawn meanwhile takes nothing back
  if (!typing && (document.activeElement !== number || number.valueAsNumber !== value)) number.value = String(value);
  const share = (Math.min(Math.max(own, least), most) - least) / (most - least);
  mark.style.setProperty("--ts-at", String(share));
  const neutral = name === "temperature" ? phrase("1 (unchanged)") : phrase("off");
  const words = (/** @type {number} */ setting) => (setting === off ? neutral : name === "temperature" && setting === 0 ? phrase("0 (greedy)") : String(setting));
  const is = value === off ? neutral : name === "temperature" && value === 0 ? phrase("greedy") : phrase("on");
  say(said, value === own ? phrase("{state}, as in the run", { state: is }) : phrase("{state}; in the run: {own}", { state: is, own: words(own) }));
  slider.setAttribute("aria-valuetext", words(value));
}

/** @param {Name} name @param {number} value */
function within(name, value) {
  const [, , least, , , highest] = /** @type {KNOBS[number]} */ (KNOBS.find((knob) => knob[0] === name));
  const bounded = Math.min(Math.max(value, name === "penalty" ? 0.05 : least), highest);
  return name === "topK" ? Math.round(bounded) : name === "temperature" && bounded > 0 ? Math.max(bounded, 0.01) : bounded;
}

/** @param {import("../../data/store.js").Run} run @returns {Settings} */
function ownSettings(run) {
  const { temperature, top_k: topK, top_p: topP, min_p: minP, repetition_penalty: penalty } = run.head.settings;
  return { temperature, topK, topP, minP, penalty };
}
