/**
 * What balls round the features of images say of their manifolds: precision, recall, density, coverage,
 * and how near samples are to the images of training.
 *
 * @module
 */
import type { Points } from "../tensor/points.ts";
import {
  eachPair,
  NearestK,
  type PointSet,
  pointSet,
  squaredDistance,
} from "./_distances.ts";

/** Shares of images, and the density; higher is better for all. */
export interface ManifoldMetrics {
  /** Share of fakes inside the ball of some real image: fidelity. */
  precision: number;
  /** Share of real images inside the ball of some fake: diversity. */
  recall: number;
  /** Balls of real images that a fake is inside of, over the number that is expected, k; 1 if equal, may exceed it. */
  density: number;
  /** Share of real images with a fake inside their ball. */
  coverage: number;
}

/**
 * Precision and recall (Kynkäänniemi et al. 2019, arXiv:1904.06991), density and coverage (Naeem et al.
 * 2020, arXiv:2002.09797, eq. 3 to 6). The ball of an image reaches to its k-th nearest neighbour in its own
 * set, itself excluded, and does not contain its boundary: an image that is there k + 1 times has an
 * empty ball. Values depend on the number of images: compare only those of equal numbers. Equal
 * distributions have coverage 1 - 2^-k about.
 *
 * The numbers are those of distances in float64, however large the common part of the features is. The
 * device finds which pairs are too close to the boundary of a ball for f32; it never holds more than
 * a tile of the matrix of distances. Takes time in proportion to (N + M)² D.
 *
 * @param real `[N, D]`, features of real images.
 * @param fake `[M, D]`, features of samples.
 * @param options `nearestK`, the k of the balls; defaults to 5.
 * @throws {TypeError} If shapes are not `[N, D]` and `[M, D]`.
 * @throws {RangeError} If `nearestK` is not whole and from 1 on, a set has no more than `nearestK` points,
 * or a feature is not finite.
 */
export async function manifoldMetrics(
  real: Points,
  fake: Points,
  options: { nearestK?: number } = {},
): Promise<ManifoldMetrics> {
  const { nearestK = 5 } = options;
  const action = "compute precision and recall";
  const x = pointSet(real, `${action} of real features`);
  const y = pointSet(fake, `${action} of fake features`, x.dimensions);
  requireNeighbors(x, nearestK, `${action} of real features`);
  requireNeighbors(y, nearestK, `${action} of fake features`);
  const realSquares = await radiusSquares(x, nearestK);
  const fakeSquares = await radiusSquares(y, nearestK);
  const ballsOf = new Uint32Array(y.count); // balls of real images that contain a fake
  const recalled = new Uint8Array(x.count), covered = new Uint8Array(x.count);
  await eachPair(x, y, (i, j, low, high) => {
    const ofReal = realSquares[i]!, ofFake = fakeSquares[j]!;
    if (low >= ofReal && low >= ofFake) return;
    if (low < ofReal && high >= ofReal || low < ofFake && high >= ofFake) {
      low = high = squaredDistance(x, i, y, j);
    }
    if (high < ofReal) {
      ballsOf[j]!++;
      covered[i] = 1;
    }
    if (high < ofFake) recalled[i] = 1;
  });
  const hits = ballsOf.reduce((sum, balls) => sum + balls, 0);
  return {
    precision: ballsOf.reduce((n, balls) => n + Math.min(balls, 1), 0) /
      y.count,
    recall: recalled.reduce((n, one) => n + one, 0) / x.count,
    density: hits / (nearestK * y.count),
    coverage: covered.reduce((n, one) => n + one, 0) / x.count,
  };
}

/**
 * Euclidean distance of each point to its k-th nearest neighbour, itself excluded, in float64. Equal
 * points are neighbours at distance 0.
 *
 * @param points `[N, D]`.
 * @returns `[N]`.
 * @throws {TypeError} If the shape is not `[N, D]`.
 * @throws {RangeError} If `k` is not whole and from 1 to N - 1, or an element is not finite.
 */
export async function neighborRadii(
  points: Points,
  k: number,
): Promise<Float64Array<ArrayBuffer>> {
  const action = "find neighbours";
  const set = pointSet(points, action);
  requireNeighbors(set, k, action);
  return (await radiusSquares(set, k)).map(Math.sqrt);
}

/**
 * Euclidean distance of each query to the nearest of the points, in float64: of samples to training
 * images, what tells memorised images, compared with the distances of test images.
 *
 * @param queries `[M, D]`.
 * @param points `[N, D]`, at least one.
 * @returns `[M]`.
 * @throws {TypeError} If shapes are not `[M, D]` and `[N, D]`.
 * @throws {RangeError} If there are no points, or an element is not finite.
 */
export async function nearestDistances(
  queries: Points,
  points: Points,
): Promise<Float64Array<ArrayBuffer>> {
  const action = "find nearest points";
  const to = pointSet(points, action);
  const from = pointSet(queries, `${action} of queries`, to.dimensions);
  if (to.count === 0) {
    throw new RangeError(
      `Cannot ${action} as there must be some: there are none`,
    );
  }
  const nearest = new NearestK(
    from.count,
    1,
    (i, j) => squaredDistance(from, i, to, j),
  );
  await eachPair(
    from,
    to,
    (i, j, low, high) => nearest.offer(i, j, low, high),
  );
  return nearest.kthSquares().map(Math.sqrt);
}

/** Squared distances to the k-th nearest neighbours. */
async function radiusSquares(
  set: PointSet,
  k: number,
): Promise<Float64Array<ArrayBuffer>> {
  const nearest = new NearestK(
    set.count,
    k,
    (i, j) => squaredDistance(set, i, set, j),
  );
  await eachPair(set, null, (i, j, low, high) => {
    nearest.offer(i, j, low, high);
    nearest.offer(j, i, low, high);
  });
  return nearest.kthSquares();
}

function requireNeighbors(set: PointSet, k: number, action: string): void {
  if (!Number.isInteger(k) || k < 1) {
    throw new RangeError(
      `Cannot ${action} as the number of neighbours must be whole and from 1 on: it is ${k}`,
    );
  }
  if (set.count <= k) {
    throw new RangeError(
      `Cannot ${action} as ${k} neighbours need at least ${
        k + 1
      } points: there are ${set.count}`,
    );
  }
}
