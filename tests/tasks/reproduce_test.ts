/**
 * Published experiments: what the table of them says, how a budget is spent, what is printed, and the
 * smallest of them from end to end, interrupted on the way.
 *
 * @module
 */
import {
  deepEqual,
  equal,
  match,
  ok,
  rejects,
  throws,
} from "node:assert/strict";
import { parseSelector } from "../../datasets/load.ts";
import { listPresets, resolveConfig } from "../../tasks/_config.ts";
import { mergeEvaluation, type SampleScores } from "../../tasks/_evaluation.ts";
import {
  countOf,
  drawOf,
  drawSeconds,
  parseDuration,
  settingsOf,
  shareBudget,
  stepsOf,
} from "../../tasks/_experiment_plan.ts";
import {
  type Measured,
  reportOf,
  toMarkdown,
  toText,
} from "../../tasks/_experiment_report.ts";
import { EXPERIMENTS, type Metric } from "../../tasks/_experiments.ts";
import { MODELS } from "../../tasks/_models.ts";
import { Reproduction } from "../../tasks/_reproduction.ts";
import { RunFolder } from "../../tasks/_run_folder.ts";
import type { StepTime, StepTimeOptions } from "../../tasks/_step_time.ts";
import type { TaskName } from "../../tasks/_tasks.ts";
import { inFolder, run, task } from "./_subprocess.ts";

/** Published numbers of one metric, by row. */
function published(name: string, metric: Metric) {
  return Object.fromEntries(
    EXPERIMENTS[name]!.rows.map(({ name, published }) => [
      name,
      published?.[metric],
    ]),
  );
}

Deno.test("every experiment names presets, runs, rows and images that there are", async () => {
  const presets = await listPresets();
  for (const [name, experiment] of Object.entries(EXPERIMENTS)) {
    const rows = experiment.rows.map((row) => row.name);
    equal(new Set(rows).size, rows.length, name);
    for (const row of experiment.rows) {
      ok(row.run in experiment.runs, `${name}: ${row.name}`);
      parseSelector(row.against ?? experiment.against);
    }
    for (const { below, above } of experiment.claims) {
      ok(rows.includes(below) && rows.includes(above), `${name}: ${below}`);
    }
    for (const { model, preset } of Object.values(experiment.runs)) {
      ok(preset.startsWith(MODELS[model]!.presetPrefix), preset);
      ok(presets.includes(preset), preset);
      equal(
        presets.includes(`${preset}-as-published`),
        experiment.asPublished,
        preset,
      );
    }
  }
});

Deno.test("the experiments hold the numbers that were published", () => {
  deepEqual(published("s002-cats", "frechet"), {
    "2xUD half channels, linear": 114.71,
    "2xUD, linear": 100.144,
    "3xBlocks, linear": 118.501,
    "3xBlocks, cosine": 115.949,
    "2xUD, cosine": 97.275,
    "GAN, smoothed, 1024 epochs": 125.629,
    "GAN, 1024 epochs": 109.09,
    "GAN, 512 epochs": 113.311,
  });
  equal(EXPERIMENTS["s002-cats"]!.floor, 49.838);
  deepEqual(published("s002-conditional", "frechet"), {
    "Frogs, GAN": 181.748,
    "Cats, GAN": 231.707,
    "Frogs, diffusion": 70.517,
    "Cats, diffusion": 102.894,
  });
  deepEqual(
    EXPERIMENTS["s002-conditional"]!.rows.filter(({ invalid }) => invalid)
      .map(({ name }) => name),
    ["Cats, GAN"],
  );
  const tables: Record<string, Record<string, (number | undefined)[]>> = {
    "s004-mnist": {
      GAN: [700.325, 0.154, 4.482, 0.857, 0.861, 0.736, 0.723],
      VAE: [148.948, 2.312, 19.907, 0.604, 0.523, 0.519, 0.492],
      "VAE + GMM": [undefined, undefined, 24.632, 0.698, 0.365, 0.577, 0.367],
      DDPM: [1667.414, 118.312, 16.18, 0.824, 0.859, 0.693, 0.688],
    },
    "s004-fashion": {
      GAN: [675.894, 0.171, 5.504, 0.689, 0.813, 0.585, 0.619],
      VAE: [166.568, 7.821, 7.679, 0.525, 0.54, 0.442, 0.491],
      "VAE + GMM": [undefined, undefined, 10.36, 0.582, 0.429, 0.475, 0.392],
      DDPM: [1630.831, 111.875, 9.811, 0.748, 0.656, 0.606, 0.536],
    },
  };
  const columns = [
    "trainSeconds",
    "msPerImage",
    "frechet",
    "precision",
    "recall",
    "density",
    "coverage",
  ] as const;
  for (const [name, table] of Object.entries(tables)) {
    const found = Object.fromEntries(
      EXPERIMENTS[name]!.rows.map(({ name, published }) => [
        name,
        columns.map((column) => published?.[column]),
      ]),
    );
    deepEqual(found, table, name);
  }
  for (const name of ["s000-mnist", "s001-mnist", "s002-timesteps", "digits"]) {
    ok(EXPERIMENTS[name]!.rows.every((row) => row.published === undefined));
  }
});

