/**
 * Training of GANs, what tells that they collapsed, and their samples.
 *
 * @module
 */
import assert from "node:assert/strict";
import { Batches, listDatasets, loadDigits } from "../../mod.ts";
import { listPresets, resolveConfig } from "../../tasks/_config.ts";
import { GanModel, loadGan } from "../../tasks/_gan.ts";
import {
  GAN_EXCLUSIVE,
  GAN_PRESET_PREFIX,
  type GanConfig,
  ganPresetOf,
  ganSchema,
} from "../../tasks/_gan_config.ts";
import { type DataShape, shapeOf, Trainer } from "../../tasks/_trainer.ts";
import { resolveSteps } from "../../tasks/_training_config.ts";
import { inFolder, run } from "./_subprocess.ts";

const GAN = {
  schema: ganSchema,
  preset: "gan-digits",
  presetPrefix: GAN_PRESET_PREFIX,
  exclusive: GAN_EXCLUSIVE,
};
/** Settings of networks that train in seconds. */
const TINY = [
  "batchSize=8",
  "dcgan.latent=5",
  "dcgan.generatorChannels=[8, 6]",
  "dcgan.discriminatorChannels=[6, 8]",
  "samples.count=9",
];

function tiny(...sets: string[]): Promise<GanConfig> {
  return resolveConfig({ ...GAN, sets: [...TINY, ...sets] });
}

const digits = loadDigits();
const shape = shapeOf(digits);

async function trained(
  config: GanConfig,
  to: number,
  trainer = new Trainer(new GanModel(config, shape)),
) {
  const batches = new Batches(digits, {
    batchSize: config.batchSize,
    seed: config.seed,
  });
  while (trainer.step < to) await trainer.train(batches.batch(trainer.step));
  return trainer;
}

async function weightsOf({ model: { network } }: Trainer<GanModel>) {
  const entries = Object.entries(network.stateDict()).map(async ([name, t]) =>
    [name, await t.data()] as const
  );
  return Object.fromEntries(await Promise.all(entries));
}

/** Images, channels, sides and classes of the data that a preset names. */
function dataOf({ dataset, classes }: GanConfig) {
  const info = listDatasets().find(({ name }) => name === dataset)!;
  const [channels, height, width] = info.shape;
  const count = classes.length || info.classCount || 1000;
  const classNames = Array.from({ length: count }, (_, i) => String(i));
  const images = classes.length * 5000 || info.trainCount || 1_281_167;
  return { images, shape: { channels, height, width, classNames } };
}

const presets = await listPresets(GAN_PRESET_PREFIX);

Deno.test("every preset of a GAN fits its data, and its head tells what it costs", async () => {
  const sizes: Record<string, [G: number, D: number]> = {};
  for (const preset of presets) {
    const config = await resolveConfig({ ...GAN, preset });
    const { images, shape } = dataOf(config);
    const { steps, batchSize } = resolveSteps(config, images);
    const model = new GanModel(config, shape);
    const { network: { G, D, parameterCount } } = model;
    sizes[preset] = [G.parameterCount, D.parameterCount];
    const numbers =
      `${(steps * batchSize).toLocaleString("en")} images seen, ` +
      `${parameterCount.toLocaleString("en")} parameters, ` +
      `${(model.flops() / 1e9).toPrecision(3)} GFLOP forward for one.`;
    model.network.dispose();
    const text = await Deno.readTextFile(
      new URL(`../../tasks/presets/${preset}.yaml`, import.meta.url),
    );
    const head = text.split("\n").filter((line) => line.startsWith("#"))
      .map((line) => line.slice(2)).join(" ");
    assert.ok(head.includes(numbers), `${preset}: ${numbers}`);
  }
  const published = {
    "gan-cifar10-cat-as-published": [1_183_616, 663_296],
    "gan-cifar10-cat-512-epochs-as-published": [1_183_616, 663_296],
    "gan-cifar10-cat-smoothed-as-published": [1_839_232, 663_296],
    // Two classes, of which the report has rows for ten in each network.
    "gan-cifar10-cat-frog-conditional-as-published": [
      1_880_292 - 80,
      673_636 - 80,
    ],
    "gan-mnist-tensorflow-as-published": [2_305_472, 212_865],
    "gan-fashion-mnist-tensorflow-as-published": [2_305_472, 212_865],
    "gan-imagenet64": [3_576_704, 2_765_568],
  };
  for (const [preset, size] of Object.entries(published)) {
    assert.deepEqual(sizes[preset], size, preset);
  }
  for (const dataset of ["digits", "mnist", "fashion-mnist", "cifar10"]) {
    assert.ok(presets.includes(ganPresetOf(dataset)));
  }
  assert.equal(ganPresetOf("folder:cats"), "gan-cifar10");
});

