// @ts-check
// A tab remembers the record that each board of "Measure" and "Serve" showed last: after a reload, or a visit to another
// page of the app, it is shown again.

/** @typedef {import("../board/status.js").Report} Report */

const MEMORY = "tokenoscope-record-"; // and the kind

/** @param {Report} report */
export function keepRecord({ id, kind, version }) {
  if (!id) return;
  try { sessionStorage.setItem(MEMORY + kind, JSON.stringify({ id, version })); } catch { /* a private window keeps nothing */ }
}

/** What to tell of that record, if the program still has it: nothing more comes of it, for whoever left its page stopped it.
 * @param {string} base @param {string} kind @returns {Promise<Report | null>} */
export async function recordBefore(base, kind) {
  try {
    const kept = JSON.parse(sessionStorage.getItem(MEMORY + kind) ?? "null");
    if (!kept) return null;
    const { id, version } = kept;
    const answer = await fetch(`${base}/experiments/${encodeURIComponent(id)}/pictures`, { method: "HEAD" });
    if (answer.ok) return { id, kind, version, state: "before", what: "", fraction: null, refusal: "", press: 0, seq: -1 };
    if (answer.status === 404) sessionStorage.removeItem(MEMORY + kind);
  } catch { /* nothing was kept, or nobody answers */ }
  return null;
}
