// @ts-check
// One row unfolded: query and keys make scores, scores are scaled and hidden where they must be, the softmax makes weights,
// and the weights fetch values. Every number is of the selected layer, head and token; together they add up on the screen.

import { h, fill, say, tokenText, quoted, button } from "../../core/dom.js";
import { fit } from "../../core/canvas.js";
import { plain as hyphened } from "../../core/format.js";
import { workOut, hundredths, asPercent } from "./attention_sums.js";
import { strongestKey, whichOne } from "./attention_looks.js";
import { counted, phrase, phraseParts } from "../../core/texts.js";

/** @typedef {import("../../data/view.js").State} State */
/** @typedef {import("./attention_sums.js").Work} Work */
/** @typedef {{element: HTMLElement, name: HTMLElement, raw: HTMLElement, scaled: HTMLElement, power: HTMLElement, weight: HTMLElement, bar: HTMLElement, taken: HTMLElement, key: number}} Line */

const STRONGEST = 8;
const [STRIP_WIDTH, STRIP_HEIGHT] = [192, 30];

/** @param {import("../../data/view.js").Context} context @param {import("./attention_map.js").Pointed} pointed */
export function makeRow(context, pointed) {
  const why = h("p", { class: "ts-note", role: "status" });
  const bits = h("p", { class: "ts-note" });
  const work = h("div", { class: "ts-row-work", hidden: true });
  const inside = h("div", { class: "ts-unfolded", id: "ts-unfolded", hidden: true }, why, work);
  const [open, close] = [phrase("Unfold this row: from query and keys to the head’s output"), phrase("Fold this row")];
  const unfold = button(open, () => {
    inside.hidden = !inside.hidden;
    say(unfold, inside.hidden ? open : close);
    unfold.setAttribute("aria-expanded", String(!inside.hidden));
    context.redraw();
  }, { class: "ts-button ts-unfold", "aria-expanded": "false", "aria-controls": "ts-unfolded" });
  const element = h("div", { class: "ts-row-pane" }, unfold, inside);
  const stages = makeStages();
  const list = makeList(pointed, () => { all = !all; context.redraw(); });
  let all = false;
  /** @type {{key: string, found: Work | null, why: string | null}} */
  let made = { key: "", found: null, why: null };

  /** @param {State} state */
  function worked({ run, at }) {
    const { found, why: reason } = context.vectorsSlice(at.layer, at.token);
    if (!found || found.positions <= at.token) return { found: null, why: reason ?? phrase("This row's query and keys are not included: its token was written after they were stored.") };
    const key = `${run.id}/${at.layer}/${at.head}/${at.token}/${found.positions}/${found.bits}`;
    if (made.key !== key) made = { key, ...workOut(run, found, at) };
    return made;
  }

  /** @param {State} state @param {Work} found */
  function keyOf({ run, at }, found) {
    const chosen = pointed.key;
    if (chosen !== null && chosen <= at.token) return chosen;
    return strongestKey(run.row(at.layer, at.head, at.token) ?? Uint8Array.from(found.weights, (weight) => Math.round(Math.sqrt(weight) * 255)));
  }

  return {
    element,
    /** @param {State} state */
    paint(state) {
      if (inside.hidden) return;
      const { found } = worked(state);
      if (found) stages.paint(state, found, keyOf(state, found));
    },
    /** @param {State} state */
    draw(state) {
      if (inside.hidden) return;
      const { found, why: reason } = worked(state);
      say(why, reason ?? "");
      why.hidden = reason === null;
      work.hidden = found === null;
      if (!found) return;
      if (!work.childElementCount) fill(work, stages.element, list.element, stages.handed, bits);
      say(bits, found.bits === 16 ? phrase("Queries, keys and values are kept at 16 bits in this recording, each off by up to 1 part in 2,000; the weights computed from them here can be off by 0.2 percentage points.")
        : phrase("Queries, keys and values are the model's own, at 32 bits."));
      const key = keyOf(state, found);
      stages.draw(state, found, key);
      list.draw(state, found, key, all);
    },
  };
}

const ROLES = { query: phrase("query"), key: phrase("key"), value: phrase("value"), weight: phrase("weight") };
const STRIPS = { ...ROLES, products: phrase("products"), sum: phrase("sum") };

/** A word of the three roles, in its colour. @param {"query" | "key" | "value" | "weight"} role @param {string} [text] */
function role(role, text = ROLES[role]) {
  return h("span", { class: `ts-role-${role}` }, text);
}