Deno.test("the published frequencies of classes give their distance from MNIST's", () => {
  const distances = published("s004-mnist", "totalVariation");
  const want = { GAN: 0.2051, VAE: 0.3124, "VAE + GMM": 0.1374, DDPM: 0.1915 };
  for (const [row, distance] of Object.entries(want)) {
    ok(Math.abs(distances[row]! - distance) < 1e-4, row);
  }
});

Deno.test("parseDuration() reads units, and nothing else", () => {
  equal(parseDuration("--budget", "90s"), 90);
  equal(parseDuration("--budget", "10m"), 600);
  equal(parseDuration("--budget", "1h30m"), 5400);
  equal(parseDuration("--budget", "1d 2h"), 93_600);
  equal(parseDuration("--budget", "0.5s"), 0.5);
  for (const text of ["", "10", "soon", "0s", "-1m", "1m2h"]) {
    throws(
      () => parseDuration("--budget", text),
      /--budget must be a duration/,
    );
  }
});

Deno.test("shareBudget() divides by weight, and hands on what is not needed", () => {
  const want = (...seconds: number[]) =>
    seconds.map((seconds) => ({ weight: 1, seconds }));
  deepEqual(shareBudget(want(100, 100, 100), 30), [10, 10, 10]);
  deepEqual(shareBudget(want(4, 100, 100), 30), [4, 13, 13]);
  deepEqual(shareBudget(want(4, 11, 100), 30), [4, 11, 15]);
  deepEqual(shareBudget(want(1, 2, 3), 30), [1, 2, 3]);
  deepEqual(
    shareBudget([{ weight: 1, seconds: 50 }, { weight: 0.5, seconds: 50 }], 30),
    [20, 10],
  );
});

const TIME: StepTime = {
  secondsPerStep: 0.5,
  steps: 10_000,
  batchSize: 10,
  warmupSteps: 500,
  logEvery: 100,
  checkpointEvery: 5000,
  timesteps: 1000,
};

Deno.test("under a budget, all that is counted in steps fits their number", async () => {
  for (const [name, experiment] of Object.entries(EXPERIMENTS)) {
    const plans = Object.values(experiment.runs);
    const runs = plans.map((plan) => ({ plan, time: TIME }));
    ok(stepsOf(runs, undefined).every((steps) => steps === TIME.steps));
    const steps = stepsOf(runs, 20 * plans.length);
    ok(steps.every((count) => count > 10 && count < 60), name);
    deepEqual(stepsOf(runs, 1e-3), plans.map(() => 1));
    for (const [i, plan] of plans.entries()) {
      const { schema, exclusive, presetPrefix } = MODELS[plan.model]!;
      const config = await resolveConfig({
        schema,
        exclusive,
        presetPrefix,
        preset: plan.preset,
        sets: settingsOf(experiment, plan, TIME, steps[i]!),
      }) as unknown as Record<"steps" | "logEvery" | "checkpointEvery", number>;
      equal(config.steps, steps[i]);
      ok(config.logEvery <= steps[i]! / 10);
      equal(config.checkpointEvery, 120); // a minute
      const { warmupSteps } = (config as unknown as {
        optimizer: { warmupSteps: number };
      }).optimizer;
      ok(warmupSteps <= steps[i]! / 10);
      // For as long as published, nothing but the number of steps is set.
      const whole = settingsOf(experiment, plan, TIME, TIME.steps);
      ok(whole.includes("steps=10000") && !whole.join().includes("warmup"));
    }
  }
});

