/**
 * Estimators: what a sampler asks about noised images, whatever the network was trained to predict and
 * however it is guided.
 *
 * @module
 */
import { concat, narrow, repeat } from "../kernels/shape.ts";
import { sum } from "../kernels/reduce.ts";
import { clamp, scale } from "../kernels/unary.ts";
import { gradients } from "../tensor/autograd.ts";
import { enableGrad, keep, outsideCapture } from "../tensor/context.ts";
import { copyInPlace, full, zeros } from "../tensor/fill.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { live } from "../tensor/trace.ts";
import type { Denoiser } from "./denoiser.ts";
import type { GaussianDiffusion } from "./diffusion.ts";
import type { EdmProcess } from "./edm.ts";
import { classifierFree, dynamicThreshold } from "./guidance.ts";
import type { NoiseLevel } from "./noise_schedule.ts";
import { noiseRatio } from "./transition.ts";

/** What a network, with its guidance, makes of noised images. */
export interface Estimate {
  /** x̂_0, after guidance and thresholding; like x. */
  x0: Tensor;
  /** What a network that learns its variance says of it, in about [-1, 1]; like x. */
  fraction?: Tensor;
  /** `s ∇_x log p(y | x)` of classifier guidance, which the sampler still has to apply; like x. */
  gradient?: Tensor;
  /** The threshold, for an x̂_0 that the sampler has moved by the gradient. */
  limit?: (x0: Tensor) => Tensor;
}

/** Estimates x_0 from noised images. */
export interface Estimator {
  /**
   * Runs the network.
   *
   * @param x `[N, C, H, W]` at that level.
   * @param level Asked while a step is captured, and again before every replay.
   */
  (x: Tensor, level: () => NoiseLevel): Estimate;
  /** Levels of one kind can be computed by one captured step; by default all can. */
  kind?(level: NoiseLevel): string;
  /** Forgets what it kept of images before; called when a sampler starts. */
  reset?(): void;
}

/** Classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598). */
export interface Guidance {
  /**
   * Is given the batch twice, `[2 N, …]`, and predicts the first half with its condition and the second
   * without; see `withClasses`.
   */
  both: Denoiser;
  /** `unconditional + scale (conditional - unconditional)`; 1 is the plain conditional network. */
  scale: number;
  /**
   * Where to guide, as σ/α: above the first and up to the second (Kynkäänniemi et al. 2024,
   * arXiv:2404.07724). Elsewhere, the conditional network runs alone. Defaults to everywhere.
   */
  interval?: readonly [low: number, high: number];
}

/** Classifier guidance (Dhariwal & Nichol 2021, arXiv:2105.05233, §4). */
export interface ClassifierGuidance {
  /** log p(y | x), `[N]`, of what the network itself is given, and how noisy that is, `[N]`. */
  logProbability: (x: Tensor, t: Tensor) => Tensor;
  /** Factor of its gradient. */
  scale: number;
}

/** How estimates are made. */
export interface EstimatorOptions {
  /**
   * What is done to x̂_0: `static` (default) limits it to ±`range`, `dynamic` is `dynamicThreshold`.
   */
  threshold?: "static" | "dynamic" | "none";
  /** Of `static`; defaults to 1, that of images. */
  range?: number;
  /** Classifier-free guidance; defaults to none. */
  guidance?: Guidance;
  /** Classifier guidance; defaults to none. */
  classifier?: ClassifierGuidance;
  /**
   * Whether the network takes the estimate before, at first 0, as further channels behind those of x
   * (Chen et al. 2023, arXiv:2208.04202). Defaults to false.
   */
  selfConditioning?: boolean;
}

/** What distinguishes the ways to train a network. */
interface Form {
  /** What x is multiplied by for the network. */
  factor(level: NoiseLevel): number;
  /** What the network is told of the level, for a classifier. */
  time(level: NoiseLevel): number;
  /** What the network predicts of scaled images; the variance apart. */
  predict(
    network: Denoiser,
    x: Tensor,
    level: () => NoiseLevel,
  ): { value: Tensor; fraction?: Tensor };
  /** x̂_0 of what it predicts. */
  start(x: Tensor, level: () => NoiseLevel, value: Tensor): Tensor;
}

const THRESHOLDS = {
  static: (x0: Tensor, range: number) => clamp(x0, { min: -range, max: range }),
  dynamic: (x0: Tensor) => dynamicThreshold(x0),
  none: (x0: Tensor) => x0,
};

