import assert from "node:assert/strict";
import { Rng } from "../../mod.ts";
import {
  cholesky,
  invertLower,
  semidefiniteFactor,
  symmetricEigen,
  symmetricEigenvalues,
} from "../../tensor/linear_algebra.ts";
import {
  matrix,
  product as multiply,
  transposed as turned,
} from "../../tensor/products.ts";
import { singularValues } from "../../tensor/singular_values.ts";
import { assertClose } from "../_check.ts";

/** A random symmetric matrix, normal elements. */
async function symmetric(n: number, seed: number): Promise<Float64Array> {
  const x = await new Rng(seed).normal([n * n]).data();
  return Float64Array.from(x, (_, at) => {
    const i = Math.floor(at / n), j = at % n;
    return x[Math.max(i, j) * n + Math.min(i, j)]!;
  });
}

/** Σ_k a[i, k] b[j, k] weight[k]. */
function product(
  a: Float64Array,
  b: Float64Array,
  n: number,
  weight = new Float64Array(n).fill(1),
): Float64Array {
  return Float64Array.from(
    { length: n * n },
    (_, at) =>
      weight.reduce(
        (sum, w, k) =>
          sum + a[Math.floor(at / n) * n + k]! * b[at % n * n + k]! * w,
        0,
      ),
  );
}

const transposed = (a: Float64Array, n: number) =>
  a.map((_, at) => a[at % n * n + Math.floor(at / n)]!);
const identity = (n: number) =>
  Float64Array.from({ length: n * n }, (_, at) => Number(at % (n + 1) === 0));

/** Checks that vectors are orthonormal and give the matrix back, and that values ascend. */
async function assertEigen(a: Float64Array, n: number): Promise<Float64Array> {
  const { values, vectors } = symmetricEigen(a, n);
  const size = a.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  const tolerance = { atol: 1e-14 * n * size, rtol: 0 };
  const columns = transposed(vectors, n);
  await assertClose(product(columns, columns, n, values), a, tolerance);
  await assertClose(product(vectors, vectors, n), identity(n), { atol: 1e-13 });
  assert.ok(values.every((x, i) => i === 0 || values[i - 1]! <= x));
  await assertClose(symmetricEigenvalues(a, n), values, tolerance);
  return values;
}

Deno.test("symmetricEigen() takes random matrices apart", async () => {
  for (const n of [1, 2, 3, 10, 37, 100]) {
    const a = await symmetric(n, n);
    const before = a.slice();
    const values = await assertEigen(a, n);
    assert.deepEqual(a, before);
    const trace = identity(n).reduce((sum, one, at) => sum + one * a[at]!, 0);
    await assertClose([values.reduce((sum, x) => sum + x)], [trace], {
      atol: 1e-12,
    });
  }
});

Deno.test("symmetricEigen() knows second differences", async () => {
  const n = 50;
  const a = identity(n).map((one, at) =>
    2 * one - Number(Math.abs(at % n - Math.floor(at / n)) === 1)
  );
  const values = await assertEigen(a, n);
  await assertClose(
    values,
    values.map((_, i) => 4 * Math.sin((i + 1) * Math.PI / (2 * n + 2)) ** 2),
    { atol: 1e-14, rtol: 1e-13 },
  );
});

Deno.test("symmetricEigen() copes with zeros, equal values, low rank and extreme scales", async () => {
  assert.deepEqual([...await assertEigen(new Float64Array(9), 3)], [0, 0, 0]);
  assert.deepEqual([...await assertEigen(identity(4), 4)], [1, 1, 1, 1]);
  assert.deepEqual([...await assertEigen(Float64Array.of(3, 0, 0, -2), 2)], [
    -2,
    3,
  ]);
  const ones = await assertEigen(new Float64Array(400).fill(1), 20);
  await assertClose(ones, Float64Array.from(ones, (_, i) => i < 19 ? 0 : 20), {
    atol: 1e-13,
  });
  for (const scale of [1e-150, 1e150]) {
    await assertEigen((await symmetric(7, 1)).map((x) => x * scale), 7);
  }
  const { values, vectors } = symmetricEigen(new Float64Array(0), 0);
  assert.equal(values.length + vectors.length, 0);
});

Deno.test("symmetricEigen() reads the lower triangle", async () => {
  const a = await symmetric(5, 2);
  const lower = a.map((x, at) => at % 5 > Math.floor(at / 5) ? NaN : x);
  assert.deepEqual(symmetricEigen(lower, 5), symmetricEigen(a, 5));
});

Deno.test("symmetricEigen() refuses numbers that are not finite", () => {
  const a = Float64Array.of(1, NaN, NaN, 1);
  assert.throws(() => symmetricEigen(a, 2), /QL must converge: value 0 of 2/);
  assert.throws(() => symmetricEigenvalues(a, 2), /is all finite/);
});

Deno.test("cholesky() gives a lower triangle whose square is the matrix", async () => {
  for (const n of [1, 2, 5, 40]) {
    const x = await symmetric(n, n + 1);
    const a = product(x, x, n).map((y, at) => y + identity(n)[at]!);
    const l = cholesky(a, n)!;
    await assertClose(product(l, l, n), a, { atol: 1e-12 * n, rtol: 1e-12 });
    assert.ok(l.every((y, at) => at % n <= Math.floor(at / n) || y === 0));
    const inverse = invertLower(l, n);
    await assertClose(
      product(inverse, transposed(l, n), n),
      identity(n),
      { atol: 1e-11 },
    );
  }
});

