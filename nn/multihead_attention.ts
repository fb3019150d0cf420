import { multiheadAttention } from "../kernels/attention.ts";
import { zeros as zeroTensor } from "../tensor/fill.ts";
import type { Rng } from "../tensor/rng.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { xavierUniform, zeros } from "./init.ts";
import { Linear } from "./linear.ts";
import { Module, parameter } from "./module.ts";

/** Self-attention of `[N, T, embedDim]` in several heads (Vaswani et al. 2017), see `multiheadAttention`. */
export class MultiheadAttention extends Module {
  /** Queries, keys and values, stacked: `[3 · embedDim, embedDim]`. */
  readonly in_proj_weight: Tensor;
  /** `[3 · embedDim]`. */
  readonly in_proj_bias: Tensor;
  /** From the joined heads to the output. */
  readonly out_proj: Linear;
  readonly #numHeads: number;

  /**
   * Draws the parameters from `rng`, as PyTorch: Xavier for the inner weight, zero biases.
   *
   * @throws {RangeError} If `embedDim` does not divide into the heads.
   */
  constructor(embedDim: number, numHeads: number, rng: Rng) {
    super();
    if (embedDim % numHeads !== 0) {
      throw new RangeError(
        `Cannot make a MultiheadAttention as embedDim must divide into heads: ${embedDim} into ${numHeads}`,
      );
    }
    this.in_proj_weight = parameter(
      xavierUniform()([3 * embedDim, embedDim], rng),
    );
    this.in_proj_bias = parameter(zeroTensor([3 * embedDim]));
    this.out_proj = new Linear(embedDim, embedDim, rng, { biasInit: zeros });
    this.#numHeads = numHeads;
  }

  /** Attends from every position to all. */
  forward(x: Tensor): Tensor {
    return multiheadAttention(
      x,
      this.in_proj_weight,
      this.in_proj_bias,
      this.out_proj.weight,
      this.out_proj.bias!,
      this.#numHeads,
    );
  }
}
