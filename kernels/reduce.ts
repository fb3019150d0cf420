/**
 * Reductions over axes.
 *
 * @module
 */
import { apply, type Op } from "../tensor/autograd.ts";
import { ceilDiv, empties, Kernel, requireThat } from "../tensor/kernel.ts";
import { axesOf, axisOf, broadcastShapes, span } from "../tensor/shape.ts";
import { show, type Tensor } from "../tensor/tensor.ts";
import { deviceInfo } from "../tensor/device.ts";
import { full } from "../tensor/fill.ts";
import pack1 from "./_pack1.wgsl" with { type: "text" };
import pack4 from "./_pack4.wgsl" with { type: "text" };
import source from "./reduce.wgsl" with { type: "text" };
import { add, div, equal, mul, sub } from "./binary.ts";
import { expand, reshape } from "./shape.ts";
import { clamp, exp, log, scale, sqrt } from "./unary.ts";

/** What a reduction takes: the axes (default all; negative count from the back), and whether they stay with length 1. */
export interface ReduceOptions {
  /** Axes to fold; defaults to all. */
  axis?: number | readonly number[];
  /** Whether folded axes stay, with length 1; defaults to false. */
  keepDims?: boolean;
}

type Kind = "SUM" | "MAX" | "MIN" | "SUM_SQUARES";

const one = new Kernel("reduce", pack1, source);
const four = new Kernel("reduce", pack4, source);
/** Invocations that share a stretch: a cache line of a GPU, a vector of a processor. */
const SIDE_BY_SIDE = 8;

/**
 * How many invocations should share a sum of `terms` where `sums` of them are asked for: enough to
 * fill the device, but none where one invocation is done sooner than a second dispatch.
 */
function sharesOf(terms: number, sums: number): number {
  const { enough, alone, least } = deviceInfo().software
    ? { enough: 1024, alone: 4096, least: 512 }
    : { enough: 16384, alone: 512, least: 64 };
  if (terms <= alone) return 1;
  return Math.min(ceilDiv(enough, Math.max(1, sums)), ceilDiv(terms, least));
}

/** A whole number, and 1 at least. */
function some(count: number): number {
  return Math.max(1, Math.floor(count));
}

type Sizes = readonly [outer: number, n: number, kept: number, m: number];

/** Folds `n` and `m` of `[outer, n, kept, m]`; returns `[outer, kept]`, of any such shape. */
function fold(
  kind: Kind,
  x: Tensor,
  [outer, n, kept, m]: Sizes,
  factor: number,
): Tensor {
  // Without axes between them, what is folded lies in rows.
  if (kept === 1 && n !== 1) return fold(kind, x, [outer, 1, 1, n * m], factor);
  if (n === 1 && kept !== 1) {
    return fold(kind, x, [outer * kept, 1, 1, m], factor);
  }
  const byColumn = m === 1 && kept > 1;
  const kernel = (byColumn ? kept : m) % 4 === 0 ? four : one;
  const width = kernel.code("WIDTH");
  const columns = byColumn ? kept / width : kept;
  const packs = byColumn ? 1 : m / width;
  const shares = sharesOf(n * m, outer * columns);
  // A few neighbours read neighbours; beyond them, shares are stretches of memory.
  const lanes = some(Math.min(SIDE_BY_SIDE, shares, packs / 4));
  const across = some(Math.min(shares / lanes, packs / (4 * lanes)));
  const along = some(Math.min(n, ceilDiv(shares, lanes * across)));
  const pieces = along * across;
  const last = lanes * pieces === 1;
  const out = empties([outer, pieces, kept, lanes]);
  const params = {
    ...{ outer, n, kept: columns, m: packs, pieces, lanes },
    ...{ across, chunk: ceilDiv(n, along), stretch: ceilDiv(packs, across) },
    factor: last ? factor : 1,
    first: 0,
    carries: Number(outer === 1),
  };
  kernel.run(
    byColumn ? "columns" : "rows",
    params,
    byColumn ? { x, out } : { x, elements: out },
    {
      constants: { KIND: kernel.code(kind) },
      workgroups: ({ outer }) =>
        ceilDiv(Number(outer) * pieces * columns * lanes, 64),
      ...(outer === 1
        ? { splitBy: n > 1 ? "n" : "m", split: ["x"] }
        : { splitBy: "outer", split: ["x", "out", "elements"] }),
    },
  );
  if (last) return out;
  const next: Kind = kind === "SUM_SQUARES" ? "SUM" : kind;
  return fold(next, out, [outer, pieces, kept, lanes], factor);
}

