/**
 * Training and preconditioning of "Elucidating the Design Space of Diffusion-Based Generative Models"
 * (Karras et al. 2022, arXiv:2206.00364, table 1, right column): images y are noised to y + n with
 * n ~ N(0, σ² I), for any σ > 0.
 *
 * @module
 */
import { add, mul, sub } from "../kernels/binary.ts";
import { mean } from "../kernels/reduce.ts";
import { reshape } from "../kernels/shape.ts";
import {
  exp,
  log,
  reciprocal,
  rsqrt,
  scale,
  square,
} from "../kernels/unary.ts";
import { full } from "../tensor/fill.ts";
import { requireThat } from "../tensor/kernel.ts";
import { Rng } from "../tensor/rng.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { live } from "../tensor/trace.ts";
import type { Denoiser } from "./denoiser.ts";
import { onePerExample } from "./q_sample.ts";

/**
 * Noise levels σ of a batch: one per example on the device, f32 `[N]`; or one for all that is asked for
 * when the step runs, and again before every replay of a captured one.
 */
export type Sigmas = Tensor | (() => number);

/**
 * How much the squared error of an image counts at a noise level: `edm` is table 1's 1 / c_out², the same
 * for what the network itself predicts; `soft-min-snr` is 1 / (σ² + σ_data²), a smooth minimum of
 * signal-to-noise ratio and 1 / σ_data², as k-diffusion has it.
 */
export type EdmWeighting = "edm" | "soft-min-snr";

/** What `EdmProcess` is made of. */
export interface EdmOptions {
  /** Standard deviation of the data's pixels; defaults to 0.5. */
  sigmaData?: number;
  /** Mean of ln σ in training; defaults to -1.2. */
  pMean?: number;
  /** Standard deviation of ln σ in training; defaults to 1.2. */
  pStd?: number;
  /** Defaults to `edm`. */
  weighting?: EdmWeighting;
}

/** `D(x; σ) = c_skip x + c_out F(c_in x; c_noise)`, eq. 7, for a network F that sees unit variance. */
export class EdmProcess {
  /** Standard deviation of the data's pixels, σ_data. */
  readonly sigmaData: number;
  /** Mean of ln σ in training. */
  readonly pMean: number;
  /** Standard deviation of ln σ in training. */
  readonly pStd: number;
  /** How errors count. */
  readonly weighting: EdmWeighting;

  /**
   * Notes the options.
   *
   * @throws {RangeError} If a standard deviation is not positive.
   */
  constructor(options: EdmOptions = {}) {
    const { sigmaData = 0.5, pMean = -1.2, pStd = 1.2, weighting = "edm" } =
      options;
    for (const [name, value] of Object.entries({ sigmaData, pStd })) {
      if (value > 0 && value < Infinity) continue;
      throw new RangeError(
        `Cannot make an EdmProcess as ${name} must be positive: it is ${value}`,
      );
    }
    this.sigmaData = sigmaData;
    this.pMean = pMean;
    this.pStd = pStd;
    this.weighting = weighting;
  }

  /** Factor of the noised image in the result, `σ_data² / (σ² + σ_data²)`. */
  cSkip(sigma: number): number {
    return (this.sigmaData * this.cIn(sigma)) ** 2;
  }

  /** Factor of the network in the result, `σ σ_data / √(σ² + σ_data²)`. */
  cOut(sigma: number): number {
    return sigma * this.sigmaData * this.cIn(sigma);
  }

  /** Factor of the noised image before the network, `1 / √(σ² + σ_data²)`. */
  cIn(sigma: number): number {
    return 1 / Math.hypot(sigma, this.sigmaData);
  }

  /** What the network is told of the noise level, `ln(σ) / 4`. */
  cNoise(sigma: number): number {
    return Math.log(sigma) / 4;
  }

  /** Weight of the squared error of the image, see `EdmWeighting`. */
  weight(sigma: number): number {
    return this.weighting === "edm"
      ? 1 / this.cOut(sigma) ** 2
      : this.cIn(sigma) ** 2;
  }

  /** Draws noise levels for training, `ln σ ~ N(pMean, pStd²)`: f32 `[n]`. */
  sampleSigmas(n: number, rng: Rng): Tensor {
    return exp(rng.normal([n], this.pMean, this.pStd));
  }

  /**
   * The image that the network sees in a noised one, D(x; σ), eq. 7.
   *
   * @param network F, given `c_in x` and `c_noise`.
   * @param x Noised images, f32 `[N, …]`.
   * @returns Like `x`.
   * @throws {TypeError} If there is not one noise level per example, or a type does not fit.
   */
  denoised(network: Denoiser, x: Tensor, sigma: Sigmas): Tensor {
    const levels = levelsOf(sigma, x);
    const cIn = this.#cIn(levels);
    const cSkip = scale(square(cIn), this.sigmaData ** 2);
    const cNoise = scale(log(levels), 1 / 4);
    const F = network(times(cIn, x), cNoise);
    return add(times(cSkip, x), times(this.#cOut(levels), F));
  }

  /**
   * `weight(σ) |D(y + n; σ) - y|²` (eq. 2 and 8), its mean over batch and pixels. With weighting `edm`,
   * data of mean 0 and standard deviation `sigmaData`, and a network that gives 0, it is 1 on average.
   *
   * @param y Images, f32 `[N, …]`.
   * @param sigma Noise levels, or the generator that draws them.
   * @param noise n / σ, standard normal, like `y`; or the generator that draws it.
   * @returns One number.
   * @throws {TypeError} If there is not one noise level per example, or a type does not fit.
   */
  loss(
    network: Denoiser,
    y: Tensor,
    sigma: Sigmas | Rng,
    noise: Tensor | Rng,
  ): Tensor {
    const levels = levelsOf(
      sigma instanceof Rng ? this.sampleSigmas(y.shape[0] ?? 0, sigma) : sigma,
      y,
    );
    const z = noise instanceof Rng ? noise.normal(y.shape) : noise;
    const x = add(y, times(levels, z));
    const errors = square(sub(this.denoised(network, x, levels), y));
    const weight = this.weighting === "edm"
      ? reciprocal(square(this.#cOut(levels)))
      : square(this.#cIn(levels));
    return mean(times(weight, errors));
  }

  /** `cIn` of every example. */
  #cIn(levels: Tensor): Tensor {
    return rsqrt(add(square(levels), this.sigmaData ** 2));
  }

  /** `cOut` of every example. */
  #cOut(levels: Tensor): Tensor {
    return scale(mul(levels, this.#cIn(levels)), this.sigmaData);
  }
}

/** One noise level per example of a batch, f32 `[N]`. */
function levelsOf(sigma: Sigmas, batch: Tensor): Tensor {
  const n = batch.shape[0] ?? 0;
  const levels = typeof sigma === "function" ? full([n], live(sigma)) : sigma;
  requireThat(
    batch.dtype === "f32" && levels.dtype === "f32" && levels.rank === 1 &&
      levels.size === n,
    "EdmProcess",
    "images must be f32 [N, …] and noise levels f32 [N]",
    { images: String(batch), sigma: String(levels) },
  );
  return levels;
}

/** `factors` `[N]` times the examples of `x` `[N, …]`. */
function times(factors: Tensor, x: Tensor): Tensor {
  return mul(reshape(factors, onePerExample(x)), x);
}
