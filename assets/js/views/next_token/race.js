// @ts-check
// The draw as it ran, as a race: the moment in which the first runner arrives, and where the others are then.

import { h, fill, say, button, tokenText, quoted, watchSight, isStill } from "../../core/dom.js";
import { count, digits, percent } from "../../core/format.js";
import { ReservedSpace } from "../../core/reserve_space.js";
import { phrase, phraseParts } from "../../core/texts.js";

const [FEWEST, MOST] = [3, 7]; // digits of a time: more than three only where times would look alike

/** @typedef {import("../../data/store.js").Choice} Choice */
/** @typedef {import("../../data/store.js").Run} Run */
/** @typedef {import("../../data/store.js").Runner} Runner */

export class Race {
  constructor() {
    this.title = h("h3", { class: "ts-subtitle" });
    this.words = h("p", { class: "ts-note" });
    this.lanes = h("ol", { class: "ts-lanes" });
    this.play = button(phrase("▶ Replay the race"), () => this.run());
    this.story = h("p", { class: "ts-readout" });
    this.field = h("p", { class: "ts-note" });
    this.track = h("div", { class: "ts-track" }, this.lanes, h("p", { class: "ts-row" }, this.play, h("span", { class: "ts-note" }, phrase("random number ÷ probability = time, each rounded to three digits; the smallest time wins"))));
    this.rooms = { words: new ReservedSpace(this.words, "note"), story: new ReservedSpace(this.story, "readout"), field: new ReservedSpace(this.field, "note") };
    this.element = h("div", { class: "ts-draw" }, h("div", {}, this.title, ...Object.values(this.rooms).map((room) => room.element)), this.track);
    this.most = 0; // runners of one draw
    this.opened = false;
    watchSight(this.lanes, (entry) => {
      if (!entry.isIntersecting || this.opened || !this.element.isConnected || this.track.hidden) return;
      this.opened = true;
      this.run();
    }, { threshold: 0.6 });
  }

  /** All start together, and stop when the first arrives. */
  run() {
    if (isStill()) return;
    for (const runner of this.lanes.querySelectorAll(".ts-runner")) {
      const end = /** @type {HTMLElement} */ (runner).style.transform;
      runner.animate([{ transform: "translateX(-100%)" }, { transform: end }], { duration: 400, easing: "linear" });
    }
  }

  /** A run begins: nothing is known of its passes. */
  clear() {
    for (const room of Object.values(this.rooms)) room.clear();
    this.most = 0;
  }

  /** This draw can be shown here: nothing below moves when it is. @param {Run} run @param {Choice} choice @param {number} alive */
  keep(run, choice, alive) {
    const { words, story: told, field } = this.rooms;
    words.keep(...aboutChoice(run, choice, alive));
    if (!choice.runners.length || alive === 1) return;
    told.keep(...story(run, choice, choice.runners.map((each) => run.named(each))));
    field.keep(aboutField(choice, alive));
    this.most = Math.max(this.most, choice.runners.length);
    this.lanes.style.setProperty("--ts-rows", String(this.most));
  }

  /** @param {Run} run @param {Choice} choice @param {number} alive tokens that were left to draw from */
  draw(run, choice, alive) {
    const runners = choice.runners.map((each) => run.named(each));
    const [first] = runners;
    const alone = alive === 1;
    this.element.classList.toggle("ts-no-dice", this.most === 0);
    for (const part of [this.track, this.rooms.story.element, this.rooms.field.element]) {
      part.hidden = this.most === 0;
      part.classList.toggle("ts-keeps-room", !first || alone); // another pass of this run needs it
    }
    say(this.title, first ? phrase("The draw, as it ran") : phrase("The choice: nothing drawn"));
    fill(this.words, ...aboutChoice(run, choice, alive));
    if (!first || alone) {
      for (const part of [this.lanes, this.story, this.field]) fill(part);
      return;
    }
    const places = enough(runners);
    fill(this.lanes, ...runners.map((each, i) => lane(each, first, i, places)));
    fill(this.story, ...story(run, choice, runners));
    say(this.field, aboutField(choice, alive));
  }
}

