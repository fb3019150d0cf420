/**
 * Vectors that stand for images, with the classes of the images.
 *
 * @module
 */
import { requireThat } from "../tensor/kernel.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** A representation of images whose classes are known. */
export interface LabelledFeatures {
  /** One row per image, f32 `[N, dimensions]`. */
  features: Tensor;
  /** Class ids from 0, `[N]`. */
  labels: Int32Array<ArrayBuffer>;
}

/**
 * Number of classes of two sets of features.
 *
 * @throws {TypeError} If their dimensions differ, or rows and labels of one.
 * @throws {RangeError} If all training features are of one class.
 * @internal
 */
export function classesOf(
  name: string,
  train: LabelledFeatures,
  test: LabelledFeatures,
): number {
  for (const { features, labels } of [train, test]) {
    requireThat(
      features.rank === 2 && features.shape[0] === labels.length,
      name,
      "features must be [N, dimensions] with a label for each row",
      { features, labels: [labels.length] },
    );
  }
  requireThat(
    train.features.shape[1] === test.features.shape[1],
    name,
    "training and test features must have the same dimensions",
    { train: train.features, test: test.features },
  );
  if (new Set(train.labels).size < 2) {
    throw new RangeError(
      `Cannot apply ${name} as training features must be of at least 2 classes: all labels are ${
        train.labels[0]
      }`,
    );
  }
  return 1 + [...train.labels, ...test.labels].reduce((a, b) => Math.max(a, b));
}

/** Share of predictions that are right. @internal */
export function accuracyOf(
  predicted: ArrayLike<number>,
  labels: Int32Array,
): number {
  return labels.reduce((n, label, i) => n + Number(label === predicted[i]), 0) /
    labels.length;
}
