// @ts-check
// The logit lens: what the model would say next if it stopped after each layer. The selected token's guesses as a list; beside it,
// in the same rows, the guesses of the tokens around it; below, all tokens as colours.

import { h, fill, say, tokenText, quoted, keepInView } from "../../core/dom.js";
import { widthOf } from "../../core/canvas.js";
import { label, percent } from "../../core/format.js";
import { Guesses, overview, placeOf } from "./lens_map.js";
import { phrase, phraseParts } from "../../core/texts.js";

/** @typedef {import("../../data/view.js").State} State */
/** @typedef {{token: number, level: number}} Place */

/** @param {HTMLElement} box @param {import("../../data/view.js").Context} context */
export function makeLens(box, { selection, redraw }) {
  const title = h("p", { class: "ts-lens-title" });
  const empty = h("p", { class: "ts-empty" });
  const list = h("ol", { class: "ts-levels", "aria-label": phrase("The guess after each layer, the last layer first") });
  const foot = h("p", { class: "ts-level-foot" });
  const map = canvas(phrase("Guesses of the tokens around the selected one"));
  const mapBox = h("div", { class: "ts-lens-map" }, map);
  const all = canvas(phrase("Guesses of all tokens"));
  const allTitle = h("p", { class: "ts-note ts-lens-all-title" });
  const allBox = h("div", { class: "ts-canvas-box" }, all);
  const readout = h("p", { class: "ts-readout", "aria-live": "polite" });
  const scroll = h("div", { class: "ts-lens-scroll" },
    h("div", { class: "ts-level-column" }, h("p", { class: "ts-level-heads" }, h("span", {}, phrase("after")), h("span", {}, phrase("guess")), h("span"), h("span", {}, phrase("probability"))), list, foot), mapBox);
  const shown = h("div", { class: "ts-lens" }, title, legend(), scroll, readout, allTitle, allBox);
  box.append(empty, shown);
  const [mapWidth, allWidth] = [widthOf(mapBox, redraw), widthOf(allBox, redraw)];
  const guesses = new Guesses();
  /** @type {State | null} */
  let last = null;
  /** @type {Place | null} */
  let pointed = null;
  let held = false;
  /** @type {ReturnType<typeof makeRow>[]} */
  let rows = [];
  let [drawn, of] = ["", ""];
  /** @type {Record<string, import("./lens_map.js").Layout | null>} */
  const layouts = { map: null, all: null };

  const sayPlace = () => {
    if (!last) return;
    const { token, level } = pointed ?? { token: last.at.token, level: last.at.layer + 1 };
    const found = last.run.lensAt(level, token);
    const values = { layer: String(level - 1), token: quoted(last.run.tokens[token]), guesses: found.length ? found.flatMap((guess, i) => [i ? ", " : "", quoted(guess), ` ${percent(guess.probability)}`]) : phrase("not known") };
    fill(readout, ...(level === 0 ? phraseParts("At the input, the model would continue {token} with: {guesses}.", values) : phraseParts("After layer {layer}, the model would continue {token} with: {guesses}.", values)));
  };
  const at = (/** @type {Place} */ { token, level }) => ({ token, ...(level > 0 ? { layer: level - 1 } : {}) });
  const point = (/** @type {Place | null} */ place) => {
    pointed = place;
    selection.preview(place && at(place));
    sayPlace();
  };
  map.addEventListener("pointermove", (event) => { held = event.pointerType === "mouse"; });
  map.addEventListener("pointerleave", () => { held = false; redraw(); });
  for (const [name, element] of /** @type {[string, HTMLCanvasElement][]} */ ([["map", map], ["all", all]])) {
    element.addEventListener("pointermove", (event) => { if (event.pointerType === "mouse") point(placeOf(layouts[name], element, event)); });
    element.addEventListener("pointerleave", () => point(null));
    element.addEventListener("click", (event) => {
      const place = placeOf(layouts[name], element, event);
      if (place) selection.set(at(place), { lock: true });
    });
    element.addEventListener("keydown", (event) => {
      const [token, layer] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key] ?? [0, 0];
      if (!token && !layer) return;
      event.preventDefault();
      selection.set(token ? { token: selection.at.token + token } : { layer: selection.at.layer + layer }, { lock: true });
    });
  }

  /** @param {import("../../data/store.js").Run} run */
  function makeRows(run) {
    if (of === run.id) return;
    of = run.id;
    rows = Array.from({ length: run.nLayers + 1 }, (_, i) => makeRow(run.nLayers - i, run.nLayers));
    for (const row of rows) {
      if (row.level > 0) row.element.addEventListener("click", () => selection.set({ layer: row.level - 1 }, { lock: true }));
      row.element.addEventListener("pointerenter", (event) => { if (event.pointerType === "mouse") point(last && { token: last.at.token, level: row.level }); });
      row.element.addEventListener("pointerleave", () => point(null));
    }
    fill(list, ...rows.map((row) => row.element));
  }

  /** @param {State} state */
  function drawList({ run, at: { layer, token } }) {
    const next = run.tokens[token + 1]?.id ?? -1;
    for (const row of rows) {
      const place = run.lensPlace(row.level, token);
      const known = place !== null;
      const [id, probability] = known ? [place.ids[place.at], place.probabilities[place.at]] : [-1, 0];
      if (row.id !== id) say(row.guess, known ? label({ id, text: run.texts.get(id) ?? "", hex: run.hexes.get(id) }, 40) : "–");
      row.id = id;
      if (row.probability !== probability) {
        row.probability = probability;
        row.bar.style.transform = `scaleX(${probability})`;
        say(row.number, known ? brief(probability) : "");
      }
      mark(row, "agrees", "ts-agrees", known && id === next);
      mark(row, "current", "ts-current", row.level - 1 === layer);
    }
  }

  return {
    /** @param {State} state */
    paint(state) {
      last = state;
      if (!state.run.lens) return;
      layouts.map = guesses.draw(map, state, mapWidth(), held);
      const whole = layouts.map !== null && layouts.map.n === state.run.lens.positions;
      allBox.hidden = allTitle.hidden = whole;
      layouts.all = whole ? null : overview(all, state, allWidth(), layouts.map);
    },
    /** @param {State} state */
    draw(state) {
      const { run, at: { layer, token } } = state;
      const isThere = run.lens !== null || (run.lensOnDemand && run.lensPlace(0, token) !== null);
      const now = `${run.id}/${layer}/${token}/${isThere}/${run.tokens.length}/${Boolean(run.end)}/${isThere || lensMissing(run)}`;
      if (now === drawn) return;
      drawn = now;
      empty.hidden = isThere;
      shown.hidden = !isThere;
      mapBox.hidden = run.lens === null;
      if (!run.lens) allBox.hidden = allTitle.hidden = true;
      if (!isThere) { say(empty, lensMissing(run)); return; }
      makeRows(run);
      const next = run.tokens[token + 1];
      const values = { token: quoted(run.tokens[token]), n: String(token), next: next && h("b", { class: "ts-lens-next" }, quoted(next)) };
      fill(title, ...(next ? phraseParts("After {token} (token {n}) the text continues with {next}.", values) : phraseParts("After {token} (token {n}) nothing was written yet.", values)));
      fill(foot, ...phraseParts("reads {token}", { token: tokenText(run.tokens[token]) }));
      if (run.lens) say(allTitle, phrase("All {n} tokens at a glance, in the same rows:", { n: run.lens.positions }));
      map.setAttribute("aria-label", phrase("Logit lens: {n} rows by tokens. Arrow keys choose the token and the layer; the list beside it reads out the guesses.", { n: run.nLayers + 1 }));
      drawList(state);
      sayPlace();
      keepInView(scroll, rows[run.nLayers - 1 - layer]?.element);
    },
  };
}