/** The way from one key to what is fetched from it, worked out step by step, with the vectors drawn as strips. */
function makeStages() {
  const names = /** @type {const} */ (["query", "key", "products", "value", "sum"]);
  const canvases = Object.fromEntries(names.map((name) => [name, h("canvas", { class: "ts-vector", role: "img", "data-strip": name })]));
  const notes = Object.fromEntries(names.map((name) => [name, h("span", { class: "ts-vector-note" })]));
  const heads = Object.fromEntries(["scores", "scale", "softmax", "values", "handed"].map((name) => [name, h("p", { class: "ts-row-stage" })]));
  const strip = (/** @type {string} */ name, /** @type {import("../../core/dom.js").Child} */ called) =>
    h("div", { class: "ts-vector-row" }, h("span", { class: "ts-vector-name" }, called), canvases[name], notes[name]);
  const element = h("ol", { class: "ts-row-stages" },
    h("li", {}, heads.scores, strip("query", role("query", phrase("Query"))), strip("key", h("span", {}, "× ", role("key", phrase("Key")))), strip("products", phrase("= products"))),
    h("li", {}, heads.scale), h("li", {}, heads.softmax), h("li", {}, heads.values, strip("value", role("value", phrase("Value")))));
  const handed = h("div", { class: "ts-handed" }, heads.handed, strip("sum", role("value", phrase("sum"))));
  const shown = { strips: "", words: "" };

  return {
    element, handed,
    /** @param {State} state @param {Work} found @param {number} key */
    paint({ colours }, found, key) {
      const now = `${found.key}/${key}/${colours.stamp}`;
      if (shown.strips === now) return;
      shown.strips = now;
      drawStrip(canvases.query, found.query, colours.query, colours);
      drawStrip(canvases.key, found.keyAt(key), colours.key, colours);
      drawStrip(canvases.products, found.productsAt(key), colours.weight, colours);
      drawStrip(canvases.value, found.valueAt(key), colours.value, colours);
      drawStrip(canvases.sum, found.sum, colours.value, colours);
    },
    /** @param {State} state @param {Work} found @param {number} key */
    draw({ run, at }, found, key) {
      const now = `${found.key}/${key}`;
      if (shown.words === now) return;
      shown.words = now;
      const [self, other] = [at.token, key].map((each) => h("span", {}, quoted(run.tokens[each]), whichOne(run, each, at.token)));
      const rule = run.head.rules[at.layer];
      const weight = asPercent(hundredths(found)[key], found);
      const titled = (/** @type {string} */ title, /** @type {import("../../core/dom.js").Child[]} */ words) => [h("b", {}, title), " ", ...words];
      fill(heads.scores, ...titled(phrase("Score."), phraseParts("The {query} of {self} times the {key} of {other}: {n} products of two numbers, added up.", { query: role("query"), self, key: role("key"), other, n: String(found.query.length) })));
      const scaled = { raw: plain(found.raw[key]), divisor: found.divisor, scaled: plain(found.scaled[key]) };
      fill(heads.scale, ...titled(phrase("Scale."), rule.softcap === null ? [`${scaled.raw} ÷ ${scaled.divisor} = ${scaled.scaled}.`]
        : [phrase("{raw} ÷ {divisor} = {scaled}, soft-capped at {cap}: {score}.", { ...scaled, cap: plain(rule.softcap), score: plain(found.scores[key]) })]));
      const power = `e^(${plain(found.scores[key])} ${found.most < 0 ? "+" : "−"} ${plain(Math.abs(found.most))}) = ${plain(found.powers?.[key] ?? NaN)}`;
      fill(heads.softmax, ...titled(phrase("Softmax."), found.hidden(key) ? [phrase("Hidden: outside this layer's window of {n}. The weight is 0.", { n: rule.window })]
        : found.powers ? phraseParts("{power}; divided by the sum over all tokens, {total}: {weight} {percent}.", { power, total: plain(found.total), weight: role("weight"), percent: weight })
        : phraseParts("{weight} {percent}, from the run's 8 bits.", { weight: role("weight", phrase("Weight")), percent: weight })));
      fill(heads.values, ...titled(phrase("Value."), phraseParts("The {value} of {other}, times {percent}: length {before} becomes {after}.", { value: role("value"), other: other.cloneNode(true), percent: weight, before: plain(found.lengths[key]), after: plain(found.taken[key]) })));
      fill(heads.handed, ...titled(phrase("Output."), phraseParts("All {values}, each times its {weight}, added up: this head's output for {self}.", { values: role("value", phrase("values")), weight: role("weight"), self: self.cloneNode(true) })));
      say(notes.query, lengthWords(found.queryLength));
      say(notes.key, lengthWords(found.keyLength(key)));
      say(notes.products, phrase("sum {n}", { n: plain(found.raw[key]) }));
      say(notes.value, lengthWords(found.lengths[key]));
      say(notes.sum, lengthWords(found.sumLength));
      for (const name of names) canvases[name].setAttribute("aria-label", phrase("{name}: {n} numbers as bars, {note}", { name: STRIPS[name], n: name === "value" || name === "sum" ? found.sum.length : found.query.length, note: notes[name].textContent ?? "" }));
    },
  };
}

