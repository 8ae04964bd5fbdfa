// @ts-check
// The embedding table as a map: this run's tokens among their nearest neighbours, flattened to two directions. Drawn by plotly,
// which is slow beside a canvas: never in the frame of a selection, only when the pointer rests.

import { FONT_FAMILY } from "../../core/canvas.js";
import { button, fill, h, say, watchSight } from "../../core/dom.js";
import { label } from "../../core/format.js";
import { wide } from "../../core/svg.js";
import { phrase } from "../../core/texts.js";

/** @typedef {import("../../data/view.js").State} State */
/** @typedef {import("../../data/view.js").Context} Context */
/** @typedef {import("../../data/store.js").Embeddings} Embeddings */

const REST_MS = 90;
const DRAWING = phrase("Drawing the map of this run…");
const [MARGIN, HEIGHT] = [{ l: 34, r: 8, t: 8, b: 38 }, 400];
const [LINE, ROOM] = [18, 3]; // px: the height of a label, and the room around it
const [DOT, RING, SPECK] = [12, 20, 6]; // px: marks of the run's tokens, of the selected one, of their neighbours
const DIAMOND = 1.4; // how much wider a diamond is than its size says
const MANY = 40; // tokens: with more of them marks are smaller
const MOST_LABELS = 40;
/** Where a label may stand beside its mark, the best place first: as plotly calls it, and to which side of the mark, in x and in y.
 * @type {[string, number, number][]} */
const SIDES = [["top center", 0, -1], ["middle right", 1, 0], ["bottom center", 0, 1], ["middle left", -1, 0],
  ["top right", 1, -1], ["top left", -1, -1], ["bottom right", 1, 1], ["bottom left", -1, 1]];
const [MARKED, LABELS] = [3, 4]; // the traces that change with the selection

/** @param {Context} context */
export function makeMap({ selection, plotly }) {
  const chart = h("div", { class: "ts-map-chart", role: "group", "aria-label": phrase("Map of the tokens' vectors; the list of the selected token's nearest neighbours says the same"), hidden: true });
  const note = h("p", { class: "ts-empty", role: "status" }, phrase("Loading the chart library…"));
  const again = button(phrase("Try again"), () => { asked = false; load(); });
  const element = h("div", { class: "ts-map-holder" }, note, chart);
  /** @type {any} */
  let library = null;
  let asked = false;
  let near = false;
  let timer = 0;
  let drawn = "";
  let drawnRun = "";
  let id = -1;
  /** @type {import("../../core/canvas.js").Paint | null} */
  let theme = null;
  /** @type {State | null} */
  let state = null;

  watchSight(element, (entry) => {
    near = entry.isIntersecting;
    if (near && !library) asked = false; // it may be reached by now
    if (near) load();
  }, { rootMargin: "500px" });

  /** The library is 5 MB: it is fetched when the map comes near. */
  async function load() {
    if (asked || !state?.run.embeddings) {
      later(0);
      return;
    }
    asked = true;
    library = (await plotly()) ?? null;
    if (library !== null) { // the note stays until the map is drawn
      say(note, DRAWING);
      chart.hidden = false;
      element.classList.remove("ts-without");
      later(0);
      return;
    }
    fill(note, phrase("The chart library could not be loaded, so the map is not drawn; the list shows the same neighbours."), " ", again);
    note.hidden = false;
    chart.hidden = true;
    element.classList.add("ts-without");
  }

  /** @param {number} ms */
  function later(ms) {
    window.clearTimeout(timer);
    timer = window.setTimeout(update, ms);
  }

  function update() {
    const found = state?.run.embeddings;
    if (!library || !near || !state || !found || !chart.clientWidth) return;
    const { run, at, colours } = state;
    const now = `${run.id}/${run.tokens.length}/${chart.clientWidth}`;
    const wanted = run.tokens[at.token]?.id ?? -1;
    if (now !== drawn || theme !== colours) {
      const fresh = drawn === "";
      [drawn, theme, id, drawnRun] = [now, colours, wanted, run.id];
      library.react(chart, traces(state, found, wanted, chart.clientWidth), layout(state, found), { displaylogo: false, responsive: true, displayModeBar: false });
      chart.dataset.run = run.id;
      blank(false);
      if (fresh) /** @type {any} */ (chart).on("plotly_click", (/** @type {any} */ event) => choose(Number(event.points[0]?.customdata)));
    } else if (wanted !== id) {
      id = wanted;
      const [marked, labels] = traces(state, found, wanted, chart.clientWidth).slice(MARKED);
      library.restyle(chart, { x: [marked.x, labels.x], y: [marked.y, labels.y], text: [marked.text, labels.text], textposition: [undefined, labels.textposition],
        "textfont.color": [undefined, labels.textfont.color], "marker.size": [RING, labels.marker.size] }, [MARKED, LABELS]);
    }
  }

  /** What is drawn belongs to another run: it goes at once, before the new map is there. @param {boolean} is */
  function blank(is) {
    chart.style.visibility = is ? "hidden" : "";
    note.hidden = !is;
    if (is) say(note, DRAWING);
  }

  /** Go to the token of this point: the last place where it stands that was read already, or else its first.
   * @param {number} point */
  function choose(point) {
    const found = state?.run.embeddings;
    if (!state || !found) return;
    const places = state.run.tokens.flatMap((token, i) => (token.id === found.ids[point] && i < /** @type {State} */ (state).run.nRead ? [i] : []));
    const last = state.step.last;
    const token = places.findLast((place) => place <= last) ?? places[0];
    if (token !== undefined) selection.set({ token }, { lock: true });
  }

  return {
    element,
    /** @param {State} next */
    draw(next) {
      state = next;
      if (drawnRun && drawnRun !== next.run.id && library) blank(true);
      if (near && !asked) load();
      else later(REST_MS);
    },
  };
}

