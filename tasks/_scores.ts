/**
 * All scores of drawn images, from features of them, of as many real ones, and of training images.
 *
 * @module
 */
import {
  bootstrap,
  classHistogram,
  confidence,
  type FeatureExtractor,
  FeatureStatistics,
  frechetDistance,
  frechetInfinity,
  inceptionScore,
  kernelDistance,
  labelAccuracy,
  manifoldMetrics,
  nearestDistances,
  type Points,
  predictedClasses,
  squaredMmd,
} from "../mod.ts";
import type { Estimate, SampleScores } from "./_evaluation.ts";
import type { SourceFeatures } from "./_features.ts";

/** What drawn images are compared with; one object for all of them. */
export interface Reference {
  /** Of n images. */
  readonly real: SourceFeatures;
  /** Of training images, none of them among the real ones: n or more. The first n make the floor. */
  readonly train: SourceFeatures;
}

/** What the scores are. */
export type Scores = Omit<SampleScores, "id" | "provenance" | "cost">;

/** Parts of the images that each give an Inception score. */
const SPLITS = 10;
/** Images in each subset of the kernel distance. */
const SUBSET = 1000;
/** Most columns for which the bootstrap takes seconds. */
const BOOTSTRAP_COLUMNS = 256;
/** The first n rows. */
function top(
  { data, shape: [, width] }: Points<Float32Array<ArrayBuffer>>,
  n: number,
): Points<Float32Array<ArrayBuffer>> {
  return { data: data.subarray(0, n * width!), shape: [n, width!] };
}

/** The value at a share of sorted values. */
function quantile(sorted: Float64Array, share: number): number {
  const at = share * (sorted.length - 1), low = Math.floor(at);
  const next = sorted[Math.min(low + 1, sorted.length - 1)]!;
  return sorted[low]! + (at - low) * (next - sorted[low]!);
}

/** The middle one. */
function median(values: Float64Array): number {
  return quantile(values.toSorted(), 0.5);
}

/** The distance, and how far it may be off, as other images of the same model could have been drawn. */
async function frechetOf(
  real: Points<Float32Array<ArrayBuffer>>,
  drawn: Points<Float32Array<ArrayBuffer>>,
): Promise<Estimate> {
  const [, dimensions] = real.shape as [number, number];
  if (dimensions > BOOTSTRAP_COLUMNS) {
    return { value: await frechetDistance(real, drawn) };
  }
  const reals = new FeatureStatistics(dimensions).add(real);
  return await bootstrap((points) => frechetDistance(reals, points), drawn);
}

/** The distance at infinitely many images, if there are enough for a guess. */
async function infinityOf(
  real: Points,
  drawn: Points,
): Promise<number | undefined> {
  try {
    return await frechetInfinity(real, drawn);
  } catch (error) {
    if (error instanceof RangeError) return undefined; // too few
    throw error;
  }
}

/**
 * The kernel distance of all images up to 1000, which is that of the usual subsets of 1000; of more, the mean
 * over such. The spread is that of subsets of at most half of the images, so that they differ.
 */
export async function kernelOf(real: Points, drawn: Points): Promise<Estimate> {
  const n = Math.min(real.shape[0]!, drawn.shape[0]!);
  const subsetSize = Math.min(SUBSET, Math.max(2, Math.floor(n / 2)));
  const { mean, std } = await kernelDistance(real, drawn, { subsetSize });
  return { value: n <= SUBSET ? await squaredMmd(real, drawn) : mean, std };
}

/** What scores compare two sets of images by, and what the real training images score. */
async function pairScores(
  real: SourceFeatures,
  drawn: SourceFeatures,
  nearestK: number,
) {
  const [a, b] = [real.features, drawn.features];
  return {
    kernel: await kernelOf(a, b),
    spatial: real.spatial && drawn.spatial &&
      await frechetDistance(real.spatial, drawn.spatial),
    manifold: await manifoldMetrics(a, b, { nearestK }),
    inception: drawn.logits && inceptionScore(drawn.logits, {
      splits: Math.min(SPLITS, drawn.logits.shape[0]!),
    }),
  };
}

