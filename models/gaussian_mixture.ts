/**
 * Mixtures of normal distributions, fitted by expectation-maximisation in float64 on the host (Dempster,
 * Laird & Rubin 1977; Bishop 2006, "Pattern Recognition and Machine Learning", §9.2), with the steps,
 * the defaults and the stopping rule of scikit-learn's `GaussianMixture`.
 *
 * @module
 */
import { symmetricEigen } from "../tensor/linear_algebra.ts";
import {
  elementsOf,
  hostNormals,
  type Points,
  transpose,
} from "../tensor/points.ts";
import type { Rng } from "../tensor/rng.ts";
import { expect, type Expectation, maximize } from "./_em.ts";
import {
  type MixtureOptions,
  type MixtureStart,
  resolveOptions,
  startOf,
} from "./_mixture_start.ts";
import { type MixtureState, normalsOf } from "./_mixture_state.ts";
import {
  type Covariance,
  type CovarianceType,
  freeParameters,
  type Normal,
} from "./_normal.ts";

export type {
  Covariance,
  CovarianceType,
  MixtureOptions,
  MixtureStart,
  MixtureState,
  Points,
};

/** A component of a mixture of two dimensions, as an ellipse that holds a share of its points. */
export interface Ellipse {
  /** The component's mean. */
  centre: [x: number, y: number];
  /** Half-axes √(λ · -2 ln(1 - share)), the longer first, with the covariance's eigenvalues λ. */
  radii: [number, number];
  /** From the first axis to the longer half-axis, in radians, above -π/2 and not above π/2. */
  angle: number;
  /** The component's share of the mixture. */
  weight: number;
}

/** A draw. */
export interface MixtureSample {
  /** Float64, `[n, D]`; `tensor(Float32Array.from(points.data), points.shape)` brings it to the device. */
  points: Points<Float64Array<ArrayBuffer>>;
  /** The component of each point, `[n]`. */
  components: Uint32Array<ArrayBuffer>;
}

/** `p(x) = Σ_k weight_k N(x; mean_k, covariance_k)`, K components of D dimensions; it does not change. */
export class GaussianMixture {
  /** Form of all covariances. */
  readonly covarianceType: CovarianceType;
  /** Shares of the components, `[K]`. */
  readonly weights: readonly number[];
  /** `[K, D]`. */
  readonly means: readonly (readonly number[])[];
  /** `[K, D, D]`, `[K, D]` or `[K]`, by `covarianceType`. */
  readonly covariances: readonly Covariance[];
  /** Whether the fit has ended by its tolerance, and not by its iterations. */
  readonly converged: boolean;
  /**
   * The mean log-likelihood of a point before each M-step of the fit, one per iteration. None is below
   * the one before, but for the regularisation and rounding.
   */
  readonly lowerBounds: readonly number[];
  readonly #normals: readonly Normal[];

  /**
   * A mixture with known parameters.
   *
   * @throws {TypeError} If shapes do not fit.
   * @throws {RangeError} If weights are negative or do not sum to 1, a mean is not finite, or a covariance
   *   is not symmetric and positive definite.
   */
  constructor(state: MixtureState) {
    this.#normals = normalsOf(state);
    this.covarianceType = state.covarianceType;
    this.weights = [...state.weights];
    this.means = this.#normals.map(({ mean }) => [...mean]);
    this.covariances = this.#normals.map((one) => one.plainCovariance());
    this.converged = state.converged ?? false;
    this.lowerBounds = [...state.lowerBounds ?? []];
  }

  /**
   * Fits a mixture to points. One iteration is an E-step and an M-step; it ends after an M-step.
   *
   * @param points `[N, D]`, finite.
   * @param components K, from 1 to N.
   * @throws {TypeError} If shapes do not fit.
   * @throws {RangeError} If there are fewer points than components, a number is not finite, or an option
   *   is out of range; or if a covariance is not positive definite: then take more regularisation or
   *   fewer components.
   */
  static fit(
    points: Points,
    components: number,
    options: MixtureOptions = {},
  ): GaussianMixture {
    const x = elementsOf(points, "fit a mixture");
    const settings = resolveOptions(points, components, options);
    const { covarianceType, maxIterations, tolerance } = settings;
    let { weights, normals } = startOf(x, points.shape[1]!, settings);
    let converged = false;
    const lowerBounds: number[] = [];
    while (!converged && lowerBounds.length < maxIterations) {
      const { logProbability, responsibilities } = expect(
        { weights, normals },
        x,
      );
      const bound = average(logProbability);
      const change = bound - (lowerBounds.at(-1) ?? -Infinity);
      converged = Math.abs(change) < tolerance;
      lowerBounds.push(bound);
      ({ weights, normals } = maximize(x, responsibilities, settings));
    }
    return new GaussianMixture({
      covarianceType,
      weights,
      means: normals.map(({ mean }) => [...mean]),
      covariances: normals.map((one) => one.plainCovariance()),
      converged,
      lowerBounds,
    });
  }