/** Numbers as bars up (above 0) and down (below 0), each strip by its own largest.
 * @param {HTMLCanvasElement} canvas @param {Float32Array} numbers @param {string} colour @param {import("../../core/canvas.js").Paint} colours */
function drawStrip(canvas, numbers, colour, colours) {
  const g = fit(canvas, STRIP_WIDTH, STRIP_HEIGHT);
  const most = numbers.reduce((top, each) => Math.max(top, Math.abs(each)), 0) || 1;
  const [step, middle] = [STRIP_WIDTH / numbers.length, STRIP_HEIGHT / 2];
  g.fillStyle = colours.sunk;
  g.fillRect(0, 0, STRIP_WIDTH, STRIP_HEIGHT);
  g.fillStyle = colour;
  numbers.forEach((each, i) => {
    const tall = (Math.abs(each) / most) * (middle - 1);
    g.fillRect(i * step, each > 0 ? middle - tall : middle, Math.max(step - (step > 2 ? 0.75 : 0), 0.5), tall);
  });
  g.fillStyle = colours.muted;
  g.fillRect(0, middle - 0.5, STRIP_WIDTH, 1);
}

/** Every key of the row, one line each: the strongest, or all. @param {import("./attention_map.js").Pointed} pointed @param {() => void} toggle */
function makeList(pointed, toggle) {
  const rows = h("tbody", {});
  const scaledHead = h("th", { scope: "col" });
  const [restName, restPower, restWeight] = [h("th", { scope: "row" }), h("td", { class: "ts-power" }), h("td", { class: "ts-weight-cell" })];
  const rest = h("tr", { class: "ts-rest" }, restName, h("td"), h("td"), restPower, restWeight, h("td"));
  const [sumName, sumPower, sumWeight] = [h("th", { scope: "row" }, phrase("total")), h("td", { class: "ts-power" }), h("td", { class: "ts-weight-cell" })];
  const sink = h("td", { class: "ts-weight-cell" });
  const sinkRow = h("tr", {}, h("th", { scope: "row" }, phrase("its learned sink")), h("td"), h("td"), h("td", { class: "ts-power" }), sink, h("td"));
  const hidden = h("p", { class: "ts-note" });
  const more = button("", toggle);
  const power = h("th", { class: "ts-power", scope: "col", title: phrase("e to the power of the score minus the highest score of this row") });
  const element = h("div", {},
    h("div", { class: "ts-keys", tabindex: "0", role: "region", "aria-label": phrase("Every key of this row") },
      h("table", { class: "ts-keys-table" },
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, phrase("attends to")), h("th", { scope: "col" }, role("query", phrase("Query")), " · ", role("key", phrase("Key"))),
          scaledHead, power, h("th", { scope: "col" }, role("weight")), h("th", { scope: "col", title: phrase("the weight times the length of the value") }, "× ", role("value", phrase("Value"))))),
        rows, h("tfoot", {}, rest, sinkRow, h("tr", { class: "ts-sum" }, sumName, h("td"), h("td"), sumPower, sumWeight, h("td"))))),
    h("p", { class: "ts-row" }, more), hidden);
  /** @type {Line[]} */
  const lines = [];
  let shown = "";

  function makeLine() {
    const [name, raw, scaled, ex, weight, bar, taken] = [h("button", { type: "button", class: "ts-key-name" }), h("td", {}), h("td", {}), h("td", { class: "ts-power" }), h("span", { class: "ts-key-share" }), h("span", { class: "ts-key-bar" }), h("td", {})];
    const tr = h("tr", {}, h("th", { scope: "row" }, name), raw, scaled, ex, h("td", { class: "ts-weight-cell" }, h("span", { class: "ts-key-track" }, bar), weight), taken);
    /** @type {Line} */
    const line = { element: tr, name, raw, scaled, power: ex, weight, bar, taken, key: 0 };
    tr.addEventListener("pointerenter", () => pointed.point(line.key));
    tr.addEventListener("pointerleave", () => pointed.point(null));
    name.addEventListener("focus", () => pointed.point(line.key));
    name.addEventListener("blur", () => pointed.point(null));
    tr.addEventListener("click", () => pointed.pin(line.key));
    rows.append(tr);
    lines.push(line);
  }

  return {
    element,
    /** @param {State} state @param {Work} found @param {number} key @param {boolean} all */
    draw(state, found, key, all) {
      const { run, at } = state;
      const now = `${found.key}/${all}`;
      if (shown !== now) {
        shown = now;
        write(state, found, all);
      }
      for (const line of lines) line.element.classList.toggle("ts-key-pointed", line.key === key && !line.element.hidden);
      power.hidden = found.powers === null;
      say(power, `e^(x ${found.most < 0 ? "+" : "−"} ${plain(Math.abs(found.most))})`);
      const rule = run.head.rules[at.layer];
      scaledHead.textContent = rule.softcap === null ? `÷ ${found.divisor}` : phrase("÷ {n}, capped", { n: found.divisor });
    },
  };

  /** @param {State} state @param {Work} found @param {boolean} all */
  function write({ run, at }, found, all) {
    const keys = found.strongest(all ? Infinity : STRONGEST);
    const shares = hundredths(found);
    while (lines.length < keys.length) makeLine();
    lines.forEach((line, i) => {
      line.element.hidden = i >= keys.length;
      if (line.element.hidden) return;
      const j = keys[i];
      line.key = j;
      const which = `${whichOne(run, j, at.token)}${j === at.token ? ` ${phrase("itself")}` : j === 0 ? ` ${phrase("first")}` : ""}`;
      fill(line.name, tokenText(run.tokens[j], "ts-short"), which && h("span", { class: "ts-key-which" }, which));
      say(line.raw, minus(found.raw[j].toFixed(2)));
      say(line.scaled, minus(found.scores[j].toFixed(3)));
      say(line.power, found.powers ? brief(found.powers[j]) : "");
      line.power.hidden = found.powers === null;
      say(line.weight, asPercent(shares[j], found));
      line.bar.style.width = `${found.weights[j] * 100}%`;
      say(line.taken, brief(found.taken[j]));
    });
    const others = shares.length - keys.length - found.nHidden;
    rest.hidden = others <= 0;
    const drawn = keys.reduce((sum, j) => sum + shares[j], 0);
    const whole = shares.reduce((sum, each) => sum + each, 0);
    say(restName, counted(others, "{n} other token", "{n} other tokens"));
    say(restWeight, asPercent(whole - drawn, found));
    const powers = found.powers;
    say(restPower, powers ? brief(Math.max(0, found.seenPowers - keys.reduce((sum, j) => sum + powers[j], 0))) : "");
    say(sumPower, powers ? brief(found.total) : "");
    restPower.hidden = sumPower.hidden = powers === null;
    sinkRow.hidden = found.sink === 0;
    say(sink, asPercent(10000 - whole, found));
    say(sumWeight, asPercent(found.sink > 0 ? 10000 : whole, found));
    more.hidden = others <= 0 && !all;
    say(more, all ? phrase("Show only the strongest {n}", { n: STRONGEST }) : phrase("Show all {n}", { n: shares.length }));
    say(hidden, hiddenWords(run, at, found));
  }
}

