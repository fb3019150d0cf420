/**
 * The configuration of `train vae` and `train conv-vae`: every key, its range and its default. Both are
 * one kind of model, with presets of their own.
 *
 * @module
 */
import { z } from "./_config.ts";
import {
  belowOne,
  count,
  STEPS_OR_EPOCHS,
  trainingKeys,
} from "./_training_config.ts";

/** The sections of networks: the one that is there is built. */
const networks = {
  dense: z.strictObject({
    hidden: z.array(count).min(1).default([400]), // widths of the encoder, reversed in the decoder
    activation: z.enum(["relu", "leakyRelu", "silu", "sigmoid", "tanh"])
      .default("relu"),
    batchNorm: z.union([
      z.boolean(),
      z.strictObject({
        eps: z.number().gt(0).default(1e-5),
        momentum: z.number().gt(0).max(1).default(0.1), // share of the new batch
      }),
    ]).default(false), // behind the activation
    dropout: belowOne.default(0),
  }).optional(),
  conv: z.strictObject({
    channels: count.default(32), // at half the resolution; twice as many at a quarter
    hidden: count.default(256), // between convolutions and latents
    decoderHidden: z.int().min(0).optional(), // 0: none; default: as hidden
  }).optional(),
} as const;

/** For `resolveConfig`: a section given by a stronger source replaces the other. */
const NETWORKS = Object.keys(networks);

/** What the decoder's output says of images. */
const likelihood = z.strictObject({
  type: z.enum(["bernoulli", "gaussian", "discretized"]).default("bernoulli"),
  sigma: z.number().gt(0).optional(), // where images span [-1, 1]; default: learned
  bounded: z.boolean().default(false), // whether the mean is kept within [-1, 1]
  cdf: z.enum(["tanh", "erf"]).default("tanh"), // of discretized; tanh: as in the decoder of diffusion
  // static: 1 above one half; dynamic: drawn anew at every step, with the pixel as probability
  binarize: z.enum(["none", "static", "dynamic"]).default("none"),
});

/** What is lowered: reconstruction + beta · KL. */
const loss = z.strictObject({
  beta: z.number().min(0).default(1), // 1: the bound on the likelihood
  warmupSteps: z.int().min(0).default(0), // in which beta rises from 0
  freeBits: z.number().min(0).default(0), // nats of each latent below which KL costs the same
});

/** How the bound is measured. */
const evaluation = z.strictObject({
  count: count.default(1000), // images of each part of the data
  importanceSamples: z.int().min(0).default(50), // of the tighter bound at the last step; 0: none
});

/** Images from a grid of latents, where there are two of them. */
const manifold = z.strictObject({
  // normal: shares of the prior's mass; uniform: from -3 to 3
  grid: z.enum(["normal", "uniform"]).default("normal"),
  size: z.int().min(2).max(200).default(20), // images in a row and in a column
});

/** The schema of `train vae`. */
export const vaeSchema = z.strictObject({
  model: z.literal("vae").default("vae"),
  ...trainingKeys,
  conditional: z.boolean().default(false), // encoder and decoder are told the class
  latent: count.default(20), // numbers that stand for an image
  ...networks,
  likelihood: likelihood.prefault({}),
  loss: loss.prefault({}),
  evaluation: evaluation.prefault({}),
  manifold: manifold.prefault({}),
}).superRefine((config, context) => {
  const wrong = (path: string[], message: string) =>
    context.addIssue({ code: "custom", path, message });
  if (!config.dense && !config.conv) {
    wrong(["dense"], "given, or conv: it is the network");
  }
  const { latent } = config, { grid, size } = config.manifold;
  const usual = manifold.parse({});
  if (latent !== 2 && (grid !== usual.grid || size !== usual.size)) {
    wrong(
      ["manifold"],
      `left as it is, as its plane is of 2 latents: latent is ${latent}`,
    );
  }
  const { type, sigma, cdf, binarize } = config.likelihood;
  if (type === "bernoulli" && sigma !== undefined) {
    wrong(["likelihood", "sigma"], "left out, as bernoulli has no width");
  }
  if (type !== "discretized" && cdf !== "tanh") {
    wrong(["likelihood", "cdf"], `left out, as ${type} has no bins`);
  }
  if (type !== "bernoulli" && binarize !== "none") {
    wrong(
      ["likelihood", "binarize"],
      `none, as ${type} is not of binary images`,
    );
  }
});

/** A complete configuration of `train vae`. */
export type VaeConfig = z.output<typeof vaeSchema>;

/** For `resolveConfig`: keys of which a stronger source's replaces the others. */
export const VAE_EXCLUSIVE = [STEPS_OR_EPOCHS, NETWORKS] as const;

/** For `resolveConfig`: what the names of the presets begin with. */
export const VAE_PRESET_PREFIX = "vae-";
/** The same of `train conv-vae`. */
export const CONV_VAE_PRESET_PREFIX = "conv-vae-";

/**
 * The preset for a data set, if none is asked for.
 *
 * @param dataset As for `--dataset`; one without a preset of its own takes that of Fashion-MNIST.
 */
export function vaePresetOf(dataset: string): string {
  const own = ["digits", "mnist"].includes(dataset);
  return VAE_PRESET_PREFIX + (own ? dataset : "fashion-mnist");
}

/** The same for `train conv-vae`; without a preset of its own, a data set takes that of CIFAR-10. */
export function convVaePresetOf(dataset: string): string {
  const own = ["digits", "mnist", "fashion-mnist"].includes(dataset);
  return CONV_VAE_PRESET_PREFIX + (own ? dataset : "cifar10");
}
