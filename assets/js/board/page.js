// @ts-check
// A page of the app: takes what each press of a button came to, follows the records, shows them on the page's boards, says beside
// the form how things stand, and keeps the moment that is looked at in the address.

import { Run } from "../data/store.js";
import { ServedRecord } from "../data/record.js";
import { followRecord, Gone } from "../data/follow.js";
import { forget, remember, remembered } from "../data/session_memory.js";
import { h, fill, bringInSight, button } from "../core/dom.js";
import { RUN_EMPTY, emptyCard, titleOf } from "./empty.js";
import { leadToMeasure, offerFiles } from "./keep.js";
import { offerContinuation } from "./continue_chat.js";
import { loadStyles } from "./styles.js";
import { wirePopovers } from "./popovers.js";
import { PARTS, showTab, wireTabs } from "./tabs.js";
import { Board } from "./board.js";
import { AddressBar, readAddress } from "./address.js";
import { ShippedRecords, ShippedRow } from "./shipped_records.js";
import { StatusLine, fillPrompt, find, watchModel } from "./status.js";
import { listenToKeys } from "./keys.js";
import { Presses } from "./presses.js";
import { VisitorRuns } from "./visitor_runs.js";
import { phrase, phraseParts } from "../core/texts.js";

/** @typedef {import("../data/axes.js").At} At */
/** @typedef {import("../data/follow.js").Status} Status */
/** What a press of a button came to: a job's id, or why there is none. `press` grows with each press. @typedef {{id: string | null, experiment: string, refusal: string, press: number}} Press */
/** `experiments`: the kinds that this page shows, each on a board of its own; `pages`: where each kind is shown, relative to the app;
 * `ask`: asks for an experiment with these values, as a press of a button does; `base`: the address of the program's routes, by default where this script came from.
 * @typedef {{ask?: (experiment: string, values: Record<string, any>) => void, element: HTMLElement, props: {value: Press}, watch: (name: string, fn: () => void) => void, experiments: string[], pages?: Record<string, string>, base?: string}} Link */
/** A record that is followed, or was. `opening`: where it is opened, if not where its kind begins; `restored`: it ran before the page was left;
 * `earlier`: the visitor's own record before it; `silent`: the program did not answer when it was asked last; `cutOff`: nor will it go on.
 * @typedef {{id: string, experiment: string | null, record: Run | ServedRecord | null, status: Status | null, own: boolean, shipped: boolean, restored: boolean,
 *   earlier: string | null, silent: boolean, cutOff: boolean, press: number, opening: Opening | null, away: AbortController}} Held */
/** `at` null: where its kind begins. @typedef {{at: Partial<At> | null, card: string | null}} Opening */

/** The button that begins each kind, where it is not `#run`. @type {Record<string, string>} */
const BUTTONS = { cache: "#replay", serve: "#serve", speculate: "#speculate" };
const REASON = "attribute";
const SILENT = phrase("The program does not answer; the pictures stay as they are. Trying again…");

/** Wire a page. @param {Link} link */
export async function connect({ element, props, watch, experiments, pages = {}, ask, base = new URL("../../..", import.meta.url).href.replace(/\/$/, "") }) {
  await loadStyles();
  const page = new Page(base, /** @type {HTMLElement} */ (element.querySelector(".ts-boards") ?? element), experiments, { pages, ask });
  watch("value", () => page.take(props.value));
  page.begin(props.value);
  return page;
}

