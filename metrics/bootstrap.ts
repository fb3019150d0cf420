/**
 * How far a score may be off, as it was computed from these images and no others.
 *
 * @module
 */
import { philoxWords } from "../tensor/philox.ts";
import type { Points } from "../tensor/points.ts";
import { pickRows } from "./_rows.ts";

/** A score and its uncertainty. */
export interface Bootstrap {
  /** Of all points. */
  value: number;
  /** Standard deviation over the samples. */
  std: number;
  /** 95 % of the samples lie between these, moved so that their mean is the value. */
  interval: [low: number, high: number];
}

/** How samples are drawn. */
export interface BootstrapOptions {
  /** How many; defaults to 50. */
  samples?: number;
  /** Of the draws; defaults to 0. */
  seed?: number;
}

/**
 * The bootstrap (Efron 1979): the score of the points, and its spread over samples of as many points
 * drawn from them with replacement. Samples repeat points, which moves most scores of generated images
 * to the worse; so the samples say how wide the interval is, and the value where.
 *
 * @param score Of points, to be called `samples + 1` times.
 * @param points `[N, D]`.
 * @throws {RangeError} If there are fewer than 2 samples, or no points.
 */
export async function bootstrap(
  score: (points: Points) => number | Promise<number>,
  points: Points,
  options: BootstrapOptions = {},
): Promise<Bootstrap> {
  const { samples = 50, seed = 0 } = options;
  const rows = points.shape[0] ?? 0;
  if (!(Number.isInteger(samples) && samples >= 2 && rows >= 1)) {
    throw new RangeError(
      `Cannot apply bootstrap as it needs at least 2 samples of at least 1 point: samples are ${samples}, points ${rows}`,
    );
  }
  const value = await score(points);
  const scores: number[] = [];
  for (let sample = 0; sample < samples; sample++) {
    const drawn = philoxWords(rows, [seed, 0], sample)
      .map((word) => Math.floor(word * rows / 2 ** 32));
    scores.push(await score(pickRows(points, drawn)));
  }
  const mean = scores.reduce((sum, x) => sum + x) / samples;
  const std = Math.sqrt(
    scores.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (samples - 1),
  );
  scores.sort((a, b) => a - b);
  const at = (share: number) => {
    const place = share * (samples - 1), low = Math.floor(place);
    const high = Math.min(low + 1, samples - 1);
    return scores[low]! + (place - low) * (scores[high]! - scores[low]!);
  };
  return {
    value,
    std,
    interval: [value + at(0.025) - mean, value + at(0.975) - mean],
  };
}
