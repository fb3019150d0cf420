/**
 * The configuration of `train classifier`: every key, its range and its default.
 *
 * @module
 */
import { classifierKeys, CLASSIFIERS } from "./_classifier_networks.ts";
import { z } from "./_config.ts";
import { diffusion } from "./_ddpm_config.ts";
import {
  count,
  share,
  STEPS_OR_EPOCHS,
  trainingKeys,
} from "./_training_config.ts";

const augment = trainingKeys.augment.unwrap().extend({
  shift: share.default(0), // furthest, of the side; each image by its own draw
});

/** How accuracy on held-out data is measured. */
const evaluation = z.strictObject({
  count: count.default(1000), // images; at most those there are
});

/** The schema of `train classifier`. */
export const classifierSchema = z.strictObject({
  model: z.literal("classifier").default("classifier"),
  ...trainingKeys,
  augment: augment.prefault({}),
  noisy: z.boolean().default(false), // trained on noised images, to guide diffusion
  ...classifierKeys,
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
  const network = CLASSIFIERS.find((name) => config[name] !== undefined);
  if (network === undefined) {
    wrong(["lenet"], `given, or another of ${CLASSIFIERS.join(", ")}`);
  } else if (config.noisy && network !== "adm") {
    wrong(
      ["noisy"],
      `false, as ${network} cannot be told how noisy an image is (adm can; ` +
        `--noisy without --preset takes a preset with it)`,
    );
  }
});

/** A complete configuration of `train classifier`. */
export type ClassifierConfig = z.output<typeof classifierSchema>;

/** For `resolveConfig`: keys of which a stronger source's replaces the others. */
export const CLASSIFIER_EXCLUSIVE = [
  STEPS_OR_EPOCHS,
  CLASSIFIERS,
] as const;

/** For `resolveConfig`: what the names of the presets begin with. */
export const CLASSIFIER_PRESET_PREFIX = "classifier-";

/** Data sets with a preset of their own. */
const PRESETS = ["digits", "mnist", "fashion-mnist"];

/**
 * The preset for a data set, if none is asked for.
 *
 * @param dataset As for `--dataset`; one without a preset of its own takes that of CIFAR-10.
 * @param noisy Whether images are to be noised, which needs another network.
 */
export function classifierPresetOf(dataset: string, noisy = false): string {
  return CLASSIFIER_PRESET_PREFIX +
    (PRESETS.includes(dataset) ? dataset : "cifar10") +
    (noisy ? "-noisy" : "");
}
