/**
 * What losses and likelihoods of batches share.
 *
 * @module
 */
import { mean } from "../kernels/reduce.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** Mean over all axes but the first: `[N]`. */
export function meanPerExample(x: Tensor): Tensor {
  const axis = x.shape.map((_, axis) => axis).slice(1);
  return axis.length === 0 ? x : mean(x, { axis });
}
