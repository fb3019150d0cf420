/**
 * Training of autoencoders, their reconstructions and their probes.
 *
 * @module
 */
import assert from "node:assert/strict";
import {
  Batches,
  loadDigits,
  mean,
  Rng,
  samplePosterior,
  std,
  tensor,
  toBytes,
} from "../../mod.ts";
import { AutoencoderModel, spread } from "../../tasks/_autoencoder.ts";
import {
  AUTOENCODER_EXCLUSIVE,
  AUTOENCODER_PRESET_PREFIX,
  type AutoencoderConfig,
  autoencoderPresetOf,
  autoencoderSchema,
} from "../../tasks/_autoencoder_config.ts";
import { listPresets, resolveConfig } from "../../tasks/_config.ts";
import { shapeOf, Trainer } from "../../tasks/_trainer.ts";
import { assertClose } from "../_check.ts";

const AUTOENCODER = {
  schema: autoencoderSchema,
  preset: "autoencoder-digits",
  presetPrefix: AUTOENCODER_PRESET_PREFIX,
  exclusive: AUTOENCODER_EXCLUSIVE,
};

/** Settings of a network that trains in seconds. */
const TINY = ["autoencoder.channels=8", "batchSize=8", "evaluation.count=70"];

function tiny(...sets: string[]): Promise<AutoencoderConfig> {
  return resolveConfig({ ...AUTOENCODER, sets: [...TINY, ...sets] });
}

const train = loadDigits("train"), test = loadDigits("test");

async function trained(
  config: AutoencoderConfig,
  to: number,
  trainer = new Trainer(new AutoencoderModel(config, shapeOf(train))),
) {
  const batches = new Batches(train, { batchSize: config.batchSize, seed: 0 });
  while (trainer.step < to) await trainer.train(batches.batch(trainer.step));
  await trainer.checkpoint(); // reads the losses, of which the device keeps only so many
  return trainer;
}

Deno.test("every preset of an autoencoder fits the schema, and each data set has its own", async () => {
  const presets = await listPresets(AUTOENCODER_PRESET_PREFIX);
  assert.equal(presets.length, 4);
  for (const dataset of ["digits", "mnist", "fashion-mnist", "cifar10"]) {
    const preset = autoencoderPresetOf(dataset);
    const config = await resolveConfig({ ...AUTOENCODER, preset });
    assert.equal(config.dataset, dataset);
  }
  assert.equal(autoencoderPresetOf("folder:cats"), "autoencoder-cifar10");
  await assert.rejects(
    () => tiny("autoencoder.groups=3"),
    /autoencoder\.groups must be a divisor of the channels of every level, 8, 16/,
  );
});

Deno.test("an autoencoder learns, and shows images above their reconstructions", async () => {
  const config = await tiny("optimizer.warmupSteps=1", "ema.decay=0.5");
  const trainer = await trained(config, 1);
  const first = await trainer.takeLosses();
  await trained(config, 60, trainer);
  await trainer.takeLosses();
  await trained(config, 70, trainer);
  const last = await trainer.takeLosses();
  assert.ok(last.loss! < first.loss! - 0.2, `${first.loss} to ${last.loss}`);
  assert.ok(last.mse! < first.mse!);
  await assertClose([last.kl_channel_0! + last.kl_channel_1!], [last.kl!]);

  const { bytes, count } = (await trainer.picture(() => false))!;
  assert.equal(count, 16); // two rows of four, and theirs
  const { images } = new Batches(train, { batchSize: 8, seed: 0 }).batch(0);
  const row = (i: number) => bytes.subarray(i * 4 * 64, (i + 1) * 4 * 64);
  const input = toBytes(images);
  assert.deepEqual(row(0), input.subarray(0, 4 * 64));
  assert.deepEqual(row(2), input.subarray(4 * 64));
  const difference = (a: Uint8Array, b: Uint8Array) =>
    a.reduce((sum, value, i) => sum + Math.abs(value - b[i]!), 0) / a.length;
  assert.ok(difference(row(1), row(0)) < 0.8 * difference(row(1), row(2)));

  const found = (await trainer.evaluate({ train, test }, () => false))!;
  for (const part of ["train", "test"]) {
    assert.ok(found[`l1_${part}`]! < 1 && found[`mse_${part}`]! < 1);
    assert.ok(found[`kl_${part}`]! > 0);
    assert.ok(found[`latents_in_use_${part}`]! <= 32);
  }
  assert.equal(await trainer.evaluate({ train, test }, () => true), undefined);
});

Deno.test("an autoencoder restored from a checkpoint goes on as if nothing had happened", async () => {
  const config = await tiny();
  const straight = await trained(config, 3);
  const saved = await straight.checkpoint() as Uint8Array<ArrayBuffer>;
  const model = new AutoencoderModel(
    { ...config, seed: 9 },
    shapeOf(train),
  );
  const resumed = new Trainer(model);
  resumed.restore(saved, "here");
  assert.deepEqual(
    await resumed.picture(() => false),
    await straight.picture(() => false),
  );
  for (const trainer of [straight, resumed]) {
    await trained(config, 6, trainer);
  }
  const states = await Promise.all([straight, resumed].map(async (trainer) => {
    const entries = Object.entries(trainer.model.network.stateDict());
    return Object.fromEntries(
      await Promise.all(
        entries.map(async ([name, t]) => [name, await t.data()] as const),
      ),
    );
  }));
  assert.deepEqual(states[1], states[0]);
});

Deno.test("an autoencoder's normalized latents have mean 0 and standard deviation 1", async () => {
  const config = await tiny(
    "ema.decay=0",
    "optimizer.schedule=constant",
    "optimizer.learningRate=0.0003",
  );
  const { model } = await trained(config, 80, await trained(config, 40));
  const { images, labels } = [...spread(train, 64)][0]!;
  assert.deepEqual(labels.length, 64);
  const { network } = model;
  const z = samplePosterior(
    network.encode(tensor(images, [64, 1, 8, 8])),
    new Rng(1),
  );
  const axis = [0, 2, 3];
  const normal = network.normalize(z);
  await assertClose(mean(normal, { axis }), [0, 0], { atol: 0.15 });
  await assertClose(std(normal, { axis }), [1, 1], { atol: 0.15 });
});

Deno.test("spread() takes images from all of a data set", () => {
  const all = [...spread(train, 5000)];
  assert.equal(
    all.reduce((sum, { labels }) => sum + labels.length, 0),
    train.length,
  );
  const few = [...spread(train, 70)];
  assert.deepEqual(few.map(({ labels }) => labels.length), [64, 6]);
  const last = Math.floor(69 * train.length / 70);
  assert.equal(few[1]!.labels[5], train.labels[last]);
  assert.deepEqual(
    toBytes(few[1]!.images.subarray(5 * 64)),
    train.images.slice(last * 64, (last + 1) * 64),
  );
});

Deno.test("an autoencoder explains images that it cannot halve", async () => {
  const config = await tiny("autoencoder.multipliers=[1, 1, 1, 1, 1]");
  assert.throws(
    () => new AutoencoderModel(config, shapeOf(train)),
    /16 times smaller, so sides must be multiples of 16 pixels: they are 8 × 8/,
  );
});
