/**
 * Bits per dimension of runs: the numbers in process, the task as a user runs it.
 *
 * @module
 */
import assert from "node:assert/strict";
import {
  cast,
  diffusionBitsPerDim,
  GaussianDiffusion,
  indexSelect,
  loadDigits,
  mul,
  normalize,
  reshape,
  Rng,
  takeImages,
  type Tensor,
  tensor,
} from "../../mod.ts";
import { assertClose } from "../_check.ts";
import { resolveConfig } from "../../tasks/_config.ts";
import { DdpmModel } from "../../tasks/_ddpm.ts";
import {
  DDPM_EXCLUSIVE,
  DDPM_PRESET_PREFIX,
  type DdpmConfig,
  ddpmSchema,
} from "../../tasks/_ddpm_config.ts";
import { likelihoodOf, trainingBound } from "../../tasks/_likelihood.ts";
import { shapeOf } from "../../tasks/_trainer.ts";
import { inFolder, run, task, TINY as TINY_RUN } from "./_subprocess.ts";

const DIGITS = loadDigits("test");
const TINY = [
  "unet.channels=4",
  "unet.groups=2",
  "diffusion.timesteps=20",
  "samples.steps=2",
];

function tiny(...sets: string[]): Promise<DdpmConfig> {
  return resolveConfig({
    schema: ddpmSchema,
    preset: "ddpm-digits",
    presetPrefix: DDPM_PRESET_PREFIX,
    exclusive: DDPM_EXCLUSIVE,
    sets: [...TINY, ...sets],
  });
}

/** With weights that predict something. */
async function model(...sets: string[]): Promise<DdpmModel> {
  const made = new DdpmModel(await tiny(...sets), shapeOf(DIGITS));
  const rng = new Rng(8);
  const parameters = Object.entries(made.network.namedParameters());
  made.network.loadStateDict(Object.fromEntries(
    await Promise.all(parameters.map(async ([name, { shape }]) => {
      const data = await rng.normal(shape, 0, 0.1).data();
      return [name, { dtype: "f32" as const, shape, data }] as const;
    })),
  ));
  return made;
}

Deno.test("likelihoodOf() is the same in batches of any size, and an estimate comes close", async () => {
  const it = await model();
  const all = (await likelihoodOf(it, DIGITS, { count: 20 }))!;
  const { prior, terms, total, perImage } = all;
  assert.equal(terms.length, 20);
  assert.equal(perImage.length, 20);
  const sum = terms.reduce((sum, term) => sum + term, prior);
  assert.ok(Math.abs(total - sum) < 1e-6, `${total} is not ${sum}`);

  const small = (await likelihoodOf(it, DIGITS, { count: 20, batchSize: 7 }))!;
  await assertClose(small.perImage, perImage, { rtol: 1e-5 });
  const some = (await likelihoodOf(it, DIGITS, { count: 20, timesteps: 10 }))!;
  assert.equal(some.t.length, 10);
  assert.ok(
    Math.abs(some.total / total - 1) < 0.05,
    `${some.total} is far from ${total}`,
  );
  await assert.rejects(
    likelihoodOf(it, DIGITS, { count: 1, timesteps: 21 }),
    RangeError,
  );
  const most = (await likelihoodOf(it, takeImages(DIGITS, 3), { count: 9 }))!;
  assert.equal(most.perImage.length, 3);
  let calls = 0;
  const cancelled = await likelihoodOf(it, DIGITS, {
    count: 20,
    onStep: () => calls++,
    isCancelled: () => calls === 3,
  });
  assert.deepEqual([cancelled, calls], [undefined, 3]);
});

Deno.test("likelihoodOf() tells a conditional model the classes of the images", async () => {
  const it = await model("conditional=true", "labelDropout=0.1");
  const count = 10;
  const told = (await likelihoodOf(it, DIGITS, { count }))!.total;
  const relabelled = {
    ...DIGITS,
    labels: DIGITS.labels.map((digit) => (digit + 1) % 10),
  };
  const wrong = (await likelihoodOf(it, relabelled, { count }))!.total;
  assert.ok(Number.isFinite(told) && told !== wrong, `${told} ${wrong}`);
});

Deno.test("likelihoodOf() knows learned variances and self-conditioning", async () => {
  for (
    const sets of [
      ["diffusion.variance=learned_range", "loss.type=hybrid"],
      ["selfConditioning=true", "diffusion.prediction=v"],
    ]
  ) {
    const it = await model(...sets);
    const { total, terms } = (await likelihoodOf(it, DIGITS, { count: 5 }))!;
    assert.ok(total > 0 && terms.every((term) => term > 0), `${sets} ${total}`);
  }
});