/** How the choice was made. @param {Run} run @param {Choice} choice @param {number} alive @returns {import("../../core/dom.js").Child[]} */
function aboutChoice(run, choice, alive) {
  if (choice.byPerson) return [phrase("A person chose this token: nothing was drawn here, and the run continues from it. The bars show the model’s distribution.")];
  if (!choice.runners.length) {
    const [likeliest, next] = (choice.stages[choice.stages.length - 1] ?? choice).candidates;
    const ahead = likeliest && next ? phraseParts("{token} with {share} is ahead of {next} with {less}.",
      { token: quoted(run.named(likeliest)), share: percent(likeliest.probability), next: quoted(run.named(next)), less: percent(next.probability) }) : [];
    return [phrase("Temperature is 0: nothing is drawn, the most likely token is taken."), " ", ...ahead, ahead.length > 0 && " ",
      phrase("“What if?” below shows which tokens a higher temperature could have drawn.")];
  }
  if (alive === 1) return [phrase("Only one token was left: there was nothing to draw.")];
  return [phrase("Every token that is left draws a random number, 1 on average, and divides it by its probability: the result is its time. Likely tokens are fast and win often; a small random number lets another token win. The picture shows the moment when the winner arrives.")];
}

/** @param {Choice} choice @param {number} alive */
function aboutField({ runners }, alive) {
  return alive > runners.length ? phrase("Shown are the first {n} to arrive, of all {all} tokens that were left.", { n: runners.length, all: count(alive) })
    : phrase("All {all} tokens that were left are shown.", { all: count(alive) });
}

/** @param {Runner & {hex?: string}} runner @param {Runner} winner @param {number} place @param {number} places */
function lane(runner, winner, place, places) {
  const way = place === 0 ? 1 : runner.time > 0 ? Math.min(winner.time / runner.time, 1) : 0;
  const dot = h("span", { class: "ts-runner" });
  dot.style.transform = `translateX(${((way - 1) * 100).toFixed(2)}%)`;
  return h("li", { class: `ts-lane ${place === 0 ? "ts-chosen" : ""}` },
    h("span", { class: "ts-lane-place" }, String(place + 1)), tokenText(runner), h("span", { class: "ts-lane-track" }, dot),
    h("span", { class: "ts-lane-sum" }, `${ratio(runner)} ≈ `, h("strong", {}, timeOf(runner, places))));
}

/** Why this one won: its time beside that of the favourite, or of the next if it was the favourite itself. @param {Run} run @param {Choice} choice @param {Runner[]} runners */
function story(run, choice, runners) {
  const [first] = runners;
  const places = enough(runners);
  const left = (choice.stages[choice.stages.length - 1] ?? choice).candidates;
  const favourite = left[0];
  if (!favourite) return [];
  const other = favourite.id === first.id ? runners[1] : runners.find((each) => each.id === favourite.id);
  const values = { token: quoted(run.named(first)), sum: h("strong", {}, sumOf(first, places)), other: quoted(run.named(other ?? favourite)),
    otherSum: other ? sumOf(other, places) : "", share: percent(favourite.probability) };
  if (favourite.id === first.id) {
    return other ? phraseParts("{token}, the most likely token, wins: {sum}. Second is {other}: {otherSum}.", values) : phraseParts("{token}, the most likely token, wins: {sum}.", values);
  }
  return other ? phraseParts("{token} wins: {sum}. The most likely token, {other}, is slower: {otherSum}.", values)
    : phraseParts("{token} wins: {sum}. The most likely token, {other} with {share}, drew such a large number that it is not among the first.", values);
}

/** @param {Runner} runner @param {number} places */
function sumOf(runner, places) {
  return `${ratio(runner)} ≈ ${timeOf(runner, places)}`;
}

/** Digits after which no two times that differ look alike. @param {Runner[]} runners */
function enough(runners) {
  const times = new Set(runners.map((each) => each.time)).size;
  let places = FEWEST;
  while (places < MOST && new Set(runners.map((each) => timeOf(each, places))).size < times) places += 1;
  return places;
}

/** Its random number and its probability. @param {Runner} runner */
function ratio({ wait, probability }) {
  return `${digits(wait)} ÷ ${percent(probability)}`;
}

/** @param {Runner} runner @param {number} places digits that count */
function timeOf({ time }, places) {
  if (!Number.isFinite(time)) return phrase("never");
  if (places === FEWEST) return digits(time);
  return time >= 10 ** places ? count(time) : time < 0.001 ? time.toExponential(places - 1).replace("-", "−") : time.toPrecision(places);
}
