// @ts-check
// How large a PNG is on paper: a chunk of its file says how many pixels a metre has.

const [HEADER, CHUNK] = [33, 21]; // bytes: the signature with the first chunk, and the one that is added

/** @param {Uint8Array} png @param {number} perInch pixels @returns {Uint8Array<ArrayBuffer>} */
export function withDensity(png, perInch) {
  const chunk = new Uint8Array(CHUNK);
  const view = new DataView(chunk.buffer);
  const perMetre = Math.round(perInch / 0.0254);
  view.setUint32(0, 9);
  chunk.set([0x70, 0x48, 0x59, 0x73], 4); // pHYs
  view.setUint32(8, perMetre);
  view.setUint32(12, perMetre);
  chunk[16] = 1; // the unit is the metre
  view.setUint32(17, crc(chunk.subarray(4, 17)));
  const whole = new Uint8Array(png.length + CHUNK);
  whole.set(png.subarray(0, HEADER));
  whole.set(chunk, HEADER);
  whole.set(png.subarray(HEADER), HEADER + CHUNK);
  return whole;
}

/** The checksum of a chunk. Source: PNG specification, third edition, annex D. @param {Uint8Array} bytes */
function crc(bytes) {
  let sum = 0xffffffff;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit += 1) sum = sum & 1 ? (sum >>> 1) ^ 0xedb88320 : sum >>> 1;
  }
  return (sum ^ 0xffffffff) >>> 0;
}
