/**
 * Random omission of elements.
 *
 * @module
 */
import { apply, type Op } from "../tensor/autograd.ts";
import { Kernel, like, requireThat } from "../tensor/kernel.ts";
import type { Rng } from "../tensor/rng.ts";
import type { Tensor } from "../tensor/tensor.ts";
import philoxSource from "../tensor/philox.wgsl" with { type: "text" };
import source from "./dropout.wgsl" with { type: "text" };

const kernel = new Kernel("dropout", philoxSource, source);

/** Where the random numbers of one mask stand, and the share that is omitted. */
type Draw = ReturnType<Rng["next"]> & { p: number };

function mask(x: Tensor, draw: Draw): Tensor {
  const scale = draw.p < 1 ? 1 / (1 - draw.p) : 0;
  const params = { n: x.size, first: 0, scale, ...draw };
  return kernel.run("mask", params, { x, out: like(x) }, {
    workgroups: ({ n }) => Math.ceil(Number(n) / 256),
    splitBy: "n",
    split: ["x", "out"],
  });
}

const dropoutOp: Op<[x: Tensor], Draw> = {
  name: "dropout",
  forward: ([x], draw) => mask(x, draw),
  backward: (dy, _, draw) => [apply(dropoutOp, [dy], draw)],
};

/**
 * Sets each element to 0 with probability p and multiplies the others by `1 / (1 - p)`, so that the
 * mean stays (Srivastava et al. 2014).
 *
 * @param options `p`: 0 to 1. `rng`: takes one draw. `training`: defaults to true; false returns `x`,
 *   and so does `p` = 0.
 * @throws {RangeError} If `p` is out of range.
 */
export function dropout(
  x: Tensor,
  options: { p: number; rng: Rng; training?: boolean },
): Tensor {
  const { p, rng, training = true } = options;
  if (!(p >= 0 && p <= 1)) {
    throw new RangeError(
      `Cannot apply dropout as p must lie in 0 … 1: it is ${p}`,
    );
  }
  requireThat(x.dtype === "f32", "dropout", "elements must be f32", { x });
  if (!training || p === 0) return x;
  return apply(dropoutOp, [x], { p, ...rng.next() });
}
