/**
 * Layer normalisation.
 *
 * @module
 */
import { requireThat } from "../tensor/kernel.ts";
import { span } from "../tensor/shape.ts";
import { sizeOf, type Tensor } from "../tensor/tensor.ts";
import {
  type Layout,
  normalization,
  requireAffine,
  statisticsOf,
} from "./_normalize.ts";

const normalize = normalization("layerNorm");

/**
 * `(x - mean) / √(var + eps) · weight + bias`, with mean and variance (of n) over the trailing axes.
 * Ba et al. 2016 (arXiv:1607.06450), eq. 4.
 *
 * @param x Shape `[..., ...normalizedShape]`.
 * @param normalizedShape Lengths of the trailing axes; a number stands for the last alone.
 * @param weight Shape `normalizedShape`; defaults to ones.
 * @param bias Shape `normalizedShape`; defaults to zeros.
 * @param eps In units of x², defaults to 1e-5.
 * @returns Same shape as `x`.
 * @throws {TypeError} If a shape does not fit.
 */
export function layerNorm(
  x: Tensor,
  normalizedShape: number | readonly number[],
  weight?: Tensor,
  bias?: Tensor,
  eps = 1e-5,
): Tensor {
  const shape = typeof normalizedShape === "number"
    ? [normalizedShape]
    : normalizedShape;
  const leading = x.rank - shape.length;
  requireThat(
    shape.length > 0 && leading >= 0 &&
      shape.every((length, i) => length === x.shape[leading + i]),
    "layerNorm",
    "the normalized shape must be that of the last axes",
    { x, normalizedShape: shape },
  );
  requireAffine("layerNorm", x, shape, { weight, bias });
  const rows = span(x.shape, 0, leading), cols = sizeOf(shape);
  const layout: Layout = {
    rows,
    cols,
    sets: rows,
    setRows: 1,
    channels: cols,
    byColumn: true,
  };
  return normalize(x, weight, bias, {
    layout,
    eps,
    statistics: (x) => statisticsOf(x, layout),
  });
}
