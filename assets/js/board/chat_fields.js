// @ts-check
// A chat's own fields in the form: its earlier turns, the variables of the model's template, and what the model recommends.

import { h, fill, button } from "../core/dom.js";
import { counted, phrase, phraseParts } from "../core/texts.js";
import { OFFERS, offersNow } from "./offers.js";
import { CHAT, setField } from "./continue_chat.js";
import { RowList } from "./row_list.js";

/** @typedef {{element: HTMLElement, props: {value: string}, watch: (name: string, fn: () => void) => void}} Link */
/** @typedef {import("./continue_chat.js").Chat} Chat */
/** Who speaks, and what is said. @typedef {[string, string]} Turn */

const SAID = "tokenoscope-said"; // viz/pages/chat.py: chat was switched, or another system prompt stands in the form
const AS_IT_IS = phrase("as the template has it");

/** @param {Link} link */
export function connectTurns({ element, props, watch }) {
  const editor = new Turns(rootOf(element), (value) => { props.value = value; });
  watch("value", () => editor.show(props.value));
  editor.show(props.value);
  document.addEventListener(CHAT, (event) => editor.take(/** @type {CustomEvent<Chat>} */ (event).detail.turns));
  tellChat(editor);
}

/** @param {Link} link */
export function connectOptions({ element, props, watch }) {
  const editor = new Options(rootOf(element), (value) => { props.value = value; });
  watch("value", () => editor.show(props.value));
  editor.show(props.value);
  document.addEventListener(OFFERS, () => editor.draw());
  document.addEventListener(CHAT, (event) => editor.take(/** @type {CustomEvent<Chat>} */ (event).detail.options));
}

/** @param {Link} link */
export function connectRecommended({ element }) {
  const root = rootOf(element);
  let used = false;
  const press = (/** @type {string} */ id, /** @type {boolean} */ now) => {
    document.getElementById(id)?.click();
    used = now;
    draw();
    root.querySelector("button")?.focus();
  };
  const draw = () => {
    const wanted = Object.entries(offersNow()?.recommended ?? {});
    const settings = wanted.flatMap(([name, value], i) => [i ? ", " : "", h("b", {}, `${labelOf(name)} ${value}`)]);
    root.hidden = wanted.length === 0;
    fill(root, h("span", {}, ...phraseParts("This model recommends {settings}.", { settings })),
      used ? button(phrase("Restore my values"), () => press("recommended-undo", false)) : button(phrase("Use these"), () => press("recommended-use", true)));
  };
  root.classList.add("ts-recommended");
  document.addEventListener(OFFERS, () => { used = false; draw(); });
  draw();
}

/** What a setting is called in this form. @param {string} name */
function labelOf(name) {
  const label = document.querySelector(`#${name} [data-testid="block-info"]`)?.textContent?.trim() || name;
  return label[0].toLowerCase() + label.slice(1);
}

/** @param {HTMLElement} element */
function rootOf(element) {
  return /** @type {HTMLElement} */ (element.querySelector(".ts-chat-root") ?? element);
}

/** The turns before the prompt: a row each. @extends {RowList<Turn>} */
class Turns extends RowList {
  /** @param {HTMLElement} root @param {(value: string) => void} tell */
  constructor(root, tell) {
    super(tell, { add: phrase("+ Add a turn"), undo: phrase("Restore the previous turns"), list: "ts-turns", button: "ts-turn-add" });
    this.changed = () => {};
    this.note = h("p", { class: "ts-chat-note" });
    fill(root, h("p", { class: "ts-chat-head" }, phrase("Earlier turns")), this.note, this.list, this.add, this.undo);
  }

  /** @param {string} value */
  read(value) { return readTurns(value); }

  /** Who has not spoken last speaks next. @returns {Turn} */
  fresh() { return [this.rows[this.rows.length - 1]?.[0] === "user" ? "assistant" : "user", ""]; }

  /** @param {string} value */
  show(value) {
    if (value === this.value) return;
    super.show(value);
    this.changed();
  }

  /** @param {Turn[]} rows */
  take(rows) {
    this.replace(rows.map(([role, text]) => [role, text]), this.rows.length ? this.rows : null);
  }

  keep() {
    super.keep();
    this.changed();
  }

  draw() {
    this.note.textContent = this.rows.length ? phrase("The prompt is the turn after these.") : phrase("What was said before the prompt. Without any, the prompt is the first turn.");
    super.draw();
  }

  /** @param {Turn} row @param {number} at */
  row(row, at) {
    const n = at + 1;
    const who = h("select", { "aria-label": phrase("who speaks in turn {n}", { n }),
      onchange: (/** @type {Event} */ event) => { row[0] = /** @type {HTMLSelectElement} */ (event.target).value; this.keep(); } },
    h("option", { value: "user" }, phrase("user")), h("option", { value: "assistant" }, phrase("assistant")));
    who.value = row[0];
    const text = h("textarea", { rows: 2, "aria-label": phrase("what is said in turn {n}", { n }),
      oninput: (/** @type {Event} */ event) => { row[1] = /** @type {HTMLTextAreaElement} */ (event.target).value; this.keep(); } });
    text.value = row[1];
    return h("li", { class: "ts-turn" }, h("span", { class: "ts-turn-side" }, h("span", { class: "ts-turn-name", "aria-hidden": "true" }, String(n)), who,
      button("×", () => this.takeAway(at), { class: "ts-turn-away", "aria-label": phrase("remove turn {n}", { n }), title: phrase("remove") })), text);
  }
}

