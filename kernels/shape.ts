/**
 * Ops that move elements without changing them. All have gradients for f32 tensors, and work for
 * i32 and u32 as well.
 *
 * @module
 */
import { apply, linearOp, type Op } from "../tensor/autograd.ts";
import { deviceInfo } from "../tensor/device.ts";
import { full } from "../tensor/fill.ts";
import { empties, Kernel, requireThat } from "../tensor/kernel.ts";
import {
  axesOf,
  axisOf,
  broadcastStrides,
  collapseAxes,
  stridesOf,
} from "../tensor/shape.ts";
import { sizeOf, Tensor } from "../tensor/tensor.ts";
import { lanesPerRow } from "./_lanes.ts";
import source from "./shape.wgsl" with { type: "text" };
import { sumTo } from "./reduce.ts";

const kernel = new Kernel("shape", source);

/** A strided window on a row-major tensor: of this shape, from this element on. */
interface Window {
  shape: readonly number[];
  strides: readonly number[];
  base: number;
}

/** Axes of a window that matter, at least two of them: all but the last count rows. */
function axesOfWindow(
  window: Window,
  largest: number,
): { shape: readonly number[]; strides: readonly number[] } {
  const { shape, strides: [strides] } = collapseAxes(window.shape, [
    window.strides,
  ]);
  if (shape.length > 1) return { shape, strides: strides! };
  const n = shape[0] ?? 1, stride = strides![0] ?? 0;
  // One row, unless it is too large for a binding.
  let length = n;
  if (largest * 4 > deviceInfo().maxBindingBytes) {
    for (length = 4096; n % length !== 0;) length /= 2;
  }
  return { shape: [n / length, length], strides: [stride * length, stride] };
}

function copy(
  entry: "pull" | "push",
  name: string,
  x: Tensor,
  out: Tensor,
  window: Window,
): void {
  if (sizeOf(window.shape) === 0) return;
  const { base } = window;
  const { shape, strides } = axesOfWindow(window, Math.max(x.size, out.size));
  requireThat(shape.length <= 8, name, "at most 8 axes can be moved", { x });
  const rows = shape[0]!, length = shape.at(-1)!;
  const outer = strides[0]!, step = strides.at(-1)!;

  // The strided side can be cut where the dense one is if it has as many rows and none is left.
  const reach = [base, base];
  shape.slice(1).forEach((n, i) => {
    const by = (n - 1) * strides[i + 1]!;
    reach[by < 0 ? 0 : 1]! += by;
  });
  const strided = entry === "pull" ? x : out;
  const inOrder = rows > 1 && reach[0]! >= 0 && reach[1]! < outer &&
    outer * rows === strided.size;
  const repeated = entry === "pull" && outer === 0;
  const { maxBindingBytes, offsetAlignment } = deviceInfo();
  let least = 1; // rows of a piece
  while (
    [outer, sizeOf(shape) / rows].some((n) =>
      least * n * 4 % offsetAlignment !== 0
    )
  ) least *= 2;
  const fine = inOrder && least * outer * 4 <= maxBindingBytes;
  if (strided.size * 4 > maxBindingBytes && !fine) {
    const whole = { shape, strides, base, low: reach[0]!, high: reach[1]! };
    if (copyPieces(entry, name, x, out, whole)) return;
  }

  const fours = length % 4 === 0;
  const packs = fours && step === 1 &&
    [base, ...strides.slice(0, -1)].every((n) => n % 4 === 0);
  const size = packs ? 4 : 1; // of what the strided side counts in
  const form = packs ? "_packs" : fours && entry === "pull" ? "_fours" : "";
  const units = form === "" ? length : length / 4;
  const lanes = lanesPerRow(units);
  const middle = shape.slice(1, -1).reverse();
  const steps = strides.slice(1, -1).map((stride) => stride / size).reverse();
  const [from, to] = [packs ? "x_packs" : "x", form ? "out_packs" : "out"];
  kernel.run(
    entry + form,
    {
      ...{ rows, row: sizeOf(middle), length: units, lanes },
      ...{ base: base / size, step, outer: outer / size },
      shape0: middle.slice(0, 4),
      shape1: middle.slice(4),
      strides0: steps.slice(0, 4),
      strides1: steps.slice(4),
    },
    { [from]: x, [to]: out },
    {
      constants: { MIDDLE: middle.length },
      workgroups: ({ rows, row }) =>
        Math.ceil(Number(rows) * Number(row) * lanes / 64),
      // Where the strided side cannot be cut along, it is passed whole and has to fit one binding.
      ...(inOrder || repeated
        ? { splitBy: "rows", split: inOrder ? [from, to] : [to] }
        : {}),
    },
  );
}

