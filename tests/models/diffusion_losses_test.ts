import assert from "node:assert/strict";
import {
  add,
  capture,
  concat,
  diffusionLoss,
  type DiffusionOptions,
  discretizedGaussianLogProb,
  GaussianDiffusion,
  gradients,
  mean,
  mul,
  Rng,
  sub,
  type Tensor,
  tensor,
  vlbTerm,
} from "../../mod.ts";
import { assertClose, assertGradient } from "../_check.ts";

const rng = new Rng(21);
const shape = [4, 2, 3, 3];
const t = Int32Array.of(0, 1, 500, 999);
const x0 = rng.uniform(shape, -1, 1), noise = rng.normal(shape);

/** Means over all axes but the first, on the host. */
async function rows(x: Tensor): Promise<number[]> {
  const data = await x.data(), row = data.length / x.shape[0]!;
  return Array.from({ length: x.shape[0]! }, (_, i) => {
    const part = Array.from(data.subarray(i * row, (i + 1) * row));
    return part.reduce((a, b) => a + b, 0) / row;
  });
}

for (const prediction of ["eps", "x0", "v"] as const) {
  Deno.test(`diffusionLoss() is the squared error of each example, predicting ${prediction}`, async () => {
    const process = new GaussianDiffusion({ prediction });
    const target = process.target(x0, t, noise);
    const off = tensor([0.5, -1, 2, 3], [4, 1, 1, 1]);
    const loss = (options = {}) =>
      diffusionLoss(process, () => add(target, off), x0, t, noise, options);
    await assertClose(loss(), [0.25, 1, 4, 9], { rtol: 1e-4 });
    const weights = Array.from(t, (t) => {
      const snr = process.alphasCumprod[t]! / (1 - process.alphasCumprod[t]!);
      const capped = Math.min(snr, 3);
      return capped / { eps: snr, x0: 1, v: snr + 1 }[prediction];
    });
    await assertClose(
      loss({ weighting: "min-snr-gamma", gamma: 3 }),
      [0.25, 1, 4, 9].map((error, i) => error * weights[i]!),
      { rtol: 1e-4 },
    );
  });

  Deno.test(`vlbTerm() is 0 where the posterior is met, predicting ${prediction}`, async () => {
    const late = Int32Array.of(1, 3, 500, 900);
    const process = new GaussianDiffusion({
      prediction,
      variance: "fixedsmall",
    });
    const xt = process.qSample(x0, late, noise);
    const value = process.target(x0, late, noise);
    await assertClose(
      vlbTerm(process, x0, { xt, t: late, value }),
      [0, 0, 0, 0],
      { atol: 1e-6 },
    );
  });
}

Deno.test("vlbTerm() weighs errors of the noise by β² / (2 β̃ α (1 - ᾱ))", async () => {
  const process = new GaussianDiffusion({ variance: "fixedsmall" });
  const times = Int32Array.of(1, 2, 500, 999);
  const xt = process.qSample(x0, times, noise);
  const value = add(noise, 0.7);
  const want = [0.5997, 0.3180, 0.00551, 0.01020]
    .map((weight) => weight * 0.49 / Math.LN2);
  await assertClose(vlbTerm(process, x0, { xt, t: times, value }), want, {
    atol: 2e-6,
    rtol: 2e-3,
  });
});

Deno.test("vlbTerm() pays for the wrong variance alone", async () => {
  // KL of N(μ, β̃) from N(μ, β), per dimension.
  const process = new GaussianDiffusion({ variance: "fixedlarge" });
  const times = Int32Array.of(1, 2, 9, 40);
  const want = Array.from(times, (t) => {
    const ratio = process.posteriorVariance[t]! / process.betas[t]!;
    return (ratio - 1 - Math.log(ratio)) / 2 / Math.LN2;
  });
  const xt = process.qSample(x0, times, noise);
  await assertClose(
    vlbTerm(process, x0, { xt, t: times, value: noise }),
    want,
    { atol: 1e-6, rtol: 1e-4 },
  );
});

