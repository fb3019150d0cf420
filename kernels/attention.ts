/**
 * Attention, from products of matrices and softmax.
 *
 * @module
 */
import { requireThat } from "../tensor/kernel.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { linear } from "./linear.ts";
import { matmul } from "./matmul.ts";
import { permute, reshape, split } from "./shape.ts";
import { attentionWeights } from "./softmax.ts";

/**
 * `softmax(scale · q kᵀ) v`, scaled dot-product attention (Vaswani et al. 2017, arXiv:1706.03762,
 * eq. 1).
 *
 * @param q Queries `[..., T, D]`.
 * @param k Keys `[..., S, D]`.
 * @param v Values `[..., S, width]`; the leading axes of all three are broadcast.
 * @param options `scale` defaults to `1 / √D`. `causal`: whether query t sees the keys 0 … t only;
 *   defaults to false.
 * @returns `[..., T, width]`.
 * @throws {TypeError} If the shapes do not fit.
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
  const { scale = 1 / Math.sqrt(q.shape.at(-1)!), causal = false } = options;
  const scores = matmul(q, k, { transposeB: true });
  return matmul(attentionWeights(scores, scale, causal), v);
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
