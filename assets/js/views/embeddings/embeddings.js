// @ts-check
// Embeddings: what each token is before any layer. Its vector as numbers, how its position is told, and what lies near it.

import { h, fill, say, tokenText, quoted } from "../../core/dom.js";
import { count, plain, label } from "../../core/format.js";
import { makeDials } from "./dials.js";
import { makeMap } from "./token_map.js";
import { makeStrip, limitOf, drawNumbers, signs, signed } from "./vector_strip.js";
import { phrase, phraseParts } from "../../core/texts.js";

/** @typedef {import("../../data/store.js").Run} Run */
/** @typedef {import("../../data/store.js").Embeddings} Embeddings */

/** @type {import("../../data/view.js").View} */
export const embeddings = {
  id: "embeddings",
  title: phrase("Embeddings"),
  lead: phrase("Each token's id selects one row of the embedding table: its vector."),
  more: phrase("A vector is a list of learned numbers. It is all that the model knows of a token before its first layer; tokens with similar meanings have similar vectors."),
  create(body, context) {
    const empty = h("p", { class: "ts-empty", role: "status" });
    const title = h("h3", { class: "ts-subtitle" });
    const strip = makeStrip(context.redraw, phrase("The token's vector"));
    const words = h("p", { class: "ts-readout" });
    const places = h("h3", { class: "ts-subtitle" });
    const dials = makeDials(context.redraw);
    const learned = makeStrip(context.redraw, phrase("The position's vector"));
    const learnedNote = h("p", { class: "ts-note" }, phrase("This vector, learned for each position, is added to the token's own before the first layer, so the same token has another vector at another position."));
    const noPlaces = h("p", { class: "ts-note" });
    const map = makeMap(context);
    const nearTitle = h("h3", { class: "ts-subtitle" });
    const near = makeNearest();
    const panes = h("div", { class: "ts-panes" },
      h("div", {}, title, strip.element, words, places, dials.element, learned.element, learnedNote, noPlaces),
      h("div", {}, h("h3", { class: "ts-subtitle" }, phrase("The embedding table as a map")),
        h("p", { class: "ts-legend" }, h("span", {}, h("span", { class: "ts-dot-key ts-is-prompt", "aria-hidden": "true" }), phrase("prompt")),
          h("span", {}, h("span", { class: "ts-diamond-key", "aria-hidden": "true" }), phrase("written")),
          h("span", {}, h("span", { class: "ts-grey-key", "aria-hidden": "true" }), phrase("their neighbours in the vocabulary"))),
        map.element,
        h("p", { class: "ts-note" }, phrase("The vectors are projected onto the two directions in which they differ most; the variance measures how much they differ. Distance on the map is only a hint: the cosines below are of the full vectors.")),
        nearTitle, near.element));
    body.append(empty, panes);
    let shown = "";
    /** @type {{run: string, vectors: number, positions: number}} the ends of the scales of one run */
    let limits = { run: "", vectors: 1, positions: 1 };

    /** @param {import("../../data/view.js").State} state @returns {{found: Embeddings, point: number} | null} */
    function look({ run, at }) {
      const found = run.embeddings;
      const point = found?.pointOf.get(run.tokens[at.token]?.id);
      if (!found || point === undefined || point >= found.own) return null;
      if (limits.run !== run.id) limits = { run: run.id, vectors: limitOf(found.vectors), positions: found.positions ? limitOf(found.positions) : 1 };
      return { found, point };
    }

    return {
      paint(state) {
        const looked = look(state);
        if (!looked) return;
        const { run, at, colours } = state;
        const { found, point } = looked;
        strip.paint({ key: `${run.id}/${point}`, numbers: rowOf(found.vectors, point, found.width), limit: limits.vectors }, colours);
        if (found.position === "rotary") dials.paint(found, at.token, colours, run.id);
        if (found.positions) learned.paint({ key: `${run.id}/${at.token}`, numbers: rowOf(found.positions, at.token, found.width), limit: limits.positions }, colours);
      },
      draw(state) {
        const { run, at } = state;
        const looked = look(state);
        empty.hidden = looked !== null;
        panes.hidden = looked === null;
        if (!looked) {
          say(empty, whyNone(run));
          return;
        }
        const { found, point } = looked;
        strip.draw();
        if (found.position === "rotary") dials.draw(found, at.token, run.id);
        if (found.positions) learned.draw();
        map.draw(state);
        const now = `${run.id}/${at.token}`;
        if (now === shown) return;
        shown = now;
        const token = run.tokens[at.token];
        const vector = rowOf(found.vectors, point, found.width);
        fill(title, ...phraseParts("Row {id} of the table, for {token}", { id: count(token.id), token: quoted(token) }));
        fill(words, ...phraseParts("{n} numbers, in rows from left to right. The vector's length is {length}.", { n: count(found.width), length: h("strong", {}, plain(lengthOf(vector))) }));
        say(places, phrase("Its position in the text: {n}", { n: at.token }));
        dials.element.hidden = found.position !== "rotary";
        learned.element.hidden = learnedNote.hidden = found.position !== "learned";
        noPlaces.hidden = found.position !== null;
        say(noPlaces, found.why ?? phrase("This model adds no position information to the vectors."));
        fill(nearTitle, ...phraseParts("Nearest to {token} of all {n} tokens", { token: quoted(token), n: count(run.head.model.d_vocab) }));
        near.draw(run, found, point);
      },
      numbers({ run, at }) {
        const found = run.embeddings;
        const point = found?.pointOf.get(run.tokens[at.token]?.id) ?? -1;
        const vector = found && point >= 0 && point < found.own ? Array.from(rowOf(found.vectors, point, found.width)) : [];
        return {
          columns: [phrase("number"), phrase("value")],
          rows: vector.map((number, i) => [String(i), plain(number)]),
          note: vector.length ? phrase("The vector of token {n}, “{text}”, from the embedding table.", { n: at.token, text: label(run.tokens[at.token], 24) }) : whyNone(run),
          code: "import torch\nfrom model import Trace\nrun = Trace.open('run.trace')\n"
            + `point = run.embed_ids.tolist().index(run.tokens[${at.token}].id)\n`
            + "vector = torch.from_numpy(run.embeddings.copy())[point]\nprint(vector.norm(), vector)\n"
            + "for near, cosine in zip(run.embed_near[point], run.embed_cosine[point]):\n"
            + "    print(repr(run.texts[int(run.embed_ids[near])]), cosine)"
            + (found?.position === "rotary" ? `\ncos, sin = (torch.from_numpy(each.copy())[${at.token}] for each in (run.rotary_cos, run.rotary_sin))\nprint(torch.atan2(sin, cos))` : "")
            + (found?.position === "learned" ? `\nprint(run.position_vectors[${at.token}])` : ""),
        };
      },
    };
  },
  glance({ run, at, colours }) {
    const found = run.embeddings;
    const point = found?.pointOf.get(run.tokens[at.token]?.id);
    if (!found || point === undefined || point >= found.own) return { value: [!run.end ? phrase("after the run") : run.end.ended === "stopped" ? phrase("run was stopped") : phrase("not in this run")] };
    const id = found.ids[found.near[point * found.kept]];
    return {
      value: phraseParts("near {token}", { token: quoted(run.named({ id, text: run.texts.get(id) ?? "" })) }),
      mini(g, width, height) {
        const image = mini.image;
        const key = `${run.id}/${point}`;
        const side = Math.max(1, Math.floor(Math.sqrt((width * height) / found.width)));
        if (mini.key !== key || mini.theme !== colours) {
          drawNumbers(image, { numbers: rowOf(found.vectors, point, found.width), limit: miniLimit(run, found) }, Math.floor(width / side), signs(colours));
          [mini.key, mini.theme] = [key, colours];
        }
        g.imageSmoothingEnabled = false;
        g.drawImage(image, 0, Math.floor((height - Math.min(height, image.height * side)) / 2), image.width * side, Math.min(height, image.height * side));
      },
    };
  },
};

