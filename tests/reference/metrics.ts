/**
 * Cases of the group `metrics`.
 *
 * @module
 */
import {
  classHistogram,
  FeatureStatistics,
  frechetDistance,
  GaussianMixture,
  inceptionScore,
  manifoldMetrics,
  neighborRadii,
  type Points,
  squaredMmd,
} from "../../mod.ts";
import { denseAffinities } from "../../metrics/_affinities.ts";
import { ExactObjective } from "../../metrics/_tsne_objective.ts";
import { cholesky, invertLower } from "../../tensor/linear_algebra.ts";
import {
  arrayOf,
  type Arrays,
  type Case,
  roleOf,
  type Runner,
  type Values,
} from "./case.ts";

/** Rows of a flat array. */
function rowsOf(data: ArrayLike<number>, length: number): number[][] {
  return Array.from(
    { length: data.length / length },
    (_, i) => Array.from({ length }, (_, j) => data[i * length + j]!),
  );
}

/** The inverse of a positive definite matrix. */
function invert(matrix: number[][]): number[][] {
  const n = matrix.length;
  const inverse = invertLower(
    cholesky(Float64Array.from(matrix.flat()), n)!,
    n,
  );
  return matrix.map((_, i) =>
    matrix.map((_, j) =>
      matrix.reduce(
        (sum, _, k) => sum + inverse[k * n + i]! * inverse[k * n + j]!,
        0,
      )
    )
  );
}

/** Iterations of expectation-maximisation from given parameters. */
function runMixture(one: Case, arrays: Arrays): Values {
  const input = Object.fromEntries(
    one.inputs.map((name) => [roleOf(name), arrayOf(arrays, name)]),
  );
  const { k, iterations, reg_covar: regularization } = one.attrs;
  const points = input.x!, dimensions = points.shape[1]!;
  const mixture = GaussianMixture.fit(points, k, {
    start: {
      mixture: {
        covarianceType: "full",
        weights: Array.from(input.weights_init!.data),
        means: rowsOf(input.means_init!.data, dimensions),
        covariances: rowsOf(input.precisions_init!.data, dimensions ** 2)
          .map((flat) => invert(rowsOf(flat, dimensions))),
      },
    },
    regularization,
    maxIterations: iterations,
    tolerance: 0,
  });
  const logs = mixture.logProbability(points);
  const values: Record<string, number[]> = {
    means: mixture.means.flat(),
    covariances: mixture.covariances.flat(2) as number[],
    weights: [...mixture.weights],
    mean_log_likelihood: [logs.reduce((sum, x) => sum + x) / logs.length],
  };
  return named(one, values);
}

/** Affinities of t-SNE, as a full matrix, and what they are sharpened by. */
async function runAffinities(one: Case, arrays: Arrays): Promise<Values> {
  const { data, shape } = arrayOf(arrays, one.inputs[0]!);
  const [n, D] = shape as [number, number];
  const { p: lower, beta } = await denseAffinities(
    Float64Array.from(data),
    D,
    one.attrs.perplexity,
  );
  const P = Float64Array.from({ length: n * n }, (_, at) => {
    const i = Math.floor(at / n), j = at % n;
    const [low, high] = i < j ? [i, j] : [j, i];
    return i === j ? 0 : lower[high * (high - 1) / 2 + low]!;
  });
  return named(one, { P, beta });
}

/** What t-SNE lowers, and its gradient, at given places. */
function runTsneGradient(one: Case, arrays: Arrays): Values {
  const [P, y] = one.inputs.map((name) => arrayOf(arrays, name));
  const [n] = P!.shape as [number];
  const p = Float64Array.from(
    { length: n * n },
    (_, at) => P!.data[at]!,
  ).filter((_, at) => at % n < Math.floor(at / n));
  const objective = new ExactObjective({ p });
  const at = Float64Array.from(y!.data), grad_y = new Float64Array(at.length);
  objective.gradient(at, grad_y);
  return named(one, { kl: [objective.divergence(at)], grad_y });
}

/** Real and fake features: the leading rows and columns of the arrays that the case says. */
function featuresOf(one: Case, arrays: Arrays): [Points, Points] {
  const [from, to] = one.attrs.columns ?? [0, Infinity];
  const sides = one.inputs.map((name, side) => {
    const { data, shape } = arrayOf(arrays, name);
    const rows = rowsOf(data, shape[1]!)
      .slice(0, [one.attrs.rows].flat()[side])
      .map((row) => row.slice(from, to));
    return { data: rows.flat(), shape: [rows.length, rows[0]!.length] };
  });
  return sides as Points[] as [Points, Points];
}

