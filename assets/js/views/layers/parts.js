// @ts-check

import { phrase } from "../../core/texts.js";
// What a layer is made of, read from the modules that ran in it: its branches, and in each branch rows of parts.
// Nothing is known of any family of models: only what each part read, what kind it is and what it is called.

/** @typedef {{name: string, kind: string, module: string, weight: number[] | null, bias: boolean, n_parameters: number,
 *   reads: "stream" | "branch" | "part", d_in: number, d_out: number}} Part */
/** `role` tells what it does in its branch; `plain` is its name in plain words. @typedef {{part: Part, role: string, plain: string}} Piece */
/** `enters` says where the branch leaves the stream: "sum" above what the branch before added, "fork" where the branch before
 * leaves it too, "norm" behind the norm of the branch before. Rows run from the branch's beginning to its end.
 * @typedef {{kind: "attention" | "mlp" | "experts" | "other", enters: "sum" | "fork" | "norm", rows: Piece[][]}} Branch */

/** @param {Part[]} parts in the order in which they ran @returns {Branch[]} */
export function branchesOf(parts) {
  return cutUp(drawn(parts)).map(({ parts: own, before }, i) => {
    const kind = kindOf(own);
    return { kind, enters: i === 0 ? "sum" : entrance(own[0], before), rows: rowsOf(own, kind) };
  });
}

/** One box for what has numbers of its own and parts inside: a bank of experts. What holds a whole branch is its frame, no box;
 * of experts that are modules of their own, the first one that ran stands for all. @param {Part[]} parts */
function drawn(parts) {
  const holders = parts.filter((part) => parts.some((other) => other.name.startsWith(`${part.name}.`)));
  const inside = (/** @type {Part} */ part) => holders.some((holder) => holder.name.includes(".") && part.name.startsWith(`${holder.name}.`));
  const expert = parts.map((part) => /\bexperts\.\d+\./.exec(part.name)?.[0]).find(Boolean) ?? "";
  const another = (/** @type {Part} */ part) => /\bexperts\.\d+\./.test(part.name) && !part.name.includes(expert);
  return parts.filter((part) => !(holders.includes(part) && !part.name.includes(".")) && !inside(part) && !another(part));
}

/** What each role is and does, for a person who meets it for the first time. @type {Record<string, string>} */
export const MEANINGS = {
  norm: phrase("scales each token's vector to a standard length, so that large numbers do not dominate small ones"),
  headNorm: phrase("does the same in each head, before queries and keys are compared"),
  query: phrase("computes the queries: what this token looks for in other tokens"),
  key: phrase("computes the keys: what the queries of other tokens are compared with"),
  value: phrase("computes the values: what is read from a token that is attended to"),
  fused: phrase("computes queries, keys and values in one matrix product: what a token looks for, what that is compared with, what is read"),
  rotary: phrase("rotates queries and keys by an angle that grows with their position, so that heads can tell how far apart tokens are"),
  output: phrase("combines what all heads have read into one vector of the stream's width"),
  gate: phrase("computes the gate: how much of each unit passes for this token"),
  up: phrase("computes a number for each unit of the MLP; the gate lets part of it through"),
  gateUp: phrase("computes the gate and the content of each unit in one matrix product"),
  widen: phrase("computes one number for each unit of the MLP"),
  activation: phrase("applies a non-linear function to each number: most of what is below zero is cut off"),
  narrow: phrase("projects the numbers of all units back to a vector of the stream's width"),
  router: phrase("chooses for each token which experts (small MLPs) process it"),
  experts: phrase("small MLPs, of which each token uses the few that the router has chosen"),
  linear: phrase("multiplies the vector by a matrix of weights"),
  other: phrase("a step of another kind"),
};

/** @type {Record<string, string>} */
const PLAIN = {
  norm: phrase("norm"), headNorm: phrase("norm"), query: phrase("queries"), key: phrase("keys"), value: phrase("values"), fused: phrase("queries, keys, values"), rotary: phrase("rotary"), output: phrase("output"),
  gate: phrase("gate"), up: phrase("widen"), gateUp: phrase("gate and widen"), widen: phrase("widen"), activation: phrase("activation"), narrow: phrase("narrow"), router: phrase("router"), experts: phrase("experts"),
};

/** The part's own name: the last word of its path. @param {Part} part */
export function leaf(part) {
  return part.name.slice(part.name.lastIndexOf(".") + 1);
}

/** Branches as they ran. A norm directly in the layer opens a branch if it reads the stream, or if the next part reads it; else it
 * closes the branch before it. Where two norms ran first, each goes to the branch whose name it bears, or in order.
 * @param {Part[]} parts @returns {{parts: Part[], before: Part[] | null}[]} */
function cutUp(parts) {
  /** @type {{parts: Part[], before: Part[] | null, home: string}[]} */
  const branches = [];
  /** @type {Part[]} */
  let waiting = [];
  parts.forEach((part, i) => {
    const last = branches[branches.length - 1];
    const home = part.name.includes(".") ? part.name.slice(0, part.name.indexOf(".")) : "";
    if (part.kind === "norm" && !home) {
      if (opens(part, parts[i + 1]) || !last) waiting.push(part);
      else last.parts.push(part);
    } else if (last && last.home === home && !(waiting.length && !home)) {
      last.parts.push(part);
    } else {
      const named = waiting.find((norm) => sameSubject(norm.name, home)) ?? waiting[0];
      waiting = waiting.filter((norm) => norm !== named);
      branches.push({ parts: named ? [named, part] : [part], before: last?.parts ?? null, home });
    }
  });
  if (waiting.length && branches.length) branches[branches.length - 1].parts.push(...waiting);
  return branches;
}

