// @ts-check
// The axes along which records are looked at, each counted from 0. A record says which of them it has, and how far each goes.

/** Where one is: an index along every axis, 0 along those that the record does not have. `context`, `users` and `bits` are what a
 * memory bill is worked out for: tokens of context, users at once, bits of a number (0: as loaded).
 * @typedef {{step: number, layer: number, head: number, token: number, tick: number, request: number, attempt: number, round: number,
 *   context: number, users: number, bits: number}} At */
/** @typedef {keyof At} Axis */
/** The axis that moves: what is stepped and played over. @typedef {"step" | "tick" | "round"} MovingAxis */

/** @type {At} */
export const NOWHERE = { step: 0, layer: 0, head: 0, token: 0, tick: 0, request: 0, attempt: 0, round: 0, context: 0, users: 0, bits: 0 };

export const AXES = /** @type {Axis[]} */ (Object.keys(NOWHERE));

/** @param {number} number @param {number} low @param {number} high */
export function clamp(number, low, high) {
  return Math.min(Math.max(number, low), high);
}
