import assert from "node:assert/strict";
import {
  constantBetas,
  cosineBetas,
  evenTimesteps,
  GaussianDiffusion,
  jsdBetas,
  karrasSigmas,
  linearBetas,
  linspaceTimesteps,
  namedBetas,
  priorBitsPerDim,
  quadBetas,
  quadTimesteps,
  rescaledLinearBetas,
  scaledLinearBetas,
  SCHEDULE_NAMES,
  type ScheduleName,
  scheduleReport,
  sigmoidBetas,
  strideTimesteps,
  warmupBetas,
  zeroTerminalSnrBetas,
} from "../../mod.ts";
import { assertClose } from "../_check.ts";

function near(got: number | undefined, want: number, relative = 1e-6): void {
  assert.ok(
    Math.abs(got! - want) <= relative * Math.abs(want),
    `got ${got}, want ${want}`,
  );
}

Deno.test("linearBetas() has the values of Ho et al.'s schedule", () => {
  const { betas, alphasCumprod, posteriorVariance } = new GaussianDiffusion();
  for (
    const [t, beta, bar] of [
      [0, 1e-4, 0.9999],
      [99, 0.00207207, 0.89701815],
      [249, 0.00506006, 0.52408537],
      [499, 0.01004004, 0.07858724],
      [999, 0.02, 4.03583e-5],
    ] as const
  ) {
    near(betas[t], beta, 1e-5);
    near(alphasCumprod[t], bar, 1e-5);
  }
  near(posteriorVariance[1], 5.4531877e-5);
  near(posteriorVariance[999], 0.0199999835);
  assert.equal(posteriorVariance[0], 0);
});

Deno.test("cosineBetas() has the values of Nichol & Dhariwal's schedule", () => {
  const { betas, alphasCumprod } = new GaussianDiffusion({
    schedule: "cosine",
  });
  for (
    const [t, beta, bar] of [
      [0, 4.128422e-5, 0.99995872],
      [249, 0.0013215, 0.84701216],
      [499, 0.00314589, 0.49384359],
      [998, 0.7499994, 2.428767e-6],
      [999, 0.999, 2.428767e-9],
    ] as const
  ) {
    near(betas[t], beta, 1e-5);
    near(alphasCumprod[t], bar, 1e-5);
  }
});

Deno.test("sigmoidBetas() has the values of lucidrains' code", () => {
  const betas = sigmoidBetas(1000);
  const { alphasCumprod } = new GaussianDiffusion({ betas });
  for (
    const [t, beta, bar] of [
      [0, 3.0028e-4, 0.99969972],
      [499, 0.00330342, 0.5],
      [999, 0.999, 3.0028e-7],
    ] as const
  ) {
    near(betas[t], beta, 1e-5);
    near(alphasCumprod[t], bar, 1e-5);
  }
});

Deno.test("sigmoidBetas() bends less at a higher temperature", () => {
  // As tau grows the curve becomes the straight ᾱ(u) = 1 - u, that of jsdBetas().
  const straight = jsdBetas(100);
  const betas = sigmoidBetas(100, { tau: 1e4, maxBeta: 1 });
  betas.forEach((beta, t) => near(beta, straight[t]!, 1e-5));
});

Deno.test("scaledLinearBetas() has the values of latent diffusion", () => {
  const betas = scaledLinearBetas(1000);
  const { alphasCumprod } = new GaussianDiffusion({ betas });
  near(betas[0], 0.00085);
  near(betas[999], 0.012);
  near(alphasCumprod[0], 0.99915);
  near(alphasCumprod[499], 0.27766965);
  near(alphasCumprod[999], 4.6601e-3, 1e-5);
});

Deno.test("rescaledLinearBetas() ends in the same noise at any length", () => {
  const last = (betas: Float64Array) => scheduleReport(betas).finalAlphaCumprod;
  for (
    const [T, fixed, scaled] of [
      [500, 6.4e-3, 3.8e-5],
      [1000, 4.0e-5, 4.0e-5],
      [1500, 2.6e-7, 4.1e-5],
    ] as const
  ) {
    near(last(linearBetas(T)), fixed, 0.02);
    near(last(rescaledLinearBetas(T)), scaled, 0.02);
  }
  assert.deepEqual(rescaledLinearBetas(1000), linearBetas(1000));
  assert.throws(
    () => rescaledLinearBetas(20),
    /1000 \/ timesteps times betaEnd must be less than 1: timesteps is 20/,
  );
});

Deno.test("quadBetas() has roots in equal steps", () => {
  const roots = quadBetas(5, 0.01, 0.25).map(Math.sqrt);
  [0.1, 0.2, 0.3, 0.4, 0.5].forEach((root, t) => near(roots[t], root, 1e-12));
});

