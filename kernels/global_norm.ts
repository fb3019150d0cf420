/**
 * The norm of many tensors together, and scaling them down to a given one. Nothing is read back, and
 * a tensor costs one dispatch for its share of the norm and one to be scaled. No gradients.
 *
 * @module
 */
import { noGrad, scope } from "../tensor/context.ts";
import {
  ceilDiv,
  empties,
  Kernel,
  like,
  type Params,
  requireThat,
} from "../tensor/kernel.ts";
import type { Tensor } from "../tensor/tensor.ts";
import source from "./global_norm.wgsl" with { type: "text" };
import { sum } from "./reduce.ts";
import { sqrt } from "./unary.ts";

const kernel = new Kernel("global_norm", source);
/** Elements that a lane sums: few sums remain, and a large tensor keeps the device busy. */
const SHARE = 64;
const MOST_LANES = 4096;

/**
 * `√ΣΣx²` over all elements of all tensors, as one number `[]`; 0 for an empty list.
 *
 * @throws {TypeError} If a tensor is not f32.
 */
export function globalNorm(tensors: readonly Tensor[]): Tensor {
  for (const x of tensors) {
    requireThat(x.dtype === "f32", "globalNorm", "elements must be f32", { x });
  }
  const lanes = tensors.map((x) =>
    Math.max(1, Math.min(MOST_LANES, ceilDiv(x.size, SHARE)))
  );
  return scope(() =>
    noGrad(() => {
      const parts = empties([lanes.reduce((a, b) => a + b, 0)]);
      let at = 0;
      tensors.forEach((x, i) => {
        const params = {
          n: x.size,
          first: 0,
          lanes: lanes[i]!,
          at,
          max_norm: 0,
          eps: 0,
        };
        kernel.run("sum_squares", params, { x, parts }, {
          workgroups: ({ lanes }) => ceilDiv(Number(lanes), 64),
          splitBy: "n",
          split: ["x"],
        });
        at += lanes[i]!;
      });
      return sqrt(sum(parts));
    })
  );
}

/** How far tensors of some norm are scaled down. */
export interface NormLimit {
  /** Norm before, `[]`. */
  norm: Tensor;
  /** Norm that is not exceeded after. */
  maxNorm: number;
  /** Added to the norm, so that it may be 0. */
  eps: number;
}

const byFours = {
  workgroups: ({ n }: Params) => ceilDiv(Number(n), 256),
  splitBy: "n",
};

function paramsOf(x: Tensor, { maxNorm, eps }: NormLimit): Params {
  return { n: x.size, first: 0, lanes: 0, at: 0, max_norm: maxNorm, eps };
}

/** `x · min(1, maxNorm / (norm + eps))`. */
export function limitNorm(x: Tensor, limit: NormLimit): Tensor {
  const tensors = { x, norm: limit.norm, out: like(x) };
  return kernel.run("limit", paramsOf(x, limit), tensors, {
    ...byFours,
    split: ["x", "out"],
  });
}

/** `limitNorm` in place: for gradients, which nothing else looks at. @internal */
export function limitNormInPlace(own: Tensor, limit: NormLimit): void {
  const tensors = { own, norm: limit.norm };
  kernel.run("limit_own", paramsOf(own, limit), tensors, {
    ...byFours,
    split: ["own"],
  });
}
