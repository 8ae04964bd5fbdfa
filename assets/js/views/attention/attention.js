// @ts-check
// Where each token looks back: one head's map, the looked-at row in words and worked out, and a grid of all layers and heads.

import { h, fill, say, tokenText, button } from "../../core/dom.js";
import { decoded, label, plain, roughly } from "../../core/format.js";
import { WEIGHTS } from "../../data/store.js";
import { drawThumb } from "./thumbnails.js";
import { makeMap } from "./attention_map.js";
import { makeLongMap } from "./long_map.js";
import { makeLooks } from "./attention_looks.js";
import { makeHeads, inWords, patternName } from "./attention_heads.js";
import { makeRow } from "./attention_row.js";
import { rowCode, rowWords } from "./attention_code.js";
import { phrase } from "../../core/texts.js";

/** @typedef {import("../../data/view.js").State} State */
/** @typedef {import("../../data/store.js").Run} Run */

const SINK_FIRST = phrase("Weights sum to 100%, so a head that finds nothing relevant puts its weight on the first token (an “attention sink”): this marks idleness rather than importance.");
const SINK_LEARNED = phrase("The weights on tokens sum to less than 100%: the rest goes to this head's learned sink, a score that belongs to no token and takes the weight when the head finds nothing relevant.");

/** @type {import("../../data/view.js").View} */
export const attention = {
  id: "attention",
  title: phrase("Attention"),
  lead: phrase("Each head lets a token read from the tokens before it."),
  more: phrase("In the map each row is a token and each column a token that it attends to: the stronger the colour, the higher the weight."),
  create(body, context) {
    const { selection, redraw } = context;
    const layerName = h("span", { class: "ts-stepper-value" });
    const headName = h("span", { class: "ts-stepper-value" });
    const does = h("p", { class: "ts-does" });
    const sinkSwitch = h("input", { type: "checkbox", id: "ts-sink", checked: true, onchange: () => redraw() });
    const sinkWords = h("p", { class: "ts-note" });
    const empty = h("p", { class: "ts-empty" });
    const pointed = pointing(selection, redraw);
    const maps = { short: makeMap(selection, pointed, redraw), long: makeLongMap(context, pointed) };
    const mapOf = (/** @type {Run} */ run) => (run.isPooled ? maps.long : maps.short);
    const looks = makeLooks(selection, pointed);
    const heads = makeHeads(selection, redraw);
    const row = makeRow(context, pointed);
    const picture = h("div", {},
      h("div", { class: "ts-attention-panes" }, maps.short.element,
        h("div", { class: "ts-row-words" },
          h("div", { class: "ts-row" },
            stepper({ name: phrase("layer"), before: phrase("previous layer"), next: phrase("next layer") }, layerName, () => selection.set({ layer: selection.at.layer - 1 }), () => selection.set({ layer: selection.at.layer + 1 })),
            stepper({ name: phrase("head"), before: phrase("previous head"), next: phrase("next head") }, headName, () => selection.set({ head: selection.at.head - 1 }), () => selection.set({ head: selection.at.head + 1 }))),
          does, looks.element,
          h("div", { class: "ts-aside" }, sinkWords, h("label", { class: "ts-check", for: "ts-sink" }, sinkSwitch, phrase("leave the first token out of the colours (hatched)"))),
          row.element)),
      heads.element);
    body.append(empty, picture);
    let doesOf = "";

    /** @param {State} state */
    function sayHead({ run, at }) {
      const key = `${run.id}/${at.layer}/${at.head}/${run.heads !== null}`;
      if (doesOf === key) return;
      doesOf = key;
      const { word, shares, group } = inWords(run, at.layer, at.head);
      fill(does, word && h("b", {}, word === "spread" ? phrase("No single pattern: spread.") : phrase("Mostly: {pattern}.", { pattern: patternName(word) }), " "), [shares, group].filter(Boolean).join(" "));
      does.hidden = !word && !group;
    }

    /** @param {Run} run */
    function showMap(run) {
      const [shown, other] = run.isPooled ? [maps.long, maps.short] : [maps.short, maps.long];
      if (other.element.parentElement) other.element.replaceWith(shown.element);
    }

    /** Why the looked-at row is not drawn; of a long run its map may be there before it. @param {State} state */
    function missingRow({ run, at }) {
      if (run.isPooled) return run.row(at.layer, at.head, at.token) ? null : context.rowsSlice(at.layer, at.token);
      return run.holds(at.layer, at.token) ? null : context.layerSlice(at.layer);
    }

    return {
      paint(state) {
        const { run, at } = state;
        if (!run.showsAttention) return;
        pointed.settle();
        showMap(run);
        if (run.isPooled || run.row(at.layer, at.head, at.token)) mapOf(run).paint(state, sinkSwitch.checked);
        heads.paint(state, sinkSwitch.checked);
        row.paint(state);
      },
      draw(state) {
        const { run, at } = state;
        const reason = run.head.shows.attention;
        const missing = reason ?? missingRow(state);
        empty.hidden = missing === null;
        picture.hidden = reason !== null;
        if (missing !== null) say(empty, reason === null ? missing : phrase("This model's attention is not shown: {reason}.", { reason }));
        if (reason !== null) return;
        say(layerName, phrase("layer {n} of 0–{last}", { n: at.layer, last: run.nLayers - 1 }));
        say(headName, phrase("head {n} of 0–{last}", { n: at.head, last: run.nHeads - 1 }));
        sayHead(state);
        const held = run.row(at.layer, at.head, at.token);
        const map = mapOf(run);
        looks.draw(state, held, sinkSwitch.checked, map.most);
        map.element.hidden = held === null && !run.isPooled;
        sinkWords.hidden = held === null;
        if (held || run.isPooled) map.draw(state, sinkSwitch.checked);
        if (run.isPooled && held && !maps.long.waits) context.littleSlice(); // last: it is looked at least
        if (held) {
          say(sinkWords, `${run.heads || run.isPooled ? "" : measured(state)}${run.head.learned_sinks ? SINK_LEARNED : SINK_FIRST}`);
        }
        heads.draw(state);
        row.draw(state);
      },
      async numbers({ run, at }) {
        const exact = await context.rowSlice(at.layer, at.head, at.token);
        const held = run.row(at.layer, at.head, at.token);
        const rows = Array.from({ length: at.token + 1 }, (_, key) => {
          const weight = exact ? plain(exact.weights[key]) : held ? decoded(held[key]) : "–";
          return [String(key), tokenText(run.tokens[key]), exact ? plain(exact.scores[key]) : "–", weight];
        });
        return {
          columns: [phrase("position"), phrase("attends to"), phrase("query · key, scaled"), exact ? phrase("weight, exact") : phrase("weight, from 8 bits")],
          rows,
          note: exact ? `${phrase("Computed in float32 from the model's own queries and keys.")} ${rowWords(run, at.layer)}`
            : phrase("From 8 bits per weight, which is all that this page holds: off by at most 0.004 before rounding; the scores (–) are not included. A recorded run may include queries and keys at 16 bits, from which “Unfold this row” computes scores and more exact weights. For the exact numbers run the prompt live, or open the trace file."),
          code: rowCode(run, at),
        };
      },
    };
  },
  glance({ run, at, colours }) {
    if (!run.showsAttention) return { value: [phrase("not shown")] };
    return { value: [phrase("layer {layer}, head {head}", { layer: at.layer, head: at.head })], mini: (g, width, height) => drawMini(g, width, height, run, at, colours) };
  },
};

