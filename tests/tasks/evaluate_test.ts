/**
 * Evaluation of runs: bits per dimension and drawing in process, the task as a user runs it.
 *
 * @module
 */
import assert from "node:assert/strict";
import {
  cast,
  diffusionBitsPerDim,
  frechetDistance,
  GaussianDiffusion,
  indexSelect,
  loadDigits,
  manifoldMetrics,
  mul,
  normalize,
  parseSafetensors,
  reshape,
  Rng,
  takeImages,
  type Tensor,
  tensor,
} from "../../mod.ts";
import { assertClose } from "../_check.ts";
import { parseCommand, UsageError } from "../../tasks/_cli.ts";
import { resolveConfig } from "../../tasks/_config.ts";
import { DdpmModel, type Drawing } from "../../tasks/_ddpm.ts";
import {
  DDPM_EXCLUSIVE,
  DDPM_PRESET_PREFIX,
  type DdpmConfig,
  ddpmSchema,
} from "../../tasks/_ddpm_config.ts";
import { drawImages } from "../../tasks/_drawn.ts";
import type { SampleScores } from "../../tasks/_evaluation.ts";
import { likelihoodOf, trainingBound } from "../../tasks/_likelihood.ts";
import { Subject } from "../../tasks/_subject.ts";
import { shapeOf } from "../../tasks/_trainer.ts";
import { command, evaluateRuns } from "../../tasks/evaluate.ts";
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

Deno.test("DdpmModel.evaluations() counts what a sampler asks, guided steps twice", async () => {
  const it = await model("conditional=true", "labelDropout=0.1");
  const count = (drawing: Drawing) => it.evaluations(it.drawing(drawing));
  assert.equal(count({ sampler: "ddim", steps: 7 }), 7);
  assert.equal(count({ sampler: "ddpm" }), 20);
  assert.equal(count({ sampler: "heun", steps: 5 }), 9, "the last is Euler's");
  assert.equal(count({ sampler: "heun", steps: 5, guidance: 3 }), 18);
  const ratios = it.levels(7, "even").map(({ alpha, sigma }) => sigma / alpha);
  const guidanceInterval: [number, number] = [ratios[5]!, ratios[2]!];
  assert.equal(
    count({ sampler: "ddim", steps: 7, guidance: 3, guidanceInterval }),
    7 + 3, // the lower end does not belong to the interval
  );
  const one = it.drawingFlops(it.drawing({ sampler: "ddim", steps: 1 }));
  const ten = it.drawingFlops(it.drawing({ sampler: "dpmpp", steps: 10 }));
  assert.ok(one > 0 && ten === 10 * one);
});

/** Trains runs below a folder, as a user does, two at a time. */
async function trainRuns(
  folder: string,
  runs: Readonly<Record<string, readonly string[]>>,
): Promise<void> {
  await Promise.all(
    Object.entries(runs).map(async ([name, args]) => {
      const made = await run("train", ...args, "--out", `${folder}/${name}`);
      assert.equal(made.code, 0, made.err);
    }),
  );
}

const DDPM = ["ddpm", ...TINY_RUN, "--steps", "3"];
const FEW = ["--steps", "2", "--set", "sampleEvery=0"];

/** Evaluates as a user does, in this process. */
async function evaluate(args: readonly string[], isCancelled = () => false) {
  const lines: string[] = [];
  const { failures, results } = await evaluateRuns(
    parseCommand(command, args),
    { say: (line) => lines.push(line), quiet: true, isCancelled },
  );
  return { failures, results, said: lines.join("\n") };
}

async function readJson(path: string) {
  return JSON.parse(await Deno.readTextFile(path));
}

