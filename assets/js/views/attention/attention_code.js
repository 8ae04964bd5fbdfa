// @ts-check
// One row of attention as numbers: what a layer does to its scores, in words and in the Python that repeats it.

import { plain } from "../../core/format.js";
import { phrase } from "../../core/texts.js";

/** @typedef {import("../../data/store.js").Run} Run */

/** How one layer makes weights of its scores, in words. @param {Run} run @param {number} layer */
export function rowWords(run, layer) {
  const rule = run.head.rules[layer];
  return [
    run.head.learned_sinks ? phrase("The weights are the softmax of the scaled scores and the head's learned sink, which takes the rest: they sum to less than 1.") : phrase("The weights are the softmax of the scaled scores."),
    rule.softcap !== null && phrase("The scores are shown after this layer's soft cap of {n}.", { n: plain(rule.softcap) }),
    rule.mask !== null && !rule.mask_each_head && phrase("This layer's own mask hides some of the tokens: their weight is 0."),
    rule.mask_each_head && phrase("This layer adds numbers to the scores, other ones in each head, such as ALiBi's distances."),
    rule.mask === null && rule.window !== null && phrase("Tokens outside the window of {n} have weight 0.", { n: rule.window }),
  ].filter(Boolean).join(" ");
}

/** The same row in Python, by all that this layer does to its scores. @param {Run} run @param {import("../../data/axes.js").At} at */
export function rowCode(run, at) {
  const rule = run.head.rules[at.layer];
  const sink = run.head.learned_sinks;
  return [
    "import torch", "from model import Trace", "run = Trace.open('run.trace')",
    `layer, head, row = ${at.layer}, ${at.head}, ${at.token}`,
    "rule, group = run.rules[layer], run.queries.shape[1] // run.keys.shape[1]",
    "q = torch.tensor(run.queries[layer, head, row])",
    "k = torch.tensor(run.keys[layer, head // group, : row + 1])",
    "scores = k @ q * rule.scaling",
    rule.softcap !== null && "scores = rule.softcap * torch.tanh(scores / rule.softcap)",
    rule.mask !== null && `scores += torch.tensor(run.masks[rule.mask${rule.mask_each_head ? " + head" : ""}, row, : row + 1])`,
    rule.mask === null && rule.window !== null && "scores[: max(row + 1 - rule.window, 0)] = -torch.inf   # outside the window",
    sink && "scores = torch.cat([scores, torch.tensor(run.sinks[layer, head]).reshape(1)])   # the learned sink",
    `weights = torch.softmax(scores, dim=0)${sink ? "[:-1]" : ""}   # = run.pattern(layer, head)[row, : row + 1]`,
    "v = torch.tensor(run.values[layer, head // group, : row + 1])",
    "handed_on = weights @ v   # what the head takes from the tokens it looks at",
  ].filter(Boolean).join("\n");
}
