/** Weights that are the same in each run on each machine. */

/** Numbers from 0 to 1, the same ones for the same seed (the mulberry32 generator). */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const single = new Float32Array(1);
const bits = new Uint32Array(single.buffer);

/** A number's half-precision bits. Rounds towards zero; what is too small for a normal half becomes zero. */
export function toHalf(value: number): number {
  single[0] = value;
  const all = bits[0]!;
  const sign = (all >>> 16) & 0x8000;
  const exponent = ((all >>> 23) & 0xff) - 112;
  if (exponent <= 0) return sign;
  if (exponent >= 31) return sign | 0x7c00;
  return sign | (exponent << 10) | ((all >>> 13) & 0x3ff);
}

/** Half-precision numbers, even between -limit and limit. */
export function randomHalves(count: number, limit: number, seed: number): Uint16Array {
  const random = randomNumbers(seed);
  return Uint16Array.from({ length: count }, () => toHalf((2 * random() - 1) * limit));
}

export const bytesOf = ({ buffer, byteOffset, byteLength }: Uint16Array | Float32Array): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);