Deno.test("evaluate writes sums, terms and a picture to the run, also after Ctrl-C", async () => {
  await inFolder(async (folder) => {
    const path = `${folder}/run`;
    await trainRuns(folder, { run: DDPM });
    const only = ["--only", "likelihood"];

    const slow = ["--batch-size", "1", "--bound-count", "297"];
    const stopped = task("evaluate", [path, ...only, ...slow]).spawn();
    const reader = stopped.stderr.getReader();
    await reader.read(); // the first line of progress
    stopped.kill("SIGINT");
    reader.releaseLock();
    const { code, stderr } = await stopped.output();
    assert.equal(code, 1);
    assert.match(new TextDecoder().decode(stderr), /Interrupted/);
    const { likelihood: none } = await readJson(`${path}/evaluation.json`);
    assert.equal(none, undefined);

    await Deno.writeTextFile(`${path}/evaluation.json`, '{"fid": [1, 2]}');
    const command = [path, ...only, "--bound-count", "30", "--json"];
    const json = await run("evaluate", ...command);
    assert.equal(json.code, 0, json.err);
    const { likelihood, facts, fid } = await readJson(
      `${path}/evaluation.json`,
    );
    assert.deepEqual(fid, [1, 2]);
    assert.deepEqual(JSON.parse(json.out)[0].likelihood, likelihood);
    assert.equal(facts.imagesSeen, 12);
    assert.equal(facts.model, "ddpm");
    assert.ok(facts.parameters > 1000 && facts.trainSeconds > 0);
    assert.ok(facts.gflopForward > 1e-5);
    assert.equal(likelihood.test.checksum, DIGITS.checksum);
    for (const split of ["train", "test"]) {
      const { prior, rate, decoder, bitsPerDim, ...rest } = likelihood[split];
      const { terms, t, rateDistortion, images, comparable } = rest;
      assert.ok(Math.abs(prior + rate + decoder - bitsPerDim) < 1e-9);
      const sum = terms.reduce((a: number, b: number) => a + b, prior);
      assert.ok(Math.abs(sum - bitsPerDim) < 1e-6);
      assert.deepEqual([t.length, rateDistortion.rate.length], [20, 20]);
      assert.deepEqual([images, comparable], [30, true]);
    }
    for (const type of ["svg", "png"]) {
      const { size } = await Deno.stat(`${path}/likelihood-terms.${type}`);
      assert.ok(size > 1000);
    }
    const again = await run("evaluate", ...command.slice(0, -1));
    assert.match(again.err, /the bound on test images is there/);

    const table = await run(
      "evaluate",
      ...[path, `${path}/checkpoints/step-3.safetensors`, ...only],
      ...["--bound-count", "5", "--timesteps", "4"],
      ...["--split", "test", "--no-ema"],
    );
    assert.equal(table.code, 0, table.err);
    assert.match(table.out, /^Run +Split .*\nrun +test +5 .*\nrun +test +5 /);
  });
});

