// Templates and their values.

import test from "node:test";
import assert from "node:assert/strict";
import { counted, phrase, phraseParts } from "../../assets/js/core/texts.js";
import { CATALOGUE } from "../../assets/js/core/catalogue.js";

test("values stand where the template names them, and text in them is no template", () => {
  assert.equal(phrase("{n} of {all}", { n: 3, all: "{n}" }), "3 of {n}");
  assert.equal(phrase("{n} of {all}", { n: 3 }), "3 of {all}");
  assert.equal(phrase("a {brace}"), "a {brace}");
});

test("one is said by a template of its own", () => {
  assert.deepEqual([0, 1, 2].map((n) => counted(n, "{n} token", "{n} tokens")), ["0 tokens", "1 token", "2 tokens"]);
});

test("elements stand where the template names them", () => {
  const link = /** @type {any} */ ({ element: "a" });
  assert.deepEqual(phraseParts("Keep it as {page}, or {files}.", { page: link, files: ["x", link] }), ["Keep it as ", link, ", or ", "x", link, "."]);
});

test("another language moves the values about", (t) => {
  CATALOGUE.set("{n} of {all}", "von {all} sind es {n}");
  t.after(() => CATALOGUE.clear());
  assert.equal(phrase("{n} of {all}", { n: 3, all: 7 }), "von 7 sind es 3");
});
