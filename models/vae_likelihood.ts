/**
 * What the output of a decoder says of images: p(x | z), and the image to show. All take images in
 * [-1, 1] and judge all their values as independent.
 *
 * @module
 */
import { add, less, mul, sub } from "../kernels/binary.ts";
import { discretizedGaussianLogProb } from "../kernels/discretized_gaussian.ts";
import { sum } from "../kernels/reduce.ts";
import { exp, neg, scale, square, tanh } from "../kernels/unary.ts";
import { bceWithLogits } from "../nn/losses.ts";
import { buffer, Module, parameter } from "../nn/module.ts";
import { full } from "../tensor/fill.ts";
import { requireThat } from "../tensor/kernel.ts";
import type { Rng } from "../tensor/rng.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** p(x | z), given what a decoder makes of z. */
export abstract class Likelihood extends Module {
  /**
   * log p(x | z) in nats, summed over the values of each image.
   *
   * @param x Images in [-1, 1], `[N, C, H, W]`.
   * @param output Of the decoder, of the same shape.
   * @returns f32 `[N]`.
   * @throws {TypeError} If the shapes differ.
   */
  logProb(x: Tensor, output: Tensor): Tensor {
    requireThat(
      x.rank >= 2 && x.shape.join() === output.shape.join(),
      `${this.constructor.name}.logProb`,
      "images and output must have one shape, [N, …]",
      { x, output },
    );
    const axis = x.shape.map((_, axis) => axis).slice(1);
    return sum(this.elementLogProb(x, output), { axis });
  }

  /** The mean of p(x | z), images like `output`. */
  abstract mean(output: Tensor): Tensor;

  /** log p of every value. */
  protected abstract elementLogProb(x: Tensor, output: Tensor): Tensor;
}

/** From the logit of a probability to its place in [-1, 1], `2σ(a) - 1`. */
function centred(logits: Tensor): Tensor {
  return tanh(scale(logits, 0.5));
}

/**
 * Every value is -1 or 1, and the output the logit of 1. Of images that are not `binarize`d, it is the
 * usual cross entropy, which is no likelihood: no model brings it to 0.
 */
export class BernoulliLikelihood extends Likelihood {
  /** `2σ(output) - 1`. */
  override mean(output: Tensor): Tensor {
    return centred(output);
  }

  /** log p of every value. */
  protected override elementLogProb(x: Tensor, output: Tensor): Tensor {
    const p = scale(x, 0.5, 0.5);
    return neg(bceWithLogits(output, p, { reduction: "none" }));
  }
}

/** Choices of the Gaussian likelihoods. */
export interface GaussianLikelihoodOptions {
  /**
   * The standard deviation of all values, where images span [-1, 1]. By default it is learned, from 1
   * on (Rybkin et al. 2021, arXiv:2006.13202).
   */
  sigma?: number;
  /** Whether the output is a logit: the mean is then `2σ(output) - 1`. Defaults to false. */
  bounded?: boolean;
}

/** The output is the mean of a Gaussian, whose standard deviation all values share. */
export abstract class SharedScaleLikelihood extends Likelihood {
  /** log σ, `[]`: a parameter if it is learned, else a buffer. */
  readonly log_scale: Tensor;
  readonly #bounded: boolean;

  /**
   * Makes log σ.
   *
   * @throws {RangeError} If `sigma` is not positive.
   */
  constructor(options: GaussianLikelihoodOptions = {}) {
    super();
    const { sigma, bounded = false } = options;
    if (sigma !== undefined && !(sigma > 0 && sigma < Infinity)) {
      throw new RangeError(
        `Cannot make a ${this.constructor.name} as sigma must be positive and finite: it is ${sigma}`,
      );
    }
    this.log_scale = sigma === undefined
      ? parameter(full([], 0))
      : buffer(full([], Math.log(sigma)));
    this.#bounded = bounded;
  }

  /** The output, or if `bounded` `2σ(output) - 1`. */
  override mean(output: Tensor): Tensor {
    return this.#bounded ? centred(output) : output;
  }
}

/**
 * A density, `-½ ((x - mean) / σ)² - log σ - ½ log 2π`: with `sigma` 1/√2, the sum of squared errors but
 * for a constant. The same of images in [0, 1], behind a sigmoid, is `sigma: √2, bounded: true`.
 * Densities may exceed 1, and are not to be compared with the other likelihoods.
 */
export class GaussianLikelihood extends SharedScaleLikelihood {
  /** log p of every value. */
  protected override elementLogProb(x: Tensor, output: Tensor): Tensor {
    const error = mul(sub(x, this.mean(output)), exp(neg(this.log_scale)));
    return sub(
      scale(square(error), -0.5),
      add(this.log_scale, 0.5 * Math.log(2 * Math.PI)),
    );
  }
}

/** Choices of the discretized likelihood. */
export interface DiscretizedGaussianLikelihoodOptions
  extends GaussianLikelihoodOptions {
  /**
   * The distribution function whose differences are the probabilities: `tanh` (default), the approximation
   * in the decoder of diffusion, whose tails are lighter, or `erf`, that of the normal distribution.
   */
  cdf?: "tanh" | "erf";
}

/**
 * Probabilities of 8-bit values, see `discretizedGaussianLogProb`: by default the decoder of diffusion, so
 * that bounds of both, in bits per dimension, may be compared.
 */
export class DiscretizedGaussianLikelihood extends SharedScaleLikelihood {
  readonly #cdf: "tanh" | "erf";

  /**
   * Makes log σ.
   *
   * @throws {RangeError} If `sigma` is not positive.
   */
  constructor(options: DiscretizedGaussianLikelihoodOptions = {}) {
    super(options);
    this.#cdf = options.cdf ?? "tanh";
  }

  /** log p of every value. */
  protected override elementLogProb(x: Tensor, output: Tensor): Tensor {
    const mean = this.mean(output), cdf = this.#cdf;
    return discretizedGaussianLogProb(x, mean, this.log_scale, { cdf });
  }
}

/**
 * Images of only -1 and 1, for a Bernoulli likelihood that is one.
 *
 * @param x In [-1, 1].
 * @param rng Draws 1 with probability `(x + 1) / 2`, anew each time (Salakhutdinov & Murray 2008);
 *   without it, 1 is what lies above 0.
 * @returns Like `x`; no gradient.
 */
export function binarize(x: Tensor, rng?: Rng): Tensor {
  return scale(less(rng?.uniform(x.shape, -1, 1) ?? 0, x), 2, -1);
}
