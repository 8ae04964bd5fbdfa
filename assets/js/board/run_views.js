// @ts-check
// The views of a run, in the order of its data; each is a module of js/views.

import { output } from "../views/output/output.js";
import { tokens } from "../views/tokens/tokens.js";
import { attention } from "../views/attention/attention.js";
import { layers } from "../views/layers/layers.js";
import { nextToken } from "../views/next_token/next_token.js";
import { experts } from "../views/experts/experts.js";
import { whyToken } from "../views/why_token/why_token.js";
import { kvCache } from "../views/kv_cache/kv_cache.js";
import { embeddings } from "../views/embeddings/embeddings.js";
import { passes } from "../views/passes/passes.js";
import { count, size } from "../core/format.js";
import { phrase } from "../core/texts.js";

/** @type {import("../data/view.js").View[]} */
export const RUN_VIEWS = [output, tokens, embeddings, passes, attention, layers, experts, nextToken, whyToken, kvCache];

/** Which model, its size, how it was asked to choose, and what to know of it. @param {import("../data/store.js").Run} run */
export function aboutModel(run) {
  const { model, settings } = run.head;
  return [
    phrase("{model}: {parameters} parameters ({size}), {layers} layers, {heads} heads, a vocabulary of {vocabulary} tokens; {dtype} on {device}.", { model: model.name, parameters: count(model.n_parameters),
      size: size(model.weights_bytes), layers: model.n_layers, heads: model.n_heads, vocabulary: count(model.d_vocab), dtype: model.dtype, device: model.device }),
    settings.temperature === 0 ? phrase("Greedy decoding: always the most likely token.") : phrase("Temperature {temperature}, seed {seed}.", { temperature: settings.temperature, seed: settings.seed }),
    ...[model.note, ...run.notes].filter(Boolean).map((/** @type {string} */ note) => `${note[0].toUpperCase()}${note.slice(1).replace(/\.$/, "")}.`),
  ].join(" ");
}
