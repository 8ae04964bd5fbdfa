// @ts-check
// What the inspector says of each part of a pass: a head's row, a cell, a token, the choice, the cache.

import { h } from "../../core/dom.js";
import { bytesOf, count, duration, percent, plain, size } from "../../core/format.js";
import { counted, phrase } from "../../core/texts.js";
import { WEIGHTS } from "../../data/store.js";
import { bytesOfOne, sharing } from "../../data/cache_shape.js";
import { percentShort } from "./cells.js";
import { lensWord, settled } from "./guesses.js";
import { shareBar } from "./share_bar.js";
import { word } from "./ink.js";

/** @typedef {import("../../data/view.js").State} State */
/** @typedef {import("./loom.js").Part} Part */
/** @typedef {import("../../core/dom.js").Child} Child */
/** `notes`: what is read last, below the map of heads. @typedef {{crumb: string, title: string, body: Child[], notes?: Child[]}} Closer */

const ROWS = 5; // so that the map of heads is in sight below them

/** @param {Part} part @param {State} state @returns {Closer} */
export function partOf(part, state) {
  return { head: headPart, cell: cellPart, token: tokenPart, choice: choicePart, cache: cachePart }[part](state);
}

/** @param {State} state */
function name({ run, at }) {
  return phrase("“{token}”", { token: word(run.tokens[at.token]).text });
}

/** Where the selected head looks most: at another token, or at the first one, where heads rest that find nothing.
 * @param {State} state @param {number} first share of the first token @param {{source: number, share: number} | undefined} best of those between it and the token itself */
function looksWhere(state, first, best) {
  const values = { token: name(state), first: percentShort(first), source: best ? word(state.run.tokens[best.source]).text : "", share: percentShort(best?.share ?? 0) };
  if (!best || best.share < 0.1) return phrase("{token} attends to no earlier token in particular", values);
  return first > best.share ? phrase("{token} attends most to the first token, {first}, then to “{source}”, {share}", values) : phrase("{token} looks back at “{source}”, {share}", values);
}

/** @param {State} state @returns {Closer} */
function headPart(state) {
  const { run, at } = state;
  const row = run.row(at.layer, at.head, at.token);
  const crumb = phrase("{token} › layer {layer} › head {head}", { token: name(state), layer: at.layer, head: at.head });
  if (!row) return { crumb, title: phrase("Attention is not here yet"), body: [] };
  const all = Array.from(row, (byte, source) => ({ source, share: WEIGHTS[byte] }));
  const strongest = [...all].sort((one, other) => other.share - one.share).slice(0, ROWS).sort((one, other) => one.source - other.source);
  const rest = 1 - strongest.reduce((sum, { share }) => sum + share, 0);
  const best = all.slice(1, -1).sort((one, other) => other.share - one.share)[0];
  const title = looksWhere(state, all[0].share, best);
  const left = all.length - strongest.length;
  return {
    crumb, title,
    body: [
      h("p", { class: "ts-loom-label" }, phrase("One of {n} heads here. It reads from:", { n: run.head.model.n_heads })),
      bars(strongest.map(({ source, share }) => ({ ...word(run.tokens[source]), share, said: coarse(share), isHatched: source === 0 && at.token > 0, title: phrase("position {position}", { position: source }) }))),
      left > 0 && h("p", { class: "ts-loom-label" }, counted(left, "{n} other token: {share}", "{n} other tokens: {share} together", { n: count(left), share: coarse(Math.max(rest, 0)) })),
    ],
    notes: [
      at.token > 0 && h("p", { class: "ts-loom-label" }, phrase("Hatched: the first token. Heads that find nothing relevant attend to it (attention sink).")),
      h("p", { class: "ts-loom-label" }, phrase("Shares are kept in 8 bits: off by at most 0.4 percentage points.")),
    ],
  };
}

/** @param {State} state @returns {Closer} */
function cellPart(state) {
  const { run, at } = state;
  const crumb = phrase("{token} › layer {layer}", { token: name(state), layer: at.layer });
  const likely = run.lensAt(at.layer + 1, at.token);
  const pass = run.steps[run.stepOf[at.token]];
  const length = pass?.norms ? pass.norms[(at.layer + 1) * pass.n + (at.token - pass.first)] : null;
  const next = run.tokens[at.token + 1];
  const there = settled(run, at.token);
  return {
    crumb,
    title: likely.length ? phrase("After this layer it would predict “{word}”", { word: word(likely[0]).text }) : lensWord(run, at.token),
    body: [
      bars(likely.map((each) => ({ ...word(each), share: each.probability, isFollowing: each.id === next?.id }))),
      next && h("p", { class: "ts-loom-label" }, phrase("The token that came next: “{word}”.", { word: word(next).text }),
        there && (there.forGood === null || there.forGood === there.first ? ` ${phrase("First predicted after layer {first}.", { first: there.first - 1 })}`
          : ` ${phrase("First predicted after layer {first}, unchanged from layer {good} on.", { first: there.first - 1, good: there.forGood - 1 })}`)),
    ],
    notes: [
      likely.length > 0 && h("p", { class: "ts-loom-label" }, phrase("By the logit lens: this layer's vector goes through the model's final norm and output head. The run itself does that after the last layer alone.")),
      length !== null && h("p", { class: "ts-loom-label" }, phrase("The residual stream's vector has length {length} here.", { length: plain(length) })),
    ],
  };
}