/** The variables of the chosen model's template; what was chosen for another model's is kept here and not sent. */
class Options {
  /** @param {HTMLElement} root @param {(value: string) => void} tell */
  constructor(root, tell) {
    this.root = root;
    this.tell = tell;
    this.value = "";
    /** @type {Record<string, string>} */
    this.chosen = {};
  }

  /** @param {string} value */
  show(value) {
    if (value === this.value) return;
    this.value = value;
    this.chosen = readOptions(value);
    this.draw();
  }

  /** @param {Record<string, string>} options */
  take(options) {
    this.chosen = { ...options };
    this.draw();
  }

  /** @param {string} name @param {string} value empty: as the template has it */
  choose(name, value) {
    if (value === "") delete this.chosen[name];
    else this.chosen[name] = value;
    this.keep();
  }

  keep() {
    const known = offersNow()?.variables;
    const sent = known ? Object.entries(this.chosen).filter(([name]) => known.some((each) => each.name === name)) : Object.entries(this.chosen);
    const value = JSON.stringify(Object.fromEntries(sent));
    if (value === this.value) return;
    this.value = value;
    this.tell(value);
  }

  draw() {
    const offers = offersNow();
    const rows = (offers?.variables ?? []).map((variable) => this.row(variable));
    fill(this.root, h("p", { class: "ts-chat-head" }, phrase("Template options")), h("p", { class: "ts-chat-note" }, aboutOptions(offers)), ...rows);
    this.keep();
  }

  /** @param {import("./offers.js").Variable} variable */
  row({ name, kind, values }) {
    const now = this.chosen[name] ?? "";
    const heard = (/** @type {Event} */ event) => this.choose(name, /** @type {HTMLInputElement} */ (event.target).value);
    if (kind === "switch") {
      const made = h("select", { onchange: heard }, h("option", { value: "" }, AS_IT_IS), h("option", { value: "true" }, phrase("on")), h("option", { value: "false" }, phrase("off")));
      made.value = now;
      return h("label", { class: "ts-option" }, h("code", {}, name), made);
    }
    const list = `ts-option-${name}`;
    const typed = h("input", { type: "text", placeholder: AS_IT_IS, oninput: heard, list: values.length ? list : undefined });
    typed.value = now;
    return h("label", { class: "ts-option" }, h("code", {}, name), typed, values.length ? h("datalist", { id: list }, ...values.map((value) => h("option", { value }))) : null);
  }
}

/** @param {import("./offers.js").Offers | null} offers */
function aboutOptions(offers) {
  if (!offers) return phrase("The variables of the model's chat template appear here when it is loaded.");
  if (!offers.chat) return phrase("This model has no chat template: it cannot be asked in a chat.");
  return offers.variables.length ? phrase("Variables found in this model's chat template, such as whether it thinks before it answers.") : phrase("This model's chat template has no variables to set.");
}

/** Say beside the form that more than the prompt is sent, and offer to begin anew. @param {Turns} turns */
function tellChat(turns) {
  const line = /** @type {HTMLElement | null} */ (document.querySelector("#status .ts-chat"));
  if (!line) return;
  let [on, system] = [false, false];
  const prompt = /** @type {HTMLTextAreaElement | null} */ (document.querySelector("#prompt textarea"));
  const plain = prompt?.placeholder ?? "";
  const words = h("span", {});
  fill(line, words, button(phrase("New chat"), () => {
    setField("#system textarea", "");
    turns.take([]);
  }));
  const tell = () => {
    const n = turns.rows.length;
    const earlier = counted(n, "1 earlier turn", "{n} earlier turns");
    words.textContent = !system ? phrase("The prompt goes on after {earlier}.", { earlier })
      : n ? phrase("The prompt goes on after a system prompt and {earlier}.", { earlier }) : phrase("The prompt goes on after a system prompt.");
    line.hidden = !on || (!system && !n);
    if (prompt) prompt.placeholder = on ? phrase("Type a message. The model answers it.") : plain;
  };
  turns.changed = tell;
  document.addEventListener(SAID, (event) => {
    const said = /** @type {CustomEvent<{chat: boolean, system: string}>} */ (event).detail;
    [on, system] = [said.chat, said.system.trim() !== ""];
    tell();
  });
  tell();
}

/** What a browser kept may be anything. @param {string} value @returns {Turn[]} */
function readTurns(value) {
  try {
    const rows = JSON.parse(value);
    const fits = Array.isArray(rows) && rows.every((row) => Array.isArray(row) && ["user", "assistant"].includes(row[0]) && typeof row[1] === "string");
    if (fits) return rows;
  } catch { /* no turns */ }
  return [];
}

/** @param {string} value @returns {Record<string, string>} */
function readOptions(value) {
  try {
    const options = JSON.parse(value);
    const fits = options !== null && typeof options === "object" && Object.values(options).every((each) => typeof each === "string");
    if (fits && !Array.isArray(options)) return options;
  } catch { /* no options */ }
  return {};
}
