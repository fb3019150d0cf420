/**
 * Layers of the U-Nets in openai/improved-diffusion (Nichol & Dhariwal 2021, arXiv:2102.09672) and
 * openai/guided-diffusion (Dhariwal & Nichol 2021, arXiv:2105.05233). Fields carry the names of their
 * state dicts. Numbers stand for places in their sequences: what holds no parameters is left out.
 *
 * @module
 */
import { attention } from "../kernels/attention.ts";
import { add, mul } from "../kernels/binary.ts";
import { conv2d, type Epilogue } from "../kernels/conv2d.ts";
import { dropout } from "../kernels/dropout.ts";
import { groupNormSilu } from "../kernels/group_norm.ts";
import { avgPool2d } from "../kernels/pool.ts";
import { reshape, split, transpose } from "../kernels/shape.ts";
import { scale } from "../kernels/unary.ts";
import { upsampleNearest } from "../kernels/upsample.ts";
import { upsampleConv2d } from "../kernels/upsample_conv2d.ts";
import { Conv2d } from "../nn/conv2d.ts";
import { GroupNorm } from "../nn/group_norm.ts";
import { zeros } from "../nn/init.ts";
import { Linear, weightAndBias, type WeightOptions } from "../nn/linear.ts";
import { Module } from "../nn/module.ts";
import type { Rng } from "../tensor/rng.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { AdmSettings, AttentionOrder } from "./_adm_options.ts";
import type { DenoiserInputs } from "./denoiser.ts";

/** Last layer of a branch: nothing at first, so that blocks start as identities. */
export const SILENT = { weightInit: zeros, biasInit: zeros };

/** A part of the network that is given the activated embedding too, `e`: `[N, embedding]`. */
export abstract class AdmLayer extends Module {
  /** `h`: `[N, C, H, W]`. */
  abstract forward(h: Tensor, e: Tensor, inputs: DenoiserInputs): Tensor;
}

/** Group normalisation and SiLU in one, which saves memory and passes over it. */
export class NormSilu extends GroupNorm {
  readonly #groups: number;

  constructor(groups: number, channels: number) {
    super(groups, channels);
    this.#groups = groups;
  }

  /** `modulation`: `[N, 2C]`, γ and β of `norm(x) (1 + γ) + β`; without it, `norm(x)` is activated. */
  override forward(x: Tensor, modulation?: Tensor): Tensor {
    const [weight, bias] = [this.weight!, this.bias!];
    if (!modulation) return groupNormSilu(x, this.#groups, weight, bias);
    const [n, c, ...size] = x.shape as [number, number, number, number];
    const [gamma, beta] = split(modulation, 2, 1);
    const gain = add(gamma!, 1);
    // Gain and offset differ by image, so all images count as one that has all their channels.
    const joined = groupNormSilu(
      reshape(x, [1, n * c, ...size]),
      n * this.#groups,
      reshape(mul(weight, gain), [n * c]),
      reshape(add(mul(bias, gain), beta!), [n * c]),
    );
    return reshape(joined, x.shape);
  }
}

/** `conv2d` with a window of one pixel, whose weight has the axes of a `conv1d`. */
export class Pointwise extends Module {
  /** `[outChannels, inChannels, 1]`. */
  readonly weight: Tensor;
  /** `[outChannels]`. */
  readonly bias: Tensor;

  /** Draws the parameters from `rng`. */
  constructor(from: number, to: number, rng: Rng, options: WeightOptions = {}) {
    super();
    const { weight, bias } = weightAndBias([to, from, 1], to, rng, options);
    this.weight = weight;
    this.bias = bias!;
  }

  /** `x`: `[N, inChannels, H, W]`. */
  forward(x: Tensor, epilogue: Epilogue = {}): Tensor {
    const weight = reshape(this.weight, [...this.weight.shape, 1]);
    return conv2d(x, weight, this.bias, epilogue);
  }
}

/** What images are resampled with where no convolution does it. */
const RESAMPLED = {
  down: (x: Tensor) => avgPool2d(x, 2),
  up: (x: Tensor) => upsampleNearest(x, { scale: 2 }),
};

/** `conv` of the image with every pixel repeated. */
function convOfDoubled({ weight, bias }: Conv2d, x: Tensor): Tensor {
  return upsampleConv2d(x, weight, bias!, { padding: 1 });
}

/** Halves the image: by a strided convolution, or by means of four pixels. */
export class AdmDownsample extends AdmLayer {
  readonly op?: Conv2d;

  /** `rng`: draws a convolution; without it there is none. */
  constructor(channels: number, rng?: Rng) {
    super();
    if (!rng) return;
    const geometry = { stride: 2, padding: 1 };
    this.op = new Conv2d(channels, channels, 3, rng, geometry);
  }

  forward(h: Tensor): Tensor {
    return this.op?.forward(h) ?? RESAMPLED.down(h);
  }
}

/** Doubles the image: repeats pixels, with or without a convolution of the result. */
export class AdmUpsample extends AdmLayer {
  readonly conv?: Conv2d;

  /** `rng`: draws a convolution; without it there is none. */
  constructor(channels: number, rng?: Rng) {
    super();
    if (rng) this.conv = new Conv2d(channels, channels, 3, rng, { padding: 1 });
  }

