/**
 * Classifiers of noised images, and what they tell samplers.
 *
 * @module
 */
import assert from "node:assert/strict";
import {
  add,
  Batches,
  capture,
  GaussianDiffusion,
  gradients,
  loadDigits,
  mul,
  noGrad,
  Rng,
  sum,
  type Tensor,
  tensor,
} from "../../mod.ts";
import { assertClose, assertGradient } from "../_check.ts";
import { ClassifierModel, loadClassifier } from "../../tasks/_classifier.ts";
import { classifierGuide } from "../../tasks/_classifier_guidance.ts";
import {
  CLASSIFIER_EXCLUSIVE,
  CLASSIFIER_PRESET_PREFIX,
  type ClassifierConfig,
  classifierPresetOf,
  classifierSchema,
} from "../../tasks/_classifier_config.ts";
import { listPresets, resolveConfig } from "../../tasks/_config.ts";
import { type DataShape, shapeOf, Trainer } from "../../tasks/_trainer.ts";
import { inFolder, run } from "./_subprocess.ts";

const CLASSIFIER = {
  schema: classifierSchema,
  preset: "classifier-digits-noisy",
  presetPrefix: CLASSIFIER_PRESET_PREFIX,
  exclusive: CLASSIFIER_EXCLUSIVE,
};

/** A network that is trained in seconds. */
function tiny(...sets: string[]): Promise<ClassifierConfig> {
  return resolveConfig({
    ...CLASSIFIER,
    sets: [
      "steps=60",
      "batchSize=32",
      "adm.attentionResolutions=[]",
      "adm.dropout=0",
      "optimizer.learningRate=0.004",
      "optimizer.warmupSteps=5",
      "ema.decay=0",
      "evaluation.count=100",
      ...sets,
    ],
  });
}

const SHAPE: DataShape = {
  channels: 1,
  height: 8,
  width: 8,
  classNames: ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
};

Deno.test("every classifier preset fits the schema, and each data set has its own", async () => {
  for (const preset of await listPresets(CLASSIFIER_PRESET_PREFIX)) {
    const config = await resolveConfig({ ...CLASSIFIER, preset });
    const { dataset, noisy } = config;
    assert.equal(classifierPresetOf(dataset, noisy), preset);
  }
  assert.equal(classifierPresetOf("folder:cats"), "classifier-cifar10");
});

Deno.test("presets for clean images build the published networks", async () => {
  const parameters: Record<string, number> = {
    "classifier-mnist": 61_706,
    "classifier-fashion-mnist": 61_706,
    "classifier-cifar10": 269_722,
    "classifier-digits": 15_626,
  };
  for (const [preset, count] of Object.entries(parameters)) {
    const config = await resolveConfig({ ...CLASSIFIER, preset });
    const side = { mnist: 28, "fashion-mnist": 28, cifar10: 32, digits: 8 }[
      config.dataset
    ]!;
    const { network } = new ClassifierModel(config, {
      ...SHAPE,
      channels: config.dataset === "cifar10" ? 3 : 1,
      height: side,
      width: side,
    });
    assert.equal(network.parameterCount, count, preset);
    network.dispose();
  }
});

Deno.test("sections choose the network, and the last one given counts", async () => {
  const parameters: Record<string, number> = {
    "lenet.padding=0": 44_426,
    "cnn={}": 159_254,
    "resnet.depth=8": 75_290 - 2 * 9 * 16, // of the second and third channel
  };
  for (const [set, count] of Object.entries(parameters)) {
    const config = await resolveConfig({
      ...CLASSIFIER,
      preset: "classifier-mnist",
      sets: [set],
    });
    const shape = { ...SHAPE, height: 28, width: 28 };
    const { network } = new ClassifierModel(config, shape);
    assert.equal(network.parameterCount, count, set);
    network.dispose();
  }
});

