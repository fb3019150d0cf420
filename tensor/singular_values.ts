/**
 * Singular values on the host in float64, without vectors and without squaring the matrix, which would
 * cost half of the digits.
 *
 * @module
 */
import { reflector, tridiagonalEigenvalues } from "./linear_algebra.ts";
import { type Matrix, transposed } from "./products.ts";
import { STEP, vectors } from "./vectors.ts";

/**
 * Singular values of a matrix, ascending: Householder's reflections from both sides leave two diagonals
 * (Golub & Kahan 1965), whose values ±s are the eigenvalues of a tridiagonal matrix twice as large with
 * zeros on its diagonal (Golub & Van Loan 2013, §8.6). Absolute errors are of the order of 2^-52 times
 * the largest value; takes about 8/3 n³ multiplications if both sides are n. Squares of elements must be
 * in the range of doubles.
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
 * Columns are reduced from the last to the first, each by u from the left, then its row by v from the
 * right, which changes the rest by -u wᵀ - z vᵀ. Time goes by with reading the rest, so it is read once
 * for each column: a row is multiplied by v, changed, and added to the next w while it is at hand.
 */
function bidiagonalise(matrix: Matrix, off: Float64Array): void {
  const { rows, columns } = matrix;
  const stride = Math.ceil(columns / STEP) * STEP;
  const { numbers, dot, sweep } = vectors((rows + 3) * stride);
  for (let row = 0; row < rows; row++) {
    let from = row * matrix.rowStride;
    for (let col = 0; col < columns; col++, from += matrix.columnStride) {
      numbers[row * stride + col] = matrix.data[from]!;
    }
  }
  const u = new Float64Array(rows), found = new Float64Array(rows + 1);
  const atV = rows * stride;
  const v = numbers.subarray(atV, atV + stride);
  let atW = atV + stride, atNext = atW + stride;
  for (let row = 0; row < rows; row++) {
    const a = row * stride, x = u[row] = numbers[a + columns - 1]!;
    const places = { a, w: atV, v: atV, sum: atW };
    sweep(places, { byW: 0, byV: 0, x }, columns - 1);
  }
  for (let i = columns - 1; i >= 0; i--) {
    // u is column i, w its products with the columns before it.
    const last = i + rows - columns; // the row that is reduced with column i
    const corner = u[last]!;
    const left = reflector(u, last + 1, found);
    const diagonal = off[2 * i + 1] = found[last + 1]!;
    if (i === 0) return;
    // The reflector is the column, divided by some length, but for its last element.
    const scale = left > 0 ? u[last]! / (corner - diagonal) : 0;
    const w = numbers.subarray(atW, atW + i);
    for (let col = 0; col < i; col++) {
      const x = numbers[last * stride + col]!;
      w[col] = left > 0
        ? ((w[col]! - corner * x) * scale + u[last]! * x) / left
        : 0;
      v[col] = x - u[last]! * w[col]!;
    }
    v.fill(0, i);
    const right = reflector(v, i, found);
    off[2 * i] = found[i]!;
    const wv = dot(atW, atV, i);
    numbers.fill(0, atNext, atNext + i);
    for (let row = 0; row < last; row++) {
      const a = row * stride, byW = u[row]!;
      const byV = right > 0 ? (dot(a, atV, i) - byW * wv) / right : 0;
      const x = numbers[a + i - 1]! - byW * w[i - 1]! - byV * v[i - 1]!;
      const places = { a, w: atW, v: atV, sum: atNext };
      sweep(places, { byW, byV, x }, i - 1);
      u[row] = x;
    }
    [atW, atNext] = [atNext, atW];
  }
}
