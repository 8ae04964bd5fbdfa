// @ts-check
// The KV cache: what is kept so that nothing is computed twice, growing by one position a pass.

import { h, fill, say } from "../dom.js";
import { fit, hatch, pointer, widthOf } from "../canvas.js";
import { fact } from "../card.js";
import { count, duration, size } from "../format.js";

/** @type {import("../card.js").View} */
export const kvCache = {
  id: "kv-cache",
  title: "KV cache",
  sentence: "Keys and values of tokens that were read are kept, so each new pass computes them for its new token only. That memory is the KV cache.",
  create(body, { selection, redraw }) {
    const facts = h("div", { class: "ts-facts" });
    const words = h("p", { class: "ts-readout", "aria-live": "polite" });
    const chart = h("canvas", { role: "img" });
    const chartBox = h("div", { class: "ts-canvas-box" }, chart);
    const cells = h("canvas", { role: "img" });
    const cellsBox = h("div", { class: "ts-canvas-box" }, cells);
    const shape = h("p", { class: "ts-note" });
    body.append(facts, words, h("h3", { class: "ts-subtitle" }, "Bytes after each pass, measured; on top, by how much it grew"), chartBox,
      h("h3", { class: "ts-subtitle" }, "What it holds: one column a token, one row a layer"), cellsBox, shape);
    const chartWidth = widthOf(chartBox, redraw);
    const cellsWidth = widthOf(cellsBox, redraw);
    /** @type {{left: number, bar: number, n: number} | null} */
    let bars = null;
    const stepAt = (/** @type {MouseEvent} */ event) => {
      if (!bars) return null;
      const step = Math.floor((pointer(chart, event).x - bars.left) / bars.bar);
      return step >= 0 && step < bars.n ? { step } : null;
    };
    chart.addEventListener("pointermove", (event) => { if (event.pointerType === "mouse") selection.preview(stepAt(event)); });
    chart.addEventListener("pointerleave", () => selection.preview(null));
    chart.addEventListener("click", (event) => { const at = stepAt(event); if (at) selection.set(at, { lock: true }); });

    /** @param {import("../card.js").State} state */
    function drawChart({ run, at, colours }) {
      const width = chartWidth();
      if (!width) return;
      const [left, top, height] = [76, 14, 150];
      const g = fit(chart, width, height + top + 26);
      const n = run.steps.length;
      const most = Math.max(...run.steps.map((step) => step.kvBytes), 1);
      const bar = Math.min(44, (width - left - 4) / n);
      bars = { left, bar, n };
      g.textAlign = "right";
      g.fillStyle = colours.muted;
      g.strokeStyle = colours.line;
      for (const share of [0, 0.5, 1]) {
        const y = top + height * (1 - share);
        g.fillText(size(most * share).replace("0 bytes", "0"), left - 8, y + 5);
        g.beginPath();
        g.moveTo(left, y + 0.5);
        g.lineTo(width, y + 0.5);
        g.stroke();
      }
      run.steps.forEach((step, i) => {
        const before = i === 0 ? 0 : run.steps[i - 1].kvBytes;
        const gap = bar > 6 ? 2 : 0;
        const [x, w] = [left + i * bar, Math.max(bar - gap, 0.5)];
        const y = top + height * (1 - step.kvBytes / most);
        g.globalAlpha = i <= at.step ? 1 : 0.3;
        g.fillStyle = colours.value;
        const fresh = Math.max((height * (step.kvBytes - before)) / most, 1.5);
        g.fillRect(x, y + fresh, w, top + height - y - fresh);
        g.fillStyle = i === 0 ? colours.prompt : colours.generated;
        g.fillRect(x, y, w, fresh);
        if (i === 0) hatch(g, x, y, w, height, colours.card, 5);
        g.globalAlpha = 1;
        if (i === at.step) {
          g.strokeStyle = colours.ink;
          g.lineWidth = 2;
          g.strokeRect(x - 1, y - 1, w + 2, top + height - y + 2);
          g.lineWidth = 1;
        }
      });
      g.textAlign = "left";
      g.fillStyle = colours.muted;
      g.fillText("pass 1", left, top + height + 20);
      if (n > 1 && bar * n > 130) {
        g.textAlign = "right";
        g.fillText(`pass ${count(n)}`, left + bar * n, top + height + 20);
      }
      chart.setAttribute("aria-label", `Bar chart: the cache grows from ${size(run.steps[0].kvBytes)} to ${size(run.steps[n - 1].kvBytes)} over ${n} passes.`);
    }

    /** @param {import("../card.js").State} state */
    function drawCells({ run, at, step, colours }) {
      const width = cellsWidth();
      if (!width) return;
      const [left, layers, n] = [64, run.nLayers, run.nRead];
      const row = Math.min(8, Math.max(3, 150 / layers));
      const cell = Math.min(22, (width - left - 4) / n);
      const g = fit(cells, width, row * layers + 6);
      for (let p = 0; p < n; p += 1) {
        const isNew = p >= step.first && p <= step.last;
        const gap = cell > 5 ? 1.5 : 0;
        g.fillStyle = p < run.nPrompt ? colours.prompt : colours.generated;
        for (let layer = 0; layer < layers; layer += 1) {
          const isKept = p <= step.last && p > step.last - kept(run, layer, step.last + 1);
          g.globalAlpha = !isKept ? 0.12 : isNew ? 1 : 0.5;
          g.fillRect(left + p * cell, 2 + layer * row, cell - gap, row - (row > 4 ? 1 : 0.5));
        }
      }
      g.globalAlpha = 1;
      g.strokeStyle = colours.ink;
      g.lineWidth = 2;
      g.strokeRect(left + step.first * cell - 1, 1, (step.last - step.first + 1) * cell, row * layers + 2);
      g.lineWidth = 1;
      g.strokeStyle = colours.card;
      g.strokeRect(left, 2 + at.layer * row - 0.5, cell * n, row);
      g.fillStyle = colours.muted;
      g.textAlign = "right";
      g.fillText("layer 0", left - 8, 14);
      if (row * layers > 40) g.fillText(`${layers - 1}`, left - 8, row * layers);
      cells.setAttribute("aria-label", `${layers} layers by ${n} tokens; this pass wrote ${step.n} of ${step.last + 1} columns, in every layer.`);
    }

    return {
      paint(state) {
        drawChart(state);
        drawCells(state);
      },
      draw(state) {
        const { run, at, step } = state;
        const before = at.step === 0 ? 0 : run.steps[at.step - 1].kvBytes;
        fill(facts, fact("in the cache after this pass", size(step.kvBytes)), fact("grew by", `${step.kvBytes < before ? "−" : "+"} ${size(Math.abs(step.kvBytes - before))}`),
          fact("tokens read so far", count(step.last + 1)));
        say(words, step.kind === "decode"
          ? `Pass ${at.step + 1} read 1 new token and the ${size(before)} kept for the ${count(step.first)} before it, and ${grew(step.kvBytes - before)}.`
          : `Pass ${at.step + 1} read ${count(step.n)} tokens of the prompt at once (in ${duration(step.seconds)}, recorded), and ${grew(step.kvBytes - before)}.`);
        say(shape, [windowWords(run), shapeWords(run, step)].filter(Boolean).join(" "));
      },
      numbers({ run }) {
        return {
          columns: ["pass", "kind", "tokens read", "tokens so far", "bytes measured", "bytes by shape"],
          rows: run.steps.map((step) => [String(step.index + 1), step.kind, count(step.n), count(step.last + 1), count(step.kvBytes), predicted(run, step.last + 1)]),
          note: "Measured: the size of the cache's tensors after each pass. By shape: what the model's numbers of layers, heads, widths and tokens kept would need.",
          code: "from model import Trace\nrun = Trace.open('run.trace')\nfor step in run.steps:\n    print(step.kind, step.n_tokens, step.kv_bytes)\n"
            + "# in transformers, of a live cache:\nprint(sum(t.nbytes for layer in cache.layers for t in (layer.keys, layer.values)))",
        };
      },
    };
  },
};