/** What this row cannot see, said once. @param {State["run"]} run @param {State["at"]} at @param {Work} found */
function hiddenWords(run, at, found) {
  const later = run.steps[run.stepOf[at.token]].last - at.token;
  return [
    found.nHidden > 0 && counted(found.nHidden, "Hidden by this layer's window of {window}: {n} earlier token.", "Hidden by this layer's window of {window}: {n} earlier tokens.", { window: run.head.rules[at.layer].window }),
    later > 0 ? counted(later, "Hidden by the causal mask: {n} later token of the prompt.", "Hidden by the causal mask: {n} later tokens of the prompt.") : phrase("The tokens after this one were not written yet: there was nothing to hide."),
    phrase("The weights are rounded so that they sum to {percent}.", { percent: asPercent(10000, found) }),
    found.note,
  ].filter(Boolean).join(" ");
}

/** @param {number} length */
function lengthWords(length) {
  return phrase("length {n}", { n: plain(length) });
}

/** @param {number} number */
function plain(number) {
  return minus(hyphened(number));
}

/** With a sign as long as those of sums. @param {string} number */
function minus(number) {
  return number.replaceAll("-", "−");
}

/** Three digits: enough to see that they add up. @param {number} number */
function brief(number) {
  if (number === 0) return "0";
  if (number < 0.001) return number.toExponential(0).replace("e-", "e−");
  return number >= 100 ? number.toFixed(0) : number.toPrecision(3);
}
