/**
 * `deno task train <model>`: trains a model in a run folder that `--resume` continues.
 *
 * @module
 */
import { deviceFlag } from "./_device.ts"; // before the engine, which opens the device
import {
  Batches,
  checkRange,
  type Dataset,
  deviceInfo,
  memory,
  sync,
  turn,
} from "../mod.ts";
import {
  commandName,
  defineCommand,
  onInterrupt,
  type Parsed,
  runTask,
  UsageError,
  userPath,
} from "./_cli.ts";
import { checkConfig, resolveConfig } from "./_config.ts";
import { loadData } from "./_data.ts";
import { readPixels, saveGif, saveGrid } from "./_images.ts";
import { type ModelKind, MODELS } from "./_models.ts";
import { saveChart } from "./_plots.ts";
import { Progress } from "./_progress.ts";
import { RunFolder, runName } from "./_run_folder.ts";
import { taskInfo } from "./_tasks.ts";
import { formatBytes, formatDuration } from "./_text.ts";
import { shapeOf, Trainer } from "./_trainer.ts";
import { resolveSteps, type TrainingConfig } from "./_training_config.ts";
import { useTuned } from "./_tuned.ts";

/** What `deno task train` accepts. */
export const command = defineCommand({
  ...taskInfo("train"),
  positionals: [{
    name: "model",
    description: "What to train",
    choices: Object.keys(MODELS),
  }],
  flags: {
    ...deviceFlag,
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
    noisy: {
      type: "boolean",
      description:
        "Train a classifier on noised images, so that it can guide sampling",
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
async function newConfig(
  kind: ModelKind,
  flags: Flags,
): Promise<TrainingConfig> {
  const config = flags.config === undefined
    ? undefined
    : userPath(flags.config);
  const { schema, exclusive, presetPrefix } = kind;
  const resolved = await resolveConfig({
    schema,
    preset: flags.preset ??
      kind.presetOf(flags.dataset ?? "digits", flags.noisy),
    presetPrefix,
    configFile: config,
    sets: flags.set,
    exclusive,
    flags: {
      dataset: flags.dataset,
      classes: flags.class,
      conditional: flags.conditional,
      noisy: flags.noisy,
      steps: flags.steps,
      epochs: flags.epochs,
      batchSize: flags.batchSize,
      seed: flags.seed,
    },
  });
  return resolved as unknown as TrainingConfig;
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

/** Seconds of training: compiling, drawing and saving are left out. */
class Stopwatch {
  #since = performance.now();
  /** Seconds of all laps so far. */
  totalSeconds: number;

  constructor(before: number) {
    this.totalSeconds = before;
  }

  /** Seconds since the last lap, pauses excluded. */
  lap(): number {
    const now = performance.now();
    const seconds = (now - this.#since) / 1000;
    this.totalSeconds += seconds;
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
}

/** A run under way: what the loop in `main` does besides training. */
class Session {
  readonly trainer: Trainer;
  readonly run: RunFolder;
  readonly dataset: Dataset;
  readonly config: TrainingConfig;
  readonly watch: Stopwatch;
  /** Prints a line for people. */
  readonly say: (text: string) => void;
  /** Set by Ctrl-C. */
  interrupted = false;
  #stepsOfLap = 0;

  constructor(
    trainer: Trainer,
    run: RunFolder,
    dataset: Dataset,
    say: (text: string) => void,
  ) {
    this.trainer = trainer;
    this.run = run;
    this.dataset = dataset;
    this.config = trainer.model.config;
    this.watch = new Stopwatch(trainer.seconds);
    this.say = say;
  }

  /** Whether something that happens every so many steps, and at the end, happens now. */
  due(every: number): boolean {
    const { step } = this.trainer;
    return step === this.config.steps || (every > 0 && step % every === 0);
  }

  /** One step; the first one compiles its kernels, says how long that took and what a step costs. */
  async train(batches: Batches): Promise<void> {
    const { trainer } = this;
    const batch = batches.batch(trainer.step);
    if (trainer.stepInfo) await trainer.train(batch);
    else {
      await this.watch.pause(async () => {
        this.say("Compiling kernels …");
        const start = performance.now();
        await trainer.train(batch);
        await sync();
        const seconds = (performance.now() - start) / 1000;
        const { dispatches, arenaBytes } = trainer.stepInfo!;
        this.say(
          `First step after ${
            formatDuration(seconds)
          }: ${dispatches} kernels, ` +
            `${formatBytes(arenaBytes)} of intermediates`,
        );
      });
    }
    this.#stepsOfLap++;
    void batches.prefetch(trainer.step);
  }

  /**
   * Writes a line of `metrics.jsonl`.
   *
   * @returns The text for the progress line.
   */
  async log(): Promise<string> {
    const { trainer, config, dataset, run } = this;
    const { step } = trainer;
    const means = await trainer.takeLosses();
    const rate = this.#stepsOfLap * config.batchSize / this.watch.lap();
    this.#stepsOfLap = 0;
    const watched = trainer.model.watch?.(step, means);
    await run.appendMetrics({
      step,
      epoch: Number((step * config.batchSize / dataset.length).toFixed(3)),
      ...means,
      ...watched?.numbers,
      learning_rate: trainer.learningRate(step - 1),
      images_per_second: Number(rate.toFixed(2)),
    });
    for (const warning of watched?.warnings ?? []) {
      this.say(`warning: ${warning}`);
    }
    const losses = Object.entries(means)
      .filter(([name]) => /(^|_)loss$/.test(name));
    const broken = losses.find(([, loss]) => !Number.isFinite(loss));
    if (broken) {
      throw new Error(
        `Training broke down at step ${step}: the ${
          broken[0].replace("_", " ")
        } is ${broken[1]}. The last checkpoint is intact; ` +
          `continue from it with a lower optimizer.learningRate in ${
            run.file("config.yaml")
          }`,
      );
    }
    const text = losses.map(([name, loss]) =>
      `${name.replace("_", " ")} ${loss.toFixed(4)}`
    ).join(" · ");
    return `${text} · ${rate.toFixed(0)} images/s`;
  }

  /** Draws the grid of the present step, unless it is there or Ctrl-C comes first. */
  async draw(): Promise<void> {
    const { trainer, run, dataset } = this;
    const path = run.samplesPath(trainer.step);
    if (await exists(path)) return;
    await this.watch.pause(async () => {
      const picture = await trainer.picture(() => this.interrupted);
      if (!picture) return;
      await Deno.mkdir(run.file("samples"), { recursive: true });
      const { channels, height, width } = dataset;
      const { bytes, count } = picture;
      await saveGrid(path, bytes, { count, channels, height, width });
    });
  }

  /** Writes what the model says of data it is not trained on to `metrics.jsonl`, unless Ctrl-C comes first. */
  async evaluate(test: Dataset): Promise<void> {
    const { trainer, run, dataset: train } = this;
    await this.watch.pause(async () => {
      const found = await trainer.evaluate(
        { train, test },
        () => this.interrupted,
      );
      if (!found) return;
      await run.appendMetrics({ step: trainer.step, ...found });
      const text = Object.entries(found)
        .map(([name, value]) => `${name} ${value.toFixed(4)}`).join(" · ");
      this.say(`Evaluation at step ${trainer.step}: ${text}`);
    });
  }

  /** Writes a checkpoint. */
  async save(): Promise<void> {
    const { trainer, run, config, watch } = this;
    await watch.pause(async () => {
      trainer.seconds = watch.totalSeconds;
      await run.saveCheckpoint(
        trainer.step,
        await trainer.checkpoint(),
        config.keepCheckpoints,
      );
    });
  }

  /** Draws the curves, the model's own figures and the animation; writes the summary and returns it. */
  async finish(): Promise<Record<string, unknown>> {
    const { trainer, run, config } = this;
    for (const chart of trainer.model.charts) await saveChart(run, chart);
    await trainer.figures(run, this.dataset);
    const frames = [];
    for (let step = 1; step <= trainer.step; step++) {
      const path = run.samplesPath(step);
      if (await exists(path)) frames.push(await readPixels(path));
    }
    if (frames.length > 0) await saveGif(run.file("progress.gif"), frames);
    const last = (await run.readMetrics()).findLast((line) =>
      line.images_per_second !== undefined
    );
    const summary = {
      model: config.model,
      dataset: config.dataset,
      steps: trainer.step,
      parameters: trainer.model.network.parameterCount,
      trainingSeconds: Number(this.watch.totalSeconds.toFixed(3)),
      imagesPerSecond: last?.images_per_second,
      ...Object.fromEntries(
        Object.entries(last ?? {}).filter(([name]) => /(^|_)loss$/.test(name)),
      ),
      stepBytes: trainer.stepInfo?.arenaBytes,
      peakBytes: memory().peakBytes,
      adapter: deviceInfo().adapter,
      ...trainer.model.summary?.(),
    };
    await run.writeSummary(summary);
    return summary;
  }
}

/** The run to continue, and what it was started with. */
async function resume(
  kind: ModelKind,
  flags: Flags,
): Promise<{ run: RunFolder; config: TrainingConfig; checksum: unknown }> {
  const run = await folderToResume(flags);
  const before = await run.readConfig();
  const config = checkConfig(
    kind.schema,
    before.config,
    run.file("config.yaml"),
  ) as unknown as TrainingConfig;
  const { steps = config.steps } = flags;
  return {
    run,
    config: { ...config, steps },
    checksum: before.run.dataChecksum,
  };
}

/** Makes the folder of a new run. */
async function newRun(
  flags: Flags,
  config: TrainingConfig,
): Promise<RunFolder> {
  if (flags.out !== undefined) {
    return await RunFolder.create(userPath(flags.out));
  }
  const { model, dataset, classes } = config;
  return await RunFolder.createNamed(
    userPath("runs"),
    runName({ model, dataset, classes }),
  );
}

/** Brings a trainer to the last checkpoint of its run. */
async function restore(
  trainer: Trainer,
  run: RunFolder,
  say: (text: string) => void,
): Promise<void> {
  await run.prepareToResume();
  const checkpoint = await run.latestCheckpoint((message) =>
    say(`warning: ${message}`)
  );
  if (checkpoint) {
    trainer.restore(await Deno.readFile(checkpoint.path), checkpoint.path);
    say(`Continuing after step ${trainer.step}`);
  } else {say(
      "warning: the run has no checkpoint yet: it starts again at step 0",
    );}
  const { steps } = trainer.model.config;
  if (trainer.step > steps) {
    throw new UsageError(
      `--steps must be at least the ${trainer.step} steps done: given ${steps}`,
    );
  }
  await run.truncateMetrics(trainer.step);
}

/**
 * Trains, or continues to.
 *
 * @param parsed The command line.
 */
export async function main(
  { positionals, flags, json }: Parsed<typeof command.flags>,
): Promise<void> {
  useTuned();
  const name = positionals[0]!, kind = MODELS[name]!;
  const say = (text: string) => json ? undefined : console.error(text);
  const resumed = flags.resume !== undefined
    ? await resume(kind, flags)
    : undefined;
  let config = resumed?.config ?? await newConfig(kind, flags);
  const dataset = await loadData(config, "train", flags, json);
  config = resolveSteps(config, dataset.length);
  for (const warning of dataset.warnings) say(`warning: ${warning}`);
  if (resumed && resumed.checksum !== dataset.checksum) {
    throw new UsageError(
      `Cannot resume ${resumed.run.path} as the data differ from those it was started with: sha256 ` +
        `is ${dataset.checksum}, was ${resumed.checksum}`,
    );
  }
  const test = config.evaluateEvery > 0
    ? await loadData(config, "test", flags, json)
    : undefined;
  const model = await kind.create(config, shapeOf(dataset));
  const trainer = new Trainer(model);
  const run = resumed?.run ?? await newRun(flags, config);
  say(
    `Training ${name} on ${dataset.title}${
      config.classes.length > 0 ? ` (${config.classes.join(", ")})` : ""
    }: ${dataset.length} images ${dataset.width} × ${dataset.height} × ${dataset.channels}, ` +
      `${
        model.network.parameterCount.toLocaleString("en")
      } parameters, ${deviceInfo().adapter}`,
  );
  say(
    `${config.steps.toLocaleString("en")} steps show it ${
      (config.steps * config.batchSize).toLocaleString("en")
    } images, ` +
      `${(model.flops() / 1e9).toPrecision(3)} GFLOP forward each`,
  );
  for (const line of model.report()) say(line);
  say(`Run folder: ${run.path}`);
  if (resumed) await restore(trainer, run, say);
  await run.writeConfig(model.config, {
    command: [commandName(), "train", ...Deno.args].join(" "),
    deno: Deno.version.deno,
    adapter: deviceInfo().adapter,
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

  const session = new Session(trainer, run, dataset, say);
  using _ = onInterrupt(() => {
    session.interrupted = true;
    say("Saving, then stopping …");
  });
  using progress = new Progress({
    label: "Training",
    total: config.steps,
    initial: trainer.step,
    quiet: json,
  });
  const before = trainer.step;
  // A picture that an interruption cut off is drawn first.
  if (before > 0 && session.due(config.sampleEvery)) await session.draw();
  while (trainer.step < config.steps && !session.interrupted) {
    await session.train(batches);
    if (session.due(config.logEvery)) {
      progress.update(trainer.step, await session.log());
    } else {
      progress.update(trainer.step);
      await turn();
    }
    if (session.due(config.sampleEvery)) await session.draw();
    if (test && session.due(config.evaluateEvery)) await session.evaluate(test);
    if (session.due(config.checkpointEvery)) await session.save();
  }
  progress.finish();
  if (session.interrupted) {
    await session.save();
    const { dataDir } = flags; // of this machine, so not in the run folder
    say(
      `Stopped after step ${trainer.step}. Continue: ${commandName()} train ${name} --resume ${run.path}` +
        (dataDir === undefined ? "" : ` --data-dir ${dataDir}`),
    );
    return;
  }
  if (trainer.step === before) say("The run was finished before");
  const summary = await session.finish();
  if (json) console.log(JSON.stringify({ run: run.path, ...summary }));
  say(
    `Done. Training took ${
      formatDuration(session.watch.totalSeconds)
    }, without compiling and drawing\n` +
      (model.picture
        ? `Samples: ${run.samplesPath(trainer.step)}\n` +
          `More: ${commandName()} ${kind.next ?? "sample"} ${run.path}`
        : `Curves: ${run.file("curves.png")}`),
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
