/**
 * The bound on log p(x) that a variational autoencoder raises (Kingma & Welling 2013,
 * arXiv:1312.6114, eq. 3), and a tighter one to judge it by.
 *
 *     log p(x) ≥ E_q[log p(x | z)] - KL(q(z | x) ‖ N(0, I))
 *
 * @module
 */
import { add, mul, sub } from "../kernels/binary.ts";
import { logSumExp, mean, sum } from "../kernels/reduce.ts";
import { repeat, reshape } from "../kernels/shape.ts";
import { clamp, exp, neg, scale, square } from "../kernels/unary.ts";
import { gaussianKl } from "../nn/losses.ts";
import { requireThat } from "../tensor/kernel.ts";
import type { Rng } from "../tensor/rng.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Live } from "../tensor/trace.ts";
import type { Posterior } from "./autoencoder_kl.ts";
import type { VaeInputs, VaeNetwork } from "./vae.ts";
import type { Likelihood } from "./vae_likelihood.ts";

/** What the bound consists of, in nats. */
export interface ElboTerms {
  /** `-log p(x | z)` with one draw of z, `[N]`. */
  reconstruction: Tensor;
  /** `KL(q(z | x) ‖ N(0, I))`, `[N]`. */
  kl: Tensor;
  /** `-(reconstruction + kl)`, `[N]`: at most log p(x) on average over z. */
  elbo: Tensor;
  /** The part of each latent in `kl`, mean over the images, `[latent]`: 0 where it says nothing. */
  klPerDimension: Tensor;
}

/**
 * The terms of the bound.
 *
 * @param x Images in [-1, 1], `[N, C, H, W]`.
 * @param posterior q(z | x), both `[N, latent]`.
 * @param output What the decoder makes of a draw from it, like `x`.
 */
export function elboTerms(
  likelihood: Likelihood,
  x: Tensor,
  posterior: Posterior,
  output: Tensor,
): ElboTerms {
  const perDimension = gaussianKl(posterior.mean, posterior.logVariance);
  const kl = sum(perDimension, { axis: 1 });
  const logProb = likelihood.logProb(x, output);
  return {
    reconstruction: neg(logProb),
    kl,
    elbo: sub(logProb, kl),
    klPerDimension: mean(perDimension, { axis: 0 }),
  };
}

/** What `vaeLoss` takes besides images. */
export interface VaeLossOptions extends VaeInputs {
  /** Draws z, and what is dropped. */
  rng: Rng;
  /**
   * β of `loss`, not negative; defaults to 1. For a warm-up, say
   * `live(() => schedules.linearWarmup(1, { warmupSteps, startFactor: 0 })(step))`.
   */
  beta?: number | Live;
  /**
   * Nats of each latent below which its KL costs the same, so that none falls silent early (Kingma et al. 2016,
   * arXiv:1606.04934, eq. 15): the KL in `loss` is `Σ_j max(freeBits, mean of KL_j over the images)`.
   * Defaults to 0, for none.
   */
  freeBits?: number;
}

/** What `vaeLoss` computes. */
export interface VaeLoss extends ElboTerms {
  /**
   * `reconstruction + β kl` (Higgins et al. 2017), `[N]`; its mean is what training lowers. With
   * `freeBits`, the KL of all images together stands in for that of each.
   */
  loss: Tensor;
  /** q(z | x). */
  posterior: Posterior;
  /** The draw from it, `[N, latent]`. */
  z: Tensor;
  /** Of the decoder, like the images. */
  output: Tensor;
}

/**
 * What training makes small, and the terms to log.
 *
 * Sums over pixels and latents are both sums: a mean over pixels alone would weigh the KL by their
 * number, and the latents would fall silent.
 *
 * @param x Images in [-1, 1], `[N, C, H, W]`.
 * @throws {RangeError} If `beta` or `freeBits` is negative.
 */
export function vaeLoss(
  network: VaeNetwork,
  likelihood: Likelihood,
  x: Tensor,
  options: VaeLossOptions,
): VaeLoss {
  const { rng, beta = 1, freeBits = 0 } = options;
  for (const [name, value] of Object.entries({ beta, freeBits })) {
    if (typeof value !== "number" || value >= 0) continue;
    throw new RangeError(
      `Cannot compute vaeLoss as ${name} must not be negative: it is ${value}`,
    );
  }
  const posterior = network.encode(x, options);
  const z = network.reparameterize(posterior, rng);
  const output = network.decode(z, options);
  const terms = elboTerms(likelihood, x, posterior, output);
  const kl = freeBits > 0
    ? sum(clamp(terms.klPerDimension, { min: freeBits }))
    : terms.kl;
  const loss = add(terms.reconstruction, scale(kl, beta));
  return { loss, ...terms, posterior, z, output };
}

/**
 * `log 1/K Σ_k p(x | z_k) p(z_k) / q(z_k | x)` with K draws of z: on average it is at most log p(x), not
 * below the bound of `vaeLoss`, equal to that for K = 1, and rises with K (Burda et al. 2016,
 * arXiv:1509.00519, eq. 8 and theorem 1).
 *
 * @param x Images in [-1, 1], `[N, C, H, W]`; the decoder sees K · N latents at once.
 * @param options `samples`: K; `rng` draws z; `y` as the network takes it.
 * @returns f32 `[N]`, in nats.
 * @throws {RangeError} If `samples` is not a whole number from 1 on.
 */
export function importanceWeightedBound(
  network: VaeNetwork,
  likelihood: Likelihood,
  x: Tensor,
  options: { samples: number; rng: Rng; y?: Tensor },
): Tensor {
  const { samples, rng, y } = options;
  if (!Number.isInteger(samples) || samples < 1) {
    throw new RangeError(
      `Cannot compute importanceWeightedBound as samples must be a whole number above 0: it is ${samples}`,
    );
  }
  const { mean, logVariance } = network.encode(x, { y });
  const [n, latent] = mean.shape as [number, number];
  const noise = rng.normal([samples, n, latent]);
  const z = add(mean, mul(exp(scale(logVariance, 0.5)), noise));
  const output = network.decode(
    reshape(z, [samples * n, latent]),
    { y: y && repeat(y, [samples]) },
  );
  const copies = repeat(x, [samples, ...x.shape.slice(1).map(() => 1)]);
  const logProb = reshape(likelihood.logProb(copies, output), [samples, n]);
  // log N(z; 0, I) - log N(z; mean, σ²), where (z - mean) / σ is the noise
  const twice = add(sub(square(noise), square(z)), logVariance);
  const logRatio = scale(sum(twice, { axis: 2 }), 0.5);
  return sub(
    logSumExp(add(logProb, logRatio), { axis: 0 }),
    Math.log(samples),
  );
}

/**
 * `-logProb / (d log 2)`, the bits that each of d values costs. Only of a discretised likelihood is that
 * what a file would take.
 *
 * @param logProb In nats per image, such as `elbo`.
 * @param x The images, `[N, …]`: d is the size of one.
 */
export function bitsPerDim(logProb: Tensor, x: Tensor): Tensor {
  requireThat(x.rank >= 1, "bitsPerDim", "images must be [N, …]", { x });
  return scale(logProb, -x.shape[0]! / (x.size * Math.LN2));
}
