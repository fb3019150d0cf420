/**
 * Training of variational autoencoders, and drawing from them.
 *
 * @module
 */
import assert from "node:assert/strict";
import { Batches, listDatasets, loadDigits } from "../../mod.ts";
import { listPresets, resolveConfig } from "../../tasks/_config.ts";
import { RunFolder } from "../../tasks/_run_folder.ts";
import { shapeOf, Trainer } from "../../tasks/_trainer.ts";
import { VaeModel } from "../../tasks/_vae.ts";
import {
  CONV_VAE_PRESET_PREFIX,
  convVaePresetOf,
  VAE_EXCLUSIVE,
  VAE_PRESET_PREFIX,
  type VaeConfig,
  vaePresetOf,
  vaeSchema,
} from "../../tasks/_vae_config.ts";
import { vaeGenerator } from "../../tasks/_vae_generator.ts";
import { gridOfLatents } from "../../tasks/_vae_figures.ts";
import { type Latents, openMixtures } from "../../tasks/_vae_mixtures.ts";
import { assertClose } from "../_check.ts";
import { inFolder, run } from "./_subprocess.ts";

function resolve(preset: string, ...sets: string[]): Promise<VaeConfig> {
  return resolveConfig({
    schema: vaeSchema,
    exclusive: VAE_EXCLUSIVE,
    preset,
    sets,
  });
}

/** A network that trains in a second. */
const TINY = ["dense.hidden=[16]", "latent=3", "batchSize=8", "steps=4"];

const tiny = await resolve("vae-digits", ...TINY);

const train = loadDigits("train"), test = loadDigits("test");

/** Trains to a step, or on. */
async function trained(
  config: VaeConfig,
  to: number,
  trainer = new Trainer(new VaeModel(config, shapeOf(train))),
) {
  const batches = new Batches(train, { batchSize: config.batchSize, seed: 0 });
  while (trainer.step < to) await trainer.train(batches.batch(trainer.step));
  await trainer.checkpoint(); // reads the losses, of which the device keeps only so many
  return trainer;
}

Deno.test("every preset of a VAE fits its data, and its head tells its parameters", async () => {
  const names = [
    ...await listPresets(VAE_PRESET_PREFIX),
    ...await listPresets(CONV_VAE_PRESET_PREFIX),
  ];
  assert.ok(names.length >= 11);
  for (const name of names) {
    const config = await resolve(name);
    const info = listDatasets().find(({ name }) => name === config.dataset)!;
    const [channels, height, width] = info.shape;
    const classNames = Array.from({ length: 10 }, (_, i) => String(i));
    const { network } = new VaeModel(config, {
      channels,
      height,
      width,
      classNames,
    });
    const text = await Deno.readTextFile(
      new URL(`../../tasks/presets/${name}.yaml`, import.meta.url),
    );
    const parameters = network.parameterCount.toLocaleString("en");
    assert.ok(
      text.includes(`${parameters} parameters.`),
      `${name}: ${parameters}`,
    );
    network.dispose();
  }
  for (const dataset of ["digits", "mnist", "fashion-mnist", "folder:cats"]) {
    assert.ok(names.includes(vaePresetOf(dataset)));
    assert.ok(names.includes(convVaePresetOf(dataset)));
  }
});

Deno.test("a VAE as published differs from its correction in its defects alone", async () => {
  for (const name of ["vae-mnist-2d", "vae-fashion-mnist-2d"]) {
    const [is, was] = await Promise.all(
      [name, `${name}-as-published`].map((preset) => resolve(preset)),
    );
    const same = ({ ema: _, manifold: __, optimizer, ...rest }: VaeConfig) => ({
      ...rest,
      optimizer: { ...optimizer, gradientClip: 0 },
    });
    assert.deepEqual(same(is!), same(was!));
    assert.deepEqual(was!.manifold, { grid: "uniform", size: 99 });
    assert.equal(was!.ema.decay, 0);
  }
});

