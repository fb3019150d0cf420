/**
 * The configuration of `train ddpm`: every key, its range and its default.
 *
 * @module
 */
import { SCHEDULE_NAMES, type Spacing, SPACING_NAMES } from "../mod.ts";
import { latent } from "./_autoencoder_config.ts";
import { z } from "./_config.ts";
import { checkNetwork, networkKeys, NETWORKS } from "./_network_config.ts";
import {
  count,
  share,
  STEPS_OR_EPOCHS,
  trainingKeys,
} from "./_training_config.ts";

const beta = z.number().gt(0).lt(1);
const sigma = z.number().min(0);

/** Ways to take noise away, by the names of `--sampler`, and what each does if not told otherwise. */
export const SAMPLERS = {
  ddpm: { spacing: "even" }, // steps: all timesteps
  ddim: { steps: 50, spacing: "even" },
  dpmpp: { steps: 20, spacing: "linspace" },
  heun: { steps: 18, spacing: "karras" }, // of two evaluations each
  "euler-ancestral": { steps: 50, spacing: "even" },
} as const satisfies Record<string, { steps?: number; spacing: Spacing }>;

/** Name of a sampler. */
export type SamplerName = keyof typeof SAMPLERS;
/** All names of samplers. */
export const SAMPLER_NAMES = Object.keys(SAMPLERS) as SamplerName[];

/** The noising process, and what the network predicts of it. */
export const diffusion = z.strictObject({
  timesteps: z.int().min(2).default(1000), // T
  schedule: z.enum(SCHEDULE_NAMES).default("linear"),
  betaStart: beta.optional(), // default: the schedule's own
  betaEnd: beta.optional(), // default: the schedule's own
  maxBeta: beta.optional(), // betas are clipped to it; default: the schedule's own
  zeroTerminalSnr: z.boolean().default(false), // bends the schedule to end in pure noise
  prediction: z.enum(["eps", "x0", "v"]).default("eps"),
  variance: z.enum(["fixedlarge", "fixedsmall", "learned_range"]).default(
    "fixedlarge",
  ), // of a step back: β_t, β̃_t, or between them
});

/** What is minimised. */
const loss = z.strictObject({
  type: z.enum(["simple", "hybrid", "vlb", "edm"]).default("simple"),
  weighting: z.enum(["none", "min-snr-gamma"]).default("none"),
  gamma: z.number().gt(0).default(5), // of min-snr-gamma
  vlbWeight: z.number().gt(0).default(1e-3), // of hybrid
  timesteps: z.enum(["uniform", "importance"]).default("uniform"), // how t is drawn
  firstTimestep: z.int().min(0).default(0), // the smallest t that is drawn
});

/** Preconditioning and noise levels of Karras et al. 2022; for `loss.type` edm. */
const edm = z.strictObject({
  sigmaData: z.number().gt(0).optional(), // standard deviation of the data; default: 0.5, 1 for latents
  pMean: z.number().default(-1.2), // of ln σ
  pStd: z.number().gt(0).default(1.2), // of ln σ
  weighting: z.enum(["edm", "soft-min-snr"]).default("edm"),
});

/** How the sample grids of a run are drawn. */
const samples = z.strictObject({
  count: count.default(64),
  sampler: z.enum(SAMPLER_NAMES).default("ddim"),
  steps: count.optional(), // default: all timesteps with ddpm, else see SAMPLERS
  eta: share.default(0), // of ddim: 0 deterministic, 1 as noisy as ddpm
  spacing: z.enum(SPACING_NAMES).optional(), // default: the sampler's own
  threshold: z.enum(["static", "dynamic", "none"]).default("static"), // of predicted images
  guidance: z.number().min(0).default(1), // classifier-free; 1 is off
  guidanceInterval: z.tuple([sigma, sigma]).optional(), // σ of levels with guidance
  churn: z.number().min(0).default(0), // of heun
});

/** How bits/dim on held-out data are estimated while training. */
const evaluation = z.strictObject({
  count: count.default(256), // images
  timesteps: z.int().min(2).default(20), // network evaluations per image
});

