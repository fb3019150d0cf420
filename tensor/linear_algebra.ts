/**
 * Dense linear algebra on the host in float64: what statistics of features and latents need. Matrices
 * are square and row-major; of symmetric ones only the lower triangle is read.
 *
 * @module
 */
import type { Matrix } from "./products.ts";
import { STEP, vectors } from "./vectors.ts";

/** Sweeps that one eigenvalue may take; two are usual. */
const MAX_SWEEPS = 60;

/**
 * The lower triangle L with `a = L Lᵀ`, zeros above it; null if `a` is not positive definite, in
 * float64. By rows (Golub & Van Loan 2013, "Matrix Computations", §4.2).
 *
 * @param a Symmetric, `[n, n]`.
 */
export function cholesky(
  a: Float64Array,
  n: number,
): Float64Array<ArrayBuffer> | null {
  const l = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let rest = a[i * n + j]!;
      for (let k = 0; k < j; k++) rest -= l[i * n + k]! * l[j * n + k]!;
      if (i > j) l[i * n + j] = rest / l[j * n + j]!;
      else if (rest > 0 && rest < Infinity) l[i * n + i] = Math.sqrt(rest);
      else return null;
    }
  }
  return l;
}

/**
 * F with `a = Fᵀ F`, `[rank, n]`, of a matrix without negative eigenvalues: Cholesky's triangle, with the
 * largest rest of the diagonal first (Higham 2002, "Accuracy and Stability of Numerical Algorithms",
 * §10.3). It ends when that is nothing but rounding, so dimensions that depend on others cost nothing.
 *
 * @param a Symmetric, `[n, n]`, finite.
 */
export function semidefiniteFactor(a: Float64Array, n: number): Matrix {
  const stride = Math.ceil(n / STEP) * STEP;
  const { numbers: l, dot } = vectors(n * stride); // F transposed, rows in the order of `a`
  const rest = Float64Array.from({ length: n }, (_, i) => a[i * n + i]!);
  const waiting = Array.from(rest.keys());
  const negligible = n * Number.EPSILON * Math.max(0, ...rest);
  let rank = 0;
  for (; waiting.length > 0; rank++) {
    const at = waiting.reduce(
      (best, i, at) => rest[i]! > rest[waiting[best]!]! ? at : best,
      0,
    );
    const pivot = waiting[at]!;
    if (!(rest[pivot]! > negligible)) break;
    waiting.splice(at, 1);
    const root = Math.sqrt(rest[pivot]!);
    l[pivot * stride + rank] = root;
    for (const i of waiting) {
      const element = a[Math.max(i, pivot) * n + Math.min(i, pivot)]!;
      const value = (element - dot(i * stride, pivot * stride, rank)) / root;
      l[i * stride + rank] = value;
      rest[i]! -= value * value;
    }
  }
  return {
    data: l.slice(),
    rows: rank,
    columns: n,
    rowStride: 1,
    columnStride: stride,
  };
}

/** The inverse of a lower triangle without zeros on its diagonal, `[n, n]`: lower as well. */
export function invertLower(
  l: Float64Array,
  n: number,
): Float64Array<ArrayBuffer> {
  const inverse = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    const pivot = 1 / l[i * n + i]!;
    // Row i of L L⁻¹ = I, solved for row i of L⁻¹.
    for (let k = 0; k < i; k++) {
      const factor = l[i * n + k]! * pivot;
      for (let j = 0; j <= k; j++) {
        inverse[i * n + j]! -= factor * inverse[k * n + j]!;
      }
    }
    inverse[i * n + i] = pivot;
  }
  return inverse;
}

/** Eigenvalues of a symmetric matrix, and a vector of length 1 for each. */
export interface SymmetricEigen {
  /** Ascending, `[n]`. */
  values: Float64Array<ArrayBuffer>;
  /** Row i belongs to value i, `[n, n]`: `a = Vᵀ diag(values) V`. */
  vectors: Float64Array<ArrayBuffer>;
}

/**
 * Eigenvalues and vectors of a symmetric matrix: Householder's reflections make it tridiagonal, QL with
 * implicit shifts diagonal (Golub & Van Loan 2013, §8.3; EISPACK's `tred2` and `tql2`). Takes about
 * 5 n³ multiplications; absolute errors are of the order of 2^-52 times the largest value.
 *
 * @param a Symmetric, `[n, n]`, finite.
 * @throws {Error} If QL does not converge: a number is not finite.
 */