export class Page {
  /** @param {string} base @param {HTMLElement} root @param {string[]} experiments @param {{pages: Record<string, string>, ask?: Link["ask"]}} link */
  constructor(base, root, experiments, link) {
    this.base = base;
    this.link = link;
    this.pages = link.pages;
    this.experiments = experiments;
    this.active = experiments[0];
    /** @type {Map<string, Held>} by id */
    this.held = new Map();
    /** @type {Map<string, string>} the newest record of the visitor's own, by experiment */
    this.own = new Map();
    /** @type {Map<string, string>} the record that is shown, or is to be as soon as there is something to see, by experiment */
    this.wanted = new Map();
    this.press = 0;
    /** @type {{experiment: string, text: string} | null} why the last press came to nothing */
    this.refusal = null;
    this.message = "";
    /** @type {(Opening & {experiment: string}) | null} where the next record of the visitor's own is opened */
    this.again = null;
    this.presses = new Presses(experiments.map((experiment) => BUTTONS[experiment] ?? "#run"), (button) => this.boardOfButton(button)?.element);
    const hasRuns = experiments.includes("run");
    this.line = new StatusLine((state) => { if (hasRuns) this.presses.said(state); });
    this.bar = new AddressBar();
    this.shipped = new ShippedRecords(base);
    this.rows = new Map(experiments.map((experiment) => [experiment, new ShippedRow(this.shipped, experiment, (id, shipped) => this.choose(id, experiment, shipped))]));
    const visitor = hasRuns ? new VisitorRuns(this) : null;
    this.runs = visitor?.list ?? null;
    this.forks = visitor?.forks ?? null;
    this.reasons = visitor?.reasons ?? null;
    if (hasRuns) find("#runs .ts-shipped-root")?.replaceChildren(/** @type {ShippedRow} */ (this.rows.get("run")).element);
    wirePopovers();
    /** @type {Map<string, HTMLElement>} */
    this.keeps = new Map();
    const places = experiments.map((experiment) => h("div", { id: `board-${experiment}`, class: PARTS[experiment] ? `ts-part-${PARTS[experiment]}` : "", ...(experiments.length > 1 ? { role: "region", "aria-label": titleOf(experiment) } : {}) }));
    fill(root, ...places); // before they are boards: which read their colours from where they stand
    this.boards = new Map(experiments.map((experiment, i) => [experiment, this.board(experiment, places[i])]));
    wireTabs(experiments, (part) => { this.turnTo(part); this.writeAddress(); this.bar.flush(); });
    if (PARTS[this.active]) this.turnTo(this.active);
    this.listen();
  }

  /** @param {string} experiment @param {HTMLElement} place @returns {Board} */
  board(experiment, place) {
    const isRun = experiment === "run";
    const keep = (isRun && find("#status .ts-keep")) || h("p", { class: "ts-keep", hidden: true });
    this.keeps.set(experiment, keep);
    const empty = !isRun ? emptyCard(experiment) : null;
    const board = new Board(place, experiment, {
      base: this.base, empty, above: isRun && find("#runs .ts-shipped-root") ? null : this.rows.get(experiment)?.element, below: keep.isConnected ? null : keep,
      changed: () => this.changed(experiment), fork: this.forks, reasons: this.reasons,
    });
    if (isRun) board.say(RUN_EMPTY);
    for (const name of ["pointerdown", "focusin"]) board.element.addEventListener(name, () => { if (!PARTS[experiment]) this.active = experiment; });
    return board;
  }

  /** Where what a button begins is shown. @param {Element} button */
  boardOfButton(button) {
    return this.boards?.get(this.experiments.find((experiment) => button.matches(BUTTONS[experiment] ?? "#run")) ?? this.active);
  }

  /** The selection of a board has changed. @param {string} experiment */
  changed(experiment) {
    if (!PARTS[experiment] && !this.boards.get(this.active)?.record) this.active = experiment;
    if (this.active === experiment) this.writeAddress();
  }

  listen() {
    listenToKeys((key) => {
      if (key !== "run") return this.boards.get(this.active)?.onKey(key);
      const go = /** @type {HTMLButtonElement | null} */ (find(BUTTONS[this.active] ?? "#run"));
      return go && !go.disabled ? () => go.click() : undefined;
    });
    this.bar.listen(() => this.openAddress());
    watchModel(this.base, {
      silent: () => { for (const held of this.held.values()) this.cutOff(held); this.tell(); },
      back: () => this.tell(),
    });
    const [first] = this.boards.values();
    Object.assign(window, { tokenoscope: { page: this, store: first, get selection() { return this.store.selection; } } });
  }

  /** Show what the address names; else what ran before the page was left, or what the page begins with. @param {Press | null} value */
  async begin(value) {
    this.press = value?.press ?? 0;
    if (readAddress(location.hash).record) await this.shipped.loaded; // of those the program holds no more than was sent
    const asked = this.openAddress();
    for (const experiment of this.experiments) {
      const before = remembered(experiment);
      if (before && before.id !== asked) this.restore(before, asked === null || experiment !== "run");
    }
    if (value?.id && !this.wanted.has(value.experiment) && asked === null) this.show({ id: value.id, shipped: true, experiment: value.experiment });
    for (const board of this.boards.values()) board.element.dataset.ready = "1";
    await this.shipped.loaded;
    this.showShipped();
    for (const held of this.held.values()) held.shipped ||= this.shipped.has(held.id);
    this.tell();
  }

  /** @param {import("../data/session_memory.js").Remembered} before @param {boolean} shown */
  restore({ id, experiment }, shown) {
    this.own.set(experiment, id);
    if (shown) this.show({ id, experiment, own: true, restored: true });
  }