/** @param {State} state @returns {Closer} */
function tokenPart(state) {
  const { run, at } = state;
  const token = run.tokens[at.token];
  const map = run.embeddings;
  const own = map?.pointOf.get(token.id);
  const near = map && own !== undefined && own < map.own ? Array.from({ length: Math.min(map.kept, 5) }, (_, k) => ({ point: map.near[own * map.kept + k], cosine: map.cosine[own * map.kept + k] })) : [];
  return {
    crumb: phrase("token {position}, counted from 0", { position: at.token }),
    title: phrase("{token} has id {id} of {all}", { token: name(state), id: count(token.id), all: count(run.head.model.d_vocab) }),
    body: [
      h("p", { class: "ts-loom-label" }, token.generated ? phrase("Written by the model.") : phrase("From the prompt."), " ", token.hex && phrase("Its bytes: {bytes}.", { bytes: bytesOf(token.hex) })),
      near.length > 0 && h("p", { class: "ts-loom-label" }, phrase("Nearest in the whole vocabulary, by the angle between their vectors (cosine):")),
      near.length > 0 && bars(near.map(({ point, cosine }) => ({ ...word({ id: map?.ids[point] ?? 0, text: run.texts.get(map?.ids[point] ?? 0) ?? "" }), share: Math.max(cosine, 0), said: cosine.toFixed(2) }))),
    ],
  };
}

/** @param {State} state @returns {Closer} */
function choicePart({ run, at, step }) {
  const crumb = phrase("step {step} › choice", { step: at.step });
  const choice = step.choices[0];
  if (!choice) return { crumb, title: phrase("Nothing is chosen here"), body: [] };
  const { temperature } = run.head.settings;
  const greedy = temperature === 0;
  return {
    crumb,
    title: choice.byPerson ? phrase("A person chose the token") : greedy ? phrase("The likeliest token is taken") : phrase("One token is sampled"),
    body: [
      h("p", { class: "ts-loom-label" }, phrase("“{token}” has rank {rank} (1 is the likeliest), with {share}.", { token: word(run.tokens[step.chosenAt]).text, rank: choice.rank + 1, share: percent(choice.probability) })),
      ...choice.stages.map((stage) => h("p", { class: "ts-loom-label" }, phrase("{stage} {setting}: {n} tokens left", { stage: stage.name, setting: stage.setting ?? "", n: count(stage.alive) }))),
      h("p", { class: "ts-loom-label" }, phrase("Entropy (uncertainty): {nats} nats; 0 would be certain.", { nats: choice.entropy.toFixed(2) })),
    ],
  };
}

/** @param {State} state @returns {Closer} */
function cachePart({ run, at, step }) {
  const [n, one] = [step.last + 1, bytesOfOne(run)];
  return {
    crumb: phrase("step {step} › cache", { step: at.step }),
    title: phrase("{bytes} kept after this pass", { bytes: size(step.kvBytes) }),
    body: [
      h("p", { class: "ts-loom-label" }, phrase("A key is what queries are compared with; a value is what is read. The model keeps one of each for every token, layer and key/value head.")),
      one !== null && h("p", { class: "ts-loom-label" }, phrase("{n} tokens × {layers} layers × {one} = {all}", { n: count(n), layers: run.nLayers, one: size(one), all: size(n * run.nLayers * one) })),
      sharing(run) > 1 && h("p", { class: "ts-loom-label" }, phrase("{n} query heads share each key/value head, so the cache is {n} times smaller than with one for each.", { n: sharing(run) })),
      step.seconds > 0 && h("p", { class: "ts-loom-label" }, counted(step.n, "This pass read {n} new token in {time}.", "This pass read {n} new tokens in {time}.", { time: duration(step.seconds) })),
    ],
  };
}

/** Names, bars and shares, a row each. @param {{text: string, mark: boolean, share: number, said?: string, isHatched?: boolean, isFollowing?: boolean, title?: string}[]} rows */
function bars(rows) {
  return h("ol", { class: "ts-likelies ts-looks-list" }, ...rows.map(({ text, mark, share, said, isHatched, isFollowing, title }) => h("li", { class: `ts-likely ${isHatched ? "ts-likely-hatched" : ""} ${isFollowing ? "ts-likely-chosen" : ""}`, title },
    h("bdi", { class: `ts-token-text ${mark ? "ts-mark" : ""}` }, text),
    shareBar(share),
    h("span", { class: "ts-likely-share" }, said ?? percentShort(share)))));
}



/** A share that was kept in 8 bits, with no more digits than it has. @param {number} share */
function coarse(share) {
  if (share >= 0.0995) return `${Math.round(share * 100)}%`;
  return share < 0.004 ? phrase("<0.4%") : `${(share * 100).toFixed(1)}%`;
}
