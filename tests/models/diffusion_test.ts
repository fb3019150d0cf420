import assert from "node:assert/strict";
import {
  capture,
  concat,
  GaussianDiffusion,
  type Moments,
  Rng,
  type Spacing,
  SPACING_NAMES,
  type Tensor,
  tensor,
  type Timesteps,
} from "../../mod.ts";
import { assertClose, assertGradient } from "../_check.ts";

const rng = new Rng(11);
const shape = [3, 2, 4, 4];
const t = Int32Array.of(0, 417, 999);
const diffusion = new GaussianDiffusion();

/** Runs `f` per element on the host. */
async function host(
  f: (t: number, ...values: number[]) => number,
  ...tensors: Tensor[]
): Promise<number[]> {
  const data = await Promise.all(tensors.map((x) => x.data()));
  const row = data[0]!.length / t.length;
  return Array.from(
    data[0]!,
    (_, i) => f(t[Math.floor(i / row)]!, ...data.map((d) => d[i]!)),
  );
}

for (const prediction of ["eps", "x0", "v"] as const) {
  Deno.test(`startFrom() and noiseFrom() undo target(), predicting ${prediction}`, async () => {
    const process = new GaussianDiffusion({ prediction });
    const x0 = rng.uniform(shape, -1, 1), noise = rng.normal(shape);
    const each = Int32Array.of(50, 200, 600);
    const cases: [Timesteps, Moments[]][] = [
      [each, [each, tensor(each)]],
      [() => 417, [() => 417, () => process.level(417)]],
    ];
    for (const [at, ways] of cases) {
      const xt = process.qSample(x0, at, noise);
      const value = process.target(x0, at, noise);
      for (const t of ways) {
        await assertClose(process.startFrom(xt, t, value), x0, { atol: 2e-5 });
        await assertClose(process.noiseFrom(xt, t, value), noise, {
          atol: 2e-5,
        });
      }
    }
  });
}

Deno.test("target() of v is √ᾱ ε - √(1 - ᾱ) x_0", async () => {
  const x0 = rng.uniform(shape, -1, 1), noise = rng.normal(shape);
  const want = await host(
    (t, x, z) => {
      const bar = diffusion.alphasCumprod[t]!;
      return Math.sqrt(bar) * z - Math.sqrt(1 - bar) * x;
    },
    x0,
    noise,
  );
  const process = new GaussianDiffusion({ prediction: "v" });
  await assertClose(process.target(x0, t, noise), want);
});

Deno.test("timestepOf() inverts level() exactly and interpolates between", () => {
  const ends: ConstructorParameters<typeof GaussianDiffusion>[0][] = [
    {},
    { schedule: "cosine", timesteps: 300 },
    { schedule: "jsd", timesteps: 20, prediction: "v" },
  ];
  for (const options of ends) {
    const process = new GaussianDiffusion(options);
    for (let t = 0; t < process.timesteps; t++) {
      const level = process.level(t);
      assert.equal(process.timestepOf(level), t);
      // The same noise on an unscaled image.
      const scaled = process.timestepOf({
        alpha: 1,
        sigma: level.sigma / level.alpha,
      });
      assert.equal(scaled, t);
    }
    const last = process.timesteps - 1;
    assert.equal(process.timestepOf({ alpha: 1, sigma: 0 }), 0);
    assert.equal(process.timestepOf({ alpha: 0, sigma: 1 }), last);
    const [a, b] = [process.level(4), process.level(5)];
    const ratio = Math.sqrt(a.sigma / a.alpha * b.sigma / b.alpha);
    const between = process.timestepOf({ alpha: 2, sigma: 2 * ratio });
    assert.ok(Math.abs(between - 4.5) < 1e-9);
  }
});

Deno.test("levels() fall from the noisiest by each spacing", () => {
  const times = (steps: number, spacing?: Spacing) =>
    diffusion.levels(steps, spacing).map((level) =>
      diffusion.timestepOf(level)
    );
  assert.deepEqual(times(4), [999, 666, 333, 0]);
  assert.deepEqual(times(4, "stride"), [750, 500, 250, 0]);
  assert.deepEqual(times(4, "linspace"), [999, 749, 500, 250]);
  assert.deepEqual(times(3, "quad"), [800, 200, 0]);
  assert.equal(times(50, "quad").length, 49); // 0 would be visited twice
  const karras = times(5, "karras");
  assert.ok(Math.abs(karras[0]! - 999) < 1e-6 && Math.abs(karras[4]!) < 1e-6);
  assert.ok(karras.every((t, i) => i === 0 || t < karras[i - 1]!));
  const all: Spacing[] = ["even", "stride", "quad", "linspace", "karras"];
  assert.deepEqual([...SPACING_NAMES], all);
  for (const spacing of all) {
    for (const { alpha, sigma } of diffusion.levels(7 + 1, spacing)) {
      assert.ok(Math.abs(alpha ** 2 + sigma ** 2 - 1) < 1e-12);
    }
  }
  // Karras' levels leave out the last step of a schedule that ends in pure noise.
  const ending = new GaussianDiffusion({ schedule: "jsd", prediction: "v" });
  assert.equal(
    Math.round(ending.timestepOf(ending.levels(9, "karras")[0]!)),
    998,
  );
});

