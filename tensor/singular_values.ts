/**
 * Singular values on the host in float64, without vectors and without squaring the matrix, which would
 * cost half of the digits.
 *
 * @module
 */
import { dot, reflector, tridiagonalEigenvalues } from "./linear_algebra.ts";
import { type Matrix, transposed } from "./products.ts";

/**
 * Singular values of a matrix, ascending: Householder's reflections from both sides leave two diagonals
 * (Golub & Kahan 1965), whose values ±s are the eigenvalues of a tridiagonal matrix twice as large with
 * zeros on its diagonal (Golub & Van Loan 2013, §8.6). Absolute errors are of the order of 2^-52 times
 * the largest value; takes about 8/3 n³ multiplications, n being the smaller side.
 *
 * @throws {Error} If an element is not finite.
 */
export function singularValues(a: Matrix): Float64Array<ArrayBuffer> {
  const tall = a.rows < a.columns ? transposed(a) : a;
  const n = tall.columns;
  // Reading down both diagonals in turns is reading along the tridiagonal matrix.
  const off = new Float64Array(2 * n);
  bidiagonalise(tall, off);
  return tridiagonalEigenvalues(new Float64Array(2 * n), off).subarray(n)
    .map((value) => Math.max(value, 0));
}

/**
 * The numbers that reflections leave of a matrix with at least as many rows as columns: in column i the
 * one in row `i + rows - columns` goes to `off[2 i + 1]`, the one to the left of it to `off[2 i]`.
 *
 * Columns are reduced from the last to the first. Reflections change the rest by -u wᵀ - z vᵀ; this is
 * done in the pass that multiplies the rest by the next u, as all passes are bound by memory.
 */
function bidiagonalise(matrix: Matrix, off: Float64Array): void {
  const { rows, columns } = matrix;
  const a = new Float64Array(rows * columns);
  for (let row = 0; row < rows; row++) {
    let from = row * matrix.rowStride;
    for (let col = 0; col < columns; col++, from += matrix.columnStride) {
      a[row * columns + col] = matrix.data[from]!;
    }
  }
  let u = new Float64Array(rows), lastU = new Float64Array(rows);
  const z = new Float64Array(rows);
  let v = new Float64Array(columns), lastV = new Float64Array(columns);
  let w = new Float64Array(columns), lastW = new Float64Array(columns);
  const found = new Float64Array(rows + 1);
  for (let i = columns - 1; i >= 0; i--) {
    const last = i + rows - columns; // the row that is reduced with column i
    for (let row = 0; row <= last; row++) {
      u[row] = a[row * columns + i]! - lastU[row]! * lastW[i]! -
        z[row]! * lastV[i]!;
    }
    const left = reflector(u, last + 1, found);
    off[2 * i + 1] = found[last + 1]!;
    if (i === 0) return;
    w.fill(0, 0, i);
    for (let row = 0; row <= last; row++) {
      const first = row * columns;
      const byU = u[row]!, byLastU = lastU[row]!, byZ = z[row]!;
      for (let col = 0; col < i; col++) {
        const value = a[first + col]! - byLastU * lastW[col]! -
          byZ * lastV[col]!;
        a[first + col] = value;
        w[col]! += byU * value;
      }
    }
    if (left > 0) { for (let col = 0; col < i; col++) w[col]! /= left; }
    for (let col = 0; col < i; col++) {
      v[col] = a[last * columns + col]! - u[last]! * w[col]!;
    }
    const right = reflector(v, i, found);
    off[2 * i] = found[i]!;
    let wv = 0;
    for (let col = 0; col < i; col++) wv += w[col]! * v[col]!;
    for (let row = 0; row < last; row++) {
      z[row] = right > 0
        ? (dot(a, row * columns, v, 0, i) - u[row]! * wv) / right
        : 0;
    }
    [u, lastU] = [lastU, u];
    [v, lastV] = [lastV, v];
    [w, lastW] = [lastW, w];
  }
}
