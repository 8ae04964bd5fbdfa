// @ts-check
// The embedding table as a map: this run's tokens among their nearest neighbours, flattened to two directions. Drawn by plotly,
// which is slow beside a canvas: never in the frame of a selection, only when the pointer rests.

import { button, fill, h } from "../dom.js";
import { label } from "../format.js";

/** @typedef {import("../card.js").State} State */
/** @typedef {import("../card.js").Context} Context */
/** @typedef {import("../store.js").Embeddings} Embeddings */

const REST_MS = 90;
const [MARGIN, HEIGHT] = [{ l: 34, r: 8, t: 8, b: 38 }, 400];
const [LETTER, LINE, ABOVE, LIFT] = [7.6, 18, 16, 8]; // px: what a label takes, roughly, and how far above its point it stands; the marked one higher
const MOST_LABELS = 40;
const [MARKED, LABELS] = [3, 4]; // the traces that change with the selection

/** @param {Context} context */
export function makeMap({ selection, plotly }) {
  const chart = h("div", { class: "ts-map-chart", role: "group", "aria-label": "Map of the tokens' vectors; the list of the selected token's nearest neighbours says the same", hidden: true });
  const note = h("p", { class: "ts-empty", role: "status" }, "Loading the chart library…");
  const again = button("Try again", () => { asked = false; load(); });
  const element = h("div", { class: "ts-map-holder" }, note, chart);
  /** @type {any} */
  let library = null;
  let asked = false;
  let near = false;
  let timer = 0;
  let drawn = "";
  let id = -1;
  /** @type {import("../canvas.js").Paint | null} */
  let theme = null;
  /** @type {State | null} */
  let state = null;

  new IntersectionObserver(([entry]) => {
    near = entry.isIntersecting;
    if (near && !library) asked = false; // it may be reached by now
    if (near) load();
  }, { rootMargin: "500px" }).observe(element);

  /** The library is 5 MB: it is fetched when the map comes near. */
  async function load() {
    if (asked || !state?.run.embeddings) {
      later(0);
      return;
    }
    asked = true;
    library = await plotly();
    fill(note, "The chart library is not there, so the map is not drawn: the list says the same neighbours. ", again);
    note.hidden = library !== null;
    chart.hidden = library === null;
    element.classList.toggle("ts-without", library === null);
    later(0);
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
      [drawn, theme, id] = [now, colours, wanted];
      library.react(chart, traces(state, found, wanted, chart.clientWidth), layout(state, found), { displaylogo: false, responsive: true, displayModeBar: false });
      if (fresh) /** @type {any} */ (chart).on("plotly_click", (/** @type {any} */ event) => choose(Number(event.points[0]?.customdata)));
    } else if (wanted !== id) {
      id = wanted;
      const [marked, labels] = traces(state, found, wanted, chart.clientWidth).slice(MARKED);
      library.restyle(chart, { x: [marked.x, labels.x], y: [marked.y, labels.y], text: [marked.text, labels.text] }, [MARKED, LABELS]);
    }
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
      if (near && !asked) load();
      else later(REST_MS);
    },
  };
}

