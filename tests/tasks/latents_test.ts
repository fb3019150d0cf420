/**
 * Diffusion on the latents of an autoencoder, apart and together with it.
 *
 * @module
 */
import assert from "node:assert/strict";
import {
  Batches,
  gradients,
  loadDigits,
  Rng,
  scope,
  sub,
  tensor,
} from "../../mod.ts";
import {
  AutoencoderModel,
  loadAutoencoder,
  spread,
} from "../../tasks/_autoencoder.ts";
import { autoencoderSchema } from "../../tasks/_autoencoder_config.ts";
import { resolveConfig } from "../../tasks/_config.ts";
import { type DdpmModel, loadDdpm } from "../../tasks/_ddpm.ts";
import { type DdpmConfig, ddpmSchema } from "../../tasks/_ddpm_config.ts";
import { JointModel } from "../../tasks/_joint.ts";
import {
  JOINT_PRESET_PREFIX,
  type JointConfig,
  jointPresetOf,
  jointSchema,
} from "../../tasks/_joint_config.ts";
import { readPixels } from "../../tasks/_images.ts";
import { FrozenLatents, openLatents } from "../../tasks/_latents.ts";
import { MODELS } from "../../tasks/_models.ts";
import { RunFolder } from "../../tasks/_run_folder.ts";
import {
  type DataShape,
  shapeOf,
  type Trainable,
  Trainer,
} from "../../tasks/_trainer.ts";
import { assertClose } from "../_check.ts";

const data = loadDigits("train");
const SHAPE = shapeOf(data);

async function inFolder(body: (folder: string) => Promise<void>) {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function train<M extends Trainable>(trainer: Trainer<M>, to: number) {
  const { batchSize } = trainer.model.config;
  const batches = new Batches(data, { batchSize, seed: 0 });
  while (trainer.step < to) await trainer.train(batches.batch(trainer.step));
  return trainer;
}

/** A run of an autoencoder, trained for two steps. */
async function autoencoderRun(
  folder: string,
  name: string,
  ...sets: string[]
): Promise<string> {
  const config = await resolveConfig({
    schema: autoencoderSchema,
    preset: "autoencoder-digits",
    sets: ["autoencoder.channels=4", "batchSize=4", ...sets],
  });
  const trainer = new Trainer(new AutoencoderModel(config, SHAPE));
  await train(trainer, 2);
  const run = await RunFolder.create(`${folder}/${name}`);
  await run.writeConfig(config, {});
  const bytes = await trainer.checkpoint();
  await run.saveCheckpoint(2, bytes, 1);
  return run.path;
}

function ddpmConfig(path: string, ...sets: string[]): Promise<DdpmConfig> {
  return resolveConfig({
    schema: ddpmSchema,
    preset: "ddpm-digits",
    exclusive: MODELS.ddpm!.exclusive,
    sets: [
      `latent.autoencoder=${path}`,
      "unet.channels=4",
      "unet.groups=2",
      "batchSize=4",
      "diffusion.timesteps=20",
      "samples.count=3",
      "samples.steps=2",
      ...sets,
    ],
  });
}

async function build(
  config: DdpmConfig,
  shape: DataShape = SHAPE,
): Promise<Trainer<DdpmModel>> {
  const model = await MODELS.ddpm!.create(config, shape);
  return new Trainer(model as DdpmModel);
}

async function checkpointOf(trainer: Trainer) {
  return await trainer.checkpoint() as Uint8Array<ArrayBuffer>;
}

Deno.test("Latents normalise what the autoencoder gives, and turn back", async () => {
  await inFolder(async (folder) => {
    const path = await autoencoderRun(folder, "ae");
    const config = { autoencoder: path, sample: true };
    const latents = await openLatents(config, SHAPE);
    assert.deepEqual(latents.shape, {
      ...SHAPE,
      channels: 2,
      height: 4,
      width: 4,
    });
    const { network } = await loadAutoencoder(path);
    const { images } = [...spread(data, 5)][0]!;
    const x = tensor(images, [5, 1, 8, 8]);
    const { mean } = network.encode(x);
    const z = latents.encode(x);
    await assertClose(z, network.normalize(mean));
    await assertClose(latents.decode(z), network.decode(mean), { atol: 1e-4 });
    const drawn = latents.encode(x, new Rng(1));
    const differences = await sub(drawn, z).data();
    assert.ok(differences.every((value) => value !== 0));
  });
});

Deno.test("a latent run needs only its checkpoints to go on and to be sampled", async () => {
  await inFolder(async (folder) => {
    const path = await autoencoderRun(folder, "ae");
    const straight = await build(await ddpmConfig(path));
    await train(straight, 2);
    const middle = await checkpointOf(straight);
    await train(straight, 4);
    const end = await checkpointOf(straight);

    const { config } = straight.model;
    assert.equal(config.latent!.architecture!.channels, 4);
    // The autoencoder is trained anew with other sizes, then gone.
    await Deno.remove(path, { recursive: true });
    await autoencoderRun(folder, "ae", "autoencoder.latentChannels=3");
    for (const gone of [false, true]) {
      if (gone) await Deno.remove(path, { recursive: true });
      const resumed = await build(config);
      resumed.restore(middle, "middle");
      await train(resumed, 4);
      assert.deepEqual(await checkpointOf(resumed), end);
      const fresh = await build(config);
      await assert.rejects(
        () => train(fresh, 1),
        /no checkpoint with the autoencoder's weights, and its own run is gone or another: .*ae$/,
      );
    }

    const { model, step } = loadDdpm(end, "end", true);
    assert.equal(step, 4);
    const bytes = await model.sample({ count: 3, seed: 0 });
    assert.equal(bytes!.length, 3 * 64); // of images, not of latents
    const { bytes: drawn, count } = (await straight.picture(() => false))!;
    assert.equal(count, 3);
    assert.deepEqual(drawn, bytes);
  });
});

/** A task as a user runs it, in a folder. */
async function task(folder: string, name: string, ...args: string[]) {
  const url = new URL(`../../tasks/${name}.ts`, import.meta.url);
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", url.href, ...args],
    cwd: folder,
    env: { NO_COLOR: "1", INIT_CWD: folder },
    stdin: "null",
  }).output();
  return { code, err: new TextDecoder().decode(stderr) };
}

