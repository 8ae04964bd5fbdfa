// @ts-check
// The MLP units of the selected layer that are strongest for the selected token, with their values and signs.

import { h, fill, say, quoted } from "../../core/dom.js";
import { taps } from "../../core/canvas.js";
import { count } from "../../core/format.js";
import { phrase, phraseParts } from "../../core/texts.js";

/** @typedef {import("../../data/view.js").State} State */
/** @typedef {import("../../data/store.js").Run} Run */

const NAMED = 6; // tokens named in the sentence about one unit

/** @param {Run} run @param {number} layer @param {number} token @returns {{id: number, value: number}[]} largest first; empty where there are none */
export function unitsAt(run, layer, token) {
  const { units } = run;
  if (!units || token >= units.positions) return [];
  const start = (layer * units.positions + token) * units.kept;
  return Array.from({ length: units.kept }, (_, k) => ({ id: units.ids[start + k], value: units.values[start + k] }));
}

/** @param {HTMLElement} box */
export function makeUnits(box) {
  const empty = h("p", { class: "ts-empty" });
  const title = h("p", { class: "ts-units-title" });
  const list = h("ol", { class: "ts-units", "aria-label": phrase("Strongest units"), "data-own-keys": true });
  const readout = h("p", { class: "ts-readout", "aria-live": "polite" });
  const about = h("p", { class: "ts-note" });
  box.append(empty, title, list, readout, about);
  /** @type {ReturnType<typeof makeRow>[]} */
  let rows = [];
  let drawn = "";
  /** @type {State | null} */
  let last = null;

  const point = (/** @type {number} */ k) => {
    if (!last) return;
    const unit = unitsAt(last.run, last.at.layer, last.at.token)[k];
    if (unit) fill(readout, ...aboutUnit(last, unit));
    else say(readout, taps() ? phrase("Tap a unit to see for which other tokens of this run it is strong.") : phrase("Point at a unit to see for which other tokens of this run it is strong."));
  };
  list.addEventListener("keydown", (event) => {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const now = rows.findIndex((row) => row.element === document.activeElement);
    if (!by || now < 0) return;
    event.preventDefault();
    const next = rows[Math.min(Math.max(now + by, 0), rows.length - 1)];
    for (const row of rows) row.element.tabIndex = row === next ? 0 : -1;
    next.element.focus();
  });

  /** @param {number} kept */
  function makeRows(kept) {
    rows = Array.from({ length: kept }, (_, k) => makeRow(k));
    rows.forEach(({ element }, k) => {
      for (const event of ["pointerenter", "focus"]) element.addEventListener(event, () => point(k));
      for (const event of ["pointerleave", "blur"]) element.addEventListener(event, () => point(-1));
    });
    fill(list, ...rows.map((row) => row.element));
  }

  return {
    /** @param {State} state */
    draw(state) {
      last = state;
      const { run, at } = state;
      const now = `${run.id}/${at.layer}/${at.token}/${Boolean(run.units)}/${Boolean(run.end)}`;
      if (now === drawn) return;
      drawn = now;
      const found = unitsAt(run, at.layer, at.token);
      empty.hidden = found.length > 0;
      title.hidden = list.hidden = readout.hidden = about.hidden = !found.length;
      if (!found.length) { say(empty, unitsMissing(run)); return; }
      const values = { layer: String(at.layer), token: quoted(run.tokens[at.token]), n: String(found.length), all: count(run.head.model.d_mlp ?? 0) };
      fill(title, ...(run.head.model.d_mlp ? phraseParts("Layer {layer} for {token}: the {n} largest of {all} units", values) : phraseParts("Layer {layer} for {token}: the {n} largest units", values)));
      say(about, phrase("A unit is one of the numbers in the middle of the MLP: it responds to certain features of a token's vector, and adds its own fixed vector, multiplied by its value, to the residual stream."));
      if (rows.length !== found.length) makeRows(found.length);
      const most = Math.max(...found.map((unit) => Math.abs(unit.value)), 1e-9);
      found.forEach(({ id, value }, k) => {
        say(rows[k].name, phrase("unit {id}", { id }));
        say(rows[k].number, signed(value));
        rows[k].bar.style.transform = `translateX(${value < 0 ? -100 : 0}%) scaleX(${Math.abs(value) / most})`;
        rows[k].bar.style.transformOrigin = value < 0 ? "right" : "left";
      });
      point(rows.findIndex((row) => row.element === document.activeElement));
    },
  };
}

/** @param {number} k */
function makeRow(k) {
  const [name, bar, number] = [h("span", { class: "ts-unit-name" }), h("span", { class: "ts-unit-fill" }), h("span", { class: "ts-bar-number" })];
  const element = h("li", { class: "ts-unit", tabindex: k ? "-1" : "0" }, name, h("span", { class: "ts-unit-track" }, bar), number);
  return { element, name, bar, number };
}

/** @param {number} value */
function signed(value) {
  return `${value < 0 ? "−" : "+"}${Math.abs(value).toPrecision(3)}`;
}

/** For which other tokens this unit is among the strongest of its layer. @param {State} state @param {{id: number, value: number}} unit */
function aboutUnit({ run, at }, { id }) {
  const units = /** @type {import("../../data/store.js").Units} */ (run.units);
  const tokens = [];
  for (let token = 0; token < units.positions; token += 1) {
    const start = (at.layer * units.positions + token) * units.kept;
    if (token !== at.token && units.ids.subarray(start, start + units.kept).includes(id)) tokens.push(token);
  }
  const others = tokens.slice(0, NAMED).flatMap((token, i) => [i ? ", " : "", quoted(run.tokens[token]), ` (${token})`]);
  const values = { id: String(id), layer: String(at.layer), tokens: others, n: String(tokens.length - NAMED) };
  if (!tokens.length) return phraseParts("Unit {id} of layer {layer} is among the strongest for no other token of this run.", values);
  if (tokens.length <= NAMED) return phraseParts("Unit {id} of layer {layer} is also among the strongest for {tokens}.", values);
  return tokens.length === NAMED + 1 ? phraseParts("Unit {id} of layer {layer} is also among the strongest for {tokens} and 1 more token.", values)
    : phraseParts("Unit {id} of layer {layer} is also among the strongest for {tokens} and {n} more tokens.", values);
}

/** @param {Run} run */
function unitsMissing(run) {
  const check = run.head.model.checks.find((/** @type {{name: string, passed: boolean}} */ each) => each.name === "units");
  if (check && !check.passed) return phrase("The MLP's units are not shown for this model: {reason}.", { reason: check.detail });
  if (!run.end) return phrase("The strongest units are added after the run has ended.");
  if (run.nRead > run.head.rows_up_to) return phrase("This page includes the units of runs of up to {n} tokens; the trace file has them.", { n: count(run.head.rows_up_to) });
  if (run.end.ended === "stopped") return phrase("This run was stopped. The strongest units are added afterwards, unless that was stopped too.");
  return run.units ? phrase("This token was not read yet.") : phrase("This run was recorded without its units: run the prompt again to see them.");
}
