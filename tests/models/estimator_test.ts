import assert from "node:assert/strict";
import {
  add,
  classifierFree,
  concat,
  type Denoiser,
  edmEstimator,
  EdmProcess,
  type Estimator,
  type EstimatorOptions,
  evenTimesteps,
  full,
  GaussianDiffusion,
  type Guidance,
  karrasSigmas,
  linearCombination,
  log,
  mean,
  mul,
  narrow,
  type NoiseLevel,
  reshape,
  Rng,
  sampleAncestral,
  sampleDdim,
  sampleDpmpp,
  sampleHeun,
  scale,
  sigmoid,
  split,
  std,
  sum,
  type Tensor,
  tensor,
  UNet,
  variance,
  vpEstimator,
  withClasses,
} from "../../mod.ts";
import { assertClose } from "../_check.ts";
import {
  byTimestep,
  gaussianEstimator,
  gaussianNetwork,
  unscaledLevels,
} from "./_gaussian.ts";

const DATA = { mean: 0.4, variance: 0.25 };
const FREE = { threshold: "none" } as const;
const process = new GaussianDiffusion();

Deno.test("vpEstimator() turns every prediction into the image, at any scale", async () => {
  for (const prediction of ["eps", "x0", "v"] as const) {
    const own = new GaussianDiffusion({ prediction });
    for (const t of [0, 417, 999]) {
      const level = own.level(t), told: number[] = [];
      const network = gaussianNetwork(own, DATA);
      const estimator = vpEstimator(own, (x, t) => {
        t.data().then((data) => told.push(...data));
        return network(x, t);
      }, FREE);
      const x = new Rng(t).normal([3, 2, 2, 2]);
      const want = gaussianEstimator(DATA)(x, () => level).x0;
      await assertClose(estimator(x, () => level).x0, want, {
        atol: 1e-4 / level.alpha,
      });
      // The same images without their scale.
      const unscaled = { alpha: 1, sigma: level.sigma / level.alpha };
      await assertClose(
        estimator(scale(x, 1 / level.alpha), () => unscaled).x0,
        want,
        { atol: 1e-4 / level.alpha },
      );
      assert.deepEqual(told, [t, t, t, t, t, t]);
    }
  }
});

Deno.test("vpEstimator() tells the network the original timesteps", async () => {
  const fewer = process.respaced(Int32Array.of(100, 300, 900));
  const told = async (level: NoiseLevel) => {
    let t = full([1], -1);
    vpEstimator(fewer, (x, given) => {
      t = given;
      return x;
    })(full([1, 1], 1), () => level);
    return await t.item();
  };
  assert.equal(await told(process.level(300)), 300);
  const [a, b] = [process.level(300), process.level(900)];
  const ratio = Math.sqrt(a.sigma / a.alpha * b.sigma / b.alpha);
  assert.equal(Math.round(await told({ alpha: 1, sigma: ratio })), 600);
});

Deno.test("edmEstimator() is the preconditioned network of unscaled images", async () => {
  const edm = new EdmProcess({ sigmaData: 0.6 });
  const network: Denoiser = (x, t) =>
    add(scale(x, 0.3), reshape(t, [t.size, 1]));
  const x = new Rng(1).normal([4, 5], 0, 3);
  const want = edm.denoised(network, scale(x, 2), () => 3);
  const level = () => ({ alpha: 0.5, sigma: 1.5 });
  await assertClose(edmEstimator(edm, network, FREE)(x, level).x0, want);
});

Deno.test("estimators threshold what they find", async () => {
  const own = new GaussianDiffusion({ prediction: "x0" });
  const x0 = tensor([[0.5, -3, 2, 0]]);
  const found = async (options: EstimatorOptions) => [
    ...await vpEstimator(own, () => x0, options)(x0, () => own.level(5)).x0
      .data(),
  ];
  assert.deepEqual(await found({}), [0.5, -1, 1, 0]);
  assert.deepEqual(await found({ threshold: "none" }), [0.5, -3, 2, 0]);
  const [a, b, c] = await found({ threshold: "dynamic" });
  await assertClose([a!, b!, c!], [0.5 / 2.985, -1, 2 / 2.985]);
});

Deno.test("estimators refuse levels from which no image follows", () => {
  const pure = () => ({ alpha: 0, sigma: 1 }), x = full([1, 2], 1);
  assert.throws(
    () => vpEstimator(process, (x) => x)(x, pure),
    /one that predicts noise needs a level with signal: its alpha is 0/,
  );
  assert.throws(
    () => edmEstimator(new EdmProcess(), (x) => x)(x, pure),
    RangeError,
  );
});

