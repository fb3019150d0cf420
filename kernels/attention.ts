/**
 * Attention.
 *
 * @module
 */
import { apply, gradientsThrough, type Op } from "../tensor/autograd.ts";
import { context, isRecording } from "../tensor/context.ts";
import { deviceInfo } from "../tensor/device.ts";
import {
  ceilDiv,
  empties,
  Kernel,
  like,
  requireThat,
} from "../tensor/kernel.ts";
import { broadcastShapes } from "../tensor/shape.ts";
import { sizeOf, type Tensor } from "../tensor/tensor.ts";
import heldByEach from "./_held_by_each.wgsl" with { type: "text" };
import heldBySubgroup from "./_held_by_subgroup.wgsl" with { type: "text" };
import source from "./attention.wgsl" with { type: "text" };
import { mul } from "./binary.ts";
import { linear } from "./linear.ts";
import { matmul } from "./matmul.ts";
import { sum } from "./reduce.ts";
import { expand, permute, reshape, split } from "./shape.ts";
import { attentionWeights } from "./softmax.ts";

const kernel = new Kernel("attention", heldByEach, source);
const bySubgroup = new Kernel("attention", heldBySubgroup, source);
const ROWS = kernel.code("ROWS"), WIDEST = kernel.code("WIDEST");

/** Columns up to which four rows and their sums fit the registers of an invocation on a GPU. */
const NARROW = 16;
/** Bytes of weights from which their memory counts more than speed. */
const MANY_BYTES = 1 << 28;

/** Whether rows are loaded once per subgroup: on the software driver that halves the time. */
function handsRound(): boolean {
  const { software, features } = deviceInfo();
  return software && features.includes("subgroups");
}

/** Whether both kinds of rows fit the kernel. */
function fits(q: Tensor, v: Tensor, widest: number): boolean {
  return [q, v].map((x) => x.shape.at(-1)!).every((columns) =>
    columns > 0 && columns <= widest && columns % 4 === 0
  );
}

/**
 * Whether attention keeps no weights. Narrow heads: always. Wide heads, measured on llvmpipe with
 * subgroups at 32 and 64 columns, 64 to 1024 tokens: up to 1.4 times as fast as products of matrices
 * without gradients, but up to 1.4 times as slow with them, as the scores are computed thrice. On
 * GPUs nothing was measured, and wide heads overflow the registers. So there, and with gradients,
 * they take this form only where the weights would need much memory. So do all heads on the CPU, whose
 * products of matrices are faster: by 1.4 to 2.4 times at 16 to 64 columns, with gradients by 1.5 to 3.5.
 */
function isFlash(q: Tensor, k: Tensor, v: Tensor): boolean {
  const weights = sizeOf(q.shape.slice(0, -1)) * k.shape.at(-2)!;
  const many = 4 * weights >= MANY_BYTES;
  if (deviceInfo().executor === "cpu") return many && fits(q, v, WIDEST);
  if (fits(q, v, NARROW) || !fits(q, v, WIDEST)) return fits(q, v, NARROW);
  const isTraining = context().recording &&
    [q, k, v].some((x) => x.requiresGrad || x.node);
  if (handsRound() && !isTraining) return true;
  return many;
}

interface Attrs {
  scale: number;
  causal: boolean;
}

/** Runs an entry point, whose workgroups share out the rows of `own`. */
function run(
  entry: string,
  [q, k, v]: readonly [q: Tensor, k: Tensor, v: Tensor],
  { scale, causal }: Attrs,
  tensors: Readonly<Record<string, Tensor>> & { own: Tensor },
): Tensor {
  const batch = sizeOf(q.shape.slice(0, -2));
  const queries = q.shape.at(-2)!, keys = k.shape.at(-2)!;
  const tiles = ceilDiv(tensors.own.shape.at(-2)!, ROWS);
  const width = q.shape.at(-1)! / 4, valueWidth = v.shape.at(-1)! / 4;
  const params = {
    ...{ batch, queries, keys, width, value_width: valueWidth },
    ...{ causal: Number(causal), scale },
  };
  return (handsRound() ? bySubgroup : kernel).run(entry, params, tensors, {
    workgroups: ({ batch }) => Number(batch) * tiles,
    constants: { WIDTH: width, VALUE_WIDTH: valueWidth },
    splitBy: "batch",
    split: Object.keys(tensors),
  });
}