  forward(h: Tensor): Tensor {
    return this.conv ? convOfDoubled(this.conv, h) : RESAMPLED.up(h);
  }
}

/**
 * `skip(r(x)) + conv(silu(norm(h)))` with `h = conv(r(silu(norm(x))))`, where r halves or doubles the
 * image, or does nothing. The embedding scales and shifts the second norm, or is added to h.
 */
export class AdmResBlock extends AdmLayer {
  readonly in_layers: { readonly 0: NormSilu; readonly 2: Conv2d };
  readonly emb_layers: { readonly 1: Linear };
  readonly out_layers: { readonly 0: NormSilu; readonly 3: Conv2d };
  /** Where the number of channels changes. */
  readonly skip_connection?: Conv2d;
  readonly #resample: "down" | "up" | undefined;
  readonly #settings: AdmSettings;

  constructor(
    from: number,
    to: number,
    settings: AdmSettings,
    rng: Rng,
    resample?: "down" | "up",
  ) {
    super();
    const { groups, embedding, adaptiveGroupNorm } = settings;
    const conv = (from: number, init: WeightOptions = {}) =>
      new Conv2d(from, to, 3, rng, { padding: 1, ...init });
    this.in_layers = { 0: new NormSilu(groups, from), 2: conv(from) };
    this.emb_layers = {
      1: new Linear(embedding, adaptiveGroupNorm ? 2 * to : to, rng),
    };
    this.out_layers = { 0: new NormSilu(groups, to), 3: conv(to, SILENT) };
    if (from !== to) this.skip_connection = new Conv2d(from, to, 1, rng);
    this.#resample = resample;
    this.#settings = settings;
  }

  forward(
    x: Tensor,
    e: Tensor,
    { training = false, rng }: DenoiserInputs,
  ): Tensor {
    const { adaptiveGroupNorm, dropout: p, rescaleResiduals } = this.#settings;
    const { 0: norm, 3: conv } = this.out_layers;
    const code = this.emb_layers[1].forward(e);
    let h = adaptiveGroupNorm
      ? norm.forward(this.#enter(x), code)
      : norm.forward(this.#enter(x, reshape(code, [...code.shape, 1, 1])));
    if (training && p > 0) h = dropout(h, { p, rng: rng! });
    const skipped = this.#resample ? RESAMPLED[this.#resample](x) : x;
    const sum = conv.forward(h, {
      add: this.skip_connection?.forward(skipped) ?? skipped,
    });
    return rescaleResiduals ? scale(sum, Math.SQRT1_2) : sum;
  }

  /** `conv(r(silu(norm(x)))) + shift`. */
  #enter(x: Tensor, shift?: Tensor): Tensor {
    const { 0: norm, 2: conv } = this.in_layers;
    const h = norm.forward(x);
    if (this.#resample === "up") {
      const y = convOfDoubled(conv, h);
      return shift ? add(y, shift) : y;
    }
    const resampled = this.#resample ? RESAMPLED[this.#resample](h) : h;
    return conv.forward(resampled, { add: shift });
  }
}

/**
 * Number of heads.
 *
 * @throws {RangeError} If they do not divide the channels.
 */
export function headsOf(
  channels: number,
  { heads, headChannels }: Pick<AdmSettings, "heads" | "headChannels">,
): number {
  const count = headChannels === undefined ? heads : channels / headChannels;
  if (!Number.isInteger(count) || count < 1 || channels % count !== 0) {
    throw new RangeError(
      `Cannot make attention as heads must divide the channels: ${channels} channels, ` +
        (headChannels === undefined
          ? `${heads} heads`
          : `${headChannels} channels per head`),
    );
  }
  return count;
}

/**
 * Weight `[C, C, 1, 1]` and bias `[C]` of queries, keys and values. Cutting up the stacked weight, and
 * not what it makes of the image, copies C rows instead of as many for every pixel.
 */
export function unstacked(
  { weight, bias }: Pointwise,
  heads: number,
  order: AttentionOrder,
): [weight: Tensor, bias: Tensor][] {
  const c = weight.shape[1]!;
  const runs = order === "legacy" ? heads : 1;
  const parts = (x: Tensor, shape: number[]) =>
    split(reshape(x, [runs, 3, -1]), 3, 1).map((part) => reshape(part, shape));
  const biases = parts(bias, [c]);
  return parts(weight, [c, c, 1, 1]).map((weight, i) => [weight, biases[i]!]);
}

/** Attention with several heads over all pixels. */
export class AdmAttentionBlock extends AdmLayer {
  readonly norm: GroupNorm;
  /** Queries, keys and values, stacked. */
  readonly qkv: Pointwise;
  readonly proj_out: Pointwise;
  readonly #heads: number;
  readonly #settings: AdmSettings;

  constructor(channels: number, settings: AdmSettings, rng: Rng) {
    super();
    this.#heads = headsOf(channels, settings);
    this.#settings = settings;
    this.norm = new GroupNorm(settings.groups, channels);
    this.qkv = new Pointwise(channels, 3 * channels, rng);
    this.proj_out = new Pointwise(channels, channels, rng, SILENT);
  }

  forward(x: Tensor): Tensor {
    const { attentionOrder, rescaleResiduals } = this.#settings;
    const [n, c, height, width] = x.shape as [number, number, number, number];
    const byHead = [n, this.#heads, c / this.#heads, height * width];
    const h = this.norm.forward(x);
    const [q, k, v] = unstacked(this.qkv, this.#heads, attentionOrder)
      .map(([weight, bias]) =>
        transpose(reshape(conv2d(h, weight, bias), byHead))
      );
    const mixed = reshape(transpose(attention(q!, k!, v!)), x.shape);
    const sum = this.proj_out.forward(mixed, { add: x });
    return rescaleResiduals ? scale(sum, Math.SQRT1_2) : sum;
  }
}