/** Scores of the first training images: what no model is expected to better. */
type Floor = Awaited<ReturnType<typeof pairScores>> & { frechet: number };

const floors = new WeakMap<Reference, Promise<Floor>>();

/** Computed once, however many models are compared. */
function floorOf(reference: Reference, nearestK: number): Promise<Floor> {
  const known = floors.get(reference);
  if (known) return known;
  const { real, train } = reference;
  const n = real.features.shape[0]!;
  const first: SourceFeatures = {
    ...train,
    features: top(train.features, n),
    logits: train.logits && top(train.logits, n),
    spatial: train.spatial && top(train.spatial, n),
  };
  const floor = pairScores(real, first, nearestK).then(async (scores) => ({
    ...scores,
    frechet: await frechetDistance(real.features, first.features),
  }));
  floors.set(reference, floor);
  return floor;
}

/** Frequencies of classes, if the extractor knows all that the real images have. */
function classesOf(
  extractor: FeatureExtractor,
  drawn: SourceFeatures,
  real: SourceFeatures,
  { classNames, asked }: ScoreOptions,
): Scores["classes"] {
  const names = extractor.classNames;
  const isKnown = names && classNames.length > 0 && drawn.logits &&
    classNames.every((name) => names.includes(name));
  if (!isKnown) return undefined;
  const labels = predictedClasses(drawn.logits!);
  const ofReal = classHistogram(predictedClasses(real.logits!), names.length);
  const { counts, totalVariation, entropy, kl } = classHistogram(
    labels,
    names.length,
    ofReal.counts,
  );
  return {
    names: [...names],
    counts: [...counts],
    realCounts: [...ofReal.counts],
    totalVariation,
    entropy,
    kl: Number.isFinite(kl) ? kl : undefined,
    confidence: confidence(drawn.logits!),
    labelAccuracy: asked &&
      labelAccuracy(labels, asked.map((name) => names.indexOf(name))),
  };
}

/** How near drawn images come to training images, and how near test images do. */
async function memorizationOf(
  drawn: Points,
  { real, train }: Reference,
): Promise<Scores["memorization"]> {
  const near = await nearestDistances(drawn, train.features);
  const usual = await nearestDistances(real.features, train.features);
  const close = quantile(usual.toSorted(), 0.05);
  return {
    images: train.features.shape[0]!,
    drawn: median(near),
    real: median(usual),
    share: near.filter((distance) => distance < close).length / near.length,
  };
}

/** What else scores depend on. */
export interface ScoreOptions {
  extractor: FeatureExtractor;
  /** The k of precision, recall, density and coverage. */
  nearestK: number;
  /** Of the real images, by name. */
  classNames: readonly string[];
  /** Names of the classes that were asked for, one per drawn image. */
  asked?: readonly string[];
}

/**
 * Scores drawn images.
 *
 * @param drawn As many as there are real images.
 */
export async function scoresOf(
  drawn: SourceFeatures,
  reference: Reference,
  options: ScoreOptions,
): Promise<Scores> {
  const { extractor, nearestK } = options;
  const { real } = reference;
  const floor = await floorOf(reference, nearestK);
  const found = await pairScores(real, drawn, nearestK);
  const beside = (key: keyof typeof found.manifold): Estimate => ({
    value: found.manifold[key],
    floor: floor.manifold[key],
  });
  return {
    frechet: {
      ...await frechetOf(real.features, drawn.features),
      floor: floor.frechet,
    },
    frechetInfinity: await infinityOf(real.features, drawn.features),
    spatialFrechet: found.spatial === undefined
      ? undefined
      : { value: found.spatial, floor: floor.spatial },
    kernel: { ...found.kernel, floor: floor.kernel.value },
    inceptionScore: found.inception && {
      value: found.inception.mean,
      std: found.inception.std,
      floor: floor.inception?.mean,
    },
    precision: beside("precision"),
    recall: beside("recall"),
    density: beside("density"),
    coverage: beside("coverage"),
    nearestK,
    classes: classesOf(extractor, drawn, real, options),
    memorization: await memorizationOf(drawn.features, reference),
  };
}
