import { deepEqual, throws } from "node:assert/strict";
import * as d from "../../mod.ts";
import { assertClose, assertGradient } from "../_check.ts";
import { hasLimit, withBindingBytes } from "../_limit.ts";

const rng = new d.Rng(3);

/** `a b` of one pair of matrices in doubles; strides say how each is stored. */
function exact(
  a: ArrayLike<number>,
  [aRow, aK]: readonly [number, number],
  b: ArrayLike<number>,
  [bK, bCol]: readonly [number, number],
  [rows, k, cols]: readonly [number, number, number],
): Float64Array {
  const out = new Float64Array(rows * cols);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < cols; j++) {
      for (let t = 0; t < k; t++) {
        out[i * cols + j]! += a[i * aRow + t * aK]! * b[t * bK + j * bCol]!;
      }
    }
  }
  return out;
}

Deno.test("matmul() multiplies known matrices and vectors", async () => {
  const a = d.tensor([[1, 2], [3, 4]]), b = d.tensor([[5, 6], [7, 8]]);
  const v = d.tensor([1, -1]);
  await assertClose(d.matmul(a, b), d.tensor([[19, 22], [43, 50]]));
  await assertClose(d.matmul(a, v), d.tensor([-1, -1]));
  await assertClose(d.matmul(v, a), d.tensor([-2, -2]));
  await assertClose(d.matmul(v, v), d.tensor(2));
});

// One, primes, more than a tile of 8 rows and 256 columns, few columns, and a sum cut into pieces.
const SIZES: [number, number, number][] = [
  [1, 1, 1],
  [1, 7, 263],
  [8, 4, 256],
  [9, 3, 261],
  [37, 5, 3],
  [261, 11, 1],
  [2, 1031, 3],
  [5, 1500, 40],
];
for (const [rows, k, cols] of SIZES) {
  Deno.test(`matmul() is exact for [${rows}, ${k}] x [${k}, ${cols}], transposed or not`, async () => {
    for (const transposeA of [false, true]) {
      for (const transposeB of [false, true]) {
        const a = rng.normal(transposeA ? [k, rows] : [rows, k]);
        const b = rng.normal(transposeB ? [cols, k] : [k, cols]);
        const got = d.matmul(a, b, { transposeA, transposeB });
        deepEqual(got.shape, [rows, cols]);
        const want = exact(
          await a.data(),
          transposeA ? [1, rows] : [k, 1],
          await b.data(),
          transposeB ? [1, k] : [cols, 1],
          [rows, k, cols],
        );
        await assertClose(got, want, { atol: 2e-6 * Math.sqrt(k) + 1e-8 * k });
      }
    }
  });
}

Deno.test("matmul() broadcasts leading axes", async () => {
  for (
    const [p, q] of [
      [[2, 3, 4, 5], [5, 6]],
      [[4, 5], [2, 3, 5, 6]],
      [[2, 1, 4, 5], [3, 5, 6]],
      [[1, 3, 4, 5], [2, 3, 5, 6]],
      [[3, 4, 5], [1, 5, 6]],
      [[5], [2, 3, 5, 6]],
      [[2, 3, 4, 5], [5]],
    ] as const
  ) {
    const a = rng.normal(p), b = rng.normal(q);
    // The same by elementwise products: [..., rows, k, 1] times [..., 1, k, cols], summed over k.
    const left = p.length === 1 ? d.unsqueeze(a, 1) : d.unsqueeze(a, -1);
    const right = q.length === 1 ? d.unsqueeze(b, 1) : d.unsqueeze(b, -3);
    const apart = d.sum(d.mul(left, right), { axis: -2 });
    const got = d.matmul(a, b);
    await assertClose(got, d.reshape(apart, got.shape), { atol: 1e-5 });
  }
});

