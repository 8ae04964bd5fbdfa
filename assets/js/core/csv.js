// @ts-check
// Rows as a file for spreadsheets: RFC 4180, in UTF-8 with the mark by which spreadsheets know it.

import { isNumber } from "./format.js";

const MARK = "\ufeff";
const THOUSANDS = /^-?\d{1,3}(,\d{3})+(\.\d+)?$/;

/** @param {string[]} columns @param {string[][]} rows */
export function csvOf(columns, rows) {
  return MARK + [columns, ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

/** A text as it is read, as a cell that programs read: a number without commas and with a hyphen for a minus, nothing for what is not known. @param {string} text */
export function plainCell(text) {
  const number = text.replace(/^−/, "-").replace(/e−/, "e-");
  if (THOUSANDS.test(number)) return number.replaceAll(",", "");
  return text === "–" ? "" : isNumber(text) ? number : text;
}

/** Text of a model or a person that begins as a formula does is never run as one: spreadsheets show what follows an apostrophe. @param {string} text */
function cell(text) {
  const safe = text.length > 1 && /^[=+\-@\t\r]/.test(text) && !isNumber(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
