// @ts-check
// The style sheet of the pictures: there before the first of them is drawn.

import { h } from "../core/dom.js";

/** The sheet, from the page's head or added to it, once it is loaded or known to be missing. */
export function loadStyles() {
  const address = new URL("../../css/bundles/pictures.css", import.meta.url).href;
  const there = Array.from(document.querySelectorAll("link")).find((link) => link.rel === "stylesheet" && link.href.startsWith(address));
  if (there?.sheet) return Promise.resolve();
  const link = there ?? h("link", { rel: "stylesheet", href: address });
  const loaded = new Promise((done) => { for (const end of ["load", "error"]) link.addEventListener(end, done); });
  if (!there) document.head.append(link);
  return loaded;
}