Deno.test("each preset of a GAN as published has a corrected one that differs in its defects alone", async () => {
  const suffix = "-as-published";
  const pairs = presets.filter((name) => name.endsWith(suffix));
  assert.equal(pairs.length, 6);
  for (const name of pairs) {
    const [was, is] = await Promise.all(
      [name, name.slice(0, -suffix.length)].map((preset) =>
        resolveConfig({ ...GAN, preset })
      ),
    );
    assert.deepEqual([was!.ema.decay, is!.ema.decay], [0, 0.999], name);
    const { ema: _, augment: __, dcgan, ...rest } = was!;
    const { ema: ___, augment: ____, dcgan: isDcgan, ...isRest } = is!;
    assert.deepEqual(rest, isRest, name);
    if (name === "gan-cifar10-cat-smoothed-as-published") {
      assert.equal(dcgan!.generatorChannels, "block2outngfx4");
      assert.equal(isDcgan!.generatorChannels, "default");
    } else assert.deepEqual(dcgan, isDcgan, name);
  }
});

Deno.test("a GAN logs what its players lose, and its images grow like the data", async () => {
  const config = await tiny("optimizer.learningRate=0.004", "batchSize=16");
  const trainer = await trained(config, 1);
  const first = await trainer.takeLosses();
  assert.deepEqual(Object.keys(first).sort(), [
    "d_fake",
    "d_fake_after",
    "d_real",
    "discriminator_grad_norm",
    "discriminator_loss",
    "diversity",
    "generator_grad_norm",
    "generator_loss",
  ]);
  for (const name of ["d_fake", "d_fake_after", "d_real"]) {
    assert.ok(first[name]! > 0 && first[name]! < 1, name);
  }
  // As good as chance, and a step of the discriminator tells the same images better.
  assert.ok(Math.abs(first.discriminator_loss! - 2 * Math.LN2) < 0.5);
  assert.ok(first.d_fake_after! < first.d_fake!);
  const { images } = new Batches(digits, { batchSize: 16, seed: 0 }).batch(0);
  /** How far the mean image is from that of the data. */
  const distance = async () => {
    const bytes = (await trainer.model.sample({ count: 48, seed: 3 }))!;
    let total = 0;
    for (let at = 0; at < 64; at++) {
      let made = 0, real = 0;
      for (let i = 0; i < 48; i++) made += bytes[i * 64 + at]! / 127.5 - 1;
      for (let i = 0; i < 16; i++) real += images[i * 64 + at]!;
      total += Math.abs(made / 48 - real / 16);
    }
    return total / 64;
  };
  const before = await distance();
  await trained(config, 60, trainer);
  await trainer.takeLosses();
  await trained(config, 120, trainer);
  const after = await distance();
  assert.ok(after < 0.8 * before, `${before} to ${after}`);
  assert.ok((await trainer.takeLosses()).diversity! > 0.2);
});

