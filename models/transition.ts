/**
 * One step of a sampler between two noise levels, as numbers: from x_s = α_s x_0 + σ_s ε to the less
 * noisy x_t. Nothing here depends on how images are scaled, so that the same factors serve where
 * α² + σ² = 1 (VP) and where α = 1 (VE). All in float64; where α_s is 0 the limits are taken.
 *
 * @module
 */
import type { NoiseLevel } from "./noise_schedule.ts";

/** What a sampler ends at: the image itself. */
export const NOISELESS: NoiseLevel = { alpha: 1, sigma: 0 };

/** σ/α, the noise where the image is unscaled. */
export function noiseRatio({ alpha, sigma }: NoiseLevel): number {
  return sigma / alpha;
}

/** q(x_t | x_s, x_0) = N(fromX x_s + fromX0 x_0, small I), and the variance it has at the most. */
export interface Posterior {
  /** Factor of x_s in the mean. */
  readonly fromX: number;
  /** Factor of x_0 in the mean. */
  readonly fromX0: number;
  /** β, the variance of q(x_s | x_t): what the posterior would have for x_0 ~ N(0, I). */
  readonly large: number;
  /** β̃, its variance where x_0 is known. */
  readonly small: number;
}

/** The posterior of a step (Ho et al. 2020, arXiv:2006.11239, eq. 7, for any two levels). */
export function posterior(s: NoiseLevel, t: NoiseLevel): Posterior {
  const kept = s.alpha / t.alpha;
  const large = s.sigma ** 2 - (kept * t.sigma) ** 2;
  return {
    fromX: kept * (t.sigma / s.sigma) ** 2,
    fromX0: t.alpha * large / s.sigma ** 2,
    large,
    small: large * (t.sigma / s.sigma) ** 2,
  };
}

/**
 * Factors of x_s, x̂_0 and fresh noise z: `α_t x̂_0 + √(σ_t² - σ²) ε̂ + σ z` with `ε̂ = (x_s - α_s x̂_0) / σ_s`
 * and `σ = min(σ_t, η √β̃)` (Song et al. 2021, arXiv:2010.02502, eq. 12 and 16).
 *
 * Where α = 1 this is k-diffusion's Euler ancestral step: √(σ_t² - σ²) is its σ_down, σ its σ_up. With
 * η = 1 it is the posterior with variance β̃, with η = 0 Euler's step of the probability flow.
 */
export function ddimFactors(
  s: NoiseLevel,
  t: NoiseLevel,
  eta: number,
): { x: number; x0: number; z: number } {
  const z = eta === 0
    ? 0
    : Math.min(t.sigma, eta * Math.sqrt(posterior(s, t).small));
  const x = Math.sqrt(t.sigma ** 2 - z ** 2) / s.sigma;
  return { x, x0: t.alpha - s.alpha * x, z };
}

/**
 * Factors of x_s, x̂_0 at s and x̂_0 at the step before: DPM-Solver++(2M) (Lu et al. 2022,
 * arXiv:2211.01095, Algorithm 2), `(σ_t/σ_s) x_s + (α_t - α_s σ_t/σ_s) ((1 + w) x̂_0 - w x̂_0')` with
 * `w = h / 2h'`, h the step in λ = ln(α/σ) and h' the one before. Of first order, which is DDIM, where
 * there is none before, and where one of both steps has no finite size: from pure noise or to the image.
 */
export function dpmppFactors(
  before: NoiseLevel | undefined,
  s: NoiseLevel,
  t: NoiseLevel,
): { x: number; x0: number; before: number } {
  const { x, x0 } = ddimFactors(s, t, 0);
  const step = (a: NoiseLevel, b: NoiseLevel) =>
    Math.log(noiseRatio(a) / noiseRatio(b));
  const h = step(s, t);
  const w = before && Number.isFinite(h) ? h / (2 * step(before, s)) : 0;
  const extra = Number.isFinite(w) ? w * x0 : 0;
  return { x, x0: x0 + extra, before: -extra };
}

/**
 * Factors of x_s, x̂_0 at s and x̂_0 at where Euler's step ends: Heun's method for the probability flow
 * dy/dσ = (y - x̂_0)/σ of y = x/α (Karras et al. 2022, arXiv:2206.00364, Algorithm 1). Both levels must
 * have signal and noise.
 */
export function heunFactors(
  s: NoiseLevel,
  t: NoiseLevel,
): { x: number; x0: number; x0Next: number } {
  const euler = ddimFactors(s, t, 0);
  const half = (noiseRatio(t) - noiseRatio(s)) / 2;
  const [a, b] = [half / noiseRatio(s), half / noiseRatio(t)];
  return {
    x: t.alpha / s.alpha * (1 + a) + b * euler.x,
    x0: b * euler.x0 - t.alpha * a,
    x0Next: -t.alpha * b,
  };
}
