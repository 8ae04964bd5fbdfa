// @ts-check
// The style sheets of the pictures: there before the first of them is drawn.

import { h } from "../core/dom.js";

const STYLES = ["theme", "scope", ...["output", "tokens", "embeddings", "passes", "loom", "attention", "layers", "next-token", "kv-cache", "measured", "serving", "rounds"].map((view) => `views/${view}`)];

/** Every sheet, loaded or known to be missing. */
export function loadStyles() {
  return Promise.all(STYLES.map((name) => loadStyle(new URL(`../../css/${name}.css`, import.meta.url).href)));
}

/** A style sheet, there when it is loaded or cannot be: from the page's head, or added to it. @param {string} address */
function loadStyle(address) {
  const there = Array.from(document.querySelectorAll("link")).find((link) => link.rel === "stylesheet" && link.href === address);
  if (there?.sheet) return Promise.resolve();
  const link = there ?? h("link", { rel: "stylesheet", href: address });
  const loaded = new Promise((done) => { for (const end of ["load", "error"]) link.addEventListener(end, done); });
  if (!there) document.head.append(link);
  return loaded;
}