Deno.test("vlbTerm() is the decoder's at t = 0, for each example by itself", async () => {
  const process = new GaussianDiffusion();
  const eps = rng.normal(shape);
  const xt = process.qSample(x0, t, noise);
  const found = process.posteriorMean(process.startFrom(xt, t, eps), xt, t);
  const logScale = process.logVarianceOf(t, xt);
  const logs = await rows(
    discretizedGaussianLogProb(x0, found, mul(logScale, 0.5)),
  );
  const [first, second] = await vlbTerm(process, x0, { xt, t, value: eps })
    .data();
  await assertClose([first!], [-logs[0]! / Math.LN2]);
  assert.ok(Math.abs(second! + logs[1]! / Math.LN2) > 1e-3);
});

Deno.test("vlbTerm() limits x̂_0 if told to", async () => {
  const process = new GaussianDiffusion({ prediction: "x0" });
  const xt = process.qSample(x0, t, noise);
  const term = (value: Tensor, clipDenoised: boolean) =>
    vlbTerm(process, x0, { xt, t, value }, { clipDenoised });
  const one = add(mul(x0, 0), 1), three = mul(one, 3);
  await assertClose(term(three, true), term(one, true));
  const [clipped, free] = await Promise.all(
    [term(three, true), term(three, false)].map((x) => x.data()),
  );
  assert.ok(free![1]! > clipped![1]! * 1.5);
});

Deno.test("logVarianceOf() goes from log β̃ to log β as the network says", async () => {
  const process = new GaussianDiffusion({ variance: "learned_range" });
  const ones = add(mul(x0, 0), 1);
  const each = async (fraction: Tensor) =>
    await rows(process.logVarianceOf(t, x0, fraction));
  const large = Array.from(t, (t) => Math.log(process.betas[t]!));
  const small = Array.from(
    t,
    (t) => Math.log(process.posteriorVariance[Math.max(t, 1)]!),
  );
  await assertClose(await each(ones), large);
  await assertClose(await each(mul(ones, -1)), small);
  await assertClose(
    await each(mul(ones, 0)),
    large.map((value, i) => (value + small[i]!) / 2),
  );
});

/** A process and a network whose only parameters are factors of what it gives. */
function learned(options: DiffusionOptions = {}) {
  const process = new GaussianDiffusion({
    variance: "learned_range",
    ...options,
  });
  const [a, b] = [new Rng(3).normal(shape), new Rng(4).uniform(shape, -1, 1)];
  const network = (value: Tensor, fraction: Tensor) => () =>
    concat([mul(a, value), mul(b, fraction)], 1);
  return { process, network };
}

Deno.test("diffusionLoss() of vlb is the term times T, and hybrid adds a share of it", async () => {
  const { process, network } = learned({ timesteps: 1000 });
  const one = tensor([1]);
  const loss = (options = {}) =>
    diffusionLoss(process, network(one, one), x0, t, noise, options);
  const xt = process.qSample(x0, t, noise);
  const term = vlbTerm(process, x0, {
    xt,
    t,
    ...process.split(network(one, one)()),
  });
  await assertClose(loss({ type: "vlb" }), mul(term, 1000));
  await assertClose(loss({ type: "hybrid" }), add(loss(), term));
  await assertClose(
    loss({ type: "hybrid", vlbWeight: 0.25, weighting: "min-snr-gamma" }),
    add(loss({ weighting: "min-snr-gamma" }), mul(term, 250)),
  );
});

Deno.test("diffusionLoss() of hybrid leaves the mean to L_simple", async () => {
  const { process, network } = learned();
  const slopes = async (type: "simple" | "hybrid" | "vlb") => {
    const value = tensor([1]).requireGrad(),
      fraction = tensor([1]).requireGrad();
    const loss = mean(
      diffusionLoss(process, network(value, fraction), x0, t, noise, { type }),
    );
    return await Promise.all(
      gradients(loss, [value, fraction]).map((slope) => slope.item()),
    );
  };
  const [simple, hybrid, vlb] = await Promise.all(
    (["simple", "hybrid", "vlb"] as const).map(slopes),
  );
  assert.equal(hybrid![0], simple![0]);
  assert.equal(simple![1], 0);
  await assertClose([hybrid![1]!], [vlb![1]! / 1000], { rtol: 1e-4 }); // λ = 0.001
  assert.notEqual(vlb![0], 0);
});

