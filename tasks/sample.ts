/**
 * `deno task sample RUN`: draws images from a trained run.
 *
 * @module
 */
import { deviceFlag } from "./_device.ts"; // before the engine, which opens the device
import { resolveClasses } from "../mod.ts";
import {
  asUsage,
  defineCommand,
  onInterrupt,
  type Parsed,
  runTask,
  UsageError,
  userPath,
} from "./_cli.ts";
import { loadDdpm } from "./_ddpm.ts";
import { saveGrid, saveImages } from "./_images.ts";
import { Progress } from "./_progress.ts";
import { RunFolder } from "./_run_folder.ts";
import { taskInfo } from "./_tasks.ts";
import { useTuned } from "./_tuned.ts";

/** What `deno task sample` accepts. */
export const command = defineCommand({
  ...taskInfo("sample"),
  positionals: [{
    name: "run",
    description: "A run folder, or a checkpoint in one",
  }],
  flags: {
    ...deviceFlag,
    count: {
      type: "integer",
      min: 1,
      default: 64,
      description: "Number of images",
    },
    class: {
      type: "list",
      description:
        "Classes to draw, by name or number; for a conditional model (default: all)",
    },
    sampler: {
      type: "string",
      choices: ["ddpm", "ddim"],
      description:
        "How noise is taken away (default: as in the run's configuration)",
    },
    samplingSteps: {
      type: "integer",
      min: 1,
      description:
        "Network evaluations (default: as configured for ddim, all for ddpm)",
    },
    eta: {
      type: "number",
      min: 0,
      max: 1,
      description:
        "Noise of ddim, 0 to 1 (default: as in the run's configuration)",
    },
    seed: {
      type: "integer",
      min: 0,
      max: 2 ** 32 - 1,
      default: 1,
      description: "Seed of the noise",
    },
    ema: {
      type: "boolean",
      default: true,
      description: "Draw with the last weights, not their moving average",
    },
    grid: {
      type: "string",
      placeholder: "FILE",
      description:
        "Write one picture of all images (default: samples/grid-SEED.png in the run)",
    },
    out: {
      type: "string",
      placeholder: "DIR",
      description: "Write every image as a PNG of its own",
    },
  },
  notes:
    "Network, schedule and pixel range come from the checkpoint; no flag of the training is needed again.",
});

/**
 * Draws and writes the images.
 *
 * @param parsed The command line.
 */
export async function main(
  { positionals, flags, json }: Parsed<typeof command.flags>,
): Promise<void> {
  useTuned();
  const path = userPath(positionals[0]!);
  const say = (text: string) => json ? undefined : console.error(text);
  const run = await RunFolder.open(path);
  const checkpoint = path.endsWith(".safetensors")
    ? { path }
    : await run.latestCheckpoint((message) => say(`warning: ${message}`));
  if (!checkpoint) {
    throw new UsageError(
      `Cannot sample as the run has no checkpoint yet: ${run.path}`,
    );
  }
  const { model, step } = loadDdpm(
    await Deno.readFile(checkpoint.path),
    checkpoint.path,
    flags.ema,
  );
  const { channels, height, width, classNames } = model.shape;
  const { samples, diffusion, conditional } = model.config;
  const sampler = flags.sampler ?? samples.sampler;
  const steps = flags.samplingSteps ??
    (sampler === "ddim" ? samples.steps : diffusion.timesteps);
  if (steps > diffusion.timesteps) {
    throw new UsageError(
      `--sampling-steps must be at most the ${diffusion.timesteps} timesteps of the model: given ${steps}`,
    );
  }
  if (flags.class && !conditional) {
    throw new UsageError(
      "Cannot choose a class as the model was trained without --conditional: it knows none",
    );
  }
  const { count, seed } = flags;
  const wanted = flags.class
    ? await asUsage(() => resolveClasses(classNames, flags.class!, run.name))
    : classNames.map((_, id) => id);
  const classes = conditional
    ? Int32Array.from({ length: count }, (_, i) => wanted[i % wanted.length]!)
    : undefined;
  let interrupted = false;
  using _ = onInterrupt(() => interrupted = true);
  using progress = new Progress({
    label: `Sampling ${count} images by ${sampler} at step ${step}`,
    total: steps * model.batchesFor(count),
    unit: "evaluations",
    quiet: json,
  });
  const bytes = await model.sample({
    count,
    seed,
    sampler,
    steps,
    eta: flags.eta ?? samples.eta,
    classes,
    isCancelled: () => interrupted,
    onStep: (done) => progress.update(done),
  });
  if (!bytes) throw new Error("Interrupted: nothing was written");
  progress.finish();
  const layout = { count, channels, height, width };
  const written: string[] = [];
  if (flags.out !== undefined) {
    const folder = userPath(flags.out);
    await Deno.mkdir(folder, { recursive: true });
    await saveImages(folder, bytes, layout);
    written.push(folder);
  }
  if (flags.grid !== undefined || flags.out === undefined) {
    if (flags.grid === undefined) {
      await Deno.mkdir(run.file("samples"), { recursive: true });
    }
    const file = flags.grid === undefined
      ? run.file("samples", `grid-${seed}.png`)
      : userPath(flags.grid);
    await saveGrid(file, bytes, layout);
    written.push(file);
  }
  if (json) {
    console.log(
      JSON.stringify({
        run: run.path,
        step,
        count,
        seed,
        sampler,
        steps,
        written,
      }),
    );
  }
  for (const file of written) say(`Wrote ${file}`);
}

if (import.meta.main) await runTask(command, main);
