/**
 * The norm of many tensors together, and scaling them down to a given one. Nothing is read back, and
 * a tensor costs one dispatch for its share of the norm and one to be scaled; inside a captured step all of them share
 * one for the norm. No gradients.
 *
 * @module
 */
import { keep, noGrad, outsideCapture, scope } from "../tensor/context.ts";
import { joined, layoutOf } from "../tensor/flat.ts";
import {
  ceilDiv,
  empties,
  Kernel,
  like,
  type Params,
  requireThat,
} from "../tensor/kernel.ts";
import { type Tensor, tensor } from "../tensor/tensor.ts";
import source from "./global_norm.wgsl" with { type: "text" };
import { sum } from "./reduce.ts";
import { concat } from "./shape.ts";
import { sqrt } from "./unary.ts";

const kernel = new Kernel("global_norm", source);
/** Elements that a lane sums, as `SHARE` in the WGSL file. */
const SHARE = kernel.code("SHARE");

/**
 * `√ΣΣx²` over all elements of all tensors, as one number `[]`; 0 for an empty list.
 *
 * @throws {TypeError} If a tensor is not f32.
 */
export function globalNorm(tensors: readonly Tensor[]): Tensor {
  for (const x of tensors) {
    requireThat(x.dtype === "f32", "globalNorm", "elements must be f32", { x });
  }
  const blocks = joined(tensors);
  if (blocks) return normOfBlocks(tensors, blocks);
  return scope(() =>
    noGrad(() => {
      const lanes = tensors.map(({ size }) => ceilDiv(size, SHARE));
      const parts = empties([lanes.reduce((a, b) => a + b, 0)]);
      let at = 0;
      tensors.forEach((x, i) => {
        const params = { n: x.size, first: 0, at, max_norm: 0, eps: 0 };
        kernel.run("sum_squares", params, { x, parts }, {
          workgroups: ({ n }) => ceilDiv(Number(n), SHARE * 64),
          splitBy: "n",
          splitMultiple: SHARE,
          split: ["x"],
        });
        at += lanes[i]!;
      });
      return sqrt(sum(parts));
    })
  );
}

const tables = new Map<string, Tensor[]>();

/**
 * The same, bit for bit, inside a captured step, where the tensors lie side by side: one dispatch per block, whose
 * lanes read from a table which elements are theirs.
 */
function normOfBlocks(
  tensors: readonly Tensor[],
  blocks: readonly Tensor[],
): Tensor {
  const key = tensors.map(({ size }) => size).join();
  let shares = tables.get(key);
  if (!shares) {
    shares = outsideCapture(() =>
      layoutOf(tensors).map(({ members }) => {
        const rows: number[] = []; // [first four, elements]
        for (const { index, offset } of members) {
          for (let at = 0; at < tensors[index]!.size; at += SHARE) {
            rows.push(
              offset / 16 + at / 4,
              Math.min(SHARE, tensors[index]!.size - at),
            );
          }
        }
        return keep(tensor(Uint32Array.from(rows)));
      })
    );
    tables.set(key, shares);
  }
  const parts = blocks.map((x, i) => {
    const lanes = shares[i]!.size / 2;
    const out = empties([lanes]);
    const params = { n: lanes, first: 0, at: 0, max_norm: 0, eps: 0 };
    return kernel.run("sum_squares_of_shares", params, {
      x,
      shares: shares[i]!,
      parts: out,
    }, {
      workgroups: ({ n }) => ceilDiv(Number(n), 64),
    });
  });
  return noGrad(() => sqrt(sum(concat(parts))));
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
  return { n: x.size, first: 0, at: 0, max_norm: maxNorm, eps };
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
