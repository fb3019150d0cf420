/**
 * Products of matrices, and of batches of them.
 *
 * @module
 */
import { apply, type Op } from "../tensor/autograd.ts";
import { deviceInfo } from "../tensor/device.ts";
import { ceilDiv, empties, Kernel, requireThat } from "../tensor/kernel.ts";
import { broadcastShapes, span } from "../tensor/shape.ts";
import { sizeOf, type Tensor } from "../tensor/tensor.ts";
import { keepsHalves } from "./autocast.ts";
import common from "./_matmul.wgsl" with { type: "text" };
import {
  assemble,
  fits,
  moved,
  partOf,
  type Span,
  spansOf,
  summed,
} from "./_pieces.ts";
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

/** `a b (+ bias)` without checks; `bias` has the length of the last axis. */
export function product(
  a: Tensor,
  b: Tensor,
  { transposeA = false, transposeB = false }: MatmulOptions,
  bias?: Tensor,
): Tensor {
  const aBatch = a.shape.slice(0, -2), bBatch = b.shape.slice(0, -2);
  const shape = broadcastShapes("matmul", aBatch, bBatch);
  // An operand is one matrix for all, or one matrix each; a mixture is spread out first.
  const stacked = (x: Tensor, own: number[]) => {
    const matrix = x.shape.slice(-2);
    return sizeOf(own) === 1
      ? x.view([1, ...matrix])
      : expand(x, [...shape, ...matrix]).view([sizeOf(shape), ...matrix]);
  };
  const y = multiply(
    stacked(a, aBatch),
    stacked(b, bBatch),
    { transposeA, transposeB },
    bias,
  );
  return y.view([...shape, ...y.shape.slice(1)]);
}

const OUT_AXES = ["batch", "rows", "cols"] as const;
type Axis = typeof OUT_AXES[number] | "k";

/**
 * The product of stacks of matrices, `[batch, rows, cols]`, piece by piece if a tensor does not fit
 * one binding: along the outermost axis of one that does not.
 *
 * @param into Where it is written, if that is decided.
 */
function multiply(
  a: Tensor,
  b: Tensor,
  options: Required<MatmulOptions>,
  bias?: Tensor,
  into?: Tensor,
): Tensor {
  const aAxes: readonly Axis[] = options.transposeA
    ? ["batch", "k", "rows"]
    : ["batch", "rows", "k"];
  const bAxes: readonly Axis[] = options.transposeB
    ? ["batch", "cols", "k"]
    : ["batch", "k", "cols"];
  const shape = [
    (a.shape[0] === 1 ? b : a).shape[0]!,
    a.shape[aAxes.indexOf("rows")]!,
    b.shape[bAxes.indexOf("cols")]!,
  ];
  const large =
    ([[a.shape, aAxes], [b.shape, bAxes], [shape, OUT_AXES]] as const)
      .filter(([shape]) => !fits(shape))
      .map(([shape, axes]) => {
        const at = shape.findIndex((length) => length > 1);
        return { shape, at, axis: axes[at]!, item: span(shape, at + 1) };
      });
  if (large.length === 0) {
    return multiplyAtOnce(a, b, options, shape, bias, into);
  }
  // What is cut for another's sake is copied, unless it is one item: the largest items go first.
  const { axis, ...cut } = large.reduce((x, y) => y.item > x.item ? y : x);
  const spans = spansOf(cut.shape, cut.at);
  const piece = (x: Tensor, axes: readonly Axis[], part: Span) => {
    const at = axes.indexOf(axis);
    return at < 0 || x.shape[at] === 1 ? x : partOf(x, at, part);
  };
  const run = (part: Span, bias?: Tensor, into?: Tensor) =>
    multiply(
      piece(a, aAxes, part),
      piece(b, bAxes, part),
      options,
      axis === "cols" && bias ? partOf(bias, 0, part) : bias,
      into,
    );
  if (axis !== "k") {
    const at = OUT_AXES.indexOf(axis);
    const make = (part: Span, place?: Tensor) => run(part, bias, place);
    return assemble(shape, at, spans, make, into);
  }
  return summed(
    spans,
    (part, first, place) => run(part, first ? bias : undefined, place),
    into,
  );
}

/** `multiply` where every tensor fits one binding; `shape` is that of the result. */
function multiplyAtOnce(
  a: Tensor,
  b: Tensor,
  { transposeA, transposeB }: Required<MatmulOptions>,
  shape: readonly number[],
  bias?: Tensor,
  into?: Tensor,
): Tensor {
  const [batch, rows, cols] = shape as [number, number, number];
  const k = a.shape.at(transposeA ? -2 : -1)!;
  const operand = (x: Tensor, transposed: boolean): Operand => {
    const [count, m, n] = x.shape as [number, number, number];
    return {
      tensor: x,
      batch: count === 1 ? 0 : m * n,
      line: transposed ? 1 : n,
      k: transposed ? n : 1,
    };
  };
  let left = operand(a, transposeA);
  let right = operand(b, !transposeB);
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
    const sizes = { batch, rows, cols, k };
    return moved(
      multiplyByPanels(left, right, sizes, bias).view(shape),
      into,
    );
  }
  const swapped = few && variant !== "subgroup";
  if (swapped) [left, right] = [right, left];
  const [m, n] = swapped ? [cols, rows] : [rows, cols];

  const form = formOf(kernel, subgroupKernel, "multiply", variant);
  const splits = Math.max(
    1,
    Math.min(
      ceilDiv(enoughInvocations(), batch * form.invocations(m, n)),
      Math.floor(k / LEAST_TERMS),
      Math.floor(deviceInfo().maxBindingBytes / (4 * sizeOf(shape))),
    ),
  );
  const out = splits === 1 && into ? into : empties([splits, ...shape]);
  form.kernel.run(
    form.entry,
    {
      batch,
      m,
      n,
      k,
      splits,
      piece: form.terms * ceilDiv(k / form.terms, splits),
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
    },
  );
  if (out === into) return into;
  return moved(splits === 1 ? out.view(shape) : sum(out, { axis: 0 }), into);
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
  flops: ([a], { transposeA }, y) =>
    2 * y.size * a.shape.at(transposeA ? -2 : -1)!,
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
    keepsHalves(matmulOp),
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
