// @ts-check
// Where a run is opened, by a measure of what its heads show.

import { WEIGHTS } from "../../data/store.js";

/** @typedef {import("../../data/store.js").Run} Run */
/** @typedef {import("../../data/axes.js").At} At */

/** Where to look first in a run, by a measure: in its prefill, the token and the head that looks hardest at names further back.
 * @param {Run} run @param {number} [step] @returns {Partial<At>} */
export function opening(run, step = 0) {
  const pass = run.steps[step];
  const found = { step, layer: Math.floor(run.nLayers / 2), head: 0, token: pass?.last ?? 0 };
  if (!pass) return found;
  let best = 0;
  for (let token = Math.max(pass.first, 2); token <= pass.last; token += 1) {
    for (let layer = 0; layer < run.nLayers; layer += 1) {
      for (let head = 0; head < run.nHeads; head += 1) {
        const worth = telling(run, layer, head, token);
        if (worth > best) {
          best = worth;
          Object.assign(found, { token, layer, head });
        }
      }
    }
  }
  return best > 0 ? found : { ...found, ...sharpestLook(run) };
}

/** How much a look tells: its share on names further back, more for looking at several, none for looking at the same token again.
 * @param {Run} run @param {number} layer @param {number} head @param {number} token */
function telling(run, layer, head, token) {
  const weightHere = namedness(run.tokens[token].text);
  const row = weightHere ? run.row(layer, head, token) : null;
  if (!row) return 0;
  let [sum, n] = [0, 0];
  for (let source = 1; source < token - 1; source += 1) {
    const share = WEIGHTS[row[source]];
    if (share < 0.15) continue;
    const { text } = run.tokens[source];
    const weight = text === run.tokens[token].text ? 0 : namedness(text);
    sum += share * weight;
    n += Number(weight === 1);
  }
  return weightHere * (n > 1 ? sum * 1.5 : sum);
}

/** How much a word stands for something: a name with a capital most, a word of four letters or more less. @param {string} text */
function namedness(text) {
  if (/^ ?\p{Lu}\p{L}{3,}$/u.test(text)) return 1;
  return /^ ?\p{L}{4,}$/u.test(text) ? 0.5 : 0;
}

/** Where no look tells of names: the head whose last prompt token looks most sharply at one other word, the first token and
 * itself left out. @param {Run} run @returns {Partial<At>} */
function sharpestLook(run) {
  const start = { step: 0, layer: Math.floor(run.nLayers / 2), head: 0 };
  const step = run.steps[0];
  if (!step || !step.attention) return start;
  let best = -1;
  for (let layer = 0; layer < run.nLayers; layer += 1) {
    for (let head = 0; head < run.nHeads; head += 1) {
      const row = run.row(layer, head, step.last);
      if (!row) continue;
      for (let key = 1; key < row.length - 1; key += 1) {
        if (row[key] > best) {
          best = row[key];
          start.layer = layer;
          start.head = head;
        }
      }
    }
  }
  return start;
}
