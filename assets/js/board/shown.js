// @ts-check
// What the pages "Measure" and "Serve" share: a card that draws one picture again and again, the links to keep a
// record, and being told when the page turns dark or light.

import { h, fill } from "../core/dom.js";
import { rebuilt } from "../core/tables.js";
import { makeReachable } from "./record_selection.js";

/** @typedef {import("./record_selection.js").Pick} Pick */
/** @typedef {{name: string, title: string, caption: string, said: string, follows: string, missing?: string | null, html?: string | null, figure?: {data: any[], layout: any} | null}} Picture */

const CONFIG = { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["select2d", "lasso2d"] };

export class Shown {
  /** @param {Picture} picture @param {(some: Partial<Pick>) => void} [chosen] what a point of a chart stands for */
  constructor(picture, chosen = () => {}) {
    this.picture = picture;
    this.chosen = chosen;
    this.body = h("div", { class: "ts-chart" });
    this.element = h("section", { class: "ts-card ts-measured-card", "data-picture": picture.name },
      h("h2", { class: "ts-title" }, picture.title), h("p", { class: "ts-sentence" }, ...rebuilt(picture.said)), this.body);
    this.last = "";
    /** @type {Picture | null} */
    this.wanted = null;
    /** @type {Promise<void>} */
    this.turn = Promise.resolve();
  }

  /** Draw a picture when the one before it stands; of several that wait the last is drawn.
   * @param {Picture} picture @param {any} plotly @returns {Promise<void>} */
  draw(picture, plotly) {
    this.wanted = picture;
    const turn = this.turn.then(() => (this.wanted === picture ? this.paint(picture, plotly) : undefined));
    this.turn = turn.catch(() => {}); // whoever asked hears of it
    return turn;
  }

  /** @param {Picture} picture @param {any} plotly */
  async paint({ missing, html, figure, title }, plotly) {
    const now = JSON.stringify([missing, html, figure]);
    if (now === this.last) return;
    this.last = now;
    if (figure && plotly) {
      const fresh = !this.body.classList.contains("js-plotly-plot");
      if (fresh) fill(this.body);
      this.body.setAttribute("role", "figure");
      this.body.setAttribute("aria-label", title);
      await plotly.react(this.body, figure.data, figure.layout, CONFIG);
      if (fresh) /** @type {any} */ (this.body).on("plotly_click", (/** @type {any} */ event) => {
        const some = event.points[0]?.customdata;
        if (some && typeof some === "object") this.chosen(some);
      });
      return;
    }
    if (this.body.classList.contains("js-plotly-plot")) {
      plotly?.purge(this.body);
      this.body.classList.remove("js-plotly-plot"); // which plotly leaves: the next chart begins afresh, on an empty ground
    }
    this.body.removeAttribute("role");
    this.body.removeAttribute("aria-label");
    if (missing) fill(this.body, h("p", { class: "ts-empty" }, missing));
    else fill(this.body, ...rebuilt(html ?? ""));
    makeReachable(this.body, title);
  }
}

/** The links to keep a record. @param {Element} line @param {string} place its address */
export function offer(line, place) {
  fill(line, "Keep it as a ", h("a", { href: `${place}/page`, download: true }, "web page"), " or as a ",
    h("a", { href: `${place}/file`, download: true }, "file"), " that the Python library opens.");
}

export function isDark() {
  return document.body.classList.contains("dark");
}

/** Draw again when the page turns dark or light. @param {() => void} redraw */
export function themed(redraw) {
  let dark = isDark();
  new MutationObserver(() => {
    if (dark === isDark()) return;
    dark = !dark;
    redraw();
  }).observe(document.body, { attributes: true, attributeFilter: ["class"] });
}
