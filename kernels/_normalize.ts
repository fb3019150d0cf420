/**
 * What group, layer and batch norm share: statistics in two passes, one fused pass for the output,
 * and two for the gradient.
 *
 * @module
 */
import { apply, type Op } from "../tensor/autograd.ts";
import { ones, zeros } from "../tensor/fill.ts";
import { empties, Kernel, like, requireThat } from "../tensor/kernel.ts";
import type { Tensor } from "../tensor/tensor.ts";
import source from "./_normalize.wgsl" with { type: "text" };
import { mul } from "./binary.ts";
import { mean, sum } from "./reduce.ts";
import { narrow } from "./shape.ts";
import { rsqrt, scale } from "./unary.ts";

const kernel = new Kernel("normalize", source);
/** Rows that one invocation of `column_dots` folds. */
const CHUNK = 32;

/** `x` seen as a matrix, and which of its rows share statistics. */
export interface Layout {
  readonly rows: number;
  readonly cols: number;
  /** Row `r` belongs to set `floor(r / setRows) % sets`. */
  readonly sets: number;
  readonly setRows: number;
  /** Length of weight and bias. */
  readonly channels: number;
  /** Whether the channel of an element is its col, or else its row modulo `channels`. */
  readonly byColumn: boolean;
}

/** How the layout's sets get their statistics. */
export interface Attrs {
  readonly layout: Layout;
  /** `[sets]` each: the mean and the reciprocal standard deviation. */
  readonly statistics: (x: Tensor) => { mean: Tensor; rstd: Tensor };
  /** Whether the statistics do not depend on x. */
  readonly constant: boolean;
}

/** Invocations per row: 16 cols each, but neighbours in eights where cols allow. */
function lanesOf({ cols }: Layout): number {
  return Math.max(1, Math.min(cols, Math.max(8, Math.ceil(cols / 16))));
}

function run(
  entry: "squares" | "forward" | "dots" | "column_dots" | "backward",
  layout: Layout,
  tensors: Record<string, Tensor>,
  factor = 0,
): Tensor {
  const { rows, cols, sets, setRows, channels, byColumn } = layout;
  const lanes = lanesOf(layout);
  const params = {
    rows,
    cols,
    lanes,
    first: 0,
    set_rows: setRows,
    sets,
    channels,
    chunk: CHUNK,
    factor,
  };
  const constants = { BY_COLUMN: Number(byColumn) };
  if (entry === "column_dots") {
    const workgroups = () => Math.ceil(Math.ceil(rows / CHUNK) * cols / 64);
    return kernel.run(entry, params, tensors, { constants, workgroups });
  }
  return kernel.run(entry, params, tensors, {
    constants,
    workgroups: ({ rows }) => Math.ceil(Number(rows) * lanes / 64),
    splitBy: "rows",
    split: ["x", "dy", "out", "pairs"],
  });
}

/** Number of elements that share one pair of statistics. */
export function setSize({ rows, cols, sets }: Layout): number {
  return rows * cols / sets;
}

/**
 * `x`, which holds for each row any number of entries of `width` numbers, and the axes to fold so
 * that one entry per set remains.
 */
function bySet(
  x: Tensor,
  { rows, sets, setRows }: Layout,
  width: number,
): [x: Tensor, { axis: number[] }] {
  const outer = rows / (sets * setRows);
  const entries = x.size / (outer * sets * width);
  return [x.view([outer, sets, entries, width]), {
    axis: outer > 1 ? [0, 2] : [2],
  }];
}

/** `1 / √(variance + eps)`. */
export function rstdOf(variance: Tensor, eps: number): Tensor {
  return rsqrt(scale(variance, 1, eps));
}

/**
 * Statistics of `x` itself, with the variance of n, not n - 1, from squared deviations, so that a
 * large mean does no harm.
 *
 * @param observe Is shown mean and variance, `[sets]`.
 */