Deno.test("a classifier learns digits in seconds, with shifts too", async () => {
  const train = loadDigits(), test = loadDigits("test");
  for (const shift of [0, 0.125]) {
    const config = await resolveConfig({
      ...CLASSIFIER,
      preset: "classifier-digits",
      sets: ["steps=250", `augment.shift=${shift}`],
    });
    const model = new ClassifierModel(config, shapeOf(train));
    const trainer = new Trainer(model);
    const batches = new Batches(train, { batchSize: 64, seed: 0 });
    while (trainer.step < config.steps) {
      await trainer.train(batches.batch(trainer.step));
      if (trainer.step % config.logEvery === 0) await trainer.takeLosses();
    }
    const { test_accuracy: accuracy } =
      (await trainer.evaluate({ train, test }, () => false))!;
    assert.ok(accuracy! > (shift ? 0.7 : 0.9), `${shift}: ${accuracy}`);
  }
});

Deno.test("a noisy classifier learns digits, and less where there is more noise", async () => {
  const train = loadDigits(), test = loadDigits("test");
  const config = await tiny();
  const model = new ClassifierModel(config, shapeOf(train));
  const trainer = new Trainer(model);
  const batches = new Batches(train, { batchSize: 32, seed: 1 });
  for (let step = 0; step < config.steps; step++) {
    if (step === config.steps / 2) await trainer.takeLosses();
    await trainer.train(batches.batch(step));
  }
  const { loss, accuracy } = await trainer.takeLosses();
  assert.ok(loss! < Math.log(10), `loss ${loss}`);
  assert.ok(accuracy! > 0.2 && accuracy! < 1, `accuracy ${accuracy}`);
  const found = (await model.evaluate({ test }, () => false))!;
  const quarters = [1, 2, 3, 4].map((i) => found[`test_accuracy_q${i}`]!);
  // Of chance, which is 0.1, 100 images have a standard deviation of 0.03.
  assert.ok(quarters[0]! > 0.35, `least noise: ${quarters}`);
  assert.ok(quarters[0]! > quarters[3]! + 0.1, `most noise: ${quarters}`);
  const mean = quarters.reduce((sum, value) => sum + value, 0) / 4;
  assert.ok(Math.abs(found.test_accuracy! - mean) < 1e-12);
  assert.equal(await model.evaluate({ test }, () => true), undefined);

  // A checkpoint keeps all of it.
  const bytes = await trainer.checkpoint() as Uint8Array<ArrayBuffer>;
  const again = new Trainer(new ClassifierModel(config, shapeOf(train)));
  again.restore(bytes, "it");
  const { accuracyByNoise, testChecksum } = again.model.summary();
  await assertClose(accuracyByNoise as number[], quarters);
  assert.equal(testChecksum, test.checksum);
  const loaded = loadClassifier(bytes, "it", false).model;
  const x = new Rng(3).normal([2, 1, 8, 8]), t = tensor([10, 900]);
  await assertClose(
    noGrad(() => loaded.logits(x, t)),
    noGrad(() => model.logits(x, t)),
    { atol: 0, rtol: 0 },
  );
});

Deno.test("a classifier without noise is told so in one number", async () => {
  const config = await tiny("noisy=false", "evaluation.count=20");
  const model = new ClassifierModel(config, SHAPE);
  const test = loadDigits("test");
  const found = await model.evaluate({ test }, () => false);
  assert.deepEqual(Object.keys(found!), ["test_accuracy"]);
  assert.equal(model.summary().accuracyByNoise, undefined);
});

/** A classifier with random weights, also where they start at 0. */
async function randomClassifier(...sets: string[]): Promise<ClassifierModel> {
  const model = new ClassifierModel(await tiny(...sets), SHAPE);
  const rng = new Rng(8);
  model.network.loadStateDict(Object.fromEntries(
    await Promise.all(
      Object.entries(model.network.namedParameters()).map(
        async ([name, { shape }]) =>
          [name, {
            dtype: "f32" as const,
            shape,
            data: await rng.normal(shape, 0, 0.2).data(),
          }] as const,
      ),
    ),
  ));
  return model;
}

