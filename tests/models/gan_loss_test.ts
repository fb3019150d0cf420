import assert from "node:assert/strict";
import {
  Adam,
  add,
  capture,
  Dcgan,
  flatten,
  full,
  gradientPenalty,
  gradients,
  hingeLoss,
  instanceNoise,
  KerasDcgan,
  live,
  mul,
  nonSaturatingLoss,
  r1Penalty,
  Rng,
  square,
  sum,
  type Tensor,
  tensor,
  wassersteinLoss,
} from "../../mod.ts";
import { assertClose, assertGradient } from "../_check.ts";

const REAL = [1.5, -0.3, 0.2], FAKE = [-2, 0.4, 1.2, -0.1];
const average = (values: number[]) =>
  values.reduce((a, b) => a + b) / values.length;
const entropy = (logit: number, target: number) => {
  const p = 1 / (1 + Math.exp(-logit));
  return -target * Math.log(p) - (1 - target) * Math.log(1 - p);
};

Deno.test("GAN losses are those of the formulas", async () => {
  const real = tensor(REAL), fake = tensor(FAKE);
  const cases = [
    [
      nonSaturatingLoss(),
      average(REAL.map((v) => entropy(v, 1))) +
      average(FAKE.map((v) => entropy(v, 0))),
      average(FAKE.map((v) => entropy(v, 1))),
    ],
    [
      nonSaturatingLoss({ real: 0.9, fake: 0.1, generator: 0.9 }),
      average(REAL.map((v) => entropy(v, 0.9))) +
      average(FAKE.map((v) => entropy(v, 0.1))),
      average(FAKE.map((v) => entropy(v, 0.9))),
    ],
    [
      hingeLoss(),
      average(REAL.map((v) => Math.max(0, 1 - v))) +
      average(FAKE.map((v) => Math.max(0, 1 + v))),
      -average(FAKE),
    ],
    [wassersteinLoss(), average(FAKE) - average(REAL), -average(FAKE)],
  ] as const;
  for (const [loss, discriminator, generator] of cases) {
    const close = { atol: 1e-5 };
    await assertClose(loss.discriminator(real, fake), [discriminator], close);
    await assertClose(loss.generator(fake), [generator], close);
    await assertGradient(loss.discriminator, [real, fake]);
    await assertGradient(loss.generator, [fake]);
  }
  assert.throws(
    () => nonSaturatingLoss({ real: 1.1 }),
    /targets must lie in 0 … 1/,
  );
});

/** A critic `½ a |x|² + w·x`, whose slope is `a x + w`. */
function critic(a: Tensor | number, w: Tensor) {
  return (x: Tensor) => {
    const flat = flatten(x, 1);
    return add(
      mul(sum(square(flat), { axis: 1 }), mul(a, 0.5)),
      sum(mul(flat, w), { axis: 1 }),
    );
  };
}

Deno.test("gradientPenalty() is (|slope| - 1)² between real and fake", async () => {
  const rng = new Rng(1);
  const real = rng.normal([5, 1, 2, 2]), fake = rng.normal([5, 1, 2, 2]);
  const w = rng.normal([4]);
  const slope = Math.hypot(...await w.data());
  await assertClose(
    gradientPenalty(critic(0, w), real, fake, rng),
    [(slope - 1) ** 2],
    { rtol: 1e-5 },
  );
  // With a slope of x̂ itself the place counts; the same draw gives it.
  const share = await new Rng(2).uniform([5, 1, 1, 1]).data();
  const [r, f] = await Promise.all([real.data(), fake.data()]);
  const slopes = [0, 1, 2, 3, 4].map((n) =>
    Math.hypot(
      ...[0, 1, 2, 3].map((i) => {
        const k = 4 * n + i;
        return 3 * (f[k]! + share[n]! * (r[k]! - f[k]!));
      }),
    )
  );
  await assertClose(
    gradientPenalty(critic(3, full([4], 0)), real, fake, new Rng(2)),
    [average(slopes.map((s) => (s - 1) ** 2))],
    { rtol: 1e-5 },
  );
  assert.throws(
    () => gradientPenalty(critic(1, w), real, fake.view([5, 4]), rng),
    /one shape/,
  );
});

