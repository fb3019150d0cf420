/**
 * Principal components of points, in float64.
 *
 * @module
 */
import { dot, symmetricEigen } from "../tensor/linear_algebra.ts";
import { elementsOf, hostNormals, type Points } from "../tensor/points.ts";
import {
  type Matrix,
  matrix,
  product,
  transposed,
} from "../tensor/products.ts";
import { Rng } from "../tensor/rng.ts";

/** Up to so many columns all eigenvectors of the covariance are computed; of more, the wanted ones alone. */
const FEW_COLUMNS = 300;
/** Lanczos's residual, as a share of the largest variance, at which a component is found. */
const RESIDUAL = 1e-10;
/** Below this share of the largest variance, a step of Lanczos leads nowhere new. */
const EXHAUSTED = 1e-13;

/** Directions in which points vary most, and how much. */
export class PrincipalComponents {
  /** Of the points, `[D]`. */
  readonly mean: Float64Array<ArrayBuffer>;
  /** Rows of length 1, the most varied first, `[K, D]`; the element farthest from 0 is positive. */
  readonly components: Points<Float64Array<ArrayBuffer>>;
  /** Of the points along each, with n - 1 below; descending, `[K]`. */
  readonly explainedVariance: Float64Array<ArrayBuffer>;
  /** The same as shares of the variance of all columns together; 0 of points that are all equal. */
  readonly explainedVarianceRatio: Float64Array<ArrayBuffer>;

  /** As `pca` finds them. */
  constructor(
    mean: Float64Array<ArrayBuffer>,
    components: Float64Array<ArrayBuffer>,
    explainedVariance: Float64Array<ArrayBuffer>,
    totalVariance: number,
  ) {
    this.mean = mean;
    this.components = {
      data: components,
      shape: [explainedVariance.length, mean.length],
    };
    this.explainedVariance = explainedVariance;
    this.explainedVarianceRatio = explainedVariance
      .map((variance) => totalVariance > 0 ? variance / totalVariance : 0);
  }

  /**
   * Coordinates along the components, `(x - mean) Vᵀ`.
   *
   * @param points `[N, D]`.
   * @returns `[N, K]`.
   * @throws {TypeError} If the shape does not fit.
   * @throws {RangeError} If an element is not finite.
   */
  transform(points: Points): Points<Float64Array<ArrayBuffer>> {
    const { mean, components: { data: rows } } = this;
    const D = mean.length, K = rows.length / D;
    const x = elementsOf(points, "apply principal components", D);
    const n = x.length / D;
    centre(x, mean);
    const along = transposed(matrix(rows, K, D));
    return { data: product(matrix(x, n, D), along), shape: [n, K] };
  }
}

/**
 * Principal component analysis: the eigenvectors of the covariance `Xᵀ X / (n - 1)` of centred points
 * with the largest eigenvalues. Of up to 300 columns by `symmetricEigen`, of more by Lanczos's method
 * (Golub & Van Loan 2013, §10.1) with full reorthogonalisation, which never forms the covariance; its
 * start is fixed, so that equal points give equal components.
 *
 * @param points `[N, D]`.
 * @param components K, up to the lesser of N and D.
 * @throws {TypeError} If the shape does not fit.
 * @throws {RangeError} If an element is not finite, there are fewer than two points, or K is not whole
 *   or out of range.
 */
export function pca(points: Points, components: number): PrincipalComponents {
  const x = elementsOf(points, "apply pca");
  const [n, D] = points.shape as [number, number];
  const most = Math.min(n, D);
  if (n < 2) {
    throw new RangeError(
      `Cannot apply pca as there must be at least 2 points: there are ${n}`,
    );
  }
  if (!Number.isInteger(components) || components < 1 || components > most) {
    throw new RangeError(
      `Cannot apply pca as components must be whole and from 1 to ${most}, the lesser of N and D: it is ${components}, points are [${n}, ${D}]`,
    );
  }
  const mean = new Float64Array(D);
  for (let i = 0; i < x.length; i++) mean[i % D]! += x[i]!;
  for (let j = 0; j < D; j++) mean[j]! /= n;
  centre(x, mean);
  const { values, vectors } = D <= FEW_COLUMNS
    ? leading(symmetricEigen(covariance(matrix(x, n, D)), D), D, components)
    : lanczos((v) => timesCovariance(x, v, n), D, components);
  for (let k = 0; k < components; k++) {
    orient(vectors.subarray(k * D, (k + 1) * D));
  }
  const total = dot(x, 0, x, 0, x.length) / (n - 1);
  return new PrincipalComponents(mean, vectors, values, total);
}

/** Values of a symmetric matrix, descending, not below 0, and a vector in a row for each. */
interface Leading {
  values: Float64Array<ArrayBuffer>;
  vectors: Float64Array<ArrayBuffer>;
}

/** The `count` largest of ascending eigenvalues, descending. */
function leading(
  { values, vectors }: ReturnType<typeof symmetricEigen>,
  n: number,
  count: number,
): Leading {
  const from = (k: number) => values.length - 1 - k;
  const out = new Float64Array(count * n);
  for (let k = 0; k < count; k++) {
    out.set(vectors.subarray(from(k) * n, (from(k) + 1) * n), k * n);
  }
  return {
    values: Float64Array.from(
      { length: count },
      (_, k) => Math.max(0, values[from(k)]!),
    ),
    vectors: out,
  };
}