Deno.test("the configuration of a VAE says what does not fit", async () => {
  const wrong: [string, RegExp][] = [
    ["likelihood.binarize=static", /binarize must be none, as discretized/],
    [
      "likelihood.type=poisson",
      /likelihood\.type must be bernoulli, gaussian or/,
    ],
    ["latent=0", /latent must be at least 1/],
    ["loss.beta=-1", /loss\.beta must be at least 0/],
    ["loss.freeBits=-1", /loss\.freeBits must be at least 0/],
    ["manifold.size=9", /manifold must be left .* of 2 latents: latent is \d+/],
  ];
  for (const [set, want] of wrong) {
    await assert.rejects(() => resolve("vae-digits", set), want);
  }
  await assert.rejects(
    () => resolve("vae-mnist", "likelihood.cdf=erf"),
    /likelihood\.cdf must be left out, as bernoulli has no bins/,
  );
  await assert.rejects(
    () => resolve("vae-mnist", "likelihood.sigma=1"),
    /likelihood\.sigma must be left out, as bernoulli has no width/,
  );
  const { dense, conv } = await resolve("vae-digits", "conv.channels=4");
  assert.ok(!dense && conv);
  assert.throws(
    () =>
      new VaeModel({ ...tiny, conv, dense }, { ...shapeOf(train), height: 9 }),
    /sides must be divisible by 4/,
  );
});

Deno.test("a VAE learns, and its bound is the sum of what it consists of", async () => {
  const config = await resolve(
    "vae-digits",
    ...TINY,
    "steps=60",
    "optimizer.warmupSteps=0",
    "optimizer.learningRate=0.01",
    "ema.decay=0",
    "evaluation.count=70",
    "evaluation.importanceSamples=9",
  );
  const trainer = await trained(config, 10);
  const first = await trainer.takeLosses();
  const early = (await trainer.evaluate({ train, test }, () => false))!;
  assert.equal(early.iwae_test, undefined); // at the end only
  await trained(config, 50, trainer);
  await trainer.takeLosses();
  await trained(config, 60, trainer);
  const last = await trainer.takeLosses();
  assert.ok(last.loss! < first.loss! - 10, `${first.loss} to ${last.loss}`);
  await assertClose([last.reconstruction! + last.kl!], [last.loss!], {
    rtol: 1e-4,
  });
  assert.ok(
    Math.abs(last.sigma! - first.sigma!) > 0.01,
    "the width is learned",
  );

  const found = (await trainer.evaluate({ train, test }, () => false))!;
  for (const part of ["train", "test"]) {
    const [elbo, iwae, reconstruction, kl, bits] = [
      "elbo",
      "iwae",
      "reconstruction",
      "kl",
      "bits_per_dim",
    ].map((name) => found[`${name}_${part}`]!);
    assert.ok(Math.abs(elbo! + reconstruction! + kl!) < 1e-9);
    assert.ok(Math.abs(bits! + elbo! / (64 * Math.LN2)) < 1e-9);
    assert.ok(iwae! > elbo! - 0.1, `${iwae} is the tighter bound than ${elbo}`);
    assert.ok(elbo! > early[`elbo_${part}`]!);
  }
  assert.deepEqual(
    await trainer.evaluate({ train, test }, () => false),
    found,
    "draws are the same each time",
  );
  assert.equal(await trainer.evaluate({ train, test }, () => true), undefined);
});

Deno.test("beta rises from 0 in its warm-up", async () => {
  const config = await resolve(
    "vae-digits",
    ...TINY,
    "loss.beta=2",
    "loss.warmupSteps=2",
  );
  const trainer = new Trainer(new VaeModel(config, shapeOf(train)));
  for (const [step, beta] of [0, 1, 2, 2].entries()) {
    await trained(config, step + 1, trainer);
    const { loss, reconstruction, kl } = await trainer.takeLosses();
    await assertClose([loss!], [reconstruction! + beta * kl!], { rtol: 1e-4 });
  }
});

