/**
 * The U-Nets of "Score-Based Generative Modeling through Stochastic Differential Equations" (Song et
 * al. 2021, arXiv:2011.13456), DDPM++ and NCSN++, as "Elucidating the Design Space of Diffusion-Based
 * Generative Models" (Karras et al. 2022, arXiv:2206.00364, appendix F) trains them. Fields carry the
 * names of EDM's state dict (`map_layer0`, `enc.32x32_block0.norm0`, …), where they sit under `model.`.
 *
 * @module
 */
import { add } from "../kernels/binary.ts";
import { dropout } from "../kernels/dropout.ts";
import { oneHot } from "../kernels/index.ts";
import { matmul } from "../kernels/matmul.ts";
import { concat, reshape, split } from "../kernels/shape.ts";
import { attentionWeights } from "../kernels/softmax.ts";
import { cos, scale, silu, sin } from "../kernels/unary.ts";
import type { Conv2d } from "../nn/conv2d.ts";
import type { GroupNorm } from "../nn/group_norm.ts";
import type { Linear } from "../nn/linear.ts";
import { buffer, Module } from "../nn/module.ts";
import { requireThat } from "../tensor/kernel.ts";
import type { Rng } from "../tensor/rng.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { requireInputs } from "./_denoiser.ts";
import {
  conv,
  ConvDown2d,
  DownConv2d,
  linear,
  norm,
  normSilu,
  UpConv2d,
} from "./_song_layers.ts";
import type { DenoiserInputs, DenoiserNetwork } from "./denoiser.ts";
import { timeEmbedding } from "./time_embedding.ts";

/** Size and shape of a `SongUNet`. */
export interface SongUNetOptions {
  /** Pixels along a side, which name the levels: the second of 32 is `16x16`. */
  imageSize: number;
  /** Channels of the images. */
  inChannels: number;
  /** Channels of the prediction; defaults to `inChannels`. */
  outChannels?: number;
  /** What `multipliers` are counted in; defaults to 128. */
  channels?: number;
  /** Channels of each level over `channels`; every level but the last halves the image. Defaults to `[2, 2, 2]`. */
  multipliers?: readonly number[];
  /** Residual blocks per level on the way down, one more on the way up; defaults to 4. */
  blocks?: number;
  /** Sides of the levels whose blocks attend: all on the way down, the last on the way up. Defaults to `[16]`. */
  attentionResolutions?: readonly number[];
  /** Probability to drop within blocks while training; defaults to 0. EDM has 0.13 for CIFAR-10. */
  dropout?: number;
  /** Classes of a conditional network. */
  numClasses?: number;
  /** Numbers that tell how an image was augmented; defaults to none. EDM has 9. */
  augmentDim?: number;
  /** How the noise level comes in: sinusoids from 1 down to 1/10000 (default), or random frequencies. */
  embedding?: "positional" | "fourier";
  /** Width of that embedding over `channels`; defaults to 1. */
  noiseMultiplier?: number;
  /** Whether every level is also given the image, brought to its size; defaults to `standard`: no. */
  encoder?: "standard" | "residual";
  /** Filter along an axis, of even length, for halving and doubling images; defaults to `[1, 1]`. */
  resampleFilter?: readonly number[];
}

/** The options in which NCSN++ differs from DDPM++, which is the default. */
export const NCSNPP: Readonly<Partial<SongUNetOptions>> = {
  embedding: "fourier",
  noiseMultiplier: 2,
  encoder: "residual",
  resampleFilter: [1, 3, 3, 1],
};

/** Gain of the last layer of a branch: nearly 0, so that blocks start as identities. */
const NEARLY_ZERO = 1e-5;
/** Keeps the variance of a sum of two. */
const SQRT_HALF = Math.sqrt(0.5);
/** Standard deviation of random frequencies, in turns. */
const FOURIER_SCALE = 16;

/** What a block does besides its convolutions. */
interface BlockOptions {
  /** Width of the embedding. */
  readonly embedding: number;
  /** Probability to drop. */
  readonly dropout: number;
  /** Of `resample`. */
  readonly filter: readonly number[];
  /** Whether it attends. */
  readonly attention?: boolean;
  /** Changes the size of the image. */
  readonly resample?: "up" | "down";
}

