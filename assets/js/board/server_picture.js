// @ts-check
// A card's body that the program draws: a table, a chart of plotly's, or why there is none. It is drawn again only where it differs.

import { h, fill } from "../core/dom.js";
import { rebuilt } from "../core/tables.js";
import { makeReachable } from "./choices.js";
import { phrase } from "../core/texts.js";

/** @typedef {import("../data/record.js").ServedView} ServedView */
/** @typedef {import("../data/record.js").Drawing} Drawing */
/** @typedef {import("../data/axes.js").At} At */
/** @typedef {import("../data/view.js").View} View */

const CONFIG = { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["select2d", "lasso2d"] };
const WAITS = phrase("Fetching this picture…");

/** A view that the program draws. @param {ServedView} served @param {(at: At) => Drawing} find what there is of it at a place
 * @param {(change: Partial<At>) => void} select called with what a pressed point of a chart stands for @param {() => void} drawn @returns {View} */
export function serverView(served, find, select, drawn) {
  return {
    id: served.name,
    title: served.title,
    lead: rebuilt(served.lead),
    more: rebuilt(served.more),
    folded: served.folded,
    isGlance: served.glance,
    create: (body, { plotly }) => {
      const picture = new ServerPicture(served, plotly, select, drawn);
      body.append(picture.element);
      if (served.note) body.append(h("p", { class: "ts-aside-line" }, served.note));
      return { draw: ({ at }) => picture.show(find(at)) };
    },
  };
}

class ServerPicture {
  /** @param {ServedView} served @param {() => Promise<any>} plotly @param {(change: Partial<At>) => void} select @param {() => void} drawn */
  constructor({ title }, plotly, select, drawn) {
    this.title = title;
    this.plotly = plotly;
    this.select = select;
    this.drawn = drawn;
    this.element = h("div", { class: "ts-chart" });
    this.last = "";
    /** @type {Drawing | null} */
    this.shown = null;
    /** @type {Drawing | null} */
    this.wanted = null;
    this.busy = false;
  }

  /** Show a picture; while one is being drawn, the last of those that came meanwhile is drawn next. @param {Drawing} drawing */
  async show(drawing) {
    this.wanted = drawing;
    if (this.busy) return;
    this.busy = true;
    while (this.wanted) {
      const next = this.wanted;
      this.wanted = null;
      if (next === this.shown) continue;
      this.shown = next;
      const key = JSON.stringify([next.missing, next.html, next.figure]);
      if (key === this.last) continue;
      this.last = key;
      try {
        await this.paint(next);
      } catch {
        this.words(phrase("This picture could not be drawn."));
      }
      this.drawn();
    }
    this.busy = false;
  }

  /** @param {Drawing} drawing */
  async paint({ missing, html, figure }) {
    const waits = missing === "" && this.element.childElementCount > 0;
    this.element.classList.toggle("ts-waits", waits); // nothing of before is in sight, but its room is kept
    if (waits) {
      this.element.dataset.waits = WAITS;
      return;
    }
    const plotly = figure || this.hasChart ? await this.plotly() : null;
    if (figure && plotly) {
      const fresh = !this.hasChart;
      if (fresh) fill(this.element);
      this.element.setAttribute("role", "figure");
      this.element.setAttribute("aria-label", this.title);
      await plotly.react(this.element, figure.data, figure.layout, CONFIG);
      if (fresh) /** @type {any} */ (this.element).on("plotly_click", (/** @type {any} */ event) => {
        const change = event.points[0]?.customdata;
        if (change && typeof change === "object") this.select(change);
      });
      return;
    }
    if (this.hasChart) {
      plotly?.purge(this.element);
      this.element.classList.remove("js-plotly-plot"); // which plotly leaves: the next chart begins afresh, on an empty ground
    }
    this.element.removeAttribute("role");
    this.element.removeAttribute("aria-label");
    if (typeof missing === "string") this.words(missing || WAITS);
    else if (figure) this.words(phrase("Charts need plotly.js, which could not be loaded."));
    else fill(this.element, ...rebuilt(html ?? ""));
    makeReachable(this.element, this.title);
  }

  get hasChart() {
    return this.element.classList.contains("js-plotly-plot");
  }

  /** @param {string} why */
  words(why) {
    fill(this.element, h("p", { class: "ts-empty" }, why));
  }
}