Deno.test("likelihoodOf() asks an EDM network for the noise of each timestep", async () => {
  const it = new DdpmModel(
    await tiny("loss.type=edm", "diffusion.prediction=eps"),
    shapeOf(DIGITS),
  );
  // Its last layer starts at 0, so that D(x; σ) is c_skip x.
  const process = new GaussianDiffusion({
    ...it.config.diffusion,
    prediction: "x0",
  });
  const power = it.edm!.sigmaData ** 2;
  const factors = tensor(Float32Array.from(process.betas, (_, t) => {
    const { alpha, sigma } = process.level(t);
    return power * alpha / (power * alpha ** 2 + sigma ** 2);
  }));
  const shrink = (x: Tensor, t: Tensor) =>
    mul(reshape(indexSelect(factors, 0, cast(t, "i32")), [-1, 1, 1, 1]), x);
  const count = 40;
  const images = normalize(takeImages(DIGITS, count).images);
  const want = await diffusionBitsPerDim(
    process,
    shrink,
    tensor(images, [count, 1, 8, 8]),
    { rng: new Rng(1) },
  );
  const found = (await likelihoodOf(it, takeImages(DIGITS, count), { count }))!;
  // The noise differs.
  assert.ok(
    Math.abs(found.total / want.total - 1) < 0.02,
    `${found.total} is far from ${want.total}`,
  );
});

Deno.test("trainingBound() estimates both splits under the keys that are drawn", async () => {
  const it = await model("evaluation.count=10", "evaluation.timesteps=5");
  const data = { train: loadDigits(), test: DIGITS };
  const found = (await trainingBound(it, data, () => false))!;
  const { curves } = it.charts.find(({ file }) => file === "likelihood")!;
  assert.deepEqual(Object.keys(found).sort(), Object.keys(curves).sort());
  assert.ok(Object.values(found).every((bits) => bits > 0));
  assert.deepEqual(await trainingBound(it, data, () => false), found);
  assert.equal(await trainingBound(it, data, () => true), undefined);
});

Deno.test("evaluate writes sums, terms and a picture to the run, or nothing at Ctrl-C", async () => {
  await inFolder(async (folder) => {
    const path = `${folder}/run`;
    const flags = ["--steps", "3", "--out", path];
    const made = await run("train", "ddpm", ...TINY_RUN, ...flags);
    assert.equal(made.code, 0, made.err);

    const stopped = task("evaluate", [path, "--batch-size", "1"]).spawn();
    const reader = stopped.stderr.getReader();
    await reader.read(); // the first line of progress
    stopped.kill("SIGINT");
    reader.releaseLock();
    const { code, stderr } = await stopped.output();
    assert.equal(code, 1);
    const text = new TextDecoder().decode(stderr);
    assert.match(text, /Interrupted: nothing was written/);
    await assert.rejects(Deno.stat(`${path}/evaluation.json`));

    await Deno.writeTextFile(`${path}/evaluation.json`, '{"fid": [1, 2]}');
    const json = await run("evaluate", path, "--count", "30", "--json");
    assert.equal(json.code, 0, json.err);
    const rows = JSON.parse(json.out);
    const { likelihood, ...others } = JSON.parse(
      await Deno.readTextFile(`${path}/evaluation.json`),
    );
    assert.deepEqual(others, { fid: [1, 2] });
    assert.deepEqual(
      rows.map(({ split, images }: Record<string, unknown>) => [split, images]),
      [["train", 30], ["test", 30]],
    );
    assert.equal(likelihood.test.checksum, DIGITS.checksum);
    for (const row of rows) {
      const { prior, rate, decoder, bitsPerDim } = row;
      const { terms, t, rateDistortion } = likelihood[row.split];
      assert.ok(Math.abs(prior + rate + decoder - bitsPerDim) < 1e-9);
      const sum = terms.reduce((a: number, b: number) => a + b, prior);
      assert.ok(Math.abs(sum - bitsPerDim) < 1e-6);
      assert.deepEqual([t.length, rateDistortion.rate.length], [20, 20]);
    }
    for (const type of ["svg", "png"]) {
      const { size } = await Deno.stat(`${path}/likelihood-terms.${type}`);
      assert.ok(size > 1000);
    }
    const table = await run(
      "evaluate",
      ...[path, `${path}/checkpoints/step-3.safetensors`],
      ...["--count", "5", "--timesteps", "4", "--split", "test", "--no-ema"],
    );
    assert.equal(table.code, 0, table.err);
    assert.match(table.out, /^Run +Split .*\nrun +test +5 .*\nrun +test +5 /);
  });
});

Deno.test("evaluate explains what it cannot evaluate", async () => {
  await inFolder(async (folder) => {
    const fake = async (name: string, config: string) => {
      await Deno.mkdir(`${folder}/${name}`);
      await Deno.writeTextFile(`${folder}/${name}/config.yaml`, config);
    };
    await fake("empty", "model: ddpm\n");
    await fake("other", "model: classifier\n");
    await fake("latent", "model: ddpm\nlatent: {autoencoder: runs/a}\n");
    const cases: [string[], RegExp][] = [
      [["empty"], /has no checkpoint yet/],
      [["other"], /bits per dimension are of ddpm: it is a run of classifier/],
      [["latent"], /it models latents/],
      [["none"], /Cannot find a run in .*none/],
      [["empty", "--split", "both"], /Unknown --split "both"/],
    ];
    const results = await Promise.all(
      cases.map(([[name, ...args]]) =>
        run("evaluate", `${folder}/${name}`, ...args)
      ),
    );
    results.forEach(({ code, err }, i) => {
      assert.equal(code, 2, err);
      assert.match(err.replaceAll(/\s+/g, " "), cases[i]![1]);
      assert.doesNotMatch(err, /^\s+at /m, "no stack trace");
    });
  });
});
