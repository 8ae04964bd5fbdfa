// @ts-check
// The next token: the model's distribution, what each processor did to it, and the draw, as they ran.

import { h, fill, say, tokenText, quoted } from "../dom.js";
import { count, percent, plain } from "../format.js";

/** @typedef {import("../store.js").Choice} Choice */
/** @typedef {import("../store.js").Candidate} Candidate */

const SHOWN = 10;
const WORDS = /** @type {Record<string, string>} */ ({
  "temperature": "divides every score: below 1 the likely get likelier, above 1 the unlikely gain",
  "top-k": "keeps only the k likeliest tokens",
  "top-p": "keeps the likeliest tokens that together reach p",
  "min-p": "drops tokens below a share of the likeliest one's probability",
  "repetition penalty": "lowers the scores of tokens that already stand in the text",
});

/** @type {import("../card.js").View} */
export const nextToken = {
  id: "next-token",
  title: "Next token",
  sentence: "Each pass ends in one number for every token of the vocabulary: how likely it comes next. One token is chosen from them.",
  create(body) {
    const headline = h("p", { class: "ts-headline", "aria-live": "polite" });
    const tabs = h("div", { class: "ts-tabs", role: "group", "aria-label": "Stages" });
    const stageWords = h("p", { class: "ts-note" });
    const bars = h("ol", { class: "ts-bars" });
    const rest = h("p", { class: "ts-readout" });
    const draw = h("div", { class: "ts-draw" });
    body.append(headline, tabs, stageWords, bars, rest, draw);
    let chosenStage = 0;
    let shown = "";
    /** @type {import("../card.js").State | null} */
    let last = null;

    function update() {
      if (!last) return;
      const { run, step } = last;
      const choice = step.choices[0];
      if (!choice) {
        fill(headline, "This pass read a part of the prompt; no token was chosen from it yet.");
        for (const part of [tabs, stageWords, bars, rest, draw]) fill(part);
        return;
      }
      const vocabulary = run.head.model.d_vocab;
      fill(headline, "After ", quoted(run.tokens[step.last]), " came ", quoted(run.tokens[step.chosenAt]), ": ",
        h("strong", {}, percent(choice.probability)), `, ${choice.rank === 0 ? "the likeliest" : `number ${count(choice.rank + 1)}`} of ${count(vocabulary)} tokens.`);
      const stage = Math.min(chosenStage, choice.stages.length);
      drawTabs(tabs, choice, vocabulary, stage, (to) => { chosenStage = to; update(); });
      const current = stage === 0 ? null : choice.stages[stage - 1];
      fill(stageWords, current ? stageSentence(current) : `As the model said it: raw probabilities over the full vocabulary, ${count(vocabulary)} of ${count(vocabulary)}, before any processor.`);
      const candidates = (current ? current.candidates : choice.candidates).map((each) => run.named(each));
      drawBars(bars, candidates, choice.id);
      sayRest(rest, candidates, current ? current.alive : vocabulary);
      drawRace(draw, { ...choice, runners: choice.runners.map((each) => run.named(each)) });
    }

    return {
      draw(state) {
        last = state;
        const now = `${state.run.id}/${state.at.step}/${state.step.choices.length}`;
        if (now === shown) return;
        shown = now;
        update();
      },
      numbers({ run, step }) {
        const choice = step.choices[0];
        const vocabulary = run.head.model.d_vocab;
        const rows = !choice ? [] : [["raw", choice.candidates], ...choice.stages.map((stage) => [stage.name, stage.candidates])].flatMap(([name, candidates]) =>
          /** @type {Candidate[]} */ (candidates).map((each, i) => [String(name), String(i + 1), tokenText(run.named(each)), String(each.id), plain(each.score), percent(each.probability)]));
        return {
          columns: ["stage", "place", "token", "id", "score (logit)", "probability"],
          rows,
          note: `Float32, as they ran. Raw probabilities are a softmax over all ${count(vocabulary)} tokens. Entropy: ${choice ? plain(choice.entropy) : "–"} nats.`,
          code: "import torch\nfrom model import Trace\nrun = Trace.open('run.trace')\n"
            + `logits = torch.tensor(run.logits[${step.chosenAt - run.nPrompt}])          # raw, one for every token of the vocabulary\n`
            + "probabilities = torch.softmax(logits, dim=-1)\nprint(probabilities.topk(10))",
        };
      },
    };
  },
};

