/**
 * The U-Net of "Denoising Diffusion Probabilistic Models" (Ho et al. 2020, arXiv:2006.11239,
 * appendix B), block for block as their code has it. Fields carry the names of the reference's state
 * dict (`conv_in`, `temb_proj`, …), so that weights load without renaming.
 *
 * @module
 */
import { add } from "../kernels/binary.ts";
import { concat } from "../kernels/shape.ts";
import { silu } from "../kernels/unary.ts";
import { upsampleConv2d } from "../kernels/upsample_conv2d.ts";
import type { Conv2d } from "../nn/conv2d.ts";
import { Embedding } from "../nn/embedding.ts";
import type { Linear } from "../nn/linear.ts";
import { Module } from "../nn/module.ts";
import type { GroupNorm } from "../nn/group_norm.ts";
import { requireThat } from "../tensor/kernel.ts";
import type { Rng } from "../tensor/rng.ts";
import type { Tensor } from "../tensor/tensor.ts";
import {
  conv,
  linear,
  NEARLY_ZERO,
  NormSilu,
  UNetAttentionBlock,
  type UNetLevel,
  UNetResBlock,
} from "./_unet_blocks.ts";
import type { DenoiserInputs, DenoiserNetwork } from "./denoiser.ts";
import { timeEmbedding } from "./time_embedding.ts";

export { UNetAttentionBlock, type UNetLevel, UNetResBlock };

/** Size and shape of a `UNet`. */
export interface UNetOptions {
  /** Channels of the images. */
  inChannels: number;
  /** Channels of the prediction; defaults to `inChannels`. */
  outChannels?: number;
  /** Channels of the first level, even; defaults to 128. */
  channels?: number;
  /** Channels of each level over those of the first; every level but the last halves the image. Defaults to `[1, 2, 2, 2]`. */
  multipliers?: readonly number[];
  /** Residual blocks per level on the way down, one more on the way up; defaults to 2. */
  resBlocks?: number;
  /** Levels whose blocks are followed by attention, 0 being full resolution; defaults to `[1]`. */
  attentionLevels?: readonly number[];
  /** Groups of every normalisation; defaults to 32. */
  groups?: number;
  /** Probability to drop within blocks while training; defaults to 0. */
  dropout?: number;
  /** Rows of the embedding of a conditional network: its classes, and one more if it also learns "no class". */
  numClasses?: number;
}

/** Predicts the noise in an image at a timestep. With its defaults, 35,746,307 parameters for RGB. */
export class UNet extends Module implements DenoiserNetwork {
  /** Embedding of the timestep. */
  readonly temb: {
    /** Two layers with SiLU between them. */
    readonly dense: readonly [Linear, Linear];
  };
  /** One row per class, in a conditional network. */
  readonly label_emb?: Embedding;
  /** The first layer. */
  readonly conv_in: Conv2d;
  /** Levels on the way down, full resolution first. */
  readonly down: UNetLevel[];
  /** At the lowest resolution. */
  readonly mid: {
    /** First. */
    readonly block_1: UNetResBlock;
    /** Between. */
    readonly attn_1: UNetAttentionBlock;
    /** Last. */
    readonly block_2: UNetResBlock;
  };
  /** Levels on the way up, full resolution first: they run from the last. */
  readonly up: UNetLevel[];
  /** Before the last layer, with SiLU. */
  readonly norm_out: GroupNorm;
  /** Nearly zero at first. */
  readonly conv_out: Conv2d;
  readonly #channels: number;
  readonly #inChannels: number;
  readonly #dropout: number;