/** By how much the cache grew, in words; a layer whose window is full drops as much as it writes. @param {number} bytes */
function grew(bytes) {
  if (bytes > 0) return `the cache grew by ${size(bytes)}`;
  return bytes < 0 ? `the cache shrank by ${size(-bytes)}` : "the cache stayed as large: its windows are full, and drop as much as is written";
}

/** The window of a layer in tokens, or null; where attention is not shown, windows are not known either.
 * @param {import("../store.js").Run} run @param {number} layer @returns {number | null} */
function windowOf(run, layer) {
  return run.head.rules[layer]?.window ?? null;
}

/** How many of these tokens a layer keeps: the next one looks at itself and at window - 1 before it.
 * @param {import("../store.js").Run} run @param {number} layer @param {number} positions */
function kept(run, layer, positions) {
  const window = windowOf(run, layer);
  return window === null ? positions : Math.min(positions, Math.max(window - 1, 0));
}

/** @param {import("../store.js").Run} run @param {number} positions */
function keptInAll(run, positions) {
  let sum = 0;
  for (let layer = 0; layer < run.nLayers; layer += 1) sum += kept(run, layer, positions);
  return sum;
}

/** Which layers drop old tokens. @param {import("../store.js").Run} run */
function windowWords(run) {
  /** @type {Map<number, number>} */
  const layers = new Map();
  for (let layer = 0; layer < run.nLayers; layer += 1) {
    const window = windowOf(run, layer);
    if (window !== null) layers.set(window, (layers.get(window) ?? 0) + 1);
  }
  return [...layers].map(([window, n]) => `${n} of ${run.nLayers} layers look back over a window of ${count(window)} tokens, `
    + `the newest one included: they keep the last ${count(window - 1)} for it and drop older ones.`).join(" ");
}

/** @param {import("../store.js").Run} run @param {number} positions */
function bytesByShape(run, positions) {
  const shape = run.head.kv_shape;
  return shape ? keptInAll(run, positions) * shape.heads * (shape.key + shape.value) * shape.item_bytes : null;
}

/** @param {import("../store.js").Run} run @param {number} positions */
function predicted(run, positions) {
  const bytes = bytesByShape(run, positions);
  return bytes === null ? "not known" : count(bytes);
}

/** @param {import("../store.js").Run} run @param {import("../store.js").Step} step */
function shapeWords(run, step) {
  const shape = run.head.kv_shape;
  const bytes = bytesByShape(run, step.last + 1);
  if (!shape || bytes === null) return "The shape of this model's cache is not recorded; the bytes above are measured.";
  const [all, whole] = [keptInAll(run, step.last + 1), run.nLayers * (step.last + 1)];
  const places = all === whole ? `${run.nLayers} layers × ${count(step.last + 1)} tokens` : `${count(all)} tokens kept, summed over the layers,`;
  const sum = `${places} × ${shape.heads} key/value heads × (${shape.key} + ${shape.value}) numbers × ${shape.item_bytes} bytes = ${count(bytes)} bytes`;
  const same = bytes === step.kvBytes ? "exactly what was measured" : `measured: ${count(step.kvBytes)} bytes (what else the cache keeps or leaves out makes the difference)`;
  const sharing = run.nHeads / run.head.model.n_kv_heads;
  return `${sum}, ${same}.${sharing > 1 ? ` ${run.nHeads} query heads share ${run.head.model.n_kv_heads} key/value heads: without sharing it would be ${sharing} times as large.` : ""}`;
}