Deno.test("free bits are charged whatever the latents say", async () => {
  const config = await resolve("vae-digits", ...TINY, "loss.freeBits=50");
  const trainer = await trained(config, 2);
  const { loss, reconstruction, kl } = await trainer.takeLosses();
  await assertClose([loss!], [reconstruction! + 3 * 50], { rtol: 1e-4 });
  assert.ok(kl! < 50, "the log has the divergence itself");
  assert.match(trainer.model.report()[0]!, /; 50 nats of each latent are free/);
});

Deno.test("images on the way between draws from the prior, a row to each way", async () => {
  await inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/config.yaml`, "model: vae\n");
    const trainer = await trained(
      await resolve("vae-digits", ...TINY, "conditional=true"),
      1,
    );
    const bytes = await trainer.checkpoint() as Uint8Array<ArrayBuffer>;
    const defaults = {
      ...{ count: 64, first: 0, seed: 1, ema: true, class: undefined },
      gmm: undefined,
      components: undefined,
      minResponsibility: undefined,
      dataDir: undefined,
    };
    const open = (interpolate?: number) =>
      RunFolder.open(folder).then((run) =>
        vaeGenerator.open({
          run,
          checkpoint: { bytes, path: "here" },
          say: () => {},
          quiet: true,
        }, { ...defaults, interpolate })
      );
    const plain = await open(), rows = await open(5);
    assert.deepEqual([plain.columns, rows.columns], [undefined, 5]);
    const draw = async (
      from: typeof plain,
      first: number,
      classes: number[],
    ) =>
      (await from.generate({
        count: classes.length,
        seed: 1,
        first,
        classes: Int32Array.from(classes),
      }))!;
    const all = await draw(rows, 0, [2, 2, 2, 2, 2, 3, 3, 3, 3, 3]);
    const image = (i: number) => all.slice(i * 64, (i + 1) * 64);
    // A row ends where draws are.
    assert.deepEqual(image(0), await draw(plain, 0, [2]));
    assert.deepEqual(image(4), await draw(plain, 1, [2]));
    assert.deepEqual(image(5), await draw(plain, 2, [3]));
    assert.deepEqual(image(9), await draw(plain, 3, [3]));
    assert.notDeepEqual(image(2), image(0));
    assert.notDeepEqual(image(2), image(4));
    // Part of a row is the same as in the whole.
    const part = await draw(rows, 2, [2, 2, 2]);
    assert.deepEqual(part, all.slice(2 * 64, 5 * 64));
  });
});

Deno.test("a conditional, binary VAE resumes bit for bit", async () => {
  const config = await resolve(
    "vae-digits",
    ...TINY,
    "likelihood.type=bernoulli",
    "likelihood.binarize=dynamic",
    "conditional=true",
    "dense.dropout=0.2",
    "dense.batchNorm=true",
  );
  const straight = await trained(config, 2);
  const saved = await straight.checkpoint() as Uint8Array<ArrayBuffer>;
  const resumed = new Trainer(
    new VaeModel({ ...config, seed: 9 }, shapeOf(train)),
  );
  resumed.restore(saved, "here");
  const shown = await resumed.picture(() => false);
  assert.equal(shown!.count, 16); // a row of four, theirs, and two of new ones
  // Binary images have nothing but black and white.
  assert.ok(
    shown!.bytes.subarray(0, 4 * 64).every((b) => b === 0 || b === 255),
  );
  for (const trainer of [straight, resumed]) await trained(config, 4, trainer);
  const [a, b] = await Promise.all(
    [straight, resumed].map(async ({ model }) =>
      await Promise.all(
        Object.values(model.network.stateDict()).map((t) => t.data()),
      )
    ),
  );
  assert.deepEqual(b, a);
});

Deno.test("the grid of latents has equal shares of the prior, or even steps", async () => {
  const normal = gridOfLatents({ grid: "normal", size: 20 });
  // Φ⁻¹ of 0.025, 0.525 and 0.975.
  await assertClose([normal[0]!, normal[10]!, normal[19]!], [
    -1.959964,
    0.062707,
    1.959964,
  ], { atol: 1e-6 });
  assert.deepEqual(gridOfLatents({ grid: "uniform", size: 3 }), [-3, 0, 3]);
});

Deno.test("mixtures are fitted once for a checkpoint, and say which class cannot be", async () => {
  await inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/config.yaml`, "model: vae\n");
    const place = await RunFolder.open(folder);
    const model = new VaeModel(
      tiny,
      { ...shapeOf(train), classNames: ["cat", "dog"] },
    );
    const labels = Int32Array.from({ length: 12 }, (_, i) => i % 2);
    const data = Float32Array.from({ length: 36 }, (_, i) => Math.sin(i * i));
    const latents = (labels: Int32Array<ArrayBuffer>): Latents => ({
      means: { data, shape: [12, 3] },
      logVariances: new Float32Array(36),
      labels,
    });
    let fits = 0;
    const open = (step: number, components: number, of: "class" | "all") =>
      openMixtures(place, model, { of, step, ema: true, components }, () => {
        fits++;
        return Promise.resolve(latents(labels));
      });
    const first = await open(1, 1, "class");
    const again = await open(1, 1, "class");
    assert.deepEqual(again.mixtures.toJSON(), first.mixtures.toJSON());
    assert.equal(fits, 1);
    await open(1, 2, "all");
    await open(1, 1, "class");
    assert.equal(fits, 2, "both are kept");
    await open(2, 1, "class");
    assert.equal(fits, 3, "another checkpoint encodes otherwise");
    await assert.rejects(
      () => open(2, 7, "class"),
      /Class "cat": .* 6 points for 7 components\. Fewer --components/,
    );
    await assert.rejects(
      () =>
        openMixtures(
          place,
          model,
          { of: "class", step: 3, ema: true },
          () => Promise.resolve(latents(new Int32Array(12))),
        ),
      /Class "dog": .* 0 points for 3 components/,
    );
  });
});