Deno.test("evaluate scores what runs of all kinds draw, and says of what", async () => {
  await inFolder(async (folder) => {
    await trainRuns(folder, {
      vae: ["vae", ...FEW, "--set", "latent=2"],
      gan: ["gan", ...FEW, "--conditional"],
    });
    await trainRuns(folder, { ddpm: DDPM });
    const count = 90, common = ["--count", `${count}`, "--bound-count", "20"];
    const judge = async (name: string, ...flags: string[]) =>
      (await evaluate([`${folder}/${name}`, ...common, ...flags])).said;
    const samplesOf = async (name: string): Promise<SampleScores[]> =>
      (await readJson(`${folder}/${name}/evaluation.json`)).samples;

    const gan = await run("evaluate", `${folder}/gan`, ...common);
    assert.equal(gan.code, 0, gan.err);
    assert.match(gan.out, /^Run +Way +n +LeNet-FID +floor +KID×10³/);
    assert.match(gan.err, /gan: no likelihood, as GANs have none/);
    await judge("vae");
    const { likelihood: { test, train } } = await readJson(
      `${folder}/vae/evaluation.json`,
    );
    for (const bound of [test, train]) {
      const { elboNats, reconstructionNats, klNats, iwaeNats } = bound;
      assert.ok(Math.abs(elboNats + reconstructionNats + klNats) < 1e-6);
      assert.ok(iwaeNats > elboNats - 1 && klNats >= 0);
      assert.equal(bound.images, 20);
      const perBit = 64 * Math.LN2;
      assert.ok(
        !bound.comparable ||
          Math.abs(bound.bitsPerDim * perBit + elboNats) < 1e-6,
      );
    }

    const sweep = ["--sampler", "ddim", "--sweep-steps", "2,3", "--only"];
    await judge("ddpm", ...sweep, "samples");
    await judge("vae", "--gmm", "--components", "1", "--only", "samples");
    const ids = async (name: string) =>
      (await samplesOf(name)).map(({ id }) => id);
    assert.deepEqual(await ids("ddpm"), ["ddim-2", "ddim-3"]);
    assert.deepEqual(await ids("vae"), ["prior", "gmm-class-components-1"]);
    assert.deepEqual(await ids("gan"), ["generator"]);

    for (const name of ["ddpm", "vae", "gan"]) {
      for (const scores of await samplesOf(name)) {
        const { provenance, classes, frechet, cost, memorization } = scores;
        assert.equal(provenance.count, count);
        assert.equal(provenance.against, "digits/test");
        assert.equal(provenance.checksum, DIGITS.checksum);
        assert.equal(provenance.extractor.name, "lenet-digits");
        assert.deepEqual(provenance.range.real, [0, 255]);
        assert.ok(frechet.value > frechet.floor!, "untrained");
        const [low, high] = frechet.interval!;
        assert.ok(low < frechet.value && frechet.value < high);
        assert.ok(scores.kernel.value > scores.kernel.floor!);
        assert.ok(scores.precision.floor! > 0.8);
        assert.ok(scores.coverage.value <= scores.coverage.floor!);
        assert.ok(scores.inceptionScore!.floor! > 5, "of ten classes");
        assert.equal(classes!.counts.reduce((a, b) => a + b), count);
        assert.equal(classes!.realCounts.reduce((a, b) => a + b), count);
        assert.equal(memorization.images, 1500);
        assert.ok(cost.msPerImage > 0 && cost.gflopPerImage! > 0);
        assert.ok(cost.peakBytes > 1000 && cost.batchSize === 64);
        const kept = `${folder}/${name}/evaluations/${scores.id}`;
        const { tensors } = parseSafetensors(
          await Deno.readFile(`${kept}/features.safetensors`),
        );
        const { real, drawn } = tensors;
        assert.deepEqual(drawn!.shape, [count, 84]);
        assert.equal(await frechetDistance(real!, drawn!), frechet.value);
        const { recall } = await manifoldMetrics(real!, drawn!);
        assert.equal(recall, scores.recall.value);
        assert.ok((await Deno.stat(`${kept}/grid.png`)).size > 100);
        // Classes that are asked for can be checked; others cannot.
        const told = scores.id.startsWith("gmm") || name === "gan";
        assert.equal(classes!.labelAccuracy !== undefined, told);
      }
    }
    // Real images of some classes bring a floor of these.
    const floorOf = async (...flags: string[]) => {
      await judge("gan", "--class", "3,8", "--only", "samples", ...flags);
      return (await samplesOf("gan")).at(-1)!.frechet.floor;
    };
    const floor = await floorOf("--count", "50");
    const chosen = ["--count", "50", "--against", "digits/test:3,8"];
    assert.equal(await floorOf(...chosen), floor);

    const [two, three] = await samplesOf("ddpm");
    assert.deepEqual([two!.provenance.nfe, three!.provenance.nfe], [2, 3]);
    const { gflopPerImage } = two!.cost;
    assert.ok(
      Math.abs(three!.cost.gflopPerImage! / gflopPerImage! - 1.5) < 1e-9,
    );

    const before = await Deno.readTextFile(`${folder}/ddpm/evaluation.json`);
    const again = await judge("ddpm", ...sweep, "samples");
    assert.match(again, /90 images by ddim are there/);
    assert.match(again, /the scores of ddim-3 are there/);
    assert.equal(
      await Deno.readTextFile(`${folder}/ddpm/evaluation.json`),
      before,
    );
    const other = ["--sampling-steps", "2", "--features", "random"];
    await judge("ddpm", "--sampler", "ddim", ...other, "--only", "samples");
    const [kept, anew] = await samplesOf("ddpm");
    assert.deepEqual([kept, anew!.id], [three, "ddim-2"]);
    assert.equal(anew!.provenance.extractor.name, "random");
    assert.notEqual(
      anew!.provenance.extractor.sha256,
      two!.provenance.extractor.sha256,
    );
    assert.equal(anew!.classes, undefined);
    assert.deepEqual(anew!.cost, two!.cost, "not drawn again");
  });
});

