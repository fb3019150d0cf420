/**
 * Picking elements and rows by index. An index is clamped to the axis, so that nothing outside is
 * read; one in a list of numbers, which the host can see, is checked instead.
 *
 * @module
 */
import { apply, linearOp } from "../tensor/autograd.ts";
import { ceilDiv, empties, Kernel, requireThat } from "../tensor/kernel.ts";
import { axisOf, span } from "../tensor/shape.ts";
import { show, type Tensor, tensor } from "../tensor/tensor.ts";
import {
  assemble,
  fits,
  partOf,
  type Span,
  spansOf,
  summed,
} from "./_pieces.ts";
import source from "./index.wgsl" with { type: "text" };
import { reshape, slice } from "./shape.ts";

/** Whole numbers: an i32 tensor, or a list of shape `[m]`. */
export type Indices = Tensor | Int32Array<ArrayBuffer> | readonly number[];

const kernel = new Kernel("index", source);

/** `x` is `[outer, n, inner]`, the result `[outer, m, inner]`. */
type Sizes = Readonly<Record<"outer" | "n" | "m" | "inner", number>>;

/**
 * Runs an entry point with one invocation per element of `[outer, along, inner]`.
 *
 * @param rows If only a piece of them is at hand, `n` rows: where it begins, and how many there are.
 */
function run(
  entry: string,
  along: "n" | "m",
  sizes: Sizes,
  tensors: Record<string, Tensor>,
  split: readonly string[],
  rows = { first_row: 0, rows: sizes.n },
): Tensor {
  return kernel.run(entry, { ...sizes, ...rows }, tensors, {
    workgroups: ({ outer }) =>
      ceilDiv(Number(outer) * sizes[along] * sizes.inner, 64),
    splitBy: "outer",
    split,
  });
}

/** Indices as a tensor; `n` is the number of rows to pick from. */
function indicesOf(name: string, index: Indices, n: number): Tensor {
  if (!("dtype" in index)) {
    const odd = Array.from(index).find((i) =>
      !Number.isInteger(i) || i < 0 || i >= n
    );
    if (odd !== undefined) {
      throw new RangeError(
        `Cannot apply ${name} as indices must be whole and lie in 0 … ${
          n - 1
        }: one is ${odd}`,
      );
    }
    return tensor(Int32Array.from(index));
  }
  requireThat(index.dtype === "i32", name, "indices must be i32", {
    index: String(index),
  });
  if (n === 0 && index.size > 0) {
    throw new RangeError(
      `Cannot apply ${name} as there is nothing to pick from: index is ${
        show(index)
      }`,
    );
  }
  return index;
}

/** What is picked, from a tensor of which shape. */
type Picks = Sizes & { index: Tensor; shape: readonly number[] };

const gatherOp = linearOp<Picks>(
  "gather",
  (x, { index, shape: _, ...sizes }) => {
    const out = empties(index.shape, x.dtype);
    return run("gather", "m", sizes, { x, index, out }, ["x", "index", "out"]);
  },
  (dy, { index, shape, ...sizes }) => {
    const tensors = { index, dy, sums: empties(shape) };
    return run("gather_backward", "n", sizes, tensors, ["index", "dy", "sums"]);
  },
);

/**
 * Picks one element of `x` along an axis for every index, as `torch.gather`: for three axes and
 * axis 1, `y[i, j, k] = x[i, index[i, j, k], k]`.
 *
 * @param x Any element type.
 * @param axis The axis that is indexed; negative counts from the back.
 * @param index i32, of the rank of `x`; its other axes are at most as long as those of `x`.
 * @returns The shape of `index`.
 * @throws {TypeError} If `index` is not i32, or its shape does not fit.
 */
export function gather(x: Tensor, axis: number, index: Tensor): Tensor {
  requireThat(
    index.rank === x.rank,
    "gather",
    "index must have the rank of x",
    { x, index: String(index) },
  );
  const at = axisOf("gather", axis, x.rank);
  requireThat(
    index.shape.every((length, i) => i === at || length <= x.shape[i]!),
    "gather",
    `index must not be longer than x along any axis but ${at}`,
    { x, index: String(index) },
  );
  const n = x.shape[at]!;
  const picks = indicesOf("gather", index, n);
  const end = index.shape.map((length, i) => i === at ? n : length);
  const cut = slice(x, [], end);
  return apply(gatherOp, [cut], {
    index: picks,
    shape: cut.shape,
    outer: span(index.shape, 0, at),
    n,
    m: index.shape[at]!,
    inner: span(index.shape, at + 1),
  });
}

/** Every item of an axis by itself. */
function items(length: number): Span[] {
  return Array.from({ length }, (_, i) => [i, i + 1]);
}