const attentionOp: Op<readonly [q: Tensor, k: Tensor, v: Tensor], Attrs> = {
  name: "attention",
  forward(inputs, attrs, context) {
    const [q, k, v] = inputs;
    const rows = q.shape.slice(0, -1);
    const y = empties([...rows, v.shape.at(-1)!]);
    const stats = empties([...rows, 2]);
    run("forward", inputs, attrs, {
      own: q,
      other: k,
      other_value: v,
      stats_out: stats,
      out_value: y,
    });
    context.save(stats);
    return y;
  },
  backward(dy, inputs, attrs, context) {
    const { needs, output: y } = context;
    if (isRecording()) {
      const formula = (q: Tensor, k: Tensor, v: Tensor) =>
        byProducts(q, k, v, attrs);
      return gradientsThrough(formula, inputs, dy, needs);
    }
    const [q, k, v] = inputs, [stats] = context.saved;
    const rows = { stats: stats!, delta: sum(mul(dy, y), { axis: -1 }) };
    const dq = !needs[0] ? null : run("backward_queries", inputs, attrs, {
      own: q,
      own_value: dy,
      other: k,
      other_value: v,
      ...rows,
      out: like(q),
    });
    if (!needs[1] && !needs[2]) return [dq, null, null];
    const dk = like(k), dv = like(v);
    run("backward_keys", inputs, attrs, {
      own: k,
      own_value: v,
      other: q,
      other_value: dy,
      ...rows,
      out: dk,
      out_value: dv,
    });
    return [dq, dk, dv];
  },
  flops: ([q, k], _, y) => 2 * (q.size + y.size) * k.shape.at(-2)!,
};

/**
 * `softmax(scale · q kᵀ) v`, scaled dot-product attention (Vaswani et al. 2017, arXiv:1706.03762,
 * eq. 1).
 *
 * Heads of at most 16 columns, a multiple of 4, never hold the `[..., T, S]` weights: these are summed
 * up on the fly and computed again for the gradients (Dao et al. 2022, FlashAttention,
 * arXiv:2205.14135). Heads of up to 64 do so where it is faster, or where the weights would take more
 * than 256 MiB. Other heads multiply matrices, and on the CPU all that would not take so much memory.
 *
 * @param q Queries `[..., T, D]`.
 * @param k Keys `[..., S, D]`.
 * @param v Values `[..., S, width]`; the leading axes of all three are broadcast.
 * @param options `scale` defaults to `1 / √D`. `causal`: whether query t sees the keys 0 … t only;
 *   defaults to false.
 * @returns `[..., T, width]`.
 * @throws {TypeError} If the shapes do not fit, or an element type is not f32.
 */
export function attention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: { scale?: number; causal?: boolean } = {},
): Tensor {
  requireThat(
    q.rank >= 2 && k.rank >= 2 && v.rank >= 2 &&
      q.shape.at(-1) === k.shape.at(-1) && k.shape.at(-2) === v.shape.at(-2),
    "attention",
    "q must be [..., T, D], k [..., S, D] and v [..., S, width]",
    { q, k, v },
  );
  requireThat(
    [q, k, v].every((x) => x.dtype === "f32"),
    "attention",
    "elements must be f32",
    { q, k, v },
  );
  const { scale = 1 / Math.sqrt(q.shape.at(-1)!), causal = false } = options;
  if (isFlash(q, k, v)) return flashAttention(q, k, v, scale, causal);
  return byProducts(q, k, v, { scale, causal });
}

/** The form that keeps the weights. */
function byProducts(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  { scale, causal }: Attrs,
): Tensor {
  const scores = matmul(q, k, { transposeB: true });
  return matmul(attentionWeights(scores, scale, causal), v);
}

/** The form of `attention` that keeps no weights, for heads that fit it. @internal */
export function flashAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  scale: number,
  causal: boolean,
): Tensor {
  const batch = [k, v].reduce(
    (shape, x) => broadcastShapes("attention", shape, x.shape.slice(0, -2)),
    q.shape.slice(0, -2),
  );
  const spread = (x: Tensor) => expand(x, [...batch, ...x.shape.slice(-2)]);
  const inputs = [spread(q), spread(k), spread(v)] as const;
  return apply(attentionOp, inputs, { scale, causal });
}

/**
 * Self-attention in several heads (Vaswani et al. 2017, section 3.2.2), as
 * `torch.nn.MultiheadAttention` with `batch_first`.
 *
 * @param x `[B, T, E]`.
 * @param inProjWeight `[3E, E]`: the rows of queries, then of keys, then of values.
 * @param inProjBias `[3E]`.
 * @param outProjWeight `[E, E]`.
 * @param outProjBias `[E]`.
 * @param numHeads Divides E.
 * @returns `[B, T, E]`.
 * @throws {TypeError} If the shapes do not fit.
 */
export function multiheadAttention(
  x: Tensor,
  inProjWeight: Tensor,
  inProjBias: Tensor,
  outProjWeight: Tensor,
  outProjBias: Tensor,
  numHeads: number,
): Tensor {
  const [B = 0, T = 0, E = 0] = x.shape;
  requireThat(
    x.rank === 3 && E % numHeads === 0 && inProjWeight.shape[0] === 3 * E,
    "multiheadAttention",
    `x must be [B, T, E] with E a multiple of ${numHeads} heads, inProjWeight [3E, E]`,
    { x, inProjWeight },
  );
  const projected = reshape(linear(x, inProjWeight, inProjBias), [
    B,
    T,
    3,
    numHeads,
    E / numHeads,
  ]);
  const [q, k, v] = split(permute(projected, [2, 0, 3, 1, 4]), 3);
  const heads = attention(q!, k!, v!); // [1, B, heads, T, E / heads]
  const joined = reshape(permute(heads, [0, 1, 3, 2, 4]), [B, T, E]);
  return linear(joined, outProjWeight, outProjBias);
}
