/**
 * `deno task train <model>`: trains a model in a run folder that `--resume` continues.
 *
 * @module
 */
import { deviceInfo, loadDataset, memory, sync } from "../mod.ts";
import { Batches, checkRange, type Dataset, type DatasetName } from "../mod.ts";
import {
  asUsage,
  defineCommand,
  onInterrupt,
  type Parsed,
  runTask,
  UsageError,
  userPath,
} from "./_cli.ts";
import { checkConfig, resolveConfig } from "./_config.ts";
import { DdpmTrainer, shapeOf } from "./_ddpm.ts";
import {
  checkImageSize,
  DDPM_EXCLUSIVE,
  DDPM_PRESET_PREFIX,
  type DdpmConfig,
  ddpmPresetOf,
  ddpmSchema,
  resolveSteps,
} from "./_ddpm_config.ts";
import { readPixels, saveGif, saveGrid } from "./_images.ts";
import { curveOf, saveCurves } from "./_plots.ts";
import { Progress } from "./_progress.ts";
import { RunFolder, runName } from "./_run_folder.ts";
import { taskInfo } from "./_tasks.ts";
import { formatBytes, formatDuration } from "./_text.ts";
import { useTuned } from "./_tuned.ts";

/** What `deno task train` accepts. */
export const command = defineCommand({
  ...taskInfo("train"),
  positionals: [{
    name: "model",
    description: "What to train",
    choices: ["ddpm"],
  }],
  flags: {
    dataset: {
      type: "string",
      description:
        "digits, mnist, fashion-mnist, cifar10, imagenet64 or folder:PATH (default: digits)",
    },
    class: {
      type: "list",
      description: "Classes to train on, by name or number (default: all)",
    },
    conditional: {
      type: "boolean",
      description: "Tell the network the class of each image",
    },
    preset: {
      type: "string",
      description: "A file of tasks/presets (default: by data set)",
    },
    config: {
      type: "string",
      placeholder: "FILE",
      description: "YAML file of settings, over those of the preset",
    },
    set: {
      type: "list",
      split: false,
      placeholder: "KEY=VALUE",
      description: "One setting, such as unet.channels=64; may be repeated",
    },
    steps: { type: "integer", min: 1, description: "Optimizer steps" },
    epochs: {
      type: "number",
      min: 0,
      description: "Passes over the data, instead of --steps",
    },
    batchSize: { type: "integer", min: 1, description: "Images per step" },
    seed: {
      type: "integer",
      min: 0,
      max: 2 ** 32 - 1,
      description: "Seed of all randomness",
    },
    out: {
      type: "string",
      placeholder: "DIR",
      description: "Run folder (default: a new one in runs/)",
    },
    dataDir: {
      type: "string",
      placeholder: "DIR",
      description:
        "A folder that already holds the data set's files; nothing is downloaded then",
    },
    resume: {
      type: "string",
      placeholder: "DIR",
      optionalValue: true,
      description:
        "Continue a run (default: the folder of --out, else the newest in runs/)",
    },
  },
  notes:
    "Settings come from the preset, then --config, then --set and the other flags. Ctrl-C saves a checkpoint and stops; --resume continues it as if it had never stopped. On a resume, --steps may extend the run; other settings stay as they were.",
});

type Flags = Parsed<typeof command.flags>["flags"];

/** The configuration of a new run. */
async function newConfig(flags: Flags): Promise<DdpmConfig> {
  const config = flags.config === undefined
    ? undefined
    : userPath(flags.config);
  return await resolveConfig({
    schema: ddpmSchema,
    preset: flags.preset ?? ddpmPresetOf(flags.dataset ?? "digits"),
    presetPrefix: DDPM_PRESET_PREFIX,
    configFile: config,
    sets: flags.set,
    exclusive: DDPM_EXCLUSIVE,
    flags: {
      dataset: flags.dataset,
      classes: flags.class,
      conditional: flags.conditional,
      steps: flags.steps,
      epochs: flags.epochs,
      batchSize: flags.batchSize,
      seed: flags.seed,
    },
  });
}

