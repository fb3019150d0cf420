/**
 * Cases of the group `metrics`.
 *
 * @module
 */
import { GaussianMixture } from "../../mod.ts";
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

/** Outputs by their names in the file. */
function named(
  one: Case,
  values: Readonly<Record<string, ArrayLike<number>>>,
): Values {
  return Object.fromEntries(
    one.outputs.map((name) => [name, values[roleOf(name)]!]),
  );
}

/** What computes each op. */
const RUNNERS: Readonly<Record<string, Runner>> = {
  gmm_em_full: runMixture,
  tsne_affinities: runAffinities,
  tsne_gradient: runTsneGradient,
};

/** Computes a case; null if the library does not have its op yet. */
export function runMetric(one: Case, arrays: Arrays): Promise<Values | null> {
  return Promise.resolve(RUNNERS[one.op]?.(one, arrays) ?? null);
}