Deno.test("cholesky() is null unless the matrix is positive definite", () => {
  assert.equal(cholesky(Float64Array.of(1, 2, 2, 1), 2), null);
  assert.equal(cholesky(Float64Array.of(1, 1, 1, 1), 2), null);
  assert.equal(cholesky(Float64Array.of(0), 1), null);
  assert.equal(cholesky(Float64Array.of(NaN), 1), null);
  assert.equal(cholesky(Float64Array.of(Infinity), 1), null);
});

/** Normal numbers in float64. */
async function normals(count: number, seed: number): Promise<Float64Array> {
  return Float64Array.from(await new Rng(seed).normal([count]).data());
}

/** `a b` by definition, of row-major matrices. */
function plain(
  a: Float64Array,
  b: Float64Array,
  [rows, depth, columns]: readonly [number, number, number],
): Float64Array {
  return Float64Array.from({ length: rows * columns }, (_, at) => {
    const i = Math.floor(at / columns), j = at % columns;
    let sum = 0;
    for (let k = 0; k < depth; k++) {
      sum += a[i * depth + k]! * b[k * columns + j]!;
    }
    return sum;
  });
}

Deno.test("product() multiplies matrices of any size, turned or not", async () => {
  const sizes = [[1, 1, 1], [3, 5, 2], [4, 8, 4], [97, 257, 30], [5, 3, 517]];
  for (const [rows = 0, depth = 0, columns = 0] of sizes) {
    const a = await normals(rows * depth, 1);
    const b = await normals(depth * columns, 2);
    const want = plain(a, b, [rows, depth, columns]);
    const x = matrix(a, rows, depth), y = matrix(b, depth, columns);
    const tolerance = { atol: 1e-15 * depth };
    await assertClose(multiply(x, y), want, tolerance);
    const mirrored = multiply(turned(y), turned(x)); // (a b)ᵀ = bᵀ aᵀ
    await assertClose(
      mirrored.map((_, at) =>
        mirrored[at % columns * rows + Math.floor(at / columns)]!
      ),
      want,
      tolerance,
    );
  }
  assert.equal(
    multiply(
      matrix(new Float64Array(0), 0, 3),
      matrix(new Float64Array(6), 3, 2),
    )
      .length,
    0,
  );
});

Deno.test("product() adds to what is there, the lower triangle alone if asked", async () => {
  const n = 530, depth = 3;
  const x = matrix(await normals(n * depth, 3), n, depth);
  const full = multiply(x, turned(x));
  const into = new Float64Array(n * n).fill(1);
  assert.equal(multiply(x, turned(x), { into, lower: true }), into);
  const isLower = (at: number) => at % n <= Math.floor(at / n);
  await assertClose(
    into.filter((_, at) => isLower(at)),
    full.filter((_, at) => isLower(at)).map((value) => value + 1),
    { atol: 1e-14 },
  );
  assert.ok(into.some((value) => value === 1)); // work was saved
});

Deno.test("semidefiniteFactor() finds the rank, and gives the matrix back", async () => {
  const cases = [[1, 1], [7, 7], [40, 40], [40, 12], [40, 0]] as const;
  for (const [n, rank] of cases) {
    const x = matrix(await normals(n * rank, n), rank, n);
    const a = multiply(turned(x), x);
    const factor = semidefiniteFactor(a, n);
    assert.equal(factor.rows, rank);
    await assertClose(multiply(turned(factor), factor), a, {
      atol: 1e-15 * n * n,
    });
  }
});

Deno.test("semidefiniteFactor() leaves out what nothing varies in", async () => {
  const a = Float64Array.of(4, 0, 2, 0, 0, 0, 2, 0, 1);
  const factor = semidefiniteFactor(a, 3);
  assert.equal(factor.rows, 1);
  await assertClose(multiply(turned(factor), factor), a, { atol: 1e-15 });
});

Deno.test("singularValues() keeps the digits of small values", async () => {
  for (const [m, n] of [[1, 1], [9, 9], [14, 9], [9, 14], [33, 20]] as const) {
    const r = Math.min(m, n);
    const values = Float64Array.from({ length: r }, (_, i) => 10 ** (-1.5 * i));
    const u = symmetricEigen(await symmetric(m, 5), m).vectors.subarray(
      0,
      r * m,
    );
    const v = symmetricEigen(await symmetric(n, 6), n).vectors.subarray(
      0,
      r * n,
    );
    const scaled = v.map((x, at) => x * values[Math.floor(at / n)]!);
    const a = multiply(turned(matrix(u, r, m)), matrix(scaled, r, n));
    const found = singularValues(matrix(a, m, n));
    await assertClose(found, values.reverse(), { atol: 1e-15 });
  }
});

Deno.test("singularValues() copes with zeros, low rank, and nothing", async () => {
  const of = (data: number[], rows: number, columns: number) =>
    singularValues(matrix(Float64Array.from(data), rows, columns));
  assert.deepEqual([...of([0, 0, 0, 0, 0, 0], 2, 3)], [0, 0]);
  assert.deepEqual([...of([], 0, 3)], []);
  await assertClose(of([3, 0, 0, -4], 2, 2), [3, 4], { atol: 1e-15 });
  await assertClose(of([0, 5, 0, 0], 2, 2), [0, 5], { atol: 1e-15 });
  await assertClose(of(new Array(30).fill(1), 5, 6), [
    0,
    0,
    0,
    0,
    Math.sqrt(30),
  ], {
    atol: 1e-14,
  });
  assert.throws(() => of([1, NaN, 2, 3], 2, 2), /is all finite/);
});