Deno.test("train autoencoder, train ddpm on it, and sample what it has learned", async () => {
  await inFolder(async (folder) => {
    const sets = (...settings: string[]) =>
      settings.flatMap((setting) => ["--set", setting]);
    const done = async (name: string, ...args: string[]) => {
      const { code, err } = await task(folder, name, ...args);
      assert.equal(code, 0, err);
      return err;
    };
    const tiny = ["--steps", "2", "--batch-size", "4"];
    const quick = sets("autoencoder.channels=4", "evaluateEvery=0");
    const alone = ["train", "autoencoder", ...tiny, ...quick] as const;
    assert.match(
      await done(...alone, "--out", "ae"),
      /Latents: 4 × 4 × 2 \(f = 2\), 32 values for the 64 of an image[^]*More: .* probe /,
    );
    const small = sets(
      "latent.autoencoder=ae",
      "unet.channels=4",
      "unet.groups=2",
      "samples.steps=2",
      "samples.count=4",
    );
    assert.match(
      await done("train", "ddpm", ...tiny, ...small, "--out", "ldm"),
      /Latents: 4 × 4 × 2 \(f = 2\), by the autoencoder of .*ae\n/,
    );
    await Deno.remove(`${folder}/ae`, { recursive: true });
    await done("train", "ddpm", "--resume", "ldm", "--steps", "3");
    await done("sample", "ldm", "--count", "4", "--grid", "grid.png");
    for (const file of ["ldm/samples/step-3.png", "grid.png"]) {
      const { width, height } = await readPixels(`${folder}/${file}`);
      assert.deepEqual([width, height], [102, 102], file); // 2 × 2 of 8 pixels, each 6 × 6
    }
    const refused = await task(
      folder,
      "sample",
      "ldm",
      "--threshold",
      "dynamic",
    );
    assert.equal(refused.code, 2);
    assert.match(refused.err, /--threshold must be static or none/);
  });
});

