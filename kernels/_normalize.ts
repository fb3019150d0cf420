/**
 * What group, layer and batch norm share: statistics in one pass, one fused pass for the output, and
 * two for the gradient.
 *
 * @module
 */
import { apply, gradientsThrough, type Op } from "../tensor/autograd.ts";
import { isRecording } from "../tensor/context.ts";
import { deviceInfo } from "../tensor/device.ts";
import { ones, zeros } from "../tensor/fill.ts";
import {
  ceilDiv,
  empties,
  Kernel,
  like,
  type Params,
  requireThat,
} from "../tensor/kernel.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { lanesPerRow } from "./_lanes.ts";
import source from "./_normalize.wgsl" with { type: "text" };
import pack1 from "./_pack1.wgsl" with { type: "text" };
import pack4 from "./_pack4.wgsl" with { type: "text" };
import { add, mul, sub } from "./binary.ts";
import { mean as meanOver, variance as varianceOver } from "./reduce.ts";
import { reshape, split } from "./shape.ts";
import { rsqrt, scale, silu as activated } from "./unary.ts";

const one = new Kernel("normalize", pack1, source);
const four = new Kernel("normalize", pack4, source);
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
  /** In units of x². */
  readonly eps: number;
  /** Mean and variance of every set, `[sets, 2]`: computed from x, or constants. */
  readonly statistics: Tensor | ((x: Tensor) => Tensor);
}

/** Packs that one invocation adds up, lest rounding errors add up as well. */
const MOST_PACKS = 2048;

/**
 * Invocations that share a stretch of `packs`: enough of them in all to fill the device, each with
 * enough to do. A processor's few lanes are filled soon, and are best served without neighbours.
 */
function lanesOf(stretches: number, packs: number): number {
  const wanted = ceilDiv(deviceInfo().software ? 256 : 16384, stretches);
  const useful = Math.min(wanted, 64, Math.floor(packs / 8));
  return Math.max(1, useful, ceilDiv(packs, MOST_PACKS));
}

type Entry =
  | "statistics"
  | "join"
  | "forward"
  | "dots"
  | "column_dots"
  | "sums"
  | "backward";

interface Choices {
  lanes?: number;
  factor?: number;
  eps?: number;
  silu?: boolean;
  splitBy?: "rows" | "runs";
}

function run(
  entry: Entry,
  layout: Layout,
  tensors: Record<string, Tensor>,
  invocations: (params: Params) => number,
  { lanes = 1, factor = 0, eps = 0, silu = false, splitBy }: Choices,
): Tensor {
  const { rows, sets, setRows, channels, byColumn } = layout;
  const wide = isWide(layout) && entry !== "column_dots";
  const params = {
    rows,
    cols: wide ? layout.cols / 4 : layout.cols,
    lanes,
    first: 0,
    outer: sets === 0 ? 0 : rows / (sets * setRows),
    sets,
    set_rows: setRows,
    runs: rows / setRows,
    channels,
    chunk: CHUNK,
    factor,
    eps,
  };
  return (wide ? four : one).run(entry, params, tensors, {
    constants: { BY_COLUMN: Number(byColumn), SILU: Number(silu) },
    workgroups: (params) => ceilDiv(invocations(params), 64),
    ...(splitBy ? { splitBy, split: ["x", "dy", "out", "pairs"] } : {}),
  });
}

/** Whether rows are read four elements at a time. */
function isWide({ cols }: Layout): boolean {
  return cols % 4 === 0;
}

/** Length of a row in what the kernel reads at a time. */
function packsOf(layout: Layout): number {
  return isWide(layout) ? layout.cols / 4 : layout.cols;
}

/** Number of elements that share one pair of statistics. */
export function setSize({ rows, cols, sets }: Layout): number {
  return rows * cols / sets;
}

/** Mean and variance (of n, not n - 1) of every set of `x` itself, `[sets, 2]`. */
export function statisticsOf(x: Tensor, layout: Layout): Tensor {
  const { rows, sets, setRows } = layout;
  const runs = rows / setRows;
  const lanes = lanesOf(runs, setRows * packsOf(layout));
  const pairs = empties([runs * lanes, 2]);
  run("statistics", layout, { x, pairs }, ({ runs }) => Number(runs) * lanes, {
    lanes,
    splitBy: "runs",
  });
  if (runs * lanes === sets) return pairs;
  const joined = empties([sets, 2]);
  return run("join", layout, { partials: pairs, pairs: joined }, () => sets, {
    lanes,
  });
}