for (const prediction of ["eps", "x0", "v"] as const) {
  Deno.test(`diffusionLoss() has the right gradient, predicting ${prediction}`, async () => {
    // Few timesteps with much noise, so that central differences keep digits.
    const process = new GaussianDiffusion({
      prediction,
      variance: "learned_range",
      betas: Float64Array.of(0.05, 0.1, 0.3, 0.5),
    });
    const times = Int32Array.of(0, 1, 2, 3), shape = [4, 1, 1, 3];
    const x0 = rng.uniform(shape, -1, 1), noise = rng.normal(shape);
    // Near enough that the decoder stays above its floor.
    const value = add(
      process.target(x0, times, noise),
      rng.uniform(shape, -0.3, 0.3),
    );
    const fraction = rng.uniform(shape, -1, 1);
    for (const type of ["simple", "vlb"] as const) {
      await assertGradient(
        (value, fraction) =>
          diffusionLoss(
            process,
            () => concat([value, fraction], 1),
            x0,
            times,
            noise,
            { type, weighting: type === "simple" ? "min-snr-gamma" : "none" },
          ),
        [value, fraction],
      );
    }
  });
}

Deno.test("diffusionLoss() draws timesteps and noise anew in every replay", async () => {
  const { process, network } = learned();
  const denoise = network(tensor([1]), tensor([0.5]));
  const body = (rng: Rng) => () => {
    const times = rng.integers([4], 0, 1000);
    return {
      loss: diffusionLoss(process, denoise, x0, times, rng, { type: "hybrid" }),
    };
  };
  const step = capture(body(new Rng(5)));
  const called = new Rng(5);
  for (let i = 0; i < 3; i++) step.replay({});
  for (const { loss } of await step.outputs()) {
    await assertClose(body(called)().loss, loss, { atol: 0, rtol: 0 });
  }
  await step.verify({});
  step.dispose();
});

Deno.test("diffusionLoss() draws the noise from a generator as it would be drawn for it", async () => {
  const process = new GaussianDiffusion();
  const loss = (noise: Tensor | Rng) =>
    diffusionLoss(process, (x) => mul(x, 0.5), x0, t, noise);
  await assertClose(loss(new Rng(4)), loss(new Rng(4).normal(shape)));
});

Deno.test("diffusionLoss() takes timesteps from host and device alike", async () => {
  const { process, network } = learned();
  const denoise = network(tensor([1]), tensor([1]));
  const loss = (times: Int32Array | Tensor) =>
    diffusionLoss(process, denoise, x0, times, noise, { type: "hybrid" });
  await assertClose(loss(tensor(t)), loss(t), { atol: 0, rtol: 0 });
  const flat = diffusionLoss(
    new GaussianDiffusion(),
    (x) => mul(x, 0),
    tensor([0.5, 1]),
    Int32Array.of(3, 4),
    tensor([2, -3]),
  );
  await assertClose(flat, [4, 9]);
});

Deno.test("diffusionLoss() refuses options that do not fit", () => {
  const fixed = new GaussianDiffusion();
  const { process } = learned();
  const same = (x: Tensor) => sub(x, 0);
  const twice = (x: Tensor) => concat([x, x, x, x], 1);
  const loss = (
    process: GaussianDiffusion,
    denoise: typeof same,
    options = {},
  ) => diffusionLoss(process, denoise, x0, t, noise, options);
  assert.throws(
    () => loss(fixed, same, { type: "hybrid" }),
    /RangeError: .*variance is fixedlarge; choose learned_range/,
  );
  assert.throws(
    () => loss(fixed, same, { type: "vlb", weighting: "min-snr-gamma" }),
    /RangeError: .*weighting is min-snr-gamma/,
  );
  assert.throws(() => loss(fixed, same, { gamma: 0 }), /gamma is 0/);
  assert.throws(
    () => loss(process, twice),
    /TypeError: .*value is f32\[4, 4, 3, 3\], x0 is f32\[4, 2, 3, 3\]/,
  );
  assert.throws(
    () => diffusionLoss(fixed, same, x0, Int32Array.of(1), noise),
    /one timestep per example/,
  );
});