Deno.test("latents go with conditions, guidance, self-conditioning, EDM and every sampler", async () => {
  await inFolder(async (folder) => {
    const path = await autoencoderRun(folder, "ae");
    const cases = [
      ["conditional=true", "labelDropout=0.1", "samples.guidance=2"],
      ["selfConditioning=true", "diffusion.prediction=v"],
      ["loss.type=hybrid", "diffusion.variance=learned_range"],
      ["loss.type=edm", "samples.sampler=heun", "latent.sample=false"],
    ];
    for (const sets of cases) {
      const trainer = await build(await ddpmConfig(path, ...sets));
      await train(trainer, 1);
      assert.ok(Number.isFinite((await trainer.takeLosses()).loss));
      assert.equal((await trainer.picture(() => false))!.bytes.length, 3 * 64);
      if (sets[0] === "loss.type=edm") {
        assert.equal(trainer.model.edm!.sigmaData, 1);
      }
    }
    const { model } = await build(await ddpmConfig(path));
    for (
      const sampler of ["ddpm", "ddim", "dpmpp", "heun", "euler-ancestral"]
    ) {
      const bytes = await model.sample({
        count: 2,
        seed: 1,
        steps: 3,
        sampler: sampler as "ddpm",
      });
      assert.equal(bytes!.length, 2 * 64, sampler);
    }
  });
});

Deno.test("a latent configuration that does not fit is explained", async () => {
  await inFolder(async (folder) => {
    const path = await autoencoderRun(folder, "ae");
    const config = await ddpmConfig(path);
    const cases: [() => Promise<unknown>, RegExp][] = [
      [
        async () => build(await ddpmConfig(`${folder}/none`)),
        /Cannot find a run in .*none/,
      ],
      [
        () => build(config, { ...SHAPE, channels: 3 }),
        /images must be like those of the data set, 8 × 8 × 3: they are 8 × 8 × 1/,
      ],
      [
        () => build(config, { ...SHAPE, height: 16, width: 16 }),
        /the data set, 16 × 16 × 1: they are 8 × 8 × 1/,
      ],
      [
        async () =>
          build(await ddpmConfig(path, "unet.multipliers=[1, 1, 1, 1]")),
        /halves latents 3 times, so sides must be multiples of 8 pixels: they are 4 × 4/,
      ],
      [
        () => ddpmConfig(path, "evaluateEvery=5"),
        /evaluateEvery must be 0 with latent, as the bits\/dim of latents are not those of images/,
      ],
      [
        () => ddpmConfig(path, "samples.threshold=dynamic"),
        /samples.threshold must be static or none with latent/,
      ],
    ];
    for (const [attempt, message] of cases) {
      await assert.rejects(attempt, message);
    }
    const run = await RunFolder.create(`${folder}/ddpm`);
    const trainer = await build(config);
    await run.writeConfig(trainer.model.config, {});
    await assert.rejects(
      () => loadAutoencoder(run.path),
      /the run has no checkpoint yet/,
    );
    await run.saveCheckpoint(0, await trainer.checkpoint(), 1);
    await assert.rejects(
      () => loadAutoencoder(run.path),
      /it is a run of ddpm: train an autoencoder/,
    );
  });
});

function jointConfig(...sets: string[]): Promise<JointConfig> {
  return resolveConfig({
    schema: jointSchema,
    preset: "joint-digits",
    presetPrefix: JOINT_PRESET_PREFIX,
    exclusive: MODELS.joint!.exclusive,
    sets: [
      "autoencoder.channels=4",
      "unet.channels=4",
      "unet.groups=2",
      "batchSize=4",
      "diffusion.timesteps=20",
      "stages.autoencoderSteps=2",
      "stages.detachedSteps=2",
      "samples.count=3",
      "samples.steps=2",
      ...sets,
    ],
  });
}