/** The folder that `--resume` means. */
async function folderToResume(flags: Flags): Promise<RunFolder> {
  const named = flags.resume || flags.out;
  if (named) return await RunFolder.open(userPath(named));
  const parent = userPath("runs");
  let newest: { path: string; time: number } | undefined;
  try {
    for await (const { name, isDirectory } of Deno.readDir(parent)) {
      if (!isDirectory) continue;
      const { mtime } = await Deno.stat(`${parent}/${name}`);
      const time = mtime?.getTime() ?? 0;
      if (!newest || time > newest.time) {
        newest = { path: `${parent}/${name}`, time };
      }
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  if (!newest) {
    throw new UsageError(
      `Cannot resume as there is no run in ${parent}: name one, --resume DIR`,
    );
  }
  return await RunFolder.open(newest.path);
}

async function loadData(
  config: DdpmConfig,
  flags: Flags,
  quiet: boolean,
): Promise<Dataset> {
  let progress: Progress | undefined;
  let file = "";
  const dataset = await asUsage(() =>
    loadDataset(config.dataset as DatasetName, {
      split: "train",
      classes: config.classes.length > 0 ? config.classes : undefined,
      size: config.imageSize,
      dataDir: flags.dataDir === undefined
        ? undefined
        : userPath(flags.dataDir),
      onProgress(done, total, name) {
        if (name !== file) {
          progress?.finish();
          progress = new Progress({
            label: `Loading ${name}`,
            total,
            unit: "bytes",
            quiet,
          });
          file = name;
        }
        progress!.update(done);
      },
    })
  );
  progress?.finish();
  return dataset;
}

/** Training images per second are measured between log lines, sampling and saving excluded. */
class Stopwatch {
  #since = performance.now();
  #totalMs = 0;
  /** Seconds since the last lap, pauses excluded. */
  lap(): number {
    const now = performance.now();
    const seconds = (now - this.#since) / 1000;
    this.#totalMs += now - this.#since;
    this.#since = now;
    return seconds;
  }
  /** Leaves the time of `body` out. */
  async pause<T>(body: () => Promise<T>): Promise<T> {
    const start = performance.now();
    try {
      return await body();
    } finally {
      this.#since += performance.now() - start;
    }
  }
  /** Seconds of all laps. */
  get totalSeconds(): number {
    return this.#totalMs / 1000;
  }
}

/**
 * Trains, or continues to.
 *
 * @param parsed The command line.
 */
export async function main(
  { flags, json }: Parsed<typeof command.flags>,
): Promise<void> {
  useTuned();
  const resuming = flags.resume !== undefined;
  const resumed = resuming ? await folderToResume(flags) : undefined;
  const before = await resumed?.readConfig();
  let config = resumed && before
    ? checkConfig(ddpmSchema, before.config, resumed.file("config.yaml"))
    : await newConfig(flags);
  if (resuming && flags.steps !== undefined) {
    config = { ...config, steps: flags.steps };
  }

  const dataset = await loadData(config, flags, json);
  config = resolveSteps(config, dataset.length);
  checkImageSize(config, dataset);
  const say = (text: string) => json ? undefined : console.error(text);
  for (const warning of dataset.warnings) say(`warning: ${warning}`);
  if (before && before.run.dataChecksum !== dataset.checksum) {
    throw new UsageError(
      `Cannot resume ${
        resumed!.path
      } as the data differ from those it was started with: sha256 is ` +
        `${dataset.checksum}, was ${before.run.dataChecksum}`,
    );
  }

  const trainer = new DdpmTrainer(config, shapeOf(dataset));
  const run = resumed ??
    (flags.out !== undefined
      ? await RunFolder.create(userPath(flags.out))
      : await RunFolder.createNamed(
        userPath("runs"),
        runName({
          model: config.model,
          dataset: config.dataset,
          classes: config.classes,
        }),
      ));
  if (resumed) {
    await run.prepareToResume();
    const checkpoint = await run.latestCheckpoint((message) =>
      say(`warning: ${message}`)
    );
    if (checkpoint) {
      trainer.restore(await Deno.readFile(checkpoint.path), checkpoint.path);
    }
    await run.truncateMetrics(trainer.step);
  }
  const info = deviceInfo();
  await run.writeConfig(config, {
    command: ["deno task train", ...Deno.args].join(" "),
    deno: Deno.version.deno,
    adapter: info.adapter,
    dataChecksum: dataset.checksum,
  });
  const { horizontalFlip } = config.augment;
  const flip = horizontalFlip === "auto"
    ? dataset.horizontalFlip
    : horizontalFlip;
  const batches = new Batches(dataset, {
    batchSize: config.batchSize,
    seed: config.seed,
    flip,
  });
  checkRange(batches.batch(0).images);

  say(
    `Training ddpm on ${dataset.title}${
      config.classes.length > 0 ? ` (${config.classes.join(", ")})` : ""
    }: ${dataset.length} images ${dataset.width} × ${dataset.height} × ${dataset.channels}, ` +
      `${
        trainer.unet.parameterCount.toLocaleString("en")
      } parameters, ${info.adapter}`,
  );
  say(trainer.scheduleReport());
  say(`Run folder: ${run.path}`);
  if (trainer.step > 0) say(`Continuing after step ${trainer.step}`);

  let interrupted = false;
  using _ = onInterrupt(() => {
    interrupted = true;
    say("Saving, then stopping …");
  });
  using progress = new Progress({
    label: "Training",
    total: config.steps,
    initial: trainer.step,
    quiet: json,
  });
  const watch = new Stopwatch();
  const save = () =>
    watch.pause(async () => {
      await run.saveCheckpoint(
        trainer.step,
        await trainer.checkpoint(),
        config.keepCheckpoints,
      );
    });
  const draw = () =>
    watch.pause(async () => {
      const { channels, height, width } = dataset;
      const { count, sampler, steps, eta } = config.samples;
      const bytes = await trainer.sampleEma({
        count,
        seed: config.seed,
        sampler,
        steps: sampler === "ddim" ? steps : undefined,
        eta,
        isCancelled: () => interrupted,
      });
      if (!bytes) return;
      await Deno.mkdir(run.file("samples"), { recursive: true });
      await saveGrid(run.samplesPath(trainer.step), bytes, {
        count,
        channels,
        height,
        width,
      });
    });
  const due = (every: number) => every > 0 && trainer.step % every === 0;

  let last = { loss: NaN, gradNorm: NaN };
  let rate = NaN;
  while (trainer.step < config.steps && !interrupted) {
    if (trainer.stepInfo) trainer.train(batches.batch(trainer.step));
    else await watch.pause(() => firstStep(trainer, batches, say));
    void batches.prefetch(trainer.step);
    const atEnd = trainer.step === config.steps;
    if (due(config.logEvery) || atEnd) {
      const images = trainer.pendingSteps * config.batchSize;
      last = await trainer.takeLosses();
      rate = images / watch.lap();
      await run.appendMetrics({
        step: trainer.step,
        epoch: Number(
          (trainer.step * config.batchSize / dataset.length).toFixed(3),
        ),
        loss: last.loss,
        grad_norm: last.gradNorm,
        learning_rate: trainer.learningRate(trainer.step - 1),
        images_per_second: Number(rate.toFixed(2)),
      });
      if (!Number.isFinite(last.loss)) {
        throw new Error(
          `Training broke down at step ${trainer.step}: the loss is ${last.loss}. The last ` +
            `checkpoint is intact; continue from it with a lower optimizer.learningRate in ` +
            run.file("config.yaml"),
        );
      }
      progress.update(
        trainer.step,
        `loss ${last.loss.toFixed(4)} · ${rate.toFixed(0)} images/s`,
      );
    } else {
      progress.update(trainer.step);
      // Lets signals in; the device is not waited for.
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
    if (due(config.sampleEvery) || atEnd) await draw();
    if (due(config.checkpointEvery) || atEnd) await save();
  }
  if (interrupted) {
    await save();
    progress.finish();
    say(
      `Stopped after step ${trainer.step}. Continue: deno task train ddpm --resume ${run.path}`,
    );
    return;
  }
  progress.finish();

  const lines = await run.readMetrics();
  if (lines.length > 0) {
    await saveCurves(run, [curveOf(lines, "loss", "training loss")], {
      title: `${run.name}: training loss`,
      yTitle: "mean squared error of the predicted noise",
      logY: true,
    });
  }
  const frames = [];
  for (let step = 1; step <= config.steps; step++) {
    if (
      step !== config.steps &&
      !(config.sampleEvery > 0 && step % config.sampleEvery === 0)
    ) {
      continue;
    }
    const path = run.samplesPath(step);
    if (await exists(path)) frames.push(await readPixels(path));
  }
  if (frames.length > 0) await saveGif(run.file("progress.gif"), frames);
  const summary = {
    model: config.model,
    dataset: config.dataset,
    steps: trainer.step,
    parameters: trainer.unet.parameterCount,
    trainingSeconds: Number(watch.totalSeconds.toFixed(1)),
    imagesPerSecond: rate,
    loss: last.loss,
    stepBytes: trainer.stepInfo?.arenaBytes,
    peakBytes: memory().peakBytes,
    adapter: info.adapter,
  };
  await run.writeSummary(summary);
  if (json) console.log(JSON.stringify({ run: run.path, ...summary }));
  say(
    `Done in ${formatDuration(watch.totalSeconds)}. Samples: ${
      run.samplesPath(trainer.step)
    }\n` +
      `More: deno task sample ${run.path}`,
  );
}

/** The first step compiles its kernels; says how long that took, and what a step costs. */
async function firstStep(
  trainer: DdpmTrainer,
  batches: Batches,
  say: (text: string) => void,
): Promise<void> {
  say("Compiling kernels …");
  const start = performance.now();
  trainer.train(batches.batch(trainer.step));
  await sync();
  const { dispatches, arenaBytes } = trainer.stepInfo!;
  say(
    `First step after ${
      formatDuration((performance.now() - start) / 1000)
    }: ${dispatches} kernels, ` +
      `${formatBytes(arenaBytes)} of intermediates`,
  );
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

if (import.meta.main) await runTask(command, main);
