/**
 * Classification by the nearest neighbours among labelled features.
 *
 * @module
 */
import { sub } from "../kernels/binary.ts";
import { matmul } from "../kernels/matmul.ts";
import { mean, sum } from "../kernels/reduce.ts";
import { narrow } from "../kernels/shape.ts";
import { scale, square } from "../kernels/unary.ts";
import { scope } from "../tensor/context.ts";
import { accuracyOf, classesOf, type LabelledFeatures } from "./_labelled.ts";

/** Test features whose distances to all others are in memory at once. */
const BATCH = 256;

/**
 * Accuracy of the k-nearest-neighbour classifier: the class of most of the `k` training features at the
 * smallest Euclidean distance; of classes with equally many, that of the nearest. Distances are f32, of
 * features less their mean; among equal ones, the earlier counts as nearer.
 *
 * @param k Numbers of neighbours, each from 1 on.
 * @returns For each of `k`, the share of the test set, in [0, 1]; higher is better.
 * @throws {TypeError} If shapes do not fit.
 * @throws {RangeError} If all training features are of one class, or `k` is not from 1 to their number.
 */
export async function nearestNeighbors(
  train: LabelledFeatures,
  test: LabelledFeatures,
  k: readonly number[] = [1, 5],
): Promise<number[]> {
  const classes = classesOf("nearestNeighbors", train, test);
  const count = train.labels.length, most = Math.max(...k);
  if (!k.every((n) => Number.isInteger(n) && n >= 1 && n <= count)) {
    throw new RangeError(
      `Cannot apply nearestNeighbors as k must be whole and from 1 to ${count}: it is ${
        k.join(", ")
      }`,
    );
  }
  const predicted = k.map(() => new Int32Array(test.labels.length));
  await scope(async () => {
    const centre = mean(train.features, { axis: 0 });
    const to = sub(train.features, centre);
    const lengths = sum(square(to), { axis: 1 });
    for (let from = 0; from < test.labels.length; from += BATCH) {
      const n = Math.min(BATCH, test.labels.length - from);
      const distances = await scope(() => {
        const rows = sub(narrow(test.features, 0, from, from + n), centre);
        // |a - b|² less |a|², which does not change the order.
        const products = matmul(rows, to, { transposeB: true });
        return sub(lengths, scale(products, 2)).data();
      });
      for (let i = 0; i < n; i++) {
        const row = distances.subarray(i * count, (i + 1) * count);
        const near = smallest(row as Float32Array, most)
          .map((index) => train.labels[index]!);
        k.forEach((number, j) =>
          predicted[j]![from + i] = vote(near.slice(0, number), classes)
        );
      }
    }
  });
  return predicted.map((ids) => accuracyOf(ids, test.labels));
}

/** Indices of the smallest values, in ascending order of the values. */
function smallest(values: Float32Array, count: number): number[] {
  const found: number[] = [];
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (found.length === count && value >= values[found.at(-1)!]!) continue;
    let at = found.length;
    while (at > 0 && values[found[at - 1]!]! > value) at--;
    found.splice(at, 0, i);
    if (found.length > count) found.pop();
  }
  return found;
}

/** The most frequent label; of equals, the first to appear. */
function vote(labels: readonly number[], classes: number): number {
  const votes = new Int32Array(classes);
  for (const label of labels) votes[label]!++;
  return labels.reduce((best, label) =>
    votes[label]! > votes[best]! ? label : best
  );
}
