// @ts-check
// What is said about a layer and its parts.

import { count, percent } from "../../core/format.js";
import { MEANINGS } from "./parts.js";
import { fitting } from "../../core/svg.js";

/** @typedef {import("./parts.js").Piece} Piece */
/** @typedef {import("./parts.js").Branch} Branch */

/** @param {Branch["kind"]} kind @param {number} width */
export function titleOf(kind, width) {
  return fitting({
    attention: ["Attention: fetches from other tokens", "Attention"],
    mlp: ["MLP: works on each token by itself", "MLP, token by token"],
    experts: ["Experts: work on each token by itself", "Experts"],
    other: ["A branch of its own kind", "Branch"],
  }[kind], width, true);
}

/** @param {Piece} piece @param {import("../../data/store.js").Run} run */
export function aboutPart({ part, role }, run) {
  const shape = part.d_in === part.d_out && part.kind !== "linear" ? `${count(part.d_in)} numbers wide` : `from ${count(part.d_in)} to ${count(part.d_out)} numbers`;
  const all = totalOf(run.head.model.block);
  const size = part.n_parameters ? `${count(part.n_parameters)} parameters, ${percent(part.n_parameters / all)} of the layer's` : "no parameters";
  return `${MEANINGS[role] ?? MEANINGS.other}. ${part.module}, ${shape}, ${size}.`;
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
    return `${{ attention: "attention", mlp: "MLP", experts: "experts", other: "other" }[branch.kind]} ${percent(own / all)}`;
  });
  const alike = note ? ` ${note[0].toUpperCase()}${note.slice(1)}${note.endsWith(".") ? "" : "."}` : ` All ${run.nLayers} layers are built alike.`;
  return `The bar, to scale: where this layer's ${count(all)} parameters (learned numbers) are: ${shares.join(", ")}. The model has ${count(whole)}.${alike}`;
}

/** @param {import("../../data/store.js").Run} run */
export function noBlock(run) {
  const note = run.head.model.block_note;
  return note ? `The parts of a layer are not shown: ${note}` : "This run was recorded before the parts of a layer were kept: run the prompt again to see them.";
}