Deno.test("drawImages() goes on where it was interrupted or killed, with the same images", async () => {
  await inFolder(async (folder) => {
    await trainRuns(folder, { run: DDPM });
    let calls = 0;
    const open = (isCancelled: () => boolean) =>
      Subject.open(`${folder}/run`, {
        ema: true,
        say: () => {},
        quiet: true,
        isCancelled,
      });
    const draw = async (count: number, isCancelled = () => false) =>
      await drawImages(await open(isCancelled), {
        flags: { seed: 3, ema: true, samplingSteps: 4 },
        given: new Set(["seed", "samplingSteps"]),
      }, count);
    const whole = await draw(130);
    assert.equal(whole.id, "ddim-4-s3");
    const want = await whole.source.read(0, 130);
    const path = `${folder}/run/evaluations/ddim-4-s3`;
    await Deno.remove(path, { recursive: true });

    await assert.rejects(
      draw(130, () => ++calls > 9), // in the third of three batches
      /64 of 130 images|128 of 130 images/,
    );
    // Killed while a batch was written.
    await Deno.writeFile(`${path}/images.u8`, new Uint8Array(70), {
      append: true,
    });
    const resumed = await draw(130);
    assert.deepEqual(await resumed.source.read(0, 130), want);
    assert.ok(resumed.cost.msPerImage > 0);
    const fewer = await draw(20);
    assert.deepEqual(await fewer.source.read(0, 20), want.slice(0, 20 * 64));

    const state = await readJson(`${path}/drawing.json`);
    state.of.checkpoint = "another";
    await Deno.writeTextFile(`${path}/drawing.json`, JSON.stringify(state));
    await draw(20);
    assert.equal((await readJson(`${path}/drawing.json`)).images, 64);
  });
});

Deno.test("evaluate explains what it cannot evaluate", async () => {
  await inFolder(async (folder) => {
    const fake = async (name: string, config: string) => {
      await Deno.mkdir(`${folder}/${name}`);
      await Deno.writeTextFile(`${folder}/${name}/config.yaml`, config);
    };
    await fake("empty", "model: ddpm\n");
    await trainRuns(folder, {
      classifier: ["classifier", ...FEW],
      gan: ["gan", ...FEW, "--class", "3"],
    });
    const cases: [string[], RegExp][] = [
      [["empty"], /has no checkpoint yet/],
      [["classifier"], /runs of classifier draw no images/],
      [["none"], /Cannot find a run in .*none/],
      [["empty", "--split", "both"], /Unknown --split "both"/],
      [["gan", "--count", "5"], /at least 6 images: --count is 5/],
      [
        ["gan", "--nearest-k", "40"],
        /at least 41 .* digits\/test:3 leaves 3\d/,
      ],
      [["gan", "--sweep-steps", "a"], /--sweep-steps must be .* given "a"/],
      [["gan", "--sampler", "ddim"], /--sampler is for runs of ddpm/],
      [["gan", "--against", "mnist-x"], /Unknown data set "mnist-x"/],
      [["gan", "--features", "lenet-x"], /There is no LeNet for x/],
    ];
    for (const [[name, ...args], message] of cases) {
      await assert.rejects(
        () => evaluate([`${folder}/${name}`, ...args]),
        (error: Error) => {
          assert.ok(error instanceof UsageError, `${args}: ${error}`);
          assert.match(error.message, message);
          return true;
        },
      );
    }
    const printed = await run("evaluate", `${folder}/classifier`);
    assert.equal(printed.code, 2);
    assert.doesNotMatch(printed.err, /^\s+at /m, "no stack trace");

    const config = `${folder}/gan/config.yaml`;
    const text = await Deno.readTextFile(config);
    await Deno.writeTextFile(
      config,
      text.replace(/dataChecksum: \S+/, "dataChecksum: other"),
    );
    await assert.rejects(
      () => evaluate([`${folder}/gan`]),
      /training data differ .* was other/,
    );
    // A run that fails does not keep the others from being evaluated.
    await trainRuns(folder, { other: ["gan", ...FEW] });
    const both = ["gan", "other"].map((name) => `${folder}/${name}`);
    const { failures, results } = await evaluate([...both, "--count", "20"]);
    assert.deepEqual(failures.map(([path]) => path), [both[0]]);
    assert.deepEqual(results.map(({ path }) => path), [both[1]]);
  });
});
