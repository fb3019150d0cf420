import assert from "node:assert/strict";
import {
  capture,
  type Denoiser,
  EdmProcess,
  mean,
  mul,
  noGrad,
  Rng,
  std,
  type Tensor,
  tensor,
} from "../../mod.ts";
import { assertClose, assertGradient } from "../_check.ts";

const rng = new Rng(21);
const edm = new EdmProcess();
const LEVELS = [0.002, 0.5, 1, 80];
const shape = [4, 2, 3, 5];

/** Runs `f` per element on the host, with the noise level of its example. */
async function host(
  f: (sigma: number, ...values: number[]) => number,
  ...tensors: Tensor[]
): Promise<number[]> {
  const data = await Promise.all(tensors.map((x) => x.data()));
  const row = data[0]!.length / LEVELS.length;
  return Array.from(
    data[0]!,
    (_, i) => f(LEVELS[Math.floor(i / row)]!, ...data.map((d) => d[i]!)),
  );
}

/** The network that knows `y`, from what it should give for the noised image `x`. */
async function perfect(y: Tensor, x: Tensor): Promise<Denoiser> {
  const target = await host(
    (sigma, y, x) => (y - edm.cSkip(sigma) * x) / edm.cOut(sigma),
    y,
    x,
  );
  return () => tensor(Float32Array.from(target), y.shape);
}

/** y + σ z, each example with its own σ. */
async function noised(y: Tensor, z: Tensor): Promise<Tensor> {
  const x = await host((sigma, y, z) => y + sigma * z, y, z);
  return tensor(Float32Array.from(x), y.shape);
}

Deno.test("EdmProcess has the coefficients of Karras et al., table 1", async () => {
  const s = Math.SQRT1_2; // at σ = σ_data all but c_noise are simple
  await assertClose(
    [edm.cSkip(0.5), edm.cOut(0.5), edm.cIn(0.5), edm.weight(0.5)],
    [0.5, 0.5 * s, 2 * s, 8],
    { rtol: 1e-14, atol: 0 },
  );
  assert.equal(edm.cNoise(1), 0);
  assert.ok(Math.abs(edm.cNoise(Math.exp(-3)) + 0.75) < 1e-15);
  // Without noise the image itself, without signal the network alone.
  assert.ok(1 - edm.cSkip(1e-4) < 1e-7 && edm.cOut(1e-4) < 1e-3);
  assert.ok(edm.cSkip(1e4) < 1e-8 && 0.5 - edm.cOut(1e4) < 1e-8);
  const digits = new EdmProcess({ sigmaData: 0.6162 });
  await assertClose([digits.cOut(2), digits.weight(2)], [
    2 * 0.6162 / Math.sqrt(4 + 0.6162 ** 2),
    (4 + 0.6162 ** 2) / (2 * 0.6162) ** 2,
  ], { rtol: 1e-14, atol: 0 });
});

Deno.test("weight() is 1 for what the network predicts, or its soft minimum with the signal-to-noise ratio", () => {
  const soft = new EdmProcess({ weighting: "soft-min-snr" });
  for (const sigma of LEVELS) {
    assert.ok(Math.abs(edm.weight(sigma) * edm.cOut(sigma) ** 2 - 1) < 1e-14);
    const ofNetwork = soft.weight(sigma) * soft.cOut(sigma) ** 2;
    const want = (sigma * 0.5) ** 2 / (sigma ** 2 + 0.25) ** 2; // k-diffusion's
    assert.ok(Math.abs(ofNetwork / want - 1) < 1e-14);
    assert.ok(soft.weight(sigma) < Math.min(1 / sigma ** 2, 1 / 0.25));
  }
});

Deno.test("denoised() gives the image for the network that knows it, at any noise level", async () => {
  const y = rng.uniform(shape, -1, 1);
  const x = await noised(y, rng.normal(shape));
  const network = await perfect(y, x);
  await assertClose(edm.denoised(network, x, tensor(LEVELS)), y, {
    atol: 2e-6,
  });
});

Deno.test("denoised() tells the network ln(σ) / 4, and shows it unit variance", async () => {
  const y = rng.normal([4, 1, 128, 128], 0, 0.5);
  const x = await noised(y, rng.normal(y.shape));
  let seen: Tensor[] = [];
  const network: Denoiser = (x, t) => {
    seen = [x, t];
    return x;
  };
  edm.denoised(network, x, tensor(LEVELS));
  await assertClose(seen[1]!, LEVELS.map((sigma) => Math.log(sigma) / 4));
  const spread = await std(seen[0]!, { axis: [1, 2, 3] }).data();
  for (const value of spread) assert.ok(Math.abs(value - 1) < 0.02, `${value}`);
  // So has what it should predict.
  const target = (await perfect(y, x))(x, x);
  for (const value of await std(target, { axis: [1, 2, 3] }).data()) {
    assert.ok(Math.abs(value - 1) < 0.02, `${value}`);
  }
});

