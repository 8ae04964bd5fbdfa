// @ts-check
// What the loom says in words: one line that says what is seen, and five captions that tell a pass from reading to repeating.

import { count, duration, size } from "../../core/format.js";
import { phrase } from "../../core/texts.js";
import { WEIGHTS } from "../../data/store.js";
import { percentShort } from "./cells.js";
import { blocks, lensWord, settled } from "./guesses.js";
import { word } from "./ink.js";

const [MOST_GUESSES, GUESS_LETTERS, LETTERS] = [4, 16, 12]; // of a caption: it has three lines

/** @typedef {import("../../data/store.js").Run} Run */
/** @typedef {import("../../data/axes.js").At} At */
/** Which part of a pass is looked at. @typedef {"read" | "look" | "guess" | "choose" | "keep"} Chapter */
/** @typedef {{chapter: Chapter, title: string, text: string, go: Partial<At>}} Caption */

/** The chapter that a pass has come to while it is played: half of the layers look back, half settle on a guess.
 * @param {import("./loom.js").Front} front @param {number} layers @returns {Chapter} */
export function chapterAt({ level, falling }, layers) {
  if (level < 0) return "read";
  if (level < layers) return level < layers / 2 ? "look" : "guess";
  return falling < 0.4 ? "choose" : "keep";
}

/** @param {{text: string, hex?: string, id?: number} | undefined} token */
function quote(token) {
  return phrase("“{token}”", { token: word(token).text });
}

/** What is seen, in a line; `front`: the level that a pass has come to while it is played. @param {Run} run @param {At} at @param {number | null} front */
export function line(run, at, front) {
  const pass = run.steps[at.step];
  const token = run.tokens[pass.last];
  if (front !== null && front < run.nLayers + 1) {
    const layer = Math.min(Math.max(Math.floor(front) - 1, 0), run.nLayers - 1);
    if (pass.kind === "reread") return phrase("Without a cache, the model reads all {n} tokens again, now in layer {layer}.", { n: count(pass.n), layer });
    if (pass.n > 1) return phrase("Prefill: the model reads all {n} tokens at once, now in layer {layer}.", { n: count(pass.n), layer });
    return phrase("Decode: only {token} is read; it looks back into the cache, now in layer {layer}.", { token: quote(token), layer });
  }
  const choice = pass.choices[0];
  if (!choice) return phrase("A part of the prompt was read: {n} tokens.", { n: count(pass.n) });
  const next = run.tokens[pass.chosenAt];
  const goes = choice.byPerson ? phrase("A person chose {token}; the model gave it {share}.", { token: quote(next), share: percentShort(choice.probability) })
    : phrase("The model goes on with {token}, {share}.", { token: quote(next), share: percentShort(choice.probability) });
  return `${goes} ${changedItsMind(run, pass.last)}`.trim();
}

/** Up to which layer the model would have said another word, where that is a word that a person knows. @param {Run} run @param {number} token */
function changedItsMind(run, token) {
  const there = settled(run, token);
  if (!there || there.forGood === null || there.forGood === 0) return "";
  for (const block of blocks(run, token).reverse()) {
    const text = block.guess && !block.guess.follows ? run.texts.get(block.guess.id) ?? "" : "";
    if (/^ \p{L}{2,}$/u.test(text) && block.high > 0) return phrase("After layer {layer} it would have said {token}.", { layer: block.high - 1, token: quote({ text }) });
  }
  return "";
}

/** The five captions of a pass. @param {Run} run @param {At} at @returns {Caption[]} */
export function captions(run, at) {
  const pass = run.steps[at.step];
  const [last, choice] = [pass.last, pass.choices[0]];
  const [token, next] = [brief(run.tokens[last]), brief(run.tokens[pass.chosenAt])];
  const time = pass.seconds ? duration(pass.seconds) : phrase("an unknown time");
  const look = tellingLook(run, at);
  const read = pass.kind === "reread" ? phrase("Read again: {n} tokens go through {layers} layers, as no cache holds them, in {time}.", { n: count(pass.n), layers: run.nLayers, time })
    : pass.n > 1 ? phrase("Prefill: {n} tokens (words or parts of words) go through {layers} layers at once, in {time}.", { n: count(pass.n), layers: run.nLayers, time })
    : phrase("Decode: one token, {token}, goes through {layers} layers, in {time}.", { token, layers: run.nLayers, time });
  return [
    { chapter: "read", title: phrase("Read"), text: read, go: { token: last } },
    { chapter: "look", title: phrase("Look back"), go: look ? look.go : { token: last }, text: look ? look.text : phrase("Attention is not shown here.") },
    { chapter: "guess", title: phrase("Guess"), go: { token: last }, text: guessWords(run, last) },
    { chapter: "choose", title: phrase("Choose"), go: { token: last }, text: choice ? chooseWords(run, choice, next) : phrase("Nothing is chosen before the prompt is read.") },
    { chapter: "keep", title: phrase("Keep and repeat"), go: { token: last },
      text: keepWords(run, pass, next) },
  ];
}

