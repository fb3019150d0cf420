/**
 * Data for which the best denoiser is known: a Gaussian, the same for every pixel.
 *
 * @module
 */
import {
  add,
  cast,
  type Denoiser,
  type Estimate,
  type Estimator,
  full,
  type GaussianDiffusion,
  indexSelect,
  linearCombination,
  live,
  mul,
  type NoiseLevel,
  reshape,
  type Tensor,
  tensor,
} from "../../mod.ts";

/** Mean and variance of every pixel; default to 0 and 1. */
export interface GaussianData {
  mean?: number;
  variance?: number;
}

/** x̂_0 = E[x_0 | x] = gain · x + offset. */
export function bestFactors(
  { alpha, sigma }: NoiseLevel,
  { mean = 0, variance = 1 }: GaussianData,
): { gain: number; offset: number } {
  const total = alpha ** 2 * variance + sigma ** 2;
  return { gain: alpha * variance / total, offset: sigma ** 2 / total * mean };
}

/** The best estimator, for data that may differ by level. */
export function gaussianEstimator(
  data: GaussianData | ((level: NoiseLevel) => GaussianData),
): Estimator {
  const factors = (level: NoiseLevel) =>
    bestFactors(level, typeof data === "function" ? data(level) : data);
  return (x, level): Estimate => ({
    x0: linearCombination([
      [live(() => factors(level()).gain), x],
      [live(() => factors(level()).offset), full(x.shape, 1)],
    ]),
  });
}

/** A function of the timestep as a factor of the images at `t`. */
export function byTimestep(
  process: GaussianDiffusion,
  value: (level: NoiseLevel) => number,
): (t: Tensor, x: Tensor) => Tensor {
  const table = tensor(
    Float32Array.from(
      { length: process.timesteps },
      (_, t) => value(process.level(t)),
    ),
  );
  return (t, x) =>
    reshape(
      indexSelect(table, 0, cast(t, "i32")),
      x.shape.map((n, axis) => axis === 0 ? n : 1),
    );
}

/** The best network, which predicts as the process says. */
export function gaussianNetwork(
  process: GaussianDiffusion,
  data: GaussianData,
): Denoiser {
  /** Factors of x and of 1 in what is predicted. */
  const predicted = (level: NoiseLevel): [number, number] => {
    const { gain, offset } = bestFactors(level, data);
    const { alpha, sigma } = level;
    const eps = [(1 - alpha * gain) / sigma, -alpha * offset / sigma] as const;
    if (process.prediction === "x0") return [gain, offset];
    return process.prediction === "eps"
      ? [...eps]
      : [alpha * eps[0] - sigma * gain, alpha * eps[1] - sigma * offset];
  };
  const factor = byTimestep(process, (level) => predicted(level)[0]);
  const constant = byTimestep(process, (level) => predicted(level)[1]);
  return (x, t) => add(mul(factor(t, x), x), constant(t, x));
}

/** Unscaled images at these noises. */
export function unscaledLevels(sigmas: Iterable<number>): NoiseLevel[] {
  return Array.from(sigmas, (sigma) => ({ alpha: 1, sigma }))
    .filter(({ sigma }) => sigma > 0);
}
