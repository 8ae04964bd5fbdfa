// @ts-check
// Embeddings.

import { h } from "../dom.js";

/** @type {import("../card.js").View} */
export const embeddings = {
  id: "embeddings",
  title: "Embeddings",
  sentence: "Each token's number looks up one row of a table: a vector, which is all that the model knows of it before its layers begin.",
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
