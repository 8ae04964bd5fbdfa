// @ts-check
// Layers: what the model would say if it stopped after each one (the logit lens), for the selected token.

import { h, fill, say, tokenText, quoted } from "../dom.js";
import { context2d, fit, pointer, widthOf } from "../canvas.js";
import { count, percent, plain } from "../format.js";

/** @type {import("../card.js").View} */
export const layers = {
  id: "layers",
  title: "Layers",
  sentence: "Each layer adds something to every token's vector. If the model had to stop after a layer, this is the next token it would guess there (the “logit lens”). Orange: the token that was really written next.",
  create(body, { selection, redraw }) {
    const title = h("p", { class: "ts-looks-title" });
    const empty = h("p", { class: "ts-empty" });
    const list = h("ol", { class: "ts-levels", "aria-label": "Layers, from the input to the last" });
    const map = h("canvas", { class: "ts-map", role: "img", tabindex: "0" });
    const mapBox = h("div", { class: "ts-canvas-box" }, map);
    const mapTitle = h("h3", { class: "ts-subtitle" }, "All tokens: how sure the guess is");
    const readout = h("p", { class: "ts-readout", "aria-live": "polite" });
    const heads = h("p", { class: "ts-level-heads", "aria-hidden": "true" }, h("span"), h("span", {}, "guess"), h("span"), h("span", {}, "probability"),
      h("span", { class: "ts-level-norm" }, "length"));
    const lengths = h("p", { class: "ts-note ts-level-lengths" }, "The length is that of the token's vector in the residual stream, to which each layer adds.");
    body.append(title, empty, heads, list, lengths, mapTitle, mapBox, readout);
    const mapWidth = widthOf(mapBox, redraw);
    /** @type {{element: HTMLElement, name: HTMLElement, guess: HTMLElement, bar: HTMLElement, number: HTMLElement, norm: HTMLElement, shown: number}[]} */
    let rows = [];
    let shown = "";
    let of = "";
    /** @type {{left: number, top: number, cell: number, row: number, levels: number, n: number} | null} */
    let layout = null;
    /** @type {import("../card.js").State | null} */
    let last = null;
    /** @type {{key: string, image: HTMLCanvasElement}} */
    let picture = { key: "", image: document.createElement("canvas") };

    const place = (/** @type {MouseEvent} */ event) => {
      if (!layout) return null;
      const { x, y } = pointer(map, event);
      const [token, fromTop] = [Math.floor((x - layout.left) / layout.cell), Math.floor((y - layout.top) / layout.row)];
      const level = layout.levels - 1 - fromTop;
      return token >= 0 && token < layout.n && level >= 0 && level < layout.levels ? { token, level } : null;
    };
    map.addEventListener("pointermove", (event) => {
      const at = place(event);
      if (event.pointerType === "mouse") selection.preview(at && { token: at.token, ...(at.level > 0 ? { layer: at.level - 1 } : {}) });
      sayPlace(readout, last, at);
    });
    map.addEventListener("pointerleave", () => { selection.preview(null); sayPlace(readout, last, null); });
    map.addEventListener("click", (event) => {
      const at = place(event);
      if (at) selection.set({ token: at.token, ...(at.level > 0 ? { layer: at.level - 1 } : {}) }, { lock: true });
    });

    /** @param {number} level */
    function makeRow(level) {
      const [name, guess, bar, number, norm] = [h("span", { class: "ts-level-name" }), h("span", { class: "ts-level-guess" }), h("span", { class: "ts-bar-fill" }),
        h("span", { class: "ts-bar-number" }), h("span", { class: "ts-level-norm" })];
      say(name, placeName(level));
      const choose = level === 0 ? {} : {
        onclick: () => selection.set({ layer: level - 1 }, { lock: true }),
        onpointerenter: (/** @type {Event} */ event) => { if (/** @type {PointerEvent} */ (event).pointerType === "mouse") selection.preview({ layer: level - 1 }); },
        onpointerleave: () => selection.preview(null),
      };
      const element = h("li", { class: "ts-level", ...choose }, name, guess, h("span", { class: "ts-bar-track" }, bar), number, norm);
      return { element, name, guess, bar, number, norm, shown: -2 };
    }

    /** @param {import("../card.js").State} state */
    function drawList({ run, at }) {
      if (rows.length !== run.nLayers + 1 || of !== run.id) {
        of = run.id;
        rows = Array.from({ length: run.nLayers + 1 }, (_, level) => makeRow(level));
        fill(list, ...rows.map((row) => row.element));
      }
      const written = run.tokens[at.token + 1];
      rows.forEach((row, level) => {
        const [best] = run.lensAt(level, at.token);
        row.element.classList.toggle("ts-current", level - 1 === at.layer);
        row.element.classList.toggle("ts-agrees", Boolean(best && written && best.id === written.id));
        const id = best ? best.id : -1;
        if (row.shown !== id) fill(row.guess, best ? tokenText(best) : h("span", { class: "ts-muted" }, "–"));
        row.shown = id;
        row.bar.style.transform = `scaleX(${best ? best.probability : 0})`;
        say(row.number, best ? percent(best.probability) : "");
        const norm = normAt(run, level, at.token);
        say(row.norm, norm === null ? "" : plainNorm(norm));
      });
    }

    /** @param {import("../card.js").State} state */
    function drawMap({ run, at, step, colours }) {
      const lens = run.lens;
      if (!lens) return;
      const width = mapWidth();
      if (!width) return;
      const [levels, n] = [run.nLayers + 1, lens.positions];
      const key = `${run.id}/${n}/${colours.weight}`;
      if (picture.key !== key) picture = { key, image: lensImage(run, colours) };
      const [left, top] = [70, 4];
      const row = Math.min(14, Math.max(5, 190 / levels));
      const cell = Math.min(26, (width - left - 4) / n);
      layout = { left, top, cell, row, levels, n };
      const g = fit(map, width, top + row * levels + 26);
      g.imageSmoothingEnabled = false;
      g.drawImage(picture.image, left, top, cell * n, row * levels);
      g.strokeStyle = colours.line;
      g.strokeRect(left, top, cell * n, row * levels);
      const future = n - 1 - step.last;
      if (future > 0) {
        g.globalAlpha = 0.75;
        g.fillStyle = colours.card;
        g.fillRect(left + (step.last + 1) * cell, top, future * cell, row * levels);
        g.globalAlpha = 1;
      }
      g.strokeStyle = colours.ink;
      g.lineWidth = 2;
      g.strokeRect(left + at.token * cell, top, Math.max(cell, 2), row * levels);
      g.strokeRect(left + at.token * cell, top + (levels - 2 - at.layer) * row, Math.max(cell, 2), row);
      g.lineWidth = 1;
      g.fillStyle = colours.muted;
      g.textAlign = "right";
      g.fillText(`layer ${run.nLayers - 1}`, left - 8, top + 13);
      g.fillText("input", left - 8, top + row * levels - 1);
      g.textAlign = "left";
      g.fillText("first token", left, top + row * levels + 19);
      if (cell * n > 200) {
        g.textAlign = "right";
        g.fillText("last token read", left + cell * n, top + row * levels + 19);
      }
      map.setAttribute("aria-label", `Logit lens: ${levels} levels by ${n} tokens; the stronger the colour, the surer the guess. Read out in the list above.`);
    }

    return {
      paint(state) {
        last = state;
        drawMap(state);
      },
      draw(state) {
        const { run, at } = state;
        const written = run.tokens[at.token + 1];
        const now = `${run.id}/${at.layer}/${at.token}/${Boolean(run.lens)}/${run.tokens.length}`;
        if (now !== shown) {
          shown = now;
          mapBox.hidden = mapTitle.hidden = readout.hidden = run.lens === null;
          fill(title, "After ", quoted(run.tokens[at.token]), ` (token ${at.token})`, written ? " the text goes on with " : "", written ? quoted(written) : "", ". Guess after each layer:");
          empty.hidden = run.lens !== null;
          if (run.lens === null) say(empty, lensMissing(run));
          drawList(state);
          sayPlace(readout, state, null);
        }
      },
      numbers({ run, at }) {
        const rows = [];
        for (let level = 0; level <= run.nLayers; level += 1) {
          const norm = normAt(run, level, at.token);
          const guesses = run.lensAt(level, at.token);
          rows.push([placeName(level), norm === null ? "–" : plain(norm),
            ...[0, 1, 2].flatMap((k) => (guesses[k] ? [tokenText(guesses[k]), percent(guesses[k].probability)] : ["–", "–"]))]);
        }
        return {
          columns: ["place", "length of the vector", "guess", "probability", "second", "probability", "third", "probability"],
          rows,
          note: "Computed after the run from its own float32 vectors: final norm, then the output head, at every layer. The last one is the model's real answer.",
          code: "import torch\nfrom model import Trace, load, logit_lens\nrun, hooked = Trace.open('run.trace'), load()   # the model that made the run\n"
            + "for level in range(len(run.resid)):   # 0: the input; then after each layer\n"
            + `    logits = logit_lens.logits(hooked, run, level, ${at.token})\n`
            + "    print(level, torch.tensor(logits).softmax(-1).max(-1))",
        };
      },
    };
  },
};

