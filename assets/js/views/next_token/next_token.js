// @ts-check
// The next token: the model's distribution, what each processor did to it, and the draw, as they ran; and what other settings
// would have made of the same scores.

import { h, fill, tokenText, quoted } from "../../core/dom.js";
import { count, percent, plain } from "../../core/format.js";
import { Distribution } from "./distribution.js";
import { ForkForm, OriginLine } from "./fork_form.js";
import { named, recordedLevels, stageName } from "./levels.js";
import { Race } from "./race.js";
import { ReservedSpace } from "../../core/reserve_space.js";
import { WhatIf } from "./what_if.js";
import { phrase, phraseParts } from "../../core/texts.js";

/** @typedef {import("../../data/store.js").Choice} Choice */
/** @typedef {import("../../data/view.js").State} State */

/** @type {import("../../data/view.js").View} */
export const nextToken = {
  id: "next-token",
  title: phrase("Next token"),
  lead: phrase("Every token of the vocabulary gets a probability; one token is chosen."),
  create(body, context) {
    const headline = h("p", { class: "ts-headline", "aria-live": "polite" });
    const room = new ReservedSpace(headline, "headline");
    /** @type {State | null} */
    let last = null;
    let [of, drawn, keptOf] = ["", "", ""];
    let kept = 0; // passes that have room
    /** @type {import("./distribution.js").Shown | null} */
    let shown = null;
    const changed = () => { if (last) { picture.paint(last); picture.draw(last); } };
    const forking = context.fork ? new ForkForm(context.fork, changed) : null;
    const origin = new OriginLine(context.fork);
    const distribution = new Distribution(changed, "last", forking && ((token) => forking.pick(token)));
    const race = new Race();
    const whatIf = new WhatIf(context, changed);
    const panes = h("div", { class: "ts-chosen-panes" },
      h("div", {}, h("h3", { class: "ts-subtitle" }, phrase("The stages, as they ran")), distribution.stages),
      h("div", {}, h("h3", { class: "ts-subtitle" }, phrase("The most likely tokens at this stage, and all others")), distribution.bars, forking?.element), race.element);
    body.append(room.element, origin.element, panes, whatIf.element);

    /** @param {State} state */
    function prepare({ run, step }) {
      const choice = step.choices[0];
      const key = `${run.id}/${step.index}/${step.choices.length}`;
      if (key === of) return choice;
      of = key;
      shown = choice ? { levels: recordedLevels(run, choice), drawn: run.tokens[step.chosenAt], vocabulary: run.head.model.d_vocab } : null;
      return choice;
    }

    /** Make room for every pass, so that stepping moves nothing below. @param {State} state */
    function keep({ run }) {
      if (keptOf !== run.id) {
        [keptOf, kept] = [run.id, 0];
        for (const part of [room, distribution, race]) part.clear();
      }
      for (; kept < run.steps.length; kept += 1) {
        const step = run.steps[kept];
        const choice = step.choices[0];
        room.keep(...sayChoice({ run, step }, choice));
        if (!choice) continue;
        const levels = recordedLevels(run, choice);
        distribution.keep(levels, choice.id, run.head.model.d_vocab);
        race.keep(run, choice, levels[levels.length - 1].alive);
      }
    }

    const picture = {
      paint(/** @type {State} */ state) {
        const choice = prepare(state);
        if (!shown) return;
        distribution.paint(shown, state.colours);
        whatIf.paint(state, choice);
      },
      draw(/** @type {State} */ state) {
        last = state;
        keep(state);
        const choice = prepare(state);
        panes.hidden = whatIf.element.hidden = !shown;
        origin.draw(state);
        if (shown) {
          forking?.draw(state, choice);
          distribution.pressed = forking?.pickedAt(state)?.id ?? null;
          distribution.draw(shown);
          whatIf.draw(state, choice);
        }
        if (of === drawn) return;
        drawn = of;
        fill(headline, ...sayChoice(state, choice));
        if (shown) race.draw(state.run, choice, shown.levels[shown.levels.length - 1].alive);
      },
      numbers: numbersOf,
      pick: (/** @type {State} */ state, /** @type {import("../../data/view.js").Named} */ token) => forking?.choose(state, token),
    };
    return picture;
  },
  glance({ run, step, colours }) {
    const choice = step.choices[0];
    if (!choice) return { value: [phrase("none yet")] };
    return { value: [`${percent(choice.probability)} `, quoted(run.tokens[step.chosenAt])], mini: (g, width, height) => miniature(g, width, height, choice, colours) };
  },
};