/** Folds the axes, neighbours together, from the last to the first; keeps them with length 1. */
function foldAxes(
  kind: Kind,
  x: Tensor,
  axes: readonly number[],
  factor = 1,
): Tensor {
  const shape = [...x.shape];
  let result = x;
  let step = kind;
  let left = [...axes];
  /** The last neighbours among the axes that are left: the first, and one past the last. */
  const neighbours = (): [number, number] => {
    let from = left.length - 1;
    while (from > 0 && left[from - 1] === left[from]! - 1) from--;
    const found: [number, number] = [left[from]!, left.at(-1)! + 1];
    left = left.slice(0, from);
    return found;
  };
  while (left.length > 0) {
    const [first, end] = neighbours();
    const inner = span(shape, end), length = span(shape, first, end);
    shape.fill(1, first, end);
    let sizes: Sizes = [span(shape, 0, first), length, inner, 1];
    if (inner === 1 && left.length > 0) { // two folds in one
      const [before, to] = neighbours();
      const between = span(shape, to, first);
      sizes = [
        span(shape, 0, before),
        span(shape, before, to),
        between,
        length,
      ];
      shape.fill(1, before, to);
    }
    result = fold(step, result, sizes, left.length === 0 ? factor : 1);
    if (step === "SUM_SQUARES") step = "SUM";
  }
  if (axes.length === 0) {
    return kind === "SUM_SQUARES" ? mul(x, x) : scale(x, factor);
  }
  return result.view(shape);
}

interface Attrs {
  axes: readonly number[];
  keepDims: boolean;
}

/** The result's shape from that with axes of length 1 kept. */
function drop(kept: Tensor, { axes, keepDims }: Attrs): Tensor {
  if (keepDims) return kept;
  return kept.view(kept.shape.filter((_, axis) => !axes.includes(axis)));
}

/** Gives back to a gradient the axes that the reduction dropped, with length 1. */
function restore(dy: Tensor, x: Tensor, axes: readonly number[]): Tensor {
  return reshape(
    dy,
    x.shape.map((length, axis) => axes.includes(axis) ? 1 : length),
  );
}

function count(x: Tensor, axes: readonly number[]): number {
  return axes.reduce((product, axis) => product * x.shape[axis]!, 1);
}

const sumOp: Op<[x: Tensor], Attrs & { factor: number }> = {
  name: "sum",
  forward: ([x], attrs) =>
    drop(foldAxes("SUM", x, attrs.axes, attrs.factor), attrs),
  backward: (dy, [x], { axes, factor }) => {
    const scaled = factor === 1 ? dy : scale(dy, factor);
    return [expand(restore(scaled, x, axes), x.shape)];
  },
};

/** A sum with a gradient, for gradients: its axes stay with length 1. */
function folded(x: Tensor, axes: readonly number[], factor = 1): Tensor {
  return apply(sumOp, [x], { axes, keepDims: true, factor });
}

function extremeOp(kind: "MAX" | "MIN"): Op<[x: Tensor], Attrs> {
  return {
    name: kind.toLowerCase(),
    forward: ([x], attrs) => drop(foldAxes(kind, x, attrs.axes), attrs),
    backward: (dy, [x], { axes }, { output }) => {
      const hits = equal(x, restore(output, x, axes));
      return [
        mul(hits, div(restore(dy, x, axes), folded(hits, axes))),
      ];
    },
  };
}
const maxOp = extremeOp("MAX");
const minOp = extremeOp("MIN");

const varianceOp: Op<[x: Tensor], Attrs & { correction: number }> = {
  name: "variance",
  forward: ([x], attrs) => {
    const n = count(x, attrs.axes);
    const centred = sub(x, foldAxes("SUM", x, attrs.axes, 1 / n));
    return drop(
      foldAxes("SUM_SQUARES", centred, attrs.axes, 1 / (n - attrs.correction)),
      attrs,
    );
  },
  backward: (dy, [x], { axes, correction }) => {
    const n = count(x, axes);
    const centred = sub(x, folded(x, axes, 1 / n));
    return [mul(centred, scale(restore(dy, x, axes), 2 / (n - correction)))];
  },
};

const logSumExpOp: Op<[x: Tensor], Attrs> = {
  name: "logSumExp",
  forward: ([x], attrs) => {
    // Subtracted, so that exp cannot overflow; finite, as -inf - -inf is not a number.
    const largest = clamp(foldAxes("MAX", x, attrs.axes), {});
    const sums = foldAxes("SUM", exp(sub(x, largest)), attrs.axes);
    return drop(add(log(sums), largest), attrs);
  },
  backward: (dy, [x], { axes }, { output }) => [
    mul(exp(sub(x, restore(output, x, axes))), restore(dy, x, axes)),
  ],
};

function reduction<Extra>(
  op: Op<[x: Tensor], Attrs & Extra>,
  x: Tensor,
  options: ReduceOptions,
  extra: (axes: readonly number[]) => Extra,
): Tensor {
  requireThat(x.dtype === "f32", op.name, "elements must be f32", {
    x: String(x),
  });
  const axes = axesOf(op.name, options.axis, x.rank);
  return apply(op, [x], {
    axes,
    keepDims: options.keepDims ?? false,
    ...extra(axes),
  });
}

