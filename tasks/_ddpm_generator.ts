/**
 * Drawing from diffusion models: what `sample` takes for them, and what does not fit a run.
 *
 * @module
 */
import { SPACING_NAMES } from "../mod.ts";
import { checkpointOf } from "./_checkpoint.ts";
import { loadClassifier } from "./_classifier.ts";
import { classifierGuide } from "./_classifier_guidance.ts";
import {
  type Flags as FlagTable,
  type FlagValues,
  UsageError,
  userPath,
} from "./_cli.ts";
import { type DdpmModel, type Drawing, loadDdpm } from "./_ddpm.ts";
import { SAMPLER_NAMES } from "./_ddpm_config.ts";
import {
  classFlag,
  defineGenerator,
  type drawFlags,
  interpolateFlag,
} from "./_generator.ts";
import { RunFolder } from "./_run_folder.ts";

const FLAGS = {
  ...classFlag,
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
    description: "Noise levels, as sigma/alpha, that are guided (default: all)",
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
  ...interpolateFlag,
} as const satisfies FlagTable;

type Flags = FlagValues<typeof FLAGS & typeof drawFlags>;

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

/** Diffusion models, of images or of latents. */
export const ddpmGenerator = defineGenerator({
  flags: FLAGS,
  async open({ checkpoint, say }, flags) {
    const { bytes, path } = checkpoint;
    const { model, step } = loadDdpm(bytes, path, flags.ema);
    const asked = drawingOf(flags);
    const drawing = model.drawing(asked);
    checkDrawing(model, flags, drawing);
    const classifier = flags.classifier === undefined
      ? undefined
      : await guideOf(model, flags, say);
    const { sampler, steps, guidance } = drawing;
    return {
      shape: model.shape,
      step,
      knowsClasses: model.config.conditional || classifier !== undefined,
      method: sampler,
      nfe: model.evaluations(drawing),
      guidance: guidance === 1 ? undefined : guidance,
      summary: { sampler, steps },
      columns: flags.interpolate,
      steps: (count) => model.stepsFor(count, drawing),
      flops: classifier ? undefined : () => model.drawingFlops(drawing),
      async generate(options) {
        classifier?.(options.classes!); // says now which class it does not know
        const { interpolate } = flags;
        return await model.sample({
          ...asked,
          ...options,
          interpolate,
          classifier,
        });
      },
      dispose() {
        model.network.dispose();
        model.latents?.network.dispose();
      },
    };
  },
});
