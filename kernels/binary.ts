/**
 * Elementwise functions of two tensors, broadcast as NumPy does. Either operand may be a number.
 *
 * @module
 */
import { apply, gradientsThrough, type Op } from "../tensor/autograd.ts";
import { full } from "../tensor/fill.ts";
import { empties, Kernel, type Params, requireThat } from "../tensor/kernel.ts";
import {
  broadcastShapes,
  broadcastStrides,
  collapseAxes,
} from "../tensor/shape.ts";
import { sizeOf, Tensor } from "../tensor/tensor.ts";
import { lanesPerRow } from "./_lanes.ts";
import fours from "./_fours.wgsl" with { type: "text" };
import source from "./binary.wgsl" with { type: "text" };
import { sumTo } from "./reduce.ts";
import { expand } from "./shape.ts";
import { log, powScalar, reciprocal, scale } from "./unary.ts";
import { where } from "./where.ts";

const kernel = new Kernel("binary", fours, source);
const quarters = ({ n }: Params) => Math.ceil(Number(n) / 1024);
const NO_STRIDES = [0, 0, 0, 0];
const FLAT = {
  ...{ rows: 0, row: 0, length: 0, lanes: 1, step: [0, 0], outer: [0, 0] },
  a_scalar: 0,
  b_scalar: 0,
  shape0: NO_STRIDES,
  shape1: NO_STRIDES,
  a_strides0: NO_STRIDES,
  a_strides1: NO_STRIDES,
  b_strides0: NO_STRIDES,
  b_strides1: NO_STRIDES,
};

function forward(name: string, kind: string, a: Tensor, b: Tensor): Tensor {
  const shape = broadcastShapes(name, a.shape, b.shape);
  const out = empties(shape);
  const constants = { KIND: kernel.code(kind) };
  const aScalar = a.size === 1 && out.size > 1,
    bScalar = b.size === 1 && out.size > 1;
  if ((aScalar || a.size === out.size) && (bScalar || b.size === out.size)) {
    const params = {
      ...FLAT,
      n: out.size,
      a_scalar: Number(aScalar),
      b_scalar: Number(bScalar),
    };
    const split = ["out", ...(aScalar ? [] : ["a"]), ...(bScalar ? [] : ["b"])];
    const tensors = { a, b, out };
    return kernel.run("equal", params, tensors, {
      constants,
      workgroups: quarters,
      splitBy: "n",
      split,
    });
  }
  return broadcast(name, a, b, out, constants);
}

/** `out = f(a, b)` for operands that repeat along some axes; there are at least two that matter. */
function broadcast(
  name: string,
  a: Tensor,
  b: Tensor,
  out: Tensor,
  constants: Readonly<Record<string, number>>,
): Tensor {
  const { shape, strides } = collapseAxes(out.shape, [
    broadcastStrides(a.shape, out.shape),
    broadcastStrides(b.shape, out.shape),
  ]);
  requireThat(shape.length <= 8, name, "at most 8 axes can be broadcast", {
    a,
    b,
  });
  const [ofA, ofB] = strides as [number[], number[]];
  const rows = shape[0]!, length = shape.at(-1)!;
  const step = [ofA.at(-1)!, ofB.at(-1)!];
  const packs = length % 4 === 0 && strides.every((own) =>
    own.at(-1) === 0 ||
    (own.at(-1) === 1 && own.slice(0, -1).every((n) => n % 4 === 0))
  );
  // A repeated operand is read by the element, the others by the pack.
  const inUnits = (own: number[]) =>
    packs && own.at(-1) === 1 ? own.map((stride) => stride / 4) : own;
  const [aUnits, bUnits] = [inUnits(ofA), inUnits(ofB)];
  const middle = (list: readonly number[]) => list.slice(1, -1).reverse();
  const units = packs ? length / 4 : length;
  const lanes = lanesPerRow(units);
  const params = {
    ...FLAT,
    n: out.size,
    rows,
    row: sizeOf(middle(shape)),
    ...{ length: units, lanes, step, outer: [aUnits[0]!, bUnits[0]!] },
    shape0: middle(shape).slice(0, 4),
    shape1: middle(shape).slice(4),
    a_strides0: middle(aUnits).slice(0, 4),
    a_strides1: middle(aUnits).slice(4),
    b_strides0: middle(bUnits).slice(0, 4),
    b_strides1: middle(bUnits).slice(4),
  };
  const elements = { a_elements: a, b_elements: b };
  const repeats = step[0] === 0 ? "A" : step[1] === 0 ? "B" : "NEITHER";
  kernel.run(
    packs ? "broadcast_packs" : "broadcast",
    params,
    packs ? { ...elements, a, b, out } : { ...elements, out_elements: out },
    {
      constants: {
        ...constants,
        MIDDLE: middle(shape).length,
        ...(packs ? { REPEATS: kernel.code(repeats) } : {}),
      },
      workgroups: ({ rows, row }) =>
        Math.ceil(Number(rows) * Number(row) * lanes / 64),
      splitBy: "rows",
      split: [
        ...["out", "out_elements"],
        ...(ofA[0] ? ["a", "a_elements"] : []),
        ...(ofB[0] ? ["b", "b_elements"] : []),
      ],
    },
  );
  return out;
}