/** Sum; of nothing it is 0. */
export function sum(x: Tensor, options: ReduceOptions = {}): Tensor {
  return reduction(sumOp, x, options, () => ({ factor: 1 }));
}

/** Arithmetic mean. */
export function mean(x: Tensor, options: ReduceOptions = {}): Tensor {
  return reduction(
    sumOp,
    x,
    options,
    (axes) => ({ factor: 1 / count(x, axes) }),
  );
}

/**
 * Variance, `Σ(x - mean)² / (n - correction)`, in two passes so that a large mean does no harm.
 *
 * @param options `correction` defaults to 1 (unbiased), as PyTorch's.
 */
export function variance(
  x: Tensor,
  options: ReduceOptions & { correction?: number } = {},
): Tensor {
  return reduction(
    varianceOp,
    x,
    options,
    () => ({ correction: options.correction ?? 1 }),
  );
}

/** Square root of `variance`. */
export function std(
  x: Tensor,
  options: ReduceOptions & { correction?: number } = {},
): Tensor {
  return sqrt(variance(x, options));
}

function requireElements(
  name: string,
  x: Tensor,
  options: ReduceOptions,
): void {
  const axes = axesOf(name, options.axis, x.rank);
  if (count(x, axes) === 0) {
    throw new RangeError(
      `Cannot apply ${name} as there must be an element: x is ${show(x)}`,
    );
  }
}

/** Largest element; equal ones share the gradient, as `torch.amax`. */
export function max(x: Tensor, options: ReduceOptions = {}): Tensor {
  requireElements("max", x, options);
  return reduction(maxOp, x, options, () => ({}));
}

/** Smallest element; equal ones share the gradient, as `torch.amin`. */
export function min(x: Tensor, options: ReduceOptions = {}): Tensor {
  requireElements("min", x, options);
  return reduction(minOp, x, options, () => ({}));
}

/** `log Σ eˣ`, without overflow. */
export function logSumExp(x: Tensor, options: ReduceOptions = {}): Tensor {
  requireElements("logSumExp", x, options);
  return reduction(logSumExpOp, x, options, () => ({}));
}

/** Euclidean norm, `√Σx²`. Its gradient at 0 is 0. */
export function norm(x: Tensor, options: ReduceOptions = {}): Tensor {
  return reduction(normOp, x, options, () => ({}));
}

const normOp: Op<[x: Tensor], Attrs> = {
  name: "norm",
  forward: ([x], attrs) =>
    drop(sqrt(foldAxes("SUM_SQUARES", x, attrs.axes)), attrs),
  backward: (dy, [x], { axes }, { output }) => {
    const kept = restore(output, x, axes);
    // x is 0 where the norm is: 1 in its place avoids 0 / 0.
    const safe = add(kept, equal(kept, full([], 0)));
    return [mul(x, div(restore(dy, x, axes), safe))];
  },
};

/**
 * Index of the first largest element along an axis, i32; no gradient.
 *
 * @param options `axis` defaults to the last.
 */
export function argMax(
  x: Tensor,
  options: { axis?: number; keepDims?: boolean } = {},
): Tensor {
  requireThat(x.dtype === "f32", "argMax", "elements must be f32", { x });
  const axis = axisOf("argMax", options.axis ?? -1, x.rank);
  requireElements("argMax", x, { axis });
  const shape = x.shape.map((length, i) => i === axis ? 1 : length);
  const index = empties(shape, "i32");
  const outer = span(x.shape, 0, axis), inner = span(x.shape, axis + 1);
  const params = {
    ...{ outer, n: x.shape[axis]!, kept: inner, m: 1, lanes: 1 },
    ...{ pieces: 1, across: 1, chunk: 0, stretch: 0 },
    ...{ factor: 1, first: 0, carries: 0 },
  };
  one.run("arg_max", params, { x, index }, {
    constants: { KIND: one.code("MAX") },
    workgroups: ({ outer }) => ceilDiv(Number(outer) * inner, 64),
    splitBy: "outer",
    split: ["x", "index"],
  });
  return options.keepDims
    ? index
    : drop(index, { axes: [axis], keepDims: false });
}

/**
 * Undoes broadcasting: sums the axes along which `shape` was repeated to give `x`.
 *
 * @throws {TypeError} If `shape` does not stretch to that of `x`.
 */
export function sumTo(x: Tensor, shape: readonly number[]): Tensor {
  if (x.shape.join() === shape.join()) return x;
  requireThat(
    broadcastShapes("sumTo", shape, x.shape).join() === x.shape.join(),
    "sumTo",
    "the shape must stretch to that of x",
    { x, shape },
  );
  const missing = x.rank - shape.length;
  const axes = x.shape.flatMap((length, axis) =>
    axis < missing || (shape[axis - missing] === 1 && length !== 1)
      ? [axis]
      : []
  );
  return reshape(sum(x, { axis: axes, keepDims: true }), shape);
}