Deno.test("denoised() takes one noise level for all, anew in every replay", async () => {
  const x = rng.normal(shape);
  const network: Denoiser = (x, t) => mul(x, t.shape[0]!);
  let sigma = 0.3;
  const of = (at: number) =>
    edm.denoised(network, x, tensor([at, at, at, at])).data();
  await assertClose(
    edm.denoised(network, x, () => sigma),
    await of(0.3),
    { atol: 0, rtol: 0 },
  );
  const step = capture(() => ({
    d: noGrad(() => edm.denoised(network, x, () => sigma)),
  }));
  for (sigma of LEVELS) step.replay({});
  const outputs = await step.outputs();
  for (const [i, { d }] of outputs.entries()) {
    await assertClose(d, await of(LEVELS[i]!), { atol: 0, rtol: 0 });
  }
  step.dispose();
});

Deno.test("loss() is the weighted squared error of the image", async () => {
  const y = rng.uniform(shape, -1, 1), z = rng.normal(shape);
  const sigma = tensor(LEVELS), x = await noised(y, z);
  const nothing: Denoiser = (x) => mul(x, 0);
  for (const weighting of ["edm", "soft-min-snr"] as const) {
    const process = new EdmProcess({ weighting });
    const errors = await host(
      (sigma, y, x) =>
        process.weight(sigma) * (process.cSkip(sigma) * x - y) ** 2,
      y,
      x,
    );
    const want = errors.reduce((a, b) => a + b) / errors.length;
    // At σ = 0.002 the error is what two numbers differ in, some hundred times as large.
    await assertClose(process.loss(nothing, y, sigma, z), [want], {
      rtol: 1e-4,
    });
    await assertClose(
      process.loss(await perfect(y, x), y, sigma, z),
      [0],
      { atol: 1e-6 },
    );
  }
  // By hand: σ = σ_data = 1/2, y = 1, x = 1 + 1/2, D = 3/4 with weight 8.
  await assertClose(
    edm.loss(nothing, tensor([[1]]), tensor([0.5]), tensor([[1]])),
    [8 / 16],
  );
});

Deno.test("loss() of a network that gives 0 is 1 for normal data of the right spread", async () => {
  const process = new EdmProcess({ sigmaData: 0.8 });
  const y = rng.normal([512, 1, 8, 8], 0, 0.8);
  const nothing: Denoiser = (x) => mul(x, 0);
  const loss = await process.loss(nothing, y, new Rng(1), new Rng(2)).item();
  assert.ok(Math.abs(loss - 1) < 0.02, `${loss}`);
});

Deno.test("sampleSigmas() draws ln σ with the mean and spread asked for", async () => {
  const process = new EdmProcess({ pMean: -0.5, pStd: 2 });
  const logs = Float64Array.from(
    await process.sampleSigmas(20000, new Rng(3)).data(),
    Math.log,
  );
  const average = logs.reduce((a, b) => a + b) / logs.length;
  const variance = logs.reduce((a, b) => a + (b - average) ** 2, 0) /
    logs.length;
  // Four standard errors.
  assert.ok(Math.abs(average + 0.5) < 4 * 2 / Math.sqrt(20000), `${average}`);
  assert.ok(
    Math.abs(variance - 4) < 4 * 4 * Math.sqrt(2 / 20000),
    `${variance}`,
  );
});

Deno.test("loss() draws in every replay of a captured step as it does when called", async () => {
  const y = rng.uniform([3, 1, 4, 4], -1, 1);
  const half: Denoiser = (x) => mul(x, 0.5);
  const body = (levels: Rng, noise: Rng) => () => ({
    loss: edm.loss(half, y, levels, noise),
  });
  const step = capture(body(new Rng(4), new Rng(5)));
  for (let i = 0; i < 3; i++) step.replay({});
  const called = body(new Rng(4), new Rng(5));
  const losses = (await step.outputs()).map(({ loss }) => loss[0]!);
  assert.equal(new Set(losses).size, 3);
  for (const loss of losses) await assertClose([loss], called().loss);
  await step.verify({});
  step.dispose();
});

Deno.test("loss() has the right gradient with respect to the network", async () => {
  const y = rng.uniform([2, 3], -1, 1), z = rng.normal([2, 3]);
  await assertGradient(
    (weight) => edm.loss((x) => mul(x, weight), y, tensor([0.4, 2]), z),
    [rng.normal([1, 3])],
  );
  const process = new EdmProcess({ weighting: "soft-min-snr" });
  await assertGradient(
    (x) => mean(process.denoised((x, t) => mul(x, t.size), x, () => 1.5)),
    [y],
  );
});

Deno.test("EdmProcess explains what does not fit", () => {
  const half: Denoiser = (x) => mul(x, 0.5);
  const y = rng.normal([2, 3]);
  assert.throws(
    () => edm.loss(half, y, tensor([1]), rng),
    /noise levels f32 \[N\]: images is f32\[2, 3\], sigma is f32\[1\]/,
  );
  assert.throws(
    () => edm.denoised(half, y, tensor([1, 2], [2], "i32")),
    /sigma is i32\[2\]/,
  );
  assert.throws(
    () => new EdmProcess({ sigmaData: 0 }),
    /sigmaData must be positive: it is 0/,
  );
  assert.throws(() => new EdmProcess({ pStd: -1 }), /pStd must be positive/);
});