Deno.test("classifierGuide() gives log p(y | x) with its gradient, also in a captured step", async () => {
  const model = await randomClassifier();
  const guide = classifierGuide(
    model,
    "it",
    { shape: SHAPE, noise: model.diffusion },
    2,
  );
  const { logProbability, scale } = guide(Int32Array.of(3, 7));
  assert.equal(scale, 2);
  const t = tensor([5, 400]);
  const x = new Rng(4).normal([2, 1, 8, 8], 0, 0.5);
  const all = await Promise.all(
    SHAPE.classNames.map((_, id) =>
      noGrad(() => guide(Int32Array.of(id, id)).logProbability(x, t)).data()
    ),
  );
  for (const image of [0, 1]) {
    const total = all.reduce((sum, row) => sum + Math.exp(row[image]!), 0);
    assert.ok(Math.abs(total - 1) < 1e-5, `probabilities sum to ${total}`);
  }
  // Along one direction, as there are 128.
  const direction = new Rng(6).normal([2, 1, 8, 8]);
  await assertGradient(
    (by: Tensor) => logProbability(add(x, mul(direction, by)), t),
    [tensor([0.1])],
  );
  const slope = (x: Tensor) => {
    const leaf = x.detach().requireGrad();
    return gradients(sum(logProbability(leaf, t)), [leaf])[0]!;
  };
  const step = capture(({ x }) => ({ slope: slope(x!) }), {
    inputs: { x: { shape: [2, 1, 8, 8] } },
  });
  step.replay({ x: await x.data() });
  const [row] = await step.outputs();
  await assertClose(row!.slope as Float32Array, slope(x), { rtol: 1e-4 });
  step.dispose();
  assert.ok(row!.slope.some((value) => value !== 0));
});

Deno.test("classifierGuide() tells the classifier the noise in its own timesteps", async () => {
  const own = await randomClassifier("diffusion.schedule=linear");
  const x = new Rng(5).normal([3, 1, 8, 8]);
  const guide = (noise: GaussianDiffusion | "edm") =>
    classifierGuide(own, "it", { shape: SHAPE, noise }, 1)(
      Int32Array.of(0, 4, 9),
    );
  const direct = guide(own.diffusion);
  const at = (process: GaussianDiffusion, t: number) =>
    own.diffusion.timestepOf(process.level(t));

  const cosine = new GaussianDiffusion({ schedule: "cosine" });
  const ts = [3, 500, 990];
  await assertClose(
    noGrad(() => guide(cosine).logProbability(x, tensor(ts))),
    noGrad(() =>
      direct.logProbability(x, tensor(ts.map((t) => at(cosine, t))))
    ),
    { rtol: 1e-4 },
  );
  // x_0 + σ ε is √ᾱ x_0 + √(1 - ᾱ) ε over √ᾱ.
  const levels = ts.map((t) => own.diffusion.level(t));
  const unscaled = mul(
    x,
    tensor(levels.map(({ alpha }) => 1 / alpha), [3, 1, 1, 1]),
  );
  const sigma = tensor(levels.map(({ alpha, sigma }) => sigma / alpha));
  await assertClose(
    noGrad(() => guide("edm").logProbability(unscaled, sigma)),
    noGrad(() => direct.logProbability(x, tensor(ts))),
    { rtol: 1e-3 },
  );
});

