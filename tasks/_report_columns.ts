/**
 * Columns of the table of a report: what each shows, which direction is better, and how its numbers are
 * written.
 *
 * @module
 */
import type { Bound, Estimate, RunFacts } from "./_evaluation.ts";
import type { Entry } from "./_report_data.ts";
import { formatDuration } from "./_text.ts";

/** A column of numbers. */
export interface Column {
  /** Name in the CSV file. */
  readonly key: string;
  /** Stands above neighbours of one kind. */
  readonly group: string;
  /** Of the column, where `prefix` is the extractor's: `LeNet-`. */
  readonly title: (prefix: string) => string;
  /** What it says, in one or two sentences. */
  readonly about: string;
  /** Left out where neither is better. */
  readonly better?: "lower" | "higher";
  /** Undefined where the entry has no such number. */
  readonly of: (entry: Entry) => Estimate | undefined;
  /** Says what the number was measured with, in small letters. */
  readonly note?: (entry: Entry) => string | undefined;
  /** Writes a value, with `digits` after the point if it cares. */
  readonly write: (value: number, digits: number) => string;
  /** Digits after the point; default: as many as the values need. */
  readonly digits?: number;
  /** What the values of this column are multiplied by to be shown. Default 1. */
  readonly scale?: number;
}

const decimal = (value: number, digits: number) => value.toFixed(digits);
const percent = (value: number) => `${(100 * value).toFixed(1)} %`;