/** A row of the list, changed only where it differs. @param {number} level @param {number} last */
function makeRow(level, last) {
  const [guess, bar, number] = [h("bdi", { class: "ts-level-guess" }), h("span", { class: "ts-bar-fill" }), h("span", { class: "ts-level-number" })];
  const name = h("span", { class: "ts-level-name" }, level === 0 ? phrase("input") : phrase("layer {n}", { n: level - 1 }));
  const element = h("li", { class: "ts-level", title: level === last ? phrase("After the last layer: the model's actual prediction") : "" }, name, guess, h("span", { class: "ts-bar-track" }, bar), number);
  return { level, element, guess, bar, number, id: -2, probability: -1, agrees: false, current: false };
}

/** @param {ReturnType<typeof makeRow>} row @param {"agrees" | "current"} what @param {string} name @param {boolean} on */
function mark(row, what, name, on) {
  if (row[what] === on) return;
  row[what] = on;
  row.element.classList.toggle(name, on);
}

/** @param {string} name */
function canvas(name) {
  return h("canvas", { class: "ts-map", role: "img", tabindex: "0", "data-own-keys": true, "aria-label": name });
}

function legend() {
  const scale = (/** @type {string} */ name) => h("span", { class: `ts-bar-scale ts-lens-scale ${name}` });
  return h("p", { class: "ts-legend" }, h("span", {}, scale(""), " ", phrase("probability of the guess, 0% to 100%")), h("span", {}, scale("ts-lens-right"), " ", phrase("the guess is the token that came next")));
}

/** A percentage that fits a narrow column; the exact one is in the sentence below and in the numbers. @param {number} probability */
function brief(probability) {
  if (probability >= 0.995) return probability >= 1 ? "100%" : ">99%";
  if (probability < 0.001) return "<0.1%";
  return `${(probability * 100).toFixed(probability < 0.0995 ? 1 : 0)}%`;
}

/** @param {import("../../data/store.js").Run} run */
function lensMissing(run) {
  const reason = run.head.shows.lens;
  if (reason !== null) return phrase("The logit lens is not shown for this model: {reason}.", { reason });
  if (run.lensOnDemand) return run.lensSource?.why() ?? "";
  const left = run.notes.find((/** @type {string} */ note) => note.startsWith(phrase("The logit lens is left out:")));
  if (left) return left;
  if (run.end?.ended === "stopped") return phrase("This run was stopped. The logit lens is added afterwards, unless that was stopped too.");
  return run.end ? phrase("The logit lens is being computed; it appears here when it is done.") : phrase("The logit lens is added after the run has ended.");
}

