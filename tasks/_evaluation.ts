/**
 * `evaluation.json` of a run: what metrics found, each under a key of its own.
 *
 * @module
 */
import { type RunFolder, writeAtomic } from "./_run_folder.ts";

/** Mean and what it may be off by. */
export interface Estimate {
  /** The score. */
  value: number;
  /** Of the score: standard deviation over subsets, splits or bootstrap samples. */
  std?: number;
  /** Between which 95 % of the bootstrap samples lie, once their mean is moved to the score. */
  interval?: [low: number, high: number];
  /** The same score of real training images against the same real images, of equal number: nothing scores better honestly. */
  floor?: number;
}

/** Everything that decides whether two rows may be compared, and how to make one again. */
export interface Provenance {
  /** Denoise's version. */
  version: string;
  /** What computed. */
  device: string;
  /** Of the checkpoint. */
  step: number;
  /** Whether the moving average of the weights drew. */
  ema: boolean;
  /** Of the noise. */
  seed: number;
  /** How images were drawn: `ddim`, `ddpm`, `prior`, `gmm class`. */
  method: string;
  /** Evaluations of the network for one image. */
  nfe: number;
  /** Strength of guidance, where there is. */
  guidance?: number;
  /** What else was said: other flags of `sample`. */
  options: Record<string, unknown>;
  /** Images drawn, and as many real ones. */
  count: number;
  /** Of the real images: `mnist/test:3,4`. */
  against: string;
  /** `Dataset.checksum` of the real images. */
  checksum: string;
  /** `against`'s classes, by name. */
  classNames: string[];
  /** Of the features. */
  extractor: {
    name: string;
    prefix: string;
    sha256: string;
    resize: string;
    dimensions: number;
    accuracy?: number;
  };
  /** Least and greatest byte of the drawn images, and of the real ones. */
  range: { drawn: [number, number]; real: [number, number] };
}

/** Scores of one way to draw from a run. */
export interface SampleScores {
  /** Names the way: `ddim-50`, `prior`, `gmm-class-s2`; also the folder of the images below `evaluations/`. */
  id: string;
  provenance: Provenance;
  /** Lower is better; called FID for Inception, else with the extractor's prefix. */
  frechet: Estimate;
  /** With the number of images taken to infinity, where that is valid. */
  frechetInfinity?: number;
  /** Of places instead of whole images; of Inception. */
  spatialFrechet?: Estimate;
  /** Unbiased squared MMD: lower is better. */
  kernel: Estimate;
  /** Higher is better; of extractors that know classes. */
  inceptionScore?: Estimate;
  /** Of the k-th nearest neighbours, higher is better. */
  precision: Estimate;
  recall: Estimate;
  density: Estimate;
  coverage: Estimate;
  nearestK: number;
  /** Of extractors that know the classes of `against`. */
  classes?: {
    names: string[];
    /** Drawn and real images that the extractor takes for each. */
    counts: number[];
    realCounts: number[];
    /** Total variation distance from the real shares, 0 to 1. */
    totalVariation: number;
    /** Of the drawn shares, in nats. */
    entropy: number;
    /** Divergence of the drawn shares from the real ones, in nats; left out where it is infinite. */
    kl?: number;
    /** Mean of the largest probability. */
    confidence: number;
    /** Share of images taken for the class that was asked for; of conditional drawing. */
    labelAccuracy?: number;
  };
  /** Distances in features to the nearest training image. */
  memorization: {
    /** Training images that were looked through. */
    images?: number;
    /** Median over drawn images. */
    drawn: number;
    /** Median over test images. */
    real: number;
    /** Share of drawn images nearer than the nearest 5 % of test images are. */
    share: number;
  };
  /** Of drawing. */
  cost: {
    /** Wall time of drawing, warm-up excluded, divided by the images. */
    msPerImage: number;
    /** Images drawn at once. */
    batchSize: number;
    /** Of all evaluations for one image, where known. */
    gflopPerImage?: number;
    /** Of tensors, while drawing. */
    peakBytes: number;
  };
}

/** What is known of a run, whatever is drawn from it. */
export interface RunFacts {
  model: string;
  parameters: number;
  /** Wall time of training steps. */
  trainSeconds: number;
  /** Images shown, with repetitions. */
  imagesSeen: number;
  /** Of one image forward. */
  gflopForward?: number;
}

/** A bound on the negative log likelihood of one split. */
export interface Bound {
  images: number;
  /** Of 8-bit images, comparable between models; only where the likelihood is of such. */
  bitsPerDim?: number;
  standardError?: number;
  /** Per image; of VAEs. */
  elboNats?: number;
  reconstructionNats?: number;
  klNats?: number;
  /** By importance weighting with `samples` draws. */
  iwaeNats?: number;
  /** Whether the likelihood is of 8-bit images, so that the bounds of other models compare. */
  comparable: boolean;
}

/** `evaluation.json`. */
export interface Evaluation {
  facts?: RunFacts;
  /** By split; diffusion adds its terms. */
  likelihood?:
    & Partial<Record<"train" | "test", Bound & Record<string, unknown>>>
    & Record<string, unknown>;
  /** One per way of drawing, the last evaluated last. */
  samples?: SampleScores[];
}

/**
 * Writes what a metric found, in place of what it found before; other keys stay.
 *
 * @param found By the key of the metric.
 * @throws {SyntaxError} If the file is there but does not parse.
 */
export async function mergeEvaluation(
  run: RunFolder,
  found: Readonly<Evaluation>,
): Promise<void> {
  const before = await readEvaluation(run);
  const text = JSON.stringify({ ...before, ...found }, null, 2)
    // Lists of numbers on one line.
    .replace(/\[\s+[^[\]{}"]*\]/g, (list) => list.replace(/\s+/g, " "));
  await writeAtomic(run.file("evaluation.json"), `${text}\n`);
}

/**
 * Reads what metrics found.
 *
 * @returns Nothing if there is no file.
 * @throws {SyntaxError} If the file does not parse.
 */
export async function readEvaluation(run: RunFolder): Promise<Evaluation> {
  const path = run.file("evaluation.json");
  try {
    return JSON.parse(await Deno.readTextFile(path));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return {};
    if (!(error instanceof SyntaxError)) throw error;
    throw new SyntaxError(
      `Cannot read ${path}: ${error.message}. Delete it, and it is written anew`,
      { cause: error },
    );
  }
}
