// @ts-check
// An attribution as a table, and the code that makes it.

import { label, plain } from "../../core/format.js";
import { quoted, tokenText } from "../../core/dom.js";
import { phrase, phraseParts } from "../../core/texts.js";
import { nameOf } from "./why_words.js";

/** @typedef {import("../../data/attribution.js").Attribution} Attribution */

/** The question, in words. @param {Attribution} found @returns {import("../../core/dom.js").Child[]} */
export function wordsOf({ about }) {
  return phraseParts("Step {step}: why {token} and not {rival}?", { step: String(about.step), token: quoted(about.token), rival: quoted(about.rival) });
}

/** @param {Attribution | null} found @returns {import("../../data/view.js").Numbers} */
export function numbersOf(found) {
  const columns = [phrase("part"), phrase("head"), phrase("logits"), phrase("took most from")];
  if (!found) return { columns, rows: [], note: phrase("This step is not explained yet."), code: "" };
  const rows = found.parts.flatMap((part) => (part.kind === "attention" ? Array.from({ length: found.nHeads }, (_, head) => [nameOf(part), String(head), plain(found.head(part.layer, head)), ...source(found, part.layer, head)])
    : [[nameOf(part), "", plain(part.value), ""]]));
  const { step, token, rival } = found.about;
  return {
    columns, rows: [...rows, [phrase("sum"), "", plain(found.about.total), ""]],
    note: phrase("Logits towards “{token}” (+) or “{rival}” (−), in float32. Embedding, heads, MLPs and biases sum to the difference of the two recorded logits; the remainder is what is left.", { token: label(token), rival: label(rival) }),
    code: `from model import Trace, attribute, load\n\nwhy = attribute(load(), Trace.open('run.trace'), step=${step}, token_id=${token.id}, rival_id=${rival.id})\n`
      + "print(why.total, why.embedding, why.biases, why.remainder)\nprint(why.heads.sum(axis=1), why.mlps)\nprint(why.sources[0, 0])  # of one head, by token",
  };
}

/** The token that most of a head's share came from. @param {Attribution} found @param {number} layer @param {number} head */
function source(found, layer, head) {
  const sources = found.sourcesOf(layer, head);
  if (!sources) return [""];
  const best = sources.reduce((at, value, i) => (Math.abs(value) > Math.abs(sources[at]) ? i : at), 0);
  return [tokenText(found.about.tokens[best])];
}
