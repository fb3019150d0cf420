/**
 * FID and KID of two samples of features, beside those of real images.
 *
 * @module
 */
import {
  FeatureStatistics,
  frechetDistance,
  type FrechetInput,
  type Points,
} from "../mod.ts";
import { kernelOf } from "./_scores.ts";

/** What scores are of. */
export interface Sample {
  moments: FrechetInput;
  /** Unknown where only statistics are. */
  features?: Points;
}

/** A sample of features. */
export function sampleOf(features: Points): Sample & { features: Points } {
  const [n, dimensions] = features.shape as [number, number];
  return {
    features,
    // Of many rows the moments are enough, and are computed once.
    moments: n > dimensions
      ? new FeatureStatistics(dimensions).add(features)
      : features,
  };
}

/** Real images beside real ones. */
export interface FloorSamples {
  readonly a: Sample & { features: Points };
  readonly b: Sample & { features: Points };
  /** Images of each. */
  readonly count: number;
}

/** A score of A and B, and of real images. */
export interface Score {
  readonly name: string;
  readonly value: number;
  /** Over subsets. */
  readonly std?: number;
  readonly floor?: number;
  readonly floorStd?: number;
  /** Left out where the floor is of fewer images, which alone makes a biased score higher. */
  readonly aboveFloor?: number;
}

/**
 * Fréchet and, where features are at hand, kernel distance.
 *
 * @param prefix Of the extractor.
 * @param count Images of A and of B.
 */
export async function fidScores(
  prefix: string,
  a: Sample,
  b: Sample,
  { floor, count }: { floor?: FloorSamples; count?: number } = {},
): Promise<Score[]> {
  // Two splits of a data set are their own floor.
  const isFloor = floor?.a === b && floor?.b === a;
  const value = await frechetDistance(a.moments, b.moments);
  const real = floor && !isFloor
    ? await frechetDistance(floor.a.moments, floor.b.moments)
    : value;
  const isEqual = floor?.count === count;
  const scores: Score[] = [{
    name: `${prefix}FID`,
    value,
    ...(floor ? { floor: real } : {}),
    ...(floor && isEqual ? { aboveFloor: value - real } : {}),
  }];
  if (!a.features || !b.features) return scores;
  const kernel = await kernelOf(a.features, b.features);
  const ofReal = floor && !isFloor
    ? await kernelOf(floor.a.features, floor.b.features)
    : kernel;
  scores.push({
    name: `${prefix}KID`,
    value: kernel.value,
    std: kernel.std,
    ...(floor
      ? {
        floor: ofReal.value,
        floorStd: ofReal.std,
        aboveFloor: kernel.value - ofReal.value, // unbiased for any number
      }
      : {}),
  });
  return scores;
}
