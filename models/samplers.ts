/**
 * Samplers: from noise to images, every evaluation of the network in sight. All go through noise levels
 * from the noisiest on, and then to the image itself; they know neither what the network predicts nor how
 * images are scaled. A step is captured, so an estimator must be synchronous and compute on the device;
 * see `capture`.
 *
 * @module
 */
import { linearCombination } from "../kernels/linear_combination.ts";
import { mul } from "../kernels/binary.ts";
import { exp, scale } from "../kernels/unary.ts";
import { capture, type CapturedStep } from "../tensor/capture.ts";
import { keep, noGrad } from "../tensor/context.ts";
import { sync, turn } from "../tensor/device.ts";
import { copyInPlace, zeros } from "../tensor/fill.ts";
import { like } from "../tensor/kernel.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { type Live, live } from "../tensor/trace.ts";
import type { VarianceName } from "./diffusion.ts";
import type { Estimate, Estimator } from "./estimator.ts";
import type { NoiseLevel } from "./noise_schedule.ts";
import {
  ddimFactors,
  dpmppFactors,
  heunFactors,
  NOISELESS,
  noiseRatio,
  posterior,
} from "./transition.ts";

/** What all samplers take. */
export interface SamplerOptions {
  /**
   * Called after each step with the number done and the batch, which then is at `levels[done]`, or the
   * images; may be asynchronous.
   */
  onStep?: (done: number, total: number, x: Tensor) => void | Promise<void>;
}

/**
 * Draws standard normals of a shape. For the same image in any batch, those of its row:
 * `(shape) => rng.normalRows(shape, firstRow)`.
 */
export type NoiseSource = (shape: readonly number[]) => Tensor;

/** Steps between waits for the device, so that its queue stays short and the process responsive. */
const STEPS_PER_WAIT = 8;

/** A number that follows from the levels that a step leads between, and its number. */
type Factor = (s: NoiseLevel, t: NoiseLevel, i: number) => number;

/** Where a sampler is: the levels a step leads between. */
interface Place {
  /** The level of x, asked for when a step runs. */
  readonly from: () => NoiseLevel;
  /** The level that the step leads to. */
  readonly to: () => NoiseLevel;
  /** What `factor` is at each step. */
  by(factor: Factor): number | Live;
}

/**
 * Runs `step` from each level of the path to the next. Steps of one kind are captured once, and replayed
 * with other levels each time.
 */
async function follow(
  estimator: Estimator,
  path: readonly NoiseLevel[],
  start: Tensor,
  onStep: SamplerOptions["onStep"],
  step: (x: Tensor, place: Place, i: number) => Tensor,
  kindOf = (i: number) => estimator.kind?.(path[i]!) ?? "",
): Promise<Tensor> {
  const total = path.length - 1;
  const x = keep(like(start));
  copyInPlace(x, start);
  estimator.reset?.();
  const captured = new Map<string, CapturedStep<never, never>>();
  let i = 0;
  const place: Place = {
    from: () => path[i]!,
    to: () => path[i + 1]!,
    by: (factor) => live(() => factor(path[i]!, path[i + 1]!, i)),
  };
  try {
    for (; i < total; i++) {
      const kind = kindOf(i);
      if (!captured.has(kind)) {
        captured.set(
          kind,
          capture(() => {
            copyInPlace(x, noGrad(() => step(x, place, i)));
            return {};
          }),
        );
      }
      captured.get(kind)!.replay({});
      const done = i + 1;
      await (done % STEPS_PER_WAIT === 0 ? sync() : turn());
      await onStep?.(done, total, x);
    }
    return x.detach(); // belongs to the caller's scope
  } finally {
    for (const one of captured.values()) one.dispose();
    x.dispose();
  }
}

/** The levels, and then the image. */
function toImage(levels: readonly NoiseLevel[]): NoiseLevel[] {
  const sigmas = levels.map(({ sigma }) => sigma);
  if (levels.length === 0 || !sigmas.every((sigma) => sigma > 0)) {
    throw new RangeError(
      "Cannot sample as levels must not be empty and all have noise, the image being added by the " +
        `sampler: their sigmas are [${sigmas.join(", ")}]`,
    );
  }
  return [...levels, NOISELESS];
}

