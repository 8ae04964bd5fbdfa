// @ts-check
// The draw as it ran, as a race: the moment in which the first runner arrives, and where the others are then.

import { h, fill, say, button, tokenText, quoted } from "../dom.js";
import { count, percent } from "../format.js";

/** @typedef {import("../store.js").Choice} Choice */
/** @typedef {import("../store.js").Run} Run */
/** @typedef {import("../store.js").Runner} Runner */

export class Race {
  constructor() {
    this.title = h("h3", { class: "ts-subtitle" });
    this.words = h("p", { class: "ts-note" });
    this.lanes = h("ol", { class: "ts-lanes" });
    this.play = button("▶ Run it again", () => this.run());
    this.story = h("p", { class: "ts-readout" });
    this.field = h("p", { class: "ts-note" });
    this.track = h("div", { class: "ts-track" }, this.lanes, h("p", { class: "ts-row" }, this.play, h("span", { class: "ts-note" }, "random number ÷ probability = time; the smallest time wins")));
    this.element = h("div", { class: "ts-draw" }, h("div", {}, this.title, this.words, this.story, this.field), this.track);
    this.opened = false;
    new IntersectionObserver(([entry]) => {
      if (!entry.isIntersecting || this.opened || !this.element.isConnected || this.track.hidden) return;
      this.opened = true;
      this.run();
    }, { threshold: 0.6 }).observe(this.lanes);
  }

  /** All start together, and stop when the first arrives. */
  run() {
    if (window.matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    for (const runner of this.lanes.querySelectorAll(".ts-runner")) {
      const end = /** @type {HTMLElement} */ (runner).style.transform;
      runner.animate([{ transform: "translateX(-100%)" }, { transform: end }], { duration: 400, easing: "linear" });
    }
  }

  /** @param {Run} run @param {Choice} choice @param {number} alive tokens that were left to draw from */
  draw(run, choice, alive) {
    const runners = choice.runners.map((each) => run.named(each));
    const [first] = runners;
    const alone = alive === 1;
    this.element.classList.toggle("ts-no-dice", !first || alone);
    this.track.hidden = this.story.hidden = this.field.hidden = !first || alone;
    say(this.title, first ? "The draw, as it ran" : "The choice: no dice");
    if (!first) {
      const [likeliest, next] = (choice.stages[choice.stages.length - 1] ?? choice).candidates;
      fill(this.words, "Temperature is 0: nothing is drawn, the likeliest token is taken. ",
        ...(likeliest && next ? [quoted(run.named(likeliest)), ` with ${percent(likeliest.probability)} is ahead of `, quoted(run.named(next)), ` with ${percent(next.probability)}. `] : []),
        "“What if?” below shows which tokens a higher temperature could have drawn.");
      return;
    }
    if (alone) { say(this.words, "Only one token was left: there was nothing to draw."); return; }
    say(this.words, "Every token that is left draws a random number, 1 on average, and divides it by its probability: that is its time. So the likely are fast, and win often; "
      + "a lucky small number lets another win. The picture is the moment in which the winner arrives.");
    fill(this.lanes, ...runners.map((each, i) => lane(each, first, i)));
    fill(this.story, ...story(run, choice, runners));
    say(this.field, alive > runners.length ? `Shown are the first ${runners.length} to arrive; all ${count(alive)} tokens that were left ran.` : `All ${count(alive)} tokens that were left are shown.`);
  }
}

/** @param {Runner & {hex?: string}} runner @param {Runner} winner @param {number} place */
function lane(runner, winner, place) {
  const way = place === 0 ? 1 : runner.time > 0 ? Math.min(winner.time / runner.time, 1) : 0;
  const dot = h("span", { class: "ts-runner" });
  dot.style.transform = `translateX(${((way - 1) * 100).toFixed(2)}%)`;
  return h("li", { class: `ts-lane ${place === 0 ? "ts-chosen" : ""}` },
    h("span", { class: "ts-lane-place" }, String(place + 1)), tokenText(runner), h("span", { class: "ts-lane-track" }, dot),
    h("span", { class: "ts-lane-sum" }, `${ratio(runner)} = `, h("strong", {}, short(runner.time))));
}

/** Why this one won: its time beside that of the favourite, or of the next if it was the favourite itself. @param {Run} run @param {Choice} choice @param {Runner[]} runners */
function story(run, choice, runners) {
  const [first] = runners;
  const left = (choice.stages[choice.stages.length - 1] ?? choice).candidates;
  const favourite = left[0];
  if (!favourite) return [];
  const won = [quoted(run.named(first)), favourite.id === first.id ? ", the favourite, came first: " : " came first: ", h("strong", {}, `${ratio(first)} = ${short(first.time)}`)];
  const other = favourite.id === first.id ? runners[1] : runners.find((each) => each.id === favourite.id);
  if (other) return [...won, ` arrived before ${other.id === favourite.id ? "the favourite, " : ""}`, quoted(run.named(other)), `: ${ratio(other)} = ${short(other.time)}.`];
  return favourite.id === first.id ? [...won, "."]
    : [...won, ". The favourite, ", quoted(run.named(favourite)), ` with ${percent(favourite.probability)}, drew so large a number that it is not among the first.`];
}

/** Its random number and its probability. @param {Runner} runner */
function ratio({ wait, probability }) {
  return `${short(wait)} ÷ ${percent(probability)}`;
}

/** @param {number} number */
function short(number) {
  if (!Number.isFinite(number)) return "never";
  return number >= 1000 ? count(number) : String(Number(number.toPrecision(number < 0.1 ? 2 : 3)));
}