  /** What a press of a button came to. @param {Press | null} press */
  take(press) {
    if (!press || press.press <= this.press) return; // a newer one has overtaken it
    this.press = press.press;
    if (press.experiment === REASON && !this.boards.has(REASON)) {
      this.reasons?.answered(press); // it is drawn in a card of its run
      return;
    }
    const { id, refusal } = press;
    const experiment = this.boards.has(press.experiment) ? press.experiment : this.experiments[0]; // a kind without a board of its own
    this.refusal = refusal ? { experiment, text: refusal } : null;
    this.message = "";
    this.forks?.answered(press);
    if (!PARTS[experiment]) this.active = experiment;
    const again = this.again;
    this.again = null;
    if (id) {
      const earlier = this.own.get(experiment) ?? null;
      this.own.set(experiment, id);
      this.show({ id, experiment, own: true, press: press.press, earlier, opening: again?.experiment === experiment ? again : null });
      if (this.hasSeveral) this.lead(/** @type {Board} */ (this.boards.get(experiment)));
    }
    this.tell();
  }

  /** To a board that is not in sight: what was asked for appears there. @param {Board} board */
  lead({ element }) {
    const { top } = element.getBoundingClientRect();
    if (top < 0 || top > window.innerHeight / 2) bringInSight(element);
  }

  /** Look at a record that comes with the app, or at the visitor's own again. @param {string} id @param {string} experiment @param {boolean} shipped */
  choose(id, experiment, shipped) {
    this.show({ id, experiment, shipped, own: !shipped });
    this.tell();
  }

  /** Ask for what no button of the form does; what comes of it is opened at a place. @param {string} experiment @param {Record<string, any>} values @param {Opening | null} [opening] */
  ask(experiment, values, opening = null) {
    this.again = opening && { experiment: this.boards.has(experiment) ? experiment : this.experiments[0], ...opening };
    this.link.ask?.(experiment, values);
  }

  /** Show a record as soon as there is something to see, and follow it. @param {Partial<Held> & {id: string}} how */
  show({ id, ...how }) {
    const there = this.held.get(id);
    const held = there ?? { id, experiment: null, record: null, status: null, own: false, shipped: false, restored: false, earlier: null, silent: false, cutOff: false, press: 0, opening: null, away: new AbortController() };
    Object.assign(held, how);
    if (held.experiment) this.wanted.set(held.experiment, id);
    if (there) this.draw(held);
    else {
      this.held.set(id, held);
      this.follow(held);
    }
  }

  /** @param {Held} held */
  async follow(held) {
    const place = `${this.base}/records/${encodeURIComponent(held.id)}`;
    try {
      for await (const news of followRecord({ place, since: () => held.record?.parts ?? 0, signal: held.away.signal, live: !held.shipped })) this.hear(held, news);
    } catch (error) {
      if (!(error instanceof Gone)) throw error;
      this.gone(held, error.message);
    }
  }

  /** @param {Held} held @param {import("../data/follow.js").News} news */
  hear(held, { frames, status, silent }) {
    const board = this.boardOf(held);
    if (silent) {
      held.silent = true;
      this.cutOff(held);
      if (board && this.isWanted(held)) board.say(SILENT);
      this.tell();
      return;
    }
    if (held.silent && this.isWanted(held)) board?.say("");
    held.silent = held.cutOff = false;
    if (frames?.length) {
      held.record ??= frames[0].kind === "record" ? new ServedRecord(held.id) : new Run(held.id);
      for (const frame of frames) held.record.add(frame);
      held.experiment ??= held.record.experiment;
    }
    if (status) {
      held.status = status;
      if (held.record || this.boards.has(status.experiment)) held.experiment ??= status.experiment; // else its first part says what it is
    }
    if (held.own && held.record instanceof Run && held.record.begun) this.runs?.note(held.record, held.record.end !== null);
    if (held.record instanceof ServedRecord && held.status) Object.assign(held.record, { ended: held.status.over, stopped: held.status.over && held.status.state !== "done" });
    const saysNothingNew = held.record instanceof Run && !frames?.length && !status?.over;
    if (!saysNothingNew) this.draw(held);
    this.forks?.heard(held);
    this.reasons?.heard(held);
    this.tell();
  }

