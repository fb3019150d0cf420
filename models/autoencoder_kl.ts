/**
 * The autoencoder of "High-Resolution Image Synthesis with Latent Diffusion Models" (Rombach et al.
 * 2022, arXiv:2112.10752, section 3.1 and appendix G) with its KL penalty: it makes images smaller by
 * a factor f, so that diffusion has less to do. Fields carry the names of the reference's state dict.
 *
 * @module
 */
import { add, mul, sub } from "../kernels/binary.ts";
import { mean, sum } from "../kernels/reduce.ts";
import { narrow, reshape } from "../kernels/shape.ts";
import { abs, clamp, exp, neg, scale, sqrt, square } from "../kernels/unary.ts";
import { upsampleConv2d } from "../kernels/upsample_conv2d.ts";
import { BatchNorm2d } from "../nn/batch_norm.ts";
import type { Conv2d } from "../nn/conv2d.ts";
import type { GroupNorm } from "../nn/group_norm.ts";
import { gaussianKl } from "../nn/losses.ts";
import { type ForwardOptions, Module, parameter } from "../nn/module.ts";
import { full } from "../tensor/fill.ts";
import { requireThat } from "../tensor/kernel.ts";
import type { Rng } from "../tensor/rng.ts";
import type { Tensor } from "../tensor/tensor.ts";
import {
  conv,
  NormSilu,
  UNetAttentionBlock,
  type UNetLevel,
  UNetResBlock,
} from "./_unet_blocks.ts";

/** Size and shape of an `AutoencoderKl`. */
export interface AutoencoderKlOptions {
  /** Channels of the images. */
  inChannels: number;
  /** Channels of the latents; defaults to 4. */
  latentChannels?: number;
  /** Channels of the first level; defaults to 128. */
  channels?: number;
  /**
   * Channels of each level over those of the first; every level but the last halves the image, so that
   * f = 2^(levels - 1). Defaults to `[1, 2, 4]`.
   */
  multipliers?: readonly number[];
  /** Residual blocks per level of the encoder, one more in the decoder; defaults to 2. */
  resBlocks?: number;
  /** Groups of every normalisation; defaults to 32. */
  groups?: number;
  /**
   * Where `loss.logvar` starts; defaults to 0. Far above what is reached, a large `klWeight` makes
   * latents forget their images before they are learned.
   */
  logvarInit?: number;
}

/** A Gaussian per latent value. */
export interface Posterior {
  /** `[N, latentChannels, H / f, W / f]`. */
  mean: Tensor;
  /** log σ², of the same shape, within -30 … 20. */
  logVariance: Tensor;
}

/** How wrong reconstructions are, and what the latents cost; scalars, but for `klPerChannel`. */
export interface AutoencoderLosses {
  /** `reconstruction + klWeight · kl / values`: nats per value of an image. */
  loss: Tensor;
  /** -log p(x | z), nats per value of an image. */
  reconstruction: Tensor;
  /** Mean square of the error. */
  mse: Tensor;
  /** KL(q(z | x) ‖ N(0, I)), nats per image. */
  kl: Tensor;
  /** Its share of each latent channel, `[latentChannels]`. */
  klPerChannel: Tensor;
}

/** One half of an autoencoder. */
export interface AutoencoderHalf extends Module {
  /** `[N, C, H, W]` to other channels, height and width. */
  forward(x: Tensor): Tensor;
}

/** At the lowest resolution of an encoder or decoder. */
interface Middle {
  /** First. */
  readonly block_1: UNetResBlock;
  /** Between. */
  readonly attn_1: UNetAttentionBlock;
  /** Last. */
  readonly block_2: UNetResBlock;
}

type Sizes = Required<AutoencoderKlOptions>;

/** Share of a batch in the running statistics of the latents: they cover some twenty batches. */
const LATENT_MOMENTUM = 0.05;
/** Added to variances of latents. */
const LATENT_EPS = 1e-5;

const DEFAULTS = {
  latentChannels: 4,
  channels: 128,
  multipliers: [1, 2, 4],
  resBlocks: 2,
  groups: 32,
  logvarInit: 0,
};

function resBlock(from: number, to: number, groups: number, rng: Rng) {
  return new UNetResBlock(from, to, 0, groups, 0, rng);
}

function middle(channels: number, groups: number, rng: Rng): Middle {
  return {
    block_1: resBlock(channels, channels, groups, rng),
    attn_1: new UNetAttentionBlock(channels, groups, rng),
    block_2: resBlock(channels, channels, groups, rng),
  };
}

function through({ block_1, attn_1, block_2 }: Middle, x: Tensor): Tensor {
  return block_2.forward(attn_1.forward(block_1.forward(x)));
}