const keys = z.strictObject({
  model: z.literal("ddpm").default("ddpm"),
  ...trainingKeys,
  conditional: z.boolean().default(false),
  labelDropout: share.default(0), // share of examples without their class, for guidance
  selfConditioning: z.boolean().default(false), // the network sees its last prediction
  ...networkKeys,
  latent: latent.optional(), // instead of on images
  diffusion: diffusion.prefault({}),
  loss: loss.prefault({}),
  edm: edm.prefault({}),
  samples: samples.prefault({}),
  evaluation: evaluation.prefault({}),
});

/** Says which keys do not go together. */
export function checkDdpm(
  config: Omit<z.output<typeof keys>, "model">,
  context: z.RefinementCtx,
): void {
  const wrong = (path: string[], message: string) =>
    context.addIssue({ code: "custom", path, message });
  checkNetwork(config, wrong);
  const { diffusion, samples, loss } = config;
  const { betaStart, betaEnd, timesteps } = diffusion;
  if (betaStart !== undefined && betaEnd !== undefined && betaStart > betaEnd) {
    wrong(["diffusion", "betaStart"], `at most betaEnd, ${betaEnd}`);
  }
  if (loss.type !== "edm" && (samples.steps ?? 0) > timesteps) {
    wrong(["samples", "steps"], `at most diffusion.timesteps, ${timesteps}`);
  }
  if (loss.firstTimestep >= timesteps) {
    wrong(["loss", "firstTimestep"], `below diffusion.timesteps, ${timesteps}`);
  }
  const endsInNoise = diffusion.schedule === "jsd" || diffusion.zeroTerminalSnr;
  if (endsInNoise && diffusion.prediction === "eps" && loss.type !== "edm") {
    wrong(
      ["diffusion", "prediction"],
      "x0 or v with schedule jsd or zeroTerminalSnr, whose last step leaves nothing but noise",
    );
  }
  const learned = diffusion.variance === "learned_range";
  if (loss.type === "edm" && learned) {
    wrong(
      ["diffusion", "variance"],
      "fixedlarge or fixedsmall with loss.type edm, which trains no variance",
    );
  }
  if (loss.type === "simple" && learned) {
    wrong(
      ["loss", "type"],
      "hybrid or vlb with diffusion.variance learned_range, which simple does not train",
    );
  }
  if (loss.type === "hybrid" && !learned) {
    wrong(
      ["diffusion", "variance"],
      "learned_range with loss.type hybrid, which adds only what trains the variance",
    );
  }
  if (loss.type === "edm" && config.selfConditioning) {
    wrong(["selfConditioning"], "false with loss.type edm");
  }
  if (loss.type === "vlb" && loss.weighting !== "none") {
    wrong(["loss", "weighting"], "none with loss.type vlb, a bound as it is");
  }
  if (loss.timesteps === "importance" && loss.type === "edm") {
    wrong(["loss", "timesteps"], "uniform with loss.type edm, which has none");
  }
  if (loss.timesteps === "importance" && loss.firstTimestep > 0) {
    wrong(["loss", "firstTimestep"], "0 with loss.timesteps importance");
  }
  if (config.latent && samples.threshold === "dynamic") {
    wrong(["samples", "threshold"], "static or none with latent");
  }
  if (config.latent && config.evaluateEvery > 0) {
    wrong(
      ["evaluateEvery"],
      "0 with latent, as the bits/dim of latents are not those of images",
    );
  }
  if (config.labelDropout > 0 && !config.conditional) {
    wrong(["conditional"], "true with labelDropout");
  }
  if (samples.guidance !== 1 && config.labelDropout === 0) {
    wrong(
      ["labelDropout"],
      "above 0, such as 0.1, with samples.guidance: it also needs predictions without a class",
    );
  }
}

/** The schema of `train ddpm`: strict, with defaults for all but the essentials. */
export const ddpmSchema = keys.superRefine(checkDdpm);

/** A complete configuration of `train ddpm`. */
export type DdpmConfig = z.output<typeof ddpmSchema>;

/** For `resolveConfig`: keys of which a stronger source's replaces the others. */
export const DDPM_EXCLUSIVE = [STEPS_OR_EPOCHS, NETWORKS] as const;

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