  /** Draw what there is of a record, where it is the one to be shown. @param {Held} held */
  draw(held) {
    const { record, experiment } = held;
    if (!experiment) return;
    if (!this.boards.has(experiment)) {
      this.elsewhere(held);
      return;
    }
    if (!this.wanted.has(experiment) || held.opening) this.wanted.set(experiment, held.id);
    const board = /** @type {Board} */ (this.boards.get(experiment));
    if (!this.isWanted(held)) return;
    if (!record?.begun) {
      if (held.status?.over) this.cameToNothing(experiment, held, board);
      return;
    }
    if (board.record === record && !held.opening) {
      board.grown();
      return;
    }
    const opening = held.opening;
    held.opening = null;
    if (opening) this.turnTo(experiment);
    if (opening && !held.own && record instanceof Run) fillPrompt(record.head.prompt); // an address led here: Run begins the like
    board.open(record, { live: !held.shipped, following: record instanceof ServedRecord || (held.own && !held.restored), at: opening?.at, card: opening?.card });
    if (held.own) {
      remember({ id: held.id, experiment, ...(record instanceof Run ? { prompt: record.head.prompt } : {}) });
      this.letGo(held);
    }
  }

  /** It was stopped or failed before there was anything to see: what is shown stays. @param {string} experiment @param {Held} held @param {Board} board */
  cameToNothing(experiment, { id, status, own, earlier }, board) {
    if (board.record) this.wanted.set(experiment, board.record.id);
    if (!own || this.own.get(experiment) !== id || status?.stopped_by === "overtaken") return;
    if (earlier) this.own.set(experiment, earlier);
    else this.own.delete(experiment);
    if (status?.refusal) this.refusal = { experiment, text: status.refusal };
    else this.message = board.record ? phrase("Stopped before it started. What was shown before stays.") : phrase("Stopped before it started.");
  }

  /** Other records of the same kind are not held any more, but for one that is on its way: they are fetched again when they are looked at. @param {Held} newer */
  letGo(newer) {
    for (const held of this.held.values()) {
      if (held === newer || held.shipped || held.experiment !== newer.experiment || this.isGoing(held.id)) continue;
      held.away.abort();
      this.held.delete(held.id);
    }
  }

  /** The program has no such record: what ran before the page was left is forgotten; what an address names can be run again.
   * @param {Held} held @param {string} why */
  gone(held, why) {
    const experiment = held.experiment ?? this.active;
    const board = this.boards.get(experiment);
    const before = remembered(experiment);
    const listed = this.runs?.gone(held.id) ?? false;
    const prompt = held.record instanceof Run ? held.record.head.prompt : this.runs?.of(held.id)?.prompt ?? (before?.id === held.id ? before.prompt ?? null : null);
    this.cutOff(held);
    if (held.restored || this.own.get(experiment) === held.id) forget(experiment);
    if (!held.record) {
      this.held.delete(held.id);
      if (this.own.get(experiment) === held.id) this.own.delete(experiment);
      if (this.wanted.get(experiment) === held.id) this.wanted.delete(experiment);
    }
    if (listed && board?.record && board.record.id !== held.id) this.wanted.set(experiment, board.record.id); // its entry says so
    else if (board && !(held.restored && !held.opening && !held.record)) {
      board.say(`${why} `, button(phrase("Run it again"), () => this.runAgain(experiment, held, prompt)));
      board.app.empty?.remove();
    } else this.showShipped();
    this.tell();
  }

  /** Boards that have nothing to show yet open on a record that comes with the app. */
  async showShipped() {
    await this.shipped.loaded;
    for (const experiment of this.experiments) {
      const [first] = this.shipped.of(experiment);
      if (first && !this.wanted.has(experiment)) this.show({ id: first.id, experiment, shipped: true });
    }
  }

  /** Press the form's button; what comes of it is opened at the same place. @param {string} experiment @param {Held} held @param {string | null} prompt */
  runAgain(experiment, held, prompt) {
    if (prompt) fillPrompt(prompt);
    const looked = this.boards.get(experiment);
    this.again = { experiment, ...(held.opening ?? { at: looked?.selection.base ?? {}, card: looked?.reading ?? null }) };
    find(BUTTONS[experiment] ?? "#run")?.click();
  }

  /** A record of a kind that another page shows. @param {Held} held */
  elsewhere(held) {
    const page = this.pages[held.experiment ?? ""];
    held.away.abort();
    if (page === undefined) return;
    const to = new URL(page + location.search + location.hash, document.baseURI).href;
    this.boards.get(this.active)?.say(...phraseParts("This record is shown on {page}.", { page: h("a", { href: to }, phrase("another page")) }));
  }