Deno.test("warmupBetas() rises, then stays", () => {
  const betas = warmupBetas(11, 0.5, 0.01, 0.05); // ⌊5.5⌋ steps of rise
  [0.01, 0.02, 0.03, 0.04, 0.05].forEach((beta, t) => near(betas[t], beta));
  assert.deepEqual([...betas.subarray(4)], Array(7).fill(0.05));
  assert.deepEqual(warmupBetas(7, 0), constantBetas(7));
  assert.deepEqual(warmupBetas(7, 1), linearBetas(7));
  assert.deepEqual([...warmupBetas(10, 0.1)], [1e-4, ...Array(9).fill(0.02)]);
});

Deno.test("constantBetas() leaves (1 - beta)^T", () => {
  near(
    scheduleReport(constantBetas(100, 0.01)).finalAlphaCumprod,
    0.99 ** 100,
    1e-12,
  );
});

Deno.test("jsdBetas() takes the same share of the signal at every step", () => {
  const betas = jsdBetas(10);
  assert.equal(betas[9], 1);
  const cut = new GaussianDiffusion({ betas: betas.subarray(0, -1) });
  cut.alphasCumprod.forEach((bar, t) => near(bar, (9 - t) / 10, 1e-12));
});

Deno.test("zeroTerminalSnrBetas() ends in pure noise and keeps the shape of √ᾱ", () => {
  const signals = (betas: Float64Array) => {
    let product = 1;
    return betas.map((beta) => Math.sqrt(product *= 1 - beta));
  };
  const before = signals(linearBetas(50)), betas = linearBetas(50);
  const bent = zeroTerminalSnrBetas(betas), after = signals(bent);
  assert.equal(bent[49], 1);
  near(after[0], before[0]!, 1e-12);
  const slope = before[0]! / (before[0]! - before[49]!);
  after.forEach((signal, t) =>
    assert.ok(Math.abs(signal - slope * (before[t]! - before[49]!)) < 1e-12)
  );
  assert.throws(() => zeroTerminalSnrBetas(betas.subarray(0, 1)), RangeError);
});

Deno.test("namedBetas() makes every schedule with ends of its own", () => {
  const T = 200;
  const want: Record<ScheduleName, Float64Array> = {
    linear: linearBetas(T),
    rescaled_linear: rescaledLinearBetas(T),
    scaled_linear: scaledLinearBetas(T),
    quad: quadBetas(T),
    cosine: cosineBetas(T),
    sigmoid: sigmoidBetas(T),
    constant: constantBetas(T),
    warmup10: warmupBetas(T, 0.1),
    warmup50: warmupBetas(T, 0.5),
    jsd: jsdBetas(T),
  };
  assert.deepEqual(Object.keys(want), [...SCHEDULE_NAMES]);
  for (const name of SCHEDULE_NAMES) {
    assert.deepEqual(namedBetas(name, T), want[name], name);
    const low = namedBetas(name, T, { maxBeta: 0.01 });
    assert.equal(Math.max(...low), 0.01, name);
  }
  const ends = { betaStart: 0.01, betaEnd: 0.04 };
  assert.deepEqual(namedBetas("quad", T, ends), quadBetas(T, 0.01, 0.04));
  assert.deepEqual(
    namedBetas("warmup50", T, ends),
    warmupBetas(T, 0.5, 0.01, 0.04),
  );
});

Deno.test("scheduleReport() warns of schedules that leave signal", () => {
  // The cosine schedule clipped at 0.02, and 300 steps of the linear one, as some have published them.
  const clipped = new GaussianDiffusion({ schedule: "cosine", maxBeta: 0.02 })
    .report();
  near(clipped.finalAlphaCumprod, 3.2e-3, 0.02);
  assert.equal(clipped.clippedBetas, 98);
  assert.match(
    clipped.warning!,
    /never reaches noise: 5\.\d % .* of 1000 timesteps.*; maxBeta 0.02 cuts 98$/,
  );
  const short = new GaussianDiffusion({ timesteps: 300 }).report();
  near(short.finalAlphaCumprod, 0.048, 0.02);
  assert.match(
    short.warning!,
    /22 % .* of 300 timesteps, but samples .* none$/,
  );
  for (const schedule of ["linear", "cosine", "sigmoid"] as const) {
    assert.equal(
      new GaussianDiffusion({ schedule }).report().warning,
      undefined,
    );
  }
});

Deno.test("linspaceTimesteps() leaves out the first", () => {
  assert.deepEqual([...linspaceTimesteps(1000, 3)], [333, 666, 999]);
  assert.deepEqual([...linspaceTimesteps(5, 4)], [1, 2, 3, 4]);
  assert.throws(() => linspaceTimesteps(5, 5), RangeError);
});