Deno.test("every preset of a joint model fits the schema", async () => {
  for (const dataset of ["digits", "mnist", "fashion-mnist", "cifar10"]) {
    const preset = jointPresetOf(dataset);
    await resolveConfig({ schema: jointSchema, preset });
  }
  await assert.rejects(
    () => jointConfig("autoencoder.groups=3"),
    /autoencoder.groups must be a divisor/,
  );
  await assert.rejects(
    () => jointConfig("loss.firstTimestep=20"),
    /loss.firstTimestep must be below/,
  );
});

Deno.test("the denoising loss reaches the encoder in the last stage of a joint model, and only there", async () => {
  const config = await jointConfig(
    "stages.weight=1",
    "reconstruction.klWeight=0",
  );
  const model = new JointModel(config, SHAPE);
  assert.deepEqual([0, 1, 2, 3, 4, 99].map((step) => model.stage(step)), [
    "autoencoder",
    "autoencoder",
    "detached",
    "detached",
    "joint",
    "joint",
  ]);
  const { images, labels } = new Batches(data, { batchSize: 4, seed: 0 })
    .batch(0);
  const slopes = async (step: number) => {
    const states = Object.values(model.rngs).map((rng) => rng.state);
    const { encoder, quant_conv } = model.network.autoencoder;
    const { conv_out } = model.network.denoiser as unknown as {
      conv_out: typeof quant_conv;
    };
    const found = scope(() => {
      const inputs = {
        images: tensor(images, [4, 1, 8, 8]),
        labels: tensor(labels),
      };
      const { loss } = model.losses(inputs, step);
      return gradients(loss, [
        ...encoder.parameters(),
        conv_out.weight,
      ]);
    });
    Object.values(model.rngs).forEach((rng, i) => rng.state = states[i]!);
    const values = await Promise.all(found.map((t) => t.data()));
    return { encoder: values.slice(0, -1), denoiser: values.at(-1)! };
  };
  const [alone, detached, joint] = [
    await slopes(0),
    await slopes(2),
    await slopes(4),
  ];
  assert.deepEqual(detached!.encoder, alone!.encoder);
  assert.notDeepEqual(joint!.encoder, alone!.encoder);
  assert.ok(alone!.denoiser.every((value) => value === 0));
  assert.ok(detached!.denoiser.some((value) => value !== 0));
  assert.deepEqual(joint!.denoiser, detached!.denoiser);
});

Deno.test("a joint run goes on over its stages as if nothing had happened, and gives both of its models", async () => {
  await inFolder(async (folder) => {
    const config = await jointConfig("loss.timesteps=importance");
    const make = () => new Trainer(new JointModel(config, SHAPE));
    const straight = await train(make(), 1);
    const first = await checkpointOf(straight);
    await train(straight, 6);
    const end = await checkpointOf(straight);
    const resumed = make();
    resumed.restore(first, "first");
    await train(resumed, 3);
    const later = make();
    later.restore(await checkpointOf(resumed), "later");
    await train(later, 6);
    assert.deepEqual(await checkpointOf(later), end);

    const { model } = loadDdpm(end, "end", true);
    const { bytes } = (await straight.picture(() => false))!;
    assert.deepEqual(await model.sample({ count: 3, seed: 0 }), bytes);
    const run = await RunFolder.create(`${folder}/joint`);
    await run.writeConfig(config, {});
    await run.saveCheckpoint(6, end, 1);
    const { network } = await loadAutoencoder(run.path);
    assert.ok(model.latents && !(model.latents instanceof FrozenLatents));
    await assertClose(
      network.quant_conv.weight,
      model.latents.network.quant_conv.weight,
      { atol: 0, rtol: 0 },
    );
    const found = await straight.evaluate(
      { train: data, test: data },
      () => false,
    );
    assert.ok(found!.mse_test! > 0);
  });
});
