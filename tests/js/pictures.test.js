// Pictures that the program draws: held so that moving asks for nothing, fetched in the order in which they are in sight, and
// never handed out for another record, another place or another theme.

import { test } from "node:test";
import assert from "node:assert/strict";
import { Pictures } from "../../assets/js/data/pictures.js";
import { ServedRecord } from "../../assets/js/data/record.js";
import { NOWHERE } from "../../assets/js/data/axes.js";
import { Gone } from "../../assets/js/data/follow.js";

const VIEWS = [{ name: "whole", follows: "nothing" }, { name: "by_tick", follows: "tick" }, { name: "by_pick", follows: "pick" }];

function record(ticks, { id = "r", version = 1, ended = true, views = VIEWS, held = [] } = {}) {
  const made = new ServedRecord(id);
  made.held = held;
  made.add({ kind: "record", tensors: {}, about: { experiment: "serve", version, facts: [], steps: "tick", views, counts: { ticks, layers: 2, heads: 2, requests: ["A"] } } });
  made.ended = ended;
  return made;
}

/** Pictures, and a program that notes what it is asked and answers with the record's id, or as `answer` says. */
function pictures(of, answer = null) {
  const asked = [];
  const made = new Pictures(() => {});
  const get = async (path) => {
    const [name, query] = path.replace("view/", "").split("?");
    const said = Object.fromEntries(new URLSearchParams(query));
    asked.push(`${name}${said.along ? ` from ${said.from}` : ` at ${said.tick}/${said.layer}`}${said.dark ? " dark" : ""}`);
    if (answer) return answer(name, said);
    if (!said.along) return { html: `${of.id} ${name} ${said.tick}/${said.layer}` };
    return Array.from({ length: Math.min(of.counts.ticks - said.from, 100) }, (_, i) => ({ html: `${of.id} tick ${Number(said.from) + i}`, words: `words ${Number(said.from) + i}` }));
  };
  made.open(of, get);
  return { made, asked, get };
}

const at = (tick = 0, layer = 0) => ({ ...NOWHERE, tick, layer });
const wishes = (of, place) => of.views.map((view) => ({ view, at: place, near: true }));

async function done(made) {
  for (let i = 0; i < 50 && (made.busy || i < 3); i += 1) await new Promise((soon) => { setTimeout(soon); });
}

test("all ticks are held after a few questions; moving over them asks for nothing more", async () => {
  const of = record(250);
  const { made, asked } = pictures(of);
  made.want(wishes(of, at()), false, false);
  await done(made);
  assert.deepEqual(asked, ["whole at 0/0", "by_tick from 0", "by_tick from 100", "by_tick from 200", "by_pick at 0/0"]);
  for (const tick of [0, 99, 100, 249]) assert.equal(made.find(VIEWS[1], at(tick)).html, `r tick ${tick}`);
  assert.equal(made.words(at(123)), "words 123");
  made.want(wishes(of, at(77)).slice(0, 2), false, true);
  await done(made);
  assert.equal(asked.length, 5);
});

test("a picture of one place is never shown at another, and what is fetched says that it is on its way", async () => {
  const of = record(3);
  const { made } = pictures(of);
  made.want(wishes(of, at(1)), false, false);
  assert.deepEqual(made.find(VIEWS[2], at(1)), { missing: "" });
  await done(made);
  assert.equal(made.find(VIEWS[2], at(1)).html, "r by_pick 1/0");
  assert.deepEqual(made.find(VIEWS[2], at(2)), { missing: "" });
  assert.deepEqual(made.find(VIEWS[2], at(1, 1)), { missing: "" });
});

test("a place that has just been left asks for nothing that is large", async () => {
  const of = record(9);
  const { made, asked } = pictures(of);
  for (let tick = 0; tick < 9; tick += 1) {
    made.want(wishes(of, at(tick)), false, true);
    await done(made);
  }
  assert.ok(!asked.some((each) => each.startsWith("by_pick")));
  await new Promise((soon) => { setTimeout(soon, 200); });
  await done(made);
  assert.deepEqual(asked.filter((each) => each.startsWith("by_pick")), ["by_pick at 8/0"]);
});

