/**
 * The kinds of model that `train` knows.
 *
 * @module
 */
import { AutoencoderModel } from "./_autoencoder.ts";
import {
  AUTOENCODER_EXCLUSIVE,
  AUTOENCODER_PRESET_PREFIX,
  autoencoderPresetOf,
  autoencoderSchema,
} from "./_autoencoder_config.ts";
import { ClassifierModel } from "./_classifier.ts";
import {
  CLASSIFIER_EXCLUSIVE,
  CLASSIFIER_PRESET_PREFIX,
  classifierPresetOf,
  classifierSchema,
} from "./_classifier_config.ts";
import { asUsage } from "./_cli.ts";
import type { Exclusive, z } from "./_config.ts";
import { DdpmModel } from "./_ddpm.ts";
import {
  DDPM_EXCLUSIVE,
  DDPM_PRESET_PREFIX,
  ddpmPresetOf,
  ddpmSchema,
} from "./_ddpm_config.ts";
import { GanModel } from "./_gan.ts";
import {
  GAN_EXCLUSIVE,
  GAN_PRESET_PREFIX,
  ganPresetOf,
  ganSchema,
} from "./_gan_config.ts";
import { JointModel } from "./_joint.ts";
import {
  JOINT_EXCLUSIVE,
  JOINT_PRESET_PREFIX,
  jointPresetOf,
  jointSchema,
} from "./_joint_config.ts";
import { openLatents } from "./_latents.ts";
import { checkImageSize } from "./_network_config.ts";
import type { TaskName } from "./_tasks.ts";
import type { DataShape, Trainable } from "./_trainer.ts";
import type { TrainingConfig } from "./_training_config.ts";
import { VaeModel } from "./_vae.ts";
import {
  CONV_VAE_PRESET_PREFIX,
  convVaePresetOf,
  VAE_EXCLUSIVE,
  VAE_PRESET_PREFIX,
  vaePresetOf,
  vaeSchema,
} from "./_vae_config.ts";

/** What `train` needs to know of a kind of model. */
export interface ModelKind<S extends z.ZodObject = z.ZodObject> {
  /** Of the configuration. */
  readonly schema: S;
  /** As `resolveConfig` takes it. */
  readonly exclusive: Exclusive;
  /** What the names of its presets begin with. */
  readonly presetPrefix: string;
  /** The preset for a data set, if none is asked for; `noisy` as in `train --noisy`. */
  presetOf(dataset: string, noisy?: boolean): string;
  /** The task that shows more of a run; default: `sample`. */
  readonly next?: TaskName;
  /**
   * Builds a model with its first weights.
   *
   * @throws {UsageError} If configuration and data do not fit.
   */
  create(
    config: z.output<S>,
    shape: DataShape,
  ): Trainable | Promise<Trainable>;
}

/** For inference: a kind whose configuration is at least a `TrainingConfig`. */
function kind<S extends z.ZodObject>(
  it: z.output<S> extends TrainingConfig ? ModelKind<S> : never,
): ModelKind {
  return it as unknown as ModelKind;
}

const vae = kind<typeof vaeSchema>({
  schema: vaeSchema,
  exclusive: VAE_EXCLUSIVE,
  presetPrefix: VAE_PRESET_PREFIX,
  presetOf: vaePresetOf,
  create: (config, shape) => asUsage(() => new VaeModel(config, shape)),
});

/** By the name in `deno task train NAME`. */
export const MODELS: Readonly<Record<string, ModelKind>> = {
  ddpm: kind<typeof ddpmSchema>({
    schema: ddpmSchema,
    exclusive: DDPM_EXCLUSIVE,
    presetPrefix: DDPM_PRESET_PREFIX,
    presetOf: ddpmPresetOf,
    async create(config, shape) {
      const latents = config.latent && await openLatents(config.latent, shape);
      if (latents) checkImageSize(config, latents.shape, "latents");
      else checkImageSize(config, shape);
      const latent = latents?.config;
      return new DdpmModel({ ...config, latent }, shape, latents);
    },
  }),
  classifier: kind<typeof classifierSchema>({
    schema: classifierSchema,
    exclusive: CLASSIFIER_EXCLUSIVE,
    presetPrefix: CLASSIFIER_PRESET_PREFIX,
    presetOf: classifierPresetOf,
    create: (config, shape) =>
      asUsage(() => new ClassifierModel(config, shape)),
  }),
  autoencoder: kind<typeof autoencoderSchema>({
    schema: autoencoderSchema,
    exclusive: AUTOENCODER_EXCLUSIVE,
    presetPrefix: AUTOENCODER_PRESET_PREFIX,
    presetOf: autoencoderPresetOf,
    next: "probe",
    create: (config, shape) => new AutoencoderModel(config, shape),
  }),
  gan: kind<typeof ganSchema>({
    schema: ganSchema,
    exclusive: GAN_EXCLUSIVE,
    presetPrefix: GAN_PRESET_PREFIX,
    presetOf: ganPresetOf,
    create: (config, shape) => asUsage(() => new GanModel(config, shape)),
  }),
  joint: kind<typeof jointSchema>({
    schema: jointSchema,
    exclusive: JOINT_EXCLUSIVE,
    presetPrefix: JOINT_PRESET_PREFIX,
    presetOf: jointPresetOf,
    create(config, shape) {
      const model = new JointModel(config, shape);
      checkImageSize(config, model.latents, "latents");
      return model;
    },
  }),
  vae,
  "conv-vae": {
    ...vae,
    presetPrefix: CONV_VAE_PRESET_PREFIX,
    presetOf: convVaePresetOf,
  },
};
