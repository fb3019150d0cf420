import assert from "node:assert/strict";
import * as d from "../../mod.ts";
import { assertClose, assertGradient } from "../_check.ts";

const rng = new d.Rng(7);

for (const shape of [[67, 3], [3, 2, 5, 13], [1, 5, 1, 2]]) {
  Deno.test(`batchNorm() normalises the batch and follows it, for [${shape}]`, async () => {
    const [n, c] = shape as [number, number];
    const x = rng.normal(shape, 2, 3);
    const weight = rng.normal([c]), bias = rng.normal([c]);
    const runningMean = rng.normal([c]), runningVar = rng.uniform([c], 1, 2);
    const [xs, ws, bs, means, variances] = await Promise.all(
      [x, weight, bias, runningMean, runningVar].map((t) => t.data()),
    );
    const pixels = x.size / (n * c), count = n * pixels;
    const want = new Float64Array(x.size);
    const wantMean: number[] = [], wantVar: number[] = [];
    for (let channel = 0; channel < c; channel++) {
      const at = Array.from(
        { length: count },
        (_, i) => (Math.floor(i / pixels) * c + channel) * pixels + i % pixels,
      );
      const mean = at.reduce((a, i) => a + xs![i]!, 0) / count;
      const squares = at.reduce((a, i) => a + (xs![i]! - mean) ** 2, 0);
      for (const i of at) {
        want[i] = (xs![i]! - mean) / Math.sqrt(squares / count + 1e-5) *
            ws![channel]! + bs![channel]!;
      }
      wantMean.push(0.8 * means![channel]! + 0.2 * mean);
      wantVar.push(
        0.8 * variances![channel]! + 0.2 * squares / (count - 1),
      );
    }
    const y = d.batchNorm(x, {
      weight,
      bias,
      runningMean,
      runningVar,
      training: true,
      momentum: 0.2,
    });
    await assertClose(y, want, { atol: 2e-5 });
    await assertClose(runningMean, wantMean, { atol: 1e-5 });
    await assertClose(runningVar, wantVar, { atol: 1e-5 });
  });
}

Deno.test("batchNorm() evaluates with the running statistics and leaves them", async () => {
  const x = d.tensor([[1, 2], [3, 4], [5, 9]]);
  const runningMean = d.tensor([1, 2]), runningVar = d.tensor([4, 0.25]);
  const y = d.batchNorm(x, {
    runningMean,
    runningVar,
    training: false,
    eps: 0,
  });
  await assertClose(y, [0, 0, 1, 4, 2, 14]);
  await assertClose(runningMean, [1, 2]);
  await assertClose(runningVar, [4, 0.25]);
});

Deno.test("batchNorm() has the right gradient in training and evaluation", async () => {
  const runningMean = rng.normal([3]), runningVar = rng.uniform([3], 1, 2);
  for (const training of [true, false]) {
    for (const shape of [[2, 3, 2, 3], [5, 3]]) {
      await assertGradient(
        (x, weight, bias) =>
          d.batchNorm(x, {
            weight,
            bias,
            training,
            ...(training ? {} : { runningMean, runningVar }),
          }),
        [rng.normal(shape), rng.normal([3]), rng.normal([3])],
      );
    }
  }
});

Deno.test("batchNorm() differentiates by the statistics it has used", async () => {
  const x = rng.normal([4, 2]);
  const weight = d.ones([2]).requireGrad();
  const runningMean = d.zeros([2]), runningVar = d.ones([2]);
  const state = { weight, runningMean, runningVar };
  const y = d.batchNorm(x, { ...state, training: false, eps: 0 });
  d.batchNorm(x, { ...state, training: true }); // moves the running ones
  const [dWeight] = d.gradients(d.sum(y), [weight]);
  await assertClose(dWeight!, d.sum(x, { axis: 0 }));
});

Deno.test("batchNorm() says what is wrong", () => {
  assert.throws(
    () => d.batchNorm(d.zeros([1, 3]), { training: true }),
    /Cannot apply batchNorm as training needs more than one value per channel: x is \[1, 3\]/,
  );
  const x = d.zeros([2, 3]);
  assert.throws(
    () => d.batchNorm(x, { training: false }),
    /evaluation needs runningMean and runningVar/,
  );
  assert.throws(
    () => d.batchNorm(x, { training: true, runningVar: d.ones([2]) }),
    /runningVar must be f32\[3\]/,
  );
});
