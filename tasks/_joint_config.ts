/**
 * The configuration of `train joint`: an autoencoder and diffusion on its latents, trained together.
 *
 * @module
 */
import {
  autoencoder,
  autoencoderLoss,
  checkAutoencoder,
} from "./_autoencoder_config.ts";
import { z } from "./_config.ts";
import { checkDdpm, DDPM_EXCLUSIVE, ddpmSchema } from "./_ddpm_config.ts";

/** When each part is trained; steps from the start of the run. */
const stages = z.strictObject({
  autoencoderSteps: z.int().min(0).default(1000), // the autoencoder alone
  detachedSteps: z.int().min(0).default(1000), // then both, the denoiser on latents as they are
  weight: z.number().min(0).default(0.1), // of the denoising loss, whose gradient then reaches the encoder
});

const { latent: _, ...ddpmKeys } = ddpmSchema.shape;

/** The schema of `train joint`: that of `train ddpm`, and how the latents are made. */
export const jointSchema = z.strictObject({
  ...ddpmKeys,
  model: z.literal("joint").default("joint"),
  autoencoder: autoencoder.prefault({}),
  reconstruction: autoencoderLoss.prefault({}),
  stages: stages.prefault({}),
}).superRefine((config, context) => {
  checkDdpm(config, context);
  checkAutoencoder(
    config.autoencoder,
    (path, message) => context.addIssue({ code: "custom", path, message }),
  );
});

/** A complete configuration of `train joint`. */
export type JointConfig = z.output<typeof jointSchema>;

/** For `resolveConfig`: keys of which a stronger source's replaces the others. */
export const JOINT_EXCLUSIVE = DDPM_EXCLUSIVE;

/** For `resolveConfig`: what the names of the presets begin with. */
export const JOINT_PRESET_PREFIX = "joint-";

/**
 * The preset for a data set, if none is asked for.
 *
 * @param dataset As for `--dataset`; one without a preset of its own takes that of the same size of images.
 */
export function jointPresetOf(dataset: string): string {
  const likes = new Map([["digits", "digits"], ["mnist", "mnist"], [
    "fashion-mnist",
    "mnist",
  ]]);
  return JOINT_PRESET_PREFIX + (likes.get(dataset) ?? "cifar10");
}
