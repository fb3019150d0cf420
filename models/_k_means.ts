/**
 * Clusters of points, where mixtures start from.
 *
 * @module
 */
import type { Rng } from "../tensor/rng.ts";

/** Iterations of one run. */
const MAX_ITERATIONS = 300;
/** A run ends once centres move by less than this share of the variance, as in scikit-learn. */
const TOLERANCE = 1e-4;

/** What a run ends in. */
interface Clusters {
  /** Index of the nearest centre, `[N]`. */
  labels: Int32Array<ArrayBuffer>;
  /** Mean squared distance from it. */
  inertia: number;
}

/**
 * Lloyd's k-means from starts by k-means++ (Arthur & Vassilvitskii 2007), the best of several runs.
 *
 * @param x `[N, D]`.
 * @param count Number of clusters, up to N.
 * @returns The cluster of every point. All have points, as long as there are as many distinct ones.
 * @internal
 */
export function kMeans(
  x: Float64Array,
  dimensions: number,
  count: number,
  { rng, restarts }: { rng: Rng; restarts: number },
): Int32Array<ArrayBuffer> {
  const n = x.length / dimensions;
  if (count === 1) return new Int32Array(n);
  const limit = TOLERANCE * meanVariance(x, dimensions);
  let best: Clusters | undefined;
  for (let run = 0; run < restarts; run++) {
    const found = lloyd(
      x,
      dimensions,
      spread(x, dimensions, count, rng),
      limit,
    );
    if (!best || found.inertia < best.inertia) best = found;
  }
  return best!.labels;
}

/** Index of the nearest centre of every point, and into `distances` the square of how far it is. @internal */
export function nearest(
  x: Float64Array,
  centres: Float64Array,
  dimensions: number,
  distances = new Float64Array(x.length / dimensions),
): Int32Array<ArrayBuffer> {
  const labels = new Int32Array(distances.length);
  const count = centres.length / dimensions;
  for (let i = 0; i < labels.length; i++) {
    let least = Infinity, label = 0;
    for (let k = 0; k < count; k++) {
      const distance = squaredDistance(x, i, centres, k, dimensions);
      if (distance < least) [least, label] = [distance, k];
    }
    labels[i] = label;
    distances[i] = least;
  }
  return labels;
}

function squaredDistance(
  a: Float64Array,
  i: number,
  b: Float64Array,
  j: number,
  dimensions: number,
): number {
  let sum = 0;
  for (let d = 0; d < dimensions; d++) {
    const difference = a[i * dimensions + d]! - b[j * dimensions + d]!;
    sum += difference * difference;
  }
  return sum;
}

/** Variance of a coordinate, averaged over the coordinates. */
function meanVariance(x: Float64Array, dimensions: number): number {
  const mean = new Float64Array(dimensions);
  x.forEach((value, at) => mean[at % dimensions]! += value);
  const n = x.length / dimensions;
  const squares = x.reduce(
    (sum, value, at) => sum + (value - mean[at % dimensions]! / n) ** 2,
    0,
  );
  return squares / x.length;
}

/** Starts of k-means++: each is a point drawn by its squared distance from the nearest one before. */
function spread(
  x: Float64Array,
  dimensions: number,
  count: number,
  rng: Rng,
): Float64Array {
  const n = x.length / dimensions;
  const centres = new Float64Array(count * dimensions);
  let distances = new Float64Array(n).fill(1);
  for (let k = 0; k < count; k++) {
    // Once all points are starts, any may be one again.
    if (distances.every((distance) => distance === 0)) distances.fill(1);
    const i = rng.categorical(distances, 1)[0]!;
    centres.set(
      x.subarray(i * dimensions, (i + 1) * dimensions),
      k * dimensions,
    );
    distances = distances.map((distance, j) => {
      const own = squaredDistance(x, j, centres, k, dimensions);
      return k === 0 ? own : Math.min(distance, own);
    });
  }
  return centres;
}

function lloyd(
  x: Float64Array,
  dimensions: number,
  centres: Float64Array,
  limit: number,
): Clusters {
  const n = x.length / dimensions;
  const distances = new Float64Array(n);
  for (let iteration = 0; iteration < MAX_ITERATIONS; iteration++) {
    const labels = nearest(x, centres, dimensions, distances);
    const next = means(x, dimensions, labels, distances, centres.length);
    let moved = 0;
    next.forEach((value, at) => moved += (value - centres[at]!) ** 2);
    centres = next;
    if (moved <= limit) break;
  }
  const labels = nearest(x, centres, dimensions, distances);
  return { labels, inertia: distances.reduce((sum, d) => sum + d, 0) / n };
}

/** Means of the clusters; an empty one gets the point that is farthest from its centre. */
function means(
  x: Float64Array,
  dimensions: number,
  labels: Int32Array,
  distances: Float64Array,
  size: number,
): Float64Array {
  const counts = new Int32Array(size / dimensions);
  for (const label of labels) counts[label]!++;
  for (let k = 0; k < counts.length; k++) {
    if (counts[k]! > 0) continue;
    let farthest = -1;
    distances.forEach((d, i) => {
      if (counts[labels[i]!]! < 2) return; // must not be emptied in turn
      if (farthest < 0 || d > distances[farthest]!) farthest = i;
    });
    counts[labels[farthest]!]!--;
    labels[farthest] = k;
    distances[farthest] = 0;
    counts[k] = 1;
  }
  const centres = new Float64Array(size);
  for (let i = 0; i < labels.length; i++) {
    const first = labels[i]! * dimensions;
    for (let d = 0; d < dimensions; d++) {
      centres[first + d]! += x[i * dimensions + d]!;
    }
  }
  return centres.map((sum, at) => sum / counts[Math.floor(at / dimensions)]!);
}