Deno.test("all betas lie in (0, 1], and in (0, 1) but for jsdBetas(), at any length", () => {
  for (const T of [1, 2, 3, 10, 997, 4000]) {
    for (
      const betas of [
        linearBetas(T),
        rescaledLinearBetas(20 + T),
        cosineBetas(T),
        sigmoidBetas(T),
        quadBetas(T),
        scaledLinearBetas(T),
        constantBetas(T),
        warmupBetas(T, 0.1),
        warmupBetas(T, 0.5),
        jsdBetas(T + 1).subarray(0, -1),
      ]
    ) {
      assert.ok(betas.every((beta) => beta > 0 && beta < 1));
      // Noise is added ever faster.
      assert.ok(betas.every((beta, t) => t === 0 || beta >= betas[t - 1]!));
    }
  }
});

Deno.test("schedules refuse impossible arguments", () => {
  for (const T of [0, -1, 2.5, NaN]) {
    for (
      const make of [
        linearBetas,
        rescaledLinearBetas,
        cosineBetas,
        quadBetas,
        scaledLinearBetas,
        constantBetas,
        jsdBetas,
        (T: number) => sigmoidBetas(T),
        (T: number) => warmupBetas(T, 0.5),
        (T: number) => karrasSigmas(T),
      ]
    ) assert.throws(() => make(T), RangeError);
  }
  for (
    const [make, message] of [
      [() => linearBetas(0), /linearBetas as timesteps .*: timesteps is 0/],
      [() => linearBetas(9, 0), /betaStart must lie .*: betaStart is 0/],
      [() => quadBetas(9, 0.1, 2), /betaEnd must lie .*: betaEnd is 2/],
      [() => constantBetas(9, NaN), /beta must lie .*: beta is NaN/],
      [() => cosineBetas(9, -1), /offset must be finite .*: offset is -1/],
      [() => cosineBetas(9, 0.008, 0), /maxBeta must lie .*: maxBeta is 0/],
      [() => sigmoidBetas(9, { start: 3 }), /start must be below end/],
      [() => sigmoidBetas(9, { tau: 0 }), /tau is 0/],
      [() => sigmoidBetas(9, { end: Infinity }), /end is Infinity/],
      [() => warmupBetas(9, 1.5), /fraction must lie .*: fraction is 1.5/],
      [() => karrasSigmas(9, { sigmaMin: 0 }), /0 < sigmaMin < sigmaMax/],
      [() => karrasSigmas(9, { sigmaMin: 90 }), /sigmaMin is 90/],
      [() => karrasSigmas(9, { rho: 0 }), /rho is 0/],
      [() => priorBitsPerDim(1), /alphaCumprod is 1,/],
      [() => priorBitsPerDim(0.5, -1), /meanSquare is -1/],
      [() => scheduleReport(new Float64Array()), /timesteps is 0/],
      [() => scheduleReport(Float64Array.of(0.1, 0)), /beta 1 is 0/],
    ] as const
  ) {
    assert.throws(make, RangeError);
    assert.throws(make, message);
  }
});

Deno.test("the weights of the bound on the predicted noise follow from the tables", () => {
  // β_t² / (2 β̃_t α_t (1 - ᾱ_t)), Ho et al. 2020, eq. 12.
  const { betas, posteriorVariance, alphasCumprod } = new GaussianDiffusion();
  for (
    const [t, want] of [
      [1, 0.5997],
      [2, 0.3180],
      [500, 0.00551],
      [999, 0.01020],
    ] as const
  ) {
    const beta = betas[t]!;
    const got = beta ** 2 /
      (2 * posteriorVariance[t]! * (1 - beta) * (1 - alphasCumprod[t]!));
    near(got, want, 1e-3);
  }
});

Deno.test("karrasSigmas() has the levels of Karras et al.'s sampler", async () => {
  // deno-fmt-ignore
  const want = [
    80, 57.586, 40.7856, 28.3746, 19.3525, 12.9101, 8.4009, 5.3152, 3.2568, 1.9233, 1.0882, 0.5853,
    0.2964, 0.1395, 0.0599, 0.0229, 0.0075, 0.002, 0,
  ];
  await assertClose(karrasSigmas(18), want, { atol: 5.1e-5, rtol: 0 });
  await assertClose(karrasSigmas(1, { sigmaMax: 2 }), [2, 0]);
  // With rho 1 the levels are evenly spaced.
  const even = karrasSigmas(4, { sigmaMin: 1, sigmaMax: 4, rho: 1 });
  assert.deepEqual([...even], [4, 3, 2, 1, 0]);
});

