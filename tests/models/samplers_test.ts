/**
 * Samplers on Gaussian data, for which the best denoiser and the exact solution are known, and against
 * the published loops in doubles.
 *
 * @module
 */
import assert from "node:assert/strict";
import {
  type Estimator,
  full,
  GaussianDiffusion,
  invertDdim,
  karrasSigmas,
  type NoiseLevel,
  type NoiseSource,
  Rng,
  sampleAncestral,
  sampleDdim,
  sampleDpmpp,
  sampleEulerAncestral,
  sampleHeun,
  scale,
  type Tensor,
  tensor,
} from "../../mod.ts";
import { assertClose } from "../_check.ts";
import { bestFactors, gaussianEstimator, unscaledLevels } from "./_gaussian.ts";

const DATA = { variance: 0.25 };
const best = gaussianEstimator(DATA);
const process = new GaussianDiffusion();

/** Draws of one seed. */
const drawnBy = (seed: number): NoiseSource => {
  const rng = new Rng(seed);
  return (shape) => rng.normal(shape);
};

/** The draws of a seed on the host, one after another. */
async function draws(seed: number, count: number, size: number) {
  const rng = new Rng(seed);
  return await Promise.all(
    Array.from({ length: count }, () => rng.normal([size]).data()),
  );
}

/** What the best estimator says of one number, in doubles. */
const x0Of = (x: number, level: NoiseLevel) =>
  bestFactors(level, DATA).gain * x;

Deno.test("Euler, Heun and DPM-Solver++(2M) have their published errors", async () => {
  // From x = 80 at σ = 80 the flow ends at 80 s / √(s² + 80²).
  const exact = 80 * 0.5 / Math.sqrt(0.25 + 6400);
  for (
    const [sampler, errors] of [
      [sampleDdim, [-0.077, -0.0351, -0.0177]],
      [sampleHeun, [0.0276, 0.0049, 0.00116]],
      [sampleDpmpp, [0.0311, 0.0052, 0.00119]],
    ] as const
  ) {
    for (const [i, steps] of [18, 40, 80].entries()) {
      const levels = unscaledLevels(karrasSigmas(steps));
      const x = await sampler(best, levels, full([1, 1], 80));
      const error = await x.item() - exact, want = errors[i]!;
      assert.ok(
        Math.abs(error - want) < 6e-5,
        `${sampler.name} with ${steps} steps is off by ${error}, want ${want}`,
      );
    }
  }
});

Deno.test("sampleDdim() has its published errors on a linear schedule", async () => {
  for (
    const [steps, want] of [
      [10, -0.1384],
      [20, -0.0696],
      [50, -0.0281],
      [100, -0.0142],
      [1000, -0.0015],
    ] as const
  ) {
    const { alpha, sigma } = process.level(999);
    const exact = Math.sqrt(0.25 / (alpha ** 2 / 4 + sigma ** 2));
    const x = await sampleDdim(best, process.levels(steps), full([1, 1], 1));
    const error = await x.item() - exact;
    assert.ok(
      Math.abs(error - want) < 6e-5,
      `${steps} steps are off by ${error}, want ${want}`,
    );
  }
});

Deno.test("sampleAncestral() is Algorithm 2, with both fixed variances", async () => {
  const steps = 10, seed = 4;
  const respaced = process.respaced(
    Int32Array.from(process.levels(steps), (l) => process.timestepOf(l))
      .reverse(),
  );
  const xT = new Rng(1).normal([3, 4]);
  const noise = await draws(seed, steps, 12);
  for (const variance of ["fixedlarge", "fixedsmall"] as const) {
    let x = Float64Array.from(await xT.data());
    for (let t = steps - 1; t >= 0; t--) {
      const sigma = t === 0 ? 0 : Math.sqrt(
        variance === "fixedlarge"
          ? respaced.betas[t]!
          : respaced.posteriorVariance[t]!,
      );
      x = x.map((value, k) =>
        respaced.posteriorMeanCoef1[t]! * x0Of(value, respaced.level(t)) +
        respaced.posteriorMeanCoef2[t]! * value +
        sigma * noise[steps - 1 - t]![k]!
      );
    }
    const got = await sampleAncestral(best, process.levels(steps), xT, {
      variance,
      noise: drawnBy(seed),
    });
    await assertClose(got, tensor(Float32Array.from(x), [3, 4]), {
      atol: 2e-5,
    });
  }
});

