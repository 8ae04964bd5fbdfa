// @ts-check
// What is offered of a record that is over: files to keep, and the page that takes a run along.

import { h, fill } from "../core/dom.js";
import { find } from "./status.js";
import { phrase, phraseParts } from "../core/texts.js";

/** The links to keep a record. @param {HTMLElement} line @param {string} base @param {{id: string, isRun: boolean} | null} kept null: there is nothing to keep */
export function offerFiles(line, base, kept) {
  if (line.dataset.of === (kept?.id ?? "")) return;
  line.dataset.of = kept?.id ?? "";
  line.hidden = kept === null;
  if (!kept) return;
  const link = (/** @type {string} */ what, /** @type {string} */ name) => h("a", { href: `${base}/records/${encodeURIComponent(kept.id)}/${what}`, download: true }, name);
  const page = link("page", phrase("web page"));
  fill(line, ...(kept.isRun ? phraseParts("Save it as a {page} or as a {file}.", { page, file: link("file", phrase("trace file")) })
    : phraseParts("Save it as a {page} or as a {file} that the Python library opens.", { page, file: link("file", phrase("file")) })));
}

/** The page Measure takes a run along. @param {string | null} run */
export function leadToMeasure(run) {
  const query = new URLSearchParams([...new URLSearchParams(location.search)].filter(([name]) => name === "__theme"));
  if (run) query.set("run", run);
  find('.ts-nav [data-page="measure"]')?.setAttribute("href", `measure${query.size ? `?${query}` : ""}`);
}