/** @param {Part} norm @param {Part | undefined} next */
function opens(norm, next) {
  if (norm.reads !== "part") return true;
  return next !== undefined && next.name.includes(".") && next.reads === "part";
}

/** @param {string} norm @param {string} home */
function sameSubject(norm, home) {
  return [/attn|attention/i, /mlp|feed|ffn/i].some((subject) => subject.test(norm) && subject.test(home));
}

/** @param {Part} first @param {Part[] | null} before @returns {"sum" | "fork" | "norm"} */
function entrance(first, before) {
  if (first.reads === "stream") return "fork";
  if (first.reads === "branch" || first.kind === "norm") return "sum";
  return before?.[0].kind === "norm" ? "norm" : "sum"; // it reads no stream: only the norm can be what both share
}

/** @param {Part[]} parts @returns {Branch["kind"]} */
function kindOf(parts) {
  const names = parts.map((part) => `${part.name} ${part.module}`).join(" ");
  if (/router|expert/i.test(names)) return "experts";
  const inner = parts.filter((part) => part.name.includes("."));
  if (inner.some((part) => /attn|attention/i.test(part.name))) return "attention";
  if (parts.some((part) => part.kind === "activation") || inner.some((part) => /mlp|feed|ffn/i.test(part.name))) return "mlp";
  return parts.some((part) => part.kind === "linear" && !part.name.includes(".")) ? "mlp" : "other";
}

/** Parts that work side by side stand in one row. @param {Part[]} parts @param {Branch["kind"]} kind */
function rowsOf(parts, kind) {
  const pieces = parts.map((part, i) => pieceOf(part, kind, parts, i));
  const beside = kind === "attention" ? [["query", "key", "value"], ["headNorm"]] : [["gate", "up"]];
  /** @type {{pieces: Piece[], among: string[], home: string}[]} */
  const rows = [];
  for (const piece of pieces) {
    const among = beside.find((roles) => roles.includes(piece.role)) ?? [];
    const home = piece.part.name.slice(0, piece.part.name.lastIndexOf("."));
    const row = rows.find((each) => each.among === among && each.home === home && takes(each.pieces, piece));
    if (row) row.pieces.push(piece);
    else rows.push({ pieces: [piece], among, home });
  }
  return rows.map((row) => row.pieces);
}

/** A row holds each role once, but for norms of heads. @param {Piece[]} row @param {Piece} piece */
function takes(row, piece) {
  return piece.role === "headNorm" || row.every((each) => each.role !== piece.role);
}

/** @param {Part} part @param {Branch["kind"]} kind @param {Part[]} parts @param {number} i @returns {Piece} */
function pieceOf(part, kind, parts, i) {
  const role = roleOf(part, kind, parts, i);
  return { part, role, plain: PLAIN[role] ?? (part.kind === "linear" ? phrase("weights") : part.kind === "other" ? part.module : part.kind) };
}

/** @param {Part} part @param {Branch["kind"]} kind @param {Part[]} parts @param {number} i */
function roleOf(part, kind, parts, i) {
  const name = leaf(part);
  if (part.kind === "norm") return part.name.includes(".") ? "headNorm" : "norm";
  if (part.kind === "activation" || part.kind === "rotary") return part.kind;
  if (kind === "experts" && /router|^gate$/i.test(`${name} ${part.module}`)) return "router";
  if (kind === "experts" && /experts/i.test(name)) return "experts";
  if (part.kind !== "linear") return "other";
  if (kind === "attention") return attentionRole(name, parts.slice(i + 1).some((later) => later.kind === "linear"));
  return mlpRole(part, parts, parts.slice(i + 1).some((later) => later.kind === "linear" && homeOf(later) === homeOf(part)));
}

/** @param {string} name @param {boolean} goesOn whether another matrix follows */
function attentionRole(name, goesOn) {
  if (/qkv|query_key_value|c_attn|in_proj/i.test(name)) return "fused";
  if (!goesOn) return "output";
  if (/^(w?q|query)(_proj|_lin)?$/i.test(name)) return "query";
  if (/^(w?k|key)(_proj|_lin)?$/i.test(name)) return "key";
  return /^(w?v|value)(_proj|_lin)?$/i.test(name) ? "value" : "linear";
}

/** @param {Part} part @param {Part[]} parts @param {boolean} goesOn */
function mlpRole(part, parts, goesOn) {
  if (!goesOn) return "narrow";
  if (/gate_up|gate_and_up|wi$/i.test(leaf(part)) && !gateOf(parts, part)) return "gateUp";
  const gate = gateOf(parts, part);
  if (!gate) return "widen";
  return gate === part ? "gate" : "up";
}

/** The gate beside this matrix: the one that says so, of two of the same shape. @param {Part[]} parts @param {Part} part */
function gateOf(parts, part) {
  const alike = parts.filter((each) => each.kind === "linear" && homeOf(each) === homeOf(part) && each.d_in === part.d_in && each.d_out === part.d_out);
  return alike.length === 2 ? alike.find((each) => /gate|^w1$|wi_0/i.test(leaf(each))) ?? null : null;
}

/** @param {Part} part */
function homeOf(part) {
  return part.name.slice(0, part.name.lastIndexOf("."));
}
