// @ts-check
// All heads of a run as lines between tokens, drawn by bertviz on the server: below the card of attention. Each picture is fetched when a
// person asks for it, as a page of its own in a frame that can run its scripts and reach nothing of this page.

import { h, fill, say, button } from "../core/dom.js";
import { rebuilt } from "../core/tables.js";
import { caption } from "./card.js";
import { phrase } from "../core/texts.js";

/** @typedef {import("../data/store.js").Run} Run */
/** @typedef {import("../data/axes.js").At} At */
/** @typedef {{name: string, title: string, lead: string, more: string, follows: "step" | "layer" | "token"}} Shown */
/** @typedef {{shown: Shown, element: HTMLElement, draw: HTMLButtonElement, said: HTMLElement, frame: HTMLIFrameElement | null,
 *   run: string, at: At | null, dark: boolean}} Picture */

const HIGHEST = 4000; // pixels that a frame may ask for

export class ServerViews {
  /** @param {string} base */
  constructor(base) {
    this.base = base;
    /** @type {Picture[]} */
    this.pictures = [];
    /** @type {{run: Run, live: boolean, at: At} | null} */
    this.state = null;
    this.reason = h("p", { class: "ts-empty", role: "status", hidden: true });
    this.note = h("p", { class: "ts-note" });
    this.list = h("div", {});
    this.first = h("input", { type: "checkbox", checked: true, onchange: () => this.again() });
    this.switch = h("label", { class: "ts-check" }, this.first, ` ${phrase("leave the first token out")}`);
    this.element = h("details", { class: "ts-more-pictures", ontoggle: () => this.unfold() },
      h("summary", {}, phrase("Heads as lines between tokens")), this.reason,
      this.switch, this.note, this.list);
    window.addEventListener("message", (event) => this.fit(event));
  }

  /** @param {Run} run @param {boolean} live whether the server holds its arrays @param {At} at */
  draw(run, live, at) {
    this.state = { run, live, at };
    if (this.element.hasAttribute("open")) this.update();
  }

  async unfold() {
    if (!this.element.hasAttribute("open")) return;
    if (!this.pictures.length) {
      try {
        const answer = await fetch(`${this.base}/views?of=run`);
        if (!this.pictures.length) this.pictures = (await answer.json()).filter((/** @type {Shown} */ { follows }) => follows === "layer").map((/** @type {Shown} */ shown) => this.make(shown));
        fill(this.list, ...this.pictures.map((picture) => picture.element));
      } catch {
        this.explain(phrase("The program does not answer. Close and reopen this part to try again."));
        return;
      }
    }
    this.update();
  }

  /** @param {Shown} shown @returns {Picture} */
  make(shown) {
    const said = h("span", { class: "ts-muted", role: "status" });
    const draw = button(phrase("Draw"), () => this.fetch(picture));
    const element = h("div", { class: "ts-more-picture", "data-picture": shown.name },
      h("h3", { class: "ts-subtitle" }, shown.title), ...caption(rebuilt(shown.lead), rebuilt(shown.more)), h("p", { class: "ts-row" }, draw, said));
    /** @type {Picture} */
    const picture = { shown, element, draw, said, frame: null, run: "", at: null, dark: false };
    return picture;
  }

  /** Say what can be drawn now; draw again what another theme would hide. */
  update() {
    if (!this.state) return;
    const { run, live, at } = this.state;
    this.explain(run.end ? "" : phrase("These pictures can be drawn when the run has ended."));
    say(this.note, live ? phrase("Weights are exact, to three digits.") : phrase("Drawn from the 8 bits of each weight that the record has: off by at most 0.4 percentage points."));
    for (const picture of this.pictures) {
      if (picture.run !== run.id) this.drop(picture);
      if (picture.frame && picture.at && picture.dark !== this.dark) this.fetch(picture, picture.at);
      const same = picture.frame !== null && picture.at !== null && picture.at.layer === at.layer;
      picture.draw.disabled = same;
      say(picture.draw, drawWords(at, same));
    }
  }

  /** @param {string} why */
  explain(why) {
    say(this.reason, why);
    this.reason.hidden = why === "";
    for (const each of [this.list, this.switch, this.note]) each.hidden = why !== "";
  }

  get dark() {
    return this.element.closest(".dark") !== null;
  }

  /** @param {Picture} picture @param {At} [at] */
  fetch(picture, at = this.state?.at) {
    if (!this.state || !at) return;
    const run = this.state.run.id;
    this.drop(picture);
    const { shown } = picture;
    const place = `step=${at.step}&layer=${at.layer}&token=${at.token}${this.dark ? "&dark=1" : ""}${this.first.checked ? "&without_first=1" : ""}`;
    const src = `${this.base}/records/${encodeURIComponent(run)}/view/${encodeURIComponent(shown.name)}?${place}&frame=1`;
    const frame = h("iframe", { class: "ts-frame", sandbox: "allow-scripts", referrerpolicy: "no-referrer", title: shown.title, src, onload: () => say(picture.said, "") });
    Object.assign(picture, { frame, run, at: { ...at }, dark: this.dark });
    say(picture.said, phrase("Drawing…"));
    picture.element.append(frame);
    this.update();
  }

  /** Draw anew what is drawn. */
  again() {
    for (const picture of this.pictures) if (picture.frame && picture.at) this.fetch(picture, picture.at);
  }

  /** @param {Picture} picture */
  drop(picture) {
    picture.frame?.remove();
    picture.frame = null;
    say(picture.said, "");
  }

  /** A frame tells how high its page is; nothing else is read from it. @param {MessageEvent} event */
  fit(event) {
    const frame = this.pictures.find((picture) => picture.frame && picture.frame.contentWindow === event.source)?.frame;
    const height = Number(event.data?.height);
    if (frame && height > 0) frame.style.height = `${Math.min(Math.ceil(height), HIGHEST)}px`;
  }
}

/** What the button draws of the selection, or has drawn. @param {At} at @param {boolean} drawn */
function drawWords(at, drawn) {
  return drawn ? phrase("Drawn: layer {n}", { n: at.layer }) : phrase("Draw layer {n}", { n: at.layer });
}
