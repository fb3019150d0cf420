/**
 * Philox4x32-10 on the CPU (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"),
 * the same bits as `philox.wgsl` makes on the device.
 *
 * @module
 */

const ROUNDS = 10;
const MULTIPLIER_0 = 0xd2511f53;
const MULTIPLIER_1 = 0xcd9e8d57;
const WEYL_0 = 0x9e3779b9;
const WEYL_1 = 0xbb67ae85;

/** High 32 bits of the 64-bit product of two 32-bit words, by 16-bit halves. */
function mulHigh(a: number, b: number): number {
  const aLow = a & 0xffff,
    aHigh = a >>> 16,
    bLow = b & 0xffff,
    bHigh = b >>> 16;
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16); // below 2^48: exact in a double
  const carry = aLow * bHigh + (middle % 0x10000);
  return (aHigh * bHigh + Math.floor(middle / 0x10000) +
    Math.floor(carry / 0x10000)) >>> 0;
}

/** Four counter words and two key words in, four random words out (each a u32). */
export function philox4x32(
  counter: readonly [number, number, number, number],
  key: readonly [number, number],
): [number, number, number, number] {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < ROUNDS; round++) {
    const high0 = mulHigh(MULTIPLIER_0, c0), low0 = Math.imul(MULTIPLIER_0, c0);
    const high1 = mulHigh(MULTIPLIER_1, c2), low1 = Math.imul(MULTIPLIER_1, c2);
    c0 = (high1 ^ c1 ^ k0) >>> 0;
    c1 = low1 >>> 0;
    c2 = (high0 ^ c3 ^ k1) >>> 0;
    c3 = low0 >>> 0;
    k0 = (k0 + WEYL_0) >>> 0;
    k1 = (k1 + WEYL_1) >>> 0;
  }
  return [c0 >>> 0, c1 >>> 0, c2 >>> 0, c3 >>> 0];
}

/**
 * The first `count` words of a stream: element `i` is lane `i & 3` of the block with counter
 * `(i >> 2, 0, call, 0)`.
 */
export function philoxWords(
  count: number,
  key: readonly [number, number],
  call = 0,
): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(count);
  for (let i = 0; i < count; i += 4) {
    const block = philox4x32([i >>> 2, 0, call, 0], key);
    for (let lane = 0; lane < 4 && i + lane < count; lane++) {
      words[i + lane] = block[lane]!;
    }
  }
  return words;
}

/** A word as a float in [0, 1): its top 24 bits over 2^24, exact in f32. */
export function toUnit(word: number): number {
  return (word >>> 8) / 0x1000000;
}

/** `0 … count-1` in random order: Fisher-Yates, one word per swap. */
export function permutation(
  count: number,
  key: readonly [number, number],
  call = 0,
): Uint32Array<ArrayBuffer> {
  const words = philoxWords(count, key, call);
  const order = Uint32Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    // floor(word · (i + 1) / 2^32): the bias is below (i + 1) / 2^32.
    const j = Math.floor(words[i]! * (i + 1) / 0x100000000);
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}
