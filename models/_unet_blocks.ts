/**
 * The blocks of the U-Net of Ho et al. 2020, which the autoencoder of latent diffusion shares.
 *
 * @module
 */
import { dropout } from "../kernels/dropout.ts";
import { groupNormSilu } from "../kernels/group_norm.ts";
import { matmul } from "../kernels/matmul.ts";
import { reshape } from "../kernels/shape.ts";
import { attentionWeights } from "../kernels/softmax.ts";
import { Conv2d, type Conv2dLayerOptions } from "../nn/conv2d.ts";
import { GroupNorm } from "../nn/group_norm.ts";
import { varianceScaling, zeros } from "../nn/init.ts";
import { Linear } from "../nn/linear.ts";
import { Module } from "../nn/module.ts";
import type { Rng } from "../tensor/rng.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { DenoiserInputs } from "./denoiser.ts";

const EPS = 1e-6;
/** Variance of the last layer of a branch: nearly 0, so that blocks start as identities. */
export const NEARLY_ZERO = 0;

/** A convolution with Ho et al.'s initialisation: uniform by mean fan, no bias. */
export function conv(
  from: number,
  to: number,
  kernelSize: number,
  rng: Rng,
  options: Conv2dLayerOptions & { scale?: number } = {},
): Conv2d {
  const { scale = 1, ...rest } = options;
  const init = { weightInit: varianceScaling(scale), biasInit: zeros };
  return new Conv2d(from, to, kernelSize, rng, {
    padding: (kernelSize - 1) / 2,
    ...init,
    ...rest,
  });
}

export function linear(from: number, to: number, rng: Rng): Linear {
  return new Linear(from, to, rng, {
    weightInit: varianceScaling(),
    biasInit: zeros,
  });
}

/** Group normalisation and SiLU in one, which saves memory and passes over it. */
export class NormSilu extends GroupNorm {
  readonly #groups: number;

  constructor(groups: number, channels: number) {
    super(groups, channels, { eps: EPS });
    this.#groups = groups;
  }

  override forward(x: Tensor): Tensor {
    return groupNormSilu(x, this.#groups, this.weight!, this.bias!, EPS);
  }
}

/** `shortcut(x) + conv(silu(norm(conv(silu(norm(x))) + proj(silu(e)))))`; without `e` where there is none. */
export class UNetResBlock extends Module {
  /** Before the first convolution, with SiLU. */
  readonly norm1: GroupNorm;
  /** Changes the number of channels. */
  readonly conv1: Conv2d;
  /** From the embedding to one number per channel, where there is an embedding. */
  readonly temb_proj?: Linear;
  /** Before the second convolution, with SiLU. */
  readonly norm2: GroupNorm;
  /** Nearly zero at first. */
  readonly conv2: Conv2d;
  /** Where the number of channels changes. */
  readonly nin_shortcut?: Conv2d;
  readonly #dropout: number;

  /** `embedding`: its length, or 0; `p`: probability to drop; the weights are drawn from `rng`. */
  constructor(
    from: number,
    to: number,
    embedding: number,
    groups: number,
    p: number,
    rng: Rng,
  ) {
    super();
    this.norm1 = new NormSilu(groups, from);
    this.conv1 = conv(from, to, 3, rng);
    if (embedding > 0) this.temb_proj = linear(embedding, to, rng);
    this.norm2 = new NormSilu(groups, to);
    this.conv2 = conv(to, to, 3, rng, { scale: NEARLY_ZERO });
    if (from !== to) this.nin_shortcut = conv(from, to, 1, rng);
    this.#dropout = p;
  }

  /** `e`: the activated embedding, `[N, embedding]`, where there is one. */
  forward(x: Tensor, e?: Tensor, inputs: DenoiserInputs = {}): Tensor {
    const { training, rng } = inputs;
    const shift = this.temb_proj?.forward(e!);
    let h = this.conv1.forward(this.norm1.forward(x), {
      add: shift && reshape(shift, [...shift.shape, 1, 1]),
    });
    h = this.norm2.forward(h);
    if (training && this.#dropout > 0) {
      h = dropout(h, { p: this.#dropout, rng: rng!, training });
    }
    return this.conv2.forward(h, { add: this.nin_shortcut?.forward(x) ?? x });
  }
}

/** Attention with one head over all pixels. */
export class UNetAttentionBlock extends Module {
  /** Before the three projections. */
  readonly norm: GroupNorm;
  /** Queries. */
  readonly q: Conv2d;
  /** Keys. */
  readonly k: Conv2d;
  /** Values. */
  readonly v: Conv2d;
  /** Nearly zero at first. */
  readonly proj_out: Conv2d;

  /** Draws the weights from `rng`. */
  constructor(channels: number, groups: number, rng: Rng) {
    super();
    this.norm = new GroupNorm(groups, channels, { eps: EPS });
    this.q = conv(channels, channels, 1, rng);
    this.k = conv(channels, channels, 1, rng);
    this.v = conv(channels, channels, 1, rng);
    this.proj_out = conv(channels, channels, 1, rng, { scale: NEARLY_ZERO });
  }

  /** `x`: `[N, C, H, W]`; returns the same shape. */
  forward(x: Tensor): Tensor {
    const [n, c, height, width] = x.shape as [number, number, number, number];
    const h = this.norm.forward(x);
    // One token per pixel, its channels along the first axis: nothing needs to be transposed.
    const tokens = (layer: Conv2d) =>
      reshape(layer.forward(h), [n, c, height * width]);
    const scores = matmul(tokens(this.q), tokens(this.k), { transposeA: true });
    const weights = attentionWeights(scores, 1 / Math.sqrt(c), false);
    const mixed = matmul(tokens(this.v), weights, { transposeB: true });
    return this.proj_out.forward(reshape(mixed, x.shape), { add: x });
  }
}

/** The blocks of one resolution. */
export interface UNetLevel {
  /** Residual blocks. */
  readonly block: UNetResBlock[];
  /** Attention after each of them, or none. */
  readonly attn: UNetAttentionBlock[];
  /** Halves the image at the end, on the way down. */
  readonly downsample?: {
    /** 3×3, stride 2. */
    readonly conv: Conv2d;
  };
  /** Doubles the image at the end, on the way up. */
  readonly upsample?: {
    /** 3×3, after repeating pixels. */
    readonly conv: Conv2d;
  };
}
