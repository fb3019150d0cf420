/**
 * One normal distribution of several dimensions, with what a mixture asks of its components.
 *
 * @module
 */
import { cholesky, invertLower } from "../tensor/linear_algebra.ts";

/**
 * Form of a covariance of D dimensions: `full` is any positive definite `[D, D]`; `diag` has variances
 * `[D]`; `spherical` has one variance for all.
 */
export type CovarianceType = "full" | "diag" | "spherical";

/** All forms of covariances. */
export const COVARIANCE_TYPES: readonly CovarianceType[] = [
  "full",
  "diag",
  "spherical",
];

/** A covariance in its own form: a number, `[D]` or `[D, D]`. */
export type Covariance =
  | number
  | readonly number[]
  | readonly (readonly number[])[];

/** Weights below are left out: all points together would not change a digit of a sum that has one point. */
const NEGLIGIBLE = 1e-20;

/** N(mean, covariance) in float64. @internal */
export class Normal {
  readonly type: CovarianceType;
  readonly mean: Float64Array;
  /** `[D, D]`, `[D]` or `[1]`. */
  readonly covariance: Float64Array;
  /** R with `R Rᵀ` = covariance: a lower triangle `[D, D]`, or the diagonal `[D]` alone. */
  readonly #root: Float64Array;
  /** R⁻¹, in the same form. */
  readonly #whitener: Float64Array;
  /** The logarithm of the density at the mean. */
  readonly #peak: number;

  private constructor(
    type: CovarianceType,
    mean: Float64Array,
    covariance: Float64Array,
    root: Float64Array,
  ) {
    const dimensions = mean.length;
    this.type = type;
    this.mean = mean;
    this.covariance = covariance;
    this.#root = root;
    const isFull = type === "full";
    this.#whitener = isFull
      ? invertLower(root, dimensions)
      : root.map((r) => 1 / r);
    let peak = -dimensions / 2 * Math.log(2 * Math.PI);
    for (let i = 0; i < dimensions; i++) {
      peak -= Math.log(root[isFull ? i * (dimensions + 1) : i]!);
    }
    this.#peak = peak;
  }

  /** The distribution; null if `covariance` is not positive definite in float64. */
  static from(
    type: CovarianceType,
    mean: Float64Array,
    covariance: Float64Array,
  ): Normal | null {
    const D = mean.length, isFull = type === "full";
    const root = isFull
      ? cholesky(covariance, D)
      : mean.map((_, d) => Math.sqrt(covariance[d % covariance.length]!));
    // What rounding leaves where there is no spread, along an axis or across the earlier ones.
    const rounding = 4 * D * Number.EPSILON;
    const isDefinite = root && mean.every((centre, d) => {
      const own = root[isFull ? d * (D + 1) : d]! ** 2;
      const variance = isFull ? covariance[d * (D + 1)]! : own;
      return own > rounding * variance && variance < Infinity &&
        variance > (rounding * centre) ** 2;
    });
    return isDefinite ? new Normal(type, mean, covariance, root) : null;
  }

  /**
   * The most likely distribution of weighted points, with a constant added to its variances.
   *
   * @param x `[N, D]`.
   * @param weights `[N]`.
   * @param total Sum of the weights.
   */
  static estimate(
    type: CovarianceType,
    x: Float64Array,
    weights: Float64Array,
    total: number,
    regularization: number,
  ): Normal | null {
    const n = weights.length, dimensions = x.length / n;
    const mean = new Float64Array(dimensions);
    for (let i = 0; i < n; i++) {
      const weight = weights[i]!;
      if (weight < NEGLIGIBLE) continue;
      for (let d = 0; d < dimensions; d++) {
        mean[d]! += weight * x[i * dimensions + d]!;
      }
    }
    for (let d = 0; d < dimensions; d++) mean[d]! /= total;
    const scatter = type === "full"
      ? fullScatter(x, weights, mean)
      : diagonalScatter(x, weights, mean);
    if (type !== "spherical") {
      const step = type === "full" ? dimensions + 1 : 1;
      const covariance = scatter.map((sum, at) =>
        sum / total + (at % step === 0 ? regularization : 0)
      );
      return Normal.from(type, mean, covariance);
    }
    const sum = scatter.reduce((sum, value) => sum + value);
    const variance = sum / (total * dimensions) + regularization;
    return Normal.from(type, mean, Float64Array.of(variance));
  }