/** From images to twice as many channels as the latents have, `[N, 2 z, H / f, W / f]`. */
class Encoder extends Module implements AutoencoderHalf {
  readonly conv_in: Conv2d;
  readonly down: UNetLevel[];
  readonly mid: Middle;
  readonly norm_out: GroupNorm;
  readonly conv_out: Conv2d;

  constructor(sizes: Sizes, rng: Rng) {
    super();
    const { inChannels, channels, multipliers, resBlocks, groups } = sizes;
    this.conv_in = conv(inChannels, channels, 3, rng);
    let width = channels;
    this.down = multipliers.map((multiplier, level) => {
      const block = Array.from({ length: resBlocks }, () => {
        const from = width;
        width = channels * multiplier;
        return resBlock(from, width, groups, rng);
      });
      if (level === multipliers.length - 1) return { block, attn: [] };
      const padding = [0, 1, 0, 1] as const; // right and below, as the U-Net has it
      const down = conv(width, width, 3, rng, { stride: 2, padding });
      return { block, attn: [], downsample: { conv: down } };
    });
    this.mid = middle(width, groups, rng);
    this.norm_out = new NormSilu(groups, width);
    this.conv_out = conv(width, 2 * sizes.latentChannels, 3, rng);
  }

  forward(x: Tensor): Tensor {
    let h = this.conv_in.forward(x);
    for (const { block, downsample } of this.down) {
      for (const layer of block) h = layer.forward(h);
      h = downsample?.conv.forward(h) ?? h;
    }
    return this.conv_out.forward(this.norm_out.forward(through(this.mid, h)));
  }
}

/** From latents to images. */
class Decoder extends Module implements AutoencoderHalf {
  readonly conv_in: Conv2d;
  readonly mid: Middle;
  /** Full resolution first: they run from the last. */
  readonly up: UNetLevel[];
  readonly norm_out: GroupNorm;
  readonly conv_out: Conv2d;

  constructor(sizes: Sizes, rng: Rng) {
    super();
    const { inChannels, channels, multipliers, resBlocks, groups } = sizes;
    let width = channels * multipliers.at(-1)!;
    this.conv_in = conv(sizes.latentChannels, width, 3, rng);
    this.mid = middle(width, groups, rng);
    this.up = [];
    for (let level = multipliers.length - 1; level >= 0; level--) {
      const block = Array.from({ length: resBlocks + 1 }, () => {
        const from = width;
        width = channels * multipliers[level]!;
        return resBlock(from, width, groups, rng);
      });
      this.up[level] = {
        block,
        attn: [],
        ...(level > 0
          ? { upsample: { conv: conv(width, width, 3, rng) } }
          : {}),
      };
    }
    this.norm_out = new NormSilu(groups, width);
    this.conv_out = conv(width, inChannels, 3, rng);
  }

  forward(z: Tensor): Tensor {
    let h = through(this.mid, this.conv_in.forward(z));
    for (const { block, upsample } of this.up.toReversed()) {
      for (const layer of block) h = layer.forward(h);
      if (upsample) {
        const { weight, bias } = upsample.conv;
        h = upsampleConv2d(h, weight, bias!, { padding: 1 });
      }
    }
    return this.conv_out.forward(this.norm_out.forward(h));
  }
}

/**
 * An autoencoder whose latents are Gaussians near the standard normal. Diffusion works on them once
 * they are shifted and scaled by `normalize`. The paper scales by one number, measured on the first
 * batch; running statistics of every channel are also right while the encoder still learns (as in
 * Leng et al. 2025, arXiv:2504.10483).
 */
export class AutoencoderKl extends Module {
  /** From images to features of `quant_conv`. */
  readonly encoder: AutoencoderHalf;
  /** From what `post_quant_conv` makes of latents to images. */
  readonly decoder: AutoencoderHalf;
  /** 1×1, to means and log variances. */
  readonly quant_conv: Conv2d;
  /** 1×1, from latents. */
  readonly post_quant_conv: Conv2d;
  /** What the loss learns. */
  readonly loss: {
    /** Logarithm of the error to expect: of |x - x̂| for `l1`, of its square for `gaussian`. */
    readonly logvar: Tensor;
  };
  /** Running mean and variance of each latent channel, which `normalize` changes. */
  readonly latent_norm: BatchNorm2d;
  /** Image pixels per latent pixel in each direction, f. */
  readonly factor: number;
  /** As given, with defaults. */
  readonly options: Readonly<Required<AutoencoderKlOptions>>;