/**
 * `(skip(x) + conv1(silu(norm1(conv0(silu(norm0(x))) + affine(e))))) / √2`, and then, if it attends,
 * `(h + proj(attention(qkv(norm2(h))))) / √2`.
 */
export class SongUNetBlock extends Module {
  /** Before the first convolution, with SiLU. */
  readonly norm0: GroupNorm;
  /** Changes the number of channels and the size of the image. */
  readonly conv0: Conv2d;
  /** From the embedding to one number per channel. */
  readonly affine: Linear;
  /** Before the second convolution, with SiLU. */
  readonly norm1: GroupNorm;
  /** Nearly zero at first. */
  readonly conv1: Conv2d;
  /** Where the number of channels or the size of the image changes. */
  readonly skip?: Conv2d;
  /** Before attention. */
  readonly norm2?: GroupNorm;
  /** Query, key and value of the first channel, then of the next; one head. */
  readonly qkv?: Conv2d;
  /** Nearly zero at first. */
  readonly proj?: Conv2d;
  readonly #dropout: number;

  /** Draws the weights from `rng`. @ignore */
  constructor(from: number, to: number, options: BlockOptions, rng: Rng) {
    super();
    const { embedding, filter, attention, resample } = options;
    const Resampling = resample === "up" ? UpConv2d : DownConv2d;
    const entrance = (kernelSize: number) =>
      resample
        ? new Resampling(from, to, kernelSize, filter, rng)
        : conv(from, to, kernelSize, rng);
    this.norm0 = norm(from);
    this.conv0 = entrance(3);
    this.affine = linear(embedding, to, rng);
    this.norm1 = norm(to);
    this.conv1 = conv(to, to, 3, rng, { gain: NEARLY_ZERO });
    if (resample || from !== to) this.skip = entrance(1);
    if (attention) {
      this.norm2 = norm(to);
      this.qkv = conv(to, 3 * to, 1, rng, { gain: Math.sqrt(0.2) });
      this.proj = conv(to, to, 1, rng, { gain: NEARLY_ZERO });
    }
    this.#dropout = options.dropout;
  }

  /** Channels that come in. */
  get inChannels(): number {
    return this.norm0.weight!.size;
  }

  /** `e`: the activated embedding, `[N, embedding]`. */
  forward(x: Tensor, e: Tensor, { training, rng }: DenoiserInputs): Tensor {
    const shift = this.affine.forward(e);
    let h = this.conv0.forward(normSilu(x, this.norm0), {
      add: reshape(shift, [...shift.shape, 1, 1]),
    });
    h = normSilu(h, this.norm1);
    if (training && this.#dropout > 0) {
      h = dropout(h, { p: this.#dropout, rng: rng!, training });
    }
    h = this.conv1.forward(h, { add: this.skip?.forward(x) ?? x });
    h = scale(h, SQRT_HALF);
    return this.qkv ? this.#attend(h) : h;
  }

  #attend(x: Tensor): Tensor {
    const [n, c, height, width] = x.shape as [number, number, number, number];
    // One token per pixel, its channels along the first axis: nothing needs to be transposed.
    const tokens = [n, c, height * width];
    const qkv = this.qkv!.forward(this.norm2!.forward(x));
    const [q, k, v] = split(reshape(qkv, [n, c, 3, height * width]), 3, 2)
      .map((part) => reshape(part, tokens)) as [Tensor, Tensor, Tensor];
    const scores = matmul(q, k, { transposeA: true });
    const weights = attentionWeights(scores, 1 / Math.sqrt(c), false);
    const mixed = reshape(matmul(v, weights, { transposeB: true }), x.shape);
    return scale(this.proj!.forward(mixed, { add: x }), SQRT_HALF);
  }
}

/** What a forward pass of `SongUNet` may be given besides images and timesteps. */
export interface SongUNetInputs extends DenoiserInputs {
  /** How each image was augmented, f32 `[N, augmentDim]`; defaults to zeros: not at all. */
  augment?: Tensor;
}

/**
 * What EDM preconditions to a denoiser. With its defaults DDPM++, 55,732,739 parameters for RGB; with
 * `NCSNPP` 56,395,523. EDM's networks for CIFAR-10 have `augmentDim: 9`, 1152 and 2304 more.
 */
export class SongUNet extends Module implements DenoiserNetwork {
  /** Random frequencies in turns, `[channels · noiseMultiplier / 2]`, of a Fourier embedding. */
  readonly map_noise?: {
    /** Drawn once. */
    readonly freqs: Tensor;
  };
  /** Added to the embedding of the noise level, in a conditional network. */
  readonly map_label?: Linear;
  /** Added likewise, without a bias. */
  readonly map_augment?: Linear;
  /** First layer on top of the embedding. */
  readonly map_layer0: Linear;
  /** Second. */
  readonly map_layer1: Linear;
  /** `<side>x<side>_conv`, `_down`, `_aux_residual`, `_block<i>`; they run in order. */
  readonly enc: Readonly<Record<string, Conv2d | SongUNetBlock>>;
  /** `<side>x<side>_in<i>`, `_up`, `_block<i>`, `_aux_norm`, `_aux_conv`; they run in order. */
  readonly dec: Readonly<Record<string, Conv2d | GroupNorm | SongUNetBlock>>;
  readonly #decoder: SongUNetBlock[];
  readonly #last: { readonly norm: GroupNorm; readonly conv: Conv2d };
  readonly #inChannels: number;
  readonly #noiseChannels: number;
  readonly #numClasses: number | undefined;
  readonly #dropout: number;
  readonly #factor: number;