  /** Writes `offset + log p(x_i)` of points `from … to - 1` to the same places of `out`. */
  logDensity(
    x: Float64Array,
    from: number,
    to: number,
    offset: number,
    out: Float64Array,
  ): void {
    const mean = this.mean, dimensions = mean.length;
    const whitener = this.#whitener, isFull = this.type === "full";
    const peak = this.#peak + offset;
    const centred = new Float64Array(dimensions);
    for (let i = from; i < to; i++) {
      for (let d = 0; d < dimensions; d++) {
        centred[d] = x[i * dimensions + d]! - mean[d]!;
      }
      let squares = 0;
      for (let d = 0; d < dimensions; d++) {
        let z = 0;
        if (isFull) {
          const row = d * dimensions;
          for (let j = 0; j <= d; j++) z += whitener[row + j]! * centred[j]!;
        } else z = whitener[d]! * centred[d]!;
        squares += z * z;
      }
      out[i] = peak - squares / 2;
    }
  }

  /** Turns row `i` of standard normals, `[N, D]`, into a draw of this distribution. */
  color(z: Float64Array, i: number): void {
    const { mean } = this, root = this.#root, dimensions = mean.length;
    const row = z.subarray(i * dimensions, (i + 1) * dimensions);
    for (let d = dimensions - 1; d >= 0; d--) { // row d of R reads no later number
      let value = mean[d]!;
      if (this.type === "full") {
        for (let j = 0; j <= d; j++) {
          value += root[d * dimensions + j]! * row[j]!;
        }
      } else value += root[d]! * row[d]!;
      row[d] = value;
    }
  }

  /** The covariance as plain numbers, in its own form. */
  plainCovariance(): Covariance {
    const { covariance, mean, type } = this;
    if (type === "spherical") return covariance[0]!;
    if (type === "diag") return [...covariance];
    const dimensions = mean.length;
    return Array.from(
      mean,
      (_, d) => [...covariance.subarray(d * dimensions, (d + 1) * dimensions)],
    );
  }

  /** The covariance as a matrix, `[D, D]`. */
  fullCovariance(): Float64Array {
    const { covariance, mean, type } = this, dimensions = mean.length;
    if (type === "full") return covariance;
    const full = new Float64Array(dimensions ** 2);
    for (let d = 0; d < dimensions; d++) {
      full[d * (dimensions + 1)] = covariance[d % covariance.length]!;
    }
    return full;
  }
}

/** Σ_n weight_n (x_n - mean)(x_n - mean)ᵀ, `[D, D]`. */
function fullScatter(
  x: Float64Array,
  weights: Float64Array,
  mean: Float64Array,
): Float64Array {
  const dimensions = mean.length;
  const scatter = new Float64Array(dimensions ** 2);
  const centred = new Float64Array(dimensions);
  for (let i = 0; i < weights.length; i++) {
    const weight = weights[i]!;
    if (weight < NEGLIGIBLE) continue;
    for (let d = 0; d < dimensions; d++) {
      centred[d] = x[i * dimensions + d]! - mean[d]!;
    }
    for (let d = 0; d < dimensions; d++) {
      const row = d * dimensions, weighted = weight * centred[d]!;
      for (let j = 0; j <= d; j++) scatter[row + j]! += weighted * centred[j]!;
    }
  }
  return scatter.map((sum, at) => {
    const d = Math.floor(at / dimensions), j = at % dimensions;
    return j <= d ? sum : scatter[j * dimensions + d]!;
  });
}

/** The diagonal of `fullScatter`, `[D]`. */
function diagonalScatter(
  x: Float64Array,
  weights: Float64Array,
  mean: Float64Array,
): Float64Array {
  const dimensions = mean.length;
  const scatter = new Float64Array(dimensions);
  for (let i = 0; i < weights.length; i++) {
    const weight = weights[i]!;
    if (weight < NEGLIGIBLE) continue;
    for (let d = 0; d < dimensions; d++) {
      const centred = x[i * dimensions + d]! - mean[d]!;
      scatter[d]! += weight * centred * centred;
    }
  }
  return scatter;
}

/** Numbers that a covariance of D dimensions is free to choose. @internal */
export function freeParameters(
  type: CovarianceType,
  dimensions: number,
): number {
  if (type === "spherical") return 1;
  return type === "diag" ? dimensions : dimensions * (dimensions + 1) / 2;
}
