/**
 * Products of matrices, and of batches of them.
 *
 * @module
 */
import { apply, type Op } from "../tensor/autograd.ts";
import { deviceInfo } from "../tensor/device.ts";
import {
  ceilDiv,
  empties,
  Kernel,
  type Launch,
  requireThat,
} from "../tensor/kernel.ts";
import { broadcastShapes } from "../tensor/shape.ts";
import { sizeOf, type Tensor } from "../tensor/tensor.ts";
import common from "./_matmul.wgsl" with { type: "text" };
import subgroup from "./_subgroup.wgsl" with { type: "text" };
import tile from "./_tile.wgsl" with { type: "text" };
import { enoughInvocations, formOf, variantOf } from "./_variants.ts";
import source from "./matmul.wgsl" with { type: "text" };
import { multiplyByPanels, type Operand } from "./matmul_panel.ts";
import bySubgroups from "./matmul_subgroup.wgsl" with { type: "text" };
import tiled from "./matmul_tiled.wgsl" with { type: "text" };
import { sum, sumTo } from "./reduce.ts";
import { expand, reshape } from "./shape.ts";

/** Which operands are transposed (in their last two axes) before they are multiplied. */
export interface MatmulOptions {
  /** Whether `a` is `[..., k, rows]`; defaults to false. */
  transposeA?: boolean;
  /** Whether `b` is `[..., cols, k]`; defaults to false. */
  transposeB?: boolean;
}

const kernel = new Kernel("matmul", common, source, tile, tiled);
const subgroupKernel = new Kernel(
  "matmul_subgroup",
  common,
  bySubgroups,
  subgroup,
);
/** Terms of a sum below which cutting it does not pay. */
const LEAST_TERMS = 512;

/**
 * Into how many pieces a sum of `terms` is cut: `wanted`, unless an operand is larger than a binding.
 * Then the operands are cut with the sum, into enough pieces, all of them equal.
 */
export function splitsOf(
  terms: number,
  wanted: number,
  operands: readonly Tensor[],
): number {
  const limit = deviceInfo().maxBindingBytes;
  const needed = Math.max(
    1,
    ...operands.map((x) => ceilDiv(4 * x.size, limit)),
  );
  if (needed === 1) return Math.max(1, wanted);
  let splits = Math.max(needed, Math.min(wanted, terms));
  while (terms % splits !== 0 && splits < terms) splits++;
  return splits;
}

/** `a b (+ bias)` without checks; `bias` has the length of the last axis. */
export function product(
  a: Tensor,
  b: Tensor,
  { transposeA = false, transposeB = false }: MatmulOptions,
  bias?: Tensor,
): Tensor {
  const rows = a.shape.at(transposeA ? -1 : -2)!;
  const k = a.shape.at(transposeA ? -2 : -1)!;
  const cols = b.shape.at(transposeB ? -2 : -1)!;
  const aBatch = a.shape.slice(0, -2), bBatch = b.shape.slice(0, -2);
  const shape = broadcastShapes("matmul", aBatch, bBatch);
  const batch = sizeOf(shape);
  // An operand is one matrix for all, or one matrix each; a mixture is spread out first.
  const operand = (x: Tensor, transposed: boolean, own: number[]): Operand => {
    const [m, n] = x.shape.slice(-2) as [number, number];
    const single = sizeOf(own) === 1;
    return {
      tensor: single ? x : expand(x, [...shape, m, n]),
      batch: single ? 0 : m * n,
      line: transposed ? 1 : n,
      k: transposed ? n : 1,
    };
  };
  let left = operand(a, transposeA, aBatch);
  let right = operand(b, !transposeB, bBatch);
  // Lanes lie along the columns: where these are few, the transposed product fills more of them.
  const few = !bias && cols < kernel.code("COLUMNS") / 4 && cols < rows;
  const variant = variantOf({
    kind: "matmul",
    batch,
    rows: few ? cols : rows,
    cols: few ? rows : cols,
    k,
    byFour: k % 4 === 0 && cols % 4 === 0 && !(transposeA && rows % 4 > 0),
  });
  if (variant === "panel") {
    return multiplyByPanels(left, right, { batch, rows, cols, k }, bias)
      .view([...shape, rows, cols]);
  }
  const swapped = few && variant !== "subgroup";
  if (swapped) [left, right] = [right, left];
  const [m, n] = swapped ? [cols, rows] : [rows, cols];

  const form = formOf(kernel, subgroupKernel, "multiply", variant);
  const long = transposeA && !transposeB && batch === 1; // both can be cut along k
  const splits = splitsOf(
    k / form.terms,
    Math.min(
      ceilDiv(enoughInvocations(), batch * form.invocations(m, n)),
      Math.floor(k / LEAST_TERMS),
    ),
    long ? [a, b] : [],
  );
  const piece = form.terms * ceilDiv(k / form.terms, splits);
  const out = empties([splits, ...shape, rows, cols]);
  // A tensor larger than one binding is cut along its first axis, whatever that is here.
  let cut: Pick<Launch, "splitBy" | "split"> = {};
  if (batch > 1 && splits === 1) {
    const own = [left.batch > 0 ? ["a"] : [], right.batch > 0 ? ["b"] : []];
    cut = { splitBy: "batch", split: ["out", ...own.flat()] };
  } else if (long && piece * splits === k) {
    cut = { splitBy: "splits", split: ["a", "b", "out"] };
  } else if (!transposeA && splits === 1) {
    cut = swapped
      ? { splitBy: "n", split: ["b", "out"] }
      : { splitBy: "m", split: ["a", "out"] };
  }
  form.kernel.run(
    form.entry,
    {
      batch,
      m,
      n,
      k,
      splits,
      piece,
      a_batch: left.batch,
      a_row: left.line,
      a_k: left.k,
      b_batch: right.batch,
      b_k: right.k,
      b_col: right.line,
      out_row: swapped ? 1 : cols,
      out_col: swapped ? cols : 1,
      has_bias: Number(bias !== undefined),
    },
    // Without a bias its binding is not read, but must hold something.
    { a: left.tensor, b: right.tensor, bias: bias ?? empties([0]), out },
    {
      workgroups: ({ batch, m, n, splits }) =>
        ceilDiv(Number(m), form.rows) * ceilDiv(Number(n), form.cols) *
        Number(batch) * Number(splits),
      constants: form.constants,
      ...cut,
    },
  );
  return splits === 1
    ? out.view([...shape, rows, cols])
    : sum(out, { axis: 0 });
}