Deno.test("diffusion is drawn by DDIM, or by all timesteps as published", () => {
  const [row] = EXPERIMENTS["s002-conditional"]!.rows.slice(-1);
  const of = (options: { asPublished: boolean; samplingSteps?: number }) =>
    drawOf(row!, TIME, options).join(" ");
  const cats = "--class cat --sampler";
  equal(of({ asPublished: false }), `${cats} ddim --sampling-steps 50`);
  equal(of({ asPublished: true }), `${cats} ddpm --sampling-steps 1000`);
  equal(
    of({ asPublished: true, samplingSteps: 20 }),
    `${cats} ddim --sampling-steps 20`,
  );
  const seconds = drawSeconds([
    { draw: ["--sampler", "ddim", "--sampling-steps", "50"], time: TIME },
    { draw: [], time: TIME },
  ]);
  // A third of 0.05 s, 51 times.
  ok(Math.abs(seconds - 0.85) < 1e-9);
  const cats1000 = EXPERIMENTS["s002-cats"]!;
  equal(countOf(cats1000, 1000, seconds), 1000);
  equal(countOf(cats1000, 1000, seconds, 600), 500);
  equal(countOf(cats1000, 1000, seconds, 1), 100);
  equal(countOf(cats1000, 64, seconds, 1), 64); // fewer there are not
});

/** Scores that nobody measured. */
function measured(frechet: number, std = 0): Measured {
  return {
    scores: {
      provenance: {
        count: 100,
        extractor: { name: "lenet", prefix: "LeNet-", sha256: "0".repeat(64) },
      },
      frechet: { value: frechet, std, floor: 3 },
      kernel: { value: 0.002 },
      precision: { value: 0.5 },
      recall: { value: 0.4 },
      density: { value: 0.3 },
      coverage: { value: 0.2 },
      cost: { msPerImage: 7 },
    } as SampleScores,
    facts: { model: "gan", parameters: 1, trainSeconds: 9, imagesSeen: 512 },
    publishedImages: 10_240_000,
  };
}

