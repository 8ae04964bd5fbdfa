// @ts-check
// A finished chat goes on: what was said in it becomes earlier turns of the form, and the prompt is free for the next one.

import { button, fill } from "../core/dom.js";
import { phrase } from "../core/texts.js";
import { find } from "./status.js";

/** @typedef {import("../data/store.js").Run} Run */
/** @typedef {{turns: [string, string][], options: Record<string, string>}} Chat */

/** The event that puts a chat into the form's own fields. */
export const CHAT = "tokenoscope-chat";

/** Offer it of the run that is shown. @param {Run | null} run null: none is, or it is not over */
export function offerContinuation(run) {
  const line = find("#status .ts-continue");
  if (!line) return;
  const goes = run !== null && run.head.settings.chat && Boolean(run.end?.text?.trim()) && find("#turns") !== null;
  line.hidden = !goes;
  if (!goes || line.dataset.of === run.id) return;
  line.dataset.of = run.id;
  fill(line, button(phrase("Continue this chat"), () => goOn(run), { title: phrase("What was said becomes earlier turns; type the next message.") }));
}

/** @param {Run} run */
function goOn({ head, end }) {
  const { settings } = head;
  const said = (settings.turns ?? []).map((/** @type {{role: string, content: string}} */ { role, content }) => [role, content]);
  const options = (settings.template_options ?? []).map((/** @type {{name: string, value: string}} */ { name, value }) => [name, value]);
  const chat = /** @type {HTMLInputElement | null} */ (find("#chat input"));
  if (chat && !chat.checked) chat.click();
  setField("#system textarea", settings.system ?? "");
  const detail = { turns: [...said, ["user", head.prompt], ["assistant", end.text]], options: Object.fromEntries(options) };
  document.dispatchEvent(new CustomEvent(CHAT, { detail }));
  setField("#prompt textarea", "")?.focus();
}

/** Put a text into a field, as if it were typed. @param {string} selector @param {string} text */
export function setField(selector, text) {
  const field = /** @type {HTMLTextAreaElement | null} */ (find(selector));
  if (!field) return null;
  field.value = text;
  field.dispatchEvent(new Event("input", { bubbles: true }));
  return field;
}
