/**
 * Clipping of gradients by their norm.
 *
 * @module
 */
import { mul } from "../kernels/binary.ts";
import { limitInPlace, normAndScale } from "../kernels/global_norm.ts";
import { noGrad } from "../tensor/context.ts";
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
 * By how much to scale gradients so that their norm does not exceed `maxNorm`: for `Optimizer.step`,
 * which then multiplies by it on the way, and no gradient is rewritten. Everything stays on the device.
 *
 * @param maxNorm Not negative; `Infinity` measures the norm only, and scales by 1.
 * @param eps Defaults to 1e-6.
 * @returns `scale`: `min(1, maxNorm / (norm + eps))`. `norm`: the Euclidean norm of all elements
 *   together (Pascanu et al. 2013, arXiv:1211.5063, algorithm 1). Both `[]`.
 * @throws {RangeError} If `maxNorm` is negative.
 */
export function clipScale(
  gradients: readonly Tensor[],
  maxNorm: number,
  eps = 1e-6,
): { scale: Tensor; norm: Tensor } {
  requireMaxNorm("clipScale", maxNorm);
  return normAndScale(gradients, maxNorm, eps);
}

/**
 * Scales gradients as `clipScale` says. The given tensors are left as they are.
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
  const { norm, scale } = normAndScale(gradients, maxNorm, eps);
  const limited = maxNorm === Infinity
    ? [...gradients]
    : noGrad(() => gradients.map((x) => mul(x, scale)));
  scale.dispose();
  return { gradients: limited, norm };
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
  const { norm, scale } = normAndScale(gradients, maxNorm, eps);
  if (maxNorm < Infinity) {
    for (const gradient of gradients) limitInPlace(gradient, scale);
  }
  scale.dispose();
  return norm;
}
