/**
 * Weighted sums in one pass.
 *
 * @module
 */
import { apply, type Op } from "../tensor/autograd.ts";
import { Kernel, like, requireThat } from "../tensor/kernel.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Live } from "../tensor/trace.ts";
import fours from "./_fours.wgsl" with { type: "text" };
import source from "./linear_combination.wgsl" with { type: "text" };
import { scale } from "./unary.ts";

const kernel = new Kernel("linear_combination", fours, source);
/** By the number of terms. */
const ENTRIES = ["", "", "of_two", "of_three", "of_four"];

type Factor = number | Live;

const linearCombinationOp: Op<readonly Tensor[], readonly Factor[]> = {
  name: "linearCombination",
  forward(tensors, [a = 0, b = 0, c = 0, d = 0]) {
    const out = like(tensors[0]!);
    const named = tensors.map((tensor, i) => ["xyzw"[i]!, tensor] as const);
    return kernel.run(
      ENTRIES[tensors.length]!,
      { n: out.size, a, b, c, d },
      { ...Object.fromEntries(named), out },
      {
        workgroups: ({ n }) => Math.ceil(Number(n) / 1024),
        splitBy: "n",
        split: [..."xyzw", "out"],
      },
    );
  },
  backward: (dy, _, factors, { needs }) =>
    factors.map((factor, i) => needs[i] ? scale(dy, factor) : null),
};

/**
 * `Σ factor · tensor`, in one pass over memory. A factor may be one that changes from step to step.
 *
 * @param terms One to four, the tensors f32 of one shape.
 * @throws {TypeError} If there are none or more than four terms, shapes differ, or elements are not f32.
 */
export function linearCombination(
  terms: readonly (readonly [factor: number | Live, tensor: Tensor])[],
): Tensor {
  const tensors = terms.map(([, tensor]) => tensor);
  requireThat(
    terms.length >= 1 && terms.length <= 4 &&
      tensors.every(({ dtype, shape }) =>
        dtype === "f32" && shape.join() === tensors[0]!.shape.join()
      ),
    "linearCombination",
    "there must be one to four terms, f32 of one shape",
    { tensors: tensors.map(String).join(", ") },
  );
  if (terms.length === 1) return scale(tensors[0]!, terms[0]![0]);
  return apply(linearCombinationOp, tensors, terms.map(([factor]) => factor));
}