Deno.test("split() separates a learned variance", async () => {
  const output = rng.normal([2, 6, 3, 3]);
  assert.equal(diffusion.split(output).value, output);
  const learned = new GaussianDiffusion({ variance: "learned_range" });
  const { value, fraction } = learned.split(output);
  await assertClose(concat([value, fraction!], 1), output, {
    atol: 0,
    rtol: 0,
  });
  assert.deepEqual(value.shape, [2, 3, 3, 3]);
});

Deno.test("a schedule that ends in pure noise works with v and x0", async () => {
  for (const prediction of ["v", "x0"] as const) {
    const process = new GaussianDiffusion({
      zeroTerminalSnr: true,
      prediction,
    });
    assert.equal(process.betas[999], 1);
    assert.ok(Math.abs(process.alphasCumprod[0]! - 0.9999) < 1e-12);
    assert.equal(process.report().warning, undefined);
    const x0 = rng.uniform(shape, -1, 1), noise = rng.normal(shape);
    const last = new Int32Array(3).fill(999);
    const xt = process.qSample(x0, last, noise);
    await assertClose(xt, noise);
    const value = process.target(x0, last, noise);
    await assertClose(process.startFrom(xt, last, value), x0);
    await assertClose(
      process.posteriorMean(x0, xt, last),
      await (async () => {
        const before = process.level(998).alpha;
        return (await x0.data()).map((x) => before * x);
      })(),
    );
  }
});

Deno.test("qSample() mixes signal and noise by eq. 4, one timestep per example", async () => {
  const x0 = rng.uniform(shape, -1, 1), noise = rng.normal(shape);
  const want = await host(
    (t, x, z) => {
      const bar = diffusion.alphasCumprod[t]!;
      return Math.sqrt(bar) * x + Math.sqrt(1 - bar) * z;
    },
    x0,
    noise,
  );
  await assertClose(diffusion.qSample(x0, t, noise), want);
});

for (const shape of [[3, 2, 4, 4], [3, 1, 3, 5], [3], [3, 911]]) {
  Deno.test(`diffuse() equals normal() and qSample(), batch [${shape}]`, async () => {
    const x0 = rng.uniform(shape, -1, 1);
    const drawn = new Rng(6, 2), composed = new Rng(6, 2);
    const ways = [t, tensor(t), () => 417];
    for (const times of ways) {
      const { xt, noise } = diffusion.diffuse(x0, times, drawn);
      const z = composed.normal(shape);
      await assertClose(noise, z, { atol: 0, rtol: 0 });
      // A driver may round a sum and its product once.
      await assertClose(xt, diffusion.qSample(x0, times, z), { rtol: 1e-6 });
    }
    assert.deepEqual(drawn.state, composed.state);
  });
}

Deno.test("diffuse() gives known answers", async () => {
  const process = new GaussianDiffusion({
    betas: Float64Array.of(0.75, 0.75),
  }); // √ᾱ is 1/2 and 1/4
  const { xt, noise } = process.diffuse(
    tensor([[2, -4], [8, 16]]),
    Int32Array.of(0, 1),
    new Rng(3),
  );
  const z = await noise.data();
  assert.ok(new Set(z).size === 4 && z.every((value) => Math.abs(value) < 4));
  const [s0, s1] = [Math.sqrt(3 / 4), Math.sqrt(15 / 16)];
  const [a, b, c, d] = z as unknown as [number, number, number, number];
  await assertClose(xt, [1 + s0 * a, -2 + s0 * b, 2 + s1 * c, 4 + s1 * d]);
});

Deno.test("diffuse() has the right gradient", async () => {
  await assertGradient(
    (x) => diffusion.diffuse(x, Int32Array.of(100, 800), new Rng(1)).xt,
    [rng.normal([2, 7])],
  );
});

