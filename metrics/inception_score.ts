/**
 * Inception score: whether a classifier is sure of each image and finds all classes.
 *
 * @module
 */
import { permutation } from "../tensor/philox.ts";
import type { Points } from "../tensor/points.ts";
import { probabilitiesOf, type ScoreOptions } from "./_probabilities.ts";

/** How images are split. */
export interface InceptionScoreOptions extends ScoreOptions {
  /** Parts that each give a score; defaults to 10. */
  splits?: number;
  /** Shuffles the images by this seed before; by default they are split in the order they have. */
  seed?: number;
}

/**
 * Inception score (Salimans et al. 2016, arXiv:1606.03498), `exp(mean_x KL(p(y|x) ‖ p(y)))` with p(y) the
 * mean of p(y|x), of each of several splits. From 1, for classifiers that find nothing, to the number of
 * classes; higher is better. Says nothing of real images, and is lower for few images: compare only
 * those of equal numbers and splits. In float64.
 *
 * @param scores `[N, classes]`, logits or probabilities of a classifier.
 * @returns Mean and standard deviation, population form, over the splits.
 * @throws {TypeError} If the shape is not `[N, classes]`.
 * @throws {RangeError} If `splits` is not whole and from 1 to N, a number is not finite, or rows that are
 * said to be probabilities are not.
 */
export function inceptionScore(
  scores: Points,
  options: InceptionScoreOptions = {},
): { mean: number; std: number } {
  const { splits = 10, seed } = options;
  const action = "compute the Inception score";
  const p = probabilitiesOf(scores, options, action);
  const [rows, classes] = scores.shape as [number, number];
  if (!Number.isInteger(splits) || splits < 1 || splits > rows) {
    throw new RangeError(
      `Cannot ${action} as splits must be whole and from 1 to the ${rows} images: it is ${splits}`,
    );
  }
  const order = seed === undefined
    ? Uint32Array.from({ length: rows }, (_, i) => i)
    : permutation(rows, [seed, 0]);
  const values = Array.from({ length: splits }, (_, s) => {
    const end = Math.floor((s + 1) * rows / splits);
    return scoreOf(
      p,
      order.subarray(Math.floor(s * rows / splits), end),
      classes,
    );
  });
  const mean = values.reduce((a, b) => a + b) / splits;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { mean, std: Math.sqrt(squares / splits) };
}

function scoreOf(p: Float64Array, rows: Uint32Array, classes: number): number {
  const marginal = new Float64Array(classes);
  for (const row of rows) {
    for (let k = 0; k < classes; k++) marginal[k]! += p[row * classes + k]!;
  }
  let divergence = 0;
  for (const row of rows) {
    for (let k = 0; k < classes; k++) {
      const one = p[row * classes + k]!;
      // 0 ln 0 = 0
      if (one > 0) {
        divergence += one * Math.log(one * rows.length / marginal[k]!);
      }
    }
  }
  return Math.exp(divergence / rows.length);
}
