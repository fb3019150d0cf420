/**
 * What a diffusion model is trained to make small. A loss is one number per example, so that a caller
 * may weight examples by how their timesteps were drawn; its batch mean is what falls.
 *
 * The bound on the negative log likelihood (Ho et al. 2020, arXiv:2006.11239, eq. 5) has a term for each
 * timestep, of which a batch samples some:
 *
 *     -log p(x_0) ≤ L_T + Σ_{t ≥ 1} KL(q(x_{t-1} | x_t, x_0) ‖ p(x_{t-1} | x_t)) - log p(x_0 | x_1)
 *
 * Both sides of a divergence are Gaussian. With a fixed variance σ_t² it is |μ̃ - μ|² / 2σ_t² and a
 * constant, and with both means written by the noise in x_t, w_t |ε - ε̂|² with
 * w_t = β_t² / (2σ_t² α_t (1 - ᾱ_t)). L_simple sets all w_t to 1, which gives the noisy timesteps
 * more weight than the bound does.
 *
 * @module
 */
import { add, mul, sub } from "../kernels/binary.ts";
import { discretizedGaussianLogProb } from "../kernels/discretized_gaussian.ts";
import { clamp, scale, square } from "../kernels/unary.ts";
import { where } from "../kernels/where.ts";
import { gaussianKlBetween } from "../nn/losses.ts";
import { requireThat } from "../tensor/kernel.ts";
import { Rng } from "../tensor/rng.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { meanPerExample } from "./_per_example.ts";
import type { Denoiser } from "./denoiser.ts";
import type { GaussianDiffusion, Timesteps } from "./diffusion.ts";

/** What `diffusionLoss` computes. */
export interface DiffusionLossOptions {
  /**
   * `simple` (default) is `mean |value - target|²`; `vlb` is the term of the bound times T, whose mean
   * over t is the bound without L_T in bits per dimension; `hybrid` is `simple + vlbWeight · vlb`, where
   * only the variance learns from the second (Nichol & Dhariwal 2021, arXiv:2102.09672, eq. 16).
   */
  type?: "simple" | "vlb" | "hybrid";
  /**
   * Weights of the squared error: `none` (default), or `min-snr-gamma`, min(SNR, γ) on the error of x_0,
   * that is divided by SNR on that of ε and by SNR + 1 on that of v (Hang et al. 2023,
   * arXiv:2303.09556).
   */
  weighting?: "none" | "min-snr-gamma";
  /** γ of `min-snr-gamma`; defaults to 5. */
  gamma?: number;
  /** λ of `hybrid`; defaults to 0.001. */
  vlbWeight?: number;
  /** Whether the bound limits x̂_0 to [-1, 1], where it stops learning; defaults to false. */
  clipDenoised?: boolean;
}

/** What the network saw and made of it. */
export interface Denoised {
  /** Noised images, `[N, C, …]`. */
  xt: Tensor;
  /** Their timesteps. */
  t: Timesteps;
  /** What the network predicts, like `xt`. */
  value: Tensor;
  /** What it says of the variance, if that is learned; like `xt`. */
  fraction?: Tensor;
}

/**
 * The term of timestep t in the bound on the negative log likelihood, in bits per dimension: for t > 0
 * the divergence of p(x_{t-1} | x_t) from the posterior, for t = 0 `-log p(x_0 | x_1)` of 8-bit images.
 *
 * @param x0 Images in [-1, 1], `[N, C, …]`.
 * @param options `clipDenoised`, whether x̂_0 is limited to [-1, 1], defaults to false; `cdf` as in
 *   `discretizedGaussianLogProb`.
 * @returns f32 `[N]`.
 */