  /** Go where the address says. @returns {string | null} the record that it names */
  openAddress() {
    const { record, card, word, ...said } = readAddress(location.hash);
    const at = Object.keys(said.at).length ? said.at : null;
    const part = this.experiments.find((experiment) => PARTS[experiment] === word);
    if (part) this.turnTo(part);
    if (!record) return null;
    const before = this.runs?.of(record) ? { experiment: "run" } : this.experiments.map(remembered).find((each) => each?.id === record);
    const held = this.held.get(record);
    if (held) {
      held.opening = { at, card };
      this.draw(held);
    } else {
      if (before) this.own.set(before.experiment, record);
      this.show({ id: record, opening: { at, card }, own: before !== undefined, restored: before !== undefined, experiment: before?.experiment ?? null });
    }
    return record;
  }

  writeAddress() {
    const board = this.boards.get(this.active);
    const part = PARTS[this.active];
    if (board?.record) this.bar.write(board.record, board.selection.base, board.reading);
    else if (part) this.bar.set(this.active === this.experiments[0] ? "" : `#${part}`);
  }

  /** This kind is looked at. @param {string} experiment */
  turnTo(experiment) {
    this.active = experiment;
    if (!PARTS[experiment]) return;
    showTab(this.experiments, experiment);
    this.tell();
  }

  /** @param {Held} held */
  cutOff(held) {
    held.cutOff = !held.status?.over;
  }

  /** @param {Held} held */
  boardOf({ experiment }) {
    return experiment === null ? undefined : this.boards.get(experiment);
  }

  /** @param {Pick<Held, "id" | "experiment">} held */
  isWanted({ id, experiment }) {
    return experiment !== null && this.wanted.get(experiment) === id;
  }

  /** Whether several boards stand below one another. */
  get hasSeveral() {
    return this.inSight.length > 1;
  }

  /** The kinds in sight: one part, or all that the page has. */
  get inSight() {
    return PARTS[this.active] ? [this.active] : this.experiments;
  }

  /** Say how things stand: of what runs, else of what is shown; offer what is over as files to keep. */
  tell() {
    if (!this.boards) return;
    const all = this.inSight.flatMap((experiment) => [this.own, this.wanted].map((of) => this.held.get(of.get(experiment) ?? "")))
      .filter((held) => held !== undefined).sort((one, other) => other.press - one.press);
    const newest = all.find(({ own }) => own);
    const told = all.find((held) => held.own && held.status && !held.status.over && !held.cutOff) ?? all.find((held) => held.status && this.isWanted(held)) ?? newest;
    const refusal = this.refusal && this.inSight.includes(this.refusal.experiment) ? this.refusal.text : newest?.status?.refusal ?? "";
    this.line.say({ status: this.message ? null : told?.status ?? null, circumstances: { ...told }, message: this.message, refusal });
    for (const experiment of this.experiments) this.offer(experiment);
    const isBusy = this.experiments.some((experiment) => this.isBusy(experiment));
    for (const [experiment, row] of this.rows) row.show(this.wanted.get(experiment) ?? null, isBusy, this.own.get(experiment) ?? null);
    for (const [experiment, board] of this.boards) this.tellBoard(experiment, board);
    const going = this.own.get("run");
    this.runs?.show(this.wanted.get("run") ?? null, going !== undefined && this.isGoing(going) ? going : null);
  }

  /** How what is the visitor's own stands, on its board. @param {string} experiment @param {Board} board */
  tellBoard(experiment, board) {
    const own = this.own.get(experiment);
    const held = own !== undefined && this.isWanted({ id: own, experiment }) ? this.held.get(own) : undefined;
    board.element.classList.toggle("ts-before", held !== undefined && this.isGoing(held.id) && board.record?.id !== held.id);
    if (this.hasSeveral) board.going.show(held?.status ?? null, { ...held });
  }

  /** Whether it is the visitor's newest, and on its way. @param {string} id */
  isGoing(id) {
    return this.experiments.some((experiment) => this.own.get(experiment) === id && this.isBusy(experiment));
  }

  /** @param {string} experiment */
  isBusy(experiment) {
    const held = this.held.get(this.own.get(experiment) ?? "");
    return held !== undefined && !held.cutOff && !held.status?.over;
  }

  /** What can be kept of what is shown. @param {string} experiment */
  offer(experiment) {
    const line = this.keeps.get(experiment);
    const held = this.held.get(this.wanted.get(experiment) ?? "");
    const isRun = held?.record instanceof Run;
    const over = held?.status?.complete;
    const kept = held && over && held.record?.begun && !held.shipped ? { id: held.id, isRun } : null;
    if (experiment === "run") leadToMeasure(kept?.id ?? null);
    if (experiment === "run") offerContinuation(over && held?.record instanceof Run ? held.record : null);
    if (line) offerFiles(line, this.base, kept);
  }
}