/** `length` elements of a tensor from an aligned one on, in the same memory. */
export function pieceOf(
  tensor: Tensor,
  start: number,
  length: number,
): Tensor {
  const bytes = Math.ceil(length / 4) * 16;
  const storage = tensor.storage.window(start * 4, bytes);
  const piece = new Tensor([length], tensor.dtype, storage);
  storage.release(); // the tensor has counted itself
  return piece;
}

/**
 * `copy` where the strided side is too large for a binding: by the part of it that the window touches,
 * or by halves of the window's rows. Rows touch the elements from `low` to `high`, counted for the
 * first of them.
 *
 * @returns Whether that was possible.
 */
function copyPieces(
  entry: "pull" | "push",
  name: string,
  x: Tensor,
  out: Tensor,
  window: Window & { low: number; high: number },
): boolean {
  const { shape, strides, base } = window;
  const [strided, dense] = entry === "pull" ? [x, out] : [out, x];
  const { maxBindingBytes, offsetAlignment } = deviceInfo();
  const aligned = offsetAlignment / 4;
  const rows = shape[0]!, outer = strides[0]!;
  const low = window.low + Math.min(0, (rows - 1) * outer);
  const end = window.high + Math.max(0, (rows - 1) * outer) + 1;
  const start = low - low % aligned;
  const run = (strided: Tensor, dense: Tensor, moved: Window) =>
    entry === "pull"
      ? copy(entry, name, strided, dense, moved)
      : copy(entry, name, dense, strided, moved);
  if ((end - start) * 4 <= maxBindingBytes && end - start < strided.size) {
    const part = pieceOf(strided, start, end - start);
    run(part, dense, { shape, strides, base: base - start });
    part.dispose();
    return true;
  }
  const row = sizeOf(shape) / rows;
  let multiple = 1; // of rows, so that a piece of the dense side begins aligned
  while (multiple * row % aligned !== 0) multiple *= 2;
  const half = Math.ceil(rows / 2 / multiple) * multiple;
  if (half >= rows) return false;
  for (const [from, to] of [[0, half], [half, rows]] as const) {
    const part = pieceOf(dense, from * row, (to - from) * row);
    run(strided, part, {
      shape: [to - from, ...shape.slice(1)],
      strides,
      base: base + from * outer,
    });
    part.dispose();
  }
  return true;
}

function read(name: string, x: Tensor, window: Window): Tensor {
  const out = empties(window.shape, x.dtype);
  copy("pull", name, x, out, window);
  return out;
}

const reshapeOp: Op<[x: Tensor], { shape: readonly number[] }> = {
  name: "reshape",
  forward: ([x], { shape }) => x.view(shape),
  backward: (dy, [x]) => [reshape(dy, x.shape)],
};

/**
 * The same elements under another shape; no copy.
 *
 * @param shape One length may be -1: it takes what is left.
 * @throws {TypeError} If the sizes differ.
 */
export function reshape(x: Tensor, shape: readonly number[]): Tensor {
  const known = sizeOf(shape.filter((length) => length !== -1));
  const wild = shape.filter((length) => length === -1).length;
  const full = shape.map((length) => length === -1 ? x.size / known : length);
  requireThat(
    wild <= 1 && sizeOf(full) === x.size && full.every(Number.isInteger),
    "reshape",
    "the new shape must hold as many elements",
    { x, shape },
  );
  if (full.join() === x.shape.join()) return x;
  return apply(reshapeOp, [x], { shape: full });
}

