/**
 * Initial values of parameters: functions of a shape and a generator. Fans are counted as PyTorch
 * does: for weights `[out, in, ...window]`, `fanIn` is `in · window` and `fanOut` is `out · window`.
 *
 * @module
 */
import * as fill from "../tensor/fill.ts";
import type { Rng } from "../tensor/rng.ts";
import { show, sizeOf, type Tensor } from "../tensor/tensor.ts";

/** Makes the initial values of a parameter. */
export type Init = (shape: readonly number[], rng: Rng) => Tensor;

/** Which fan sets the variance. */
export type FanMode = "fanIn" | "fanOut" | "fanAvg";

/** All zeros. */
export function zeros(shape: readonly number[]): Tensor {
  return fill.zeros(shape);
}

/** All ones. */
export function ones(shape: readonly number[]): Tensor {
  return fill.ones(shape);
}

/** Uniform in `[low, high)`. */
export function uniform(low: number, high: number): Init {
  return (shape, rng) => rng.uniform(shape, low, high);
}

/** Normal; `mean` defaults to 0, `std` to 1. */
export function normal(mean = 0, std = 1): Init {
  return (shape, rng) => rng.normal(shape, mean, std);
}

/**
 * Incoming and outgoing connections of a weight.
 *
 * @throws {TypeError} If the shape has fewer than two axes.
 */
export function fans(
  shape: readonly number[],
): { fanIn: number; fanOut: number } {
  if (shape.length < 2) {
    throw new TypeError(
      `Cannot count fans as a weight must have two axes: shape is ${
        show(shape)
      }`,
    );
  }
  const window = sizeOf(shape.slice(2));
  return { fanIn: shape[1]! * window, fanOut: shape[0]! * window };
}

function fan(shape: readonly number[], mode: FanMode): number {
  const { fanIn, fanOut } = fans(shape);
  const count = mode === "fanIn"
    ? fanIn
    : mode === "fanOut"
    ? fanOut
    : (fanIn + fanOut) / 2;
  return Math.max(1, count); // a layer without inputs has nothing to scale
}

/** Uniform with variance `gain² / fan`: its bounds are `± gain √(3 / fan)`. */
function scaledUniform(gain: number, mode: FanMode): Init {
  return (shape, rng) => {
    const bound = gain * Math.sqrt(3 / fan(shape, mode));
    return rng.uniform(shape, -bound, bound);
  };
}

function scaledNormal(gain: number, mode: FanMode): Init {
  return (shape, rng) =>
    rng.normal(shape, 0, gain / Math.sqrt(fan(shape, mode)));
}

/**
 * Uniform with variance `2 / ((1 + a²) fan)` (He et al. 2015, arXiv:1502.01852, eq. 14).
 *
 * @param options `a`, the negative slope of the rectifier that follows, defaults to 0; `mode` to
 *   `"fanIn"`.
 */
export function kaimingUniform(
  options: { a?: number; mode?: FanMode } = {},
): Init {
  const { a = 0, mode = "fanIn" } = options;
  return scaledUniform(Math.sqrt(2 / (1 + a * a)), mode);
}

/** Normal with variance `2 / ((1 + a²) fan)`; options as for `kaimingUniform`. */
export function kaimingNormal(
  options: { a?: number; mode?: FanMode } = {},
): Init {
  const { a = 0, mode = "fanIn" } = options;
  return scaledNormal(Math.sqrt(2 / (1 + a * a)), mode);
}

/** Uniform with variance `2 gain² / (fanIn + fanOut)` (Glorot & Bengio 2010, eq. 16); `gain` defaults to 1. */
export function xavierUniform(gain = 1): Init {
  return scaledUniform(gain, "fanAvg");
}

/** Normal with variance `2 gain² / (fanIn + fanOut)`; `gain` defaults to 1. */
export function xavierNormal(gain = 1): Init {
  return scaledNormal(gain, "fanAvg");
}

/**
 * Uniform with variance `scale / fan`. Ho et al. 2020 (arXiv:2006.11239) use scale 1 over the mean
 * fan, and 0, which means 1e-10, for the last layer of a block.
 *
 * @param scale Defaults to 1.
 * @param mode Defaults to `"fanAvg"`.
 */
export function varianceScaling(scale = 1, mode: FanMode = "fanAvg"): Init {
  return scaledUniform(Math.sqrt(scale === 0 ? 1e-10 : scale), mode);
}

/** PyTorch's default for the weight of a linear or convolution layer: U(±1/√fanIn). */
export const defaultWeight: Init = kaimingUniform({ a: Math.sqrt(5) });

/** PyTorch's default for the bias beside a weight of the given shape: U(±1/√fanIn). */
export function defaultBias(weightShape: readonly number[]): Init {
  const bound = 1 / Math.sqrt(fan(weightShape, "fanIn"));
  return uniform(-bound, bound);
}
