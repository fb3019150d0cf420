/**
 * Group normalisation.
 *
 * @module
 */
import { requireThat } from "../tensor/kernel.ts";
import { span } from "../tensor/shape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import {
  type Layout,
  normalization,
  requireAffine,
  statisticsOf,
} from "./_normalize.ts";

const plain = normalization("groupNorm");
const activated = normalization("groupNormSilu", true);

function along(
  name: string,
  normalize: ReturnType<typeof normalization>,
  x: Tensor,
  numGroups: number,
  weight: Tensor | undefined,
  bias: Tensor | undefined,
  eps: number,
): Tensor {
  requireThat(x.rank >= 2, name, "x must be [N, C, ...]", { x });
  const [n, c] = x.shape as [number, number];
  requireThat(
    Number.isInteger(numGroups) && numGroups > 0 && c % numGroups === 0,
    name,
    "the number of groups must divide the channels",
    { x, numGroups },
  );
  requireAffine(name, x, [c], { weight, bias });
  const layout: Layout = {
    rows: n * c,
    cols: span(x.shape, 2),
    sets: n * numGroups,
    setRows: c / numGroups,
    channels: c,
    byColumn: false,
  };
  return normalize(x, weight, bias, {
    layout,
    eps,
    statistics: (x) => statisticsOf(x, layout),
  });
}

/**
 * `(x - mean) / √(var + eps) · weight + bias`, with mean and variance (of n) over the pixels of each
 * group of channels of a sample. Wu & He 2018 (arXiv:1803.08494), eq. 2 to 4.
 *
 * @param x Shape `[N, C, ...]`.
 * @param numGroups A divisor of C; 1 is layer norm over all but N, C is instance norm.
 * @param weight Shape `[C]`; defaults to ones.
 * @param bias Shape `[C]`; defaults to zeros.
 * @param eps In units of x², defaults to 1e-5.
 * @returns Same shape as `x`.
 * @throws {TypeError} If `numGroups` does not divide C, or a shape does not fit.
 */
export function groupNorm(
  x: Tensor,
  numGroups: number,
  weight?: Tensor,
  bias?: Tensor,
  eps = 1e-5,
): Tensor {
  return along("groupNorm", plain, x, numGroups, weight, bias, eps);
}

/**
 * `silu(groupNorm(x, …))` without what lies between: neither the normalised image nor its
 * activation's derivative is kept, the gradient computes them from `x` again. Arguments, result and
 * errors are those of `groupNorm`.
 */
export function groupNormSilu(
  x: Tensor,
  numGroups: number,
  weight?: Tensor,
  bias?: Tensor,
  eps = 1e-5,
): Tensor {
  return along("groupNormSilu", activated, x, numGroups, weight, bias, eps);
}