Deno.test("sampleAncestral() reaches both fixed variances by what the network learned", async () => {
  const levels = process.levels(6), xT = new Rng(1).normal([2, 5]);
  const run = (estimator: Estimator, variance?: "fixedlarge" | "fixedsmall") =>
    sampleAncestral(estimator, levels, xT, { variance, noise: drawnBy(2) });
  for (
    const [fraction, variance] of [[1, "fixedlarge"], [
      -1,
      "fixedsmall",
    ]] as const
  ) {
    const learned: Estimator = (x, level) => ({
      ...best(x, level),
      fraction: full(x.shape, fraction),
    });
    const want = await run(best, variance);
    await assertClose(await run(learned), want);
    const [a, b] = [
      await (await run(learned, "fixedsmall")).data(),
      await (await run(best)).data(),
    ];
    assert.deepEqual(a, b);
  }
  // Half way in the logarithm: the noise of the first step is the geometric mean of both.
  const ends = await Promise.all(
    [-1, 0, 1].map(async (fraction) => {
      let first: ArrayLike<number> = [];
      const learned: Estimator = (x) => ({
        x0: full(x.shape, 0),
        fraction: full(x.shape, fraction),
      });
      await sampleAncestral(learned, levels, full([1, 3], 0), {
        noise: drawnBy(3),
        onStep: async (done, _, x) => {
          if (done === 1) first = await x.data();
        },
      });
      return first;
    }),
  );
  const [small, half, large] = ends as [
    ArrayLike<number>,
    ArrayLike<number>,
    ArrayLike<number>,
  ];
  await assertClose(
    Array.from(half, (value) => value ** 2),
    Array.from(small, (value, i) => value * large[i]!),
  );
  await assert.rejects(
    sampleAncestral(best, levels, xT, {
      noise: drawnBy(1),
      variance: "learned_range",
    }),
    /the network predicts none/,
  );
});

Deno.test("sampleDdim() with eta 1 is ancestral sampling with fixedsmall", async () => {
  const levels = process.levels(12), xT = new Rng(1).normal([2, 5]);
  await assertClose(
    await sampleDdim(best, levels, xT, { eta: 1, noise: drawnBy(2) }),
    await sampleAncestral(best, levels, xT, {
      variance: "fixedsmall",
      noise: drawnBy(2),
    }),
  );
});

Deno.test("sampleEulerAncestral() is k-diffusion's loop", async () => {
  const sigmas = karrasSigmas(9, { sigmaMax: 20 }), seed = 5;
  const noise = await draws(seed, 9, 4);
  for (const eta of [1, 0.6]) {
    let x = [20, -10, 1, 0];
    for (let i = 0; i < 9; i++) {
      const from = sigmas[i]!, to = sigmas[i + 1]!;
      const up = Math.min(
        to,
        eta * (to ** 2 * (from ** 2 - to ** 2) / from ** 2) ** 0.5,
      );
      const down = (to ** 2 - up ** 2) ** 0.5;
      x = x.map((value, k) => {
        const d = (value - x0Of(value, { alpha: 1, sigma: from })) / from;
        return value + d * (down - from) + noise[i]![k]! * up;
      });
    }
    const got = await sampleEulerAncestral(
      best,
      unscaledLevels(sigmas),
      tensor([[20, -10, 1, 0]]),
      { ...(eta === 1 ? {} : { eta }), noise: drawnBy(seed) },
    );
    await assertClose(await got.data(), x, { atol: 2e-5 });
  }
});

Deno.test("sampleHeun() with churn is Algorithm 2 of EDM", async () => {
  const sigmas = karrasSigmas(7, { sigmaMax: 10, sigmaMin: 0.01 }), seed = 6;
  const [sChurn, sMin, sMax, sNoise] = [2, 0.05, 5, 1.003];
  const noise = await draws(seed, 7, 3);
  let x = [10, -4, 0.5];
  for (let i = 0; i < 7; i++) {
    const sigma = sigmas[i]!, next = sigmas[i + 1]!;
    const gamma = sMin <= sigma && sigma <= sMax
      ? Math.min(sChurn / 7, Math.SQRT2 - 1)
      : 0;
    const hat = sigma * (1 + gamma);
    const slope = (value: number, sigma: number) =>
      (value - x0Of(value, { alpha: 1, sigma })) / sigma;
    x = x.map((value, k) => {
      const start = value +
        Math.sqrt(hat ** 2 - sigma ** 2) * sNoise * (noise[i]?.[k] ?? 0);
      const d = slope(start, hat), euler = start + (next - hat) * d;
      return next === 0
        ? euler
        : start + (next - hat) * (d + slope(euler, next)) / 2;
    });
  }
  const got = await sampleHeun(
    best,
    unscaledLevels(sigmas),
    tensor([[10, -4, 0.5]]),
    { sChurn, sMin, sMax, sNoise, noise: drawnBy(seed) },
  );
  await assertClose(await got.data(), x, { atol: 2e-5 });
});

