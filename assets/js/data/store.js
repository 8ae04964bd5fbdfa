// @ts-check
// One run, as the browser holds it: its frames, parsed in place into typed arrays. viz/wire/frames.py documents their kinds.

import { parseFrames } from "./frames.js";
import { clamp } from "./axes.js";

/** @typedef {import("./axes.js").At} At */
/** @typedef {import("./axes.js").Axis} Axis */
/** @typedef {import("./axes.js").MovingAxis} MovingAxis */

/** @typedef {{id: number, text: string, hex: string, span: [number, number], special: boolean, generated: boolean, marker?: boolean}} Token */
/** @typedef {import("./frames.js").Frame} Frame */
/** @typedef {{id: number, text: string, hex?: string, score: number, probability: number}} Candidate */
/** @typedef {{name: string, setting: number | null, alive: number, removed_mass: number, entropy: number, candidates: Candidate[]}} Stage */
/** @typedef {{id: number, text: string, hex?: string, probability: number, wait: number, time: number}} Runner */
/** @typedef {{id: number, probability: number, logit: number, rank: number, entropy: number, candidates: Candidate[], stages: Stage[], runners: Runner[], byPerson: boolean}} Choice */
/** @typedef {{index: number, kind: string, first: number, last: number, n: number, kvBytes: number, layerBytes: number[], stateBytes: number[], seconds: number, entered: number[], chosenAt: number, choices: Choice[],
 *   attention: Uint8Array | null, summary: Float32Array | null, summaryRows: number, norms: Float32Array | null}} Step */
/** @typedef {{ids: Int32Array, probabilities: Float32Array, positions: number, kept: number}} Lens */
/** What each head does, measured: `shares` [layer, head, class] are mean weights; `word` says it in an index into `words`.
 * @typedef {{classes: string[], words: string[], rows: number, rowsSame: number, rowsAfter: number, shares: Float32Array, possible: Float32Array, word: Uint8Array}} Heads */
/** Which experts each token was sent to, and with what weights: [layer, position, chosen]; -1 in a layer without experts. @typedef {{ids: Int32Array, weights: Float32Array, chosen: number, positions: number}} Experts */
/** The strongest units of each MLP: [layer, position, kept]. @typedef {{ids: Int32Array, values: Float32Array, kept: number, positions: number}} Units */
/** What the run's tokens are before any layer: `own` distinct tokens with their vectors [own, width], and a map of them among
 * their `kept` nearest neighbours each; the angles of the rotary positions as cos and sin [position, pair], or learned position vectors.
 * @typedef {{ids: Int32Array, xy: Float32Array, near: Int32Array, cosine: Float32Array, vectors: Float32Array, own: number, kept: number, width: number,
 *   shares: [number, number], position: string | null, why: string | null, cos: Float32Array | null, sin: Float32Array | null, pairs: number,
 *   positions: Float32Array | null, pointOf: Map<number, number>}} Embeddings */
/** One layer's queries [head, position, width], keys and values [key/value head, position, width]; 16 bits where they were kept small.
 * @typedef {{queries: Float32Array, keys: Float32Array, values: Float32Array, heads: number, kvHeads: number, positions: number, dHead: number, dValue: number, bits: number}} Vectors */
/** One head's map of a long run, pooled: each of `cells` by `cells` bytes is the largest weight of `size` by `size` tokens, without the first token, whose
 * weights are `first`. @typedef {{bytes: Uint8Array, first: Uint8Array, cells: number, size: number}} PooledMap */
/** An exact part of a map: `n` rows from `row` on, over as many keys from `key` on. @typedef {{row: number, key: number, n: number, weights: Float32Array}} MapPart */
/** Every head's map in little, [layer, head, lines, lines] bytes: some rows, evenly spread; `first` is each row's weight on the first token.
 * @typedef {{maps: Uint8Array, first: Uint8Array, lines: number}} LittleMaps */
/** Every token's score before one choice. @typedef {{scores: Float32Array, bits: number}} Logits */

/** How many weights the rows of positions first to first+n-1 hold, without the future. @param {number} first @param {number} n */
function packed(first, n) {
  return n * (first + 1) + (n * (n - 1)) / 2;
}

