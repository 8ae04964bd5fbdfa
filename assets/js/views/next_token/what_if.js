// @ts-check
// What other settings would make of a finished step: sliders that redraw its stages from its own scores of all tokens.

import { h, fill, say, button, quoted } from "../../core/dom.js";
import { count, percent } from "../../core/format.js";
import { chanceOf, raw, stages } from "../../data/sampling.js";
import { Distribution } from "./distribution.js";
import { madeLevels } from "./levels.js";
import { ReservedSpace } from "../../core/reserve_space.js";

/** @typedef {import("../../board/card.js").State} State */
/** @typedef {import("../../data/store.js").Choice} Choice */
/** @typedef {import("../../data/sampling.js").Settings} Settings */
/** @typedef {import("../../data/sampling.js").Stage} Stage */
/** @typedef {keyof Settings} Name */
/** @typedef {{key: string, levels: import("./levels.js").Level[], own: Stage[], from: import("../../data/sampling.js").Distribution, bits: number}} Made */

/** name, label, slider's least, most and step, the highest that can be typed, the value that switches it off, what it does
 * @type {[Name, string, number, number, number, number, number, string][]} */
const KNOBS = [
  ["penalty", "repetition penalty", 0.5, 2, 0.05, 10, 1, "above 1: tokens of the text get less likely"],
  ["temperature", "temperature", 0, 2, 0.05, 100, 1, "0: no dice; below 1 surer, above 1 bolder"],
  ["topK", "top-k", 0, 200, 1, 1e6, 0, "keep the k likeliest"],
  ["topP", "top-p", 0.01, 1, 0.01, 1, 1, "keep the likeliest that together reach p"],
  ["minP", "min-p", 0, 1, 0.01, 1, 0, "drop what is below this share of the top one"],
];

const LONGEST_VERDICT = "The token that was drawn is still “as long as it can be”. With these settings it could have been drawn: 12.3% of the draws.";

export class WhatIf {
  /** @param {import("../../board/card.js").Context} context @param {() => void} changed */
  constructor({ logitsSlice, redraw }, changed) {
    this.want = logitsSlice;
    this.changed = changed;
    this.knobs = KNOBS.map((knob) => this.makeKnob(knob));
    this.reset = button("Reset to this run’s settings", () => { this.settings = null; changed(); });
    this.said = h("p", { class: "ts-readout", "aria-live": "polite" });
    this.room = new ReservedSpace(this.said, "readout");
    this.room.keep(LONGEST_VERDICT);
    this.note = h("p", { class: "ts-note" });
    this.picture = new Distribution(() => { changed(); redraw(); }, "last");
    this.result = h("div", {}, h("p", { class: "ts-legend" }, h("span", { class: "ts-ghost-key" }), "a frame shows how likely the token was in the run itself"), this.picture.bars, this.picture.stages);
    this.element = h("details", { class: "ts-what-if", ontoggle: changed },
      h("summary", {}, h("span", { class: "ts-subtitle" }, "What if?"), h("span", { class: "ts-muted" }, " Other settings, the same scores")),
      h("div", { class: "ts-what-if-panes" },
        h("div", {}, h("div", { class: "ts-knobs" }, ...this.knobs.map((knob) => knob.element)), h("p", { class: "ts-legend" }, h("span", {}, h("span", { "aria-hidden": "true" }, "▲ "), "the run’s own setting")), h("p", { class: "ts-row" }, this.reset), this.room.element, this.note),
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
  makeKnob([name, label, least, most, step, , off, does]) {
    const id = `ts-knob-${name}`;
    const hear = (/** @type {Event} */ event) => this.turn(name, /** @type {HTMLInputElement} */ (event.target));
    const slider = h("input", { type: "range", id, min: least, max: most, step, oninput: hear, "aria-describedby": `${id}-does ${id}-own` });
    const number = h("input", { type: "number", min: least, step: "any", onchange: hear, oninput: () => number.classList.add("ts-typing"), "aria-label": `${label}, as a number` });
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
    say(this.note, `Redrawn from this step’s own scores of all ${count(state.run.head.model.d_vocab)} tokens${this.made.bits === 16 ? ", kept at 16 bits in this recording" : ""}; the model did not run again.`);
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
  const drawn = quoted(run.tokens[step.chosenAt]);
  const taken = last.candidates[0];
  const start = [`The token that was ${choice.byPerson ? "chosen by a person" : choice.runners.length ? "drawn" : "taken"} is still `, drawn, ". With these settings it "];
  if (settings.temperature === 0) {
    return taken.id === choice.id ? [...start, "is taken again: it is the likeliest, and there are no dice."]
      : [...start, "is not taken: there are no dice, and ", quoted(taken), ` with ${percent(taken.probability)} is likelier.`];
  }
  return last.chosen ? [...start, `could have been drawn: ${percent(last.chosen)} of the draws.`] : [...start, h("strong", {}, "could not have been drawn"), "."];
}

/** @param {ReturnType<WhatIf["makeKnob"]>} knob @param {number} value @param {number} own */
function drawKnob({ slider, number, mark, own: said, least, most, off, name }, value, own) {
  if (slider.valueAsNumber !== Math.min(Math.max(value, least), most)) slider.value = String(value);
  const typing = number.classList.contains("ts-typing"); // a picture drawn meanwhile takes nothing back
  if (!typing && (document.activeElement !== number || number.valueAsNumber !== value)) number.value = String(value);
  const share = (Math.min(Math.max(own, least), most) - least) / (most - least);
  mark.style.setProperty("--ts-at", String(share));
  const neutral = name === "temperature" ? "1 (unchanged)" : "off";
  const words = (/** @type {number} */ setting) => (setting === off ? neutral : name === "temperature" && setting === 0 ? "0, no dice" : String(setting));
  const is = value === off ? neutral : name === "temperature" && value === 0 ? "no dice" : "on";
  say(said, value === own ? `${is}, as in the run` : `${is}; the run: ${words(own)}`);
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