  /**
   * Fits mixtures of 1 to `maxComponents` components, and returns that with the smallest `bic`.
   *
   * @throws {TypeError | RangeError} As `fit`; or if `start` is given, as it is for one number only.
   */
  static fitBest(
    points: Points,
    maxComponents: number,
    options: MixtureOptions = {},
  ): GaussianMixture {
    if (options.start) {
      throw new RangeError(
        "Cannot fit the best number of components as start must not be given: it has one number",
      );
    }
    const { rng } = resolveOptions(points, maxComponents, options);
    let best: GaussianMixture | undefined, least = Infinity;
    for (let components = 1; components <= maxComponents; components++) {
      const one = GaussianMixture.fit(points, components, { ...options, rng });
      const bic = one.bic(points);
      if (!best || bic < least) [best, least] = [one, bic];
    }
    return best!;
  }

  /** The mixture that `toJSON` was called on. Throws as the constructor does. */
  static fromJSON(state: MixtureState): GaussianMixture {
    return new GaussianMixture(state);
  }

  /** Number of components K. */
  get components(): number {
    return this.weights.length;
  }

  /** Dimensions D of the points. */
  get dimensions(): number {
    return this.means[0]!.length;
  }

  /** ln p(x) of every point, `[N]`. */
  logProbability(points: Points): Float64Array<ArrayBuffer> {
    return this.#expect(points).logProbability;
  }

  /** p(component | x), `[N, K]`; rows sum to 1. */
  responsibilities(points: Points): Points<Float64Array<ArrayBuffer>> {
    const { responsibilities } = this.#expect(points);
    const n = points.shape[0]!;
    return {
      data: transpose(responsibilities, this.components, n),
      shape: [n, this.components],
    };
  }

  /** The most likely component of every point, `[N]`. */
  predict(points: Points): Int32Array<ArrayBuffer> {
    const { data, shape: [n = 0, count = 1] } = this.responsibilities(points);
    return Int32Array.from({ length: n }, (_, i) => {
      const row = data.subarray(i * count, (i + 1) * count);
      return row.indexOf(Math.max(...row));
    });
  }

  /**
   * Draws points: a component by the weights for each, and from it a normal vector. All on the host.
   *
   * @param count n, a whole number from 0 on.
   * @throws {RangeError} If `count` is not.
   */
  sample(count: number, rng: Rng): MixtureSample {
    if (!Number.isInteger(count) || count < 0) {
      throw new RangeError(
        `Cannot sample as count must be a whole number from 0 on: count is ${count}`,
      );
    }
    const components = rng.categorical(this.weights, count);
    const data = hostNormals(rng, count * this.dimensions);
    components.forEach((k, i) => this.#normals[k]!.color(data, i));
    return { points: { data, shape: [count, this.dimensions] }, components };
  }

  /** `parameters · ln N - 2 ln p(points)` (Schwarz 1978): of two mixtures, the smaller is preferred. */
  bic(points: Points): number {
    const logs = this.logProbability(points);
    return this.#freeParameters() * Math.log(logs.length) -
      2 * average(logs) * logs.length;
  }

  /** `2 parameters - 2 ln p(points)` (Akaike 1974): of two mixtures, the smaller is preferred. */
  aic(points: Points): number {
    const logs = this.logProbability(points);
    return 2 * this.#freeParameters() - 2 * average(logs) * logs.length;
  }

  /**
   * The components as ellipses.
   *
   * @param share Of a component's points inside its ellipse, above 0 and below 1; defaults to 0.95, where
   *   half-axes are √(5.991 λ).
   * @throws {TypeError} If points do not have two dimensions.
   * @throws {RangeError} If `share` is out of range.
   */
  ellipses(share = 0.95): Ellipse[] {
    if (this.dimensions !== 2) {
      throw new TypeError(
        `Cannot draw ellipses as points must have 2 dimensions: they have ${this.dimensions}`,
      );
    }
    if (!(share > 0 && share < 1)) {
      throw new RangeError(
        `Cannot draw ellipses as share must lie between 0 and 1: share is ${share}`,
      );
    }
    return this.#normals.map((one, k) => {
      const { values, vectors } = symmetricEigen(one.fullCovariance(), 2);
      const [x, y] = [vectors[2]!, vectors[3]!]; // of the larger value
      const radius = (value: number) =>
        Math.sqrt(value * -2 * Math.log1p(-share));
      return {
        centre: [one.mean[0]!, one.mean[1]!],
        radii: [radius(values[1]!), radius(values[0]!)],
        angle: x === 0 ? Math.PI / 2 : Math.atan(y / x),
        weight: this.weights[k]!,
      };
    });
  }

  /** All that there is to the mixture; numbers come back exactly from JSON. */
  toJSON(): Required<MixtureState> {
    return {
      covarianceType: this.covarianceType,
      weights: this.weights,
      means: this.means,
      covariances: this.covariances,
      converged: this.converged,
      lowerBounds: this.lowerBounds,
    };
  }

  /** Weights K - 1, means K D, and the covariances. */
  #freeParameters(): number {
    const K = this.components, D = this.dimensions;
    return K - 1 + K * D + K * freeParameters(this.covarianceType, D);
  }

  #expect(points: Points): Expectation {
    const x = elementsOf(points, "evaluate a mixture", this.dimensions);
    return expect({ weights: this.weights, normals: this.#normals }, x);
  }
}

function average(values: Float64Array): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
