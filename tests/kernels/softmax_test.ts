import { throws } from "node:assert/strict";
import * as d from "../../mod.ts";
import { attentionWeights } from "../../kernels/softmax.ts";
import { assertClose, assertGradient } from "../_check.ts";

const rng = new d.Rng(2);

/** Softmax of `[outer, n, inner]` along the middle, in doubles. */
function exact(x: ArrayLike<number>, n: number, inner: number): Float64Array {
  const y = Float64Array.from(x, Math.exp);
  for (let o = 0; o < y.length; o += n * inner) {
    for (let i = 0; i < inner; i++) {
      let sum = 0;
      for (let k = 0; k < n; k++) sum += y[o + k * inner + i]!;
      for (let k = 0; k < n; k++) y[o + k * inner + i]! /= sum;
    }
  }
  return y;
}

// 1, primes, one past the workgroup, several lanes with a ragged last share, more rows than 65535.
for (
  const [shape, axis] of [
    [[1], 0],
    [[5, 1], -1],
    [[3, 7], 1],
    [[7, 65], -1],
    [[2, 1003], 1],
    [[5, 3, 2], 1],
    [[67, 5], 0],
    [[2, 300, 3], -2],
    [[70001, 3], 1],
  ] as const
) {
  Deno.test(`softmax() and logSoftmax() have their values: [${shape}] along ${axis}`, async () => {
    const x = rng.normal(shape, 0, 3);
    const at = axis < 0 ? axis + shape.length : axis;
    const inner = shape.slice(at + 1).reduce<number>((a, b) => a * b, 1);
    const want = exact(await x.data(), shape[at]!, inner);
    await assertClose(d.softmax(x, axis), want, { rtol: 1e-5, atol: 1e-7 });
    await assertClose(d.logSoftmax(x, axis), want.map(Math.log), {
      rtol: 1e-5,
      atol: 3e-6,
    });
  });
}

Deno.test("softmax() and logSoftmax() have the right gradients", async () => {
  for (const f of [d.softmax, d.logSoftmax]) {
    await assertGradient((x) => f(x), [rng.normal([3, 7])]);
    await assertGradient((x) => f(x, 1), [rng.normal([2, 17, 2])]);
  }
});

Deno.test("softmax() ignores a shift, also a large one", async () => {
  const x = rng.integers([3, 70], -5, 5);
  const small = d.cast(x, "f32"), large = d.add(small, 2 ** 20);
  await assertClose(d.softmax(large), d.softmax(small), {
    rtol: 1e-6,
    atol: 0,
  });
  await assertClose(d.logSoftmax(large), d.logSoftmax(small), {
    rtol: 1e-6,
    atol: 1e-6,
  });
});

Deno.test("softmax() does not overflow, and gives masked scores nothing", async () => {
  const x = d.tensor([[1e30, -1e30, 0], [-1e4, -1e4, -Infinity], [
    1e4,
    9999,
    -1e4,
  ]]);
  const e = Math.exp(-1);
  await assertClose(d.softmax(x), [
    1,
    0,
    0,
    0.5,
    0.5,
    0,
    1 / (1 + e),
    e / (1 + e),
    0,
  ]);
  const row = d.tensor([0, -200]);
  await assertClose(d.logSoftmax(row), [0, -200], { rtol: 0 });
});

Deno.test("softmax() of nothing is nothing", async () => {
  await assertClose(d.softmax(d.zeros([0, 3])), d.zeros([0, 3]));
  await assertClose(d.softmax(d.zeros([3, 0])), d.zeros([3, 0]));
});

Deno.test("softmax() says which axis and element type it needs", () => {
  throws(() => d.softmax(d.zeros([])), /axis must lie in/);
  throws(() => d.softmax(d.zeros([2]), 1), /Cannot apply softmax .* it is 1/);
  throws(() => d.logSoftmax(d.zeros([2], "i32")), /x is i32\[2\]/);
});

Deno.test("attentionWeights() scales, and hides later keys when causal", async () => {
  const x = rng.normal([2, 5, 7]);
  await assertClose(
    attentionWeights(x, 0.3, false),
    d.softmax(d.scale(x, 0.3)),
  );
  const later = d.tensor(
    Float32Array.from({ length: 35 }, (_, i) => Number(i % 7 > i / 7)),
    [5, 7],
  );
  const masked = d.where(later, -Infinity, d.scale(x, 0.3));
  await assertClose(attentionWeights(x, 0.3, true), d.softmax(masked));
  await assertGradient((x) => attentionWeights(x, 0.7, true), [
    rng.normal([2, 3, 4]),
  ], {
    step: 3e-3,
    atol: 2e-3,
  });
});
