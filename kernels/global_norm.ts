/**
 * The norm of many tensors together, and scaling them down to a given one. Nothing is read back. A
 * tensor costs one dispatch for its share of the norm; inside a captured step all of them share one.
 * No gradients.
 *
 * @module
 */
import { keep, noGrad, outsideCapture, scope } from "../tensor/context.ts";
import { joined, layoutOf } from "../tensor/flat.ts";
import { ceilDiv, empties, Kernel, requireThat } from "../tensor/kernel.ts";
import { type Tensor, tensor } from "../tensor/tensor.ts";
import source from "./global_norm.wgsl" with { type: "text" };
import { sum } from "./reduce.ts";
import { concat } from "./shape.ts";
import { sqrt } from "./unary.ts";

const kernel = new Kernel("global_norm", source);
/** Elements that a lane sums, as `SHARE` in the WGSL file. */
const SHARE = kernel.code("SHARE");
const UNUSED = { n: 0, first: 0, at: 0, max_norm: 0, eps: 0 };

/**
 * `√ΣΣx²` over all elements of all tensors, as one number `[]`; 0 for an empty list.
 *
 * @throws {TypeError} If a tensor is not f32.
 */
export function globalNorm(tensors: readonly Tensor[]): Tensor {
  return scope(() => noGrad(() => sqrt(sumOfSquares(tensors))));
}

/** `globalNorm`, and `min(1, maxNorm / (norm + eps))`, both `[]`. */
export function normAndScale(
  tensors: readonly Tensor[],
  maxNorm: number,
  eps: number,
): { norm: Tensor; scale: Tensor } {
  return scope(() => {
    const total = noGrad(() => sumOfSquares(tensors));
    const norm = empties([]), scale = empties([]);
    const params = { ...UNUSED, max_norm: maxNorm, eps };
    kernel.run("measure", params, { total, norm, scale }, {
      workgroups: () => 1,
    });
    return { norm, scale };
  });
}

function sumOfSquares(tensors: readonly Tensor[]): Tensor {
  for (const x of tensors) {
    requireThat(x.dtype === "f32", "globalNorm", "elements must be f32", { x });
  }
  const blocks = joined(tensors);
  return sum(blocks ? partsOfBlocks(tensors, blocks) : partsOf(tensors));
}

/** One sum per lane, tensor by tensor. */
function partsOf(tensors: readonly Tensor[]): Tensor {
  const lanes = tensors.map(({ size }) => ceilDiv(size, SHARE));
  const parts = empties([lanes.reduce((a, b) => a + b, 0)]);
  let at = 0;
  tensors.forEach((x, i) => {
    kernel.run("sum_squares", { ...UNUSED, n: x.size, at }, { x, parts }, {
      workgroups: ({ n }) => ceilDiv(Number(n), SHARE * 64),
      splitBy: "n",
      splitMultiple: SHARE,
      split: ["x"],
    });
    at += lanes[i]!;
  });
  return parts;
}

const tables = new Map<string, Tensor[]>();

/**
 * The same sums inside a captured step, where the tensors lie side by side: one dispatch per block,
 * whose lanes read from a table which elements are theirs.
 */
function partsOfBlocks(
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
  return concat(blocks.map((x, i) => {
    const lanes = shares[i]!.size / 2;
    const tensors = { x, shares: shares[i]!, parts: empties([lanes]) };
    return kernel.run(
      "sum_squares_of_shares",
      { ...UNUSED, n: lanes },
      tensors,
      { workgroups: ({ n }) => ceilDiv(Number(n), 64) },
    );
  }));
}

/** Multiplies by a number on the device, in place: for gradients, which nothing else looks at. @internal */
export function limitInPlace(own: Tensor, factor: Tensor): void {
  kernel.run("limit", { ...UNUSED, n: own.size }, { own, factor }, {
    workgroups: ({ n }) => ceilDiv(Number(n), 256),
    splitBy: "n",
    split: ["own"],
  });
}
