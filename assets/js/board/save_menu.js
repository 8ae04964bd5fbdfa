// @ts-check
// "Save": a button that opens to three, each of which makes a file of the picture beside it.

import { button, h, say } from "../core/dom.js";
import { csvOf } from "../core/csv.js";
import { phrase } from "../core/texts.js";
import { pictureOf, pngOf } from "./saved_picture.js";

/** What is saved: `name` it in files, and where it is looked at in `place`; null: there is nothing yet.
 * @typedef {import("./saved_picture.js").Subject & {name: string, place: string, numbers: () => Promise<import("./saved_numbers.js").Rows>}} Saved */
/** @typedef {"svg" | "png" | "csv"} Kind */

export class SaveMenu {
  /** @param {string} title of the picture @param {() => Saved | null} find what there is of it now */
  constructor(title, find) {
    this.find = find;
    this.said = h("span", { class: "ts-save-said", role: "status" });
    this.opener = button(phrase("Save"), () => this.toggle(), { class: "ts-button ts-save-open", "aria-expanded": "false", "aria-label": phrase("Save: {title}", { title }) });
    this.kinds = h("span", { class: "ts-save-kinds", role: "group", "aria-label": phrase("Save as"), hidden: true },
      this.kind("svg", phrase("SVG"), phrase("a drawing, for print and slides")), this.kind("png", phrase("PNG"), phrase("an image of 288 pixels an inch")), this.kind("csv", phrase("CSV"), phrase("the numbers, for a spreadsheet")));
    this.element = h("div", { class: "ts-save", onkeydown: (/** @type {Event} */ event) => this.onKey(/** @type {KeyboardEvent} */ (event)),
      onfocusout: (/** @type {Event} */ event) => { if (!this.element.contains(/** @type {Node | null} */ (/** @type {FocusEvent} */ (event).relatedTarget))) this.toggle(false); } }, this.said, this.kinds, this.opener);
  }

  /** @param {Kind} kind @param {string} name @param {string} means */
  kind(kind, name, means) {
    return button(name, () => this.save(kind), { class: "ts-button", title: means, "data-kind": kind });
  }

  toggle(open = this.kinds.hidden) {
    this.kinds.hidden = !open;
    this.opener.setAttribute("aria-expanded", String(open));
    if (open) say(this.said, "");
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    if (event.key !== "Escape" || this.kinds.hidden) return;
    event.stopPropagation();
    this.toggle(false);
    this.opener.focus();
  }

  /** @param {Kind} kind */
  async save(kind) {
    const saved = this.find();
    if (!saved) return;
    this.element.setAttribute("aria-busy", "true");
    try {
      download(await made(saved, kind), `tokenoscope-${[saved.name, saved.place].filter(Boolean).join("-")}.${kind}`);
      say(this.said, "");
    } catch (error) {
      console.warn(error);
      say(this.said, phrase("This picture could not be saved."));
    }
    this.element.removeAttribute("aria-busy");
  }
}

/** @param {Saved} saved @param {Kind} kind */
async function made(saved, kind) {
  if (kind === "csv") {
    const { columns, rows } = await saved.numbers();
    return new Blob([csvOf(columns, rows)], { type: "text/csv;charset=utf-8" });
  }
  const picture = await pictureOf(saved);
  return kind === "png" ? pngOf(picture) : new Blob([picture.svg], { type: "image/svg+xml" });
}

/** @param {Blob} file @param {string} name */
function download(file, name) {
  const address = URL.createObjectURL(file);
  const link = h("a", { href: address, download: name, hidden: true });
  document.body.append(link);
  link.click();
  link.remove();
  window.setTimeout(() => URL.revokeObjectURL(address), 60_000); // a browser may ask first where to put it
}
