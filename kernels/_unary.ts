/**
 * Runs the elementwise kernel, for the functions of one tensor and for what ends in one of them.
 *
 * @module
 */
import { Kernel, like, type Params } from "../tensor/kernel.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Live } from "../tensor/trace.ts";
import activation from "./_activation.wgsl" with { type: "text" };
import fours from "./_fours.wgsl" with { type: "text" };
import source from "./unary.wgsl" with { type: "text" };

const kernel = new Kernel("unary", fours, activation, source);

/**
 * `f(x)` by `forward`, or `dy · f′(x)` by `backward`.
 *
 * @param kind A code of `unary.wgsl`; `a` and `b` are its further numbers.
 */
export function runUnary(
  entry: "forward" | "backward",
  kind: string,
  a: number | Live,
  b: number | Live,
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
