// @ts-check
// Why a step chose its token, as the browser holds it: what each part of the model added to the token's logit less its rival's.
// viz/views/attribution/account.py writes the same.

/** @typedef {import("./frames.js").Tensor} Tensor */
/** @typedef {{id: number, text: string, hex?: string, special?: boolean}} Token */
/** What a record says of itself. `total`: the difference of the two logits; `remainder`: of it, what embedding, heads, MLPs and biases leave.
 * @typedef {{step: number, tokens: Token[], token: Token, rival: Token, chosen_id: number, probabilities: [number, number], embedding: number, biases: number,
 *   remainder: number, total: number, sources_note: string, notes: string[]}} About */
/** @typedef {"embedding" | "attention" | "mlp" | "other" | "biases" | "remainder"} Kind */
/** A part, in the order in which they add up: from one sum to the next. @typedef {{kind: Kind, layer: number, value: number, from: number, to: number}} Part */
/** @typedef {{layer: number, head: number, value: number}} Head */

export class Attribution {
  /** @param {About} about @param {Record<string, Tensor>} tensors */
  constructor(about, { heads, mlps, others, sources }) {
    this.about = about;
    const [nLayers, nHeads] = heads.shape;
    this.nLayers = nLayers;
    this.nHeads = nHeads;
    this.heads = /** @type {Float32Array} */ (heads.data);
    this.mlps = /** @type {Float32Array} */ (mlps.data);
    this.others = /** @type {Float32Array} */ (others.data);
    /** [layer, head, position]; null where sources are not told */
    this.sources = /** @type {Float32Array | null} */ (sources?.data ?? null);
    this.parts = this.summed();
  }

  /** @param {number} layer @param {number} head */
  head(layer, head) {
    return this.heads[layer * this.nHeads + head];
  }

  /** All heads of a layer together. @param {number} layer */
  attention(layer) {
    return this.heads.subarray(layer * this.nHeads, (layer + 1) * this.nHeads).reduce((sum, value) => sum + value, 0);
  }

  /** The heads that matter most, whichever way. @param {number} most @param {number | null} [layer] of this layer alone @returns {Head[]} */
  strongest(most, layer = null) {
    const all = Array.from(this.heads, (value, i) => ({ layer: Math.floor(i / this.nHeads), head: i % this.nHeads, value }));
    return all.filter((each) => layer === null || each.layer === layer).sort((one, other) => Math.abs(other.value) - Math.abs(one.value)).slice(0, most);
  }

  /** What a head took from each token, in the order of the text; null where that is not told. @param {number} layer @param {number} head */
  sourcesOf(layer, head) {
    const n = this.about.tokens.length;
    const at = (layer * this.nHeads + head) * n;
    return this.sources ? this.sources.subarray(at, at + n) : null;
  }

  /** @returns {Part[]} */
  summed() {
    const { embedding, biases, remainder } = this.about;
    const rest = remainder - this.others.reduce((sum, value) => sum + value, 0);
    /** @type {[Kind, number, number][]} */
    const told = [["embedding", -1, embedding]];
    for (let layer = 0; layer < this.nLayers; layer += 1) {
      told.push(["attention", layer, this.attention(layer)], ["mlp", layer, this.mlps[layer]]);
      if (this.others[layer]) told.push(["other", layer, this.others[layer]]);
    }
    told.push(["biases", this.nLayers, biases], ["remainder", this.nLayers, rest]);
    let sum = 0;
    return told.map(([kind, layer, value]) => {
      const from = sum;
      sum += value;
      return { kind, layer, value, from, to: sum };
    });
  }
}

/** Round numbers between two, about so many. @param {number} low @param {number} high @param {number} about @returns {number[]} */
export function roundTicks(low, high, about) {
  const rough = (high - low || 1) / about;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough) ?? power;
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, i) => (first + i) * step);
}