/** `dy · ∂f/∂a` or `∂f/∂b` in the output's shape, for operands that may be smaller. */
function derivative(
  kind: string,
  side: 0 | 1,
  dy: Tensor,
  a: Tensor,
  b: Tensor,
): Tensor {
  const params = { ...FLAT, n: dy.size };
  const tensors = {
    a: expand(a, dy.shape),
    b: expand(b, dy.shape),
    dy,
    out: empties(dy.shape),
  };
  return kernel.run("backward", params, tensors, {
    constants: { KIND: kernel.code(kind), SIDE: side },
    workgroups: quarters,
    splitBy: "n",
    split: ["a", "b", "dy", "out"],
  });
}

type Gradient = (dy: Tensor, a: Tensor, b: Tensor) => Tensor;

/**
 * `derivative` with gradients of its own: those of `formula`, the same made of ops. Where there is none,
 * f consists of planes, and `dy` alone has one.
 */
function slope(
  name: string,
  kind: string,
  side: 0 | 1,
  formula?: Gradient,
): Gradient {
  const op: Op<[dy: Tensor, a: Tensor, b: Tensor], null> = {
    name: `the gradient of ${name}`,
    forward: ([dy, a, b]) => derivative(kind, side, dy, a, b),
    backward: (g, inputs, _, { needs }) =>
      formula
        ? gradientsThrough(formula, inputs, g, needs)
        : [run(g, inputs[1], inputs[2]), null, null],
  };
  const run: Gradient = (dy, a, b) => apply(op, [dy, a, b], null);
  return run;
}

/** Makes a public function; `gradients` are those of `a` and of `b` before broadcasting is undone. */
function binary(
  name: string,
  kind: string,
  gradients: readonly [Gradient, Gradient] | null = [
    slope(name, kind, 0),
    slope(name, kind, 1),
  ],
): (a: Tensor | number, b: Tensor | number) => Tensor {
  const op: Op<[a: Tensor, b: Tensor], null> = {
    name,
    forward: ([a, b]) => forward(name, kind, a, b),
    backward: (dy, [a, b], _, { needs }) => [
      needs[0] && gradients ? sumTo(gradients[0](dy, a, b), a.shape) : null,
      needs[1] && gradients ? sumTo(gradients[1](dy, a, b), b.shape) : null,
    ],
  };
  return (a, b) => {
    const left = typeof a === "number" ? full([], a) : a;
    const right = typeof b === "number" ? full([], b) : b;
    requireThat(
      left.dtype === "f32" && right.dtype === "f32",
      name,
      "elements must be f32",
      {
        a: String(left),
        b: String(right),
      },
    );
    return apply(op, [left, right], null);
  };
}

