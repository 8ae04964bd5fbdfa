// @ts-check
// What a picture asks for beside the run's own frames: slices that are large and seldom looked at. Each is asked for once,
// after the selection has rested; meanwhile, or where nobody can give it, a sentence says why it is not there.

import { answered, saidBy } from "./follow.js";
import { parseFrames } from "./frames.js";
import { LensColumns } from "./lens_columns.js";
import { phrase } from "../core/texts.js";

/** @typedef {import("./store.js").Run} Run */
/** What a picture asked for beside the run: `why` says in words why it is not there, or that it is on its way.
 * @template T @typedef {{found: T | null, why: string | null}} Slice */
/** `live`: it holds the run itself, with every number as it was computed. @typedef {{live: boolean, get: (path: string) => Promise<Uint8Array>}} Server */

const REST_MS = 120;
const RETRY_MS = 2000;

const LIBRARY_MS = 30_000; // after which the chart library counts as not to be had, until it is asked for again

export class Slices {
  /** @param {() => void} redraw @param {string} [plotly] the address of plotly.js */
  constructor(redraw, plotly) {
    this.redraw = redraw;
    this.address = plotly;
    this.lens = new LensColumns(redraw);
    /** @type {Run | null} */
    this.run = null;
    /** @type {Server | null} */
    this.server = null;
    /** @type {Map<string, string>} what was asked for, and what to say of each meanwhile */
    this.asked = new Map();
    this.timer = 0;
    /** @type {Promise<any> | null} */
    this.library = null;
  }

  get live() { return this.server?.live ?? false; }

  /** @param {Run} run @param {Server | null} server */
  open(run, server) {
    this.run = run;
    this.server = server;
    this.asked = new Map(); // what an older run asked for is told to that one alone
    window.clearTimeout(this.timer);
    this.lens.open(run, server);
  }

  /** What the pictures may call. */
  offers() {
    return {
      layerSlice: (/** @type {number} */ layer) => this.layer(layer),
      mapSlice: (/** @type {number} */ layer, /** @type {number} */ head) => this.map(layer, head),
      mapPartSlice: (/** @type {number} */ layer, /** @type {number} */ head, /** @type {number} */ row, /** @type {number} */ key) => this.mapPart(layer, head, row, key),
      rowsSlice: (/** @type {number} */ layer, /** @type {number} */ position) => this.rows(layer, position),
      littleSlice: () => this.little(),
      vectorsSlice: (/** @type {number} */ layer, /** @type {number} */ token) => this.vectors(layer, token),
      logitsSlice: (/** @type {number} */ choice) => this.logits(choice),
      rowSlice: (/** @type {number} */ layer, /** @type {number} */ head, /** @type {number} */ position) => this.row(layer, head, position),
      plotly: () => this.plotly(),
    };
  }

  /** One layer's rows of a long run; returns what to say meanwhile. @param {number} layer */
  layer(layer) {
    const run = this.run;
    if (!run) return null;
    if (!this.live) return phrase("This page includes the attention of runs of up to {n} tokens and of some layers of longer runs, but not of this layer.", { n: run.head.rows_up_to });
    if (!run.end) return phrase("This run is longer than {n} tokens: its newer rows can be fetched when it has ended.", { n: run.head.rows_up_to });
    return this.ask(`layer/${layer}`, phrase("Fetching the attention of layer {layer}…", { layer }));
  }

  /** One head's map of a long run, pooled. @param {number} layer @param {number} head @returns {Slice<import("./store.js").PooledMap>} */
  map(layer, head) {
    const found = this.run?.maps.get(`${layer}/${head}`) ?? null;
    return { found, why: found ? null : this.ofLong(`map/${layer}/${head}`, phrase("Fetching the map of layer {layer}, head {head}…", { layer, head }), phrase("This page includes pooled maps of some layers of long runs, but not of this layer.")) };
  }

  /** An exact part of such a map. @param {number} layer @param {number} head @param {number} row @param {number} key @returns {Slice<import("./store.js").MapPart>} */
  mapPart(layer, head, row, key) {
    const found = this.run?.mapParts.get(`${layer}/${head}/${row}/${key}`) ?? null;
    return { found, why: found ? null : this.ofLong(`part/${layer}/${head}/${row}/${key}`, phrase("Fetching the weights from token {row} on…", { row }), phrase("This page includes no exact parts of the maps of long runs: open the trace file.")) };
  }