test("light pictures are not shown in the dark", async () => {
  const of = record(2);
  const { made, asked } = pictures(of);
  made.want(wishes(of, at()), false, false);
  await done(made);
  made.want(wishes(of, at()), true, false);
  assert.deepEqual(made.find(VIEWS[1], at()), { missing: "" });
  await done(made);
  assert.deepEqual(asked.slice(3), ["whole at 0/0 dark", "by_tick from 0 dark", "by_pick at 0/0 dark"]);
});

test("an answer for another record that comes late is dropped, and ended", async () => {
  const [one, other] = [record(2, { id: "one" }), record(2, { id: "other" })];
  /** @type {(value?: any) => void} */
  let answer = () => {};
  const { made } = pictures(one, () => new Promise((late) => { answer = late; }));
  made.want(wishes(one, at()), false, false);
  const { signal } = made.away;
  const { get } = pictures(other);
  made.open(other, get);
  assert.ok(signal.aborted);
  made.want(wishes(other, at()), false, false);
  answer({ html: "one, late" });
  await done(made);
  assert.equal(made.find(VIEWS[0], at()).html, "other whole 0/0");
});

test("while a record grows new ticks are added and old ones stay; at its end all are fetched anew", async () => {
  const of = record(2, { ended: false });
  const { made, asked } = pictures(of);
  const want = async () => { made.want(wishes(of, at(of.counts.ticks - 1)).slice(1, 2), false, false); await done(made); };
  await want();
  Object.assign(of.counts, { ticks: 5 });
  of.version = 2;
  await want();
  assert.deepEqual(asked, ["by_tick from 0", "by_tick from 2"]);
  of.ended = true;
  await want();
  assert.deepEqual(asked.slice(2), ["by_tick from 0"]);
});

test("a newer version is drawn at once where it is in sight, and elsewhere at the end", async () => {
  const of = record(1, { ended: false });
  const { made, asked } = pictures(of);
  const want = async (near) => { made.want([{ view: VIEWS[0], at: at(), near }], false, false); await done(made); };
  await want(true);
  of.version = 2;
  await want(false);
  assert.equal(asked.length, 1);
  await want(true);
  assert.equal(asked.length, 2);
  of.version = 3;
  of.ended = true;
  await want(false);
  assert.equal(asked.length, 3);
});

test("what is in sight is fetched first; what a record does not have (yet) is not asked for, and says why", async () => {
  const of = record(1, { views: [{ ...VIEWS[0], missing: "not measured yet" }, VIEWS[2], VIEWS[1]] });
  const { made, asked } = pictures(of);
  made.want(wishes(of, at()), false, false);
  await done(made);
  assert.deepEqual(asked, ["by_pick at 0/0", "by_tick from 0"]);
  assert.deepEqual(made.find(of.views[0], at()), { missing: "not measured yet" });
});

test("a picture that could not be had says why, and the others come all the same", async () => {
  const of = record(1);
  const { made } = pictures(of, (name) => { if (name === "whole") throw new Gone("There is no such picture."); return name === "by_tick" ? [{ html: "t" }] : { html: "p" }; });
  made.want(wishes(of, at()), false, false);
  await done(made);
  assert.deepEqual(made.find(VIEWS[0], at()), { missing: "There is no such picture." });
  assert.equal(made.find(VIEWS[1], at()).html, "t");
  made.failed.clear();
  made.record = null;
});

test("a saved page has what it brought along, in both themes, and says what it does not hold", () => {
  const of = record(3, { held: [
    { name: "by_tick", at: { tick: 0 }, dark: null, words: "first", picture: { html: "t0" } },
    { name: "by_pick", at: {}, dark: true, picture: { html: "dark" } }, { name: "by_pick", at: {}, dark: false, picture: { html: "light" } },
  ] });
  const made = new Pictures(() => {});
  made.open(of, null);
  made.want(wishes(of, at()), true, false);
  assert.equal(made.find(VIEWS[1], at()).html, "t0");
  assert.equal(made.words(at()), "first");
  assert.equal(made.find(VIEWS[2], at(0, 1)).html, "dark");
  assert.match(made.find(VIEWS[1], at(1)).missing, /does not hold/);
  made.want(wishes(of, at()), false, false);
  assert.equal(made.find(VIEWS[2], at()).html, "light");
});