  /**
   * Builds the network.
   *
   * @param rng Draws the initial weights.
   * @throws {RangeError} If the groups do not divide the channels of a level.
   */
  constructor(options: UNetOptions, rng: Rng) {
    super();
    const {
      inChannels,
      outChannels = inChannels,
      channels = 128,
      multipliers = [1, 2, 2, 2],
      resBlocks = 2,
      attentionLevels = [1],
      groups = 32,
      dropout: p = 0,
      numClasses,
    } = options;
    const embedding = 4 * channels;
    const res = (from: number, to: number) =>
      new UNetResBlock(from, to, embedding, groups, p, rng);
    const attend = (width: number) =>
      new UNetAttentionBlock(width, groups, rng);
    this.#channels = channels;
    this.#inChannels = inChannels;
    this.#dropout = p;
    this.temb = {
      dense: [
        linear(channels, embedding, rng),
        linear(embedding, embedding, rng),
      ],
    };
    if (numClasses !== undefined) {
      this.label_emb = new Embedding(numClasses, embedding, rng);
    }
    this.conv_in = conv(inChannels, channels, 3, rng);
    let width = channels;
    const skips = [width];
    this.down = multipliers.map((multiplier, level) => {
      const block: UNetResBlock[] = [], attn: UNetAttentionBlock[] = [];
      for (let j = 0; j < resBlocks; j++) {
        block.push(res(width, channels * multiplier));
        width = channels * multiplier;
        if (attentionLevels.includes(level)) attn.push(attend(width));
        skips.push(width);
      }
      if (level === multipliers.length - 1) return { block, attn };
      skips.push(width);
      // TensorFlow's "SAME" for an even size: one row and column of zeros, right and below.
      return {
        block,
        attn,
        downsample: {
          conv: conv(width, width, 3, rng, {
            stride: 2,
            padding: [0, 1, 0, 1],
          }),
        },
      };
    });
    this.mid = {
      block_1: res(width, width),
      attn_1: attend(width),
      block_2: res(width, width),
    };
    const up: UNetLevel[] = [];
    for (let level = multipliers.length - 1; level >= 0; level--) {
      const block: UNetResBlock[] = [], attn: UNetAttentionBlock[] = [];
      for (let j = 0; j <= resBlocks; j++) {
        block.push(res(width + skips.pop()!, channels * multipliers[level]!));
        width = channels * multipliers[level]!;
        if (attentionLevels.includes(level)) attn.push(attend(width));
      }
      up[level] = {
        block,
        attn,
        ...(level > 0
          ? { upsample: { conv: conv(width, width, 3, rng) } }
          : {}),
      };
    }
    this.up = up;
    this.norm_out = new NormSilu(groups, width);
    this.conv_out = conv(width, outChannels, 3, rng, { scale: NEARLY_ZERO });
  }

  /**
   * Predicts the noise.
   *
   * @param x Noised images, `[N, inChannels, H, W]`, H and W divisible by 2^(levels - 1).
   * @param t Timesteps, f32 `[N]`.
   * @returns `[N, outChannels, H, W]`.
   * @throws {TypeError} If a shape does not fit, or `y` or `rng` is missing where it is needed.
   */
  forward(x: Tensor, t: Tensor, inputs: DenoiserInputs = {}): Tensor {
    const factor = 2 ** (this.down.length - 1);
    requireThat(
      x.rank === 4 && x.shape[1] === this.#inChannels &&
        x.shape[2]! % factor === 0 && x.shape[3]! % factor === 0,
      "UNet",
      `images must have ${this.#inChannels} channels and sides divisible by ${factor}`,
      { x },
    );
    requireThat(
      t.rank === 1 && t.size === x.shape[0],
      "UNet",
      "there must be a timestep per image",
      {
        x,
        t,
      },
    );
    requireThat(
      (inputs.y !== undefined) === (this.label_emb !== undefined),
      "UNet",
      this.label_emb
        ? "a conditional network needs classes y"
        : "the network knows no classes",
      { y: inputs.y ?? "missing" },
    );
    requireThat(
      !inputs.training || this.#dropout === 0 || inputs.rng !== undefined,
      "UNet",
      "training with dropout needs a generator rng",
      { dropout: this.#dropout },
    );
    let e = this.temb.dense[0].forward(timeEmbedding(t, this.#channels));
    e = this.temb.dense[1].forward(silu(e));
    if (this.label_emb) e = add(e, this.label_emb.forward(inputs.y!));
    e = silu(e); // every block activates it first
    let h = this.conv_in.forward(x);
    const skips = [h];
    for (const { block, attn, downsample } of this.down) {
      block.forEach((layer, j) => {
        h = layer.forward(h, e, inputs);
        h = attn[j]?.forward(h) ?? h;
        skips.push(h);
      });
      if (downsample) skips.push(h = downsample.conv.forward(h));
    }
    h = this.mid.block_1.forward(h, e, inputs);
    h = this.mid.attn_1.forward(h);
    h = this.mid.block_2.forward(h, e, inputs);
    for (const { block, attn, upsample } of this.up.toReversed()) {
      block.forEach((layer, j) => {
        h = layer.forward(concat([h, skips.pop()!], 1), e, inputs);
        h = attn[j]?.forward(h) ?? h;
      });
      if (upsample) {
        const { weight, bias } = upsample.conv;
        h = upsampleConv2d(h, weight, bias!, { padding: 1 });
      }
    }
    return this.conv_out.forward(this.norm_out.forward(h));
  }
}