export function symmetricEigen(a: Float64Array, n: number): SymmetricEigen {
  const { diagonal, off, reflectors, scales } = tridiagonalise(a, n);
  const basis = accumulate(reflectors, scales, n);
  diagonalise(diagonal, off, basis);
  const order = Array.from(diagonal.keys())
    .sort((i, j) => diagonal[i]! - diagonal[j]!);
  const vectors = new Float64Array(n * n);
  order.forEach((from, to) =>
    vectors.set(basis.subarray(from * n, (from + 1) * n), to * n)
  );
  return { values: Float64Array.from(order, (i) => diagonal[i]!), vectors };
}

/**
 * Eigenvalues of a symmetric matrix, ascending: `symmetricEigen` at about an eighth of its cost.
 *
 * @param a Symmetric, `[n, n]`, finite.
 * @throws {Error} If QL does not converge: a number is not finite.
 */
export function symmetricEigenvalues(
  a: Float64Array,
  n: number,
): Float64Array<ArrayBuffer> {
  const { diagonal, off } = tridiagonalise(a, n);
  return tridiagonalEigenvalues(diagonal, off);
}

/** Eigenvalues of a tridiagonal matrix, ascending, in the place of its diagonal; `off[i]` joins i - 1 and i. @internal */
export function tridiagonalEigenvalues(
  diagonal: Float64Array<ArrayBuffer>,
  off: Float64Array,
): Float64Array<ArrayBuffer> {
  diagonalise(diagonal, off, null);
  return diagonal.sort();
}

/** `a = Q T Qᵀ` with T tridiagonal and `Q = P_{n-1} … P_1`, `P_i = 1 - u_i u_iᵀ / h_i`. */
interface Tridiagonal {
  /** Of T, `[n]`. */
  diagonal: Float64Array<ArrayBuffer>;
  /** Element i of T joins i - 1 and i; element 0 is 0. */
  off: Float64Array<ArrayBuffer>;
  /** Row i starts with the i numbers of u_i. */
  reflectors: Float64Array<ArrayBuffer>;
  /** h_i; 0 stands for no reflection. */
  scales: Float64Array<ArrayBuffer>;
}

/**
 * Rows are reduced from the last to the first. A reflection changes the rest by -u wᵀ - w uᵀ; this is
 * done in the pass that multiplies the rest by the next u, as both are bound by memory.
 */
function tridiagonalise(matrix: Float64Array, n: number): Tridiagonal {
  const a = Float64Array.from(matrix);
  const diagonal = new Float64Array(n), off = new Float64Array(n);
  const scales = new Float64Array(n);
  let lastU = new Float64Array(n), lastW = new Float64Array(n);
  let w = new Float64Array(n);
  for (let i = n - 1; i > 0; i--) {
    const u = a.subarray(i * n, i * n + i);
    for (let j = 0; j < i; j++) {
      u[j]! -= lastU[i]! * lastW[j]! + lastW[i]! * lastU[j]!;
    }
    diagonal[i] = a[i * n + i]! - 2 * lastU[i]! * lastW[i]!;
    const h = scales[i] = reflector(u, i, off);
    multiplyUpdated(a, n, i, u, w, lastU, lastW);
    if (h > 0) {
      let uw = 0;
      for (let j = 0; j < i; j++) uw += u[j]! * (w[j]! /= h);
      for (let j = 0; j < i; j++) w[j]! -= uw / (2 * h) * u[j]!;
    }
    lastU = u;
    [lastW, w] = [w, lastW];
  }
  if (n > 0) diagonal[0] = a[0]!;
  return { diagonal, off, reflectors: a, scales };
}

/**
 * Turns a row x of length i into the u whose reflection makes all of x zero but its last element, which
 * goes to `off[i]`; returns h = |u|²/2, or 0 (and u = 0) if x is so already. @internal
 */
export function reflector(
  x: Float64Array,
  i: number,
  off: Float64Array,
): number {
  let size = 0; // keeps squares in range
  for (let j = 0; j < i - 1; j++) size += Math.abs(x[j]!);
  const last = x[i - 1]!;
  if (size === 0) {
    off[i] = last;
    x.fill(0);
    return 0;
  }
  size += Math.abs(last);
  let squares = 0;
  for (let j = 0; j < i; j++) squares += (x[j]! /= size) ** 2;
  const end = x[i - 1]!;
  const length = end >= 0 ? -Math.sqrt(squares) : Math.sqrt(squares);
  off[i] = size * length;
  x[i - 1] = end - length;
  return squares - end * length;
}

