import assert from "node:assert/strict";
import {
  capture,
  GaussianDiffusion,
  mul,
  Rng,
  scope,
  sub,
  type Tensor,
  tensor,
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

Deno.test("predictStart() and predictNoise() undo qSample()", async () => {
  const free = new GaussianDiffusion({ clipDenoised: false });
  const x0 = rng.uniform(shape, -1, 1), noise = rng.normal(shape);
  const early = Int32Array.of(0, 10, 417);
  const xt = free.qSample(x0, early, noise);
  await assertClose(free.predictStart(xt, early, noise), x0, { atol: 1e-5 });
  await assertClose(
    free.predictNoise(xt, Int32Array.of(50, 417, 999), x0),
    await (async () => {
      const [a, b] = await Promise.all([xt.data(), x0.data()]);
      const row = a.length / 3;
      return Array.from(a, (x, i) => {
        const bar = free.alphasCumprod[[50, 417, 999][Math.floor(i / row)]!]!;
        return (x - Math.sqrt(bar) * b[i]!) / Math.sqrt(1 - bar);
      });
    })(),
    { atol: 1e-5 },
  );
});

Deno.test("predictStart() limits to [-1, 1] unless told not to", async () => {
  const x = mul(rng.normal(shape), 5), eps = rng.normal(shape);
  const clipped = await diffusion.predictStart(x, t, eps).data();
  assert.ok(clipped.every((value) => Math.abs(value) <= 1));
  const free = await new GaussianDiffusion({ clipDenoised: false })
    .predictStart(x, t, eps).data();
  assert.ok(free.some((value) => Math.abs(value) > 1));
});

Deno.test("ancestralStep() adds no noise at t = 0 and σ_t z above", async () => {
  const x = rng.normal(shape), eps = rng.normal(shape), z = rng.normal(shape);
  for (const variance of ["fixedlarge", "fixedsmall"] as const) {
    const process = new GaussianDiffusion({ variance });
    const step = (noise: Tensor) => process.ancestralStep(x, t, eps, noise);
    const added = sub(step(z), step(mul(z, 0)));
    const want = await host((t, z) => {
      if (t === 0) return 0;
      const sigma2 = variance === "fixedlarge"
        ? process.betas[t]!
        : process.posteriorVariance[t]!;
      return Math.sqrt(sigma2) * z;
    }, z);
    await assertClose(added, want, { atol: 1e-5 });
  }
});

Deno.test("ddimStep() to -1 gives x̂_0, and with eta 1 has the variance of fixedsmall", async () => {
  const x = rng.normal(shape), eps = rng.normal(shape), z = rng.normal(shape);
  const process = new GaussianDiffusion({ variance: "fixedsmall" });
  const end = new Int32Array(3).fill(-1);
  await assertClose(
    process.ddimStep(x, t, end, eps),
    process.predictStart(x, t, eps),
  );
  const before = t.map((step) => step - 1);
  await assertClose(
    process.ddimStep(x, t, before, eps, 1, z),
    process.ancestralStep(
      x,
      t,
      process.predictNoise(x, t, process.predictStart(x, t, eps)),
      z,
    ),
    { atol: 2e-5, rtol: 1e-4 },
  );
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

Deno.test("loss() is the mean squared error of the predicted noise", async () => {
  const x0 = rng.uniform(shape, -1, 1), noise = rng.normal(shape);
  await assertClose(diffusion.loss(() => noise, x0, t, noise), [0]);
  const zero = scope(() => diffusion.loss((x) => mul(x, 0), x0, t, noise));
  const data = await noise.data();
  await assertClose(zero, [
    Array.from(data).reduce((sum, z) => sum + z * z, 0) / data.length,
  ]);
});

Deno.test("loss() draws the noise from a generator as it would be drawn for it", async () => {
  const x0 = rng.uniform(shape, -1, 1);
  const half = (x: Tensor) => mul(x, 0.5);
  await assertClose(
    diffusion.loss(half, x0, t, new Rng(4)),
    diffusion.loss(half, x0, t, new Rng(4).normal(shape)),
  );
});

Deno.test("GaussianDiffusion refuses impossible schedules and wrong numbers of timesteps", () => {
  assert.throws(
    () => new GaussianDiffusion({ betas: Float64Array.of(0.1, 1) }),
    /betas must lie between 0 and 1: beta 1 is 1/,
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
