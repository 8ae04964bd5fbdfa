// @ts-check
// Prefill and decode.

import { h } from "../dom.js";

/** @type {import("../card.js").View} */
export const passes = {
  id: "passes",
  title: "Prefill and decode",
  sentence: "The whole prompt is read in one pass, the prefill. Then each pass, a decode step, reads one new token and writes the next.",
  create(body) {
    body.append(h("p", {}));
    return {
      draw() {},
      numbers() {
        return { columns: [], rows: [], note: "", code: "" };
      },
    };
  },
};