/** The rail's image, kept while the token stays; its scale while the run stays.
 * @type {{image: HTMLCanvasElement, key: string, theme: object | null, run: string, limit: number}} */
const mini = { image: document.createElement("canvas"), key: "", theme: null, run: "", limit: 1 };

/** @param {Run} run @param {Embeddings} found */
function miniLimit(run, found) {
  if (mini.run !== run.id) [mini.run, mini.limit] = [run.id, limitOf(found.vectors)];
  return mini.limit;
}

/** @param {Float32Array} rows @param {number} row @param {number} width */
function rowOf(rows, row, width) {
  return rows.subarray(row * width, (row + 1) * width);
}

/** @param {Float32Array} vector */
function lengthOf(vector) {
  return Math.sqrt(vector.reduce((sum, number) => sum + number * number, 0));
}

/** The nearest neighbours as rows that stay and take new names: to make them anew for each token costs more than all else. */
function makeNearest() {
  const element = h("ol", { class: "ts-bars ts-near", "aria-label": phrase("Nearest neighbours") });
  /** @type {{name: HTMLElement, bar: HTMLElement, number: HTMLElement}[]} */
  let rows = [];
  /** @param {number} n */
  function make(n) {
    rows = Array.from({ length: n }, () => ({ name: h("span", { class: "ts-near-name" }), bar: h("span", { class: "ts-bar-fill" }), number: h("span", { class: "ts-bar-number" }) }));
    fill(element, ...rows.map(({ name, bar, number }) => h("li", { class: "ts-bar" }, name, h("span", { class: "ts-bar-track" }, bar), number)));
  }
  return {
    element,
    /** @param {Run} run @param {Embeddings} found @param {number} point */
    draw(run, found, point) {
      if (rows.length !== found.kept) make(found.kept);
      rows.forEach(({ name, bar, number }, k) => {
        const id = found.ids[found.near[point * found.kept + k]];
        const cosine = found.cosine[point * found.kept + k];
        fill(name, tokenText(run.named({ id, text: run.texts.get(id) ?? "" })));
        bar.style.transform = `scaleX(${Math.max(0, Math.min(1, cosine))})`;
        say(number, phrase("cosine {n}", { n: signed(cosine) }));
      });
    },
  };
}

/** @param {Run} run */
function whyNone(run) {
  const note = run.notes.find((/** @type {string} */ each) => each.startsWith(phrase("The embedding map is left out:")));
  if (run.end && note) return note;
  if (run.end?.ended === "stopped") return phrase("This run was stopped. The vectors and their map are added afterwards, unless that was stopped too.");
  return run.end ? phrase("The vectors are added just after a run has ended, if the model provides them; this run does not include them.")
    : phrase("The vectors and their map are added when the run has ended.");
}