/** @param {State} state @param {Embeddings} found @param {number} id the selected token's @param {number} width @returns {any[]} */
function traces({ run, colours }, found, id, width) {
  const prompt = new Set(run.tokens.slice(0, run.nPrompt).map((token) => token.id));
  const [neighbours, read, written] = [/** @type {number[]} */ ([]), /** @type {number[]} */ ([]), /** @type {number[]} */ ([])];
  found.ids.forEach((each, i) => (i >= found.own ? neighbours : prompt.has(each) ? read : written).push(i));
  const selected = found.pointOf.get(id) ?? -1;
  const name = (/** @type {number} */ i) => label(run.named({ id: found.ids[i], text: run.texts.get(found.ids[i]) ?? "" }), 18);
  const dots = (/** @type {number[]} */ points, /** @type {(id: number) => string} */ about, /** @type {object} */ marker) => ({
    type: "scatter", mode: "markers", x: points.map((i) => found.xy[i * 2]), y: points.map((i) => found.xy[i * 2 + 1]), customdata: points,
    text: points.map((i) => `${shown(name(i))}<br>${about(found.ids[i])}`), hoverinfo: "text", marker, cliponaxis: false,
  });
  const around = { color: colours.card, width: 1 };
  const [x, y] = [found.xy[selected * 2], found.xy[selected * 2 + 1]];
  const dot = found.own > MANY ? DOT - 3 : DOT;
  const labels = spread(found, selected, width, dot, name);
  const ofModel = new Set(written);
  const colourOf = (/** @type {number} */ i) => (i === selected ? colours.ink : i >= found.own ? colours.muted : ofModel.has(i) ? colours["generated-text"] : colours["prompt-text"]);
  return [
    dots(neighbours, (id) => phrase("id {id}, in the vocabulary, not in this text", { id }), { size: SPECK, color: colours.muted, opacity: 0.55 }),
    dots(read, (id) => `${phrase("id {id}, in the prompt", { id })}<br>${phrase("a click selects it")}`, { size: dot, symbol: "circle", color: colours.prompt, line: around }),
    dots(written, (id) => `${phrase("id {id}, written by the model", { id })}<br>${phrase("a click selects it")}`, { size: dot + 1, symbol: "diamond", color: colours.generated, line: around }),
    { type: "scatter", mode: "markers", x: selected < 0 ? [] : [x], y: selected < 0 ? [] : [y], text: [""], hoverinfo: "skip", cliponaxis: false,
      marker: { size: RING, symbol: "circle-open", color: colours.ink, line: { width: 2.5 } } },
    { type: "scatter", mode: "markers+text", x: labels.map(({ i }) => found.xy[i * 2]), y: labels.map(({ i }) => found.xy[i * 2 + 1]), text: labels.map(({ i }) => shown(name(i))),
      textposition: labels.map(({ side }) => side), textfont: { color: labels.map(({ i }) => colourOf(i)), size: 14 }, hoverinfo: "skip", cliponaxis: true,
      marker: { size: labels.map(({ i }) => sizeOf(i, found, selected, dot)), opacity: 0 } }, // unseen: plotly keeps a label off its own mark
  ];
}

