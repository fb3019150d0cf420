/**
 * The configuration of `train classifier`: every key, its range and its default.
 *
 * @module
 */
import { z } from "./_config.ts";
import { diffusion } from "./_ddpm_config.ts";
import { networkKeys } from "./_network_config.ts";
import { count, STEPS_OR_EPOCHS, trainingKeys } from "./_training_config.ts";

/** The sections of networks: the one that is there is built. Of ADM, the half that leads down. */
const networks = { adm: networkKeys.adm } as const;

/** For `resolveConfig`: a section given by a stronger source replaces the others. */
const NETWORKS = Object.keys(networks);

/** How accuracy on held-out data is measured. */
const evaluation = z.strictObject({
  count: count.default(1000), // images; at most those there are
});

/** The schema of `train classifier`. */
export const classifierSchema = z.strictObject({
  model: z.literal("classifier").default("classifier"),
  ...trainingKeys,
  noisy: z.boolean().default(false), // trained on noised images, to guide diffusion
  ...networks,
  // Of the noise; what is predicted of it is no business of a classifier.
  diffusion: diffusion.omit({ prediction: true, variance: true }).prefault({}),
  evaluation: evaluation.prefault({}),
}).superRefine((config, context) => {
  const wrong = (path: string[], message: string) =>
    context.addIssue({ code: "custom", path, message });
  const { betaStart, betaEnd } = config.diffusion;
  if (betaStart !== undefined && betaEnd !== undefined && betaStart > betaEnd) {
    wrong(["diffusion", "betaStart"], `at most betaEnd, ${betaEnd}`);
  }
  if (config.adm === undefined) wrong(["adm"], "given: it is the network");
});

/** A complete configuration of `train classifier`. */
export type ClassifierConfig = z.output<typeof classifierSchema>;

/** For `resolveConfig`: keys of which a stronger source's replaces the others. */
export const CLASSIFIER_EXCLUSIVE = [
  STEPS_OR_EPOCHS,
  NETWORKS,
] as const;

/** For `resolveConfig`: what the names of the presets begin with. */
export const CLASSIFIER_PRESET_PREFIX = "classifier-";

/** Data sets with a preset of their own. */
const PRESETS = ["digits", "mnist", "fashion-mnist"];

/**
 * The preset for a data set, if none is asked for.
 *
 * @param dataset As for `--dataset`; one without a preset of its own takes that of CIFAR-10.
 */
export function classifierPresetOf(dataset: string): string {
  return CLASSIFIER_PRESET_PREFIX +
    (PRESETS.includes(dataset) ? dataset : "cifar10");
}
