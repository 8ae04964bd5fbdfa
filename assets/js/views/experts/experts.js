// @ts-check
// A mixture of experts: which of them the router sends each token to in the selected layer, and how much each is used in every layer.

import { h, fact, fill, say, quoted } from "../../core/dom.js";
import { pointer, widthOf } from "../../core/canvas.js";
import { count, percent } from "../../core/format.js";
import { phrase, phraseParts } from "../../core/texts.js";
import { choiceAt, shares } from "./choices.js";
import { drawLoads, drawTokens } from "./maps.js";

/** @typedef {import("../../data/view.js").State} State */
/** @typedef {import("./maps.js").Places} Places */

/** @type {import("../../data/view.js").View} */
export const experts = {
  id: "experts",
  title: phrase("Experts"),
  lead: phrase("A router sends each token to a few of the layer's experts (small MLPs)."),
  more: phrase("Each of them computes on the token alone; their outputs are added, each multiplied by the weight that the router gave it. What is drawn are the choices and weights with which the experts were called in this run."),
  isFor: (run) => run.head.n_experts > 0,
  create(body, { selection, redraw }) {
    const facts = h("div", { class: "ts-facts" });
    const empty = h("p", { class: "ts-empty" });
    const said = h("p", { class: "ts-readout", "aria-live": "polite" });
    const [tokens, loads] = [h("canvas", { role: "img" }), h("canvas", { role: "img" })];
    const [tokensBox, loadsBox] = [h("div", { class: "ts-canvas-box" }, tokens), h("div", { class: "ts-canvas-box" }, loads)];
    const title = h("h3", { class: "ts-subtitle" });
    const panes = h("div", { class: "ts-panes" },
      h("div", {}, title, tokensBox, said),
      h("div", {}, h("h3", { class: "ts-subtitle" }, phrase("How often each expert is chosen, in every layer")), loadsBox,
        h("p", { class: "ts-note" }, phrase("One row per layer, one column per expert. The fuller the colour, the more of the run's tokens it is given."))));
    body.append(facts, empty, panes);
    const widths = [widthOf(tokensBox, redraw), widthOf(loadsBox, redraw)];
    /** @type {Map<HTMLCanvasElement, Places | null>} */
    const places = new Map();
    listen(tokens, places, selection, (column) => ({ token: column }));
    listen(loads, places, selection, (_, row) => ({ layer: row }));

    return {
      paint(state) {
        if (!state.run.experts) return;
        if (widths[0]()) places.set(tokens, drawTokens(tokens, widths[0](), state));
        if (widths[1]()) places.set(loads, drawLoads(loads, widths[1](), state));
      },
      draw({ run, at }) {
        panes.hidden = facts.hidden = !run.experts;
        empty.hidden = !panes.hidden;
        say(empty, missing(run));
        if (!run.experts) return;
        const { n_experts: n } = run.head;
        const chosen = choiceAt(run, at.layer, at.token);
        fill(facts, fact(phrase("experts in a layer"), count(n)), fact(phrase("chosen for each token"), count(run.experts.chosen)));
        say(title, phrase("Layer {layer}: the experts of each token", { layer: at.layer }));
        fill(said, ...(chosen.length ? phraseParts("Layer {layer} sends token {n} {token} to {experts}.", {
          layer: String(at.layer), n: String(at.token), token: quoted(run.tokens[at.token]),
          experts: chosen.map(({ id, weight }) => phrase("expert {id} ({weight})", { id, weight: percent(weight) })).join(", "),
        }) : [hasExperts(run, at.layer) ? phrase("This token was not read yet.") : phrase("Layer {layer} has no experts: its MLP works on every token.", { layer: at.layer })]));
      },
      numbers({ run, at }) {
        const rows = Array.from({ length: run.experts?.positions ?? 0 }, (_, token) => choiceAt(run, at.layer, token).map(({ id, weight }) =>
          [String(token), quoted(run.tokens[token]), String(id), weight.toPrecision(4)])).flat();
        return {
          columns: [phrase("position"), phrase("token"), phrase("expert"), phrase("weight")], rows,
          note: phrase("The experts of layer {layer}, counted from 0. Weights are as they ran; whether they add up to 1 is a matter of the family.", { layer: at.layer }),
          code: CODE,
        };
      },
    };
  },
  glance({ run, at, colours }) {
    const { n_experts: n } = run.head;
    if (!run.experts) return { value: [phrase("coming")] };
    const chosen = choiceAt(run, at.layer, at.token);
    return { value: [chosen.length ? phrase("{chosen} of {n}", { chosen: chosen.map(({ id }) => id).join(", "), n }) : phrase("none in this layer")], mini: (g, width, height) => {
      const load = shares(run, at.layer);
      const most = Math.max(...load, 1e-9);
      load.forEach((share, i) => {
        g.fillStyle = chosen.some(({ id }) => id === i) ? colours.ink : colours.weight;
        g.fillRect((i * width) / n, height * (1 - share / most), Math.max(width / n - 1, 0.5), (height * share) / most);
      });
    } };
  },
};

/** Why there is nothing to see. @param {import("../../data/store.js").Run} run */
function missing(run) {
  if (!run.end) return phrase("The choices of experts are added after the run has ended.");
  return run.nRead > run.head.rows_up_to ? phrase("This page includes the experts of runs of up to {n} tokens; the trace file has them.", { n: count(run.head.rows_up_to) }) : phrase("This run was recorded without its experts: run the prompt again to see them.");
}

/** @param {import("../../data/store.js").Run} run @param {number} layer */
function hasExperts(run, layer) {
  return shares(run, layer).some((share) => share > 0);
}

/** @param {HTMLCanvasElement} canvas @param {Map<HTMLCanvasElement, Places | null>} places @param {import("../../data/selection.js").Selection} selection
 * @param {(column: number, row: number) => Partial<import("../../data/axes.js").At>} of */
function listen(canvas, places, selection, of) {
  const at = (/** @type {MouseEvent} */ event) => {
    const drawn = places.get(canvas);
    if (!drawn) return null;
    const { x, y } = pointer(canvas, event);
    const [column, row] = [Math.floor((x - drawn.left) / drawn.column), Math.floor((y - drawn.top) / drawn.row)];
    return column >= 0 && column < drawn.columns && row >= 0 && row < drawn.rows ? of(column, row) : null;
  };
  canvas.addEventListener("pointermove", (event) => { if (event.pointerType === "mouse") selection.preview(at(event)); });
  canvas.addEventListener("pointerleave", () => selection.preview(null));
  canvas.addEventListener("click", (event) => { const to = at(event); if (to) selection.set(to, { lock: true }); });
}

/** The choices again, from the trace alone. */
const CODE = `from model import Trace
run = Trace.open('run.trace')
layer = 0
for token, ids, weights in zip(run.tokens, run.expert_ids[layer], run.expert_weights[layer]):
    print(repr(token.text), dict(zip(ids.tolist(), weights.tolist())))`;