Deno.test("a table shows both columns, what is void, floors, claims and caveats", () => {
  const experiment = EXPERIMENTS["s002-conditional"]!;
  const report = reportOf({
    name: "s002-conditional",
    experiment,
    measured: {
      "Frogs, GAN": measured(90),
      "Cats, GAN": measured(95, 4),
      "Frogs, diffusion": measured(80),
      "Cats, diffusion": measured(100, 4),
    },
    setup: ["Measured here: not at all"],
    notes: ["The copy of CIFAR-10 is not whole"],
  });
  const text = toText(report, Infinity);
  match(text, /Cats, GAN \[\d\] +231\.707 \(void\) +95\.00 ± 4\.000\n/);
  match(text, /Fréchet distance \(here LeNet-FID\) \[\d\]/);
  match(text, /real training images, cifar10\/test:cat +49\.838 +3\.000\n/);
  match(text, /real training images, cifar10\/test:frog +– +3\.000\n/);
  match(text, /Frogs, GAN +10,240,000 +512 \(0\.005 %\)\n/);
  match(text, /frogs +yes: 70\.517 < 181\.748 +yes: 80\.00 < 90\.00\n/);
  match(text, /cats +yes: .* +no: 100\.0 > 95\.00, within noise\n/);
  match(text, /\[\d\] The published 231\.707 is void: the notebook drew frogs/);
  match(text, /\[\d\] The copy of CIFAR-10 is not whole/);
  const marks = new Set(text.match(/\[\d\]/g));
  equal(marks.size, report.footnotes.length);
  const markdown = toMarkdown(report);
  match(markdown, /^# s002-conditional: /);
  match(
    markdown,
    /\n\| Cats, GAN \[\d\] \| 231\.707 \(void\) \| 95\.00 ± 4\.000 \|\n/,
  );
  for (const line of markdown.split("\n")) {
    if (line.startsWith("|")) equal(line.split(" | ").length, 3, line);
  }
});

Deno.test("a claim is told to hold, not to, to be equal, or to be within noise", () => {
  const experiment = EXPERIMENTS["s004-mnist"]!;
  const better = measured(4);
  const { scores } = better;
  const { verdicts } = reportOf({
    name: "s004-mnist",
    experiment,
    measured: {
      GAN: measured(5, 1),
      VAE: measured(9),
      "VAE + GMM": {
        ...better,
        scores: { ...scores, precision: { value: 0.6 }, recall: { value: 0 } },
      },
      DDPM: measured(4),
    },
    setup: [],
    notes: [],
  });
  const found = Object.fromEntries(
    verdicts.map(({ text, published, measured }) => [
      text,
      [published, measured],
    ]),
  );
  deepEqual(found["The GAN is nearer to the data than the DDPM"], [
    "yes: 4.482 < 16.180",
    "no: 5.000 > 4.000, within noise",
  ]);
  // Of 100 images, shares of 0.5 and 0.6 are off by 0.05 each.
  equal(
    found["The mixture raises precision"]![1],
    "yes: 0.500 < 0.600, within noise",
  );
  equal(found["The mixture lowers recall"]![1], "yes: 0.000 < 0.400");
  equal(found["The DDPM draws slowest"]![1], "equal: 7.000");
});

Deno.test("reproduce explains bad input before any work", async () => {
  await inFolder(async (folder) => {
    const [unknown, none, soon, published, missing, many, model, list] =
      await Promise
        .all([
          run("reproduce", "s002-cat"),
          run("reproduce"),
          run("reproduce", "digits", "--budget", "soon"),
          run("reproduce", "digits", "--as-published"),
          run(
            "reproduce",
            "s004-mnist",
            "--data-dir",
            folder,
            "--out",
            `${folder}/a`,
          ),
          run("reproduce", "digits", "--count", "298", "--out", `${folder}/b`),
          run("reproduce", "digits", "--models", "van"),
          run("reproduce", "--list"),
        ]);
    match(model.err, /Unknown model "van": did you mean "(gan|vae)"/);
    match(
      unknown.err,
      /Unknown experiment "s002-cat": did you mean "s002-cats"/,
    );
    match(none.err, /Missing <experiment>: one of digits/);
    match(soon.err, /--budget must be a duration, such as/);
    match(published.err, /Cannot run digits with --as-published/);
    match(many.err, /--count must be at most the 297 real images/);
    for (const { code } of [unknown, none, soon, published, many, model]) {
      equal(code, 2);
    }
    equal(missing.code, 1);
    match(missing.err, /MNIST.*deno task datasets get mnist/s);
    deepEqual([...Deno.readDirSync(folder)], []);
    equal(list.code, 0);
    for (const name of Object.keys(EXPERIMENTS)) ok(list.out.includes(name));
  });
});

Deno.test("reproduce goes on where it was interrupted, and ends with its table", async () => {
  await inFolder(async (folder) => {
    const out = `${folder}/out`;
    const args = [
      "digits",
      "--models",
      "vae",
      "--budget",
      "0.2s",
      "--count",
      "16",
      "--out",
      out,
    ];
    const child = task("reproduce", args).spawn();
    // Planned, and begun to train.
    while (!await isThere(`${out}/runs/vae/config.yaml`)) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    child.kill("SIGINT");
    const stopped = await child.output();
    equal(stopped.code, 1);
    match(
      new TextDecoder().decode(stopped.stderr),
      /error: Interrupted\. To go on: .*reproduce digits --models vae --budget 0\.2s/,
    );
    const state = async () =>
      JSON.parse(await Deno.readTextFile(`${out}/reproduce.json`));
    const before = await state();
    equal(before.runs.vae.done, false);

    const other = await run(
      "reproduce",
      "digits",
      "--budget",
      "2s",
      "--out",
      out,
    );
    equal(other.code, 2);
    match(
      other.err,
      /begun as digits --models vae with --budget 0\.2s, and this is digits with --budget 2s/,
    );

    const done = await run("reproduce", ...args);
    equal(done.code, 0, done.err);
    const after = await state();
    deepEqual(after.runs.vae, { ...before.runs.vae, done: true });
    for (const row of ["VAE", "VAE \\+ GMM"]) {
      match(done.out, new RegExp(`\n  ${row} +– +\\d+\\.\\d+`));
    }
    match(
      await Deno.readTextFile(`${out}/reproduce.md`),
      /^# digits: DDPM, VAE, VAE \+ GMM and GAN/,
    );
    ok(await isThere(`${out}/report/report.html`));

    const again = await run("reproduce", ...args, "--json");
    equal(again.code, 0, again.err);
    const { rows } = JSON.parse(again.out);
    deepEqual(
      rows.map(({ name }: { name: string }) => name),
      ["VAE", "VAE + GMM"],
    );
    ok(
      rows.every(({ measured }: { measured: Record<Metric, unknown> }) =>
        measured.frechet && measured.bitsTest
      ),
    );
    deepEqual(await state(), after);
  });
});

Deno.test("reproduce skips what is done, and evaluates anew under other flags", async () => {
  await inFolder(async (folder) => {
    const out = `${folder}/out`;
    const calls: string[] = [];
    /** Does next to nothing, and fails once at a call. */
    const tasksUntil = (stop: number) => {
      let count = 0;
      const note = (text: string) => {
        if (++count === stop) throw new Error("stopped");
        calls.push(text);
      };
      return {
        ask(_name: TaskName, _file: string, argument: unknown) {
          note(`time ${(argument as StepTimeOptions).preset}`);
          return Promise.resolve(TIME);
        },
        async run(name: TaskName, args: readonly string[]) {
          note(`${name} ${args.join(" ").replaceAll(`${out}/runs/`, "")}`);
          if (name === "train") {
            const path = args[args.indexOf("--out") + 1]!;
            await (await RunFolder.create(path)).writeConfig({}, {});
          } else if (name === "evaluate") {
            await mergeEvaluation(await RunFolder.open(args[0]!), {
              samples: [measured(1).scores],
            });
          }
        },
      };
    };
    const options = { name: "digits", out, budget: 60, asPublished: false };
    const start = async (stop: number, count: number) => {
      calls.length = 0;
      const it = await Reproduction.open({ ...options, count, say() {} });
      const tasks = tasksUntil(stop);
      await it.plan(tasks);
      await it.train(tasks);
      await it.evaluate(tasks);
      await it.compare(tasks);
      equal(Object.keys(it.findings().measured).length, 4);
    };
    const words = () => calls.map((text) => text.split(" ", 2).join(" "));
    await rejects(start(2, 100), /stopped/);
    deepEqual(words(), ["time ddpm-digits"]);
    await rejects(start(4, 100), /stopped/);
    deepEqual(words(), ["time vae-digits", "time gan-digits", "train ddpm"]);
    match(calls[2]!, /--preset ddpm-digits --set steps=40 .*--out ddpm$/);
    await rejects(start(5, 100), /stopped/);
    deepEqual(words(), [
      "train vae",
      "train gan",
      "evaluate ddpm",
      "evaluate vae",
    ]);
    match(
      calls[2]!,
      /^evaluate ddpm --count 100 --sampler ddim --sampling-steps 50 --eta 1 --bound-count 100/,
    );
    await start(Infinity, 100);
    deepEqual(words(), ["evaluate vae", "evaluate gan", "compare ddpm"]);
    match(calls[0]!, /--gmm class/);
    await start(Infinity, 100);
    deepEqual(words(), []);
    await start(Infinity, 50);
    deepEqual(words().map((text) => text.split(" ")[0]), [
      ...Array(4).fill("evaluate"),
      "compare",
    ]);
  });
});

async function isThere(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}