Deno.test("an auxiliary classifier adds its losses by their weight, and both players learn classes", async () => {
  const auxiliary = (weight: number) =>
    tiny(
      "conditional=true",
      "dcgan.condition=auxiliary",
      "batchSize=32",
      "optimizer.learningRate=0.004",
      `loss.auxiliary=${weight}`,
    );
  const config = await auxiliary(2);
  const [first, half] = await Promise.all(
    [config, await auxiliary(0.5)].map(async (config) =>
      (await trained(config, 1)).takeLosses()
    ),
  );
  const classLoss = first!.class_loss_real! + first!.class_loss_fake!;
  assert.ok(Math.abs(classLoss - 2 * Math.log(10)) < 0.5, `${classLoss}`);
  const more = first!.discriminator_loss! - half!.discriminator_loss!;
  assert.ok(Math.abs(more - 1.5 * classLoss) < 1e-4, `${more}`);
  const trainer = await trained(config, 60);
  await trainer.takeLosses();
  await trained(config, 80, trainer);
  const { class_loss_real: real, class_loss_fake: fake } = await trainer
    .takeLosses();
  assert.ok(real! < 1.5 && fake! < 1.5, `${real} ${fake}`);
});

Deno.test("a GAN restored from a checkpoint goes on as if nothing had happened", async () => {
  const cases = [
    ["loss.type=wasserstein-gp", "dcgan.norm=none", "criticSteps=2"],
    ["loss.type=hinge", "dcgan.norm=spectral", "ema.decay=0.5"],
    [
      "conditional=true",
      "dcgan.condition=projection",
      "loss.real=0.9",
      "instanceNoise=0.1",
      "diffAugment=[translation, cutout]",
    ],
    ["conditional=true", "dcgan.condition=map"],
    [
      "kerasDcgan={latent: 5, generatorChannels: [4, 4, 4], discriminatorChannels: [4, 4], condition: auxiliary}",
      "conditional=true",
      "loss.r1=0.1",
    ],
  ];
  for (const sets of cases) {
    const keras = sets[0]!.startsWith("keras");
    const config = keras
      ? await resolveConfig({ ...GAN, sets: ["batchSize=8", ...sets] })
      : await tiny(...sets);
    const straight = await trained(config, 3);
    const saved = await straight.checkpoint() as Uint8Array<ArrayBuffer>;
    const other = new GanModel({ ...config, seed: 9 }, shape);
    const resumed = new Trainer(other);
    resumed.restore(saved, "here");
    for (const trainer of [straight, resumed]) {
      await trained(config, 6, trainer);
    }
    const [a, b] = await Promise.all([straight, resumed].map(weightsOf));
    assert.deepEqual(b, a, sets.join());
    assert.deepEqual(
      await resumed.takeLosses(),
      await straight.takeLosses(),
    );
    const [, ofEma] = await Promise.all(
      [false, true].map(async (ema) =>
        await loadGan(saved, "here", ema).model.sample({
          count: 2,
          seed: 1,
          classes: config.conditional ? Int32Array.of(3, 4) : undefined,
        })
      ),
    );
    assert.equal(ofEma!.length, 2 * 64);
  }
});

Deno.test("the generator stands still while it is not its turn", async () => {
  const config = await tiny(
    "loss.type=wasserstein-gp",
    "dcgan.norm=none",
    "criticSteps=3",
  );
  const trainer = new Trainer(new GanModel(config, shape));
  const changes: string[] = [];
  let before = await weightsOf(trainer);
  for (let step = 1; step <= 3; step++) {
    await trained(config, step, trainer);
    const after = await weightsOf(trainer);
    const [g, d] = ["G", "D"].map((player) =>
      Object.keys(after).some((name) =>
        name.startsWith(`${player}.`) && name.endsWith("0.weight") &&
        after[name]!.some((value, i) => value !== before[name]![i])
      )
    );
    changes.push(`${g} ${d}`);
    before = after;
  }
  assert.deepEqual(changes, ["false true", "false true", "true true"]);
  const { gradient_penalty: penalty } = await trainer.takeLosses();
  assert.ok(penalty! > 0);
});

