// Keys work wherever the focus is, except where somebody types, or where the control that has the focus uses them itself.

import { test } from "node:test";
import assert from "node:assert/strict";
import { keyFor as keyOf } from "../../assets/js/board/keys.js";

const press = (key, more = {}) => ({ key, ctrlKey: false, metaKey: false, altKey: false, defaultPrevented: false, ...more });
/** As if an element that one of these selectors names had the focus. */
const focus = (...names) => (selector) => selector.split(", ").some((each) => names.includes(each));
const nowhere = () => false;
const keyFor = (event, isIn, is = isIn) => keyOf(event, isIn, is);

test("keys are heard on the page, on a button and in a card", () => {
  for (const key of ["ArrowLeft", "ArrowUp", "[", "Home", " ", "?", "Escape"]) assert.equal(keyFor(press(key), nowhere), key);
  for (const key of ["ArrowLeft", "[", "End"]) assert.equal(keyFor(press(key), focus("button")), key);
});

test("whoever types is left alone", () => {
  for (const key of ["ArrowLeft", "[", " ", "?", "Home", "Escape"]) for (const field of ["textarea", "select", "[contenteditable=true]"]) assert.equal(keyFor(press(key), focus(field)), null);
});

test("a control keeps the keys that it uses itself", () => {
  assert.equal(keyFor(press(" "), focus("button")), null);
  assert.equal(keyFor(press(" "), focus("summary")), null);
  for (const own of ["[data-own-keys]", "[role=region]", "[role=tab]", "input[type=range]"]) {
    assert.equal(keyFor(press("ArrowRight"), focus(own)), null, own);
    assert.equal(keyFor(press("["), focus(own)), "[", own);
  }
});

test("a list of buttons keeps up and down; left and right are the board's", () => {
  const inList = focus("button", "[data-own-up-down]");
  for (const key of ["ArrowUp", "ArrowDown", "Home", "End"]) assert.equal(keyFor(press(key), inList), null, key);
  for (const key of ["ArrowLeft", "ArrowRight"]) assert.equal(keyFor(press(key), inList), key);
});

test("a box that scrolls has its arrows while it has the focus itself, not what stands in it", () => {
  assert.equal(keyOf(press("ArrowRight"), focus("[role=region]"), focus("[role=region]")), null);
  assert.equal(keyOf(press("ArrowRight"), focus("[role=region]"), nowhere), "ArrowRight");
});

test("the browser's own keys are its own, but Ctrl and Enter run what the form asks for, also while somebody types", () => {
  assert.equal(keyFor(press("ArrowLeft", { altKey: true }), nowhere), null);
  assert.equal(keyFor(press("[", { metaKey: true }), nowhere), null);
  assert.equal(keyFor(press("ArrowLeft", { defaultPrevented: true }), nowhere), null);
  for (const held of [{ ctrlKey: true }, { metaKey: true }]) assert.equal(keyFor(press("Enter", held), focus("textarea")), "run");
});
