/**
 * The Fréchet distance between features: FID with those of Inception, sFID with those of places.
 *
 * @module
 */
import { semidefiniteFactor } from "../tensor/linear_algebra.ts";
import { elementsOf, type Points } from "../tensor/points.ts";
import {
  type Matrix,
  matrix,
  product,
  transposed,
} from "../tensor/products.ts";
import { Rng } from "../tensor/rng.ts";
import { singularValues } from "../tensor/singular_values.ts";
import { pickRows } from "./_rows.ts";
import {
  FeatureStatistics,
  type GaussianStatistics,
} from "./feature_statistics.ts";

export { FeatureStatistics, type GaussianStatistics };

/** A set of features: the rows themselves, or what is known of them. */
export type FrechetInput = Points | FeatureStatistics | GaussianStatistics;

const ACTION = "take a Fréchet distance";
/** By how much mirrored elements of a covariance may differ, in units of its diagonal. */
const SYMMETRY = 1e-6;

/** A normal distribution with `Σ = Fᵀ F`. */
interface Side {
  mean: Float64Array;
  /** F, `[rank or more, D]`. */
  factor: Matrix;
}

/**
 * Fréchet distance `|μ₁ - μ₂|² + tr(Σ₁ + Σ₂ - 2 (Σ₁ Σ₂)^½)` of normal distributions with the moments of
 * two sets of features (Heusel et al. 2017, arXiv:1706.08500, eq. 6). In squared units of the features,
 * 0 if the moments are equal; lower is better. Biased upward for few rows: compare only values of equal
 * numbers, beside the distance of two sets of real images.
 *
 * With `Σ = Fᵀ F`, the trace of the root is the sum of the singular values of `F₁ F₂ᵀ`: it is real, not
 * negative, and right for singular covariances, too. F is the centred features themselves where rows
 * are no more than dimensions, else Cholesky's triangle of Σ; all is float64.
 *
 * @param a Features `[N, D]`, or statistics of features.
 * @param b Of the same D.
 * @throws {TypeError} If shapes or dimensions do not fit.
 * @throws {RangeError} If there are fewer than 2 rows, a number is not finite, or a covariance is none.
 */
export async function frechetDistance(
  a: FrechetInput,
  b: FrechetInput,
): Promise<number> {
  dimensionsOf(a, b);
  const from = sideOf(a);
  await breathe();
  const to = sideOf(b);
  await breathe();
  return distance(from, to);
}

/** How a distance is extrapolated. */
export interface FrechetInfinityOptions {
  /** Of the choice of rows; defaults to 0. */
  seed?: number;
  /** Numbers of rows between the smallest and all; defaults to 15. */
  sizes?: number;
  /** The smallest number of rows; defaults to 2.5 for each dimension, but from 200 to 5000. */
  smallest?: number;
}

/**
 * FID∞: the Fréchet distance at infinitely many generated images (Chong & Forsyth 2020, arXiv:1911.07023,
 * §3): distances of random subsets, fitted linearly against 1 / n; the intercept. Not bounded by 0.
 *
 * @param real All real features, more than dimensions.
 * @param fake Generated features `[N, D]`, at least twice the smallest subset.
 * @throws {TypeError} If shapes or dimensions do not fit.
 * @throws {RangeError} If subsets would not have more rows than dimensions, below which the distance is
 * not linear in 1 / n, or N is too small, or as for `frechetDistance`.
 */
export async function frechetInfinity(
  real: FrechetInput,
  fake: Points,
  options: FrechetInfinityOptions = {},
): Promise<number> {
  const dimensions = dimensionsOf(real, fake);
  const rows = fake.shape[0]!;
  const {
    seed = 0,
    sizes = 15,
    smallest = Math.max(200, Math.min(5000, Math.ceil(2.5 * dimensions))),
  } = options;
  const realRows = "shape" in real ? real.shape[0]! : real.count ?? Infinity;
  if (
    !(Number.isInteger(smallest) && Number.isInteger(sizes) && sizes >= 2 &&
      Math.min(smallest, realRows) > dimensions && rows >= 2 * smallest)
  ) {
    throw new RangeError(
      `Cannot apply frechetInfinity as sizes must be at least 2, real features and the smallest subset must have more than ${dimensions} rows, the dimensions, and generated ones twice as many as that subset: sizes are ${sizes}, real rows ${
        realRows === Infinity ? "unknown" : realRows
      }, smallest is ${smallest}, generated rows are ${rows}`,
    );
  }
  const to = sideOf(real);
  const rng = new Rng(seed);
  const fit: [x: number, y: number][] = [];
  for (let i = 0; i < sizes; i++) {
    await breathe();
    const size = Math.round(
      smallest + (rows - smallest) * i / (sizes - 1),
    );
    const chosen = rng.permutation(rows).subarray(0, size);
    fit.push([1 / size, distance(sideOf(pickRows(fake, chosen)), to)]);
  }
  const mean = (at: 0 | 1) => fit.reduce((sum, p) => sum + p[at], 0) / sizes;
  const [mx, my] = [mean(0), mean(1)];
  const slope = fit.reduce((sum, [x, y]) => sum + (x - mx) * (y - my), 0) /
    fit.reduce((sum, [x]) => sum + (x - mx) ** 2, 0);
  return my - slope * mx;
}

