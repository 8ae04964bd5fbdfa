// Following a record: what is new is asked for, one question at a time, until nothing more comes.

import { test } from "node:test";
import assert from "node:assert/strict";
import { Gone, followRecord, saidBy } from "../../assets/js/data/follow.js";
import { joined, pack } from "./pack.js";

const status = (about) => pack("status", { complete: false, ...about });

/** A program that answers with these bodies in turn: bytes, a status code with a sentence, or nothing at all. */
function program(answers) {
  const asked = [];
  let busy = 0;
  const fetch = async (address) => {
    asked.push(address.replace("/p", ""));
    busy += 1;
    assert.equal(busy, 1, "one request at a time");
    const answer = answers.shift();
    await null;
    busy -= 1;
    if (answer === undefined || answer === "silence") throw new TypeError("nobody is there");
    if (answer instanceof Uint8Array) return new Response(answer);
    return new Response(answer.text ?? "", { status: answer.code });
  };
  return { asked, fetch };
}

async function followed(answers, { live = true } = {}) {
  const { asked, fetch } = program(answers);
  const [news, rests] = [[], []];
  let held = 0;
  const away = new AbortController();
  const rest = async (ms) => { rests.push(ms); if (rests.length > 20) away.abort(); };
  for await (const each of followRecord({ place: "/p", since: () => held, signal: away.signal, live, fetch, rest, now: () => 0 })) {
    if (each.frames) held += each.frames.length;
    news.push(each.silent ? "silent" : each.status ? each.status.state : each.frames.map(({ kind }) => kind).join("+"));
  }
  return { asked, news, rests };
}

test("parts and statuses come in their order; what is asked for is what is not here", async () => {
  const { asked, news } = await followed([
    joined(pack("head", {}), status({ state: "running" }), pack("step", {}), pack("step", {})),
    joined(pack("end", {}), status({ state: "done" })),
    status({ state: "done", complete: true }),
  ]);
  assert.deepEqual(news, ["head", "running", "step+step", "end", "done", "done"]);
  assert.deepEqual(asked, ["/parts?since=0&follow=1", "/parts?since=3&follow=1", "/parts?since=4&follow=1"]);
});

test("a program that is silent is asked again, and told of, until it answers", async () => {
  const { news, rests } = await followed([joined(pack("head", {}), status({ state: "running" })), "silence", { code: 502 }, status({ state: "done", complete: true })]);
  assert.deepEqual(news, ["head", "running", "silent", "silent", "done"]);
  assert.deepEqual(rests, [250, 2000, 2000]);
});

test("an answer that is cut off inside a frame loses nothing", async () => {
  const whole = pack("step", { n: 2 });
  const { asked, news } = await followed([joined(pack("head", {}), whole.subarray(0, 20)), joined(whole, status({ state: "done", complete: true }))]);
  assert.deepEqual(news, ["head", "step", "done"]);
  assert.deepEqual(asked, ["/parts?since=0&follow=1", "/parts?since=1&follow=1"]);
});

test("a record that is gone says so, in the program's words", async () => {
  await assert.rejects(followed([{ code: 404, text: "This record is no longer kept." }]), (error) => error instanceof Gone && saidBy(error) === "This record is no longer kept.");
  assert.equal(saidBy(new TypeError("x")), "The program does not answer.");
});

test("what comes with the app is asked for once", async () => {
  const { asked } = await followed([joined(pack("head", {}), status({ state: "done" }))], { live: false });
  assert.deepEqual(asked, ["/parts?since=0"]);
});

test("whoever looks elsewhere hears nothing more, and is asked nothing more", async () => {
  const away = new AbortController();
  const { asked, fetch } = program([joined(pack("head", {}), status({ state: "running" }), pack("step", {}))]);
  const news = [];
  for await (const each of followRecord({ place: "/p", since: () => 0, signal: away.signal, fetch })) {
    news.push(each);
    away.abort();
  }
  assert.equal(news.length, 1);
  assert.equal(asked.length, 1);
});
