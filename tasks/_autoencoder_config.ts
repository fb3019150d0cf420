/**
 * The configuration of `train autoencoder`: every key, its range and its default.
 *
 * @module
 */
import { z } from "./_config.ts";
import { count, STEPS_OR_EPOCHS, trainingKeys } from "./_training_config.ts";

/** Encoder and decoder of Rombach et al. 2022. */
export const autoencoder = z.strictObject({
  latentChannels: count.default(4),
  channels: count.default(32), // of the first level
  multipliers: z.array(count).min(1).default([1, 2]), // of `channels`, per level; f = 2^(levels - 1)
  resBlocks: count.default(1), // per level
  groups: count.default(8), // of every GroupNorm
  logvarInit: z.number().default(0), // of the width that the loss learns; see AutoencoderKlOptions
});

/** What an autoencoder minimises. */
export const autoencoderLoss = z.strictObject({
  type: z.enum(["l1", "gaussian"]).default("l1"), // of one learned width
  klWeight: z.number().min(0).default(1e-6), // 1: the bound of a variational autoencoder
});

/** How reconstructions are judged. */
export const autoencoderEvaluation = z.strictObject({
  count: count.default(1000), // images of each part of the data
});

/** The latents that a diffusion model is trained on. */
export const latent = z.strictObject({
  autoencoder: z.string().min(1), // its run folder
  sample: z.boolean().default(true), // draws from the posterior, instead of its mean
  architecture: autoencoder.optional(), // as the autoencoder's run has it: filled in
});

/** Says what is wrong between keys of the section `autoencoder`. */
export function checkAutoencoder(
  { channels, multipliers, groups }: z.output<typeof autoencoder>,
  wrong: (path: string[], message: string) => void,
): void {
  const widths = multipliers.map((multiplier) => multiplier * channels);
  if ([channels, ...widths].every((width) => width % groups === 0)) return;
  wrong(
    ["autoencoder", "groups"],
    `a divisor of the channels of every level, ${widths.join(", ")}`,
  );
}

/** The schema of `train autoencoder`: strict, with defaults for all but the essentials. */
export const autoencoderSchema = z.strictObject({
  model: z.literal("autoencoder").default("autoencoder"),
  ...trainingKeys,
  autoencoder: autoencoder.prefault({}),
  loss: autoencoderLoss.prefault({}),
  evaluation: autoencoderEvaluation.prefault({}),
}).superRefine(({ autoencoder }, context) =>
  checkAutoencoder(
    autoencoder,
    (path, message) => context.addIssue({ code: "custom", path, message }),
  )
);

/** A complete configuration of `train autoencoder`. */
export type AutoencoderConfig = z.output<typeof autoencoderSchema>;

/** For `resolveConfig`: keys of which a stronger source's replaces the others. */
export const AUTOENCODER_EXCLUSIVE = [STEPS_OR_EPOCHS] as const;

/** For `resolveConfig`: what the names of the presets begin with. */
export const AUTOENCODER_PRESET_PREFIX = "autoencoder-";

/**
 * The preset for a data set, if none is asked for.
 *
 * @param dataset As for `--dataset`; one without a preset of its own takes that of CIFAR-10.
 */
export function autoencoderPresetOf(dataset: string): string {
  const own = ["digits", "mnist", "fashion-mnist"].includes(dataset);
  return AUTOENCODER_PRESET_PREFIX + (own ? dataset : "cifar10");
}