const matmulOp: Op<[a: Tensor, b: Tensor], Required<MatmulOptions>> = {
  name: "matmul",
  forward: ([a, b], options) => product(a, b, options),
  // With A and B the operands after their transposes: dA = dY Bᵀ and dB = Aᵀ dY.
  backward: (dy, [a, b], { transposeA, transposeB }, { needs }) => [
    !needs[0] ? null : sumTo(
      transposeA
        ? matmul(b, dy, { transposeA: transposeB, transposeB: true })
        : matmul(dy, b, { transposeB: !transposeB }),
      a.shape,
    ),
    !needs[1] ? null : sumTo(
      transposeB
        ? matmul(dy, a, { transposeA: true, transposeB: transposeA })
        : matmul(a, dy, { transposeA: !transposeA }),
      b.shape,
    ),
  ],
};

/**
 * Product of matrices, `y[i, j] = Σ_k a[i, k] b[k, j]`, for every pair that the leading axes,
 * broadcast as NumPy does, bring together. A vector is a row on the left and a column on the right,
 * and its axis of length 1 is dropped from the result.
 *
 * @param a Shape `[..., rows, k]`, or `[k]`; with `transposeA` `[..., k, rows]`.
 * @param b Shape `[..., k, cols]`, or `[k]`; with `transposeB` `[..., cols, k]`.
 * @returns Shape `[..., rows, cols]`.
 * @throws {TypeError} If `k` differs, leading axes do not fit, or an operand is a scalar or not f32.
 */
export function matmul(
  a: Tensor,
  b: Tensor,
  options: MatmulOptions = {},
): Tensor {
  requireThat(
    a.dtype === "f32" && b.dtype === "f32",
    "matmul",
    "elements must be f32",
    { a: String(a), b: String(b) },
  );
  requireThat(
    a.rank > 0 && b.rank > 0,
    "matmul",
    "both operands must have an axis",
    { a, b },
  );
  const left = a.rank === 1 ? reshape(a, [1, a.size]) : a;
  const right = b.rank === 1 ? reshape(b, [b.size, 1]) : b;
  const transposeA = a.rank > 1 && (options.transposeA ?? false);
  const transposeB = b.rank > 1 && (options.transposeB ?? false);
  const rows = left.shape.at(transposeA ? -1 : -2)!;
  const cols = right.shape.at(transposeB ? -2 : -1)!;
  const k = left.shape.at(transposeA ? -2 : -1)!;
  requireThat(
    k === right.shape.at(transposeB ? -1 : -2),
    "matmul",
    "columns of a must equal rows of b" +
      (transposeA || transposeB
        ? ` after ${
          transposeA && transposeB ? "both are" : transposeA ? "a is" : "b is"
        } transposed`
        : ""),
    { a, b },
  );
  const batch = broadcastShapes(
    "matmul to the leading axes",
    left.shape.slice(0, -2),
    right.shape.slice(0, -2),
  );
  // One matrix b for many a: the rows of all a are those of one matrix. Its gradient is then one
  // long sum, and nothing is broadcast.
  const joined = !transposeA && sizeOf(right.shape.slice(0, -2)) === 1;
  const y = apply(
    matmulOp,
    joined
      ? [
        reshape(left, [sizeOf(batch) * rows, k]),
        reshape(right, right.shape.slice(-2)),
      ]
      : [left, right],
    { transposeA, transposeB },
  );
  return reshape(y, [
    ...batch,
    ...(a.rank > 1 ? [rows] : []),
    ...(b.rank > 1 ? [cols] : []),
  ]);
}
