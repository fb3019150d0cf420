import assert from "node:assert/strict";
import { Rng } from "../../mod.ts";
import {
  cholesky,
  invertLower,
  symmetricEigen,
  symmetricEigenvalues,
} from "../../tensor/linear_algebra.ts";
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
