/**
 * How long a training step takes here, by a few of them: run by `reproduce` as a process of its own,
 * so that nothing of it is in the way of what is trained then. Not a task.
 *
 * @module
 */
import "./_device.ts"; // before the engine, which opens the device
import { Batches } from "../mod.ts";
import { asUsage, fail } from "./_cli.ts";
import { resolveConfig } from "./_config.ts";
import { loadData } from "./_data.ts";
import { MODELS } from "./_models.ts";
import { shapeOf, Trainer } from "./_trainer.ts";
import { resolveSteps, type TrainingConfig } from "./_training_config.ts";
import { useTuned } from "./_tuned.ts";

/** What is timed: the JSON argument. */
export interface StepTimeOptions {
  /** As in `train MODEL`. */
  readonly model: string;
  readonly preset: string;
  /** As in `--set`. */
  readonly settings: readonly string[];
  readonly dataDir?: string;
  /** How long steps are timed; at least one is. */
  readonly seconds: number;
}

/** What was found: printed as JSON. */
export interface StepTime {
  readonly secondsPerStep: number;
  /** Of the preset. */
  readonly steps: number;
  readonly batchSize: number;
  readonly warmupSteps: number;
  readonly logEvery: number;
  readonly checkpointEvery: number;
  /** T of diffusion. */
  readonly timesteps?: number;
}

async function measure(options: StepTimeOptions): Promise<StepTime> {
  useTuned();
  const { schema, exclusive, presetPrefix, create } = MODELS[options.model]!;
  const { preset, settings, dataDir, seconds } = options;
  const resolved = await resolveConfig({
    schema,
    exclusive,
    preset,
    presetPrefix,
    sets: settings,
  }) as unknown as TrainingConfig;
  const dataset = await loadData(resolved, "train", { dataDir }, true);
  const config = resolveSteps(resolved, dataset.length);
  const model = await asUsage(() => create(config, shapeOf(dataset)));
  const trainer = new Trainer(model);
  const { batchSize, seed, logEvery, checkpointEvery } = config;
  const batches = new Batches(dataset, { batchSize, seed });
  const step = () => trainer.train(batches.batch(trainer.step));
  await step(); // compiles
  await trainer.takeLosses();
  const start = performance.now();
  const elapsed = () => (performance.now() - start) / 1000;
  // As training does, the device is waited for every so many steps.
  for (let run = 1; elapsed() < seconds; run = Math.min(2 * run, logEvery)) {
    for (let i = 0; i < run; i++) await step();
    await trainer.takeLosses();
  }
  const { diffusion } = config as { diffusion?: { timesteps: number } };
  return {
    secondsPerStep: elapsed() / (trainer.step - 1),
    steps: config.steps,
    batchSize,
    warmupSteps: config.optimizer.warmupSteps,
    logEvery,
    checkpointEvery,
    timesteps: diffusion?.timesteps,
  };
}

if (import.meta.main) {
  try {
    const found = await measure(JSON.parse(Deno.args[0]!));
    console.log(JSON.stringify(found));
  } catch (error) {
    fail(error);
  }
}