/** `(x - mean) / √(variance + eps) · weight + bias`, made of ops. */
function normalized(
  x: Tensor,
  weight: Tensor,
  bias: Tensor,
  { layout, eps, statistics }: Attrs,
): Tensor {
  const { rows, cols, sets, setRows, channels, byColumn } = layout;
  const perSet = reshape(x, [rows / (sets * setRows), sets, setRows, cols]);
  const over = { axis: [0, 2, 3], keepDims: true };
  const [mean, variance] = "dtype" in statistics
    ? split(reshape(statistics, [1, sets, 1, 2]), 2, -1)
    : [
      meanOver(perSet, over),
      varianceOver(perSet, { ...over, correction: 0 }),
    ];
  const unit = mul(sub(perSet, mean!), rsqrt(add(variance!, eps)));
  const perChannel = byColumn
    ? [rows, 1, cols]
    : [rows / channels, channels, cols];
  const affine = byColumn ? [channels] : [channels, 1];
  const y = add(
    mul(reshape(unit, perChannel), reshape(weight, affine)),
    reshape(bias, affine),
  );
  return reshape(y, x.shape);
}

/**
 * Makes the op `y = (x - mean) / √(variance + eps) · weight + bias`, or `silu(y)`, for one public name.
 * A missing weight is 1, a missing bias 0.
 */
export function normalization(
  name: string,
  silu = false,
): (
  x: Tensor,
  weight: Tensor | undefined,
  bias: Tensor | undefined,
  attrs: Attrs,
) => Tensor {
  const op: Op<[x: Tensor, weight: Tensor, bias: Tensor], Attrs> = {
    name,
    forward([x, weight, bias], { layout, statistics, eps }, context) {
      const stats = "dtype" in statistics ? statistics : statistics(x);
      context.save(stats);
      const lanes = lanesPerRow(packsOf(layout));
      const packs = { weight_packs: weight, bias_packs: bias };
      const tensors = { x, stats, weight, bias, ...packs, out: like(x) };
      return run("forward", layout, tensors, byRow(lanes), {
        ...{ lanes, eps, silu, splitBy: "rows" },
      });
    },
    backward(dy, inputs, attrs, context) {
      const { needs } = context;
      if (isRecording()) {
        const formula = (x: Tensor, weight: Tensor, bias: Tensor) => {
          const y = normalized(x, weight, bias, attrs);
          return silu ? activated(y) : y;
        };
        return gradientsThrough(formula, inputs, dy, needs);
      }
      const [x, weight, bias] = inputs;
      const { layout, statistics, eps } = attrs;
      const stats = context.saved[0]!;
      const { rows, cols, sets, channels, byColumn } = layout;
      const affine = needs[1] || needs[2];
      const given = { x, dy, stats, weight, bias, weight_packs: weight };
      const factor = "dtype" in statistics ? 0 : 1 / setSize(layout);
      const terms = empties([Math.max(1, sets), 2]);
      const dWeight = empties([channels]), dBias = empties([channels]);
      const sums = (partials: Tensor, layout: Layout, lanes: number) => {
        const results = { terms_out: terms, d_weight: dWeight, d_bias: dBias };
        const { sets, channels } = layout;
        run(
          "sums",
          layout,
          { partials, weight, ...results },
          () => sets + channels,
          { lanes, factor },
        );
      };
      if (!byColumn || needs[0]) {
        const lanes = lanesOf(rows, packsOf(layout));
        const pairs = empties([rows, lanes, 2]);
        run("dots", layout, { ...given, pairs }, byRow(lanes), {
          ...{ lanes, eps, silu, splitBy: "rows" },
        });
        sums(pairs, byColumn ? { ...layout, channels: 0 } : layout, lanes);
      }
      if (byColumn && affine) {
        const chunks = ceilDiv(rows, CHUNK);
        const pairs = empties([chunks, cols, 2]);
        const tensors = { x, dy, stats, pairs };
        run("column_dots", layout, tensors, () => chunks * cols, { eps });
        sums(pairs, { ...layout, rows: chunks * cols, sets: 0 }, 1);
      }
      let dx: Tensor | null = null;
      if (needs[0]) {
        const lanes = lanesPerRow(packsOf(layout));
        const tensors = { ...given, terms, out: dx = like(x) };
        run("backward", layout, tensors, byRow(lanes), {
          ...{ lanes, eps, silu, splitBy: "rows" },
        });
      }
      return [
        dx,
        needs[1] ? dWeight.view(weight.shape) : null,
        needs[2] ? dBias.view(bias.shape) : null,
      ];
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

function byRow(lanes: number): (params: Params) => number {
  return ({ rows }) => Number(rows) * lanes;
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