export class Run {
  /** @param {string} id */
  constructor(id) {
    this.id = id;
    this.experiment = "run";
    /** frames held */
    this.frames = 0;
    /** @type {any} the head frame's JSON: model, settings, prompt, shows ... */
    this.head = null;
    /** @type {Step[]} */
    this.steps = [];
    /** @type {Token[]} */
    this.tokens = [];
    /** @type {Map<number, string>} */
    this.texts = new Map();
    /** @type {Map<number, string>} the bytes of the tokens of the text, by id */
    this.hexes = new Map();
    /** @type {Lens | null} */
    this.lens = null;
    /** @type {Map<number, {ids: Int32Array, probabilities: Float32Array, kept: number}>} columns of the lens that came before it, by position */
    this.columns = new Map();
    /** slices of the lens that came: with `frames` they say whether there is something new to draw */
    this.lensSlices = 0;
    /** @type {{why: () => string, comes: boolean} | null} who computes the columns of a long run, and what to say of one that is not here */
    this.lensSource = null;
    /** @type {Heads | null} */
    this.heads = null;
    /** @type {Units | null} */
    this.units = null;
    /** @type {Experts | null} */
    this.experts = null;
    /** @type {Embeddings | null} */
    this.embeddings = null;
    /** @type {Map<number, Vectors>} by layer, asked for one by one */
    this.vectors = new Map();
    /** @type {Map<number, Logits>} by choice, asked for one by one */
    this.logits = new Map();
    /** @type {any} */
    this.end = null;
    /** @type {string[] | null} */
    this.late = null;
    /** @type {Map<number, {data: Uint8Array, stride: number, positions: number}>} rows of whole layers, asked for one by one */
    this.layers = new Map();
    /** @type {Map<string, PooledMap>} of a long run, by layer and head */
    this.maps = new Map();
    /** @type {Map<string, MapPart>} by layer, head, row and key */
    this.mapParts = new Map();
    /** @type {Map<string, Uint8Array>} where one token looks in all heads of a layer, by layer and position */
    this.rowsOfOne = new Map();
    /** @type {LittleMaps | null} */
    this.little = null;
    /** @type {number[]} the step that read each position */
    this.stepOf = [];
  }

  /** How many of its parts are here. */
  get parts() { return this.frames; }

  /** Whether there is something to look at. */
  get begun() { return this.steps.length > 0; }

  /** Whether no more passes come. */
  get ended() { return this.end !== null; }

  /** @returns {MovingAxis} */
  get moving() { return "step"; }

  /** @returns {Axis[]} */
  get axes() { return ["step", "layer", "head", "token"]; }

  countAt() { return this.steps.length; }

  /** What a person sees who has selected nothing while it grows. @returns {Partial<At>} */
  get lead() { return { step: this.steps.length - 1 }; }

  /** A place that exists: a new pass brings its own last token along, a token not yet read brings its pass, unless that pass is
   * named too: of one pass also the tokens can be selected that it wrote and the next one reads.
   * @param {At} from @param {Partial<At>} change @returns {At} */
  place(from, change) {
    const to = { ...from, ...change };
    const lastStep = Math.max(this.steps.length - 1, 0);
    to.step = clamp(to.step, 0, lastStep);
    to.layer = clamp(to.layer, 0, this.nLayers - 1);
    to.head = clamp(to.head, 0, this.nHeads - 1);
    const step = this.steps[to.step];
    if (!step) return { ...to, token: 0 };
    if (change.token === undefined) {
      if (change.step !== undefined) to.token = step.last;
    } else if (change.step === undefined && to.token > step.last) {
      to.step = this.stepOf[to.token] ?? lastStep;
    }
    const pass = this.steps[to.step];
    const keeps = change.token === undefined || change.step !== undefined;
    to.token = clamp(to.token, 0, keeps && pass.choices?.length ? pass.chosenAt + pass.choices.length - 1 : pass.last);
    return to;
  }

  /** @param {Uint8Array} bytes @returns {number} frames added */
  feed(bytes) {
    const frames = parseFrames(bytes);
    for (const frame of frames) this.add(frame);
    return frames.length;
  }