/** Joins the axes `from … to` (inclusive; defaults: all) into one. */
export function flatten(x: Tensor, from = 0, to = -1): Tensor {
  if (x.rank === 0) return reshape(x, [1]);
  const first = axisOf("flatten", from, x.rank),
    last = axisOf("flatten", to, x.rank);
  requireThat(first <= last, "flatten", "the axes must be in order", {
    x,
    from,
    to,
  });
  const joined = sizeOf(x.shape.slice(first, last + 1));
  return reshape(x, [
    ...x.shape.slice(0, first),
    joined,
    ...x.shape.slice(last + 1),
  ]);
}

/** Drops axes of length 1: the given ones, or all. */
export function squeeze(x: Tensor, axis?: number | readonly number[]): Tensor {
  const axes = axis === undefined
    ? axesOf("squeeze", undefined, x.rank).filter((i) => x.shape[i] === 1)
    : axesOf("squeeze", axis, x.rank);
  requireThat(
    axes.every((i) => x.shape[i] === 1),
    "squeeze",
    "the axes must have length 1",
    {
      x,
      axes: axes.join(", "),
    },
  );
  return reshape(x, x.shape.filter((_, i) => !axes.includes(i)));
}

/** Inserts an axis of length 1 before `axis`, which may be the rank (append) or negative. */
export function unsqueeze(x: Tensor, axis: number): Tensor {
  const at = axisOf("unsqueeze", axis, x.rank + 1);
  return reshape(x, [...x.shape.slice(0, at), 1, ...x.shape.slice(at)]);
}

const expandOp: Op<[x: Tensor], { shape: readonly number[] }> = {
  name: "expand",
  forward: ([x], { shape }) =>
    read("expand", x, {
      shape,
      strides: broadcastStrides(x.shape, shape),
      base: 0,
    }),
  backward: (dy, [x]) => [sumTo(dy, x.shape)],
};

/**
 * Repeats axes of length 1, and adds leading ones, up to `shape`.
 *
 * @throws {TypeError} If `x` does not stretch to `shape`.
 */
export function expand(x: Tensor, shape: readonly number[]): Tensor {
  const missing = shape.length - x.rank;
  requireThat(
    missing >= 0 &&
      x.shape.every((length, i) =>
        length === 1 || length === shape[i + missing]
      ),
    "expand",
    "lengths must be equal or 1, counted from the last axis",
    { x, shape },
  );
  if (shape.join() === x.shape.join()) return x;
  if (sizeOf(shape) === x.size) return reshape(x, shape);
  return apply(expandOp, [x], { shape: [...shape] });
}

const permuteOp: Op<[x: Tensor], { axes: readonly number[] }> = {
  name: "permute",
  forward: ([x], { axes }) => {
    const strides = stridesOf(x.shape);
    return read("permute", x, {
      shape: axes.map((axis) => x.shape[axis]!),
      strides: axes.map((axis) => strides[axis]!),
      base: 0,
    });
  },
  backward: (
    dy,
    _,
    { axes },
  ) => [permute(dy, axes.map((_, i) => axes.indexOf(i)))],
};

/**
 * Reorders axes: axis `i` of the result is axis `axes[i]` of `x`.
 *
 * @throws {RangeError} If `axes` is not a permutation.
 */
export function permute(x: Tensor, axes: readonly number[]): Tensor {
  const front = axes.map((axis) => axisOf("permute", axis, x.rank));
  axesOf("permute", front, x.rank); // refuses duplicates
  requireThat(
    front.length === x.rank,
    "permute",
    "every axis must be named once",
    {
      x,
      axes: axes.join(", "),
    },
  );
  // Axes of length 1 may go anywhere: if the others keep their order, nothing moves.
  const moving = front.filter((axis) => x.shape[axis] !== 1);
  if (moving.every((axis, i) => i === 0 || axis > moving[i - 1]!)) {
    return reshape(x, front.map((axis) => x.shape[axis]!));
  }
  return apply(permuteOp, [x], { axes: front });
}

/** Exchanges two axes; by default the last two. */
export function transpose(x: Tensor, a = -2, b = -1): Tensor {
  const axes = x.shape.map((_, axis) => axis);
  const i = axisOf("transpose", a, x.rank), j = axisOf("transpose", b, x.rank);
  [axes[i], axes[j]] = [axes[j]!, axes[i]!];
  return permute(x, axes);
}