  /**
   * Builds the network.
   *
   * @param rng Draws the initial weights, and the frequencies of a Fourier embedding.
   * @throws {RangeError} If the image cannot be halved often enough, a number of channels does not
   *   divide into groups, or the filter has an odd length.
   */
  constructor(options: SongUNetOptions, rng: Rng) {
    super();
    const {
      imageSize,
      inChannels,
      outChannels = inChannels,
      channels = 128,
      multipliers = [2, 2, 2],
      blocks = 4,
      attentionResolutions = [16],
      dropout: p = 0,
      numClasses,
      augmentDim,
      embedding: form = "positional",
      noiseMultiplier = 1,
      encoder = "standard",
      resampleFilter: filter = [1, 1],
    } = options;
    this.#factor = 2 ** (multipliers.length - 1);
    if (imageSize % this.#factor !== 0) {
      throw new RangeError(
        `Cannot make a SongUNet as imageSize must be divisible by ${this.#factor}: it is ${imageSize}`,
      );
    }
    if (filter.length === 0 || filter.length % 2 === 1) {
      throw new RangeError(
        `Cannot make a SongUNet as resampleFilter must have an even length: it is ${filter}`,
      );
    }
    const noise = this.#noiseChannels = channels * noiseMultiplier;
    this.#inChannels = inChannels;
    this.#numClasses = numClasses;
    this.#dropout = p;

    const embedding = 4 * channels;
    if (form === "fourier") {
      const freqs = buffer(rng.normal([noise / 2], 0, FOURIER_SCALE));
      this.map_noise = { freqs };
    }
    if (numClasses !== undefined) {
      this.map_label = linear(numClasses, noise, rng);
    }
    if (augmentDim !== undefined) {
      this.map_augment = linear(augmentDim, noise, rng, false);
    }
    this.map_layer0 = linear(noise, embedding, rng);
    this.map_layer1 = linear(embedding, embedding, rng);

    const block = (
      from: number,
      to: number,
      more: Pick<BlockOptions, "attention" | "resample"> = {},
    ) => {
      const all = { embedding, dropout: p, filter, ...more };
      return new SongUNetBlock(from, to, all, rng);
    };
    const levels = multipliers.map((multiplier, level) => {
      const side = imageSize / 2 ** level;
      return {
        name: `${side}x${side}`,
        width: channels * multiplier,
        attends: attentionResolutions.includes(side),
      };
    });

    const enc: Record<string, Conv2d | SongUNetBlock> = {};
    let width = channels, aux = inChannels;
    const skips = [width];
    levels.forEach(({ name, width: to, attends }, level) => {
      if (level === 0) enc[`${name}_conv`] = conv(inChannels, width, 3, rng);
      else {
        enc[`${name}_down`] = block(width, width, { resample: "down" });
        skips.push(width);
        if (encoder === "residual") {
          const residual = new ConvDown2d(aux, width, filter, rng);
          enc[`${name}_aux_residual`] = residual;
          aux = width;
        }
      }
      for (let i = 0; i < blocks; i++) {
        enc[`${name}_block${i}`] = block(width, to, { attention: attends });
        skips.push(width = to);
      }
    });
    this.enc = enc;

    const dec: Record<string, SongUNetBlock> = {};
    levels.toReversed().forEach(({ name, width: to, attends }, fromLast) => {
      if (fromLast === 0) {
        dec[`${name}_in0`] = block(width, width, { attention: true });
        dec[`${name}_in1`] = block(width, width);
      } else dec[`${name}_up`] = block(width, width, { resample: "up" });
      for (let i = 0; i <= blocks; i++) {
        dec[`${name}_block${i}`] = block(width + skips.pop()!, to, {
          attention: attends && i === blocks,
        });
        width = to;
      }
    });
    this.#decoder = Object.values(dec);
    this.#last = {
      norm: norm(width),
      conv: conv(width, outChannels, 3, rng, { gain: NEARLY_ZERO }),
    };
    const { name } = levels[0]!;
    this.dec = {
      ...dec,
      [`${name}_aux_norm`]: this.#last.norm,
      [`${name}_aux_conv`]: this.#last.conv,
    };
  }