Deno.test("noise on what the discriminator sees falls to nothing", async () => {
  const noisy = await tiny("instanceNoise=0.5", "steps=1");
  const plain = await tiny("steps=1");
  const a = await trained(noisy, 1), b = await trained(plain, 1);
  assert.notEqual(
    (await a.takeLosses()).d_real,
    (await b.takeLosses()).d_real,
  );
  // At step 1 of 1 there is none left.
  b.restore(await a.checkpoint() as Uint8Array<ArrayBuffer>, "here");
  await trained(noisy, 2, a);
  await trained(plain, 2, b);
  assert.deepEqual(await weightsOf(b), await weightsOf(a));
  assert.equal(a.model.watch(1, {}).numbers.instance_noise, 0.5);
});

Deno.test("a GAN says once that its discriminator has won, or that its images are alike", async () => {
  const lost = 2 * (-0.9 * Math.log(0.9) - 0.1 * Math.log(0.1));
  const model = new GanModel(
    await tiny("loss.real=0.9", "loss.fake=0.1"),
    shape,
  );
  const warned = (step: number, loss: number, diversity: number) => {
    const { numbers, warnings } = model.watch(step, {
      discriminator_loss: loss,
      diversity,
    });
    return [numbers.collapse, ...warnings.map((text) => text.slice(0, 9))];
  };
  assert.deepEqual(warned(200, lost + 0.01, 0.8), [0]);
  assert.deepEqual(warned(400, lost + 0.01, 0.01), [0]);
  assert.deepEqual(warned(600, lost + 0.01, 0.01), [1, "The discr"]);
  const state = model.extraState();
  assert.deepEqual(warned(800, 1.2, 0.01), [1, "Generated"]);
  assert.deepEqual(warned(1000, 1.2, 0.01), [1]);
  assert.deepEqual(warned(1200, 1.2, 0.6), [0]);
  model.restoreExtra(state);
  assert.deepEqual(warned(800, lost + 0.01, 0.01), [1, "Generated"]);
  const critic = new GanModel(
    await tiny("loss.type=wasserstein-gp", "dcgan.norm=none"),
    shape,
  );
  const { numbers } = critic.watch(1000, {
    discriminator_loss: -100,
    diversity: 1,
  });
  assert.equal(numbers.collapse, 0); // its loss has no end
});

Deno.test("an image of a GAN depends on its number, its class and the seed alone", async () => {
  const model = new GanModel(await tiny("conditional=true"), shape);
  const draw = async (first: number, ids: number[], seed = 1) =>
    (await model.sample({
      count: ids.length,
      seed,
      first,
      classes: Int32Array.from(ids),
    }))!;
  const all = await draw(0, Array(70).fill(2));
  const image = (i: number) => all.slice(i * 64, (i + 1) * 64);
  assert.deepEqual(await draw(17, [2]), image(17));
  assert.deepEqual(await draw(66, [2, 2]), all.slice(66 * 64, 68 * 64));
  assert.notDeepEqual(await draw(17, [3]), image(17));
  assert.notDeepEqual(await draw(17, [2], 2), image(17));
  assert.notDeepEqual(image(17), image(18));
  const ways = (await model.sample({
    count: 10,
    seed: 1,
    interpolate: 5,
    classes: Int32Array.from(Array(10).fill(2)),
  }))!;
  const on = (i: number) => ways.slice(i * 64, (i + 1) * 64);
  assert.deepEqual([on(0), on(4)], [image(0), image(1)]);
  assert.deepEqual(on(5), await draw(2, [2]));
  assert.notDeepEqual(on(2), image(0));
  assert.equal(
    await model.sample({
      count: 3,
      seed: 1,
      classes: Int32Array.of(1, 1, 1),
      isCancelled: () => true,
    }),
    undefined,
  );
});

Deno.test("the picture of a conditional GAN has rows of one class, by the moving average", async () => {
  const two: DataShape = { ...shape, classNames: ["cat", "frog"] };
  const config = await tiny("conditional=true", "samples.count=8");
  const model = new GanModel(config, two);
  const { bytes, count } = (await model.picture(() => false))!;
  assert.equal(count, 8);
  const want = await model.sample({
    count: 8,
    seed: config.seed,
    classes: Int32Array.of(0, 0, 0, 0, 0, 0, 1, 1), // rows of three
  });
  assert.deepEqual(bytes, want);
});

