/**
 * How often each class is drawn, and whether a classifier agrees with what was asked for.
 *
 * @module
 */
import { elementsOf, type Points } from "../tensor/points.ts";
import { probabilitiesOf, type ScoreOptions } from "./_probabilities.ts";

/** How labels are spread over the classes. */
export interface ClassHistogram {
  /** Labels of each class. */
  counts: Int32Array<ArrayBuffer>;
  /** Shares of each class, which sum to 1. */
  frequencies: Float64Array<ArrayBuffer>;
  /** `-Σ p ln p` in nats: 0 if all labels are equal, ln(classes) if they are spread evenly. */
  entropy: number;
  /** Distance from the reference, `½ Σ |p - q|`: 0 if equal, 1 if they share no class; lower is better. */
  totalVariation: number;
  /** Divergence from the reference, `Σ p ln(p / q)` in nats: infinite if it lacks a class that is there. */
  kl: number;
}

/**
 * Counts labels, and compares their shares with those of a reference.
 *
 * @param labels Class ids, at least one.
 * @param numClasses Ids are below it.
 * @param reference Counts or shares of the classes, in proportion; defaults to equal ones.
 * @throws {TypeError} If the reference is not of `numClasses` classes.
 * @throws {RangeError} If there are no labels, one is not whole and from 0 to `numClasses - 1`, or the
 * reference has a negative share, one that is not finite, or none above 0.
 */
export function classHistogram(
  labels: ArrayLike<number>,
  numClasses: number,
  reference: ArrayLike<number> = new Float64Array(numClasses).fill(1),
): ClassHistogram {
  if (reference.length !== numClasses) {
    throw new TypeError(
      `Cannot count classes as the reference must have as many: it has ${reference.length}, numClasses is ${numClasses}`,
    );
  }
  if (labels.length === 0) {
    throw new RangeError(
      "Cannot count classes as there must be labels: none is",
    );
  }
  const expected = Float64Array.from(reference);
  const total = expected.reduce((sum, share) => sum + share, 0);
  if (
    !expected.every((share) => share >= 0) || !(total > 0 && total < Infinity)
  ) {
    throw new RangeError(
      `Cannot count classes as shares of the reference must be finite, not negative and not all 0: they are ${
        expected.join(", ")
      }`,
    );
  }
  const counts = new Int32Array(numClasses);
  for (let i = 0; i < labels.length; i++) {
    const label = labels[i]!;
    if (!(label in counts)) {
      throw new RangeError(
        `Cannot count classes as labels must be whole and from 0 to ${
          numClasses - 1
        }: label ${i} is ${label}`,
      );
    }
    counts[label]!++;
  }
  const frequencies = Float64Array.from(counts, (n) => n / labels.length);
  let entropy = 0, totalVariation = 0, kl = 0;
  frequencies.forEach((p, k) => {
    const q = expected[k]! / total;
    totalVariation += Math.abs(p - q) / 2;
    if (p === 0) return; // 0 ln 0 = 0
    entropy -= p * Math.log(p);
    kl += p * Math.log(p / q);
  });
  return { counts, frequencies, entropy, totalVariation, kl };
}

/**
 * The class with the highest score in each row, the first of equals.
 *
 * @param scores `[N, classes]`, logits or probabilities.
 * @returns Class ids, `[N]`.
 * @throws {TypeError} If the shape is not `[N, classes]`.
 * @throws {RangeError} If a score is not finite.
 */
export function predictedClasses(scores: Points): Int32Array<ArrayBuffer> {
  const values = elementsOf(scores, "find the classes");
  const [rows, classes] = scores.shape as [number, number];
  return Int32Array.from({ length: rows }, (_, i) => {
    let best = 0;
    for (let k = 1; k < classes; k++) {
      if (values[i * classes + k]! > values[i * classes + best]!) best = k;
    }
    return best;
  });
}

/**
 * Mean of the largest probability in each row: how sure a classifier is, from 1 / classes to 1.
 *
 * @param scores `[N, classes]`, logits or probabilities.
 * @throws {TypeError} If the shape is not `[N, classes]`.
 * @throws {RangeError} If there are no rows, a number is not finite, or rows that are said to be
 * probabilities are not.
 */
export function confidence(scores: Points, options: ScoreOptions = {}): number {
  const p = probabilitiesOf(scores, options, "compute the confidence");
  const [rows, classes] = scores.shape as [number, number];
  let sum = 0;
  for (let i = 0; i < rows; i++) {
    const row = p.subarray(i * classes, (i + 1) * classes);
    sum += row.reduce((a, b) => Math.max(a, b));
  }
  return sum / rows;
}

/**
 * Share of images that a classifier takes for the class that was asked for, in [0, 1]; higher is better.
 *
 * @param predicted Class ids that the classifier found, `[N]`.
 * @param labels Class ids that were asked for, `[N]`.
 * @throws {TypeError} If the numbers of ids differ.
 * @throws {RangeError} If there are none.
 */
export function labelAccuracy(
  predicted: ArrayLike<number>,
  labels: ArrayLike<number>,
): number {
  if (predicted.length !== labels.length) {
    throw new TypeError(
      `Cannot compare labels as there must be equally many: ${predicted.length} are predicted, ${labels.length} asked for`,
    );
  }
  if (labels.length === 0) {
    throw new RangeError(
      "Cannot compare labels as there must be some: none is",
    );
  }
  let right = 0;
  for (let i = 0; i < labels.length; i++) {
    if (predicted[i] === labels[i]) right++;
  }
  return right / labels.length;
}
