// @ts-check
// What the chosen model has for the form, once it is loaded: kept on the page, since the form's parts are scripts of their own.

/** @typedef {{name: string, kind: "switch" | "text", values: string[]}} Variable */
/** @typedef {{chat: boolean, variables: Variable[], recommended: Record<string, number>}} Offers */

export const OFFERS = "tokenoscope-offers";

/** @returns {Offers | null} */
export function offersNow() {
  return JSON.parse(document.body.dataset.offers ?? "null");
}

/** @param {Offers | null | undefined} offers */
export function tellOffers(offers) {
  const now = JSON.stringify(offers ?? null);
  if (document.body.dataset.offers === now) return;
  document.body.dataset.offers = now;
  document.dispatchEvent(new Event(OFFERS));
}