/** Which key of the row is looked at, in this card alone: while it is pointed at, or pinned for as long as the selection is locked.
 * @param {import("../../data/selection.js").Selection} selection @param {() => void} redraw */
function pointing(selection, redraw) {
  /** @type {number | null} */
  let hovered = null;
  /** @type {number | null} */
  let pinned = null;
  return {
    get key() { return hovered ?? pinned; },
    /** @param {number | null} key */
    point(key) {
      if (key === hovered || (key !== null && selection.pointerRests)) return;
      hovered = key;
      redraw();
    },
    /** @param {number} key */
    pin(key) {
      selection.set({}, { lock: true });
      pinned = key;
    },
    settle() { if (!selection.locked) pinned = null; },
  };
}

/** @param {{name: string, before: string, next: string}} words @param {HTMLElement} value @param {() => void} less @param {() => void} more */
function stepper({ name, before, next }, value, less, more) {
  return h("span", { class: "ts-stepper", role: "group", "aria-label": name },
    button("−", less, { "aria-label": before }), value, button("+", more, { "aria-label": next }));
}

/** What this head did so far with the first token, the one before and itself, while no word for it is known. @param {State} state */
function measured({ run, at, step }) {
  let [first, before, self, n] = [0, 0, 0, 0];
  for (let p = 1; p <= step.last; p += 1) {
    const row = run.row(at.layer, at.head, p);
    if (!row) continue;
    first += WEIGHTS[row[0]];
    before += p > 1 ? WEIGHTS[row[p - 1]] : 0;
    self += WEIGHTS[row[p]];
    n += 1;
  }
  return n ? `${phrase("So far this head puts on average {first} on the first token, {before} on the previous token and {self} on the token itself.", { first: roughly(first / n), before: roughly(before / n), self: roughly(self / n) })} ` : "";
}

/** The head's map in little, and the selected row as bars. @param {CanvasRenderingContext2D} g @param {number} width @param {number} height
 * @param {Run} run @param {import("../../data/axes.js").At} at @param {import("../../core/canvas.js").Paint} colours */
function drawMini(g, width, height, run, at, colours) {
  const row = run.row(at.layer, at.head, at.token);
  if (!row) return;
  g.imageSmoothingEnabled = false;
  g.drawImage(drawThumb(run, at.layer, at.head, colours), 0, 0, height, height);
  g.strokeStyle = colours.line;
  g.strokeRect(0.5, 0.5, height - 1, height - 1);
  let most = 1;
  for (let key = row.length > 1 ? 1 : 0; key < row.length; key += 1) if (row[key] > most) most = row[key];
  const [left, room] = [height + 8, width - height - 8];
  const step = Math.min(6, room / row.length);
  g.fillStyle = colours.weight;
  for (let key = 0; key < row.length; key += 1) {
    const tall = Math.min(1, WEIGHTS[row[key]] / WEIGHTS[most]) * (height - 2);
    g.fillRect(left + key * step, height - 1 - tall, Math.max(step - 1, 0.6), tall);
  }
  g.fillRect(left, height - 1, step * row.length, 1);
}