/** @param {import("../store.js").Run} run */
function lensMissing(run) {
  const reason = run.head.shows.lens;
  if (reason !== null) return `The logit lens is not shown for this model: ${reason}.`;
  return run.end ? "The logit lens is being computed; it appears here when it is done." : "The logit lens is added after the run has ended.";
}

/** Where in the stack: the levels are the places between the layers, the layers are counted from 0. @param {number} level */
function placeName(level) {
  return level === 0 ? "input" : `after layer ${level - 1}`;
}

/** The length of the residual stream's vector, or null where it is not recorded.
 * @param {import("../store.js").Run} run @param {number} level @param {number} position */
function normAt(run, level, position) {
  const step = run.steps[run.stepOf[position]];
  return step?.norms ? step.norms[level * step.n + position - step.first] : null;
}

/** @param {number} norm */
function plainNorm(norm) {
  return norm >= 100 ? count(norm) : norm.toFixed(1);
}

/** @param {import("../store.js").Run} run @param {import("../canvas.js").Paint} colours */
function lensImage(run, colours) {
  const lens = /** @type {import("../store.js").Lens} */ (run.lens);
  const [levels, n] = [run.nLayers + 1, lens.positions];
  const image = document.createElement("canvas");
  image.width = n;
  image.height = levels;
  const g = context2d(image);
  const data = g.createImageData(n, levels);
  const words = new Uint32Array(data.data.buffer);
  for (let level = 0; level < levels; level += 1) {
    for (let p = 0; p < n; p += 1) {
      const probability = lens.probabilities[(level * n + p) * lens.kept];
      words[(levels - 1 - level) * n + p] = colours.scale[Math.round(probability * 255)];
    }
  }
  g.putImageData(data, 0, 0);
  return image;
}

/** @param {HTMLElement} readout @param {import("../card.js").State | null} state @param {{token: number, level: number} | null} at */
function sayPlace(readout, state, at) {
  if (!state || !at) { say(readout, "Point at a square for its guess; click to keep it. No colour is 0%, the full colour 100%."); return; }
  const guesses = state.run.lensAt(at.level, at.token).slice(0, 3);
  fill(readout, at.level === 0 ? "At the input, " : `After layer ${at.level - 1}, `, quoted(state.run.tokens[at.token]), " would go on with ",
    ...guesses.flatMap((guess, i) => [i ? ", " : "", quoted(guess), ` ${percent(guess.probability)}`]), ".");
}