/** @param {{run: import("../../data/store.js").Run, step: import("../../data/store.js").Step}} state @param {Choice | undefined} choice */
function sayChoice({ run, step }, choice) {
  if (!choice) return [phrase("This pass read a part of the prompt; no token is chosen yet.")];
  const vocabulary = count(run.head.model.d_vocab);
  const values = { before: quoted(run.tokens[step.last]), token: quoted(run.tokens[step.chosenAt]), share: h("strong", {}, percent(choice.probability)), rank: count(choice.rank + 1) };
  return [...(choice.rank === 0 ? phraseParts("After {before} came {token}: raw probability {share}, the most likely token.", values)
    : phraseParts("After {before} came {token}: raw probability {share}, rank {rank}.", values)),
  ...sayDrawnFrom(run, choice), " ", phrase("Probabilities are over all {n} tokens of the vocabulary.", { n: vocabulary })];
}

/** How likely it was where it was drawn from, after the last stage, and how it was chosen. @param {import("../../data/store.js").Run} run @param {Choice} choice */
function sayDrawnFrom(run, choice) {
  const levels = recordedLevels(run, choice);
  const last = levels[levels.length - 1];
  const person = choice.byPerson ? [" ", phrase("A person chose it.")] : [];
  if (levels.length === 1 || typeof last.chosen !== "number") return person;
  const values = { share: h("strong", {}, percent(last.chosen)), stages: levels.slice(1).map(named).join(", ") };
  if (choice.byPerson) return [" ", ...phraseParts("After {stages} its probability was {share}.", values), ...person];
  return [" ", ...(choice.runners.length ? phraseParts("It was drawn with probability {share}, after {stages}.", values)
    : phraseParts("It was taken as the most likely token, with probability {share} after {stages}.", values))];
}

/** The three tallest bars on a track of 100%, the chosen one in its colour if it is among them.
 * @param {CanvasRenderingContext2D} g @param {number} width @param {number} height @param {Choice} choice @param {import("../../core/canvas.js").Paint} colours */
function miniature(g, width, height, choice, colours) {
  const top = choice.candidates.slice(0, 3);
  top.forEach((each, i) => {
    const y = 1 + (i * height) / 3;
    g.fillStyle = colours.line;
    g.fillRect(0, y, width, height / 3 - 3);
    g.fillStyle = each.id === choice.id ? colours.generated : colours.muted;
    g.fillRect(0, y, Math.max(1, width * each.probability), height / 3 - 3);
  });
}

/** @param {State} state */
function numbersOf({ run, step }) {
  const choice = step.choices[0];
  const levels = choice ? recordedLevels(run, choice) : [];
  return {
    columns: [phrase("stage"), phrase("rank"), phrase("token"), phrase("id"), phrase("score (logit)"), phrase("probability")],
    rows: levels.flatMap(({ name, candidates }) => candidates.map((each, i) => [stageName(name), String(i + 1), tokenText(each), count(each.id), plain(each.score), percent(each.probability)])),
    note: phrase("Float32, as they ran. Raw probabilities are a softmax over all {n} tokens. Entropy of the raw distribution, a measure of the model’s uncertainty (0: certain): {entropy} nats, the unit that goes with the natural logarithm.",
      { n: count(run.head.model.d_vocab), entropy: choice ? plain(choice.entropy) : "–" }),
    code: codeOf(run, step),
  };
}

/** The library's own processors on this very step's scores. @param {import("../../data/store.js").Run} run @param {import("../../data/store.js").Step} step */
function codeOf(run, step) {
  const { temperature, top_k: k, top_p: p, min_p: minP, repetition_penalty: penalty } = run.head.settings;
  const drawn = temperature > 0;
  const processors = [
    penalty !== 1 && `RepetitionPenaltyLogitsProcessor(${float(penalty)})`,
    drawn && temperature !== 1 && `TemperatureLogitsWarper(${float(temperature)})`,
    drawn && k > 0 && `TopKLogitsWarper(${k})`,
    drawn && p < 1 && `TopPLogitsWarper(${float(p)})`,
    drawn && minP > 0 && `MinPLogitsWarper(${float(minP)})`,
  ].filter(Boolean);
  const names = processors.map((each) => String(each).split("(")[0]);
  return `import torch\nfrom model import Trace\n${names.length ? `from transformers import ${names.join(", ")}\n` : ""}run = Trace.open('run.trace')\n`
    + `i = ${step.chosenAt - run.nPrompt}  # which of the written tokens\nscores = torch.tensor(run.logits[i])[None]\n`
    + "ids = torch.tensor([[token.id for token in run.tokens[:run.n_prompt + i]]])\nprint(scores.softmax(-1).topk(5))\n"
    + (names.length ? `for processor in [${processors.join(", ")}]:\n    scores = processor(ids, scores)\n    print(type(processor).__name__, int(scores.isfinite().sum()), 'left', scores.softmax(-1).topk(5))\n` : "")
    + "for runner in run.choices[i].draw:  # none where the likeliest is taken\n    print(repr(run.texts[runner.id]), runner.wait, '/', runner.probability, '=', runner.time)";
}

/** @param {number} number as Python writes a float */
function float(number) {
  return Number.isInteger(number) ? `${number}.0` : String(number);
}