/**
 * x̂_0 with the gradient of a classifier in it: by Tweedie's formula `x̂_0 + σ²/α ∇ log p(y | x)`, which
 * moves the noise by `-σ ∇ log p` (Dhariwal & Nichol 2021, arXiv:2105.05233, Algorithm 2), within the
 * threshold: where little signal is left, σ²/α is thousands, and what gradient a trained classifier
 * still gives there would leave the range of images for good. Where none is left, it has nothing to say.
 */
function startOf(
  { x0, gradient, limit = (x0) => x0 }: Estimate,
  level: () => NoiseLevel,
): Tensor {
  if (!gradient) return x0;
  const factor = live(() => {
    const { alpha, sigma } = level();
    return alpha === 0 ? 0 : sigma ** 2 / alpha;
  });
  return limit(linearCombination([[1, x0], [factor, gradient]]));
}

/**
 * Ancestral sampling (Ho et al. 2020, arXiv:2006.11239, Algorithm 2): each step draws from the posterior
 * of the next level. A classifier moves its mean by `Σ ∇ log p(y | x)` (Dhariwal & Nichol 2021,
 * Algorithm 1).
 *
 * @param levels Noisiest first, such as `process.levels(1000)`.
 * @param xT Noise at `levels[0]`: standard normal if images are scaled so that their variance is kept,
 *   times `levels[0].sigma` if they are not.
 * @param options `variance` is `fixedlarge` (with fewer steps than timesteps, samples stay noisy),
 *   `fixedsmall`, or what the network learned, which is the default if it did; else `fixedsmall` is.
 * @returns Images, like `xT`.
 * @throws {RangeError} If a level has no noise, or there is none.
 * @throws {TypeError} If the variance is to be learned, and the network predicts none.
 */
export function sampleAncestral(
  estimator: Estimator,
  levels: readonly NoiseLevel[],
  xT: Tensor,
  options: SamplerOptions & { noise: NoiseSource; variance?: VarianceName },
): Promise<Tensor> {
  const { noise, onStep } = options;
  const path = toImage(levels);
  const { log, sqrt } = Math;
  const large: Factor = (s, t) => posterior(s, t).large;
  // At the image, where it is 0, β̃ is that of the step before: a learned variance starts from it.
  const small: Factor = (s, t, i) => {
    if (t.sigma > 0) return posterior(s, t).small;
    return i > 0 ? posterior(path[i - 1]!, s).small : large(s, t, i);
  };
  const variances: Record<VarianceName, Factor> = {
    fixedsmall: small,
    fixedlarge: (s, t, i) => (t.sigma > 0 ? large : small)(s, t, i),
    // The middle of the range, in the logarithm.
    learned_range: (...at) => sqrt(small(...at) * large(...at)),
  };
  return follow(estimator, path, xT, onStep, (x, { from, by }) => {
    const { x0, fraction, gradient } = estimator(x, from);
    const { variance = fraction ? "learned_range" : "fixedsmall" } = options;
    const isLearned = variance === "learned_range";
    if (isLearned && !fraction) {
      throw new TypeError(
        "Cannot sample with a learned variance as the network predicts none: choose fixedsmall or " +
          "fixedlarge",
      );
    }
    const of = variances[variance];
    /** σ over that of the middle: √(large / small) to the power of half the fraction. */
    const spread = isLearned &&
      exp(scale(
        fraction!,
        by((...at) => log(large(...at) / small(...at)) / 4),
      ));
    const z = noise(x.shape);
    const terms: [number | Live, Tensor][] = [
      [by((s, t) => posterior(s, t).fromX), x],
      [by((s, t) => posterior(s, t).fromX0), x0],
      [
        by((s, t, i) => t.sigma > 0 ? sqrt(of(s, t, i)) : 0),
        spread ? mul(spread, z) : z,
      ],
    ];
    if (gradient) {
      const moved = spread ? mul(mul(spread, spread), gradient) : gradient;
      terms.push([by(of), moved]);
    }
    return linearCombination(terms);
  });
}

