/**
 * Choice between two tensors.
 *
 * @module
 */
import { apply, type Op } from "../tensor/autograd.ts";
import { full } from "../tensor/fill.ts";
import { ceilDiv, empties, Kernel, requireThat } from "../tensor/kernel.ts";
import {
  broadcastShapes,
  broadcastStrides,
  collapseAxes,
} from "../tensor/shape.ts";
import { sizeOf, type Tensor } from "../tensor/tensor.ts";
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
    requireThat(
      collapsed.shape.length <= 8,
      "where",
      "at most 8 axes can be broadcast",
      operands,
    );
    const { strides } = collapsed;
    const length = collapsed.shape.at(-1) ?? 1;
    const others = collapsed.shape.slice(0, -1).reverse();
    const step = strides.map((own) => own.at(-1) ?? 0);
    const fours = others.length === 0 ||
      length % 4 === 0 && strides.every((own) =>
          own.at(-1) === 0 ||
          (own.at(-1) === 1 && own.slice(0, -1).every((n) => n % 4 === 0))
        );
    const shares = ceilDiv(length, fours ? 16 : 4);
    const near = Math.min(8, shares);
    const rows = others.at(-1) ?? 1;
    const halves = (name: string, list: readonly number[]) => ({
      [`${name}0`]: list.slice(0, 4),
      [`${name}1`]: list.slice(4),
    });
    const inOrder = (i: number) => strides[i]!.slice(0, -1).reverse();
    const params = {
      ...{ rows, row: sizeOf(others) / rows, length, step },
      ...{ lanes: ceilDiv(shares, near) * near, near },
      ...halves("shape", others),
      ...halves("cond_strides", inOrder(0)),
      ...halves("a_strides", inOrder(1)),
      ...halves("b_strides", inOrder(2)),
    };
    const name = (x: string) => fours ? `${x}_fours` : x;
    const cut = Object.keys(operands).filter((_, i) => strides[i]![0]);
    const tensors = Object.entries({ ...operands, out }).map((
      [x, tensor],
    ) => [name(x), tensor]);
    kernel.run(
      fours ? "fours" : "elements",
      params,
      Object.fromEntries(tensors),
      {
        constants: {
          IGNORED_BITS: Number(cond.dtype === "f32"),
          AXES: others.length,
        },
        workgroups: ({ rows, row, length, lanes }) =>
          ceilDiv(
            others.length === 0
              ? ceilDiv(Number(length), 16)
              : Number(rows) * Number(row) * Number(lanes),
            64,
          ),
        splitBy: others.length === 0 ? "length" : "rows",
        split: [...cut, "out"].map(name),
      },
    );
    return out;
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
  const { dtype } = typeof a !== "number" ? a : b as Tensor;
  requireThat(dtype !== "f16", "where", "elements must not be f16", {
    a: String(a),
    b: String(b),
  });
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
