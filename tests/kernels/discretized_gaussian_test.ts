import assert from "node:assert/strict";
import {
  discretizedGaussianLogProb,
  expand,
  gradients,
  Rng,
  sum,
  tensor,
} from "../../mod.ts";
import { assertClose, assertGradient } from "../_check.ts";

const levels = Float32Array.from({ length: 256 }, (_, k) => 2 * k / 255 - 1);

/** The normal density. */
function density(z: number): number {
  return Math.exp(-z * z / 2) / Math.sqrt(2 * Math.PI);
}

/** Upper tail of the normal distribution for z ≥ 0, by Simpson's rule over what is left of it. */
function tail(z: number): number {
  const n = 2000, h = 12 / n;
  let total = 0;
  for (let i = 0; i <= n; i++) {
    total += density(z + i * h) * (i === 0 || i === n ? 1 : i % 2 ? 4 : 2);
  }
  return total * h / 3;
}

const log1pExp = (v: number) =>
  Math.max(v, 0) + Math.log1p(Math.exp(-Math.abs(v)));

/** Mass between a < b, where each form keeps its digits in float64. */
const MASS = {
  tanh(a: number, b: number): number {
    const at = (z: number) =>
      2 * Math.sqrt(2 / Math.PI) * (z + 0.044715 * z ** 3);
    if (a + b > 0) [a, b] = [-b, -a];
    const lower = a === -Infinity ? 0 : Math.exp(-log1pExp(-at(a)));
    return (b === Infinity ? 1 : Math.exp(-log1pExp(-at(b)))) - lower;
  },
  erf(a: number, b: number): number {
    const cdf = (z: number) => z > 0 ? 1 - tail(z) : tail(-z);
    return a > 0 ? tail(a) - (b === Infinity ? 0 : tail(b)) : cdf(b) - cdf(a);
  },
};

/** log p on the host. */
function host(
  x: number,
  mean: number,
  logScale: number,
  cdf: keyof typeof MASS,
): number {
  const z = (by: number) => (x + by - mean) / Math.exp(logScale);
  const a = x < -0.999 ? -Infinity : z(-1 / 255);
  const b = x > 0.999 ? Infinity : z(1 / 255);
  return Math.log(Math.max(MASS[cdf](a, b), 1e-12));
}

Deno.test("discretizedGaussianLogProb() gives known answers", async () => {
  const cases = [
    [1 / 255, 0, 0.1, -3.465500],
    [-1, -1, 0.05, -0.632509],
    [1, 0.9, 0.05, -3.600354],
    [0.50196078, 0.5, 0.01, -1.205695],
    [0.5, -0.5, 0.001, Math.log(1e-12)],
    [-1, 1, 0.001, Math.log(1e-12)],
  ];
  const [x, mean, scale, want] = [0, 1, 2, 3].map((i) =>
    cases.map((one) => one[i]!)
  ) as [number[], number[], number[], number[]];
  const got = discretizedGaussianLogProb(
    tensor(x),
    tensor(mean),
    tensor(scale.map(Math.log)),
  );
  await assertClose(got, want, { atol: 2e-6, rtol: 2e-6 });
});

for (const cdf of ["tanh", "erf"] as const) {
  Deno.test(`discretizedGaussianLogProb() keeps its digits in narrow bins and far tails, ${cdf}`, async () => {
    const xs: number[] = [], means: number[] = [], scales: number[] = [];
    for (const x of [-1, -253 / 255, -1 / 255, 0.2, 253 / 255, 1]) {
      for (const logScale of [-5.5, -4.2, -3, -1.5, 0, 2]) {
        for (const far of [0, 0.01, -0.7, 1.3, -3, 5.5, 6.6]) {
          xs.push(Math.fround(x));
          means.push(Math.fround(x + far * Math.exp(logScale)));
          scales.push(Math.fround(logScale));
        }
      }
    }
    const got = discretizedGaussianLogProb(
      tensor(xs),
      tensor(means),
      tensor(scales),
      { cdf },
    );
    const want = xs.map((x, i) => host(x, means[i]!, scales[i]!, cdf));
    assert.ok(want.filter((value) => value > -27).length > 180);
    // x - mean alone is off by 6e-8, and counts 250 times at the smallest scale.
    await assertClose(got, want, { atol: 3e-5, rtol: 1e-5 });
  });

  Deno.test(`discretizedGaussianLogProb() sums to 1 over the levels, ${cdf}`, async () => {
    for (const [mean, scale] of [[0.1, 0.3], [-0.9, 0.02], [1.2, 2]] as const) {
      const logs = discretizedGaussianLogProb(
        tensor(levels),
        tensor([mean]),
        tensor([Math.log(scale)]),
        { cdf },
      );
      const total = Array.from(await logs.data()).reduce(
        (s, v) => s + Math.exp(v),
        0,
      );
      assert.ok(Math.abs(total - 1) < 3e-6, `sums to ${total}`);
    }
  });

  Deno.test(`discretizedGaussianLogProb() has the right gradient, ${cdf}`, async () => {
    const x = tensor([-1, -1, -0.5, -1 / 255, 3 / 255, 0.6, 1, 1]);
    const options = { step: 2e-3, atol: 2e-2 };
    for (const by of [0.15, -0.3]) {
      const mean = tensor((await x.data()).map((value) => value + by));
      for (const logScale of [-2, -1, 0.5]) { // both formulas for bins
        await assertGradient(
          (mean, scale) => discretizedGaussianLogProb(x, mean, scale, { cdf }),
          [mean, expand(tensor([logScale]), [8])],
          options,
        );
      }
    }
    // Bins as wide as the Gaussian, where it is steep.
    await assertGradient(
      (mean, scale) => discretizedGaussianLogProb(x, mean, scale, { cdf }),
      [
        tensor((await x.data()).map((value) => value + 0.004)),
        expand(tensor([-5]), [8]),
      ],
      { step: 2e-5, atol: 2, rtol: 0.05 },
    );
  });
}

Deno.test("discretizedGaussianLogProb() has no gradient on the floor, and one far out above it", async () => {
  const mean = tensor([0.9, 0.9]).requireGrad();
  const scale = tensor([-6.0, -2]).requireGrad();
  const y = discretizedGaussianLogProb(tensor([-0.5, 0.3]), mean, scale);
  const [dMean, dScale] = gradients(sum(y), [mean, scale]);
  const [a, b] = await dMean!.data(), [c, d] = await dScale!.data();
  assert.deepEqual([a, c], [0, 0]);
  assert.ok(b! < -10 && d! > 10);
});

Deno.test("discretizedGaussianLogProb() broadcasts, and refuses what does not fit", async () => {
  const rng = new Rng(2), x = rng.uniform([3, 2, 2, 2], -1, 1);
  const one = tensor([-1.5, -1, -0.5], [3, 1, 1, 1]);
  await assertClose(
    discretizedGaussianLogProb(x, tensor([0]), one),
    discretizedGaussianLogProb(
      x,
      expand(tensor([0]), x.shape),
      expand(one, x.shape),
    ),
    { atol: 0, rtol: 0 },
  );
  assert.throws(
    () => discretizedGaussianLogProb(x, tensor([1, 2, 3]), one),
    TypeError,
  );
  assert.throws(
    () => discretizedGaussianLogProb(tensor(Int32Array.of(1)), one, one),
    /elements must be f32: x is i32\[1\]/,
  );
});