/** Kernel distance over all rows. */
async function runKernelDistance(one: Case, arrays: Arrays): Promise<Values> {
  return doubles(one, { mmd2: await squaredMmd(...featuresOf(one, arrays)) });
}

/** Precision, recall, density and coverage. */
async function runManifold(one: Case, arrays: Arrays): Promise<Values> {
  const { nearest_k: nearestK } = one.attrs;
  const [real, fake] = featuresOf(one, arrays);
  return doubles(one, { ...await manifoldMetrics(real, fake, { nearestK }) });
}

/** Distances to the k-th neighbours. */
async function runRadii(one: Case, arrays: Arrays): Promise<Values> {
  const [real, fake] = featuresOf(one, arrays);
  const { nearest_k: k } = one.attrs;
  return named(one, {
    radii_real: await neighborRadii(real, k),
    radii_fake: await neighborRadii(fake, k),
  });
}

/** Inception score of probabilities. */
function runInceptionScore(one: Case, arrays: Arrays): Values {
  const { splits } = one.attrs;
  return doubles(one, {
    ...inceptionScore(arrayOf(arrays, one.inputs[0]!), {
      probabilities: true,
      splits,
    }),
  });
}

/** Labels of each class. */
function runCounts(one: Case, arrays: Arrays): Values {
  const { data } = arrayOf(arrays, one.inputs[0]!);
  const { counts } = classHistogram(data, one.attrs.num_classes);
  return named(one, { counts });
}

/**
 * What a histogram says of itself and against a reference, whose shares, of f32, sum to 1 but for 1e-8:
 * as they are divided by their sum here, the distance from them is compared as f32.
 */
function runHistogram(one: Case, arrays: Arrays): Values {
  const [labels, reference] = one.inputs.map((name) =>
    arrayOf(arrays, name).data
  );
  const { num_classes: classes } = one.attrs;
  const { entropy, totalVariation } = classHistogram(labels!, classes);
  const against = classHistogram(labels!, classes, reference);
  return {
    [`${one.name}/entropy`]: [entropy],
    [`${one.name}/tv_uniform`]: [totalVariation],
    [`${one.name}/tv_reference.hi`]: [against.totalVariation],
  };
}

/** Outputs in double precision by their names in the file. */
function doubles(one: Case, values: Readonly<Record<string, number>>): Values {
  return Object.fromEntries(
    one.f64!.map((name) => [name, [values[roleOf(name)]!]]),
  );
}

/** Outputs by their names in the file. */
function named(
  one: Case,
  values: Readonly<Record<string, ArrayLike<number>>>,
): Values {
  return Object.fromEntries(
    one.outputs.map((name) => [name, values[roleOf(name)]!]),
  );
}

/** Mean and covariance. */
function runStatistics(one: Case, arrays: Arrays): Values {
  const statistics = new FeatureStatistics(one.attrs.dims)
    .add(featuresOf(one, arrays)[0]);
  return named(one, {
    mean_real: statistics.mean(),
    cov_real: statistics.covariance(),
  });
}

/**
 * One value under all names. Where covariances are singular, rounding of `sqrtm` and `eig` moves theirs
 * by 1e-7: these are compared as f32, with the distance of the covariances instead of the rows.
 */
async function runFrechet(one: Case, arrays: Arrays): Promise<Values> {
  const sides = featuresOf(one, arrays);
  const exact = await frechetDistance(...sides);
  if (!one.attrs.rank_deficient) {
    return doubles(one, { exact, eig: exact, sqrtm: exact });
  }
  const [real, fake] = sides.map((points) =>
    new FeatureStatistics(points.shape[1]!).add(points)
  );
  const rounded = [await frechetDistance(real!, fake!)];
  return {
    [`${one.name}/exact`]: [exact],
    [`${one.name}/eig.hi`]: rounded,
    [`${one.name}/sqrtm.hi`]: rounded,
  };
}

/** What computes each op. */
const RUNNERS: Readonly<Record<string, Runner>> = {
  class_counts: runCounts,
  class_histogram: runHistogram,
  feature_statistics: runStatistics,
  frechet_distance: runFrechet,
  gmm_em_full: runMixture,
  inception_score: runInceptionScore,
  kernel_distance: runKernelDistance,
  knn_radii: runRadii,
  precision_recall_density_coverage: runManifold,
  tsne_affinities: runAffinities,
  tsne_gradient: runTsneGradient,
};

/** Computes a case; null if the library does not have its op yet. */
export function runMetric(one: Case, arrays: Arrays): Promise<Values | null> {
  return Promise.resolve(RUNNERS[one.op]?.(one, arrays) ?? null);
}