Deno.test("samplers do not mind how images are scaled", async () => {
  const levels = process.levels(8), xT = new Rng(1).normal([2, 3]);
  const unscaled = unscaledLevels(
    levels.map(({ alpha, sigma }) => sigma / alpha),
  );
  const scaledUp = scale(xT, 1 / levels[0]!.alpha);
  for (
    const run of [
      (l: NoiseLevel[], x: Tensor) =>
        sampleAncestral(best, l, x, {
          variance: "fixedsmall",
          noise: drawnBy(7),
        }),
      (l: NoiseLevel[], x: Tensor) =>
        sampleDdim(best, l, x, { eta: 0.5, noise: drawnBy(7) }),
      (l: NoiseLevel[], x: Tensor) => sampleDpmpp(best, l, x),
      (l: NoiseLevel[], x: Tensor) =>
        sampleHeun(best, l, x, { sChurn: 2, noise: drawnBy(7) }),
    ]
  ) {
    await assertClose(await run(levels, xT), await run(unscaled, scaledUp), {
      atol: 2e-5,
    });
  }
});

Deno.test("samplers start where no signal is left", async () => {
  const toEnd = new GaussianDiffusion({
    zeroTerminalSnr: true,
    prediction: "v",
  });
  const [pure] = toEnd.levels(1);
  assert.deepEqual(pure, { alpha: 0, sigma: 1 });
  const xT = new Rng(1).normal([1, 500]);
  const want = await scale(xT, 0.5).data(); // the exact flow
  const levels = toEnd.levels(100);
  const worst = async (x: Promise<Tensor>) =>
    [...await (await x).data()].reduce(
      (most, value, i) => Math.max(most, Math.abs(value / want[i]! - 1)),
      0,
    );
  assert.ok(await worst(sampleDdim(best, levels, xT)) < 0.05);
  assert.ok(await worst(sampleDpmpp(best, levels, xT)) < 0.02);
  assert.ok(await worst(sampleHeun(best, levels, xT)) < 0.02);
  const drawn = await sampleAncestral(best, levels, full([1, 4096], 0), {
    noise: drawnBy(8),
  });
  const got = [...await drawn.data()];
  // By the recursion for the variance, which is exact, 0.2189.
  const variance = got.reduce((sum, x) => sum + x * x, 0) / got.length;
  assert.ok(Math.abs(variance - 0.2189) < 0.02, `variance ${variance}`);
});

Deno.test("invertDdim() finds the noise of an image, the better the more steps", async () => {
  const image = new Rng(1).normal([2, 8], 0, 0.5);
  const errors = [];
  for (const steps of [25, 100]) {
    const levels = process.levels(steps);
    const noise = await invertDdim(best, levels, image);
    const again = await (await sampleDdim(best, levels, noise)).data();
    const want = await image.data();
    errors.push(Math.max(...again.map((x, i) => Math.abs(x / want[i]! - 1))));
  }
  assert.ok(errors[0]! < 0.25 && errors[1]! < errors[0]! / 3, `${errors}`);
});

Deno.test("samplers report every step and leave the starting noise alone", async () => {
  const xT = new Rng(3).normal([1, 4]);
  const before = [...await xT.data()];
  for (const sampler of [sampleDdim, sampleDpmpp, sampleHeun]) {
    const seen: number[] = [];
    await sampler(best, process.levels(5), xT, {
      onStep: (done, total) => {
        assert.equal(total, 5);
        seen.push(done);
      },
    });
    assert.deepEqual(seen, [1, 2, 3, 4, 5]);
  }
  assert.deepEqual([...await xT.data()], before);
});

Deno.test("samplers refuse what they cannot do", async () => {
  const levels = process.levels(5), xT = full([1, 4], 1);
  assert.throws(() => sampleDdim(best, levels, xT, { eta: 0.5 }), /pass noise/);
  assert.throws(() => sampleHeun(best, levels, xT, { sChurn: 1 }), TypeError);
  assert.throws(() => sampleDdim(best, levels, xT, { eta: -1 }), RangeError);
  assert.throws(() => sampleDdim(best, [], xT), /must not be empty/);
  await assert.rejects(
    sampleDpmpp(best, [...levels, { alpha: 1, sigma: 0 }], xT),
    /all have noise/,
  );
});
