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

/**
 * The same sums inside a captured step, where the tensors lie side by side: one dispatch per block,
 * whose lanes read from a table which elements are theirs. What is alone in its block may be larger
 * than one binding, and needs no table.
 */
function partsOfBlocks(
  tensors: readonly Tensor[],
  blocks: readonly Tensor[],
): Tensor {
  const layouts = layoutOf(tensors);
  return concat(blocks.map((x, i) => {
    const { members } = layouts[i]!;
    if (members.length === 1) return partsOf([tensors[members[0]!.index]!]);
    const shares = sharesOf(members.map(({ index, offset }) => {
      return { offset, size: tensors[index]!.size };
    }));
    const lanes = shares.size / 2;
    return kernel.run(
      "sum_squares_of_shares",
      { ...UNUSED, n: lanes },
      { x, shares, parts: empties([lanes]) },
      { workgroups: ({ n }) => ceilDiv(Number(n), 64) },
    );
  }));
}

const tables = new Map<string, Tensor>();

/** Per lane, the first four elements and the number of elements of its share. */
function sharesOf(members: { offset: number; size: number }[]): Tensor {
  const key = members.map(({ size }) => size).join();
  let table = tables.get(key);
  if (!table) {
    const rows = members.flatMap(({ offset, size }) =>
      Array.from({ length: ceilDiv(size, SHARE) }, (_, share) => [
        offset / 16 + share * SHARE / 4,
        Math.min(SHARE, size - share * SHARE),
      ])
    );
    table = outsideCapture(() => keep(tensor(Uint32Array.from(rows.flat()))));
    tables.set(key, table);
  }
  return table;
}

/** Multiplies by a number on the device, in place: for gradients, which nothing else looks at. @internal */
export function limitInPlace(own: Tensor, factor: Tensor): void {
  kernel.run("limit", { ...UNUSED, n: own.size }, { own, factor }, {
    workgroups: ({ n }) => ceilDiv(Number(n), 256),
    splitBy: "n",
    split: ["own"],
  });
}