Deno.test("classifierGuide() finds classes by name, and refuses what does not fit", async () => {
  const model = await randomClassifier();
  const guide = (shape: Partial<DataShape>, id = 0, classifier = model) =>
    classifierGuide(classifier, "runs/c", {
      shape: { ...SHAPE, ...shape },
      noise: model.diffusion,
    }, 1)(Int32Array.of(id)).logProbability;
  const x = new Rng(9).normal([1, 1, 8, 8]), t = tensor([50]);
  await assertClose(
    noGrad(() => guide({ classNames: ["7", "cat"] })(x, t)),
    noGrad(() => guide({}, 7)(x, t)),
    { atol: 0, rtol: 0 },
  );
  assert.throws(
    () => guide({ classNames: ["7", "cat"] }, 1),
    /^UsageError: Cannot guide by runs\/c as it knows no class "cat", only 0, 1/,
  );
  assert.throws(
    () => guide({ height: 16, width: 16, channels: 3 }),
    /images of 8 × 8 × 1, not of 16 × 16 × 3/,
  );
  const clean = new ClassifierModel(await tiny("noisy=false"), SHAPE);
  assert.throws(() => guide({}, 0, clean), /train a classifier with --noisy/);
  assert.throws(
    () => new ClassifierModel(model.config, { ...SHAPE, width: 6 }),
    /^RangeError: Cannot classify as images must be square/,
  );
});

Deno.test("train classifier reports test accuracy, also when a finished run is resumed", async () => {
  await inFolder(async (folder) => {
    const path = `${folder}/run`;
    const sets = [
      "adm.multipliers=[1]",
      "adm.attentionResolutions=[]",
      "evaluation.count=40",
      "evaluateEvery=2",
    ].flatMap((set) => ["--set", set]);
    const made = await run(
      "train",
      ...["classifier", "--noisy", "--class", "0,1", "--steps", "3"],
      ...["--batch-size", "4", "--out", path, "--json", ...sets],
    );
    assert.equal(made.code, 0, made.err);
    const { accuracy, accuracyByNoise, testChecksum } = JSON.parse(made.out);
    assert.ok(accuracy >= 0 && accuracy <= 1);
    assert.equal(accuracyByNoise.length, 4);
    assert.match(testChecksum, /^[0-9a-f]{64}$/);
    const lines = (await Deno.readTextFile(`${path}/metrics.jsonl`)).trim()
      .split("\n").map((line) => JSON.parse(line));
    const steps = lines.filter(({ test_accuracy: at }) => at !== undefined)
      .map(({ step }) => step);
    assert.deepEqual(steps, [2, 3]);
    for (const file of ["curves.png", "accuracy.svg", "summary.json"]) {
      assert.ok((await Deno.stat(`${path}/${file}`)).size > 0, file);
    }
    const again = await run(
      "train",
      ...["classifier", "--resume", path, "--json"],
    );
    assert.equal(again.code, 0, again.err);
    const resumed = JSON.parse(again.out);
    assert.equal(resumed.testChecksum, testChecksum);
    await assertClose(resumed.accuracyByNoise, accuracyByNoise);

    const refused: [string[], RegExp][] = [
      [["train", "classifier", "--conditional"], /Unknown key "conditional"/],
      [["train", "ddpm", "--noisy"], /Unknown key "noisy"/],
      [["train", "classifier", "--class", "3"], /at least 2 classes/],
      [
        ["train", "classifier", "--noisy", "--preset", "classifier-digits"],
        /noisy must be false, as lenet cannot be told .*: given --noisy/,
      ],
      [
        ["train", "classifier", "--set", "lenet.padding=0"],
        /leave a pixel: size is 8/,
      ],
      [
        ["train", "classifier", "--set", "lenet.depth=2"],
        /Unknown key "lenet.depth"/,
      ],
      [
        ["train", "classifier", "--set", "resnet.depth=9"],
        /resnet.depth must be 8, 14, 20/,
      ],
      [
        ["train", "classifier", "--set", "cnn={}", "--set", "resnet={}"],
        /Give only one of --set cnn=.* and --set resnet=/,
      ],
      [
        ["train", "classifier", "--set", "adm.multipliers=[1, 1, 1, 1, 1]"],
        /imageSize must be divisible by 16/,
      ],
    ];
    const results = await Promise.all(
      refused.map(([[name, ...args]]) =>
        run(name!, ...args, "--out", `${folder}/other`)
      ),
    );
    results.forEach(({ code, err }, i) => {
      assert.equal(code, 2, err);
      assert.match(err.replaceAll(/\s+/g, " "), refused[i]![1]);
    });
  });
});