  /** @param {Frame} frame */
  add(frame) {
    const { kind, about, tensors } = frame;
    if (about.texts) for (const [id, text] of Object.entries(about.texts)) this.texts.set(Number(id), String(text));
    if (about.hexes) for (const [id, hex] of Object.entries(about.hexes)) this.hexes.set(Number(id), String(hex));
    if (this.addSlice(kind, about, tensors)) return;
    this.frames += 1;
    if (kind === "head") {
      this.head = about;
      this.keepTokens(about.tokens);
    } else if (kind === "step") {
      this.addStep(about, tensors);
    } else if (kind === "lens") {
      const [, positions, kept] = tensors.ids.shape;
      this.lens = { ids: tensors.ids.data, probabilities: tensors.probabilities.data, positions, kept };
    } else if (kind === "lens_columns") {
      this.addColumns(about.positions, tensors);
    } else if (kind === "heads") {
      const { classes, words, rows, rows_same: rowsSame, rows_after: rowsAfter } = about;
      this.heads = { classes, words, rows, rowsSame, rowsAfter, shares: tensors.shares.data, possible: tensors.possible.data, word: tensors.word.data };
    } else if (kind === "units") {
      const [, positions, kept] = tensors.ids.shape;
      this.units = { ids: tensors.ids.data, values: tensors.values.data, kept, positions };
    } else if (kind === "experts") {
      const [, positions, chosen] = tensors.ids.shape;
      this.experts = { ids: tensors.ids.data, weights: tensors.weights.data, chosen, positions };
    } else if (kind === "embeddings") {
      this.embeddings = embeddingsOf(about, tensors);
    } else if (kind === "notes") {
      this.late = about.notes;
    } else if (kind === "end") {
      this.end = about;
    }
  }

  /** @param {number[]} positions @param {Frame["tensors"]} tensors */
  addColumns(positions, { ids, probabilities }) {
    const [levels, n, kept] = ids.shape;
    positions.forEach((position, i) => {
      const column = { ids: new Int32Array(levels * kept), probabilities: new Float32Array(levels * kept), kept };
      for (let level = 0; level < levels; level += 1) {
        const from = (level * n + i) * kept;
        column.ids.set(ids.data.subarray(from, from + kept), level * kept);
        column.probabilities.set(probabilities.data.subarray(from, from + kept), level * kept);
      }
      this.columns.set(position, column);
    });
  }

  /** Whether this run's lens is never whole: a column of it is computed when it is looked at. */
  get lensOnDemand() { return this.head.shows.lens === null && !this.lens && this.nRead > (this.head.lens_up_to ?? Infinity); }

  /** What is here, in a word: another one where there is something new to draw. */
  get stamp() { return `${this.frames}+${this.lensSlices}${this.lensOnDemand ? this.lensSource?.why() : ""}`; }

  /** Where the lens has its candidates of one place: arrays, and the index of the first; null while it is to come. @param {number} level @param {number} position
   * `stride`: from one level to the next. @returns {{ids: Int32Array, probabilities: Float32Array, at: number, kept: number, stride: number} | null} */
  lensPlace(level, position) {
    const { lens } = this;
    if (lens && position < lens.positions) return { ids: lens.ids, probabilities: lens.probabilities, kept: lens.kept, stride: lens.positions * lens.kept, at: (level * lens.positions + position) * lens.kept };
    const column = this.columns.get(position);
    return column ? { ids: column.ids, probabilities: column.probabilities, kept: column.kept, stride: column.kept, at: level * column.kept } : null;
  }

  /** What was asked for by itself is no part of the run's own sequence of frames. @param {string} kind @param {any} about @param {Frame["tensors"]} tensors */
  addSlice(kind, about, tensors) {
    if (kind === "layer") {
      this.layers.set(about.layer, { data: tensors.attention.data, stride: tensors.attention.shape[1], positions: about.n_fed });
    } else if (kind === "vectors") {
      const { queries, keys, values } = tensors;
      this.vectors.set(about.layer, { queries: queries.data, keys: keys.data, values: values.data, bits: about.bits,
        heads: queries.shape[0], kvHeads: keys.shape[0], positions: queries.shape[1], dHead: queries.shape[2], dValue: values.shape[2] });
    } else if (kind === "logits") {
      const { low, high, bits, index } = about;
      const scores = bits === 32 ? tensors.logits.data : Float32Array.from(tensors.logits.data, (n) => low + ((high - low) * n) / 65535);
      this.logits.set(index, { scores, bits });
    } else if (kind === "map") {
      this.maps.set(`${about.layer}/${about.head}`, unpackedMap(tensors.map.data, tensors.first.data, about.size));
    } else if (kind === "part") {
      keepNewest(this.mapParts, `${about.layer}/${about.head}/${about.row}/${about.key}`, { row: about.row, key: about.key, n: tensors.weights.shape[0], weights: tensors.weights.data });
    } else if (kind === "rows") {
      keepNewest(this.rowsOfOne, `${about.layer}/${about.position}`, tensors.attention.data);
    } else if (kind === "little") {
      this.little = { maps: tensors.maps.data, first: tensors.first.data, lines: tensors.maps.shape[2] };
    } else if (kind === "lens_slice") {
      this.addColumns(about.positions, tensors);
      this.lensSlices += 1;
    } else {
      return kind === "row";
    }
    return true;
  }

