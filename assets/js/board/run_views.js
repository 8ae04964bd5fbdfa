// @ts-check
// The views of a run, in the order of its data; each is a module of js/views.

import { output } from "../views/output/output.js";
import { tokens } from "../views/tokens/tokens.js";
import { attention } from "../views/attention/attention.js";
import { layers } from "../views/layers/layers.js";
import { nextToken } from "../views/next_token/next_token.js";
import { kvCache } from "../views/kv_cache/kv_cache.js";
import { embeddings } from "../views/embeddings/embeddings.js";
import { passes } from "../views/passes/passes.js";
import { count, size } from "../core/format.js";

/** @type {import("./card.js").View[]} */
export const RUN_VIEWS = [output, tokens, embeddings, passes, attention, layers, nextToken, kvCache];

/** Which model, its size, how it was asked to choose, and what to know of it. @param {import("../data/store.js").Run} run */
export function aboutModel(run) {
  const { model, settings } = run.head;
  return [
    `${model.name}: ${count(model.n_parameters)} parameters (${size(model.weights_bytes)}), ${model.n_layers} layers, ${model.n_heads} heads, a vocabulary of ${count(model.d_vocab)}; ${model.dtype} on ${model.device}`,
    settings.temperature === 0 ? "greedy: always the likeliest token" : `temperature ${settings.temperature}, seed ${settings.seed}`,
    model.note,
    ...run.notes,
  ].filter(Boolean).map((/** @type {string} */ part) => `${part[0].toUpperCase()}${part.slice(1).replace(/\.$/, "")}.`).join(" ");
}
