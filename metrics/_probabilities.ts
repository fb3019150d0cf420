/**
 * Probabilities of classes, from what a classifier gives.
 *
 * @module
 */
import { elementsOf, type Points } from "../tensor/points.ts";

/** What the rows of a classifier's scores are. */
export interface ScoreOptions {
  /** Whether rows are probabilities, which sum to 1, instead of logits; defaults to false. */
  probabilities?: boolean;
}

/** How far from 1 the sum of probabilities may be: what f32 and rounded numbers in a file leave. */
const SUM_TOLERANCE = 1e-3;

/**
 * Probabilities in float64: a softmax of logits, or the given ones as they are.
 *
 * @param scores `[N, classes]`.
 * @param action What is attempted, after "Cannot".
 * @throws {TypeError} If the shape is not `[N, classes]`.
 * @throws {RangeError} If there are no rows, a number is not finite, or rows that are said to be
 * probabilities are not.
 */
export function probabilitiesOf(
  scores: Points,
  { probabilities = false }: ScoreOptions,
  action: string,
): Float64Array<ArrayBuffer> {
  const values = elementsOf(scores, action);
  const [rows, classes] = scores.shape as [number, number];
  if (rows === 0) {
    throw new RangeError(`Cannot ${action} as there must be some: none is`);
  }
  for (let i = 0; i < rows; i++) {
    const row = values.subarray(i * classes, (i + 1) * classes);
    if (!probabilities) softmax(row);
    else if (
      !(Math.abs(row.reduce((a, b) => a + b) - 1) <= SUM_TOLERANCE) ||
      row.some((p) => p < 0)
    ) {
      throw new RangeError(
        `Cannot ${action} as probabilities must not be negative and sum to 1: those of row ${i} sum to ${
          row.reduce((a, b) => a + b)
        }, the least is ${row.reduce((a, b) => Math.min(a, b))}`,
      );
    }
  }
  return values;
}

function softmax(row: Float64Array): void {
  const most = row.reduce((a, b) => Math.max(a, b)); // keeps exponentials in range
  let sum = 0;
  for (let k = 0; k < row.length; k++) sum += row[k] = Math.exp(row[k]! - most);
  for (let k = 0; k < row.length; k++) row[k]! /= sum;
}