  /**
   * Builds the network.
   *
   * @param rng Draws the initial weights.
   * @throws {RangeError} If the groups do not divide the channels of a level.
   */
  constructor(options: AutoencoderKlOptions, rng: Rng) {
    super();
    const sizes = { ...DEFAULTS, ...options };
    const z = sizes.latentChannels;
    this.options = sizes;
    this.factor = 2 ** (sizes.multipliers.length - 1);
    this.encoder = new Encoder(sizes, rng);
    this.decoder = new Decoder(sizes, rng);
    this.quant_conv = conv(2 * z, 2 * z, 1, rng);
    this.post_quant_conv = conv(z, z, 1, rng);
    this.loss = { logvar: parameter(full([], sizes.logvarInit)) };
    this.latent_norm = new BatchNorm2d(z, {
      affine: false,
      eps: LATENT_EPS,
      momentum: LATENT_MOMENTUM,
    });
  }

  /**
   * q(z | x).
   *
   * @param x Images, `[N, inChannels, H, W]`, H and W divisible by f.
   * @throws {TypeError} If the shape does not fit.
   */
  encode(x: Tensor): Posterior {
    const { inChannels, latentChannels: z } = this.options;
    requireThat(
      x.rank === 4 && x.shape[1] === inChannels &&
        x.shape.slice(2).every((side) => side % this.factor === 0),
      "AutoencoderKl.encode",
      `images must have ${inChannels} channels and sides divisible by ${this.factor}`,
      { x },
    );
    const moments = this.quant_conv.forward(this.encoder.forward(x));
    return {
      mean: narrow(moments, 1, 0, z),
      // Beyond, exp() would leave f32.
      logVariance: clamp(narrow(moments, 1, z, 2 * z), { min: -30, max: 20 }),
    };
  }

  /**
   * The images of latents.
   *
   * @param z `[N, latentChannels, h, w]`.
   * @returns `[N, inChannels, f h, f w]`, not limited to [-1, 1].
   * @throws {TypeError} If the shape does not fit.
   */
  decode(z: Tensor): Tensor {
    const { latentChannels } = this.options;
    requireThat(
      z.rank === 4 && z.shape[1] === latentChannels,
      "AutoencoderKl.decode",
      `latents must have ${latentChannels} channels`,
      { z },
    );
    return this.decoder.forward(this.post_quant_conv.forward(z));
  }

  /**
   * Shifts and scales latents to mean 0 and standard deviation 1 per channel.
   *
   * @param options While `training`, by the statistics of these latents, which the running ones follow;
   *   else by the running ones.
   */
  normalize(z: Tensor, options: ForwardOptions = {}): Tensor {
    return this.latent_norm.forward(z, options);
  }

  /** The inverse of `normalize` by the running statistics. */
  denormalize(z: Tensor): Tensor {
    const { running_mean: mean, running_var: variance } = this.latent_norm;
    const std = sqrt(scale(variance, 1, LATENT_EPS));
    return add(mul(z, perChannel(std)), perChannel(mean));
  }

  /**
   * What training minimises: `-log p(x | z) + klWeight KL(q(z | x) ‖ N(0, I))` with one draw of z. p is
   * a Laplace distribution of one learned width, `|x - x̂| / s + log 2 s` with `s = exp(logvar)`, or a
   * Gaussian, `½ ((x - x̂)² / σ² + log 2πσ²)` with `σ² = exp(logvar)`. At `klWeight` 1 it is the bound of
   * a variational autoencoder; latent diffusion has 1e-6.
   *
   * @param x `[N, inChannels, H, W]`, in [-1, 1].
   * @param z A draw from the posterior, if it is needed elsewhere, too.
   */
  losses(
    x: Tensor,
    posterior: Posterior,
    z: Tensor,
    options: { type: "l1" | "gaussian"; klWeight: number },
  ): AutoencoderLosses {
    const { logvar } = this.loss;
    const error = sub(x, this.decode(z));
    const mse = mean(square(error));
    const reconstruction = options.type === "l1"
      ? add(mul(mean(abs(error)), exp(neg(logvar))), add(logvar, Math.LN2))
      : scale(
        add(
          mul(mse, exp(neg(logvar))),
          add(logvar, Math.log(2 * Math.PI)),
        ),
        0.5,
      );
    const perDimension = gaussianKl(posterior.mean, posterior.logVariance);
    const images = x.shape[0]!;
    const klPerChannel = scale(
      sum(perDimension, { axis: [0, 2, 3] }),
      1 / images,
    );
    const kl = sum(klPerChannel);
    const weight = options.klWeight * images / x.size;
    return {
      loss: add(reconstruction, scale(kl, weight)),
      reconstruction,
      mse,
      kl,
      klPerChannel,
    };
  }
}

/** A draw from a posterior by the reparameterisation `mean + σ ε`. */
export function samplePosterior(
  { mean, logVariance }: Posterior,
  rng: Rng,
): Tensor {
  return add(
    mean,
    mul(exp(scale(logVariance, 0.5)), rng.normal(mean.shape)),
  );
}

/** `[C]` to `[C, 1, 1]`. */
function perChannel(values: Tensor): Tensor {
  return reshape(values, [values.size, 1, 1]);
}
