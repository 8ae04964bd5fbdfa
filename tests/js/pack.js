// Frames for tests: what viz/wire/packing.py writes.

const DTYPES = [[Uint8Array, "U8"], [Uint16Array, "U16"], [Int32Array, "I32"], [Float32Array, "F32"]];

/** A frame of this kind, with these typed arrays by name; `pad` moves the arrays by so many bytes.
 * @param {string} kind @param {object} about @param {Record<string, any>} [arrays] @param {{shapes?: Record<string, number[]>, dtypes?: Record<string, string>, pad?: number}} [how] */
export function pack(kind, about, arrays = {}, { shapes = {}, dtypes = {}, pad = 0 } = {}) {
  const header = { __metadata__: { kind, about: JSON.stringify(about) } };
  let end = 0;
  const bytes = [];
  for (const [name, array] of Object.entries(arrays)) {
    const dtype = dtypes[name] ?? DTYPES.find(([type]) => array instanceof type)[1];
    header[name] = { dtype, shape: shapes[name] ?? [array.length], data_offsets: [end, end + array.byteLength] };
    bytes.push(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
    end += array.byteLength;
  }
  let text = new TextEncoder().encode(JSON.stringify(header));
  text = Uint8Array.from([...text, ...new Array(((8 - ((12 + text.length) % 8)) % 8) + pad).fill(32)]);
  const frame = new Uint8Array(12 + text.length + end);
  const view = new DataView(frame.buffer);
  view.setUint32(0, 8 + text.length + end, true);
  view.setBigUint64(4, BigInt(text.length), true);
  frame.set(text, 12);
  let at = 12 + text.length;
  for (const each of bytes) {
    frame.set(each, at);
    at += each.length;
  }
  return frame;
}

/** @param {Uint8Array[]} frames */
export function joined(...frames) {
  return Uint8Array.from(frames.flatMap((frame) => [...frame]));
}