/**
 * DDIM (Song et al. 2021, arXiv:2010.02502).
 *
 * @param levels As in `sampleAncestral`.
 * @param xT As in `sampleAncestral`.
 * @param options `eta`: 0 (default) is deterministic, Euler's method for the probability flow; 1 is
 *   ancestral sampling with `fixedsmall`. Above 0, `noise` is needed.
 * @returns Images, like `xT`.
 * @throws {RangeError} If a level has no noise, or there is none, or `eta` is negative.
 * @throws {TypeError} If `noise` is missing.
 */
export function sampleDdim(
  estimator: Estimator,
  levels: readonly NoiseLevel[],
  xT: Tensor,
  options: SamplerOptions & { eta?: number; noise?: NoiseSource } = {},
): Promise<Tensor> {
  const { eta = 0, noise, onStep } = options;
  if (!(eta >= 0 && eta < Infinity)) {
    throw new RangeError(
      `Cannot sample as eta must be finite and not negative: eta is ${eta}`,
    );
  }
  if (eta > 0 && !noise) {
    throw new TypeError(
      `Cannot sample as an eta above 0 needs noise: eta is ${eta}; pass noise`,
    );
  }
  return follow(
    estimator,
    toImage(levels),
    xT,
    onStep,
    ddimStep(estimator, eta, noise),
  );
}

function ddimStep(estimator: Estimator, eta: number, noise?: NoiseSource) {
  return (x: Tensor, { from, by }: Place): Tensor => {
    const x0 = startOf(estimator(x, from), from);
    return linearCombination([
      [by((s, t) => ddimFactors(s, t, eta).x), x],
      [by((s, t) => ddimFactors(s, t, eta).x0), x0],
      ...eta > 0
        ? [[by((s, t) => ddimFactors(s, t, eta).z), noise!(x.shape)] as const]
        : [],
    ]);
  };
}

/**
 * Euler ancestral sampling, as k-diffusion's `sample_euler_ancestral`: DDIM, whose steps are the same (see
 * `ddimFactors`), with an `eta` of 1 unless it is given.
 *
 * @param levels As in `sampleAncestral`.
 * @param xT As in `sampleAncestral`.
 */
export function sampleEulerAncestral(
  estimator: Estimator,
  levels: readonly NoiseLevel[],
  xT: Tensor,
  options: SamplerOptions & { eta?: number; noise: NoiseSource },
): Promise<Tensor> {
  return sampleDdim(estimator, levels, xT, { eta: 1, ...options });
}

/**
 * DDIM upwards: the noise at `levels[0]` from which `sampleDdim` makes these images again, but for the
 * error of the steps. The images count as a batch at the last level, so there is a step less. Thresholds
 * of the estimator cannot be undone: best without.
 *
 * @param levels As in `sampleAncestral`.
 * @param x0 Images, `[N, C, H, W]`.
 * @returns A batch at `levels[0]`, like `x0`.
 */
export function invertDdim(
  estimator: Estimator,
  levels: readonly NoiseLevel[],
  x0: Tensor,
  options: SamplerOptions = {},
): Promise<Tensor> {
  const path = toImage(levels).slice(0, -1).reverse();
  return follow(estimator, path, x0, options.onStep, ddimStep(estimator, 0));
}

/**
 * DPM-Solver++(2M) (Lu et al. 2022, arXiv:2211.01095): as many evaluations as DDIM, and of second order,
 * but for the first step, and the last, as that ends without noise.
 *
 * @param levels As in `sampleAncestral`.
 * @param xT As in `sampleAncestral`.
 * @returns Images, like `xT`.
 * @throws {RangeError} If a level has no noise, or there is none.
 */