Deno.test("diffuse() draws anew in every replay of a captured step", async () => {
  const called = new Rng(9), captured = new Rng(9);
  const body = (rng: Rng) => ({ x0 }: { x0: Tensor }) => {
    const times = rng.integers([3], 0, 1000);
    return diffusion.diffuse(x0, times, rng);
  };
  const step = capture(body(captured), { inputs: { x0: { shape: [3, 5] } } });
  const x0 = await rng.uniform([3, 5], -1, 1).data() as Float32Array<
    ArrayBuffer
  >;
  for (let i = 0; i < 3; i++) step.replay({ x0 });
  for (const { xt, noise } of await step.outputs()) {
    const want = body(called)({ x0: tensor(x0, [3, 5]) });
    await assertClose(noise, await want.noise.data(), { atol: 0, rtol: 0 });
    await assertClose(xt, await want.xt.data(), { atol: 0, rtol: 0 });
  }
  assert.deepEqual(captured.state, called.state);
  await step.verify({ x0 });
  step.dispose();
});

Deno.test("predictNoise() is the noise that x_0 implies", async () => {
  const x0 = rng.uniform(shape, -1, 1), noise = rng.normal(shape);
  const late = Int32Array.of(50, 417, 999);
  const xt = diffusion.qSample(x0, late, noise);
  await assertClose(diffusion.predictNoise(xt, late, x0), noise, {
    atol: 1e-5,
  });
});

Deno.test("posteriorMean() is Bayes' rule for two Gaussians", async () => {
  const x0 = rng.uniform(shape, -1, 1), xt = rng.normal(shape);
  const mean = diffusion.posteriorMean(x0, xt, t);
  // Precisions add up: of x_{t-1} given x_0, and of x_t given x_{t-1}.
  const want = await host(
    (t, x, y) => {
      if (t === 0) return x;
      const bar = diffusion.alphasCumprod[t - 1]!, beta = diffusion.betas[t]!;
      const variance = 1 / (1 / (1 - bar) + (1 - beta) / beta);
      return variance *
        (Math.sqrt(bar) / (1 - bar) * x + Math.sqrt(1 - beta) / beta * y);
    },
    x0,
    xt,
  );
  await assertClose(mean, want);
  diffusion.posteriorVariance.forEach((variance, t) => {
    if (t === 0) return assert.equal(variance, 0);
    const bar = diffusion.alphasCumprod[t - 1]!, beta = diffusion.betas[t]!;
    const want = 1 / (1 / (1 - bar) + (1 - beta) / beta);
    assert.ok(Math.abs(variance / want - 1) < 1e-9);
  });
});

Deno.test("respaced() keeps ᾱ at the kept timesteps and tells the denoiser the original ones", async () => {
  const kept = Int32Array.of(0, 10, 500, 999);
  const few = diffusion.respaced(kept);
  assert.equal(few.timesteps, 4);
  kept.forEach((t, i) => {
    assert.ok(
      Math.abs(few.alphasCumprod[i]! / diffusion.alphasCumprod[t]! - 1) < 1e-12,
    );
  });
  await assertClose(few.times(Int32Array.of(3, 1), 2), [999, 10]);
  const all = diffusion.respaced(
    Int32Array.from({ length: 1000 }, (_, t) => t),
  );
  await assertClose(all.betas, diffusion.betas, { atol: 1e-14, rtol: 1e-12 });
});

Deno.test("GaussianDiffusion refuses impossible schedules and wrong numbers of timesteps", () => {
  assert.throws(
    () => new GaussianDiffusion({ betas: Float64Array.of(0.1, 1) }),
    /Cannot predict noise .*: beta 1 is 1; predict "v" or "x0"/,
  );
  assert.throws(
    () =>
      new GaussianDiffusion({
        betas: Float64Array.of(1, 0.1),
        prediction: "v",
      }),
    /betas must lie between 0 and 1: beta 0 is 1/,
  );
  assert.throws(
    () => new GaussianDiffusion({ schedule: "exponential" as "linear" }),
    /name must be one of linear, .*, jsd: it is exponential/,
  );
  assert.throws(() => diffusion.levels(1001), /steps is 1001/);
  assert.throws(
    () => diffusion.levels(10, "odd" as "even"),
    /spacing must be one of even, .*, karras: spacing is odd/,
  );
  assert.throws(
    () =>
      new GaussianDiffusion({ variance: "learned_range" })
        .split(rng.normal([1, 3, 2, 2])),
    /even number of channels: output is f32\[1, 3, 2, 2\]/,
  );
  assert.throws(
    () => diffusion.qSample(tensor([[1], [2]]), t, tensor([[1], [2]])),
    /one timestep per example: there are 3, the batch is \[2, 1\]/,
  );
  assert.throws(
    () => diffusion.diffuse(tensor([[1], [2]]), t, rng),
    /one timestep per example: there are 3, the batch is \[2, 1\]/,
  );
  assert.throws(
    () => diffusion.diffuse(tensor([1]), tensor([0]), rng),
    /x0 must be f32 and t i32: x0 is f32\[1\], t is f32\[1\]/,
  );
});
