/**
 * The configuration of `train gan`: every key, its range and its default.
 *
 * @module
 */
import { DCGAN_GENERATORS_32 } from "../mod.ts";
import { z } from "./_config.ts";
import {
  belowOne,
  count,
  optimizer,
  share,
  STEPS_OR_EPOCHS,
  trainingKeys,
} from "./_training_config.ts";

/** Generators by name, of which each gives the channels. */
const LAYERS = Object.keys(
  DCGAN_GENERATORS_32,
) as (keyof typeof DCGAN_GENERATORS_32)[];

/** What `diffAugment` can do to images. */
export const CHANGES = ["color", "translation", "cutout"] as const;

/** What all families have. */
const common = {
  latent: count.default(100), // numbers that an image is made from
  classFeatures: count.default(10), // columns of the embeddings of a class
  condition: z.enum(["channels", "map", "projection", "auxiliary"]) // what the class is to the discriminator
    .default("channels"),
} as const;

/** Sections of networks: the one that is there is built. */
const networks = {
  dcgan: z.strictObject({
    ...common,
    // By a name or one by one, of images twice as large each; default: by the size, see DcganOptions.
    generatorChannels: z.union([z.enum(LAYERS), z.array(count).min(1)])
      .optional(),
    discriminatorChannels: z.array(count).min(1).optional(),
    norm: z.enum(["batch", "spectral", "none"]).default("batch"), // of the discriminator
  }).optional(),
  kerasDcgan: z.strictObject({
    ...common,
    generatorChannels: z.tuple([count, count, count]).default([256, 128, 64]),
    discriminatorChannels: z.tuple([count, count]).default([64, 128]),
    dropout: belowOne.default(0.3), // in the discriminator
  }).optional(),
} as const;

/** For `resolveConfig`: a section given by a stronger source replaces the others. */
const NETWORKS = Object.keys(networks);

/** What the two networks make small. */
const loss = z.strictObject({
  type: z.enum(["non-saturating", "hinge", "wasserstein-gp"]).default(
    "non-saturating",
  ),
  real: share.default(1), // what real images are taken for; 0.9 smooths
  fake: share.default(0), // what generated ones are taken for by the discriminator
  generator: share.default(1), // and what the generator wants them to be taken for
  penalty: z.number().gt(0).default(10), // λ of wasserstein-gp
  auxiliary: z.number().gt(0).default(1), // weight of the class losses of condition auxiliary
  r1: z.number().min(0).default(0), // γ of the slope's penalty at real images; 0 is off
});

/** Adam; the betas are those of Radford et al. 2016. */
const ganOptimizer = optimizer.extend({
  betas: z.tuple([belowOne, belowOne]).default([0.5, 0.999]),
  gradientClip: z.number().min(0).default(0), // global norm; 0 is off
});

/** The schema of `train gan`: strict, with defaults for all but the essentials. */
export const ganSchema = z.strictObject({
  model: z.literal("gan").default("gan"),
  ...trainingKeys,
  batchSize: z.int().min(2).default(64), // images per step, which are normalised together
  conditional: z.boolean().default(false),
  ...networks,
  loss: loss.prefault({}),
  criticSteps: count.optional(), // steps for one of the generator; default: 1, 5 with wasserstein-gp
  optimizer: ganOptimizer.prefault({}),
  discriminatorOptimizer: z.strictObject({ // where it differs
    learningRate: z.number().gt(0).optional(),
    betas: z.tuple([belowOne, belowOne]).optional(),
    weightDecay: z.number().min(0).optional(),
    gradientClip: z.number().min(0).optional(),
  }).prefault({}),
  instanceNoise: z.number().min(0).default(0), // standard deviation at first, linearly to 0
  diffAugment: z.array(z.enum(CHANGES)).default([]),
  samples: z.strictObject({ count: count.default(64) }).prefault({}),
}).superRefine((config, context) => {
  const wrong = (path: string[], message: string) =>
    context.addIssue({ code: "custom", path, message });
  const { dcgan, kerasDcgan, loss, conditional } = config;
  const network = dcgan ?? kerasDcgan;
  if (!network) {
    wrong(
      ["dcgan"],
      `given, or another of the networks ${NETWORKS.join(", ")}`,
    );
  }
  const section = dcgan ? "dcgan" : "kerasDcgan";
  const { condition = "channels" } = network ?? {};
  if (condition !== "channels" && !conditional) {
    wrong([section, "condition"], "left out without conditional");
  }
  if (condition !== "auxiliary" && loss.auxiliary !== 1) {
    wrong(["loss", "auxiliary"], `left out with condition ${condition}`);
  }
  if (loss.type !== "non-saturating") {
    for (
      const [key, usual] of [["real", 1], ["fake", 0], [
        "generator",
        1,
      ]] as const
    ) {
      if (loss[key] === usual) continue;
      wrong(
        ["loss", key],
        `${usual}, as loss.type ${loss.type} has no targets`,
      );
    }
  }
  const penalty = loss.type === "wasserstein-gp" || loss.r1 > 0;
  if (penalty && dcgan?.norm === "batch") {
    wrong(
      ["dcgan", "norm"],
      `none or spectral with ${
        loss.r1 > 0 ? "loss.r1" : `loss.type ${loss.type}`
      }, as the slope at an image must not depend on others of the batch`,
    );
  }
  if (config.evaluateEvery > 0) {
    wrong(["evaluateEvery"], "0, as a GAN says nothing of held-out data");
  }
});

/** A complete configuration of `train gan`. */
export type GanConfig = z.output<typeof ganSchema>;

/** For `resolveConfig`: keys of which a stronger source's replaces the others. */
export const GAN_EXCLUSIVE = [STEPS_OR_EPOCHS, NETWORKS] as const;

/** For `resolveConfig`: what the names of the presets begin with. */
export const GAN_PRESET_PREFIX = "gan-";

/**
 * The preset for a data set, if none is asked for.
 *
 * @param dataset As for `--dataset`; one without a preset of its own takes that of CIFAR-10.
 */
export function ganPresetOf(dataset: string): string {
  const own = ["digits", "mnist", "fashion-mnist"].includes(dataset);
  return GAN_PRESET_PREFIX + (own ? dataset : "cifar10");
}