Deno.test("samplers capture one step for each kind", async () => {
  let evaluations = 0;
  const denoise: Denoiser = (x) => {
    evaluations++;
    return x;
  };
  const levels = process.levels(6), xT = full([1, 2], 1);
  const count = async (
    sampler: typeof sampleDdim | typeof sampleHeun,
    guidance?: Guidance,
  ) => {
    evaluations = 0;
    await sampler(vpEstimator(process, denoise, { guidance }), levels, xT);
    return evaluations;
  };
  assert.equal(await count(sampleDdim), 1);
  assert.equal(await count(sampleDpmpp), 1);
  assert.equal(await count(sampleHeun), 2 + 1);
  const interval = [0, 1] as const;
  assert.equal(await count(sampleDdim, { both: denoise, scale: 2 }), 1);
  assert.equal(
    await count(sampleDdim, { both: denoise, scale: 2, interval }),
    2,
  );
});

/** Guidance between two Gaussians of the same variance, their means 1 and -0.5. */
function guidedEstimator(options: Omit<Guidance, "both">): Estimator {
  const [conditional, unconditional] = [1, -0.5].map((mean) =>
    gaussianNetwork(process, { mean, variance: 0.25 })
  );
  return vpEstimator(process, conditional!, {
    ...FREE,
    guidance: {
      ...options,
      both: (x, t) => {
        const [x1, x2] = split(x, 2), [t1, t2] = split(t, 2);
        return concat([conditional!(x1!, t1!), unconditional!(x2!, t2!)]);
      },
    },
  });
}

Deno.test("classifier-free guidance moves the mean beyond the class's", async () => {
  // Both have the same variance, so the guided flow is that of mean u + scale (c - u).
  const x = new Rng(2).normal([3, 4]);
  for (const t of [10, 500, 990]) {
    const level = () => process.level(t);
    const tolerance = { atol: 1e-4 / level().alpha };
    const estimate = async (
      options: Omit<Guidance, "both">,
      mean: number,
    ) => {
      const { x0 } = guidedEstimator(options)(x, level);
      const want = gaussianEstimator({ mean, variance: 0.25 })(x, level).x0;
      await assertClose(x0, want, tolerance);
    };
    const ratio = level().sigma / level().alpha;
    await estimate({ scale: 3 }, -0.5 + 3 * 1.5);
    await estimate({ scale: 0 }, -0.5);
    await estimate({ scale: 1 }, 1);
    await estimate({ scale: 3, interval: [ratio / 2, ratio] }, 4);
    await estimate({ scale: 3, interval: [ratio, 2 * ratio] }, 1);
  }
});

/** A small conditional network that learns its variance, and has left its start behind. */
function smallNetwork(options: { inChannels: number; outChannels: number }) {
  const unet = new UNet({
    ...options,
    numClasses: 4,
    channels: 8,
    multipliers: [1, 2],
    resBlocks: 1,
    attentionLevels: [1],
    groups: 4,
  }, new Rng(5));
  const { shape } = unet.conv_out.weight;
  unet.loadStateDict({
    ...unet.stateDict(),
    "conv_out.weight": new Rng(6).normal(shape, 0, 0.2),
  });
  return unet;
}

const learned = new GaussianDiffusion({ variance: "learned_range" });

Deno.test("withClasses() guides a network by one batch of twice the size", async () => {
  const unet = smallNetwork({ inChannels: 1, outChannels: 2 });
  const y = Int32Array.of(2, 0, 1), x = new Rng(7).normal([3, 1, 8, 8]);
  const level = () => process.level(600);
  const { denoise, both } = withClasses(unet, y, 3);
  const ask = (scale?: number) =>
    vpEstimator(learned, denoise, {
      ...FREE,
      guidance: scale === undefined ? undefined : { both, scale },
    })(x, level);
  const t = full([3], 600);
  const conditional = learned.split(unet.forward(x, t, { y: tensor(y) }));
  const unconditional = learned.split(
    unet.forward(x, t, { y: tensor(Int32Array.of(3, 3, 3)) }),
  );
  const got = ask(2.5);
  await assertClose(
    got.x0,
    learned.startFrom(
      x,
      level,
      classifierFree(conditional.value, unconditional.value, 2.5),
    ),
    { atol: 1e-4, rtol: 1e-4 },
  );
  await assertClose(got.fraction!, conditional.fraction!, { atol: 1e-5 });
  const same = async (a: Tensor, b: Tensor) =>
    assert.deepEqual(await a.data(), await b.data());
  await same(ask(1).x0, ask().x0);
  await same(ask(1).fraction!, conditional.fraction!);
});

