/**
 * Data of the benchmark: a hash of the element's index, so that any library in any language makes the
 * same numbers, and a checksum that tells whether it computed the same results.
 *
 * @module
 */

/** Numbers in [0, 1) from a 32-bit hash of index and seed, in doubles. */
export function unitHash(n: number, seed: number): Float64Array {
  const offset = Math.imul(seed, 0x85ebca6b);
  return Float64Array.from({ length: n }, (_, i) => {
    let h = (Math.imul(i, 0x9e3779b1) + offset) | 0;
    h = Math.imul(h ^ (h >>> 16), 0x7feb352d);
    h = Math.imul(h ^ (h >>> 15), 0x846ca68b);
    return ((h ^ (h >>> 16)) >>> 0) / 4294967296;
  });
}

/** Number of elements of a shape. */
export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}

/** Uniform in [-scale, scale). */
export function uniform(
  shape: readonly number[],
  seed: number,
  scale = 1,
): Float32Array<ArrayBuffer> {
  return Float32Array.from(
    unitHash(sizeOf(shape), seed),
    (u) => (2 * u - 1) * scale,
  );
}

/** Uniform with variance 1, in the part of noise. */
export function noise(
  shape: readonly number[],
  seed: number,
): Float32Array<ArrayBuffer> {
  return uniform(shape, seed, Math.sqrt(3));
}

/** Uniform in [0, 1). */
export function unit(
  shape: readonly number[],
  seed: number,
): Float32Array<ArrayBuffer> {
  return Float32Array.from(unitHash(sizeOf(shape), seed));
}

/** Mean over tensors of the mean of `(0.5 + hash) · (a ≥ 0 ? a : -a/2)`. */
export function checksum(tensors: readonly Float32Array[]): number {
  let total = 0;
  for (const data of tensors) {
    const weights = unitHash(data.length, 7);
    let sum = 0;
    data.forEach((a, i) =>
      sum += (0.5 + weights[i]!) * (a >= 0 ? a : -0.5 * a)
    );
    total += sum / data.length;
  }
  return total / tensors.length;
}
