/**
 * The classifier of noised images with which Dhariwal & Nichol 2021 (arXiv:2105.05233, section 4)
 * guide sampling: the half of their U-Net that leads down, and attention pooling. Fields carry the
 * names of its state dict, so that published weights load without renaming.
 *
 * @module
 */
import { attention } from "../kernels/attention.ts";
import { add } from "../kernels/binary.ts";
import { conv2d } from "../kernels/conv2d.ts";
import { linear } from "../kernels/linear.ts";
import { mean } from "../kernels/reduce.ts";
import { concat, narrow, reshape, transpose } from "../kernels/shape.ts";
import type { GroupNorm } from "../nn/group_norm.ts";
import { Module, parameter } from "../nn/module.ts";
import { requireThat } from "../tensor/kernel.ts";
import type { Rng } from "../tensor/rng.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { headsOf, NormSilu, Pointwise, unstacked } from "./_adm_blocks.ts";
import { AdmEncoder } from "./_adm_encoder.ts";
import { type AdmOptions, settingsOf } from "./_adm_options.ts";
import type { DenoiserInputs } from "./denoiser.ts";

export type { Pointwise } from "./_adm_blocks.ts";

/**
 * Attention of the mean over all pixels to itself and the pixels, each with a learned position; as in
 * CLIP (Radford et al. 2021, arXiv:2103.00020, section 2.4).
 */
export class AttentionPool extends Module {
  /** `[C, 1 + pixels]`, the mean's first. */
  readonly positional_embedding: Tensor;
  /** Queries, keys and values, stacked. */
  readonly qkv_proj: Pointwise;
  /** To the outputs. */
  readonly c_proj: Pointwise;
  readonly #heads: number;

  /** For images of `side` pixels a side; draws the weights from `rng`. */
  constructor(
    side: number,
    channels: number,
    heads: number,
    outChannels: number,
    rng: Rng,
  ) {
    super();
    const std = 1 / Math.sqrt(channels);
    this.positional_embedding = parameter(
      rng.normal([channels, 1 + side ** 2], 0, std),
    );
    this.qkv_proj = new Pointwise(channels, 3 * channels, rng);
    this.c_proj = new Pointwise(channels, outChannels, rng);
    this.#heads = heads;
  }

  /** `x`: `[N, C, H, W]`; returns `[N, outChannels]`. */
  forward(x: Tensor): Tensor {
    const [n, c, height, width] = x.shape as [number, number, number, number];
    const heads = this.#heads, count = 1 + height * width;
    const pixels = reshape(x, [n, c, count - 1]);
    const all = add(
      concat([mean(pixels, { axis: 2, keepDims: true }), pixels], 2),
      this.positional_embedding,
    );
    const tokens = reshape(all, [n, c, 1, count]);
    const [query, ...others] = unstacked(this.qkv_proj, heads, "new");
    const [q, k, v] = [
      conv2d(narrow(tokens, 3, 0, 1), ...query!), // of the mean: no other output is used
      ...others.map(([weight, bias]) => conv2d(tokens, weight, bias)),
    ].map((x) => transpose(reshape(x, [n, heads, c / heads, -1])));
    const pooled = reshape(attention(q!, k!, v!), [n, c]);
    const { weight, bias } = this.c_proj;
    return linear(pooled, reshape(weight, weight.shape.slice(0, 2)), bias);
  }
}

/** Size and shape of an `AdmClassifier`. */
export interface AdmClassifierOptions extends AdmOptions {
  /** Classes to tell apart. */
  numClasses: number;
}

/**
 * Classifies noised images. The network for ImageNet 64 × 64 of Dhariwal & Nichol, 65,438,568
 * parameters: `inChannels: 3, imageSize: 64, multipliers: [1, 2, 3, 4], resBlocks: 4,
 * attentionResolutions: [32, 16, 8], headChannels: 64, updown: "resBlock", numClasses: 1000`.
 */
export class AdmClassifier extends AdmEncoder {
  /** Normalisation with SiLU, and the pooling. */
  readonly out: { readonly 0: GroupNorm; readonly 2: AttentionPool };
  readonly #imageSize: number;

  /**
   * Builds the network.
   *
   * @param rng Draws the initial weights.
   * @throws {RangeError} If the levels do not fit the image, `attentionResolutions` the levels, or
   *   groups or heads the channels.
   */
  constructor(options: AdmClassifierOptions, rng: Rng) {
    const settings = settingsOf("AdmClassifier", options);
    super(settings, rng);
    const { imageSize, widths, groups } = settings;
    const side = imageSize / 2 ** (widths.length - 1), width = widths.at(-1)!;
    const heads = headsOf(width, settings);
    this.out = {
      0: new NormSilu(groups, width),
      2: new AttentionPool(side, width, heads, options.numClasses, rng),
    };
    this.#imageSize = imageSize;
  }

  /**
   * Classifies; differentiable in `x`, for guidance.
   *
   * @param x Noised images, `[N, inChannels, imageSize, imageSize]`.
   * @param t Timesteps, f32 `[N]`.
   * @returns Logits, `[N, numClasses]`.
   * @throws {TypeError} If a shape does not fit, or `rng` is missing while training with dropout.
   */
  forward(
    x: Tensor,
    t: Tensor,
    inputs: Omit<DenoiserInputs, "y"> = {},
  ): Tensor {
    const side = this.#imageSize;
    requireThat(
      x.shape[2] === side && x.shape[3] === side,
      "AdmClassifier",
      `images must be [N, C, ${side}, ${side}]`,
      { x },
    );
    const { h } = this.encode(x, t, inputs);
    return this.out[2].forward(this.out[0].forward(h));
  }
}
