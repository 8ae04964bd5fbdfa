// @ts-check
// Playing inside a pass: at the recorded tempo of its layers, slowed down, and then the chosen token's fall into the next column.

/** What is played of a pass: its seconds, and when each layer was entered, with the end of the last one. @typedef {{seconds: number, entered: number[]}} Timed */
/** @typedef {import("../views/loom/loom.js").Front} Front */

/** How long the chosen token falls, where nothing says otherwise. */
export const FALL_MS = 400;

export class Climb {
  /** @param {(front: Front | null) => void} show */
  constructor(show) {
    this.show = show;
    this.frame = 0;
    /** how much of the pass has been played, in ms of its own time; kept while it is paused */
    this.played = 0;
    this.playing = false;
  }

  /** Play a pass from where it was left to its end. @param {Timed} pass @param {number} slower how many times @param {number} fall_ms how long the chosen token falls @param {() => void} done */
  start({ seconds, entered }, slower, fall_ms, done) {
    this.stop();
    this.playing = true;
    const whole = seconds * 1000;
    let last = performance.now();
    const frame = () => {
      const now = performance.now();
      const left = whole - this.played;
      this.played += left > 0 ? (now - last) / slower : now - last;
      last = now;
      if (this.played >= whole + fall_ms) {
        this.reset();
        done();
        return;
      }
      this.show(this.played < whole ? { level: levelAt(entered, this.played / 1000), falling: 0 } : { level: entered.length, falling: (this.played - whole) / fall_ms });
      this.frame = requestAnimationFrame(frame);
    };
    this.frame = requestAnimationFrame(frame);
  }

  /** Hold it where it is. */
  stop() {
    cancelAnimationFrame(this.frame);
    this.playing = false;
  }

  /** Show passes whole again. */
  reset() {
    this.stop();
    this.played = 0;
    this.show(null);
  }
}

/** How far up a pass is after so many seconds: 0 when the first layer is entered, the number of layers when the last one is left;
 * below 0 before. @param {number[]} entered @param {number} seconds */
export function levelAt(entered, seconds) {
  if (seconds < entered[0]) return -1 + seconds / entered[0];
  for (let layer = 1; layer < entered.length; layer += 1) {
    if (seconds < entered[layer]) return layer - 1 + (seconds - entered[layer - 1]) / Math.max(entered[layer] - entered[layer - 1], 1e-9);
  }
  return entered.length - 1;
}