  /**
   * Predicts what its training asks for.
   *
   * @param x Noised images, `[N, inChannels, H, W]`, H and W divisible by 2^(levels - 1); scaled to unit
   *   variance where EDM preconditions.
   * @param t What tells the noise level, f32 `[N]`: `c_noise = ln(σ) / 4` where EDM preconditions, the
   *   timestep in a process such as `GaussianDiffusion`.
   * @param inputs A class id outside of 0 … numClasses - 1 means no class, as EDM drops labels.
   * @returns `[N, outChannels, H, W]`.
   * @throws {TypeError} If a shape does not fit, or `y` or `rng` is missing where it is needed.
   */
  forward(x: Tensor, t: Tensor, inputs: SongUNetInputs = {}): Tensor {
    requireInputs("SongUNet", x, t, inputs.y, {
      channels: this.#inChannels,
      takes: (side) => side % this.#factor === 0,
      sides: `divisible by ${this.#factor}`,
      conditional: this.map_label !== undefined,
    });
    requireThat(
      !inputs.augment || this.map_augment !== undefined,
      "SongUNet",
      "the network knows no augmentation: give it augmentDim",
      { augment: inputs.augment ?? "missing" },
    );
    requireThat(
      !inputs.training || this.#dropout === 0 || inputs.rng !== undefined,
      "SongUNet",
      "training with dropout needs a generator rng",
      { dropout: this.#dropout },
    );
    const e = this.#embed(t, inputs);
    let h = x, aux = x;
    const skips: Tensor[] = [];
    for (const layer of Object.values(this.enc)) {
      if (layer instanceof ConvDown2d) {
        h = aux = scale(add(h, layer.forward(aux)), SQRT_HALF);
        skips[skips.length - 1] = h;
        continue;
      }
      h = layer instanceof SongUNetBlock
        ? layer.forward(h, e, inputs)
        : layer.forward(h);
      skips.push(h);
    }
    for (const block of this.#decoder) {
      // Blocks with room for more channels than they are given take up what was skipped.
      const isWider = block.inChannels > h.shape[1]!;
      const from = isWider ? concat([h, skips.pop()!], 1) : h;
      h = block.forward(from, e, inputs);
    }
    return this.#last.conv.forward(normSilu(h, this.#last.norm));
  }

  /** The embedding of noise level and class, `[N, 4 channels]`. */
  #embed(t: Tensor, { y, augment }: SongUNetInputs): Tensor {
    let e = this.map_noise
      ? fourierEmbedding(t, this.map_noise.freqs)
      : timeEmbedding(t, this.#noiseChannels);
    if (this.map_label) {
      const classes = this.#numClasses!;
      const label = scale(oneHot(y!, classes), Math.sqrt(classes)); // of variance 1
      e = add(e, this.map_label.forward(label));
    }
    if (augment) e = add(e, this.map_augment!.forward(augment));
    return silu(this.map_layer1.forward(silu(this.map_layer0.forward(e))));
  }
}

/** `[sin(2π t f_0), …, cos(2π t f_0), …]`: `[N]` to `[N, 2 frequencies]`. */
function fourierEmbedding(t: Tensor, freqs: Tensor): Tensor {
  const radians = scale(freqs, 2 * Math.PI);
  const angles = matmul(reshape(t, [t.size, 1]), reshape(radians, [1, -1]));
  return concat([sin(angles), cos(angles)], 1);
}