  /** What a head does mostly, in a word; null where it was not measured (yet). @param {number} layer @param {number} head */
  wordOf(layer, head) {
    return this.heads && this.heads.words[this.heads.word[layer * this.nHeads + head]];
  }

  /** What a person should know of the run: said at its beginning, at its end, and once all is added. @returns {string[]} */
  get notes() { return this.late ?? this.end?.notes ?? this.head?.notes ?? []; }
  get nLayers() { return this.head.model.n_layers; }
  get nHeads() { return this.head.model.n_heads; }
  get nPrompt() { return this.head.n_prompt; }
  /** Positions that were read so far. */
  get nRead() { return this.stepOf.length; }
  /** Whether the run is so long that its maps come pooled, and its rows one by one. */
  get isPooled() { return this.nRead > (this.head.maps_up_to ?? Infinity); }
  get showsAttention() { return this.head.shows.attention === null; }

  /** What the fragments of one character that end here make together; null where they are not whole, or no fragments.
   * @param {number} last @returns {{text: string, first: number} | null} */
  joined(last) {
    for (let first = last; first >= 0 && isFragment(this.tokens[first]); first -= 1) {
      const hex = this.tokens.slice(first, last + 1).map((token) => token.hex).join("");
      const bytes = Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
      try {
        return { text: new TextDecoder("utf-8", { fatal: true }).decode(bytes), first };
      } catch {
        continue; // not whole from here: it begins in an earlier token
      }
    }
    return null;
  }

  /** With its bytes, where the text has that token: so that it bears one name everywhere. @template {{id: number}} T @param {T} each */
  named(each) {
    return { ...each, hex: this.hexes.get(each.id) };
  }

  /** The step that chose this token; -1 for a token of the prompt. @param {number} position */
  chosenBy(position) {
    return this.steps.findIndex((step) => position >= step.chosenAt && position < step.chosenAt + step.choices.length);
  }

  /** One row of attention, a byte a weight; null where it is not held. @param {number} layer @param {number} head @param {number} position
   * @returns {Uint8Array | null} */
  row(layer, head, position) {
    const step = this.steps[this.stepOf[position]];
    if (step && step.attention) {
      const total = packed(step.first, step.n);
      const start = (layer * this.nHeads + head) * total + packed(step.first, position - step.first);
      return step.attention.subarray(start, start + position + 1);
    }
    const one = this.rowsOfOne.get(`${layer}/${position}`);
    if (one) return one.subarray(head * (position + 1), (head + 1) * (position + 1));
    const whole = this.layers.get(layer);
    if (!whole || position >= whole.positions) return null;
    const start = head * whole.stride + packed(0, position);
    return whole.data.subarray(start, start + position + 1);
  }

  /** Whether every row up to this position is held for this layer. @param {number} layer @param {number} position */
  holds(layer, position) {
    return this.row(layer, 0, position) !== null && this.row(layer, 0, 0) !== null;
  }

  /** The logit lens at one place, likeliest first. @param {number} level 0 to n_layers @param {number} position @returns {Candidate[]} */
  lensAt(level, position) {
    const place = this.lensPlace(level, position);
    if (!place) return [];
    return Array.from({ length: place.kept }, (_, k) => {
      const id = place.ids[place.at + k];
      return { id, text: this.texts.get(id) ?? "", hex: this.hexes.get(id), score: NaN, probability: place.probabilities[place.at + k] };
    });
  }

  /** @param {any[]} tokens */
  keepTokens(tokens) {
    for (const token of tokens) {
      this.tokens.push(token);
      this.hexes.set(token.id, token.hex);
      if (!this.texts.has(token.id)) this.texts.set(token.id, token.text);
    }
  }