/** Lets timers and signals have their turn between parts that take seconds each. */
function breathe(): Promise<void> {
  return new Promise((done) => setTimeout(done));
}

/** D of both. */
function dimensionsOf(a: FrechetInput, b: FrechetInput): number {
  const [da, db] = [a, b].map((side) => {
    if (side instanceof FeatureStatistics) return side.dimensions;
    if (!("shape" in side)) return side.mean.length;
    if (side.shape.length === 2) return side.shape[1]!;
    throw new TypeError(
      `Cannot ${ACTION} as features must be [N, D]: shape is [${
        side.shape.join(", ")
      }]`,
    );
  });
  if (da !== db) {
    throw new TypeError(
      `Cannot ${ACTION} as dimensions must be equal: they are ${da} and ${db}`,
    );
  }
  return da!;
}

function sideOf(input: FrechetInput): Side {
  if ("shape" in input) {
    const [rows = 0, dimensions = 0] = input.shape;
    if (rows <= dimensions) return sideOfRows(input);
    return sideOf(new FeatureStatistics(dimensions).add(input));
  }
  const { mean, covariance } = input instanceof FeatureStatistics
    ? { mean: input.mean(), covariance: input.covariance() }
    : checked(input);
  return { mean, factor: semidefiniteFactor(covariance, mean.length) };
}

/**
 * The factor of few rows. Centred rows depend on each other; but a reflection that takes (1, …, 1) to the
 * first axis, applied to the columns of x, leaves the mean in row 0, and in the N - 1 others all of the
 * scatter: each is x_i less one and the same vector.
 */
function sideOfRows(points: Points): Side {
  const x = elementsOf(points, ACTION);
  const [rows = 0, dimensions = 0] = points.shape;
  if (rows < 2) {
    throw new RangeError(
      `Cannot ${ACTION} as features must have at least 2 rows: there are ${rows}`,
    );
  }
  const mean = new Float64Array(dimensions);
  for (let at = 0; at < x.length; at++) mean[at % dimensions]! += x[at]! / rows;
  const rest = x.subarray(dimensions);
  const root = Math.sqrt(rows), scale = Math.sqrt(rows - 1);
  for (let at = 0; at < rest.length; at++) {
    const column = at % dimensions, centre = mean[column]!;
    rest[at] = (rest[at]! - centre + (x[column]! - centre) / (root - 1)) /
      scale;
  }
  return { mean, factor: matrix(rest, rows - 1, dimensions) };
}

/** Statistics from elsewhere, if they can be such of features. */
function checked({ mean, covariance }: GaussianStatistics) {
  const d = mean.length;
  const checkedMean = elementsOf({ data: mean, shape: [1, d] }, ACTION);
  if (covariance.length !== d * d) {
    throw new TypeError(
      `Cannot ${ACTION} as covariance must be [${d}, ${d}], as the mean is [${d}]: it has ${covariance.length} elements`,
    );
  }
  const s = Float64Array.from(covariance);
  for (let i = 0; i < d; i++) {
    for (let j = i; j >= 0; j--) { // variances first
      const a = s[i * d + j]!, b = s[j * d + i]!;
      const scale = Math.sqrt(s[i * d + i]! * s[j * d + j]!);
      if (
        !(s[i * d + i]! >= 0 && Math.abs(a) <= scale * (1 + SYMMETRY) &&
          Math.abs(a - b) <= scale * SYMMETRY && scale < Infinity)
      ) {
        throw new RangeError(
          `Cannot ${ACTION} as covariance must be finite, symmetric, and no element larger than its variances allow: [${i}, ${j}] is ${a}, [${j}, ${i}] is ${b}`,
        );
      }
    }
  }
  return { mean: checkedMean, covariance: s };
}

function distance(a: Side, b: Side): number {
  let sum = a.mean.reduce((sum, x, i) => sum + (x - b.mean[i]!) ** 2, 0);
  for (const { factor } of [a, b]) {
    sum += factor.data.reduce((sum, x) => sum + x * x, 0); // tr Σ = |F|²
  }
  const cross = product(a.factor, transposed(b.factor));
  const values = singularValues(
    matrix(cross, a.factor.rows, b.factor.rows),
  );
  return Math.max(0, sum - 2 * values.reduce((sum, x) => sum + x, 0));
}