export function statisticsOf(
  x: Tensor,
  layout: Layout,
  eps: number,
  observe?: (mean: Tensor, variance: Tensor) => void,
): { mean: Tensor; rstd: Tensor } {
  const { rows, sets } = layout;
  const average = mean(...bySet(x, layout, 1)).view([sets]);
  const out = empties([rows, lanesOf(layout)]);
  run("squares", layout, { x, mean: average, out });
  const squares = sum(...bySet(out, layout, 1)).view([sets]);
  const variance = scale(squares, 1 / setSize(layout));
  observe?.(average, variance);
  return { mean: average, rstd: rstdOf(variance, eps) };
}

/** What weight and bias get: sums of `(dy, dy · xhat)` per channel, `[channels, 2]`. */
function channelSums(
  tensors: Record<"x" | "dy" | "mean" | "rstd", Tensor>,
  layout: Layout,
  rowSums: () => Tensor,
): Tensor {
  const { rows, cols, channels, byColumn } = layout;
  if (!byColumn) {
    return sum(rowSums().view([rows / channels, channels, 2]), { axis: 0 });
  }
  const chunks = Math.ceil(rows / CHUNK);
  const pairs = empties([chunks, cols, 2]);
  run("column_dots", layout, { ...tensors, pairs });
  return sum(pairs, { axis: 0 });
}

/**
 * Makes the op `y = (x - mean) · rstd · weight + bias` for one public name. A missing weight is 1, a
 * missing bias 0.
 */
export function normalization(
  name: string,
): (
  x: Tensor,
  weight: Tensor | undefined,
  bias: Tensor | undefined,
  attrs: Attrs,
) => Tensor {
  const op: Op<[x: Tensor, weight: Tensor, bias: Tensor], Attrs> = {
    name,
    forward([x, weight, bias], { layout, statistics }, context) {
      const { mean, rstd } = statistics(x);
      context.save(mean, rstd);
      const out = like(x);
      return run("forward", layout, { x, mean, rstd, weight, bias, out });
    },
    backward(dy, [x, weight, bias], { layout, constant }, { needs, saved }) {
      const [mean, rstd] = saved as [Tensor, Tensor];
      const { rows, sets, channels, byColumn } = layout;
      const given = { x, dy, mean, rstd };
      let dx: Tensor | null = null,
        dWeight: Tensor | null = null,
        dBias: Tensor | null = null;
      // Sums of (g, g · xhat) over each row, for rows or for their sets.
      let folded: Tensor | null = null;
      const rowSums = () => {
        if (folded) return folded;
        const pairs = empties([rows, lanesOf(layout), 2]);
        run("dots", layout, { ...given, weight, pairs });
        return folded = sum(pairs, { axis: 1 });
      };
      if (needs[0]) {
        dx = like(x);
        let terms = zeros([sets, 2]);
        if (!constant) {
          const weighted = byColumn ? rowSums() : mul(
            rowSums().view([rows / channels, channels, 2]),
            weight.view([channels, 1]),
          );
          terms = sum(...bySet(weighted, layout, 2));
        }
        const factor = constant ? 0 : 1 / setSize(layout);
        run("backward", layout, { ...given, weight, terms, out: dx }, factor);
      }
      if (needs[1] || needs[2]) {
        const sums = channelSums(given, layout, rowSums);
        dBias = narrow(sums, 1, 0, 1).view(bias.shape);
        dWeight = narrow(sums, 1, 1, 2).view(weight.shape);
      }
      return [dx, dWeight, dBias];
    },
  };
  return (x, weight, bias, attrs) => {
    if (x.size === 0) return scale(x, 1);
    const { channels } = attrs.layout;
    return apply(
      op,
      [x, weight ?? ones([channels]), bias ?? zeros([channels])],
      attrs,
    );
  };
}

/** Refuses a weight or bias that is not f32 of this shape. */
export function requireAffine(
  name: string,
  x: Tensor,
  shape: readonly number[],
  affine: Readonly<Record<string, Tensor | undefined>>,
): void {
  requireThat(x.dtype === "f32", name, "elements must be f32", {
    x: String(x),
  });
  for (const [role, given] of Object.entries(affine)) {
    if (!given) continue;
    requireThat(
      given.dtype === "f32" && given.shape.join() === shape.join(),
      name,
      `${role} must be f32[${shape.join(", ")}]`,
      { x, [role]: given },
    );
  }
}
