// @ts-check
// Where a word stands in a run's tokens, however many tokens it is made of, and which of these places comes next.

/** Tokens `first` to `last` hold one place where the word stands. @typedef {{first: number, last: number}} Found */

/** Every place of a word in the text of the first `n` tokens; capitals do not count. @param {{text: string}[]} tokens @param {string} words @param {number} [n] @returns {Found[]} */
export function findTokens(tokens, words, n = tokens.length) {
  const wanted = words.toLowerCase();
  if (!wanted.trim()) return [];
  const parts = tokens.slice(0, n).map(({ text }) => text.toLowerCase());
  /** @type {number[]} where each token ends in the text */
  const ends = [];
  let length = 0;
  for (const part of parts) ends.push(length += part.length);
  const text = parts.join("");
  /** @type {Found[]} */
  const found = [];
  let token = 0;
  for (let at = text.indexOf(wanted); at >= 0; at = text.indexOf(wanted, at + wanted.length)) {
    while (ends[token] <= at) token += 1;
    let last = token;
    while (ends[last] < at + wanted.length) last += 1;
    if (found.at(-1)?.first !== token) found.push({ first: token, last }); // twice in one token is one place
  }
  return found;
}

/** Which place comes after a token, or before it, around the ends; -1 where there is none. @param {Found[]} found @param {number} token @param {1 | -1} way @returns {number} */
export function nextFound(found, token, way) {
  if (!found.length) return -1;
  if (way > 0) return Math.max(found.findIndex(({ first }) => first > token), 0);
  const before = found.findLastIndex(({ first }) => first < token);
  return before < 0 ? found.length - 1 : before;
}
