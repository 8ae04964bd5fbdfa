// @ts-check
// A saved page: one record of any kind on one board, from the frames that the page brings along. Nothing is asked of anybody.

import { FrameBuffer } from "../data/frames.js";
import { Run } from "../data/store.js";
import { ServedRecord } from "../data/record.js";
import { Board } from "./board.js";
import { AddressBar, readAddress } from "./address.js";
import { listenToKeys } from "./keys.js";

/** @param {{element: HTMLElement, frames: Uint8Array}} page */
export function mountPage({ element, frames }) {
  const parts = new FrameBuffer().add(frames);
  const served = parts.find(({ kind }) => kind === "record");
  const record = served ? new ServedRecord("page") : new Run("page");
  for (const frame of parts) record.add(frame);
  if (record instanceof ServedRecord) record.ended = true;
  const bar = new AddressBar();
  const board = new Board(element, record.experiment, { base: null, changed: () => bar.write(record, board.selection.base, board.reading) });
  const open = () => {
    const { record: named, at, card } = readAddress(location.hash);
    if (named === record.id) board.open(record, { live: null, following: false, at, card });
    return named === record.id;
  };
  if (!open()) board.open(record, { live: null, following: false });
  bar.listen(open);
  listenToKeys((key) => board.onKey(key));
  Object.assign(window, { tokenoscope: { store: board, selection: board.selection } });
  element.dataset.ready = "1";
  return board;
}