const sliceOp = linearOp<{ shape: readonly number[]; window: Window }>(
  "slice",
  (x, { window }) => read("slice", x, window),
  (dy, { shape, window }) => {
    const dx = full(shape, 0);
    copy("push", "slice", dy, dx, window);
    return dx;
  },
);

/**
 * `x[start:end:step]` along every axis.
 *
 * @param start First index of each axis; negative counts from the end. Missing axes are taken whole.
 * @param end One past the last; defaults to the lengths. Out-of-range ends are cut.
 * @param step Positive; defaults to 1.
 */
export function slice(
  x: Tensor,
  start: readonly number[],
  end: readonly number[] = [],
  step: readonly number[] = [],
): Tensor {
  requireThat(
    start.length <= x.rank,
    "slice",
    "there are fewer axes than starts",
    { x, start },
  );
  const strides = stridesOf(x.shape);
  const window = { shape: [] as number[], strides: [] as number[], base: 0 };
  x.shape.forEach((length, axis) => {
    const bound = (index: number) =>
      Math.max(0, Math.min(length, index < 0 ? index + length : index));
    const by = step[axis] ?? 1;
    if (!Number.isInteger(by) || by < 1) {
      throw new RangeError(
        `Cannot apply slice as steps must be whole and positive: ${
          step.join(", ")
        }`,
      );
    }
    const from = bound(start[axis] ?? 0), to = bound(end[axis] ?? length);
    window.shape.push(Math.max(0, Math.ceil((to - from) / by)));
    window.strides.push(strides[axis]! * by);
    window.base += from * strides[axis]!;
  });
  if (window.shape.join() === x.shape.join()) return x;
  return apply(sliceOp, [x], { shape: x.shape, window });
}

/** `x[start … end-1]` along one axis. */
export function narrow(
  x: Tensor,
  axis: number,
  start: number,
  end: number,
): Tensor {
  const at = axisOf("narrow", axis, x.rank);
  return slice(
    x,
    x.shape.map((_, i) => i === at ? start : 0),
    x.shape.map((length, i) => i === at ? end : length),
  );
}

/**
 * Cuts `x` along an axis into pieces of the given lengths, or into equal pieces.
 *
 * @param lengths Lengths that sum to that of the axis, or the number of equal pieces.
 */
export function split(
  x: Tensor,
  lengths: number | readonly number[],
  axis = 0,
): Tensor[] {
  const at = axisOf("split", axis, x.rank), length = x.shape[at]!;
  const list = typeof lengths === "number"
    ? new Array<number>(lengths).fill(length / lengths)
    : lengths;
  requireThat(
    list.every(Number.isInteger) && list.reduce((a, b) => a + b, 0) === length,
    "split",
    "the pieces must add up to the length of the axis",
    { x, axis, pieces: list.join(" + ") },
  );
  let start = 0;
  return list.map((piece) => narrow(x, at, start, start += piece));
}

const concatOp: Op<Tensor[], { axis: number }> = {
  name: "concat",
  forward: (inputs, { axis }) => {
    const shape = [...inputs[0]!.shape];
    shape[axis] = inputs.reduce(
      (length, input) => length + input.shape[axis]!,
      0,
    );
    const out = empties(shape, inputs[0]!.dtype);
    const strides = stridesOf(shape);
    let base = 0;
    for (const input of inputs) {
      copy("push", "concat", input, out, {
        shape: input.shape,
        strides,
        base,
      });
      base += input.shape[axis]! * strides[axis]!;
    }
    return out;
  },
  backward: (dy, inputs, { axis }, { needs }) => {
    let start = 0;
    return inputs.map((input, i) => {
      const end = start + input.shape[axis]!;
      const dx = needs[i] ? narrow(dy, axis, start, end) : null;
      start = end;
      return dx;
    });
  },
};

/**
 * Joins tensors along an axis; the other axes must be equal.
 *
 * @param axis Defaults to 0.
 * @throws {TypeError} If shapes or element types do not fit, or there is no tensor.
 */