Deno.test("a GAN refuses settings that do not go together", async () => {
  const refused: [string, RegExp][] = [
    [
      "loss.type=wasserstein-gp",
      /dcgan\.norm must be none or spectral with loss\.type wasserstein-gp, as the slope/,
    ],
    ["loss.r1=1", /none or spectral with loss\.r1/],
    [
      "dcgan.condition=projection",
      /dcgan\.condition must be left out without conditional/,
    ],
    [
      "dcgan.condition=auxiliary",
      /dcgan\.condition must be left out without conditional/,
    ],
    [
      "loss.auxiliary=2",
      /loss\.auxiliary must be left out with condition channels/,
    ],
    ["evaluateEvery=5", /evaluateEvery must be 0/],
    ["batchSize=1", /batchSize must be at least 2/],
    [
      "dcgan.generatorChannels=outs842",
      /dcgan\.generatorChannels must be default, block2outngfx4/,
    ],
    [
      "diffAugment=[colour]",
      /diffAugment\.0 must be color, translation or cutout/,
    ],
  ];
  for (const [set, message] of refused) {
    await assert.rejects(tiny(set), message);
  }
  await assert.rejects(
    tiny("loss.type=hinge", "loss.real=0.9"),
    /loss\.real must be 1, as loss\.type hinge has no targets/,
  );
  await assert.rejects(
    resolveConfig({ ...GAN, preset: undefined, sets: ["dataset=digits"] }),
    /dcgan must be given, or another of the networks dcgan, kerasDcgan/,
  );
  const config = await tiny("discriminatorOptimizer.learningRate=0.001");
  const { players } = new GanModel(config, shape);
  assert.deepEqual(
    players.map(({ optimizer }) => optimizer?.learningRate),
    [0.001, undefined],
  );
  assert.deepEqual(players[0]!.optimizer!.betas, [0.5, 0.999]);
  assert.throws(
    () => new GanModel(config, { ...shape, width: 16 }),
    /^RangeError: Cannot make a GAN as images must be square: they are 16 × 8/,
  );
  assert.throws(
    () => new GanModel(config, { ...shape, width: 10, height: 10 }),
    /the size must halve once for each of its channels/,
  );
});

Deno.test("train gan and sample work as users run them", async () => {
  await inFolder(async (folder) => {
    const path = `${folder}/run`;
    const made = await run(
      "train",
      ...["gan", "--conditional", "--class", "0,1", "--steps", "4"],
      ...["--out", path, "--json", "--set", "logEvery=2"],
      ...["--set", "sampleEvery=2", ...TINY.flatMap((set) => ["--set", set])],
    );
    assert.equal(made.code, 0, made.err);
    const summary = JSON.parse(made.out);
    assert.equal(summary.model, "gan");
    assert.ok(Number.isFinite(summary.generator_loss));
    const lines = (await Deno.readTextFile(`${path}/metrics.jsonl`)).trim()
      .split("\n").map((line) => JSON.parse(line));
    assert.deepEqual(lines.map(({ collapse }) => collapse), [0, 0]);
    for (
      const file of [
        "curves.png",
        "scores.svg",
        "diversity.png",
        "progress.gif",
      ]
    ) {
      assert.ok((await Deno.stat(`${path}/${file}`)).size > 0, file);
    }
    const drawn = await run(
      "sample",
      ...[path, "--class", "1", "--interpolate", "3", "--count", "6", "--json"],
    );
    assert.equal(drawn.code, 0, drawn.err);
    const { written } = JSON.parse(drawn.out);
    assert.ok((await Deno.stat(written[0])).size > 0);
    const refused = await run("sample", path, "--sampler", "ddim");
    assert.equal(refused.code, 2);
    assert.match(refused.err, /--sampler is for runs of ddpm .*one of gan/);
  });
});
