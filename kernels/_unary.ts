/**
 * Runs the elementwise kernel, for the functions of one tensor and for what ends in one of them.
 *
 * @module
 */
import { apply, type Op } from "../tensor/autograd.ts";
import { Kernel, like, type Params } from "../tensor/kernel.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Live } from "../tensor/trace.ts";
import { CURVATURES } from "./_curvature.ts";
import activation from "./_activation.wgsl" with { type: "text" };
import fours from "./_fours.wgsl" with { type: "text" };
import { mul } from "./binary.ts";
import source from "./unary.wgsl" with { type: "text" };

const kernel = new Kernel("unary", fours, activation, source);

/** What a function takes besides x: two numbers. */
export interface UnaryAttrs {
  readonly a: number | Live;
  readonly b: number | Live;
}

/**
 * `f(x)` by `forward`, or `dy · f′(x)` by `backward`.
 *
 * @param kind A code of `unary.wgsl`.
 */
export function runUnary(
  entry: "forward" | "backward",
  kind: string,
  { a, b }: UnaryAttrs,
  tensors: { x: Tensor; dy?: Tensor },
): Tensor {
  const out = like(tensors.x);
  return kernel.run(entry, { n: out.size, a, b }, { ...tensors, out }, {
    constants: { KIND: kernel.code(kind) },
    workgroups: ({ n }: Params) => Math.ceil(Number(n) / 1024),
    splitBy: "n",
    split: ["x", "dy", "out"],
  });
}

/** The function `(x, dy) => dy · f′(x)`, with gradients, for one public name and kind. */
export function slopeOf(
  name: string,
  kind: string,
): (x: Tensor, dy: Tensor, attrs: UnaryAttrs) => Tensor {
  const op: Op<[x: Tensor, dy: Tensor], UnaryAttrs> = {
    name: `the gradient of ${name}`,
    forward: ([x, dy], attrs) => runUnary("backward", kind, attrs, { x, dy }),
    backward(g, [x, dy], attrs, { needs }) {
      const curved = CURVATURES[kind];
      // What changes from step to step is the factor of `scale` alone, which is straight.
      const a = Number(attrs.a), b = Number(attrs.b);
      return [
        needs[0] && curved ? curved(mul(g, dy), x, a, b) : null,
        needs[1] ? slope(x, g, attrs) : null,
      ];
    },
  };
  const slope = (x: Tensor, dy: Tensor, attrs: UnaryAttrs) =>
    apply(op, [x, dy], attrs);
  return slope;
}