const addOp = binary("add", "ADD", [(dy) => dy, (dy) => dy]);
const subOp = binary("sub", "SUB", [(dy) => dy, (dy) => scale(dy, -1)]);
const mulOp = binary("mul", "MUL", [
  (dy, _, b) => mul(dy, b),
  (dy, a) => mul(dy, a),
]);
const divOp = binary("div", "DIV", [
  (dy, _, b) => div(dy, b),
  slope("div", "DIV", 1, (dy, a, b) => scale(div(mul(dy, div(a, b)), b), -1)),
]);
const powOp = binary("pow", "POW", [
  slope("pow", "POW", 0, (dy, a, b) => mul(dy, mul(b, pow(a, sub(b, 1))))),
  slope("pow", "POW", 1, (dy, a, b) => {
    const base = where(greater(a, 0), a, 1); // else the gradient is 0, as log(1) is
    return mul(dy, mul(pow(a, b), log(base)));
  }),
]);

/** `a + b`. */
export function add(a: Tensor | number, b: Tensor | number): Tensor {
  if (typeof b === "number" && a instanceof Tensor) return scale(a, 1, b);
  if (typeof a === "number" && b instanceof Tensor) return scale(b, 1, a);
  return addOp(a, b);
}

/** `a - b`. */
export function sub(a: Tensor | number, b: Tensor | number): Tensor {
  if (typeof b === "number" && a instanceof Tensor) return scale(a, 1, -b);
  if (typeof a === "number" && b instanceof Tensor) return scale(b, -1, a);
  return subOp(a, b);
}

/** `a · b`, elementwise. */
export function mul(a: Tensor | number, b: Tensor | number): Tensor {
  if (typeof b === "number" && a instanceof Tensor) return scale(a, b);
  if (typeof a === "number" && b instanceof Tensor) return scale(b, a);
  return mulOp(a, b);
}

/** `a / b`. */
export function div(a: Tensor | number, b: Tensor | number): Tensor {
  if (a === 1 && b instanceof Tensor) return reciprocal(b);
  return divOp(a, b);
}

/** `aᵇ`; a negative base needs a whole exponent, whose own gradient is then 0. */
export function pow(a: Tensor | number, b: Tensor | number): Tensor {
  if (typeof b === "number" && a instanceof Tensor) return powScalar(a, b);
  return powOp(a, b);
}

/** The larger of both; on a tie each gets half the gradient. */
export const maximum: (a: Tensor | number, b: Tensor | number) => Tensor =
  binary(
    "maximum",
    "MAXIMUM",
  );
/** The smaller of both; on a tie each gets half the gradient. */
export const minimum: (a: Tensor | number, b: Tensor | number) => Tensor =
  binary(
    "minimum",
    "MINIMUM",
  );
/** 1 where `a = b`, else 0; no gradient. */
export const equal: (a: Tensor | number, b: Tensor | number) => Tensor = binary(
  "equal",
  "EQUAL",
  null,
);
/** 1 where `a < b`, else 0; no gradient. */
export const less: (a: Tensor | number, b: Tensor | number) => Tensor = binary(
  "less",
  "LESS",
  null,
);
/** 1 where `a ≤ b`, else 0; no gradient. */
export const lessEqual: (a: Tensor | number, b: Tensor | number) => Tensor =
  binary(
    "lessEqual",
    "LESS_EQUAL",
    null,
  );
/** 1 where `a > b`, else 0; no gradient. */
export function greater(a: Tensor | number, b: Tensor | number): Tensor {
  return less(b, a);
}
/** 1 where `a ≥ b`, else 0; no gradient. */
export function greaterEqual(a: Tensor | number, b: Tensor | number): Tensor {
  return lessEqual(b, a);
}
/** 1 where `a ≠ b`, else 0; no gradient. */
export function notEqual(a: Tensor | number, b: Tensor | number): Tensor {
  return scale(equal(a, b), -1, 1);
}
