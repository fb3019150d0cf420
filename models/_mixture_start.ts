/**
 * What a fit of a mixture is told, and where it starts.
 *
 * @module
 */
import { elementsOf, type Points, transpose } from "../tensor/points.ts";
import { Rng } from "../tensor/rng.ts";
import { maximize, type Parameters } from "./_em.ts";
import { kMeans, nearest } from "./_k_means.ts";
import { type MixtureState, normalsOf } from "./_mixture_state.ts";
import { COVARIANCE_TYPES, type CovarianceType } from "./_normal.ts";

/**
 * Where a fit starts: with the first E-step from a mixture, or with the first M-step from
 * responsibilities `[N, K]`, or from means `[K, D]`, each point belonging to the nearest.
 */
export type MixtureStart =
  | { mixture: MixtureState }
  | { responsibilities: Points }
  | { means: readonly (readonly number[])[] };

/** Options of a fit. */
export interface MixtureOptions {
  /** Defaults to `full`. */
  covarianceType?: CovarianceType;
  /** Defaults to clusters by k-means++ and k-means. */
  start?: MixtureStart;
  /** Draws the starts of k-means; defaults to seed 0. */
  rng?: Rng;
  /** Runs of k-means, of which the best counts; defaults to 4. */
  restarts?: number;
  /** Added to variances, in squared units of the points; defaults to 1e-6. */
  regularization?: number;
  /** Defaults to 500. */
  maxIterations?: number;
  /** The fit ends once the mean log-likelihood of a point, in nats, changes by less; defaults to 1e-3. */
  tolerance?: number;
}

/** Options with defaults, and the number of components. @internal */
export type MixtureSettings =
  & Required<Omit<MixtureOptions, "start">>
  & { components: number; start?: MixtureStart };

/** Checks what a fit is told, but for its start. @internal */
export function resolveOptions(
  { shape }: Points,
  components: number,
  options: MixtureOptions,
): MixtureSettings {
  const {
    covarianceType = "full",
    rng = new Rng(0),
    restarts = 4,
    regularization = 1e-6,
    maxIterations = 500,
    tolerance = 1e-3,
    start,
  } = options;
  const require = (holds: boolean, text: string) => {
    if (!holds) throw new RangeError(`Cannot fit a mixture as ${text}`);
  };
  const counts = { components, restarts, maxIterations };
  for (const [name, count] of Object.entries(counts)) {
    require(
      Number.isInteger(count) && count >= 1,
      `${name} must be a positive integer: it is ${count}`,
    );
  }
  require(
    components <= shape[0]!,
    `there must be a point for each component: there are ${
      shape[0]
    } points for ${components} components`,
  );
  require(
    COVARIANCE_TYPES.includes(covarianceType),
    `covarianceType must be one of ${
      COVARIANCE_TYPES.join(", ")
    }: it is ${covarianceType}`,
  );
  require(
    regularization >= 0 && regularization < Infinity,
    `regularization must be finite and not negative: it is ${regularization}`,
  );
  require(
    tolerance >= 0,
    `tolerance must not be negative: it is ${tolerance}`,
  );
  return { ...counts, covarianceType, rng, regularization, tolerance, start };
}

/** The parameters that the first E-step takes. @internal */
export function startOf(
  x: Float64Array,
  dimensions: number,
  settings: MixtureSettings,
): Parameters {
  const { components, start } = settings;
  if (start && "mixture" in start) {
    const { weights, means } = start.mixture;
    const normals = normalsOf(start.mixture);
    requireShape("means", [means.length, means[0]!.length], [
      components,
      dimensions,
    ]);
    return { weights, normals };
  }
  const n = x.length / dimensions;
  const responsibilities = start && "responsibilities" in start
    ? givenResponsibilities(start.responsibilities, n, components)
    : new Float64Array(components * n);
  if (!start || "means" in start) {
    const labels = start
      ? nearest(x, givenMeans(start.means, components, dimensions), dimensions)
      : kMeans(x, dimensions, components, settings);
    labels.forEach((k, i) => responsibilities[k * n + i] = 1);
  }
  return maximize(x, responsibilities, settings);
}

/** Responsibilities `[N, K]` as `[K, N]`. */
function givenResponsibilities(
  given: Points,
  n: number,
  components: number,
): Float64Array {
  requireShape("responsibilities", given.shape, [n, components]);
  const rows = elementsOf(given, "start a mixture");
  for (let i = 0; i < n; i++) {
    const row = rows.subarray(i * components, (i + 1) * components);
    const sum = row.reduce((sum, r) => sum + r);
    if (row.some((r) => r < 0) || Math.abs(sum - 1) > 1e-4) {
      throw new RangeError(
        `Cannot start a mixture as responsibilities must not be negative, and sum to 1: those of point ${i} are ${
          row.join(", ")
        }`,
      );
    }
  }
  return transpose(rows, n, components);
}

/** Means in one array. */
function givenMeans(
  means: readonly (readonly number[])[],
  components: number,
  dimensions: number,
): Float64Array {
  const widths = new Set(means.map((mean) => mean.length));
  requireShape("means", [means.length, ...widths], [components, dimensions]);
  return elementsOf(
    { data: means.flat(), shape: [components, dimensions] },
    "start a mixture",
  );
}

function requireShape(
  name: string,
  found: readonly number[],
  wanted: readonly number[],
): void {
  if (found.join() === wanted.join()) return;
  throw new TypeError(
    `Cannot start a mixture as ${name} must be [${
      wanted.join(", ")
    }]: shape is [${found.join(", ")}]`,
  );
}