/** @param {State} state @param {Embeddings} found @param {number} id the selected token's @param {number} width */
function traces({ run, colours }, found, id, width) {
  const prompt = new Set(run.tokens.slice(0, run.nPrompt).map((token) => token.id));
  const [neighbours, read, written] = [/** @type {number[]} */ ([]), /** @type {number[]} */ ([]), /** @type {number[]} */ ([])];
  found.ids.forEach((each, i) => (i >= found.own ? neighbours : prompt.has(each) ? read : written).push(i));
  const selected = found.pointOf.get(id) ?? -1;
  const name = (/** @type {number} */ i) => label(run.named({ id: found.ids[i], text: run.texts.get(found.ids[i]) ?? "" }), 18);
  const dots = (/** @type {number[]} */ points, /** @type {string} */ what, /** @type {object} */ marker) => ({
    type: "scatter", mode: "markers", x: points.map((i) => found.xy[i * 2]), y: points.map((i) => found.xy[i * 2 + 1]), customdata: points,
    text: points.map((i) => `${shown(name(i))}<br>id ${found.ids[i]}, ${what}`), hoverinfo: "text", marker, cliponaxis: false,
  });
  const around = { color: colours.card, width: 1 };
  const [x, y] = [found.xy[selected * 2], found.xy[selected * 2 + 1]];
  const labels = spread(run, found, selected, width, name);
  const [low, high] = ranges(found).y;
  const lift = ((high - low) * LIFT) / (HEIGHT - MARGIN.t - MARGIN.b);
  return [
    dots(neighbours, "in the vocabulary, not in this text", { size: 6, color: colours.muted, opacity: 0.65 }),
    dots(read, "in the prompt<br>a click selects it", { size: 12, symbol: "circle", color: colours.prompt, line: around }),
    dots(written, "written by the model<br>a click selects it", { size: 13, symbol: "diamond", color: colours.generated, line: around }),
    { type: "scatter", mode: "markers", x: selected < 0 ? [] : [x], y: selected < 0 ? [] : [y], text: [""], hoverinfo: "skip", cliponaxis: false,
      marker: { size: 20, symbol: "circle-open", color: colours.ink, line: { width: 2.5 } } },
    { type: "scatter", mode: "text", x: labels.map((i) => found.xy[i * 2]), y: labels.map((i) => found.xy[i * 2 + 1] + (i === selected ? lift : 0)), text: labels.map((i) => shown(name(i))),
      textposition: "top center", textfont: { color: colours.ink, size: 14 }, hoverinfo: "skip", cliponaxis: true },
  ];
}

/** @param {State} state @param {Embeddings} found */
function layout({ colours }, found) {
  const axis = (/** @type {string} */ which, /** @type {number} */ share, /** @type {number[]} */ range) => ({
    title: { text: `${which} direction: ${(share * 100).toFixed(1)}% of the variance`, font: { size: 14 }, standoff: 8 }, range,
    showticklabels: false, gridcolor: colours.line, zeroline: false, showline: true, linecolor: colours.line, ticks: "",
  });
  const { x, y } = ranges(found);
  return {
    height: HEIGHT, margin: MARGIN, showlegend: false, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "closest",
    font: { color: colours.ink, size: 14, family: "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', sans-serif" },
    hoverlabel: { bgcolor: colours.card, bordercolor: colours.ink, font: { color: colours.ink, size: 14 } },
    dragmode: window.matchMedia("(pointer: fine)").matches ? "zoom" : false,
    xaxis: axis("first", found.shares[0], x), yaxis: axis("second", found.shares[1], y), uirevision: "one",
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

/** Which points bear their names so that no two overlap: the selected one first, then its neighbours, then the run's others.
 * @param {import("../store.js").Run} run @param {Embeddings} found @param {number} selected @param {number} width @param {(point: number) => string} name */
function spread(run, found, selected, width, name) {
  const { x, y } = ranges(found);
  const near = selected < 0 || selected >= found.own ? [] : Array.from(found.near.subarray(selected * found.kept, (selected + 1) * found.kept));
  const order = [...new Set([selected, ...near, ...Array.from({ length: found.own }, (_, i) => i)])].filter((i) => i >= 0);
  /** @type {[number, number, number, number][]} */
  const taken = [];
  return order.filter((i) => {
    if (taken.length >= MOST_LABELS) return false;
    const px = ((found.xy[i * 2] - x[0]) / (x[1] - x[0])) * (width - MARGIN.l - MARGIN.r);
    const py = (1 - (found.xy[i * 2 + 1] - y[0]) / (y[1] - y[0])) * (HEIGHT - MARGIN.t - MARGIN.b);
    const above = ABOVE + (i === selected ? LIFT : 0);
    const half = (name(i).length * LETTER) / 2;
    const box = /** @type {[number, number, number, number]} */ ([px - half, py - above - LINE / 2, px + half, py - above + LINE / 2]);
    if (box[0] < 0 || box[2] > width - MARGIN.l - MARGIN.r || box[1] < -4) return false;
    if (taken.some((other) => box[0] < other[2] && other[0] < box[2] && box[1] < other[3] && other[1] < box[3])) return false;
    taken.push(box);
    return true;
  });
}

/** Text for plotly, which reads a few tags. @param {string} text */
function shown(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