/** @param {State} state @param {Embeddings} found */
function layout({ colours }, found) {
  const axis = (/** @type {string} */ text, /** @type {number[]} */ range) => ({
    title: { text, font: { size: 14, color: colours.muted }, standoff: 8 }, range,
    showticklabels: false, gridcolor: colours.line, zeroline: false, showline: true, linecolor: colours.line, ticks: "",
  });
  const { x, y } = ranges(found);
  const percents = [0, 1].map((i) => (found.shares[i] * 100).toFixed(1));
  return {
    height: HEIGHT, margin: MARGIN, showlegend: false, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "closest",
    font: { color: colours.ink, size: 14, family: FONT_FAMILY },
    hoverlabel: { bgcolor: colours.card, bordercolor: colours.muted, font: { color: colours.ink, size: 14, family: FONT_FAMILY } },
    dragmode: window.matchMedia("(pointer: fine)").matches ? "zoom" : false,
    xaxis: axis(phrase("direction 1: {percent}% of the variance", { percent: percents[0] }), x), yaxis: axis(phrase("direction 2: {percent}%", { percent: percents[1] }), y), uirevision: "one",
  };
}

/** The outermost points, with some room for their labels. @param {Embeddings} found */
function ranges({ xy }) {
  const range = (/** @type {0 | 1} */ axis) => {
    let [low, high] = [Infinity, -Infinity];
    for (let i = axis; i < xy.length; i += 2) [low, high] = [Math.min(low, xy[i]), Math.max(high, xy[i])];
    const room = (high - low || 1) * 0.08;
    return [low - room, high + room];
  };
  return { x: range(0), y: range(1) };
}

/** How large the mark of a point is, in px. @param {number} i @param {Embeddings} found @param {number} selected @param {number} dot */
function sizeOf(i, found, selected, dot) {
  if (i === selected) return RING + 3;
  return i < found.own ? dot * DIAMOND : SPECK;
}

/** Which points bear their names, and on which side, so that no name lies on another or on a mark of the run: the selected point
 * first, then the run's others, then the selected one's neighbours; who finds no place goes without.
 * @param {Embeddings} found @param {number} selected @param {number} width @param {number} dot @param {(point: number) => string} name */
function spread(found, selected, width, dot, name) {
  const { x, y } = ranges(found);
  const [across, down] = [width - MARGIN.l - MARGIN.r, HEIGHT - MARGIN.t - MARGIN.b];
  const near = selected < 0 || selected >= found.own ? [] : Array.from(found.near.subarray(selected * found.kept, (selected + 1) * found.kept));
  const order = [...new Set([selected, ...Array.from({ length: found.own }, (_, i) => i), ...near])].filter((i) => i >= 0);
  const places = Array.from(found.ids, (_, i) => [((found.xy[i * 2] - x[0]) / (x[1] - x[0])) * across, (1 - (found.xy[i * 2 + 1] - y[0]) / (y[1] - y[0])) * down]);
  const around = (/** @type {number} */ i) => {
    const half = sizeOf(i, found, selected, dot) / 2;
    return /** @type {Area} */ ([places[i][0] - half, places[i][1] - half, places[i][0] + half, places[i][1] + half]);
  };
  const marks = Array.from({ length: found.own }, (_, i) => around(i));
  const specks = Array.from({ length: found.ids.length - found.own }, (_, i) => around(found.own + i));
  /** @type {Area[]} */
  const taken = [];
  /** @type {{i: number, side: string}[]} */
  const labels = [];
  for (const i of order) {
    if (labels.length >= MOST_LABELS) break;
    const [long, off] = [wide(name(i)), sizeOf(i, found, selected, dot) / 1.6 + 1]; // plotly's distance
    const free = SIDES.map(([side, dx, dy], rank) => {
      const left = places[i][0] + dx * off - (dx < 0 ? long : dx > 0 ? 0 : long / 2);
      const top = places[i][1] + dy * off - (dy < 0 ? LINE : dy > 0 ? 0 : LINE / 2);
      const area = /** @type {Area} */ ([left - ROOM, top - 1, left + long + ROOM, top + LINE + 1]);
      const inside = left >= 0 && left + long <= across && top >= -MARGIN.t && top + LINE <= down;
      const blocked = !inside || taken.some((other) => meet(area, other)) || marks.some((other, j) => j !== i && meet(area, other));
      return { side, area, blocked, cost: rank / 10 + specks.filter((other) => meet(area, other)).length };
    }).filter((each) => !each.blocked).sort((a, b) => a.cost - b.cost)[0];
    if (!free) continue;
    taken.push(free.area);
    labels.push({ i, side: free.side });
  }
  return labels;
}

/** @typedef {[number, number, number, number]} Area left, top, right, bottom */

/** @param {Area} one @param {Area} other */
function meet(one, other) {
  return one[0] < other[2] && other[0] < one[2] && one[1] < other[3] && other[1] < one[3];
}

/** Text for plotly, which reads a few tags. @param {string} text */
function shown(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