Deno.test("an image is the same in any batch, through every sampler", async () => {
  const unet = smallNetwork({ inChannels: 1, outChannels: 2 });
  const classes = Int32Array.of(0, 1, 2, 1, 0), levels = learned.levels(5);
  for (
    const sampler of [
      sampleAncestral,
      (...[e, l, x, { noise }]: Parameters<typeof sampleAncestral>) =>
        sampleDdim(e, l, x, { eta: 1, noise }),
      (...[e, l, x]: Parameters<typeof sampleAncestral>) =>
        sampleDpmpp(e, l, x),
      (...[e, l, x, { noise }]: Parameters<typeof sampleAncestral>) =>
        sampleHeun(e, l, x, { sChurn: 2, noise }),
    ]
  ) {
    const run = (from: number, to: number) => {
      const rng = new Rng(9);
      const noise = (shape: readonly number[]) => rng.normalRows(shape, from);
      const { denoise, both } = withClasses(unet, classes.slice(from, to), 3);
      return sampler(
        vpEstimator(learned, denoise, { guidance: { both, scale: 2 } }),
        levels,
        noise([to - from, 1, 8, 8]),
        { noise },
      );
    };
    await assertClose(
      concat([await run(0, 2), await run(2, 5)]),
      await run(0, 5),
      { atol: 1e-4 },
    );
  }
});

Deno.test("a guided interval is sampled by captured steps of two kinds", async () => {
  const levels = process.levels(6), xT = new Rng(10).normal([2, 3]);
  const ratio = (level: NoiseLevel) => level.sigma / level.alpha;
  const [low, high] = [ratio(levels[4]!), ratio(levels[2]!)];
  const got = guidedEstimator({ scale: 3, interval: [low, high] });
  assert.deepEqual(levels.map((level) => got.kind!(level)), [
    ...["plain", "plain", "guided", "guided", "plain", "plain"],
  ]);
  const want = gaussianEstimator((level) => ({
    mean: low < ratio(level) && ratio(level) <= high ? 4 : 1,
    variance: 0.25,
  }));
  for (const sampler of [sampleDdim, sampleDpmpp, sampleHeun]) {
    await assertClose(
      await sampler(got, levels, xT),
      await sampler(want, levels, xT),
      { atol: 1e-3 },
    );
  }
});

Deno.test("classifier guidance samples what the classifier asks for", async () => {
  // Of x_0 ~ N(0, 1), p(y | x_0) ∝ exp(w x_0) leaves N(w, 1); at a noise level p(y | x) ∝ exp(α w x).
  const w = 0.8, alpha = byTimestep(process, ({ alpha }) => alpha);
  const estimator = vpEstimator(process, gaussianNetwork(process, {}), {
    ...FREE,
    classifier: {
      scale: 0.5,
      logProbability: (x, t) =>
        sum(mul(alpha(t, x), scale(x, 2 * w)), { axis: 1 }),
    },
  });
  const levels = process.levels(100), xT = new Rng(1).normal([32, 64]);
  const shift = async (x: Promise<Tensor>) => {
    const moved = add(await x, scale(xT, -1));
    return [await mean(moved).item(), await std(moved).item()] as const;
  };
  // The flow moves all alike.
  for (const sampler of [sampleDdim, sampleDpmpp, sampleHeun]) {
    const [by, spread] = await shift(sampler(estimator, levels, xT));
    assert.ok(Math.abs(by - w) < 0.02, `${sampler.name}: ${by}`);
    assert.ok(spread < 0.05);
  }
  const rng = new Rng(2),
    noise = (shape: readonly number[]) => rng.normal(shape);
  const drawn = await sampleAncestral(estimator, levels, xT, {
    noise,
    variance: "fixedlarge",
  });
  assert.ok(Math.abs(await mean(drawn).item() - w) < 0.12);
  assert.ok(Math.abs(await variance(drawn).item() - 1) < 0.12);
});

Deno.test("a classifier moves no image beyond the threshold", async () => {
  // √ᾱ is 5e-5 there, so that a gradient of 1 would move x̂_0 by 20,000.
  const cosine = new GaussianDiffusion({ schedule: "cosine" });
  const estimator = vpEstimator(cosine, (x) => scale(x, 0), {
    classifier: { scale: 1, logProbability: (x) => sum(x, { axis: 1 }) },
  });
  const xT = new Rng(1).normal([2, 8]);
  for (const sampler of [sampleDdim, sampleDpmpp, sampleHeun]) {
    const x = await sampler(estimator, [cosine.level(999)], xT);
    await assertClose(x, new Float32Array(16).fill(1));
  }
});