export function vlbTerm(
  process: GaussianDiffusion,
  x0: Tensor,
  { xt, t, value, fraction }: Denoised,
  options: { clipDenoised?: boolean; cdf?: "tanh" | "erf" } = {},
): Tensor {
  const free = process.startFrom(xt, t, value);
  const start = options.clipDenoised ? clamp(free, { min: -1, max: 1 }) : free;
  const found = process.posteriorMean(start, xt, t);
  const logVariance = process.logVarianceOf(t, xt, fraction);
  const divergence = gaussianKlBetween(
    process.posteriorMean(x0, xt, t),
    process.posteriorLogVarianceOf(t, xt),
    found,
    logVariance,
  );
  const decoded = discretizedGaussianLogProb(
    x0,
    found,
    scale(logVariance, 0.5),
    options,
  );
  const isFirst = process.perExample(
    "is first",
    (i) => Number(i === 0),
    t,
    x0.shape[0]!,
  );
  return scale(
    where(
      isFirst,
      scale(meanPerExample(decoded), -1),
      meanPerExample(divergence),
    ),
    1 / Math.LN2,
  );
}

/** min(SNR, γ) by what is predicted, for one timestep. */
function minSnr(process: GaussianDiffusion, gamma: number, t: number): number {
  const bar = process.alphasCumprod[t]!;
  const snr = bar / (1 - bar);
  switch (process.prediction) {
    case "eps":
      return Math.min(1, gamma / snr);
    case "x0":
      return Math.min(snr, gamma);
    case "v":
      return Math.min(snr, gamma) / (snr + 1);
  }
}

/**
 * The loss of each example, at timesteps that the caller has drawn.
 *
 * @param x0 Images in [-1, 1], `[N, C, …]`.
 * @param t One timestep per example; i32 `[N]` on the device in a captured step.
 * @param noise ε, like `x0`, or the generator that draws it.
 * @returns f32 `[N]`.
 * @throws {RangeError} If `hybrid` meets a variance that is not learned, `min-snr-gamma` meets `vlb`, or
 *   `gamma` or `vlbWeight` is not positive.
 * @throws {TypeError} If there is not one timestep per example, or shapes do not fit.
 */
export function diffusionLoss(
  process: GaussianDiffusion,
  denoise: Denoiser,
  x0: Tensor,
  t: Int32Array | Tensor,
  noise: Tensor | Rng,
  options: DiffusionLossOptions = {},
): Tensor {
  const { type = "simple", weighting = "none", gamma = 5, vlbWeight = 0.001 } =
    options;
  requireUsable(process, { type, weighting, gamma, vlbWeight });
  const { xt, noise: eps } = noise instanceof Rng
    ? process.diffuse(x0, t, noise)
    : { xt: process.qSample(x0, t, noise), noise };
  const n = x0.shape[0]!;
  const { value, fraction } = process.split(denoise(xt, process.times(t, n)));
  requireThat(
    value.shape.join() === x0.shape.join(),
    "diffusionLoss",
    "the network must predict as many channels as the images have",
    { value: String(value), x0: String(x0) },
  );
  const { clipDenoised } = options;
  const T = process.timesteps;
  if (type === "vlb") {
    const term = vlbTerm(process, x0, { xt, t, value, fraction }, {
      clipDenoised,
    });
    return scale(term, T);
  }
  const errors = meanPerExample(square(sub(value, process.target(x0, t, eps))));
  const simple = weighting === "none" ? errors : mul(
    errors,
    process.perExample(
      `min-snr ${gamma}`,
      (i) => minSnr(process, gamma, i),
      t,
      n,
    ),
  );
  if (type === "simple") return simple;
  const frozen = { xt, t, value: value.detach(), fraction };
  const term = vlbTerm(process, x0, frozen, { clipDenoised });
  return add(simple, scale(term, vlbWeight * T));
}

/** Checks that the options make sense together. */
function requireUsable(
  { variance }: GaussianDiffusion,
  { type, weighting, gamma, vlbWeight }: Required<
    Omit<DiffusionLossOptions, "clipDenoised">
  >,
): void {
  const wrong = (why: string) => {
    throw new RangeError(`Cannot compute diffusionLoss as ${why}`);
  };
  if (type === "hybrid" && variance !== "learned_range") {
    wrong(
      `hybrid trains a variance that is learned: variance is ${variance}; choose learned_range, or type simple`,
    );
  }
  if (type === "vlb" && weighting !== "none") {
    wrong(`the terms of the bound take no weights: weighting is ${weighting}`);
  }
  if (!(gamma > 0 && vlbWeight > 0)) {
    wrong(
      `gamma and vlbWeight must be positive: gamma is ${gamma}, vlbWeight is ${vlbWeight}`,
    );
  }
}
