/**
 * `deno task sample RUN`: draws images from a trained run.
 *
 * @module
 */
import { deviceFlag } from "./_device.ts"; // before the engine, which opens the device
import { resolveClasses, SPACING_NAMES } from "../mod.ts";
import {
  asUsage,
  defineCommand,
  onInterrupt,
  type Parsed,
  runTask,
  UsageError,
  userPath,
} from "./_cli.ts";
import { checkpointOf } from "./_checkpoint.ts";
import { loadClassifier } from "./_classifier.ts";
import { classifierGuide } from "./_classifier_guidance.ts";
import { type DdpmModel, type Drawing, loadDdpm } from "./_ddpm.ts";
import { SAMPLER_NAMES } from "./_ddpm_config.ts";
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
        "Classes to draw, by name or number; for a conditional model, or with --classifier (default: all)",
    },
    sampler: {
      type: "string",
      choices: SAMPLER_NAMES,
      description:
        "How noise is taken away (default: as in the run's configuration)",
    },
    samplingSteps: {
      type: "integer",
      min: 1,
      description:
        "Steps of the sampler (default: as configured, or all timesteps for ddpm, 50 for ddim and euler-ancestral, 20 for dpmpp, 18 for heun)",
    },
    spacing: {
      type: "string",
      choices: SPACING_NAMES,
      description:
        "Which noise levels are visited (default: even, linspace for dpmpp, karras for heun)",
    },
    eta: {
      type: "number",
      min: 0,
      max: 1,
      description: "Noise of ddim, 0 to 1 (default: as configured)",
    },
    churn: {
      type: "number",
      min: 0,
      description: "Noise of heun (default: as configured)",
    },
    threshold: {
      type: "string",
      choices: ["static", "dynamic", "none"],
      description: "How predicted images are kept in range",
    },
    guidance: {
      type: "number",
      min: 0,
      description:
        "Scale of classifier-free guidance, 1 is none; for a model trained with labelDropout",
    },
    guidanceInterval: {
      type: "list",
      placeholder: "LOW,HIGH",
      description:
        "Noise levels, as sigma/alpha, that are guided (default: all)",
    },
    classifier: {
      type: "string",
      placeholder: "RUN",
      description:
        "Guide by a run of train classifier --noisy, towards the classes of --class",
    },
    classifierScale: {
      type: "number",
      min: 0,
      default: 1,
      description: "Factor of the classifier's gradient",
    },
    interpolate: {
      type: "integer",
      min: 2,
      placeholder: "N",
      description: "Draw rows of N images, each on the way between two",
    },
    first: {
      type: "integer",
      min: 0,
      default: 0,
      description: "Number of the first image among those of the seed",
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

/** What the classifier of `--classifier` tells the sampler. */
async function guideOf(
  model: DdpmModel,
  flags: Flags,
  say: (text: string) => void,
) {
  const path = userPath(flags.classifier!);
  const run = await RunFolder.open(path);
  const { bytes, path: file } = await checkpointOf(run, path, say);
  const { model: classifier } = loadClassifier(bytes, file, flags.ema);
  return classifierGuide(classifier, run.name, {
    shape: model.shape,
    noise: model.edm ? "edm" : model.diffusion,
  }, flags.classifierScale);
}

type Flags = Parsed<typeof command.flags>["flags"];

/** What the flags say of the way to draw. */
function drawingOf(flags: Flags): Drawing {
  const { sampler, spacing, eta, churn, threshold, guidance } = flags;
  return {
    sampler,
    steps: flags.samplingSteps,
    spacing,
    eta,
    churn,
    threshold,
    guidance,
    guidanceInterval: flags.guidanceInterval &&
      intervalOf(flags.guidanceInterval),
  };
}

function intervalOf(words: readonly string[]): [number, number] {
  const [low, high, ...rest] = words.map(Number);
  if (rest.length === 0 && low! >= 0 && high! > low!) return [low!, high!];
  throw new UsageError(
    `--guidance-interval must be two ascending noise levels, such as 0.3,5: given ${
      words.join(",")
    }`,
  );
}

/**
 * Checks that the model can be drawn from so.
 *
 * @throws {UsageError} Saying what to change.
 */
function checkDrawing(
  model: DdpmModel,
  flags: Flags,
  drawing: ReturnType<DdpmModel["drawing"]>,
): void {
  const { sampler, steps, threshold, guidance, eta, churn } = drawing;
  const { diffusion, conditional, labelDropout } = model.config;
  if (!model.edm && steps > diffusion.timesteps) {
    throw new UsageError(
      `--sampling-steps must be at most the ${diffusion.timesteps} timesteps of the model: given ${steps}`,
    );
  }
  if (model.latents && flags.classifier) {
    throw new UsageError(
      "Cannot guide by a classifier as the model works on latents, and classifiers know images",
    );
  }
  if (model.latents && threshold === "dynamic") {
    throw new UsageError(
      "--threshold must be static or none as the model works on latents, which dynamic would scale",
    );
  }
  if (flags.class && !conditional && !flags.classifier) {
    throw new UsageError(
      "Cannot choose a class as the model was trained without --conditional: it knows none. " +
        "--classifier RUN can guide it",
    );
  }
  if (guidance !== 1 && !conditional) {
    throw new UsageError(
      "Cannot guide as the model was trained without --conditional: train one with " +
        "--conditional --set labelDropout=0.1, or leave out --guidance",
    );
  }
  if (guidance !== 1 && labelDropout === 0) {
    throw new UsageError(
      "Cannot guide as the model was trained with labelDropout 0 and knows no images without a class: " +
        "train one with --set labelDropout=0.1, or leave out --guidance",
    );
  }
  const only = (name: string, value: unknown, ...samplers: string[]) => {
    if (value === undefined || samplers.includes(sampler)) return;
    throw new UsageError(
      `--${name} is for --sampler ${
        samplers.join(" or ")
      }: the sampler is ${sampler}`,
    );
  };
  only("eta", flags.eta, "ddim");
  only("churn", flags.churn, "heun");
  const isNoisy = sampler === "ddpm" || sampler === "euler-ancestral" ||
    sampler === "ddim" && eta > 0 || sampler === "heun" && churn > 0;
  if (flags.interpolate !== undefined && isNoisy) {
    throw new UsageError(
      `--interpolate needs a sampler without noise of its own, such as --sampler ddim --eta 0: the sampler is ${sampler}`,
    );
  }
}

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
  const checkpoint = await checkpointOf(run, path, say);
  const { model, step } = loadDdpm(
    checkpoint.bytes,
    checkpoint.path,
    flags.ema,
  );
  const { channels, height, width, classNames } = model.shape;
  const asked = drawingOf(flags);
  const drawing = model.drawing(asked);
  const { sampler, steps } = drawing;
  checkDrawing(model, flags, drawing);
  const { count, seed } = flags;
  const wanted = flags.class
    ? await asUsage(() => resolveClasses(classNames, flags.class!, run.name))
    : classNames.map((_, id) => id);
  const classes = model.config.conditional || flags.classifier
    ? model.classesInTurn(count, wanted)
    : undefined;
  const classifier = flags.classifier === undefined
    ? undefined
    : await guideOf(model, flags, say);
  if (classifier) classifier(classes!); // says now which class it does not know
  let interrupted = false;
  using _ = onInterrupt(() => interrupted = true);
  using progress = new Progress({
    label: `Sampling ${count} images by ${sampler} at step ${step}`,
    total: model.stepsFor(count, drawing),
    quiet: json,
  });
  const bytes = await model.sample({
    ...asked,
    count,
    seed,
    first: flags.first,
    interpolate: flags.interpolate,
    classes,
    classifier,
    isCancelled: () => interrupted,
    onStep: (done) => progress.update(done),
  });
  if (!bytes) throw new Error("Interrupted: nothing was written");
  progress.finish();
  const layout = { count, channels, height, width };
  const columns = flags.interpolate;
  const written: string[] = [];
  if (flags.out !== undefined) {
    const folder = userPath(flags.out);
    await Deno.mkdir(folder, { recursive: true });
    await saveImages(folder, bytes, { ...layout, first: flags.first });
    written.push(folder);
  }
  if (flags.grid !== undefined || flags.out === undefined) {
    if (flags.grid === undefined) {
      await Deno.mkdir(run.file("samples"), { recursive: true });
    }
    const file = flags.grid === undefined
      ? run.file("samples", `grid-${seed}.png`)
      : userPath(flags.grid);
    await saveGrid(file, bytes, { ...layout, columns });
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