Deno.test("scheduleReport() says how near a schedule comes to noise", () => {
  const linear = scheduleReport(linearBetas(1000));
  near(linear.finalAlphaCumprod, 4.03583e-5);
  near(linear.finalSignal, 6.352818e-3);
  near(linear.priorBitsPerDim, 2.9e-5, 0.01);
  const { timesteps, halfTimestep, clippedBetas } = linear;
  assert.deepEqual({ timesteps, halfTimestep, clippedBetas }, {
    timesteps: 1000,
    halfTimestep: 258,
    clippedBetas: 0,
  });
  const cosine = scheduleReport(cosineBetas(1000));
  near(cosine.finalAlphaCumprod, 2.428767e-9);
  near(cosine.priorBitsPerDim, 1.8e-9, 0.03);
  assert.equal(cosine.halfTimestep, 495);
  assert.equal(cosine.clippedBetas, 1);
});

Deno.test("scheduleReport() exposes schedules that never reach noise", () => {
  // Clipped at the linear schedule's last β instead of 0.999.
  const betas = cosineBetas(1000, 0.008, 0.02);
  const clipped = scheduleReport(betas, 0.02);
  assert.equal(clipped.clippedBetas, 98);
  assert.equal(betas.indexOf(0.02), 902); // step 903
  near(clipped.finalAlphaCumprod, 3.2e-3, 0.01);
  // The ends for 1000 steps, with 300.
  const short = scheduleReport(linearBetas(300));
  near(short.finalAlphaCumprod, 0.048, 0.01);
  near(short.finalSignal, 0.22, 0.01);
  // One step to nearly, and one to pure noise.
  assert.equal(scheduleReport(Float64Array.of(0.9)).halfTimestep, -1);
  assert.equal(scheduleReport(jsdBetas(1000)).priorBitsPerDim, 0);
});

Deno.test("priorBitsPerDim() is the divergence of two Gaussians", () => {
  const bar = 0.3, meanSquare = 0.25, variance = 1 - bar;
  // ½ (σ² + μ² - 1 - ln σ²) with μ² = ᾱ x_0².
  const nats = (variance + bar * meanSquare - 1 - Math.log(variance)) / 2;
  near(priorBitsPerDim(bar, meanSquare), nats / Math.LN2, 1e-12);
  assert.equal(priorBitsPerDim(0, 5), 0);
  near(priorBitsPerDim(1e-18), 0.5e-18 / Math.LN2, 1e-12); // 1 - ᾱ rounds to 1
});

Deno.test("evenTimesteps() spreads with both ends and rounds halves to even", () => {
  assert.deepEqual([...evenTimesteps(1000, 10)], [
    0,
    111,
    222,
    333,
    444,
    555,
    666,
    777,
    888,
    999,
  ]);
  assert.deepEqual([...evenTimesteps(6, 3)], [0, 2, 5]); // 2.5 goes to 2
  assert.deepEqual([...evenTimesteps(1000, 1)], [999]);
  assert.deepEqual([...evenTimesteps(5, 5)], [0, 1, 2, 3, 4]);
  assert.throws(() => evenTimesteps(10, 11), /1 … 10: steps is 11/);
  assert.throws(() => evenTimesteps(10, 0), RangeError);
});

Deno.test("strideTimesteps() walks by an integer stride", () => {
  const fifty = strideTimesteps(1000, 50);
  assert.deepEqual([...fifty], Array.from({ length: 50 }, (_, i) => 20 * i));
  assert.deepEqual([...strideTimesteps(1000, 50, 1)], [
    ...fifty.map((t) => t + 1),
  ]);
  assert.deepEqual([...strideTimesteps(10, 4)], [0, 3, 6, 9]);
  assert.deepEqual([...strideTimesteps(3, 3)], [0, 1, 2]);
  assert.deepEqual([...strideTimesteps(7, 1, 6)], [6]);
  assert.throws(() => strideTimesteps(10, 6), /timesteps is 10, steps is 6/);
  assert.throws(() => strideTimesteps(10, 4, 1), /0 to 0: offset is 1/);
  assert.throws(() => strideTimesteps(10, 2, 0.5), RangeError);
  assert.throws(() => strideTimesteps(10, 11), /1 … 10: steps is 11/);
});

Deno.test("quadTimesteps() is denser near the image", () => {
  assert.deepEqual([...quadTimesteps(125, 6)], [0, 4, 16, 36, 64, 100]);
  const kept = quadTimesteps(1000, 20);
  const gaps = [...kept.subarray(1)].map((t, i) => t - kept[i]!);
  assert.ok(gaps[0]! < gaps.at(-1)! / 10);
  const fifty = [...quadTimesteps(1000, 50)];
  assert.deepEqual(fifty.slice(0, 5), [0, 0, 1, 2, 5]);
  assert.throws(() => quadTimesteps(100, 101), /1 … 100: steps is 101/);
});
