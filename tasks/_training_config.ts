/**
 * What the configurations of all models have in common.
 *
 * @module
 */
import { z } from "./_config.ts";

/** A whole number from 1. */
export const count = z.int().min(1);
/** 0 to 1. */
export const share = z.number().min(0).max(1);
/** 0 to below 1. */
export const belowOne = z.number().min(0).lt(1);

/** AdamW; with `weightDecay` 0 it is Adam. */
export const optimizer = z.strictObject({
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
  decay: belowOne.default(0.9999), // 0: the weights themselves
  warmup: z.boolean().default(true), // min(decay, (1 + step) / (10 + step))
});

/** Keys of every configuration, to spread into a schema. */
export const trainingKeys = {
  dataset: z.string().min(1),
  classes: z.array(z.union([z.string(), z.int().min(0)])).default([]), // empty: all
  seed: z.int().min(0).max(2 ** 32 - 1).default(0),
  steps: count.default(10_000), // optimizer steps
  epochs: z.number().gt(0).optional(), // instead of steps, see resolveSteps
  batchSize: count.default(64), // images per step
  storage: z.enum(["f32", "f16"]).default("f32"), // of activations kept for gradients; sums are f32
  imageSize: count.optional(), // pixels; default: as the data set
  optimizer: optimizer.prefault({}),
  ema: ema.prefault({}),
  augment: z.strictObject({
    // auto: where the data set says that a mirrored image is plausible
    horizontalFlip: z.union([z.literal("auto"), z.boolean()]).default("auto"),
  }).prefault({}),
  logEvery: count.default(10), // steps between lines of metrics.jsonl
  sampleEvery: z.int().min(0).default(500), // steps between grids; 0 is never
  evaluateEvery: z.int().min(0).default(0), // steps between evaluations on held-out data; 0 is never
  checkpointEvery: count.default(500), // steps; the last step always
  keepCheckpoints: count.default(2),
} as const;

/** What every configuration holds. */
export type TrainingConfig =
  & z.output<z.ZodObject<typeof trainingKeys>>
  & { model: string };

/** For `resolveConfig`: `epochs` given by a stronger source replaces `steps`, and the reverse. */
export const STEPS_OR_EPOCHS = ["steps", "epochs"] as const;

/**
 * Replaces `epochs` by steps, once the number of images is known.
 *
 * @param config Any; without `epochs` it is returned as it is.
 * @param imageCount Images in one epoch.
 * @returns A configuration without `epochs`; `steps` = ⌈epochs · images / batchSize⌉.
 */
export function resolveSteps<C extends TrainingConfig>(
  config: C,
  imageCount: number,
): C {
  const { epochs, ...rest } = config;
  if (epochs === undefined) return config;
  const steps = Math.max(1, Math.ceil(epochs * imageCount / config.batchSize));
  return { ...rest, steps } as C;
}