Deno.test("an ancestral step moves its mean by Σ times the gradient", async () => {
  const levels = process.levels(4), logistic = 1.5;
  const respaced = process.respaced(evenTimesteps(1000, 4));
  const xT = new Rng(3).normal([2, 3]);
  const estimator = vpEstimator(process, gaussianNetwork(process, {}), {
    ...FREE,
    classifier: {
      scale: 2,
      logProbability: (x) => sum(log(sigmoid(scale(x, logistic))), { axis: 1 }),
    },
  });
  const small = respaced.posteriorLogVarianceClipped.map(Math.exp);
  const large = respaced.betas;
  const zero = (shape: readonly number[]) => full(shape, 0);
  for (
    const [name, fraction, sigma2] of [
      ["fixedsmall", undefined, (t: number) => small[t]!],
      ["fixedlarge", undefined, (t: number) => t === 0 ? small[0]! : large[t]!],
      [
        "learned_range",
        0.5,
        (t: number) => large[t]! ** 0.75 * small[t]! ** 0.25,
      ],
    ] as const
  ) {
    let x = Float64Array.from(await xT.data());
    for (let t = 3; t >= 0; t--) {
      const { alpha } = respaced.level(t);
      x = x.map((value) =>
        (respaced.posteriorMeanCoef1[t]! * alpha +
            respaced.posteriorMeanCoef2[t]!) * value +
        sigma2(t) * 2 * logistic / (1 + Math.exp(logistic * value))
      );
    }
    const got = await sampleAncestral(
      (x, level) => ({
        ...estimator(x, level),
        fraction: fraction && full(x.shape, fraction),
      }),
      levels,
      xT,
      { noise: zero, variance: name },
    );
    await assertClose(await got.data(), x, { atol: 1e-4 });
  }
});

Deno.test("self-conditioning hands on the estimate before, and starts anew in each run", async () => {
  const own = new GaussianDiffusion({ prediction: "x0" });
  // x̂_0 = x / 4 + previous / 2.
  const network: Denoiser = (x) => {
    const [noised, previous] = split(x, 2, 1);
    return linearCombination([[0.25, noised!], [0.5, previous!]]);
  };
  const estimator = vpEstimator(own, network, {
    ...FREE,
    selfConditioning: true,
  });
  const levels = own.levels(4), xT = new Rng(4).normal([2, 1, 2, 2]);
  let x = Float64Array.from(await xT.data()), previous = x.map(() => 0);
  levels.forEach(({ alpha, sigma }, i) => {
    const next = levels[i + 1] ?? { alpha: 1, sigma: 0 };
    previous = x.map((value, k) => value / 4 + previous[k]! / 2);
    x = x.map((value, k) =>
      next.alpha * previous[k]! +
      next.sigma * (value - alpha * previous[k]!) / sigma
    );
  });
  for (let run = 0; run < 2; run++) {
    await assertClose(
      await (await sampleDdim(estimator, levels, xT)).data(),
      x,
    );
  }
  // Another batch size, and guidance, whose batch is twice as large.
  const guided = vpEstimator(own, network, {
    ...FREE,
    selfConditioning: true,
    guidance: { both: network, scale: 3 },
  });
  const one = narrow(xT, 0, 0, 1);
  for (const either of [estimator, guided]) {
    await assertClose(
      await (await sampleDdim(either, levels, one)).data(),
      x.slice(0, 4),
    );
  }
});

Deno.test("edmEstimator() samples at any levels", async () => {
  // A network of 0 is the best for N(0, σ_data²).
  const edm = new EdmProcess({ sigmaData: 0.5 });
  const estimator = edmEstimator(edm, (x) => scale(x, 0), FREE);
  const best = gaussianEstimator({ variance: 0.25 });
  const xT = new Rng(5).normal([1, 5]);
  const sigmas = unscaledLevels(karrasSigmas(9));
  await assertClose(
    await sampleHeun(estimator, sigmas, scale(xT, 80)),
    await sampleHeun(best, sigmas, scale(xT, 80)),
    { atol: 1e-4 },
  );
  await assertClose(
    await sampleDpmpp(estimator, process.levels(9), xT),
    await sampleDpmpp(best, process.levels(9), xT),
    { atol: 1e-4 },
  );
});

Deno.test("a static threshold limits estimates to the range that it is told", async () => {
  const diffusion = new GaussianDiffusion({ prediction: "x0" });
  const x = new Rng(1).normal([2, 1, 5, 5]);
  const data = await x.data();
  for (const range of [undefined, 1, 4]) {
    const limit = range ?? 1;
    const estimator = vpEstimator(diffusion, (x) => mul(x, 3), { range });
    const { x0 } = estimator(x, () => diffusion.level(500));
    const want = data.map((value) =>
      Math.min(limit, Math.max(-limit, 3 * value))
    );
    await assertClose(x0, want, { rtol: 1e-4 });
  }
});