/**
 * The `count` largest eigenvalues of a symmetric `[n, n]` matrix of which only products with vectors are
 * known. In an orthonormal basis of v, A v, A² v, … it is tridiagonal, and its ends converge first.
 */
function lanczos(
  multiply: (v: Float64Array) => Float64Array<ArrayBuffer>,
  n: number,
  count: number,
): Leading {
  const basis: Float64Array<ArrayBuffer>[] = [];
  const diagonal: number[] = [], off: number[] = [];
  const rng = new Rng(0);
  let next = fresh(basis, n, rng), size = 0;
  for (let check = Math.min(n, count + 20);;) {
    basis.push(next);
    const w = multiply(next);
    const k = basis.length;
    diagonal.push(dot(w, 0, next, 0, n));
    size = Math.max(size, diagonal[k - 1]!);
    // Twice is enough (Kahan): rounding would bring found directions back.
    for (let pass = 0; pass < 2; pass++) withoutAll(w, basis);
    const rest = k < n ? Math.sqrt(dot(w, 0, w, 0, n)) : 0;
    const isExhausted = rest <= EXHAUSTED * size;
    if (k === check) {
      const found = symmetricEigen(tridiagonal(diagonal, off), k);
      const { values, vectors } = leading(found, k, count);
      const residual = (i: number) =>
        isExhausted ? 0 : rest * Math.abs(vectors[i * k + k - 1]!);
      if (values.every((_, i) => residual(i) <= RESIDUAL * values[0]!)) {
        return { values, vectors: combine(vectors, basis, n) };
      }
      check = Math.min(n, Math.ceil(1.25 * k));
    }
    // Where all that v reaches is known, another v goes on beside it.
    off.push(isExhausted ? 0 : rest);
    next = isExhausted ? fresh(basis, n, rng) : scaled(w, 1 / rest);
  }
}

/** A direction of length 1 at right angles to all of the basis. */
function fresh(
  basis: readonly Float64Array[],
  n: number,
  rng: Rng,
): Float64Array<ArrayBuffer> {
  const v = hostNormals(rng, n);
  for (let pass = 0; pass < 2; pass++) withoutAll(v, basis);
  return scaled(v, 1 / Math.sqrt(dot(v, 0, v, 0, n)));
}

/** Takes from w its parts along the basis. */
function withoutAll(w: Float64Array, basis: readonly Float64Array[]): void {
  for (const v of basis) {
    const part = dot(w, 0, v, 0, w.length);
    for (let j = 0; j < w.length; j++) w[j]! -= part * v[j]!;
  }
}

function scaled(
  v: Float64Array<ArrayBuffer>,
  by: number,
): Float64Array<ArrayBuffer> {
  for (let j = 0; j < v.length; j++) v[j]! *= by;
  return v;
}

/** As a dense matrix. */
function tridiagonal(diagonal: readonly number[], off: readonly number[]) {
  const k = diagonal.length;
  const t = new Float64Array(k * k);
  for (let i = 0; i < k; i++) {
    t[i * k + i] = diagonal[i]!;
    if (i > 0) t[i * k + i - 1] = t[(i - 1) * k + i] = off[i - 1]!;
  }
  return t;
}

/** Rows of coordinates in the basis, as vectors. */
function combine(
  rows: Float64Array,
  basis: readonly Float64Array[],
  n: number,
): Float64Array<ArrayBuffer> {
  const k = basis.length, count = rows.length / k;
  const out = new Float64Array(count * n);
  for (let i = 0; i < count; i++) {
    for (let b = 0; b < k; b++) {
      const factor = rows[i * k + b]!, v = basis[b]!;
      for (let j = 0; j < n; j++) out[i * n + j]! += factor * v[j]!;
    }
  }
  return out;
}

function centre(x: Float64Array, mean: Float64Array): void {
  for (let i = 0; i < x.length; i++) x[i]! -= mean[i % mean.length]!;
}

/** The lower triangle of `Xᵀ X / (n - 1)`. */
function covariance(x: Matrix): Float64Array<ArrayBuffer> {
  const sum = product(transposed(x), x, { lower: true });
  return scaled(sum, 1 / (x.rows - 1));
}

/** `Xᵀ X v / (n - 1)`, without the matrix between. */
function timesCovariance(x: Float64Array, v: Float64Array, n: number) {
  const D = v.length;
  const out = new Float64Array(D);
  for (let i = 0; i < n; i++) {
    const along = dot(x, i * D, v, 0, D) / (n - 1);
    for (let j = 0; j < D; j++) out[j]! += along * x[i * D + j]!;
  }
  return out;
}

/** Turns a vector round if its element farthest from 0 is negative. */
function orient(v: Float64Array<ArrayBuffer>): void {
  let largest = 0;
  for (let j = 1; j < v.length; j++) {
    if (Math.abs(v[j]!) > Math.abs(v[largest]!)) largest = j;
  }
  if (v[largest]! < 0) scaled(v, -1);
}
