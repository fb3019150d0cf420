/**
 * Softmax and its logarithm along one axis.
 *
 * @module
 */
import { apply, gradientsThrough, type Op } from "../tensor/autograd.ts";
import { deviceInfo } from "../tensor/device.ts";
import {
  empties,
  Kernel,
  like,
  type Params,
  requireThat,
} from "../tensor/kernel.ts";
import { axisOf, span } from "../tensor/shape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import pack1 from "./_pack1.wgsl" with { type: "text" };
import pack4 from "./_pack4.wgsl" with { type: "text" };
import { mul, sub } from "./binary.ts";
import { sum } from "./reduce.ts";
import source from "./softmax.wgsl" with { type: "text" };
import { exp, scale as scaled } from "./unary.ts";

const one = new Kernel("softmax", pack1, source);
const four = new Kernel("softmax", pack4, source);

/** Rows that keep a processor busy, one to an invocation. */
const ENOUGH_ROWS = 128;

interface Attrs {
  axis: number;
  /** Factor on `x`. */
  scale: number;
  /** Length of the axis before the last if query t sees the keys up to t only, else 0. */
  queries: number;
}

/**
 * Invocations that share a row of n: about √n / 2, so that the share of each stays well above the
 * number of those that it has to join. A processor's few lanes are filled by as many rows.
 */
function lanesOf(rows: number, n: number): number {
  if (deviceInfo().software && rows >= ENOUGH_ROWS) return 1;
  return 2 ** Math.max(0, Math.round(Math.log2(n) / 2 - 1));
}

/** The gradient from that of y, made of ops. */
function slope(kind: string, { axis, scale }: Attrs) {
  const total = (x: Tensor) => sum(x, { axis, keepDims: true });
  return (y: Tensor, dy: Tensor) => {
    const dx = kind === "SOFTMAX"
      ? mul(y, sub(dy, total(mul(y, dy))))
      : sub(dy, mul(exp(y), total(dy)));
    return scaled(dx, scale);
  };
}

function softmaxOp(name: string, kind: string): Op<[x: Tensor], Attrs> {
  const constants = { KIND: one.code(kind) };
  const launch = {
    constants,
    workgroups: ({ outer, lanes, inner }: Params) =>
      Math.ceil(Number(outer) * Number(lanes) * Number(inner) / 64),
    splitBy: "outer",
    split: ["x", "y", "dy", "partial", "partial_out", "out"],
  };
  /**
   * Runs both stages: every lane over its share, then every lane over what all have found; on the CPU,
   * where an invocation has no neighbours to wait for, the entry point that does both.
   */
  function run(
    stages: readonly [string, string, whole: string],
    { axis, scale, queries }: Attrs,
    first: Record<string, Tensor>,
    second: Record<string, Tensor>,
  ): Tensor {
    const x = Object.values(first)[0]!;
    const length = x.shape[axis]!;
    const outer = span(x.shape, 0, axis), inner = span(x.shape, axis + 1);
    const packs = inner === 1 && queries === 0 && length % 4 === 0;
    const kernel = packs ? four : one;
    const n = packs ? length / 4 : length;
    const lanes = lanesOf(outer * inner, n);
    const params = { outer, n, inner, lanes, first: 0, queries, scale };
    if (inner === 1 && lanes === 1 && deviceInfo().executor === "cpu") {
      return kernel.run(stages[2], params, { ...second, out: like(x) }, {
        ...launch,
        workgroups: ({ outer }) => Number(outer),
      });
    }
    const partial = empties([outer, lanes, inner, 2]);
    kernel.run(stages[0], params, { ...first, partial_out: partial }, launch);
    const out = like(x);
    return kernel.run(stages[1], params, { ...second, partial, out }, launch);
  }
  const slopeOp: Op<[y: Tensor, dy: Tensor], Attrs> = {
    name: `the gradient of ${name}`,
    forward: ([y, dy], attrs) =>
      run(["dots", "backward", "whole_backward"], attrs, { y, dy }, { y, dy }),
    backward: (g, inputs, attrs, { needs }) =>
      gradientsThrough(slope(kind, attrs), inputs, g, needs),
  };
  return {
    name,
    forward: ([x], attrs) =>
      run(["stats", "forward", "whole"], attrs, { x }, { x }),
    backward: (dy, _, attrs, { output: y }) => [apply(slopeOp, [y, dy], attrs)],
  };
}

const plain = softmaxOp("softmax", "SOFTMAX");
const logarithmic = softmaxOp("logSoftmax", "LOG_SOFTMAX");

function along(op: Op<[x: Tensor], Attrs>, x: Tensor, axis: number): Tensor {
  requireThat(x.dtype === "f32", op.name, "elements must be f32", { x });
  const at = axisOf(op.name, axis, x.rank);
  return apply(op, [x], { axis: at, scale: 1, queries: 0 });
}

/**
 * `eˣ / Σ eˣ` along an axis; large inputs do not overflow.
 *
 * @param x Any shape but `[]`.
 * @param axis Defaults to the last.
 * @throws {RangeError} If there is no such axis.
 */
export function softmax(x: Tensor, axis = -1): Tensor {
  return along(plain, x, axis);
}

/**
 * `x - log Σ eˣ` along an axis; exact also where the probability is 0 in f32.
 *
 * @param x Any shape but `[]`.
 * @param axis Defaults to the last.
 * @throws {RangeError} If there is no such axis.
 */
export function logSoftmax(x: Tensor, axis = -1): Tensor {
  return along(logarithmic, x, axis);
}

/**
 * The weights of attention, `softmax(scale · scores)` over the keys in one kernel.
 *
 * @param scores `[..., T, S]`: T queries, S keys.
 * @param causal Whether query t sees the keys 0 … t only; the others get 0.
 * @internal
 */
export function attentionWeights(
  scores: Tensor,
  scale: number,
  causal: boolean,
): Tensor {
  const queries = causal ? scores.shape.at(-2)! : 0;
  return apply(plain, [scores], { axis: scores.rank - 1, scale, queries });
}
