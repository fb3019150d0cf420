import assert from "node:assert/strict";
import {
  AdamW,
  AutoencoderKl,
  concat,
  full,
  gradients,
  mean,
  Rng,
  samplePosterior,
  scope,
  std,
  type Tensor,
} from "../../mod.ts";
import { assertClose } from "../_check.ts";

const SMALL = {
  inChannels: 1,
  latentChannels: 2,
  channels: 8,
  multipliers: [1, 2],
  resBlocks: 1,
  groups: 4,
};

Deno.test("AutoencoderKl has 83,653,863 parameters and one of the loss in the published f = 8 form", () => {
  scope(() => {
    const model = new AutoencoderKl(
      { inChannels: 3, multipliers: [1, 2, 4, 4] },
      new Rng(0),
    );
    assert.equal(model.factor, 8);
    assert.equal(model.parameterCount, 83_653_863 + 1);
    const names = Object.keys(model.namedParameters());
    for (
      const name of [
        "encoder.conv_in.weight",
        "encoder.down.0.block.1.norm2.bias",
        "encoder.down.1.block.0.nin_shortcut.weight",
        "encoder.down.2.downsample.conv.weight",
        "encoder.mid.attn_1.proj_out.weight",
        "encoder.norm_out.weight",
        "decoder.mid.block_2.conv1.weight",
        "decoder.up.3.block.2.conv2.weight",
        "decoder.up.1.upsample.conv.bias",
        "decoder.conv_out.bias",
        "quant_conv.weight",
        "post_quant_conv.weight",
        "loss.logvar",
      ]
    ) assert.ok(names.includes(name), name);
    assert.ok(!names.some((name) => /temb|down\.3\.down|up\.0\.up/.test(name)));
    model.dispose();
  });
});

Deno.test("AutoencoderKl makes images smaller by f = 2 and 4, also where sides differ", () => {
  for (const [multipliers, factor] of [[[1, 2], 2], [[1, 1, 2], 4]] as const) {
    scope(() => {
      const rng = new Rng(1);
      const model = new AutoencoderKl({ ...SMALL, multipliers }, rng);
      const x = rng.normal([3, 1, 28, 8]);
      const { mean, logVariance } = model.encode(x);
      assert.equal(model.factor, factor);
      assert.deepEqual(mean.shape, [3, 2, 28 / factor, 8 / factor]);
      assert.deepEqual(logVariance.shape, mean.shape);
      assert.deepEqual(model.decode(mean).shape, x.shape);
      model.dispose();
    });
  }
});

Deno.test("AutoencoderKl explains images that it cannot halve", () => {
  const rng = new Rng(2);
  const model = new AutoencoderKl(SMALL, rng);
  assert.throws(
    () => model.encode(rng.normal([1, 1, 7, 8])),
    /1 channels and sides divisible by 2/,
  );
  assert.throws(() => model.encode(rng.normal([1, 3, 8, 8])), TypeError);
  assert.throws(
    () => model.decode(rng.normal([1, 3, 4, 4])),
    /2 channels/,
  );
});

Deno.test("AutoencoderKl.losses() are those of the formulas", async () => {
  const rng = new Rng(3);
  const model = new AutoencoderKl({ ...SMALL, logvarInit: -0.7 }, rng);
  const x = rng.normal([3, 1, 8, 8]);
  const posterior = model.encode(x);
  const z = samplePosterior(posterior, rng);
  const [images, decoded, mu, logVariance] = await Promise.all(
    [x, model.decode(z), posterior.mean, posterior.logVariance].map((t) =>
      t.data()
    ),
  );
  const errors = Array.from(images!, (value, i) => value - decoded![i]!);
  const average = (values: number[]) =>
    values.reduce((total, value) => total + value, 0) / values.length;
  const perChannel = [0, 0];
  mu!.forEach((m, i) => {
    const v = logVariance![i]!;
    perChannel[Math.floor(i / 16) % 2]! += 0.5 * (m * m + Math.exp(v) - 1 - v) /
      3;
  });
  const kl = perChannel[0]! + perChannel[1]!;
  const s = Math.exp(-0.7);
  const want = {
    l1: average(errors.map((e) => Math.abs(e) / s)) + Math.log(2 * s),
    gaussian: average(
      errors.map((e) => (e * e / s + Math.log(2 * Math.PI * s)) / 2),
    ),
  };
  for (const type of ["l1", "gaussian"] as const) {
    const found = model.losses(x, posterior, z, { type, klWeight: 0.3 });
    await assertClose(found.klPerChannel, perChannel);
    await assertClose(found.kl, [kl]);
    await assertClose(found.mse, [average(errors.map((e) => e * e))]);
    await assertClose(found.reconstruction, [want[type]]);
    await assertClose(found.loss, [want[type] + 0.3 * kl / 64]);
  }
});

Deno.test("samplePosterior() has the posterior's moments", async () => {
  const shape = [100, 1, 10, 10];
  const posterior = {
    mean: full(shape, 3),
    logVariance: full(shape, Math.log(4)),
  };
  const z = samplePosterior(posterior, new Rng(4));
  await assertClose(mean(z), [3], { atol: 0.06 }); // three standard errors
  await assertClose(std(z), [2], { atol: 0.05 });
});

Deno.test("AutoencoderKl learns, in all its parameters", async () => {
  const rng = new Rng(5);
  const model = new AutoencoderKl(SMALL, rng);
  const parameters = model.parameters();
  const optimizer = new AdamW(model, { learningRate: 5e-3 });
  const x = rng.uniform([4, 1, 8, 8], -1, 1);
  const first: number[] = [];
  let slopes: Tensor[] = [];
  for (let step = 0; step < 20; step++) {
    const posterior = model.encode(x);
    const z = samplePosterior(posterior, rng);
    const { loss } = model.losses(x, posterior, z, {
      type: "gaussian",
      klWeight: 1e-6,
    });
    slopes = gradients(loss, parameters);
    optimizer.step(slopes);
    first.push(await loss.item());
  }
  assert.ok(first.at(-1)! < first[0]! - 0.1, first.join(" "));
  const names = Object.keys(model.namedParameters());
  for (const [i, slope] of slopes.entries()) {
    assert.ok((await slope.data()).some((value) => value !== 0), names[i]);
  }
});

Deno.test("normalize() follows the latents of training, and denormalize() is its inverse", async () => {
  const rng = new Rng(6);
  const model = new AutoencoderKl(SMALL, rng);
  const z = concat([
    rng.normal([64, 1, 4, 4], 3, 0.5),
    rng.normal([64, 1, 4, 4], -1, 2),
  ], 1);
  const axis = [0, 2, 3];
  const trained = model.normalize(z, { training: true });
  await assertClose(mean(trained, { axis }), [0, 0], { atol: 1e-5 });
  await assertClose(std(trained, { axis }), [1, 1], { atol: 1e-3 });
  for (let step = 0; step < 200; step++) {
    scope(() => void model.normalize(z, { training: true }));
  }
  const normal = model.normalize(z);
  await assertClose(normal, trained, { atol: 2e-3 });
  await assertClose(model.denormalize(normal), z, { atol: 1e-5 });
  assert.deepEqual(Object.keys(model.namedBuffers()), [
    "latent_norm.running_mean",
    "latent_norm.running_var",
  ]);
});
