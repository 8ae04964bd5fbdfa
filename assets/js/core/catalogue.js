// @ts-check
// The templates of the host's language by their English: empty for English. In its place the program serves, and puts into saved
// pages, what assets/texts/ has for the language that the host names.

/** @type {Map<string, string>} */
export const CATALOGUE = new Map([]);
