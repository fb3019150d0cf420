/**
 * Mixtures as plain numbers, and the normal distributions that the numbers stand for.
 *
 * @module
 */
import {
  type Covariance,
  COVARIANCE_TYPES,
  type CovarianceType,
  Normal,
} from "./_normal.ts";

/** A mixture as plain numbers, for checkpoints and JSON. */
export interface MixtureState {
  /** Form of all covariances. */
  covarianceType: CovarianceType;
  /** Shares of the components, `[K]`, not negative, with sum 1. */
  weights: readonly number[];
  /** `[K, D]`. */
  means: readonly (readonly number[])[];
  /** `[K, D, D]`, `[K, D]` or `[K]`, by `covarianceType`. */
  covariances: readonly Covariance[];
  /** Whether a fit has ended by its tolerance; defaults to false. */
  converged?: boolean;
  /** Mean log-likelihoods of a fit; default to none. */
  lowerBounds?: readonly number[];
}

/** Shapes of one covariance, in words. */
const SHAPES: Readonly<Record<CovarianceType, string>> = {
  full: "[D, D]",
  diag: "[D]",
  spherical: "a number",
};

function fail(Kind: ErrorConstructor, text: string): never {
  throw new Kind(`Cannot make a mixture as ${text}`);
}

/**
 * The components of a mixture.
 *
 * @throws {TypeError} If shapes do not fit.
 * @throws {RangeError} If weights are negative or do not sum to 1, a mean is not finite, or a covariance
 *   is not symmetric and positive definite.
 * @internal
 */
export function normalsOf(state: MixtureState): Normal[] {
  const { covarianceType, weights, means, covariances } = state;
  if (!COVARIANCE_TYPES.includes(covarianceType)) {
    fail(
      RangeError,
      `covarianceType must be one of ${
        COVARIANCE_TYPES.join(", ")
      }: it is ${covarianceType}`,
    );
  }
  const count = weights.length;
  if (count < 1 || means.length !== count || covariances.length !== count) {
    fail(
      TypeError,
      `weights, means and covariances must have one entry per component: they have ${count}, ${means.length} and ${covariances.length}`,
    );
  }
  const sum = weights.reduce((sum, weight) => sum + weight);
  if (!weights.every((w) => w >= 0) || !(Math.abs(sum - 1) < 1e-4)) {
    fail(
      RangeError,
      `weights must not be negative, and sum to 1: they are ${
        weights.join(", ")
      }`,
    );
  }
  const dimensions = means[0]!.length;
  return means.map((mean, k) => {
    if (mean.length < 1 || mean.length !== dimensions) {
      fail(
        TypeError,
        `means must be [K, D]: mean ${k} has ${mean.length} numbers, mean 0 has ${dimensions}`,
      );
    }
    if (!mean.every(Number.isFinite)) {
      fail(RangeError, `means must be finite: mean ${k} is ${mean.join(", ")}`);
    }
    const flat = flatten(covarianceType, covariances[k]!, dimensions);
    if (!flat) {
      fail(
        TypeError,
        `a ${covarianceType} covariance must be ${
          SHAPES[covarianceType]
        } with D = ${dimensions}: that of component ${k} is not`,
      );
    }
    const normal = isSymmetric(flat, dimensions) &&
      Normal.from(covarianceType, Float64Array.from(mean), flat);
    return normal || fail(
      RangeError,
      `covariances must be symmetric and positive definite: that of component ${k} is not`,
    );
  });
}

/** A covariance's elements in one array; null if its shape is not that of its type. */
function flatten(
  type: CovarianceType,
  covariance: Covariance,
  dimensions: number,
): Float64Array | null {
  const isRow = (row: unknown) =>
    Array.isArray(row) && row.length === dimensions &&
    row.every((value) => typeof value === "number");
  const fits = type === "spherical"
    ? typeof covariance === "number"
    : type === "diag"
    ? isRow(covariance)
    : Array.isArray(covariance) && covariance.length === dimensions &&
      covariance.every(isRow);
  return fits ? Float64Array.from([covariance].flat(2) as number[]) : null;
}

/** Whether a matrix `[D, D]` is symmetric but for rounding to f32; true for other forms. */
function isSymmetric(matrix: Float64Array, dimensions: number): boolean {
  if (matrix.length !== dimensions ** 2) return true;
  const std = (i: number) => Math.sqrt(Math.abs(matrix[i * (dimensions + 1)]!));
  return matrix.every((value, at) => {
    const i = Math.floor(at / dimensions), j = at % dimensions;
    const difference = Math.abs(value - matrix[j * dimensions + i]!);
    return difference <= 1e-6 * std(i) * std(j);
  });
}
