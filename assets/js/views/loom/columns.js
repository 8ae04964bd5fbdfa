// @ts-check
// How wide each token's column is: the newest ones and the one that is looked at have room for words, older ones of a long run are narrow.

/** A column along the token axis: where it begins, how wide it is, and whether words fit in it.
 * @typedef {{start: number, size: number, wide: boolean}} Column */
/** `wanted`: the size that each token's words need; `focus`: columns that are looked at, which are the widest; from `known` on, columns
 * are empty. `looked` and `empty`: the sizes of a column that is looked at and of an empty one.
 * @typedef {{wanted: number[], focus: number[], known: number, room: number, looked: number, empty: number}} Asked */

export const WIDE = 24; // columns with words at most, of a run that is longer
const LONG = 4 * WIDE;
const NARROW_MOST = 8; // px
const NARROW_SHARE = 0.4; // of the room, for all narrow columns at most
const SQUEEZE = 0.85; // of what its word needs, for a column with words at least
const [AROUND, AROUND_LONG] = [1, 3]; // columns on either side of one that is looked at that have words, too: in a long run they tell where one is
const STRETCH = 1.6; // a run of few tokens does not fill the room at any price

/** Columns side by side in the order of the tokens, in fractions of a pixel. @param {Asked} asked @returns {Column[]} */
export function columns({ wanted, focus, known, room, looked, empty }) {
  const n = wanted.length;
  const sizeOf = (/** @type {number} */ i) => (focus.includes(i) ? Math.max(looked, wanted[i]) : i < known ? wanted[i] : empty);
  const wide = wideOnes(n, Math.min(known, n), focus, room, sizeOf);
  const narrow = Math.min(NARROW_MOST, (room * NARROW_SHARE) / Math.max(n - wide.size, 1));
  const isLoose = wanted.map((_, i) => wide.has(i) && !focus.includes(i) && i < known);
  const natural = wanted.map((size, i) => {
    if (!wide.has(i)) return narrow;
    if (focus.includes(i)) return Math.max(looked, size);
    return i < known ? size : Math.min(empty, (room * NARROW_SHARE) / (n - known));
  });
  const whole = natural.reduce((sum, size) => sum + size, 0);
  const loose = natural.reduce((sum, size, i) => sum + (isLoose[i] ? size : 0), 0);
  const factor = loose ? Math.min(Math.max((room - (whole - loose)) / loose, 0.2), STRETCH) : 1;
  let start = 0;
  return natural.map((size, i) => {
    const column = { start, size: isLoose[i] ? size * factor : size, wide: wide.has(i) };
    start += column.size;
    return column;
  });
}

/** Which columns have words: all of a short run; else those around what is looked at and the last ones that are known, as many as have room for them.
 * @param {number} n @param {number} known @param {number[]} focus @param {number} room @param {(i: number) => number} size that a column with words needs */
function wideOnes(n, known, focus, room, size) {
  if (n <= WIDE) return new Set(Array.from({ length: n }, (_, i) => i));
  const wide = new Set(focus.filter((i) => i >= 0 && i < n));
  let used = [...wide].reduce((sum, i) => sum + size(i), 0);
  const fits = (/** @type {number} */ i) => wide.size < WIDE && used + size(i) * SQUEEZE + Math.min(NARROW_MOST * (n - wide.size - 1), room * NARROW_SHARE) <= room;
  const add = (/** @type {number} */ i) => {
    if (i < 0 || i >= n || wide.has(i)) return true;
    if (!fits(i)) return false;
    wide.add(i);
    used += size(i) * SQUEEZE;
    return true;
  };
  for (let by = 1; by <= (n > LONG ? AROUND_LONG : AROUND); by += 1) for (const i of focus) add(i - by) && add(i + by);
  for (let i = known - 1; i >= 0 && add(i);) i -= 1;
  return wide;
}

/** The column at a place along the axis; the nearest, if it lies outside. @param {Column[]} all @param {number} place */
export function columnAt(all, place) {
  let [low, high] = [0, all.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (all[middle].start <= place) low = middle;
    else high = middle - 1;
  }
  return low;
}
