/**
 * Cases of the group `metrics`.
 *
 * @module
 */
import { GaussianMixture } from "../../mod.ts";
import { cholesky, invertLower } from "../../tensor/linear_algebra.ts";
import {
  arrayOf,
  type Arrays,
  type Case,
  roleOf,
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
  return Object.fromEntries(
    one.outputs.map((name) => [name, values[roleOf(name)]!]),
  );
}

/** Computes a case; null if the library does not have its op yet. */
export function runMetric(one: Case, arrays: Arrays): Promise<Values | null> {
  return Promise.resolve(
    one.op === "gmm_em_full" ? runMixture(one, arrays) : null,
  );
}
