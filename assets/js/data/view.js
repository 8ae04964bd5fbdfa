// @ts-check
// What the board and its views know of each other: types alone.

/** @typedef {import("./store.js").Run} Run */
/** @typedef {import("./selection.js").Selection} Selection */
/** @typedef {import("./axes.js").At} At */
/** What pictures are drawn from: the selection, and of a Trace the run and its step. `word` is the selected token; where the step wrote it
 * and only the next one reads it, `at.token` is the last that the step read, from which it came.
 * @typedef {{run: Run, at: At, word: number, step: import("./store.js").Step, colours: import("../core/canvas.js").Paint}} State */
/** @typedef {{columns: string[], rows: import("../core/dom.js").Child[][], note: string, code: string}} Numbers */
/** @template T @typedef {import("./slices.js").Slice<T>} Slice */
/** How a run is continued from one of its steps: `why` not now (empty: it can be), whether it `isRecorded` elsewhere and is run again first, what was `said` of the last
 * one that was asked for, until somebody names another token (`clear`), and the `parent` of one that was continued.
 * @typedef {{why: (run: Run) => string, isRecorded: (run: Run) => boolean, ask: (run: Run, step: number, token: {id?: number, text: string}, card?: string | null) => void, said: () => string,
 *   clear: () => void, parent: (id: string) => {name: string, look: () => void} | null}} Fork */
/** What is known of why a step chose its token: `found`, or what to say meanwhile (empty: nobody has asked). @typedef {{found: import("./attribution.js").Attribution | null, said: string, isGoing: boolean}} Reason */
/** How a step is explained: `why` not now (empty: it can be), and what came of it `at` a step, against a rival. @typedef {{why: (run: Run) => string, isRecorded: (run: Run) => boolean,
 *   at: (run: Run, step: number, rival: number) => Reason, ask: (run: Run, step: number, rival: number) => void}} Reasons */
/** What a view may ask of the board: the selection, slices of a run, what the board shows at a place (`about`), and, where there is a program, to continue it and to explain its steps.
 * @typedef {{selection: Selection, redraw: () => void, fork: Fork | null, reasons: Reasons | null, layerSlice: (layer: number) => string | null,
 *   mapSlice: (layer: number, head: number) => Slice<import("./store.js").PooledMap>, rowsSlice: (layer: number, position: number) => string | null,
 *   mapPartSlice: (layer: number, head: number, row: number, key: number) => Slice<import("./store.js").MapPart>, littleSlice: () => string | null,
 *   vectorsSlice: (layer: number, token: number) => Slice<import("./store.js").Vectors>, logitsSlice: (choice: number) => Slice<import("./store.js").Logits>,
 *   plotly: () => Promise<any>, about: (at: At) => {place: string, words: string[]},
 *   rowSlice: (layer: number, head: number, position: number) => Promise<{weights: Float32Array, scores: Float32Array} | null>}} Context */
/** What a view makes of its card's body. `paint` draws canvases and runs before any `draw`, which changes elements: text drawn
 * on a canvas makes the browser settle the style of everything that changed before it.
 * @typedef {{paint?: (state: State) => void, draw: (state: State) => void, numbers?: (state: State) => Numbers | Promise<Numbers>,
 * pick?: (state: State, token: Named) => void}} Picture */
/** A picture in little, for the rail: a few words, and what to draw on a canvas of this size.
 * @typedef {{value: import("../core/dom.js").Child[], mini?: (g: CanvasRenderingContext2D, width: number, height: number) => void}} Glance */
/** A view: `lead`, what is seen, in at most 15 words, and `more` of it; `folded`: it opens when it is pressed; `isGlance`: it says what the record comes to, and stands before all others; `asks`: only where a program answers; `isFor`: whether a run has what it shows (without: every run); how a card's body is drawn, by a module of js/views or by the program (board/server_picture.js).
 * @typedef {{id: string, title: string, lead: string | (Node | string)[], more?: string | (Node | string)[], folded?: boolean, isGlance?: boolean, asks?: boolean, isFor?: (run: Run) => boolean, create: (body: HTMLElement, context: Context) => Picture, glance?: (state: State) => Glance}} View */
/** A token by what is known of it, to continue a run with. @typedef {{id: number, text: string, hex?: string}} Named */

export {};
