/**
 * A sum and a product in one pass.
 *
 * @module
 */
import { apply, type Op } from "../tensor/autograd.ts";
import { Kernel, like, requireThat } from "../tensor/kernel.ts";
import type { Tensor } from "../tensor/tensor.ts";
import fours from "./_fours.wgsl" with { type: "text" };
import source from "./addcmul.wgsl" with { type: "text" };
import { mul } from "./binary.ts";
import { scale } from "./unary.ts";

const kernel = new Kernel("addcmul", fours, source);

const addcmulOp: Op<[x: Tensor, a: Tensor, b: Tensor], { factor: number }> = {
  name: "addcmul",
  forward: ([x, a, b], { factor }) =>
    kernel.run("forward", { n: x.size, factor }, { x, a, b, out: like(x) }, {
      workgroups: ({ n }) => Math.ceil(Number(n) / 1024),
      splitBy: "n",
      split: ["x", "a", "b", "out"],
    }),
  backward: (dy, [, a, b], { factor }, { needs }) => [
    dy,
    needs[1] ? scale(mul(dy, b), factor) : null,
    needs[2] ? scale(mul(dy, a), factor) : null,
  ],
};

/**
 * `x + factor · a · b`, elementwise, in one pass over memory; as `torch.addcmul`, but of equal shapes.
 *
 * @param factor Defaults to 1.
 * @throws {TypeError} If shapes differ, or elements are not f32.
 */
export function addcmul(x: Tensor, a: Tensor, b: Tensor, factor = 1): Tensor {
  requireThat(
    [a, b].every(({ shape }) => shape.join() === x.shape.join()) &&
      [x, a, b].every(({ dtype }) => dtype === "f32"),
    "addcmul",
    "all must be f32 of one shape",
    { x: String(x), a: String(a), b: String(b) },
  );
  return apply(addcmulOp, [x, a, b], { factor });
}