/** Three digits and a unit: `1.24 M`. */
function large(value: number): string {
  const units = ["", " k", " M", " G"];
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${Number(value.toPrecision(3))}${units[unit]}`;
}

/** Three digits. */
function three(value: number): string {
  return value >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
}

/** A number without an error. */
function plain(value: number | undefined): Estimate | undefined {
  return value === undefined ? undefined : { value };
}

function fact(key: keyof RunFacts) {
  return ({ run }: Entry) =>
    plain(run.evaluation.facts?.[key] as number | undefined);
}

function boundOf({ run }: Entry, split: "train" | "test"): Bound | undefined {
  return run.evaluation.likelihood?.[split];
}

/** Bits/dim of 8-bit images, which alone compare. */
function bitsOf(entry: Entry, split: "train" | "test"): Estimate | undefined {
  const bound = boundOf(entry, split);
  if (bound?.bitsPerDim === undefined || bound.comparable === false) {
    return undefined;
  }
  return { value: bound.bitsPerDim, std: bound.standardError };
}

function onTrain(value: number | undefined, digits: number) {
  return value === undefined ? undefined : `train ${value.toFixed(digits)}`;
}

const QUALITY = "Distance from real images";
const MANIFOLD = "Fidelity and diversity";
const LIKELIHOOD = "Likelihood, test";
const CLASSES = "Classes";
const COPIES = "Copies";
const COST = "Cost";

/** All columns, in their order; empty ones are left out of a table. */
export const COLUMNS: readonly Column[] = [
  {
    key: "frechet",
    group: QUALITY,
    title: (prefix) => `${prefix}FID`,
    about:
      "Fréchet distance between Gaussians fitted to the features of drawn and of real images. Biased upward where images are few, so it compares only at equal n. Below it, where 95 % of bootstrap samples lie.",
    better: "lower",
    of: ({ scores }) => scores.frechet,
    write: decimal,
  },
  {
    key: "frechet_infinity",
    group: QUALITY,
    title: (prefix) => `${prefix}FID∞`,
    about: "The same with the number of images taken to infinity.",
    better: "lower",
    of: ({ scores }) => plain(scores.frechetInfinity),
    write: decimal,
  },
  {
    key: "spatial_frechet",
    group: QUALITY,
    title: (prefix) => `${prefix}sFID`,
    about:
      "Fréchet distance of features of places in the images: of their layout.",
    better: "lower",
    of: ({ scores }) => scores.spatialFrechet,
    write: decimal,
  },
  {
    key: "kernel",
    group: QUALITY,
    title: (prefix) => `${prefix}KID ×10³`,
    about:
      "Unbiased squared maximum mean discrepancy of the features, mean ± standard deviation over subsets; may be slightly negative.",
    better: "lower",
    of: ({ scores }) => scores.kernel,
    write: decimal,
    scale: 1000,
  },
  {
    key: "inception_score",
    group: QUALITY,
    title: (prefix) => prefix === "" ? "IS" : `${prefix}IS`,
    about:
      "Inception score: whether images are each of a clear class and of all classes together. Knows nothing of the real images.",
    better: "higher",
    of: ({ scores }) => scores.inceptionScore,
    write: decimal,
    digits: 2,
  },
  ...([
    [
      "precision",
      "Precision",
      "Share of drawn images among the real ones, within the distance to a real image's k-th neighbour.",
    ],
    [
      "recall",
      "Recall",
      "Share of real images among the drawn ones, in the same way.",
    ],
    [
      "density",
      "Density",
      "As precision, counting in how many neighbourhoods of real images a drawn one lies; real images give 1, crowding more.",
    ],
    [
      "coverage",
      "Coverage",
      "Share of real images that have a drawn one in their neighbourhood.",
    ],
  ] as const).map(([key, title, about]): Column => ({
    key,
    group: MANIFOLD,
    title: () => title,
    about,
    better: "higher",
    of: ({ scores }) => scores[key],
    write: decimal,
    digits: 3,
  })),
  {
    key: "bits_per_dim",
    group: LIKELIHOOD,
    title: () => "Bits/dim",
    about:
      "Bound on the negative log likelihood of 8-bit test images, per number in an image, ± standard error. Comparable between all models that have one; GANs have none.",
    better: "lower",
    of: (entry) => bitsOf(entry, "test"),
    note: (entry) => onTrain(bitsOf(entry, "train")?.value, 3),
    write: decimal,
    digits: 3,
  },
  {
    key: "elbo_nats",
    group: LIKELIHOOD,
    title: () => "ELBO, nats",
    about:
      "Bound on the log likelihood per test image, of VAEs. Comparable only between likelihoods of one kind, so no best is marked.",
    of: (entry) => plain(boundOf(entry, "test")?.elboNats),
    note: (entry) => onTrain(boundOf(entry, "train")?.elboNats, 1),
    write: decimal,
    digits: 1,
  },
  {
    key: "class_total_variation",
    group: CLASSES,
    title: () => "Class TV",
    about:
      "Total variation distance between the shares of classes in drawn and in real images, from 0 to 1, as the extractor tells them.",
    better: "lower",
    of: ({ scores }) => plain(scores.classes?.totalVariation),
    write: decimal,
    digits: 3,
  },
  {
    key: "label_accuracy",
    group: CLASSES,
    title: () => "Labels",
    about:
      "Share of images that the extractor takes for the class that was asked for; of conditional drawing.",
    better: "higher",
    of: ({ scores }) => plain(scores.classes?.labelAccuracy),
    write: percent,
  },
  {
    key: "memorization_share",
    group: COPIES,
    title: () => "Near copies",
    about:
      "Share of drawn images that are nearer to a training image than the nearest 5 % of test images are. About 5 % is as expected, much more hints at memorised images.",
    of: ({ scores }) => plain(scores.memorization.share),
    note: ({ scores: { memorization: { images } } }) =>
      images === undefined ? undefined : `among ${large(images)}`,
    write: percent,
  },
  {
    key: "train_seconds",
    group: COST,
    title: () => "Training",
    about: "Wall time of the training steps alone.",
    better: "lower",
    of: fact("trainSeconds"),
    write: formatDuration,
  },
  {
    key: "images_seen",
    group: COST,
    title: () => "Images seen",
    about: "Training images shown, with repetitions.",
    of: fact("imagesSeen"),
    write: large,
  },
  {
    key: "ms_per_image",
    group: COST,
    title: () => "ms/image",
    about:
      "Wall time of drawing divided by the images, for so many drawn at once, without the warm-up.",
    better: "lower",
    of: ({ scores }) => plain(scores.cost.msPerImage),
    note: ({ scores }) => `batch ${scores.cost.batchSize}`,
    write: three,
  },
  {
    key: "parameters",
    group: COST,
    title: () => "Parameters",
    about: "Numbers that training fits.",
    of: fact("parameters"),
    write: large,
  },
  {
    key: "gflop_per_image",
    group: COST,
    title: () => "GFLOP/image",
    about:
      "Floating-point operations of all evaluations of the network for one image, in 10⁹.",
    better: "lower",
    of: ({ scores }) => plain(scores.cost.gflopPerImage),
    write: three,
  },
  {
    key: "peak_bytes",
    group: COST,
    title: () => "Peak, MB",
    about: "Memory of tensors while drawing.",
    better: "lower",
    of: ({ scores }) => plain(scores.cost.peakBytes),
    write: (value) => three(value / 1e6),
  },
];
