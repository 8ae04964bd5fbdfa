// @ts-check
// What is said about a layer and its parts.

import { count, percent } from "../../core/format.js";
import { MEANINGS } from "./parts.js";
import { fitting } from "../../core/svg.js";
import { phrase } from "../../core/texts.js";

/** @typedef {import("./parts.js").Piece} Piece */
/** @typedef {import("./parts.js").Branch} Branch */

const KINDS = { attention: phrase("attention"), mlp: phrase("MLP"), experts: phrase("experts"), other: phrase("other") };

/** @param {Branch["kind"]} kind @param {number} width */
export function titleOf(kind, width) {
  return fitting({
    attention: [phrase("Attention: reads from other tokens"), phrase("Attention")],
    mlp: [phrase("MLP: processes each token separately"), phrase("MLP, per token")],
    experts: [phrase("Experts: process each token separately"), phrase("Experts")],
    other: [phrase("A branch of another kind"), phrase("Branch")],
  }[kind], width, true);
}

/** @param {Piece} piece @param {import("../../data/store.js").Run} run */
export function aboutPart({ part, role }, run) {
  const shape = part.d_in === part.d_out && part.kind !== "linear" ? phrase("{n} numbers wide", { n: count(part.d_in) }) : phrase("from {in} to {out} numbers", { in: count(part.d_in), out: count(part.d_out) });
  const all = totalOf(run.head.model.block);
  const size = part.n_parameters ? phrase("{n} parameters, {percent} of the layer's", { n: count(part.n_parameters), percent: percent(part.n_parameters / all) }) : phrase("no parameters");
  return phrase("{meaning}. {module}, {shape}, {size}.", { meaning: MEANINGS[role] ?? MEANINGS.other, module: part.module, shape, size });
}

/** A module that runs twice has its parameters once. @param {import("./parts.js").Part[]} parts */
function totalOf(parts) {
  const own = new Map(parts.map((part) => [part.name, part.n_parameters]));
  return [...own.values()].reduce((sum, each) => sum + each, 0);
}

/** @param {import("../../data/store.js").Run} run @param {Branch[]} branches */
export function sumOf(run, branches) {
  const { block, block_note: note, n_parameters: whole } = run.head.model;
  const all = totalOf(block);
  const shares = branches.map((branch) => {
    const own = totalOf(branch.rows.flat().map((piece) => piece.part));
    return `${KINDS[branch.kind]} ${percent(own / all)}`;
  });
  const alike = note ? `${note[0].toUpperCase()}${note.slice(1)}${note.endsWith(".") ? "" : "."}` : phrase("All {n} layers have the same structure.", { n: run.nLayers });
  const sum = phrase("The bar shows to scale where this layer's {n} parameters (learned numbers) are: {shares}. The model has {all}.", { n: count(all), shares: shares.join(", "), all: count(whole) });
  return `${sum} ${alike}`;
}

/** @param {import("../../data/store.js").Run} run */
export function noBlock(run) {
  const note = run.head.model.block_note;
  return note ? phrase("The parts of a layer are not shown: {reason}", { reason: note }) : phrase("This run was recorded without the parts of a layer: run the prompt again to see them.");
}
