import assert from "node:assert/strict";
import * as d from "../../mod.ts";
import { assertClose, assertGradient } from "../_check.ts";

const rng = new d.Rng(6);

for (
  const [shape, trailing] of [
    [[7, 131], 1],
    [[5, 68], 1], // of a multiple of four
    [[2, 3, 4, 16], 2],
    [[2, 67, 8], 1], // more rows than one invocation folds for weight and bias
    [[3, 4, 5], 2],
    [[5, 1], 1],
    [[6], 1],
  ] as [number[], number][]
) {
  Deno.test(`layerNorm() follows its definition for the last ${trailing} of [${shape}]`, async () => {
    const normalized = shape.slice(-trailing);
    const x = rng.normal(shape, -1, 3).requireGrad();
    const weight = rng.normal(normalized).requireGrad();
    const bias = rng.normal(normalized).requireGrad();
    const dy = rng.normal(shape);
    const [xs, ws, bs, ds] = await Promise.all(
      [x, weight, bias, dy].map((t) => t.data()),
    );
    const cols = ws!.length;
    const want = new Float64Array(x.size);
    const dWeight = new Float64Array(cols), dBias = new Float64Array(cols);
    for (let first = 0; first < x.size; first += cols) {
      const row = [...xs!.subarray(first, first + cols)];
      const mean = row.reduce((a, b) => a + b, 0) / cols;
      const variance = row.reduce((a, b) => a + (b - mean) ** 2, 0) / cols;
      row.forEach((value, col) => {
        const xhat = (value - mean) / Math.sqrt(variance + 1e-5);
        want[first + col] = xhat * ws![col]! + bs![col]!;
        dWeight[col]! += xhat * ds![first + col]!;
        dBias[col]! += ds![first + col]!;
      });
    }
    const y = d.layerNorm(x, normalized, weight, bias);
    await assertClose(y, want, { atol: 1e-5 });
    const [gotWeight, gotBias] = d.gradients(y, [weight, bias], {
      upstream: dy,
    });
    await assertClose(gotWeight!, dWeight, { atol: 2e-5 });
    await assertClose(gotBias!, dBias, { atol: 2e-5 });
  });
}

Deno.test("layerNorm() has the right gradient", async () => {
  await assertGradient(
    (x, weight, bias) => d.layerNorm(x, 11, weight, bias),
    [rng.normal([3, 11]), rng.normal([11]), rng.normal([11])],
  );
  await assertGradient((x) => d.layerNorm(x, [2, 3]), [rng.normal([2, 2, 3])]);
  await assertGradient(
    (x, weight, bias) => d.layerNorm(x, 8, weight, bias),
    [rng.normal([3, 8]), rng.normal([8]), rng.normal([8])],
  );
});

Deno.test("layerNorm() passes an empty batch through and says what is wrong", () => {
  assert.deepEqual(d.layerNorm(d.zeros([0, 4]), 4).shape, [0, 4]);
  const x = d.zeros([2, 4]);
  assert.throws(
    () => d.layerNorm(x, 3),
    /Cannot apply layerNorm as the normalized shape must be that of the last axes: x is \[2, 4\], normalizedShape is \[3\]/,
  );
  assert.throws(() => d.layerNorm(x, 4, d.ones([3])), TypeError);
  assert.throws(() => d.layerNorm(d.zeros([]), []), TypeError);
});
