// @ts-check
// Frames: what a record is sent and saved in. A frame is a length (u32, little-endian) and that many bytes of safetensors,
// whose __metadata__ says its `kind` and what it is `about`, as JSON. viz/wire/packing.py writes the same.

/** @typedef {{data: any, shape: number[]}} Tensor data: a typed array */
/** @typedef {{kind: string, about: any, tensors: Record<string, Tensor>}} Frame */

/** @type {Record<string, any>} */
const TYPES = { U8: Uint8Array, I8: Int8Array, U16: Uint16Array, I16: Int16Array, F16: Uint16Array, U32: Uint32Array, I32: Int32Array, F32: Float32Array, F64: Float64Array };
const TEXT = new TextDecoder("utf-8");
const LENGTH = 4; // bytes of a frame's length
const HEADER_LENGTH = 8; // bytes of the length of a safetensors header

/** Cut bytes into frames. Throws if the last one is cut short. @param {Uint8Array} bytes @returns {Frame[]} */
export function parseFrames(bytes) {
  const frames = [];
  let at = 0;
  while (at < bytes.length) {
    if (bytes.length - at < LENGTH) throw cutShort();
    const end = at + LENGTH + wholeAt(bytes, at);
    if (end > bytes.length) throw cutShort();
    frames.push(parseFrame(bytes.subarray(at + LENGTH, end)));
    at = end;
  }
  return frames;
}

/** How many of these bytes are whole frames: a piece that has just arrived may end inside one. @param {Uint8Array} bytes */
export function wholeFrames(bytes) {
  let at = 0;
  for (;;) {
    if (bytes.length - at < LENGTH) return at;
    const end = at + LENGTH + wholeAt(bytes, at);
    if (end > bytes.length) return at;
    at = end;
  }
}

/** Puts pieces of an answer together, and hands out the frames that are whole. */
export class FrameBuffer {
  constructor() {
    /** @type {Uint8Array[]} */
    this.pieces = [];
    this.length = 0;
    this.needed = LENGTH; // bytes before there can be a whole frame: large ones are put together once
  }

  /** @param {Uint8Array} piece @returns {Frame[]} */
  add(piece) {
    this.pieces.push(piece);
    this.length += piece.length;
    if (this.length < this.needed) return [];
    const bytes = new Uint8Array(this.length);
    let at = 0;
    for (const each of this.pieces) {
      bytes.set(each, at);
      at += each.length;
    }
    const whole = wholeFrames(bytes);
    this.hold(bytes.slice(whole));
    return parseFrames(bytes.subarray(0, whole));
  }

  /** @param {Uint8Array} rest the beginning of a frame */
  hold(rest) {
    this.pieces = rest.length ? [rest] : [];
    this.length = rest.length;
    this.needed = LENGTH + (rest.length < LENGTH ? 0 : wholeAt(rest, 0));
  }
}

/** @param {Uint8Array} blob safetensors @returns {Frame} */
function parseFrame(blob) {
  if (blob.length < HEADER_LENGTH) throw cutShort();
  const headerLength = wholeAt(blob, 0) + wholeAt(blob, 4) * 2 ** 32;
  const start = HEADER_LENGTH + headerLength;
  if (start > blob.length) throw cutShort();
  const { __metadata__: metadata, ...listed } = JSON.parse(TEXT.decode(blob.subarray(HEADER_LENGTH, start)));
  /** @type {Record<string, Tensor>} */
  const tensors = {};
  for (const [name, { dtype, shape, data_offsets: [begin, end] }] of Object.entries(listed)) {
    tensors[name] = { data: typed(name, dtype, shape, blob.subarray(start + begin, start + end), end - begin), shape };
  }
  return { kind: metadata.kind, about: JSON.parse(metadata.about), tensors };
}

/** The numbers of one tensor, in place where their address allows it.
 * @param {string} name @param {string} dtype @param {number[]} shape @param {Uint8Array} bytes @param {number} length */
function typed(name, dtype, shape, bytes, length) {
  const Type = TYPES[dtype];
  if (!Type) throw new Error(`the frame has ${name} as ${dtype}, which this page does not read`);
  const items = shape.reduce((product, n) => product * n, 1);
  if (bytes.length !== length || items * Type.BYTES_PER_ELEMENT !== length) throw new Error(`the frames are cut short in ${name}`);
  const inPlace = bytes.byteOffset % Type.BYTES_PER_ELEMENT === 0;
  const data = inPlace ? new Type(bytes.buffer, bytes.byteOffset, items) : new Type(bytes.slice().buffer);
  return dtype === "F16" ? fromHalf(data) : data;
}

/** A u32 of these bytes. @param {Uint8Array} bytes @param {number} at */
function wholeAt(bytes, at) {
  return new DataView(bytes.buffer, bytes.byteOffset + at, 4).getUint32(0, true);
}

/** Half-precision numbers as floats. @param {Uint16Array} halves */
function fromHalf(halves) {
  const floats = new Float32Array(halves.length);
  for (let i = 0; i < halves.length; i += 1) {
    const [sign, exponent, fraction] = [halves[i] >> 15 ? -1 : 1, (halves[i] >> 10) & 31, halves[i] & 1023];
    floats[i] = sign * (exponent === 0 ? fraction * 2 ** -24 : exponent === 31 ? (fraction ? NaN : Infinity) : (1 + fraction / 1024) * 2 ** (exponent - 15));
  }
  return floats;
}

function cutShort() {
  return new Error("the frames are cut short");
}