/** Rows of `[outer, n, inner]`; piece by piece along an axis of a tensor that exceeds one binding. */
function select(x: Tensor, index: Tensor, into?: Tensor): Tensor {
  const [outer, n, inner] = x.shape as [number, number, number];
  const m = index.size, shape = [outer, m, inner];
  if (outer > 1 && !(fits([n, inner]) && fits([m, inner]))) {
    return assemble(
      shape,
      0,
      items(outer),
      (part, place) => select(partOf(x, 0, part), index, place),
      into,
    );
  }
  if (outer === 1 && m > 1 && !fits(shape)) {
    return assemble(
      shape,
      1,
      spansOf(shape, 1),
      (part, place) => select(x, partOf(index, 0, part), place),
      into,
    );
  }
  const out = into ?? empties(shape, x.dtype);
  const pieces = outer === 1 ? spansOf(x.shape, 1) : [[0, n]] as const;
  for (const [from, to] of pieces) {
    const sizes = { outer, n: to - from, m, inner };
    const tensors = { x: partOf(x, 1, [from, to]), index, out };
    const rows = { first_row: from, rows: n };
    run("select_rows", "m", sizes, tensors, ["x", "out"], rows);
  }
  return out;
}

/** The gradient of `select`, `[outer, n, inner]`, piece by piece where that must be. */
function selectBackward(
  dy: Tensor,
  index: Tensor,
  n: number,
  into?: Tensor,
): Tensor {
  const [outer, m, inner] = dy.shape as [number, number, number];
  const shape = [outer, n, inner];
  if (outer > 1 && !(fits([n, inner]) && fits([m, inner]))) {
    return assemble(
      shape,
      0,
      items(outer),
      (part, place) => selectBackward(partOf(dy, 0, part), index, n, place),
      into,
    );
  }
  if (outer === 1 && m > 1 && !fits(dy.shape)) {
    return summed(
      spansOf(dy.shape, 1),
      (part, _, place) =>
        selectBackward(partOf(dy, 1, part), partOf(index, 0, part), n, place),
      into,
    );
  }
  const links = empties([n + m], "u32");
  const sizes = { outer, n, m, inner, first_row: 0, rows: n };
  kernel.run("link", sizes, { index, next: links }, {
    workgroups: () => ceilDiv(links.size, 64),
  });
  const pieces = outer === 1 ? spansOf(shape, 1) : [[0, n]] as const;
  return assemble(shape, 1, pieces, ([from, to], place) => {
    const sizes = { outer, n: to - from, m, inner };
    const sums = place ?? empties([outer, to - from, inner]);
    const rows = { first_row: from, rows: n };
    return run("select_backward", "n", sizes, { links, dy, sums }, [
      "dy",
      "sums",
    ], rows);
  }, into);
}

const indexSelectOp = linearOp<Picks & { axis: number }>(
  "indexSelect",
  (x, { index, axis, outer, n, m, inner }) =>
    select(x.view([outer, n, inner]), index).view(x.shape.with(axis, m)),
  (dy, { index, shape, outer, n, m, inner }) =>
    selectBackward(dy.view([outer, m, inner]), index, n).view(shape),
);

/**
 * Picks rows of `x` along an axis: row `k` of the result is row `index[k]`.
 *
 * @param x Any element type.
 * @param axis The axis that is indexed; negative counts from the back.
 * @param index Of shape `[m]`.
 * @returns The shape of `x`, with length `m` along the axis.
 * @throws {TypeError} If `index` is a tensor that is not i32 with one axis.
 * @throws {RangeError} If a number in a list is out of range.
 */
export function indexSelect(x: Tensor, axis: number, index: Indices): Tensor {
  const at = axisOf("indexSelect", axis, x.rank);
  const n = x.shape[at]!;
  const picks = indicesOf("indexSelect", index, n);
  requireThat(picks.rank === 1, "indexSelect", "index must have one axis", {
    x,
    index: picks,
  });
  return apply(indexSelectOp, [x], {
    index: picks,
    shape: x.shape,
    axis: at,
    outer: span(x.shape, 0, at),
    n,
    m: picks.size,
    inner: span(x.shape, at + 1),
  });
}

/**
 * Rows of a table, `y[...] = weight[index[...]]`.
 *
 * @param weight `[rows, width]`.
 * @param index Any shape.
 * @returns The shape of `index` followed by `width`.
 * @throws {TypeError} If `index` is a tensor that is not i32, or `weight` is not a table.
 * @throws {RangeError} If a number in a list is out of range.
 */
export function embedding(weight: Tensor, index: Indices): Tensor {
  requireThat(weight.rank === 2, "embedding", "weight must be [rows, width]", {
    weight,
  });
  const [rows, width] = weight.shape as [number, number];
  const picks = indicesOf("embedding", index, rows);
  const picked = indexSelect(weight, 0, reshape(picks, [picks.size]));
  return reshape(picked, [...picks.shape, width]);
}

/**
 * 1 at the index and 0 elsewhere, along a new last axis; f32, no gradient. An index in a tensor that
 * is out of range gives zeros.
 *
 * @param index Any shape.
 * @param numClasses Length of the new axis.
 * @throws {TypeError} If `index` is a tensor that is not i32.
 * @throws {RangeError} If a number in a list is out of range.
 */
export function oneHot(index: Indices, numClasses: number): Tensor {
  const picks = indicesOf("oneHot", index, numClasses);
  const sums = empties([...picks.shape, numClasses]);
  const sizes = { outer: picks.size, n: numClasses, m: 1, inner: 1 };
  return run("one_hot", "n", sizes, { index: picks, sums }, ["index", "sums"]);
}
