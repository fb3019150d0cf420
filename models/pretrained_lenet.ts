/**
 * LeNet-5 with the weights in `models/weights`, which metrics take features from and count classes by.
 * How they were made: `docs/classifiers.md`.
 *
 * @module
 */
import { nearest } from "../tensor/nearest.ts";
import { Rng } from "../tensor/rng.ts";
import { parseSafetensors } from "../tensor/safetensors.ts";
import { LeNet5 } from "./classifiers.ts";

/** Data sets that there are weights for. */
export const PRETRAINED_LENETS = ["mnist", "fashion-mnist", "digits"] as const;

/** Name of a data set that there are weights for. */
export type PretrainedLeNetName = typeof PRETRAINED_LENETS[number];

/** A network and what is known of its weights. */
export interface PretrainedLeNet {
  /** Takes images in [-1, 1], `[N, 1, size, size]`. */
  readonly network: LeNet5;
  /** Height and width of its images: 28, or 8 of `digits`. */
  readonly size: number;
  /** What it was trained on. */
  readonly dataset: PretrainedLeNetName;
  /** Names of its classes, by id. */
  readonly classNames: readonly string[];
  /** Share of the test images that it classifies rightly. */
  readonly accuracy: number;
  /** `Dataset.checksum` of what it was trained on. */
  readonly trainChecksum: string;
  /** `Dataset.checksum` of what `accuracy` is of. */
  readonly testChecksum: string;
  /** SHA-256 of the file: features are comparable only if it is equal. */
  readonly sha256: string;
}

/**
 * Reads the weights of a LeNet-5 that was trained on a data set, from beside this module: that needs the
 * permission to read the file or, if the module was imported over HTTP, to reach its host.
 *
 * @param dataset `mnist`, `fashion-mnist` or `digits`.
 * @throws {RangeError} If there are no weights for `dataset`.
 */
export async function pretrainedLeNet(
  dataset: PretrainedLeNetName,
): Promise<PretrainedLeNet> {
  if (!PRETRAINED_LENETS.includes(dataset)) {
    const guess = nearest(String(dataset), PRETRAINED_LENETS);
    throw new RangeError(
      `Cannot load a LeNet-5 for "${dataset}": ${
        guess === undefined ? "" : `did you mean "${guess}"? `
      }There are weights for ${PRETRAINED_LENETS.join(", ")}`,
    );
  }
  const url = new URL(
    `./weights/lenet-${dataset}.safetensors`,
    import.meta.url,
  );
  const response = await fetch(url);
  if (!response.ok) {
    throw new Error(`Cannot load ${url}: the server says ${response.status}`);
  }
  const bytes = await response.bytes();
  const { tensors, metadata } = parseSafetensors(bytes);
  const { classNames, height: size } = JSON.parse(metadata.shape!);
  const { lenet } = JSON.parse(metadata.config!);
  const network = new LeNet5({ ...lenet, size }, new Rng(0));
  network.loadStateDict(tensors);
  const digest = await crypto.subtle.digest("SHA-256", bytes);
  return {
    network,
    size,
    dataset,
    classNames,
    accuracy: Number(metadata.accuracy),
    trainChecksum: metadata.trainChecksum!,
    testChecksum: metadata.testChecksum!,
    sha256: new Uint8Array(digest).toHex(),
  };
}