export async function sampleDpmpp(
  estimator: Estimator,
  levels: readonly NoiseLevel[],
  xT: Tensor,
  options: SamplerOptions = {},
): Promise<Tensor> {
  const path = toImage(levels);
  const before = keep(zeros(xT.shape)); // x̂_0 at the step before
  try {
    return await follow(
      estimator,
      path,
      xT,
      options.onStep,
      (x, { from, by }) => {
        const x0 = startOf(estimator(x, from), from);
        const next = linearCombination([
          [by((s, t, i) => dpmppFactors(path[i - 1], s, t).x), x],
          [by((s, t, i) => dpmppFactors(path[i - 1], s, t).x0), x0],
          [by((s, t, i) => dpmppFactors(path[i - 1], s, t).before), before],
        ]);
        copyInPlace(before, x0);
        return next;
      },
    );
  } finally {
    before.dispose();
  }
}

/** Noise that `sampleHeun` adds before its steps, "churn" (Karras et al. 2022, Algorithm 2). */
export interface ChurnOptions {
  /** How much over all steps; defaults to 0, which needs no noise. */
  sChurn?: number;
  /** Least σ/α at which noise is added; defaults to 0. */
  sMin?: number;
  /** Greatest σ/α at which noise is added; defaults to infinity. */
  sMax?: number;
  /** Standard deviation of the noise; defaults to 1. */
  sNoise?: number;
  /** Needed if `sChurn` is above 0. */
  noise?: NoiseSource;
}

/**
 * Heun's method for the probability flow (Karras et al. 2022, arXiv:2206.00364, Algorithms 1 and 2): of
 * second order, with two evaluations per step. The last step, and a first one from pure noise, are Euler's
 * with one, as the flow has no slope there.
 *
 * @param levels As in `sampleAncestral`, or `karrasSigmas` as sigmas with an alpha of 1.
 * @param xT As in `sampleAncestral`.
 * @returns Images, like `xT`.
 * @throws {RangeError} If a level has no noise, or there is none.
 * @throws {TypeError} If `noise` is missing.
 */
export function sampleHeun(
  estimator: Estimator,
  levels: readonly NoiseLevel[],
  xT: Tensor,
  options: SamplerOptions & ChurnOptions = {},
): Promise<Tensor> {
  const { sChurn = 0, sMin = 0, sMax = Infinity, sNoise = 1, noise } = options;
  if (sChurn > 0 && !noise) {
    throw new TypeError(
      `Cannot sample as an sChurn above 0 needs noise: sChurn is ${sChurn}; pass noise`,
    );
  }
  const path = toImage(levels);
  const gamma = Math.min(sChurn / levels.length, Math.SQRT2 - 1);
  /** The level after noise was added. */
  const churned = (level: NoiseLevel): NoiseLevel => {
    const ratio = noiseRatio(level);
    const isIn = sMin <= ratio && ratio <= sMax && level.alpha > 0;
    const { alpha, sigma } = level;
    return isIn ? { alpha, sigma: sigma * (1 + gamma) } : level;
  };
  const added = (level: NoiseLevel) =>
    sNoise * Math.sqrt(churned(level).sigma ** 2 - level.sigma ** 2);
  const isEuler = (i: number) =>
    path[i]!.alpha === 0 || i === levels.length - 1;
  const kindOf = (i: number) =>
    [
      isEuler(i) ? "euler" : "heun",
      estimator.kind?.(churned(path[i]!)),
      isEuler(i) ? "" : estimator.kind?.(path[i + 1]!),
    ].join();
  return follow(estimator, path, xT, options.onStep, (x, place, i) => {
    const { from, to, by } = place;
    const start = () => churned(from());
    const noised = sChurn > 0
      ? linearCombination([[1, x], [by(added), noise!(x.shape)]])
      : x;
    const x0 = startOf(estimator(noised, start), start);
    const euler = linearCombination([
      [by((s, t) => ddimFactors(churned(s), t, 0).x), noised],
      [by((s, t) => ddimFactors(churned(s), t, 0).x0), x0],
    ]);
    if (isEuler(i)) return euler;
    const x0Next = startOf(estimator(euler, to), to);
    return linearCombination([
      [by((s, t) => heunFactors(churned(s), t).x), noised],
      [by((s, t) => heunFactors(churned(s), t).x0), x0],
      [by((s, t) => heunFactors(churned(s), t).x0Next), x0Next],
    ]);
  }, kindOf);
}