  /** Where one token of a long run looks, in all heads of a layer; returns what to say meanwhile. @param {number} layer @param {number} position */
  rows(layer, position) {
    return this.ofLong(`rows/${layer}/${position}`, phrase("Fetching where token {position} attends to in layer {layer}…", { position, layer }),
      phrase("This page includes the rows of the newest tokens in some layers, but not this row: open the trace file."));
  }

  /** Every head's map of a long run in little. */
  little() {
    return this.run?.little ? null : this.ofLong("little", phrase("Fetching all heads in little…"), "");
  }

  /** @param {string} path @param {string} meanwhile @param {string} without what to say where there is no program to ask */
  ofLong(path, meanwhile, without) {
    if (!this.live) return without;
    if (!this.run?.end) return phrase("Attention of a run of more than {n} tokens can be fetched when it has ended.", { n: this.run?.head.maps_up_to });
    return this.ask(path, meanwhile);
  }

  /** A layer's queries, keys and values, of this token and those before it. @param {number} layer @param {number} token @returns {Slice<import("./store.js").Vectors>} */
  vectors(layer, token) {
    const run = this.run;
    const found = run?.vectors.get(layer) ?? null;
    if (found && run && (found.positions > token || !this.live)) return { found, why: null };
    if (!this.server) return { found: null, why: phrase("This page does not include queries, keys and values: run the prompt live, or open the trace file.") };
    return { found: null, why: this.ask(`vectors/${layer}`, phrase("Fetching the queries, keys and values of layer {layer}…", { layer }), found ? String(run?.nRead) : "") };
  }

  /** Every token's score before one choice. @param {number} choice @returns {Slice<import("./store.js").Logits>} */
  logits(choice) {
    const found = this.run?.logits.get(choice) ?? null;
    if (found) return { found, why: null };
    if (!this.server) return { found: null, why: phrase("This page includes only the scores of the most likely tokens: run the prompt live, or open the trace file.") };
    return { found: null, why: this.ask(`logits/${choice}`, phrase("Fetching the score of every token…")) };
  }

  /** The exact numbers of one row, where a server can give them. @param {number} layer @param {number} head @param {number} position */
  async row(layer, head, position) {
    if (!this.server?.live) return null;
    try {
      const [{ tensors }] = parseFrames(await this.server.get(`row/${layer}/${head}/${position}`));
      return { weights: tensors.weights.data, scores: tensors.scores.data };
    } catch {
      return null;
    }
  }

  /** Ask once for what stands at this path, when the selection has rested. @param {string} path @param {string} meanwhile @param {string} [version] */
  ask(path, meanwhile, version = "") {
    const key = `${path}@${version}`;
    if (this.asked.has(key)) return this.asked.get(key) ?? null;
    window.clearTimeout(this.timer);
    const { run, server, asked } = this;
    this.timer = window.setTimeout(async () => {
      asked.set(key, meanwhile);
      try {
        const bytes = await server?.get(path);
        if (bytes) run?.feed(bytes);
        asked.delete(key);
      } catch (error) {
        asked.set(key, saidBy(error));
        window.setTimeout(() => { asked.delete(key); this.redraw(); }, RETRY_MS); // not at once: each move of the pointer would ask again
      }
      this.redraw();
    }, REST_MS);
    return meanwhile;
  }

  /** plotly.js, loaded when the first chart wants it: from the app, or from the text that an exported page brings along. */
  plotly() {
    this.library ??= loadPlotly(this.address).catch(() => { this.library = null; return null; });
    return this.library;
  }
}

/** Bytes of the program. Throws Gone, where it says why there are none. @param {string} address @returns {Promise<Uint8Array>} */
export async function get(address) {
  return new Uint8Array(await (await answered(address)).arrayBuffer());
}

/** @param {string | undefined} address @returns {Promise<any>} null where this page has none */
export function loadPlotly(address) {
  const brought = document.getElementById("plotly-js")?.textContent;
  if (!address && !brought) return Promise.resolve(null);
  return new Promise((done, failed) => {
    const script = document.createElement("script");
    const loaded = () => done(/** @type {any} */ (window).Plotly);
    setTimeout(failed, LIBRARY_MS);
    script.onload = loaded;
    script.onerror = failed;
    if (address) script.src = address;
    else script.textContent = brought ?? ""; // runs at once, and is known to the page's policy by its hash
    document.head.append(script);
    if (!address) loaded();
  });
}