/** @param {HTMLElement} tabs @param {Choice} choice @param {number} vocabulary @param {number} stage @param {(to: number) => void} go */
function drawTabs(tabs, choice, vocabulary, stage, go) {
  const names = ["1. raw", ...choice.stages.map((each, i) => `${i + 2}. ${each.name}${each.setting === null ? "" : ` ${plain(each.setting)}`}`)];
  const alive = [vocabulary, ...choice.stages.map((each) => each.alive)];
  tabs.hidden = choice.stages.length === 0;
  fill(tabs, ...names.map((name, i) => h("button", { type: "button", class: "ts-tab", "aria-pressed": String(i === stage), onclick: () => go(i) },
    h("span", {}, name), h("span", { class: "ts-muted" }, `${count(alive[i])} left`))));
}

/** @param {import("../store.js").Stage} stage */
function stageSentence(stage) {
  const removed = stage.removed_mass > 0 ? `it removed tokens that held ${percent(stage.removed_mass)} of the probability` : "it removed none";
  return `${stage.name}${WORDS[stage.name] ? ` ${WORDS[stage.name]}` : ""}; here ${removed}, and ${count(stage.alive)} can still be chosen.`;
}

/** @param {HTMLElement} list @param {Candidate[]} candidates @param {number} chosen */
function drawBars(list, candidates, chosen) {
  const top = candidates.slice(0, SHOWN);
  const extra = top.some((each) => each.id === chosen) ? [] : candidates.filter((each) => each.id === chosen);
  const most = top[0]?.probability || 1;
  fill(list, ...[...top, ...extra].map((each) => {
    const fillBar = h("span", { class: "ts-bar-fill" });
    fillBar.style.transform = `scaleX(${each.probability / most})`;
    return h("li", { class: `ts-bar ${each.id === chosen ? "ts-chosen" : ""}` },
      tokenText(each, "ts-bar-name"), h("span", { class: "ts-bar-track" }, fillBar),
      h("span", { class: "ts-bar-number" }, percent(each.probability)), h("span", { class: "ts-bar-mark" }, each.id === chosen ? "✓ chosen" : ""));
  }));
}

/** @param {HTMLElement} rest @param {Candidate[]} candidates @param {number} alive */
function sayRest(rest, candidates, alive) {
  const top = candidates.slice(0, SHOWN);
  const mass = top.reduce((sum, each) => sum + each.probability, 0);
  const others = alive - top.length;
  say(rest, others > 0 ? `These ${top.length} together: ${percent(Math.min(mass, 1))}. The other ${count(others)} tokens share ${percent(Math.max(1 - mass, 0))}.`
    : `These are all that can still be chosen.`);
}

/** The race that drew the token: each gets a random time, divided by its probability; the smallest wins.
 * @param {HTMLElement} box @param {Choice} choice */
function drawRace(box, choice) {
  if (choice.runners.length === 0) {
    fill(box, h("h3", { class: "ts-subtitle" }, "The choice"), h("p", { class: "ts-note" }, "Temperature is 0: no dice, the likeliest token is taken."));
    return;
  }
  if (choice.stages.some((stage) => stage.alive === 1)) {
    fill(box, h("h3", { class: "ts-subtitle" }, "The draw"), h("p", { class: "ts-note" }, "Only one token was left: there was nothing to draw."));
    return;
  }
  const longest = Math.max(...choice.runners.map((each) => (Number.isFinite(each.time) ? each.time : 0))) || 1;
  fill(box, h("h3", { class: "ts-subtitle" }, "The draw, as it ran"),
    h("p", { class: "ts-note" }, "A race: every token that is left draws a random waiting time and divides it by its probability. The smallest time wins, "
      + "so a likely token wins often, not always."),
    h("ol", { class: "ts-bars" }, ...choice.runners.map((each, i) => {
      const fillBar = h("span", { class: "ts-bar-fill" });
      fillBar.style.transform = `scaleX(${Math.max(0.005, Math.min(each.time, longest) / longest)})`;
      return h("li", { class: `ts-bar ts-race ${i === 0 ? "ts-chosen" : ""}` },
        tokenText(each, "ts-bar-name"), h("span", { class: "ts-bar-track" }, fillBar),
        h("span", { class: "ts-bar-number", title: "waiting time ÷ probability = time" }, `${plain3(each.wait)} ÷ ${percent(each.probability)} = ${plain3(each.time)}`),
        h("span", { class: "ts-bar-mark" }, i === 0 ? "✓ first" : ""));
    })));
}

/** @param {number} number */
function plain3(number) {
  return Number.isFinite(number) ? String(Number(number.toPrecision(3))) : "never";
}
