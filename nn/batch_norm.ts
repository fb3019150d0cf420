import { batchNorm } from "../kernels/batch_norm.ts";
import { requireThat } from "../tensor/kernel.ts";
import { ones, zeros } from "../tensor/fill.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { NormOptions } from "./group_norm.ts";
import { buffer, type ForwardOptions, Module, parameter } from "./module.ts";

/** Choices of batch normalisation. */
export interface BatchNormLayerOptions extends NormOptions {
  /** Share of the batch in the running statistics; defaults to 0.1. */
  momentum?: number;
}

/** What both kinds of batch normalisation share. */
export abstract class BatchNorm extends Module {
  /** Gain `[numFeatures]`, or null. */
  readonly weight: Tensor | null;
  /** Offset `[numFeatures]`, or null. */
  readonly bias: Tensor | null;
  /** Running mean `[numFeatures]`, changed in place while training. */
  readonly running_mean: Tensor;
  /** Running unbiased variance `[numFeatures]`, changed in place while training. */
  readonly running_var: Tensor;
  readonly #momentum: number;
  readonly #eps: number;

  /** Gain 1, offset 0, running mean 0 and variance 1 at first. */
  constructor(numFeatures: number, options: BatchNormLayerOptions = {}) {
    super();
    const { eps = 1e-5, affine = true, momentum = 0.1 } = options;
    this.weight = affine ? parameter(ones([numFeatures])) : null;
    this.bias = affine ? parameter(zeros([numFeatures])) : null;
    this.running_mean = buffer(zeros([numFeatures]));
    this.running_var = buffer(ones([numFeatures]));
    this.#momentum = momentum;
    this.#eps = eps;
  }

  /** Applies the layer: by the statistics of the batch when `training`, else by the running ones. */
  forward(x: Tensor, options: ForwardOptions = {}): Tensor {
    return batchNorm(x, {
      weight: this.weight ?? undefined,
      bias: this.bias ?? undefined,
      runningMean: this.running_mean,
      runningVar: this.running_var,
      training: options.training ?? false,
      momentum: this.#momentum,
      eps: this.#eps,
    });
  }
}

/** Batch normalisation of `[N, numFeatures, H, W]`, see `batchNorm`. */
export class BatchNorm2d extends BatchNorm {
  /** Applies the layer. */
  override forward(x: Tensor, options: ForwardOptions = {}): Tensor {
    requireThat(x.rank === 4, "BatchNorm2d", "x must be [N, C, H, W]", { x });
    return super.forward(x, options);
  }
}

/** Batch normalisation of `[N, numFeatures]` or `[N, numFeatures, L]`, see `batchNorm`. */
export class BatchNorm1d extends BatchNorm {
  /** Applies the layer. */
  override forward(x: Tensor, options: ForwardOptions = {}): Tensor {
    requireThat(
      x.rank === 2 || x.rank === 3,
      "BatchNorm1d",
      "x must be [N, C] or [N, C, L]",
      { x },
    );
    return super.forward(x, options);
  }
}
