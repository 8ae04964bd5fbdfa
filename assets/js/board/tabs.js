// @ts-check
// The tabs of a page whose kinds stand on it one at a time.

import { find } from "./status.js";

/** Kinds that stand on the page one at a time, each behind its tab. @type {Record<string, string>} */
export const PARTS = { serve: "batching", speculate: "speculation" };

/** Tabs as their pattern wants them: arrows move. @param {string[]} experiments of the page @param {(experiment: string) => void} pressed */
export function wireTabs(experiments, pressed) {
  const parts = experiments.filter((experiment) => PARTS[experiment]);
  const tabs = parts.map((experiment) => find(`#part-${PARTS[experiment]}`));
  tabs.forEach((tab, i) => {
    tab?.addEventListener("click", () => pressed(parts[i]));
    tab?.addEventListener("keydown", (event) => {
      if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
      event.preventDefault();
      tabs[1 - i]?.click();
      tabs[1 - i]?.focus();
    });
  });
}

/** Show one part. @param {string[]} experiments of the page @param {string} shown */
export function showTab(experiments, shown) {
  document.body.dataset.part = PARTS[shown];
  for (const each of experiments) {
    const tab = find(`#part-${PARTS[each]}`);
    tab?.setAttribute("aria-selected", String(each === shown));
    if (tab) tab.tabIndex = each === shown ? 0 : -1;
  }
}