/** @param {Run} run @param {import("../../data/store.js").Step} pass @param {string} next */
function keepWords(run, pass, next) {
  const values = { bytes: size(pass.kvBytes), token: next };
  if (!pass.kvBytes && pass.kind === "reread") return phrase("This model keeps no cache: {token} is read next, with all tokens before it.", values);
  return run.end && pass.index === run.steps.length - 1 ? phrase("The run ends here: {token} is not read. {bytes} of keys and values are cached.", values)
    : phrase("Decode: {token} is read next, alone. The cache keeps {bytes} of keys and values.", values);
}

/** @param {Run} run @param {import("../../data/store.js").Choice} choice @param {string} next */
function chooseWords(run, choice, next) {
  const values = { token: next, share: percentShort(choice.probability), all: count(run.head.model.d_vocab) };
  if (choice.byPerson) return phrase("A person chose {token}; the model gave it {share} among {all} tokens.", values);
  if (run.head.settings.temperature === 0) return phrase("{token} has {share}, the highest probability of {all} tokens: it is taken.", values);
  return phrase("{token}, with {share} among {all} tokens, is sampled.", values);
}

/** @param {Run} run @param {number} token */
function guessWords(run, token) {
  const all = blocks(run, token);
  if (!all[0]?.guess) return lensWord(run, token);
  const names = all.slice(-MOST_GUESSES).map(({ guess }) => short(guess ? word({ id: guess.id, text: run.texts.get(guess.id) ?? "" }).text : ""));
  while (names.length > 2 && names.join("").length > GUESS_LETTERS) names.shift();
  return phrase("Its best guess after {token}, layer by layer: {guesses}.", { token: brief(run.tokens[token]), guesses: `${all.length > names.length ? "… → " : ""}${names.join(" → ")}` });
}

/** A token in a caption. @param {import("../../data/store.js").Token} token */
function brief(token) {
  const { text } = word(token);
  return phrase("“{token}”", { token: text.length > LETTERS ? `${text.slice(0, LETTERS - 1)}…` : text });
}

/** So much of a word that a caption has room for it. @param {string} text */
function short(text) {
  const cut = text.length > LETTERS ? `${text.slice(0, LETTERS - 1)}…` : text;
  return /[\p{L}\p{N}]/u.test(cut) ? cut : phrase("“{token}”", { token: cut }); // a full stop is no end of the sentence
}

/** Where the selected head looks from the selected token, in words; else the pass's most telling look. @param {Run} run @param {At} at */
function tellingLook(run, at) {
  const row = run.row(at.layer, at.head, at.token);
  if (!row) return null;
  const strong = Array.from(row, (byte, source) => ({ source, share: WEIGHTS[byte] })).slice(1, -1).filter(({ share }) => share >= 0.1)
    .sort((one, other) => other.share - one.share).slice(0, 2);
  const values = { layer: at.layer, head: at.head, token: brief(run.tokens[at.token]) };
  const names = strong.map(({ source, share }) => `${brief(run.tokens[source])} (${percentShort(share)})`).join(", ");
  const first = WEIGHTS[row[0]];
  const rests = strong.length > 0 && at.token > 0 && first > strong[0].share;
  const text = rests ? phrase("Layer {layer}, head {head}: {token} attends most to the first token ({first}), then to {names}.", { ...values, names, first: percentShort(first) })
    : strong.length ? phrase("Layer {layer}, head {head}: {token} looks back at {names}.", { ...values, names })
    : phrase("Layer {layer}, head {head}: {token} attends to no earlier token in particular.", values);
  return { text, go: { layer: at.layer, head: at.head, token: at.token } };
}
