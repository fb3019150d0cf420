import assert from "node:assert/strict";
import * as d from "../../mod.ts";
import { assertClose, assertGradient } from "../_check.ts";

const rng = new d.Rng(5);

for (
  const [shape, groups] of [
    [[2, 6, 5, 13], 3], // past a workgroup, and no multiple of it
    [[3, 4, 1, 1], 2],
    [[1, 7, 17], 1],
    [[2, 5, 8, 8], 5],
    [[4, 6], 2],
    [[1, 3, 64, 65], 1], // a set in several shares
    [[1, 2, 37, 41], 2],
  ] as [number[], number][]
) {
  Deno.test(`groupNorm() follows its definition for [${shape}] in ${groups}`, async () => {
    const [n, c] = shape as [number, number];
    const x = rng.normal(shape, 3, 2);
    const weight = rng.normal([c]), bias = rng.normal([c]);
    const [xs, ws, bs] = await Promise.all(
      [x, weight, bias].map((t) => t.data()),
    );
    const want = new Float64Array(x.size);
    const pixels = x.size / (n * c), group = x.size / (n * groups);
    for (let first = 0; first < x.size; first += group) {
      const values = [...xs!.subarray(first, first + group)];
      const mean = values.reduce((a, b) => a + b, 0) / group;
      const variance = values.reduce((a, b) => a + (b - mean) ** 2, 0) / group;
      values.forEach((value, i) => {
        const channel = Math.floor((first + i) / pixels) % c;
        want[first + i] = (value - mean) / Math.sqrt(variance + 1e-5) *
            ws![channel]! + bs![channel]!;
      });
    }
    const tolerance = { atol: 1e-5 };
    const y = d.groupNorm(x, groups, weight, bias);
    await assertClose(y, want, tolerance);
    const activated = d.groupNormSilu(x, groups, weight, bias);
    await assertClose(
      activated,
      want.map((z) => z / (1 + Math.exp(-z))),
      tolerance,
    );
  });
}

Deno.test("groupNorm() has the right gradient", async () => {
  const affine = [rng.normal([4]), rng.normal([4])];
  for (const groups of [1, 2, 4]) {
    await assertGradient(
      (x, weight, bias) => d.groupNorm(x, groups, weight, bias),
      [rng.normal([2, 4, 3, 3]), ...affine],
    );
  }
  await assertGradient((x) => d.groupNorm(x, 2), [rng.normal([1, 4, 11])]);
  await assertGradient(
    (weight) => d.groupNorm(d.ones([1, 4, 2]), 2, weight),
    [affine[0]!],
  );
});

Deno.test("groupNormSilu() has the gradient of silu(groupNorm())", async () => {
  for (const [shape, groups] of [[[2, 6, 5, 13], 3], [[3, 8, 16, 16], 2]]) {
    const c = (shape as number[])[1]!;
    const at = [
      rng.normal(shape as number[], 1),
      rng.normal([c]),
      rng.normal([c]),
    ]
      .map((t) => t.requireGrad());
    const dy = rng.normal(shape as number[]);
    const [x, weight, bias] = at;
    const apart = d.silu(d.groupNorm(x!, groups as number, weight, bias));
    const want = d.gradients(apart, at, { upstream: dy });
    const y = d.groupNormSilu(x!, groups as number, weight, bias);
    const got = d.gradients(y, at, { upstream: dy });
    for (const [i, gradient] of got.entries()) {
      await assertClose(gradient, want[i]!, { atol: 5e-5 });
    }
  }
  await assertGradient(
    (x, weight, bias) => d.groupNormSilu(x, 2, weight, bias),
    [rng.normal([2, 4, 3, 3]), rng.normal([4]), rng.normal([4])],
  );
});

Deno.test("groupNorm() is not hurt by a stray first element", async () => {
  const host = Float32Array.from(await rng.normal([1, 1, 4096]).data());
  host[0] = 1e4;
  const mean = host.reduce((a, b) => a + b, 0) / 4096;
  const variance = host.reduce((a, b) => a + (b - mean) ** 2, 0) / 4096;
  await assertClose(
    d.groupNorm(d.tensor(host, [1, 1, 4096]), 1),
    Float64Array.from(host, (v) => (v - mean) / Math.sqrt(variance + 1e-5)),
    { atol: 1e-6 },
  );
});

Deno.test("groupNorm() is not hurt by a large mean", async () => {
  const x = rng.normal([2, 4, 9, 9]);
  await assertClose(
    d.groupNorm(d.add(x, 1000), 2),
    d.groupNorm(x, 2),
    { atol: 1e-3 }, // x + 1000 itself is rounded to 6e-5
  );
});

Deno.test("groupNorm() passes an empty batch through and says what is wrong", () => {
  assert.deepEqual(d.groupNorm(d.zeros([0, 4, 2]), 2).shape, [0, 4, 2]);
  assert.deepEqual(d.groupNormSilu(d.zeros([2, 4, 0]), 2).shape, [2, 4, 0]);
  const x = d.zeros([1, 4, 2]);
  assert.throws(() => d.groupNormSilu(x, 3), /Cannot apply groupNormSilu/);
  assert.throws(
    () => d.groupNorm(x, 3),
    /Cannot apply groupNorm as the number of groups must divide the channels: x is \[1, 4, 2\], numGroups is 3/,
  );
  assert.throws(
    () => d.groupNorm(x, 2, d.ones([2])),
    /weight must be f32\[4\]/,
  );
  assert.throws(() => d.groupNorm(d.zeros([4]), 2), TypeError);
});