  /** @param {any} about @param {Frame["tensors"]} tensors */
  addStep(about, tensors) {
    const reader = new Reader(this, tensors.ids.data, tensors.numbers.data);
    const chosenAt = this.tokens.length;
    this.keepTokens(about.tokens);
    this.steps.push({
      index: this.steps.length,
      kind: about.pass,
      first: about.first,
      last: about.first + about.n_tokens - 1,
      n: about.n_tokens,
      kvBytes: about.kv_bytes,
      layerBytes: about.layer_bytes ?? [],
      stateBytes: about.state_bytes ?? [],
      seconds: about.seconds ?? 0,
      entered: about.entered_s ?? [],
      chosenAt,
      choices: about.choices.map((/** @type {any} */ choice) => reader.choice(choice)),
      attention: tensors.attention?.data ?? null,
      summary: tensors.summary?.data ?? null,
      summaryRows: about.summary_rows,
      norms: tensors.norms?.data ?? null,
    });
    for (let i = 0; i < about.n_tokens; i += 1) this.stepOf[about.first + i] = this.steps.length - 1;
  }
}

const KEPT = 400; // of what is asked for one by one of a long run: of rows some megabytes, of exact parts a hundred

/** @template T @param {Map<string, T>} kept @param {string} key @param {T} value */
function keepNewest(kept, key, value) {
  kept.set(key, value);
  for (const oldest of kept.keys()) {
    if (kept.size <= KEPT) break;
    kept.delete(oldest);
  }
}

/** Rows of cells, each as long as its number + 1, as a square. @param {Uint8Array} rows @param {Uint8Array} first @param {number} size @returns {PooledMap} */
function unpackedMap(rows, first, size) {
  const cells = first.length;
  const bytes = new Uint8Array(cells * cells);
  for (let line = 0; line < cells; line += 1) bytes.set(rows.subarray(packed(0, line), packed(0, line + 1)), line * cells);
  return { bytes, first, cells, size };
}

/** @param {any} about @param {Frame["tensors"]} tensors @returns {Embeddings} */
function embeddingsOf(about, tensors) {
  const ids = tensors.ids.data;
  return {
    ids, xy: tensors.xy.data, near: tensors.near.data, cosine: tensors.cosine.data, vectors: tensors.vectors.data,
    own: about.own, kept: tensors.near.shape[1], width: tensors.vectors.shape[1], shares: about.shares, position: about.position, why: about.why,
    cos: tensors.cos?.data ?? null, sin: tensors.sin?.data ?? null, pairs: tensors.cos?.shape[1] ?? 0, positions: tensors.positions?.data ?? null,
    pointOf: new Map(Array.from(ids, (id, i) => [id, i])),
  };
}

/** Reads a step's candidates and runners in the order in which the frame lists them. */
class Reader {
  /** @param {Run} run @param {Int32Array} ids @param {Float32Array} numbers */
  constructor(run, ids, numbers) {
    this.run = run;
    this.ids = ids;
    this.numbers = numbers;
    this.at = 0;
  }

  /** @param {any} about @returns {Choice} */
  choice(about) {
    const { id, probability, logit, rank, entropy } = about;
    const candidates = this.candidates(about.n_candidates);
    const stages = about.stages.map((/** @type {any} */ stage) => ({ ...stage, candidates: this.candidates(stage.n_candidates) }));
    const runners = this.take(about.n_runners, (id, text, [probability, wait, time]) => ({ id, text, probability, wait, time }));
    return { id, probability, logit, rank, entropy, candidates, stages, runners, byPerson: about.chosen_by === "person" };
  }

  /** @param {number} n @returns {Candidate[]} */
  candidates(n) {
    return this.take(n, (id, text, [score, probability]) => ({ id, text, score, probability }));
  }

  /** @template T @param {number} n @param {(id: number, text: string, numbers: number[]) => T} make @returns {T[]} */
  take(n, make) {
    const taken = [];
    for (let i = 0; i < n; i += 1, this.at += 1) {
      const id = this.ids[this.at];
      taken.push(make(id, this.run.texts.get(id) ?? "", Array.from(this.numbers.subarray(this.at * 3, this.at * 3 + 3))));
    }
    return taken;
  }
}

/** Whether a token is a part of a character. @param {Token} token */
export function isFragment(token) {
  return token.text.includes("\ufffd") && token.hex !== "" && !token.hex.includes("efbfbd");
}

/** The weight that a byte stands for. */
export const WEIGHTS = Float32Array.from({ length: 256 }, (_, byte) => (byte / 255) ** 2);