function makeEstimator(
  form: Form,
  denoise: Denoiser,
  options: EstimatorOptions,
): Estimator {
  const { threshold = "static", range = 1, guidance, classifier } = options;
  const { selfConditioning = false } = options;
  const [low, high] = guidance?.interval ?? [-1, Infinity];
  const isGuided = (level: NoiseLevel) =>
    guidance !== undefined && guidance.scale !== 1 &&
    low < noiseRatio(level) && noiseRatio(level) <= high;
  /** x̂_0 before, of self-conditioning. */
  let previous: Tensor | undefined;

  const predict = (
    network: Denoiser,
    x: Tensor,
    level: () => NoiseLevel,
    times = 1,
  ) => {
    const repeated = (images: Tensor) =>
      times === 1
        ? images
        : repeat(images, images.shape.map((_, axis) => axis === 0 ? times : 1));
    const conditioned: Denoiser = (x, t) =>
      network(previous ? concat([x, repeated(previous)], 1) : x, t);
    return form.predict(conditioned, repeated(x), level);
  };

  const guided = (x: Tensor, level: () => NoiseLevel) => {
    if (!isGuided(level())) return predict(denoise, x, level);
    const { value, fraction } = predict(guidance!.both, x, level, 2);
    const n = x.shape[0]!;
    const [conditional, unconditional] = [
      narrow(value, 0, 0, n),
      narrow(value, 0, n, 2 * n),
    ];
    return {
      value: classifierFree(conditional, unconditional, guidance!.scale),
      fraction: fraction && narrow(fraction, 0, 0, n),
    };
  };

  const classified = (x: Tensor, level: () => NoiseLevel) => {
    const { logProbability, scale: s } = classifier!;
    const leaf = x.detach().requireGrad();
    const t = full([x.shape[0]!], live(() => form.time(level())));
    const [gradient] = enableGrad(() =>
      gradients(sum(logProbability(leaf, t)), [leaf])
    );
    return scale(gradient!, live(() => s * form.factor(level())));
  };

  const estimate: Estimator = (noised, level) => {
    const x = scale(noised, live(() => form.factor(level())));
    if (selfConditioning && previous?.shape.join() !== x.shape.join()) {
      previous?.dispose();
      previous = outsideCapture(() => keep(zeros(x.shape)));
    }
    const { value, fraction } = guided(x, level);
    const limit = (x0: Tensor) => THRESHOLDS[threshold](x0, range);
    const x0 = limit(form.start(x, level, value));
    if (previous) copyInPlace(previous, x0);
    if (!classifier) return { x0, fraction };
    return { x0, fraction, gradient: classified(x, level), limit };
  };
  return Object.assign(estimate, {
    kind: (level: NoiseLevel) => isGuided(level) ? "guided" : "plain",
    reset: () => {
      previous?.dispose();
      previous = undefined;
    },
  });
}

/** Throws where no image follows from what the network predicts. */
function requireSignal(level: NoiseLevel, network: string): NoiseLevel {
  if (level.alpha > 0) return level;
  throw new RangeError(
    `Cannot estimate images as ${network} needs a level with signal: its alpha is ${level.alpha}; ` +
      "start at the next level, or use a network that predicts v or x0",
  );
}

/**
 * Estimates by a network that was trained as `GaussianDiffusion`: it is given x at the scale where
 * `alpha² + sigma² = 1`, with the timestep of the same noise. If it predicts noise, a level without signal
 * is a RangeError when a sampler comes to it.
 *
 * @param denoise The network, with its condition filled in; see `withClasses`.
 */
export function vpEstimator(
  process: GaussianDiffusion,
  denoise: Denoiser,
  options: EstimatorOptions = {},
): Estimator {
  const factor = ({ alpha, sigma }: NoiseLevel) => 1 / Math.hypot(alpha, sigma);
  const { timestepMap } = process;
  /** The timestep as networks are told it, between two as far as `timestepOf` says. */
  const time = (level: NoiseLevel) => {
    const t = process.timestepOf(level), below = timestepMap[Math.floor(t)]!;
    return below + (t % 1) * (timestepMap[Math.ceil(t)]! - below);
  };
  return makeEstimator(
    {
      factor,
      time,
      predict: (network, x, level) =>
        process.split(
          network(x, full([x.shape[0]!], live(() => time(level())))),
        ),
      start: (x, level, value) =>
        process.startFrom(x, () => {
          const at = process.prediction === "eps"
            ? requireSignal(level(), "one that predicts noise")
            : level();
          const by = factor(at);
          return { alpha: at.alpha * by, sigma: at.sigma * by };
        }, value),
    },
    denoise,
    options,
  );
}

/**
 * Estimates by a network that was trained as `EdmProcess`: it is given `x / alpha`, whose noise is
 * `sigma / alpha`. A classifier is told that noise. A level without signal is a RangeError when a sampler
 * comes to it.
 *
 * @param denoise The network, with its condition filled in; see `withClasses`.
 */
export function edmEstimator(
  process: EdmProcess,
  denoise: Denoiser,
  options: EstimatorOptions = {},
): Estimator {
  return makeEstimator(
    {
      factor: (level) => 1 / requireSignal(level, "one trained as EDM").alpha,
      time: noiseRatio,
      predict: (network, x, level) => ({
        value: process.denoised(network, x, () => noiseRatio(level())),
      }),
      start: (_x, _level, value) => value,
    },
    denoise,
    options,
  );
}