/** Subtracts lastU lastWᵀ + lastW lastUᵀ from the leading `[i, i]` block B of `a`; then out = B u. */
function multiplyUpdated(
  a: Float64Array,
  n: number,
  i: number,
  u: Float64Array,
  out: Float64Array,
  lastU: Float64Array,
  lastW: Float64Array,
): void {
  for (let row = 0; row < i; row++) {
    const first = row * n, ur = u[row]!, lu = lastU[row]!, lw = lastW[row]!;
    let sum = 0;
    for (let col = 0; col < row; col++) {
      const value = a[first + col]! - lu * lastW[col]! - lw * lastU[col]!;
      a[first + col] = value;
      sum += value * u[col]!;
      out[col]! += value * ur; // its mirror image above the diagonal
    }
    const value = a[first + row]! - 2 * lu * lw;
    a[first + row] = value;
    out[row] = sum + value * ur;
  }
}

/** Qᵀ, of which the leading block alone differs from 1 before each reflection. */
function accumulate(
  reflectors: Float64Array,
  scales: Float64Array,
  n: number,
): Float64Array<ArrayBuffer> {
  const q = new Float64Array(n * n);
  for (let i = 0; i < n; i++) q[i * n + i] = 1;
  for (let i = 1; i < n; i++) {
    const h = scales[i]!;
    if (h === 0) continue;
    const u = reflectors.subarray(i * n, i * n + i);
    for (let row = 0; row < i; row++) {
      const first = row * n;
      let dot = 0;
      for (let j = 0; j < i; j++) dot += q[first + j]! * u[j]!;
      dot /= h;
      for (let j = 0; j < i; j++) q[first + j]! -= dot * u[j]!;
    }
  }
  return q;
}

/** Makes T diagonal by rotations, and turns the rows of `basis` by them. */
function diagonalise(
  diagonal: Float64Array,
  off: Float64Array,
  basis: Float64Array | null,
): void {
  const d = diagonal, n = d.length;
  const e = new Float64Array(n); // e[i] joins i and i + 1
  e.set(off.subarray(1));
  let norm = 0;
  for (let i = 0; i < n; i++) {
    norm = Math.max(norm, Math.abs(d[i]!) + Math.abs(e[i]!));
  }
  const negligible = Number.EPSILON * norm;
  for (let l = 0; l < n; l++) {
    for (let sweep = 0;; sweep++) {
      let m = l;
      while (m < n - 1 && !(Math.abs(e[m]!) <= negligible)) m++;
      if (m === l) break;
      if (sweep === MAX_SWEEPS) {
        throw new Error(
          `Cannot find eigenvalues as QL must converge: value ${l} of ${n} does not, is all finite?`,
        );
      }
      const p = (d[l + 1]! - d[l]!) / (2 * e[l]!);
      const r = Math.hypot(p, 1);
      // The shift is the eigenvalue of the leading 2 x 2 block that is nearer to d[l].
      let g = d[m]! - d[l]! + e[l]! / (p + (p >= 0 ? r : -r));
      let s = 1, c = 1, moved = 0, i = m - 1;
      for (; i >= l; i--) {
        const f = s * e[i]!, b = c * e[i]!;
        const length = Math.hypot(f, g);
        e[i + 1] = length;
        if (length === 0) break; // T has come apart below i + 1
        s = f / length;
        c = g / length;
        g = d[i + 1]! - moved;
        const t = (d[i]! - g) * s + 2 * c * b;
        moved = s * t;
        d[i + 1] = g + moved;
        g = c * t - b;
        if (basis) turn(basis, n, i, c, s);
      }
      if (i >= l) d[i + 1]! -= moved;
      else {
        d[l]! -= moved;
        e[l] = g;
      }
      e[m] = 0;
    }
  }
}

/** Turns rows i and i + 1 in their plane. */
function turn(
  rows: Float64Array,
  n: number,
  i: number,
  c: number,
  s: number,
): void {
  const middle = (i + 1) * n;
  for (let j = i * n; j < middle; j++) {
    const x = rows[j]!, y = rows[j + n]!;
    rows[j] = c * x - s * y;
    rows[j + n] = s * x + c * y;
  }
}

/** Σ_k a[i + k] b[j + k], in four sums, so that additions need not wait for each other. @internal */
export function dot(
  a: Float64Array,
  i: number,
  b: Float64Array,
  j: number,
  length: number,
): number {
  let s0 = 0, s1 = 0, s2 = 0, s3 = 0, k = 0;
  for (; k + 3 < length; k += 4) {
    s0 += a[i + k]! * b[j + k]!;
    s1 += a[i + k + 1]! * b[j + k + 1]!;
    s2 += a[i + k + 2]! * b[j + k + 2]!;
    s3 += a[i + k + 3]! * b[j + k + 3]!;
  }
  for (; k < length; k++) s0 += a[i + k]! * b[j + k]!;
  return s0 + s1 + (s2 + s3);
}
