// @ts-check
// Following a record: its parts as they come, and how it stands, until nothing more comes of it. While it is followed the
// program works on it: a record that nobody fetches for a while is stopped.

import { FrameBuffer } from "./frames.js";
import { phrase } from "../core/texts.js";

/** How a record stands, as the program says it. `place` in the queue: 1 is next; `parts`: how many there are; `done` of `total`: pieces, which
 * are tokens where a run is written; `stopped_by`: "person", "overtaken" or "silence"; `over`: nothing more is written, measured or tried; `complete`: nothing more comes.
 * @typedef {{id: string, experiment: string, state: string, over: boolean, place: number, version: number, parts: number, what: string, fraction: number | null,
 *   eta_s: number | null, complete: boolean, refusal: string, done: number, total: number, stopped_by: string}} Status */
/** @typedef {import("./frames.js").Frame} Frame */
/** What following brings: frames, or a status, or that the program does not answer. @typedef {{frames?: Frame[], status?: Status, silent?: true}} News */
/** @typedef {(address: string, options: {signal: AbortSignal}) => Promise<Response>} Fetch */

const RETRY_MS = 2000; // after the program did not answer
const AT_LEAST_MS = 250; // between two questions: an answer that ends at once, though more is to come, is not asked for again at once

/** The program has no such record (any more); the message is its sentence. */
export class Gone extends Error {
  name = "Gone";
}

/** Follow a record. One request is in flight at a time. Throws Gone.
 * @param {{place: string, since: () => number, signal: AbortSignal, live?: boolean, fetch?: Fetch, rest?: (ms: number, signal: AbortSignal) => Promise<void>, now?: () => number}} what
 * `place` is the record's address, `since` how many of its parts are here; one that is not `live` is asked for once
 * @returns {AsyncGenerator<News>} */
export async function* followRecord({ place, since, signal, live = true, fetch = (address, options) => globalThis.fetch(address, options), rest = resting, now = () => performance.now() }) {
  while (!signal.aborted) {
    const began = now();
    let over = false;
    try {
      for await (const news of answer(`${place}/parts?since=${since()}${live ? "&follow=1" : ""}`, signal, fetch)) {
        if (news.status) over = news.status.complete;
        if (signal.aborted) return;
        yield news;
      }
      if (over || !live) return;
      await rest(Math.max(AT_LEAST_MS - (now() - began), 0), signal);
    } catch (error) {
      if (error instanceof Gone) throw error;
      if (signal.aborted) return;
      yield { silent: true };
      await rest(RETRY_MS, signal);
    }
  }
}

/** One answer, as it arrives. @param {string} address @param {AbortSignal} signal @param {Fetch} fetch @returns {AsyncGenerator<News>} */
async function* answer(address, signal, fetch) {
  const said = await answered(address, signal, fetch);
  const reader = said.body?.getReader();
  const buffer = new FrameBuffer();
  for (let read = await reader?.read(); read && !read.done; read = await reader?.read()) yield* sorted(buffer.add(read.value));
}

/** Parts in the order in which they came, and each status by itself. @param {Frame[]} frames @returns {Generator<News>} */
function* sorted(frames) {
  /** @type {Frame[]} */
  let parts = [];
  for (const frame of frames) {
    if (frame.kind !== "status") parts.push(frame);
    else {
      if (parts.length) yield { frames: parts };
      parts = [];
      yield { status: frame.about };
    }
  }
  if (parts.length) yield { frames: parts };
}

/** An answer of the program. Throws Gone with the sentence that says why there is none.
 * @param {string} address @param {AbortSignal} [signal] @param {Fetch} [fetch] */
export async function answered(address, signal = new AbortController().signal, fetch = (to, options) => globalThis.fetch(to, options)) {
  const answer = await fetch(address, { signal });
  if (answer.status === 404) throw new Gone(await answer.text());
  if (!answer.ok) throw new Error(`the program answered ${answer.status}`);
  return answer;
}

/** What an answer that failed says to a person. @param {unknown} error */
export function saidBy(error) {
  return error instanceof Error && error.name === "Gone" ? error.message : phrase("The program does not answer.");
}

/** @param {number} ms @param {AbortSignal} signal @returns {Promise<void>} */
function resting(ms, signal) {
  return new Promise((done) => {
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", () => { clearTimeout(timer); done(); }, { once: true });
  });
}
