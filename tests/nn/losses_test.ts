import { throws } from "node:assert/strict";
import * as d from "../../mod.ts";
import { assertClose, assertGradient } from "../_check.ts";

const rng = new d.Rng(13);
const softplus = (x: number) =>
  Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));

/** Name, loss, its value for one element in doubles. */
const PAIRS: [
  string,
  typeof d.mseLoss,
  (x: number, t: number) => number,
][] = [
  ["mseLoss", d.mseLoss, (x, t) => (x - t) ** 2],
  ["l1Loss", d.l1Loss, (x, t) => Math.abs(x - t)],
  ["huberLoss", d.huberLoss, (x, t) => {
    const e = Math.abs(x - t);
    return e <= 1 ? e * e / 2 : e - 0.5;
  }],
  [
    "huberLoss of 0.3",
    (x, t, o) => d.huberLoss(x, t, { ...o, delta: 0.3 }),
    (x, t) => {
      const e = Math.abs(x - t);
      return e <= 0.3 ? e * e / 2 : 0.3 * (e - 0.15);
    },
  ],
  ["bceWithLogits", d.bceWithLogits, (x, t) => softplus(x) - t * x],
  ["gaussianKl", d.gaussianKl, (m, v) => (m * m + Math.exp(v) - 1 - v) / 2],
];

for (const [name, loss, exact] of PAIRS) {
  Deno.test(`${name}() has its values, reductions and gradients`, async () => {
    for (const shape of [[], [7], [3, 67]]) {
      const x = rng.normal(shape), t = rng.normal(shape);
      const ts = await t.data();
      const want = Float64Array.from(
        await x.data(),
        (v, i) => exact(v, ts[i]!),
      );
      const total = want.reduce((a, b) => a + b, 0);
      const close = { rtol: 1e-5, atol: 1e-6 };
      await assertClose(loss(x, t, { reduction: "none" }), want, close);
      await assertClose(loss(x, t, { reduction: "sum" }), [total], close);
      await assertClose(loss(x, t, { reduction: "mean" }), [
        total / want.length,
      ], close);
    }
    // Apart by more than the step, so that no corner of a loss lies between.
    const x = d.tensor([0.5, -1, 2, 0.1, -0.2]),
      t = d.tensor([0.2, 0.9, -2.1, 0.3, -0.5]);
    await assertGradient((x, t) => loss(x, t, { reduction: "none" }), [x, t], {
      step: 3e-3,
    });
  });

  Deno.test(`${name}() names both shapes`, () => {
    throws(
      () => loss(d.zeros([2, 3]), d.zeros([3])),
      /is \[2, 3\], .* is \[3\]/,
    );
  });
}

Deno.test("losses reduce to the mean by default, divergences not at all", async () => {
  const x = rng.normal([5]), t = rng.normal([5]);
  await assertClose(d.mseLoss(x, t), d.mseLoss(x, t, { reduction: "mean" }));
  await assertClose(
    d.gaussianKl(x, t),
    d.gaussianKl(x, t, { reduction: "none" }),
  );
});

Deno.test("bceWithLogits() does not overflow", async () => {
  const x = d.tensor([-1000, -100, 100, 1000]), t = d.tensor([0, 1, 0, 1]);
  await assertClose(d.bceWithLogits(x, t, { reduction: "none" }), [
    0,
    100,
    100,
    0,
  ]);
});

Deno.test("crossEntropy() has its value with and without label smoothing", async () => {
  const [n, classes] = [67, 11];
  const x = rng.normal([n, classes], 0, 2), t = rng.integers([n], 0, classes);
  const [xs, ts] = await Promise.all([x.data(), t.data()]);
  for (const labelSmoothing of [0, 0.1, 1]) {
    const want = Float64Array.from(ts, (target, i) => {
      const row = Array.from(xs.subarray(i * classes, (i + 1) * classes));
      const log = Math.log(row.map(Math.exp).reduce((a, b) => a + b));
      const even = row.reduce((a, b) => a + log - b, 0) / classes;
      return (1 - labelSmoothing) * (log - row[target]!) +
        labelSmoothing * even;
    });
    const sum = want.reduce((a, b) => a + b);
    const f = (reduction: d.Reduction) =>
      d.crossEntropy(x, t, { labelSmoothing, reduction });
    await assertClose(f("none"), want, { rtol: 1e-5, atol: 3e-6 });
    await assertClose(f("sum"), [sum]);
    await assertClose(f("mean"), [sum / n]);
  }
});

Deno.test("crossEntropy() takes axes after the classes", async () => {
  const x = rng.normal([2, 5, 3]), t = rng.integers([2, 3], 0, 5);
  const rows = d.reshape(d.transpose(x), [6, 5]);
  await assertClose(
    d.crossEntropy(x, t),
    d.crossEntropy(rows, d.reshape(t, [6])),
  );
});

Deno.test("crossEntropy() has the right gradient", async () => {
  const t = d.tensor(Int32Array.of(2, 0, 3));
  for (const labelSmoothing of [0, 0.2]) {
    await assertGradient((x) => d.crossEntropy(x, t, { labelSmoothing }), [
      rng.normal([3, 4]),
    ]);
  }
});

Deno.test("crossEntropy() of a sure and right answer is 0, of a wrong one its distance", async () => {
  const x = d.tensor([[1000, 0], [0, 1000]]), t = d.tensor(Int32Array.of(0, 0));
  await assertClose(d.crossEntropy(x, t, { reduction: "none" }), [0, 1000]);
});

Deno.test("crossEntropy() names what does not fit", () => {
  const x = d.zeros([2, 3]);
  throws(() => d.crossEntropy(x, d.zeros([2])), /target is f32\[2\]/);
  throws(
    () => d.crossEntropy(x, d.zeros([3], "i32")),
    /logits is \[2, 3\], target is i32\[3\]/,
  );
  const target = d.zeros([2], "i32");
  throws(
    () => d.crossEntropy(x, target, { labelSmoothing: 2 }),
    /labelSmoothing .* is 2/,
  );
  throws(
    () => d.huberLoss(x, x, { delta: 0 }),
    /delta must be positive: it is 0/,
  );
});

Deno.test("gaussianKlBetween() has its value and gradients", async () => {
  const four = Array.from({ length: 4 }, () => rng.normal([3, 5]));
  const [m1, v1, m2, v2] = await Promise.all(four.map((x) => x.data()));
  const want = Float64Array.from(m1!, (m, i) => {
    const [a, b] = [v1![i]!, v2![i]!];
    return (b - a + (Math.exp(a) + (m - m2![i]!) ** 2) / Math.exp(b) - 1) / 2;
  });
  const f = (...x: d.Tensor[]) =>
    d.gaussianKlBetween(x[0]!, x[1]!, x[2]!, x[3]!);
  await assertClose(f(...four), want);
  await assertGradient(f, four.map((x) => d.narrow(x, 0, 0, 1)), {
    step: 3e-3,
  });
});

Deno.test("gaussianKlBetween() is 0 for equals, and gaussianKl() from the standard normal", async () => {
  const mu = rng.normal([7]), logVar = rng.normal([7]), zero = d.zeros([]);
  await assertClose(d.gaussianKlBetween(mu, logVar, mu, logVar), d.zeros([7]));
  await assertClose(
    d.gaussianKlBetween(mu, logVar, zero, zero),
    d.gaussianKl(mu, logVar),
  );
});
