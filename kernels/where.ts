/**
 * Choice between two tensors.
 *
 * @module
 */
import { apply, type Op } from "../tensor/autograd.ts";
import { full } from "../tensor/fill.ts";
import { empties, Kernel, requireThat } from "../tensor/kernel.ts";
import {
  broadcastShapes,
  broadcastStrides,
  collapseAxes,
} from "../tensor/shape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { sumTo } from "./reduce.ts";
import source from "./where.wgsl" with { type: "text" };

const kernel = new Kernel("where", source);

const whereOp: Op<
  [cond: Tensor, a: Tensor, b: Tensor],
  { shape: readonly number[] }
> = {
  name: "where",
  forward: ([cond, a, b], { shape }) => {
    const out = empties(shape, a.dtype);
    const operands = { cond, a, b };
    const collapsed = collapseAxes(
      shape,
      Object.values(operands).map((x) => broadcastStrides(x.shape, shape)),
    );
    const rank = collapsed.shape.length;
    requireThat(
      rank <= 8,
      "where",
      "at most 8 axes can be broadcast",
      operands,
    );
    const halves = (name: string, list: readonly number[], fill: number) => {
      const padded = [...new Array<number>(8 - rank).fill(fill), ...list];
      return {
        [`${name}0`]: padded.slice(0, 4),
        [`${name}1`]: padded.slice(4),
      };
    };
    const rows = collapsed.shape[0] ?? 1;
    const params = {
      rows,
      row: out.size / rows,
      ...halves("shape", collapsed.shape, 1),
    };
    const split = ["out"];
    Object.keys(operands).forEach((name, i) => {
      const strides = collapsed.strides[i]!;
      Object.assign(params, halves(`${name}_strides`, strides, 0));
      if (strides[0]) split.push(name);
    });
    return kernel.run("choose", params, { ...operands, out }, {
      constants: { IGNORED_BITS: Number(cond.dtype === "f32") },
      workgroups: ({ rows, row }) => Math.ceil(Number(rows) * Number(row) / 64),
      splitBy: "rows",
      split,
    });
  },
  backward: (dy, [cond, a, b], _, { needs }) => [
    null,
    needs[1] ? sumTo(where(cond, dy, 0), a.shape) : null,
    needs[2] ? sumTo(where(cond, 0, dy), b.shape) : null,
  ],
};

/**
 * `a` where `cond` is not 0, else `b`; all three are broadcast as NumPy does.
 *
 * @param cond Any element type; no gradient.
 * @param a Of the same element type as `b`; at most one of both may be a number.
 * @throws {TypeError} If shapes or element types do not fit.
 */
export function where(cond: Tensor, a: Tensor, b: Tensor | number): Tensor;
/** The same with a number for `a`. */
export function where(cond: Tensor, a: number, b: Tensor): Tensor;
export function where(
  cond: Tensor,
  a: Tensor | number,
  b: Tensor | number,
): Tensor {
  const dtype = typeof a !== "number" ? a.dtype : (b as Tensor).dtype;
  const left = typeof a === "number" ? full([], a, dtype) : a;
  const right = typeof b === "number" ? full([], b, dtype) : b;
  requireThat(
    left.dtype === right.dtype,
    "where",
    "a and b must have one element type",
    { a: String(left), b: String(right) },
  );
  const choice = broadcastShapes("where", left.shape, right.shape);
  const shape = broadcastShapes("where", cond.shape, choice);
  return apply(whereOp, [cond, left, right], { shape });
}