Deno.test("train vae and sample: figures, draws from the prior and from mixtures", async () => {
  await inFolder(async (folder) => {
    const path = `${folder}/run`, grid = `${folder}/grid.png`;
    const made = await run(
      "train",
      "vae",
      ...["latent=2", "dense.hidden=[16]", "sampleEvery=0", "evaluateEvery=0"]
        .flatMap((set) => ["--set", set]),
      ...["--set", "manifold.size=3", "--steps", "30", "--out", path],
    );
    assert.equal(made.code, 0, made.err);
    const sample = (...args: string[]) =>
      run("sample", path, "--grid", grid, "--json", ...args);
    const [prior, mixture, one, posterior, ...refused] = await Promise.all([
      sample("--count", "5"),
      sample("--count", "12", "--gmm"),
      sample("--count", "3", "--gmm", "all", "--components", "2", "--no-ema"),
      sample("--count", "3", "--gmm", "posterior", "--class", "7"),
      sample("--sampler", "ddim"),
      sample("--class", "3"),
      sample("--gmm", "all", "--min-responsibility", "0.5"),
      sample("--gmm", "--interpolate", "4"),
    ]);
    const ways = [prior!, mixture!, one!, posterior!].map(
      ({ code, out, err }) => {
        assert.equal(code, 0, err);
        return JSON.parse(out).latents;
      },
    );
    assert.deepEqual(ways, ["prior", "class", "all", "posterior"]);
    const wants = [
      /--sampler is for runs of ddpm or joint: run is one of vae/,
      /Cannot choose a class .* --gmm class draws them/,
      /--min-responsibility is for --gmm class: latents are those of one mixture/,
      /--interpolate is without --gmm: between latents of a mixture for each class/,
    ];
    refused.forEach(({ code, err }, i) => {
      assert.equal(code, 2);
      assert.match(err.replaceAll(/\s+/g, " "), wants[i]!);
    });
    const figures = ["reconstructions", "latents", "latents-gmm", "manifold"];
    for (const name of figures) {
      for (const kind of ["svg", "png"]) {
        const { size } = await Deno.stat(`${path}/${name}.${kind}`);
        assert.ok(size > 1000, `${name}.${kind}`);
      }
    }
    assert.ok((await Deno.stat(`${path}/gmm.json`)).isFile);
  });
});
