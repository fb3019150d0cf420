/**
 * Clipping of gradients by their norm.
 *
 * @module
 */
import {
  globalNorm,
  limitNorm,
  limitNormInPlace,
} from "../kernels/global_norm.ts";
import { requireThat } from "../tensor/kernel.ts";
import type { Tensor } from "../tensor/tensor.ts";

function requireMaxNorm(name: string, maxNorm: number): void {
  if (!(maxNorm >= 0)) {
    throw new RangeError(
      `Cannot apply ${name} as maxNorm must not be negative: it is ${maxNorm}`,
    );
  }
}

/**
 * Scales gradients by `min(1, maxNorm / (norm + eps))`, where norm is the Euclidean norm of all their
 * elements together (Pascanu et al. 2013, arXiv:1211.5063, algorithm 1). Everything stays on the
 * device. The given tensors are left as they are.
 *
 * @param maxNorm Not negative; `Infinity` measures the norm only and returns the same gradients.
 * @param eps Defaults to 1e-6.
 * @returns The scaled gradients in their order, and the norm before, `[]`.
 * @throws {RangeError} If `maxNorm` is negative.
 */
export function clipGradNorm(
  gradients: readonly Tensor[],
  maxNorm: number,
  eps = 1e-6,
): { gradients: Tensor[]; norm: Tensor } {
  requireMaxNorm("clipGradNorm", maxNorm);
  const norm = globalNorm(gradients);
  if (maxNorm === Infinity) return { gradients: [...gradients], norm };
  return {
    gradients: gradients.map((x) => limitNorm(x, { norm, maxNorm, eps })),
    norm,
  };
}

/**
 * `clipGradNorm` of the `.grad` of parameters, in place, as `torch.nn.utils.clip_grad_norm_`. Those
 * without a gradient are skipped.
 *
 * @returns The norm before, `[]`.
 * @throws {RangeError} If `maxNorm` is negative.
 * @throws {TypeError} If the same gradient comes twice: it would be scaled twice.
 */
export function clipGradNormInPlace(
  parameters: readonly Tensor[],
  maxNorm: number,
  eps = 1e-6,
): Tensor {
  requireMaxNorm("clipGradNormInPlace", maxNorm);
  const gradients = parameters.flatMap(({ grad }) => grad ? [grad] : []);
  requireThat(
    new Set(gradients).size === gradients.length,
    "clipGradNormInPlace",
    "parameters must differ",
    { parameters: gradients.join(", ") },
  );
  const norm = globalNorm(gradients);
  if (maxNorm === Infinity) return norm;
  for (const gradient of gradients) {
    limitNormInPlace(gradient, { norm, maxNorm, eps });
  }
  return norm;
}