Deno.test("r1Penalty() is half the squared slope at real images", async () => {
  const rng = new Rng(3);
  const real = rng.normal([6, 1, 2, 2]);
  const values = Array.from(await real.data());
  const want = values.reduce((sum, v) => sum + (2 * v) ** 2, 0) / 6 / 2;
  await assertClose(r1Penalty(critic(2, full([4], 0)), real), [want]);
});

Deno.test("Penalties have the right gradient in the critic", async () => {
  const rng = new Rng(4);
  const real = rng.normal([3, 1, 1, 2]), fake = rng.normal([3, 1, 1, 2]);
  const a = full([], 0.7), w = rng.normal([2]);
  await assertGradient(
    (a, w) => gradientPenalty(critic(a, w), real, fake, new Rng(5)),
    [a, w],
  );
  await assertGradient((a, w) => r1Penalty(critic(a, w), real), [a, w]);
});

Deno.test("gradientPenalty() reaches the weights of spectral and Keras discriminators", async () => {
  const rng = new Rng(8);
  const options = { size: 8, inChannels: 1, numClasses: 3 };
  const real = rng.normal([2, 1, 8, 8]), fake = rng.normal([2, 1, 8, 8]);
  const y = tensor([0, 2], undefined, "i32"), condition = "projection";
  for (
    const { D } of [
      new Dcgan({ ...options, norm: "spectral" }, rng),
      new Dcgan({ ...options, norm: "spectral", condition }, rng),
      new KerasDcgan({ ...options, condition }, rng),
    ]
  ) {
    const judge = (x: Tensor) => D.forward(x, { y, training: true, rng });
    const penalty = gradientPenalty(judge, real, fake, rng);
    const named = Object.entries(D.namedParameters())
      .filter(([name]) => /^(main|conv|fc).*weight/.test(name)); // no bias: it shifts kinks only
    const slopes = gradients(penalty, named.map(([, weight]) => weight));
    for (const [i, slope] of slopes.entries()) {
      const values = await slope.data();
      assert.ok(values.some((v) => v !== 0), named[i]![0]);
      assert.ok(values.every(Number.isFinite), named[i]![0]);
    }
  }
});

Deno.test("gradientPenalty() brings the slope of a discriminator to 1, captured", async () => {
  const rng = new Rng(6);
  const { D } = new Dcgan({
    size: 8,
    inChannels: 1,
    discriminatorChannels: [6, 8],
    norm: "none",
  }, rng);
  const real = rng.normal([8, 1, 8, 8]), fake = rng.normal([8, 1, 8, 8]);
  const optimizer = new Adam(D.parameters(), { learningRate: 1e-2 });
  const step = capture(() => {
    const penalty = gradientPenalty((x) => D.forward(x), real, fake, rng);
    optimizer.step(gradients(penalty, D.parameters()));
    return { penalty };
  }, { rows: 60 });
  for (let i = 0; i < 60; i++) step.replay({});
  const curve = (await step.outputs()).map(({ penalty }) => penalty[0]!);
  assert.ok(curve[0]! > 0.9 && curve.at(-1)! < 0.05, `${curve}`);
  step.dispose();
});

Deno.test("instanceNoise() adds noise of the given deviation, also of one that is asked for", async () => {
  const x = full([20_000], 2);
  for (const std of [0.1, live(() => 0.1)]) {
    const values = Array.from(await instanceNoise(x, std, new Rng(7)).data());
    const mean = average(values);
    const spread = Math.sqrt(average(values.map((v) => (v - mean) ** 2)));
    await assertClose([mean, spread], [2, 0.1], { atol: 3e-3 });
  }
  const same = instanceNoise(x, 0, new Rng(7));
  await assertClose(same, x, { atol: 0, rtol: 0 });
});