export function concat(tensors: readonly Tensor[], axis = 0): Tensor {
  const [first] = tensors;
  if (!first) {
    throw new TypeError(
      "Cannot apply concat as there must be a tensor: the list is empty",
    );
  }
  const at = axisOf("concat", axis, first.rank);
  for (const other of tensors) {
    requireThat(
      other.rank === first.rank && other.dtype === first.dtype &&
        other.shape.every((length, i) => i === at || length === first.shape[i]),
      "concat",
      `all axes but ${at} must be equal`,
      { first, other },
    );
  }
  return tensors.length === 1
    ? first
    : apply(concatOp, [...tensors], { axis: at });
}

/** Joins tensors of one shape along a new axis. */
export function stack(tensors: readonly Tensor[], axis = 0): Tensor {
  return concat(tensors.map((x) => unsqueeze(x, axis)), axis);
}

const padOp: Op<
  [x: Tensor],
  { shape: readonly number[]; before: readonly number[]; value: number }
> = {
  name: "pad",
  forward: ([x], { shape, before, value }) => {
    requireThat(x.dtype !== "f16", "pad", "elements must not be f16", { x });
    const out = full(shape, value, x.dtype);
    const strides = stridesOf(shape);
    const base = before.reduce((sum, k, axis) => sum + k * strides[axis]!, 0);
    copy("push", "pad", x, out, { shape: x.shape, strides, base });
    return out;
  },
  backward: (dy, [x], { before }) => [
    slice(dy, before, before.map((k, axis) => k + x.shape[axis]!)),
  ],
};

/**
 * Surrounds `x` with a value.
 *
 * @param padding `[left, right]` of the last axis, then of the one before, …, as `torch.nn.functional.pad`.
 *   Negative numbers cut.
 * @param value Defaults to 0.
 */
export function pad(x: Tensor, padding: readonly number[], value = 0): Tensor {
  requireThat(
    padding.length % 2 === 0 && padding.length <= 2 * x.rank,
    "pad",
    "there must be two numbers per axis",
    {
      x,
      padding: padding.join(", "),
    },
  );
  const side = (axis: number, end: 0 | 1) =>
    padding[2 * (x.rank - 1 - axis) + end] ?? 0;
  requireThat(
    x.shape.every((length, axis) =>
      length + Math.min(0, side(axis, 0)) + Math.min(0, side(axis, 1)) >= 0
    ),
    "pad",
    "no axis can lose more than its length",
    { x, padding },
  );
  const cut = slice(
    x,
    x.shape.map((_, axis) => Math.max(0, -side(axis, 0))),
    x.shape.map((length, axis) => length + Math.min(0, side(axis, 1))),
  );
  const before = x.shape.map((_, axis) => Math.max(0, side(axis, 0)));
  const shape = cut.shape.map((n, axis) =>
    n + before[axis]! + Math.max(0, side(axis, 1))
  );
  if (shape.join() === cut.shape.join()) return cut;
  return apply(padOp, [cut], { shape, before, value });
}

const flipOp: Op<[x: Tensor], { axes: readonly number[] }> = {
  name: "flip",
  forward: ([x], { axes }) => {
    const strides = stridesOf(x.shape);
    let base = 0;
    for (const axis of axes) {
      base += (x.shape[axis]! - 1) * strides[axis]!;
      strides[axis]! *= -1;
    }
    return read("flip", x, { shape: x.shape, strides, base });
  },
  backward: (dy, _, { axes }) => [flip(dy, axes)],
};

/** Reverses axes. */
export function flip(x: Tensor, axis: number | readonly number[]): Tensor {
  return apply(flipOp, [x], { axes: axesOf("flip", axis, x.rank) });
}

/** Repeats the whole tensor along each axis, as `torch.Tensor.repeat`; leading axes may be added. */
export function repeat(x: Tensor, times: readonly number[]): Tensor {
  requireThat(
    times.length >= x.rank,
    "repeat",
    "there must be a number per axis",
    { x, times },
  );
  const shape = [
    ...new Array<number>(times.length - x.rank).fill(1),
    ...x.shape,
  ];
  // [n] repeated t times is [1, n] expanded to [t, n] and flattened.
  const apart = reshape(x, shape.flatMap((length) => [1, length]));
  const wide = expand(apart, shape.flatMap((length, i) => [times[i]!, length]));
  return reshape(wide, shape.map((length, i) => length * times[i]!));
}
