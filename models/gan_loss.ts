/**
 * What generators and discriminators are trained to make small. Losses are means over the logits of a
 * batch, `[]`.
 *
 * @module
 */
import { add, mul, sub } from "../kernels/binary.ts";
import { mean, sum } from "../kernels/reduce.ts";
import { neg, relu, scale, sqrt, square } from "../kernels/unary.ts";
import { bceWithLogits } from "../nn/losses.ts";
import { gradients } from "../tensor/autograd.ts";
import { enableGrad } from "../tensor/context.ts";
import { full } from "../tensor/fill.ts";
import { requireThat } from "../tensor/kernel.ts";
import type { Rng } from "../tensor/rng.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Live } from "../tensor/trace.ts";

/** One way to train a pair; all take logits, `[N]`. */
export interface GanLoss {
  /** What the discriminator lowers. */
  discriminator(real: Tensor, fake: Tensor): Tensor;
  /** What the generator lowers. */
  generator(fake: Tensor): Tensor;
}

/** What logits are trained towards, as probabilities of being real. */
export interface GanTargets {
  /** Of real images; defaults to 1, and 0.9 smooths (Salimans et al. 2016, arXiv:1606.03498). */
  real?: number;
  /** Of generated ones, while the discriminator learns; defaults to 0. */
  fake?: number;
  /** Of generated ones, while the generator learns; defaults to 1. */
  generator?: number;
}

/**
 * The non-saturating loss of Goodfellow et al. 2014 (arXiv:1406.2661, section 3): cross entropy for the
 * discriminator, and for the generator that of fakes taken for real.
 *
 * @throws {RangeError} If a target lies outside 0 … 1.
 */
export function nonSaturatingLoss(targets: GanTargets = {}): GanLoss {
  const { real: isReal = 1, fake: isFake = 0, generator: wanted = 1 } = targets;
  for (const [name, p] of Object.entries({ isReal, isFake, wanted })) {
    if (p >= 0 && p <= 1) continue;
    throw new RangeError(
      `Cannot make a nonSaturatingLoss as targets must lie in 0 … 1: ${name} is ${p}`,
    );
  }
  const against = (logits: Tensor, p: number) =>
    bceWithLogits(logits, full(logits.shape, p));
  return {
    discriminator: (real, fake) =>
      add(against(real, isReal), against(fake, isFake)),
    generator: (fake) => against(fake, wanted),
  };
}

/**
 * `relu(1 - D(x)) + relu(1 + D(G(z)))` and `-D(G(z))` (Lim & Ye 2017, arXiv:1705.02894; Miyato et al. 2018,
 * arXiv:1802.05957, eq. 16 and 17).
 */
export function hingeLoss(): GanLoss {
  return {
    discriminator: (real, fake) =>
      add(mean(relu(sub(1, real))), mean(relu(add(1, fake)))),
    generator: (fake) => neg(mean(fake)),
  };
}

/**
 * `D(G(z)) - D(x)` and `-D(G(z))` (Arjovsky et al. 2017, arXiv:1701.07875): the discriminator needs its
 * slope bounded, by `gradientPenalty` or spectral normalisation.
 */
export function wassersteinLoss(): GanLoss {
  return {
    discriminator: (real, fake) => sub(mean(fake), mean(real)),
    generator: (fake) => neg(mean(fake)),
  };
}

/** `|∇ judge(x)|²` of every example, `[N]`. */
function squaredSlope(judge: (x: Tensor) => Tensor, x: Tensor): Tensor {
  const at = x.detach().requireGrad();
  const total = enableGrad(() => sum(judge(at))); // also to be logged inside noGrad
  const [slope] = gradients(total, [at], { createGraph: true });
  return sum(square(slope!), { axis: x.shape.map((_, i) => i).slice(1) });
}

/**
 * Mean of `(|∇D(x̂)| - 1)²` over points x̂ between real and generated images, one each (Gulrajani et al.
 * 2017, arXiv:1704.00028, eq. 3); times λ = 10 it is added to the discriminator's loss. An example must
 * not see others of its batch: no batch normalisation.
 *
 * @param judge The discriminator: images to logits, `[N]`.
 * @param real `[N, C, H, W]`, as `fake`.
 * @param rng Draws where between.
 * @throws {TypeError} If the shapes differ.
 */
export function gradientPenalty(
  judge: (x: Tensor) => Tensor,
  real: Tensor,
  fake: Tensor,
  rng: Rng,
): Tensor {
  requireThat(
    real.rank >= 2 && real.shape.join() === fake.shape.join(),
    "gradientPenalty",
    "real and fake must have one shape, [N, …]",
    { real, fake },
  );
  const share = rng.uniform(real.shape.map((n, axis) => axis === 0 ? n : 1));
  const between = add(fake, mul(share, sub(real, fake)));
  // The root has no slope at 0.
  const slope = sqrt(scale(squaredSlope(judge, between), 1, 1e-12));
  return mean(square(sub(slope, 1)));
}

/**
 * Mean of `½ |∇D(x)|²` over real images (Mescheder et al. 2018, arXiv:1801.04406, eq. 9); times γ, of
 * about 10, it is added to the discriminator's loss.
 *
 * @param judge The discriminator: images to logits, `[N]`.
 */
export function r1Penalty(
  judge: (x: Tensor) => Tensor,
  real: Tensor,
): Tensor {
  return scale(mean(squaredSlope(judge, real)), 0.5);
}

/**
 * Images with noise that the discriminator must see through, real and generated alike, so that the two
 * overlap (Sønderby et al. 2017, arXiv:1610.04490, section 2.3): `x + std · ε`.
 *
 * @param std Usually falls to 0 in the course of training: a `live` number.
 */
export function instanceNoise(
  x: Tensor,
  std: number | Live,
  rng: Rng,
): Tensor {
  return add(x, scale(rng.normal(x.shape), std));
}
