/**
 * The configuration of `train ddpm`: every key, its range and its default.
 *
 * @module
 */
import { UsageError } from "./_cli.ts";
import { z } from "./_config.ts";

const count = z.int().min(1);
const share = z.number().min(0).max(1);
const belowOne = z.number().min(0).lt(1);

/** The noise predictor, a U-Net (Ho et al. 2020, appendix B). */
const unet = z.strictObject({
  channels: count.default(32), // of the first level
  multipliers: z.array(count).min(1).default([1, 2, 2]), // of `channels`, per level
  resBlocks: count.default(1), // per level
  attentionLevels: z.array(z.int().min(0)).default([1]), // 0 is full resolution
  groups: count.default(8), // of every GroupNorm
  dropout: belowOne.default(0),
});

/** The noising process and its reversal. */
const diffusion = z.strictObject({
  timesteps: z.int().min(2).default(1000), // T
  schedule: z.enum(["linear", "cosine"]).default("linear"),
  betaStart: z.number().gt(0).lt(1).default(1e-4), // linear only
  betaEnd: z.number().gt(0).lt(1).default(0.02), // linear only
  variance: z.enum(["fixedlarge", "fixedsmall"]).default("fixedlarge"), // β_t or β̃_t
  clipDenoised: z.boolean().default(true), // x̂₀ to [-1, 1] while sampling
});

/** AdamW; with `weightDecay` 0 it is Adam. */
const optimizer = z.strictObject({
  learningRate: z.number().gt(0).default(2e-4),
  weightDecay: z.number().min(0).default(0),
  betas: z.tuple([belowOne, belowOne]).default([0.9, 0.999]),
  eps: z.number().gt(0).default(1e-8),
  warmupSteps: z.int().min(0).default(0), // linear from 0
  schedule: z.enum(["constant", "cosine"]).default("constant"), // after the warm-up
  gradientClip: z.number().min(0).default(1), // global norm; 0 is off
});

/** The moving average of the weights, which samples are drawn with. */
const ema = z.strictObject({
  decay: belowOne.default(0.9999),
  warmup: z.boolean().default(true), // min(decay, (1 + step) / (10 + step))
});

/** How the sample grids of a run are drawn. */
const samples = z.strictObject({
  count: count.default(64),
  sampler: z.enum(["ddpm", "ddim"]).default("ddim"),
  steps: count.default(50), // of ddim; ddpm takes all timesteps
  eta: share.default(0), // of ddim: 0 deterministic, 1 as noisy as ddpm
});

/** The schema of `train ddpm`: strict, with defaults for all but the essentials. */
export const ddpmSchema = z.strictObject({
  model: z.literal("ddpm").default("ddpm"),
  dataset: z.string().min(1),
  classes: z.array(z.union([z.string(), z.int().min(0)])).default([]), // empty: all
  conditional: z.boolean().default(false),
  seed: z.int().min(0).max(2 ** 32 - 1).default(0),
  steps: count.default(10_000), // optimizer steps
  epochs: z.number().gt(0).optional(), // instead of steps, see resolveSteps
  batchSize: count.default(64), // images per step
  storage: z.enum(["f32", "f16"]).default("f32"), // of activations kept for gradients; sums are f32
  imageSize: count.optional(), // pixels; default: as the data set
  unet: unet.prefault({}),
  diffusion: diffusion.prefault({}),
  optimizer: optimizer.prefault({}),
  ema: ema.prefault({}),
  augment: z.strictObject({
    // auto: where the data set says that a mirrored image is plausible
    horizontalFlip: z.union([z.literal("auto"), z.boolean()]).default("auto"),
  }).prefault({}),
  logEvery: count.default(10), // steps between lines of metrics.jsonl
  sampleEvery: z.int().min(0).default(500), // steps between grids; 0 is never
  checkpointEvery: count.default(500), // steps; the last step always
  keepCheckpoints: count.default(2),
  samples: samples.prefault({}),
}).superRefine((config, context) => {
  const { unet, diffusion, samples } = config;
  const wrong = (path: string[], message: string) =>
    context.addIssue({ code: "custom", path, message });
  for (const multiplier of unet.multipliers) {
    if (unet.channels * multiplier % unet.groups !== 0) {
      wrong(
        ["unet", "groups"],
        `a divisor of the channels of every level, ${
          unet.multipliers.map((m) => m * unet.channels).join(", ")
        }`,
      );
      break;
    }
  }
  if (unet.attentionLevels.some((level) => level >= unet.multipliers.length)) {
    wrong(
      ["unet", "attentionLevels"],
      `levels from 0 to ${
        unet.multipliers.length - 1
      }, as multipliers has ${unet.multipliers.length}`,
    );
  }
  if (diffusion.betaStart > diffusion.betaEnd) {
    wrong(["diffusion", "betaStart"], `at most betaEnd, ${diffusion.betaEnd}`);
  }
  if (samples.sampler === "ddim" && samples.steps > diffusion.timesteps) {
    wrong(
      ["samples", "steps"],
      `at most diffusion.timesteps, ${diffusion.timesteps}`,
    );
  }
});

/** A complete configuration of `train ddpm`. */
export type DdpmConfig = z.output<typeof ddpmSchema>;

/** For `resolveConfig`: `epochs` given by a stronger source replaces `steps`, and the reverse. */
export const DDPM_EXCLUSIVE = [["steps", "epochs"]] as const;

/** For `resolveConfig`: what the names of the presets begin with. */
export const DDPM_PRESET_PREFIX = "ddpm-";

/** The preset of each data set. */
const PRESETS = new Map([
  ["digits", "ddpm-digits"],
  ["mnist", "ddpm-mnist"],
  ["fashion-mnist", "ddpm-fashion-mnist"],
]);

/**
 * The preset for a data set, if none is asked for.
 *
 * @param dataset As for `--dataset`; one without a preset of its own (images
 *   in a folder, ImageNet) takes that of CIFAR-10.
 * @returns The name of a preset.
 */
export function ddpmPresetOf(dataset: string): string {
  return PRESETS.get(dataset) ?? "ddpm-cifar10";
}

/**
 * Replaces `epochs` by steps, once the number of images is known.
 *
 * @param config Any; without `epochs` it is returned as it is.
 * @param imageCount Images in one epoch.
 * @returns A configuration without `epochs`; `steps` = ⌈epochs · images / batchSize⌉.
 */
export function resolveSteps(
  config: DdpmConfig,
  imageCount: number,
): DdpmConfig {
  const { epochs, ...rest } = config;
  if (epochs === undefined) return config;
  const steps = Math.max(1, Math.ceil(epochs * imageCount / config.batchSize));
  return { ...rest, steps };
}

/**
 * Checks that the image can be halved once per level of the U-Net but the last.
 *
 * @param config For `unet.multipliers`.
 * @param size Height and width of the images, in pixels.
 * @throws {UsageError} If a level would have half a pixel.
 */
export function checkImageSize(
  config: DdpmConfig,
  size: { readonly height: number; readonly width: number },
): void {
  const levels = config.unet.multipliers.length;
  const factor = 2 ** (levels - 1);
  if (size.height % factor === 0 && size.width % factor === 0) return;
  throw new UsageError(
    `Cannot use ${levels} levels (unet.multipliers) as the image must be a multiple of ${factor} pixels: it is ${size.height} × ${size.width}`,
  );
}