Deno.test("matmul() has the right gradient", async () => {
  const transposed = { transposeA: true, transposeB: true };
  for (
    const [p, q, options] of [
      [[3, 4], [4, 2], {}],
      [[4, 3], [4, 2], { transposeA: true }],
      [[3, 4], [2, 4], { transposeB: true }],
      [[4, 3], [2, 4], transposed],
      [[2, 3, 2], [2, 2], {}],
      [[2, 1, 2, 2], [3, 2, 2], {}],
      [[2, 2, 3], [2, 2], transposed],
      [[3], [3, 2], {}],
      [[2, 3], [3], {}],
      [[3], [3], {}],
    ] as const
  ) {
    await assertGradient(
      (a, b) => d.matmul(a, b, options),
      [rng.normal(p), rng.normal(q)],
    );
  }
});

Deno.test("matmul() sums long gradients exactly", async () => { // of b, over 1200 rows
  const [rows, k, cols] = [1200, 6, 5];
  const x = rng.normal([rows, k]), dy = rng.normal([rows, cols]);
  const b = rng.normal([k, cols]).requireGrad();
  const [db] = d.gradients(d.matmul(x, b), [b], { upstream: dy });
  const want = exact(await x.data(), [1, k], await dy.data(), [cols, 1], [
    k,
    rows,
    cols,
  ]);
  await assertClose(db!, want, { atol: 1e-4 });
});

Deno.test("matmul() of nothing is empty or zero", async () => {
  const empty = d.matmul(d.zeros([0, 3]), d.zeros([3, 2]));
  await assertClose(empty, d.zeros([0, 2]));
  const zero = d.matmul(d.zeros([2, 0]), d.zeros([0, 3]));
  await assertClose(zero, d.zeros([2, 3]));
  await assertClose(
    d.matmul(d.zeros([0, 2, 3]), d.zeros([3, 4])),
    d.zeros([0, 2, 4]),
  );
});

Deno.test("matmul() says what does not fit", () => {
  throws(
    () => d.matmul(d.zeros([2, 3]), d.zeros([2, 3])),
    /Cannot apply matmul as columns of a must equal rows of b: a is \[2, 3\], b is \[2, 3\]/,
  );
  throws(
    () => d.matmul(d.zeros([2, 3]), d.zeros([3, 4]), { transposeA: true }),
    /after a is transposed/,
  );
  throws(
    () => d.matmul(d.zeros([2, 1, 3]), d.zeros([4, 3, 1])),
    /leading axes.*a is \[2\], b is \[4\]/,
  );
  throws(() => d.matmul(d.zeros([]), d.zeros([3])), TypeError);
  throws(() => d.matmul(d.zeros([3], "i32"), d.zeros([3])), /must be f32/);
});

// Rows of one axis or both, of 1, a prime, and some that do not begin where a binding may.
for (
  const [aShape, bShape] of [
    [[2100, 64], [64, 8]], // a is cut along its rows, and the result
    [[4, 1300], [1300, 64]], // b along k
    [[8, 20000], [20000, 12]], // both along k, and rows that exceed a binding
    [[300, 12], [12, 263]], // the result alone
    [[1, 7], [7, 12003]], // one row
    [[3, 9001], [9001, 37]], // lines of odd length
    [[2, 20001], [20001, 1]],
    [[5, 100, 70], [5, 70, 60]], // one matrix fits
    [[3, 160, 64], [3, 64, 168]], // one does not
    [[2, 9, 64], [2, 64, 330]],
  ] as const
) {
  Deno.test(`matmul() of [${aShape}] x [${bShape}] works by pieces`, {
    ignore: !hasLimit,
  }, async () => {
    const flip = (shape: readonly number[]) => [
      ...shape.slice(0, -2),
      ...shape.slice(-2).reverse(),
    ];
    for (const transposeA of [false, true]) {
      for (const transposeB of [false, true]) {
        const a = rng.normal(transposeA ? flip(aShape) : aShape).requireGrad();
        const b = rng.normal(transposeB ? flip(bShape) : bShape).requireGrad();
        const all = () => {
          const y = d.matmul(a, b, { transposeA, transposeB });
          const dy = new d.Rng(1).normal(y.shape);
          return [y, ...d.gradients(y, [a, b], { upstream: dy })];
        };
        const want = all(), got = withBindingBytes(32768, all);
        for (const [i, tensor] of got.entries()) {
          await assertClose(tensor, want[i]!, { atol: 2e-3, rtol: 1e-4 });
        }
      }
    }
  });
}
