/**
 * The classifiers that a configuration may name: each is a section of its own, and the one that is there
 * is the one that is built.
 *
 * @module
 */
import {
  AdmClassifier,
  type ForwardOptions,
  type ImageClassifier,
  LeNet5,
  ResNet,
  type Rng,
  SmallCnn,
  type Tensor,
} from "../mod.ts";
import { z } from "./_config.ts";
import { networkKeys } from "./_network_config.ts";
import { count } from "./_training_config.ts";

/** LeNet-5 of LeCun et al. 1998. */
const lenet = z.strictObject({
  padding: z.int().min(0).default(2), // around the image; 8 pixels need 4
});

/** Three convolutions and a hidden layer; there is nothing to choose. */
const cnn = z.strictObject({});

/** He et al. 2016, as for CIFAR-10. */
const resnet = z.strictObject({
  depth: z.int().min(8).refine((depth) => depth % 6 === 2, "8, 14, 20, …")
    .default(20), // layers with weights
  channels: count.default(16), // at full resolution
});

/** The sections, to spread into a schema. Of ADM, the half that leads down. */
export const classifierKeys = {
  lenet: lenet.optional(),
  cnn: cnn.optional(),
  resnet: resnet.optional(),
  adm: networkKeys.adm,
} as const;

/** What a configuration says about its network. */
export type ClassifierSections = z.output<z.ZodObject<typeof classifierKeys>>;

/** For `resolveConfig`: a section given by a stronger source replaces the others. */
export const CLASSIFIERS = Object.keys(
  classifierKeys,
) as (keyof typeof classifierKeys)[];

/** A network that may know how noisy its images are. */
export type ClassifierNetwork = AdmClassifier | ImageClassifier;

/**
 * Builds the network of a configuration.
 *
 * @param rng Draws the initial weights.
 * @throws {RangeError} If it does not fit the images, or itself.
 */
export function buildClassifier(
  { lenet, cnn, resnet, adm }: ClassifierSections,
  { channels, size, numClasses }: {
    readonly channels: number;
    readonly size: number;
    readonly numClasses: number;
  },
  rng: Rng,
): ClassifierNetwork {
  const demands = { inChannels: channels, numClasses };
  if (lenet) return new LeNet5({ ...lenet, ...demands, size }, rng);
  if (cnn) return new SmallCnn({ ...demands, size }, rng);
  if (resnet) return new ResNet({ ...resnet, ...demands }, rng);
  return new AdmClassifier({ ...adm!, ...demands, imageSize: size }, rng);
}

/**
 * Scores of the classes.
 *
 * @param x `[N, C, H, W]`.
 * @param t How noisy they are, `[N]`, for a network that knows.
 * @returns `[N, classes]`.
 */
export function scoresOf(
  network: ClassifierNetwork,
  x: Tensor,
  t: Tensor,
  options: ForwardOptions & { rng?: Rng } = {},
): Tensor {
  return network instanceof AdmClassifier
    ? network.forward(x, t, options)
    : network.forward(x, options);
}
