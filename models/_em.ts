/**
 * The two steps of expectation-maximisation for mixtures of normal distributions (Bishop 2006, "Pattern
 * Recognition and Machine Learning", §9.2.2).
 *
 * @module
 */
import { type CovarianceType, Normal } from "./_normal.ts";

/** Points whose densities are in the cache at once. */
const BLOCK = 512;

/** A mixture during a fit. @internal */
export interface Parameters {
  weights: readonly number[];
  normals: readonly Normal[];
}

/** What an E-step finds. @internal */
export interface Expectation {
  /** ln p(x), `[N]`. */
  logProbability: Float64Array<ArrayBuffer>;
  /** p(component | x), `[K, N]`. */
  responsibilities: Float64Array<ArrayBuffer>;
}

/** The E-step: r_kn = weight_k N_k(x_n) / Σ_j weight_j N_j(x_n), by logarithms. @internal */
export function expect(
  { weights, normals }: Parameters,
  x: Float64Array,
): Expectation {
  const n = x.length / normals[0]!.mean.length, count = normals.length;
  const logProbability = new Float64Array(n);
  const all = new Float64Array(count * n);
  const rows = normals.map((_, k) => all.subarray(k * n, (k + 1) * n));
  for (let from = 0; from < n; from += BLOCK) {
    const to = Math.min(n, from + BLOCK);
    normals.forEach((one, k) =>
      one.logDensity(x, from, to, Math.log(weights[k]!), rows[k]!)
    );
    for (let i = from; i < to; i++) {
      let most = -Infinity, sum = 0;
      for (let at = i; at < all.length; at += n) {
        most = Math.max(most, all[at]!);
      }
      for (let at = i; at < all.length; at += n) {
        sum += all[at] = Math.exp(all[at]! - most);
      }
      for (let at = i; at < all.length; at += n) all[at]! /= sum;
      logProbability[i] = most + Math.log(sum);
    }
  }
  return { logProbability, responsibilities: all };
}

/** The M-step: the most likely parameters, given `[K, N]` responsibilities. @internal */
export function maximize(
  x: Float64Array,
  responsibilities: Float64Array,
  { components, covarianceType, regularization }: {
    components: number;
    covarianceType: CovarianceType;
    regularization: number;
  },
): Parameters {
  const n = responsibilities.length / components;
  const totals: number[] = [];
  const normals = Array.from({ length: components }, (_, k) => {
    const own = responsibilities.subarray(k * n, (k + 1) * n);
    // An empty component must not divide by 0.
    const total = own.reduce((sum, r) => sum + r, 10 * Number.EPSILON);
    totals.push(total);
    const one = Normal.estimate(covarianceType, x, own, total, regularization);
    if (one) return one;
    throw new RangeError(
      `Cannot fit a mixture as the covariance of component ${k} must be positive definite: its ${
        total.toPrecision(3)
      } of ${n} points do not spread in every direction; take more regularization (it is ${regularization}) or fewer components (there are ${components})`,
    );
  });
  const sum = totals.reduce((sum, total) => sum + total);
  return { weights: totals.map((total) => total / sum), normals };
}
