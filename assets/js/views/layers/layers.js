// @ts-check
// Layers: what one layer is made of, what the model would say after each one (the logit lens), how long the vectors become,
// and which units of the MLP are strongest.

import { h, tokenText } from "../../core/dom.js";
import { percent, plain, count, label } from "../../core/format.js";
import { makeBlock } from "./block.js";
import { makeLens } from "./lens.js";
import { makeLengths, lengthAt, plainLength } from "./lengths.js";
import { makeUnits, unitsAt } from "./units.js";
import { phrase } from "../../core/texts.js";

/** @type {import("../../data/view.js").View} */
export const layers = {
  id: "layers",
  title: phrase("Layers"),
  lead: phrase("Each layer adds something to every token's vector."),
  more: phrase("The “logit lens” shows which token the model would predict next if it stopped after that layer."),
  create(body, context) {
    const [block, lens, lengths, units] = [0, 1, 2, 3].map(() => h("div", { class: "ts-pane" }));
    const subtitle = (/** @type {string} */ text) => h("h3", { class: "ts-subtitle" }, text);
    block.append(subtitle(phrase("One layer, from bottom to top")));
    lens.append(subtitle(phrase("The guess after each layer")), h("p", { class: "ts-note" }, phrase("Bottom row: before the first layer. Top row: after the last layer, the model's actual prediction.")));
    lengths.append(subtitle(phrase("Length of the vector in the residual stream")), h("p", { class: "ts-legend" },
      h("span", {}, h("span", { class: "ts-line-key" }), " ", phrase("this token")), h("span", {}, h("span", { class: "ts-line-key ts-line-first" }), " ", phrase("the first token")),
      h("span", {}, h("span", { class: "ts-line-key ts-line-others" }), " ", phrase("all others")), h("span", {}, phrase("log scale: each line is 10 times the one below"))));
    units.append(subtitle(phrase("Strongest units of the MLP")));
    body.append(h("div", { class: "ts-layers-top" }, block, lens), h("div", { class: "ts-panes ts-layers-below" }, lengths, units));
    const [lensPart, lengthsPart] = [makeLens(lens, context), makeLengths(lengths, context)];
    const parts = [makeBlock(block, context), lensPart, lengthsPart, makeUnits(units)];
    return {
      paint(state) {
        for (const part of [lensPart, lengthsPart]) part.paint(state);
      },
      draw(state) {
        for (const part of parts) part.draw(state);
      },
      numbers,
    };
  },
  glance({ run, at, colours }) {
    const lens = run.lens || run.lensOnDemand ? run.lensPlace(0, at.token) : null;
    if (!lens) return { value: [whereItIs(run)] };
    const placeOf = (/** @type {number} */ level) => lens.at + level * lens.stride;
    const next = run.tokens[at.token + 1]?.id;
    const id = lens.ids[placeOf(at.layer + 1)];
    return {
      value: [phrase("layer {layer}: {percent}% “{text}”", { layer: at.layer, text: label({ id, text: run.texts.get(id) ?? "", hex: run.hexes.get(id) }, 5), percent: (lens.probabilities[placeOf(at.layer + 1)] * 100).toFixed(0) })],
      mini(g, width, height) {
        const bar = width / (run.nLayers + 1);
        for (let level = 0; level <= run.nLayers; level += 1) {
          const tall = Math.max(lens.probabilities[placeOf(level)] * (height - 4), 1);
          g.fillStyle = lens.ids[placeOf(level)] === next ? colours.generated : colours.weight;
          g.fillRect(level * bar, height - 3 - tall, Math.max(bar - 0.5, 0.5), tall);
        }
        g.fillStyle = colours.ink;
        g.fillRect((at.layer + 1) * bar - 0.5, height - 2, Math.max(bar, 2), 2);
      },
    };
  },
};

/** The lens in three words, while there is none. @param {import("../../data/store.js").Run} run */
function whereItIs(run) {
  if (!run.end) return phrase("after the run");
  if (run.lensOnDemand) return run.lensSource?.comes ? phrase("when looked at") : phrase("not in this run");
  if (run.end.ended === "stopped") return phrase("run was stopped");
  return run.head.shows.lens !== null || run.late ? phrase("not in this run") : phrase("being computed");
}

/** For a narrow column. @param {number} probability */
function brief(probability) {
  return probability > 0 && probability < 1e-6 ? "<0.0001%" : percent(probability);
}

/** The selected token at each layer, the strongest units of the selected layer, and the parts of a layer.
 * @param {import("../../data/view.js").State} state @returns {import("../../data/view.js").Numbers} */
function numbers({ run, at }) {
  const rows = [];
  for (let level = 0; level <= run.nLayers; level += 1) {
    const length = lengthAt(run, level, at.token);
    const guesses = run.lensAt(level, at.token);
    rows.push([level === 0 ? phrase("input") : phrase("after layer {n}", { n: level - 1 }), length === null ? "–" : length < 1000 ? plain(length) : plainLength(length),
      ...[0, 1, 2].flatMap((k) => (guesses[k] ? [tokenText(guesses[k]), brief(guesses[k].probability)] : ["–", "–"]))]);
  }
  const empty = ["", "", "", "", "", ""];
  for (const { id, value } of unitsAt(run, at.layer, at.token)) rows.push([phrase("layer {layer}, unit {id}", { layer: at.layer, id }), plain(value), ...empty]);
  for (const part of run.head.model.block ?? []) rows.push([`${part.name}, ${count(part.d_in)} → ${count(part.d_out)}`, phrase("{n} parameters", { n: count(part.n_parameters) }), ...empty]);
  return {
    columns: [phrase("place"), phrase("length or value"), phrase("guess"), phrase("probability"), phrase("second"), phrase("probability"), phrase("third"), phrase("probability")],
    rows,
    note: phrase("Places: the length of the token's vector there, and the lens's three most likely tokens of the full vocabulary. The lens was computed after the run from its own recorded vectors: final norm, then the output head, at every layer. The last row is the model's actual prediction. Below: the strongest units of the selected layer, as recorded, and the modules of a layer with their parameters."),
    code: "import numpy as np, torch\nfrom model import Trace, load\nfrom model.capture import logit_lens\n"
      + "run, hooked = Trace.open('run.trace'), load()   # the model that made the run\n"
      + `token, layer = ${at.token}, ${at.layer}\n`
      + "for level in range(len(run.resid)):   # 0: the input; then after each layer\n"
      + "    chances = torch.tensor(logit_lens.logits(hooked, run, level, token)).softmax(-1)\n"
      + "    best = chances.argmax().item()\n"
      + "    print(level, np.linalg.norm(run.resid[level, token]), run.texts[best], chances[best].item())\n"
      + "if run.unit_ids is not None:\n"
      + "    print(dict(zip(run.unit_ids[layer, token], run.unit_values[layer, token])))\n"
      + "for part in run.model.block:\n    print(part.name, part.weight, part.n_parameters)",
  };
}
