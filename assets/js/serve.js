// @ts-check
// The page "Serve": asks for a record as it grows, and draws it at the tick or the round that is looked at.

import { h, fill } from "./dom.js";
import { watchModel, enable, find, progress, write } from "./status.js";

/** @typedef {import("./measure.js").Report} Report */
/** @typedef {import("./measure.js").Link} Link */

const OVER = ["done", "stopped", "failed"];
const PARTS = ["batching", "speculation"];
const DONE = {
  batching: { done: "Done: all texts are written, in all three ways.", stopped: "Stopped. What was seen stays.", failed: "Ended." },
  speculation: { done: "Done: all drafts tried.", stopped: "Stopped. What was seen stays.", failed: "Ended." },
};

/** @param {Link} link */
export function connect({ element, base, props, watch, kind }) {
  if (kind === "batching") watchModel(base, () => {});
}
