/**
 * The affine map of a fully connected layer.
 *
 * @module
 */
import { apply, type Op } from "../tensor/autograd.ts";
import { requireThat } from "../tensor/kernel.ts";
import { sizeOf, type Tensor } from "../tensor/tensor.ts";
import { keepsHalves } from "./autocast.ts";
import { matmul, product } from "./matmul.ts";
import { sum } from "./reduce.ts";
import { reshape } from "./shape.ts";

const linearOp: Op<readonly Tensor[], null> = {
  name: "linear",
  forward: ([x, weight, bias]) =>
    product(x!, weight!, { transposeB: true }, bias),
  backward: (dy, [x, weight], _, { needs }) => [
    needs[0] ? matmul(dy, weight!) : null,
    needs[1] ? matmul(dy, x!, { transposeA: true }) : null,
    needs[2] ? sum(dy, { axis: 0 }) : null,
  ],
  flops: ([x, weight]) => 2 * x!.size * weight!.shape[0]!,
};

/**
 * `y = x Wᵀ + b` on the last axis, as `torch.nn.functional.linear`.
 *
 * @param x Shape `[..., in]`.
 * @param weight Shape `[out, in]`.
 * @param bias Shape `[out]`; may be left out.
 * @returns Shape `[..., out]`.
 * @throws {TypeError} If the shapes do not fit.
 */
export function linear(x: Tensor, weight: Tensor, bias?: Tensor): Tensor {
  const found = { x, weight, ...(bias ? { bias } : {}) };
  requireThat(
    Object.values(found).every((tensor) => tensor.dtype === "f32"),
    "linear",
    "elements must be f32",
    found,
  );
  requireThat(
    weight.rank === 2,
    "linear",
    "the weight must be [out, in]",
    found,
  );
  const [outFeatures, inFeatures] = weight.shape as [number, number];
  requireThat(
    x.shape.at(-1) === inFeatures,
    "linear",
    `the last axis of x must have length ${inFeatures}`,
    found,
  );
  requireThat(
    !bias || (bias.rank === 1 && bias.size === outFeatures),
    "linear",
    `the bias must be [${outFeatures}]`,
    found,
  );
  const leading = x.shape.slice(0, -1);
  const rows = reshape(x, [sizeOf(leading), inFeatures]);
  const y = apply(
    keepsHalves(linearOp),
    bias ? [rows, weight, bias] : [rows, weight],
    null,
  );
  return reshape(y, [...leading, outFeatures]);
}
