/**
 * Squared distances of all pairs of points: bounds of every one from products on the device, exact ones
 * where bounds do not decide. A tile of the products is in memory at a time.
 *
 * @module
 */
import { matmul } from "../kernels/matmul.ts";
import { scope } from "../tensor/context.ts";
import { elementsOf, type Points } from "../tensor/points.ts";
import { type Tensor, tensor } from "../tensor/tensor.ts";

/** Most points along a side of a tile: 16 MiB of products. */
const TILE_POINTS = 2048;
/** Most elements of the points along a side of a tile. */
const TILE_ELEMENTS = 2 ** 22;
/** Relative error of one operation in f32, however it rounds. */
const ROUNDING = 2 ** -23;
/** More than what a device loses that takes the smallest f32 numbers for 0. */
const UNDERFLOW = 2 ** -120;

/** Points in float64. */
export interface PointSet {
  /** `[count, dimensions]`. */
  readonly elements: Float64Array;
  readonly count: number;
  readonly dimensions: number;
}

/**
 * Checks points and takes them to float64.
 *
 * @param action What is attempted, after "Cannot".
 * @param dimensions Columns, if they must be of a certain number.
 * @throws {TypeError} If the shape is not `[N, dimensions]`.
 * @throws {RangeError} If an element is not finite; names the point.
 */
export function pointSet(
  points: Points,
  action: string,
  dimensions?: number,
): PointSet {
  const elements = elementsOf(points, action, dimensions);
  return { elements, count: points.shape[0]!, dimensions: points.shape[1]! };
}

/** `|x_i - y_j|²` in float64. */
export function squaredDistance(
  x: PointSet,
  i: number,
  y: PointSet,
  j: number,
): number {
  const a = x.elements, b = y.elements, { dimensions } = x;
  let sum = 0;
  for (let k = 0, p = i * dimensions, q = j * dimensions; k < dimensions; k++) {
    const difference = a[p + k]! - b[q + k]!;
    sum += difference * difference;
  }
  return sum;
}

/** Told of a pair: `low <= |x_i - y_j|² <= high`. */
export type Visit = (i: number, j: number, low: number, high: number) => void;

/**
 * Visits every pair of a point of x and one of y; without y, every two points of x once, i < j.
 *
 * With a = |x_i|², b = |y_j|² in float64 and p = x_i · y_j in f32, the squared distance is a + b - 2p,
 * off by at most 2 (D + 3) u |x_i| |y_j| <= (D + 3) u (a + b) (Higham 2002, "Accuracy and stability of
 * numerical algorithms", eq. 3.5, with the rounding of both operands). The common mean is taken away
 * before, as it would only add to a and b, and all is divided by a power of two that keeps f32 in range.
 */
export async function eachPair(
  x: PointSet,
  y: PointSet | null,
  visit: Visit,
): Promise<void> {
  const frame = frameOf(y ? [x, y] : [x], x.dimensions);
  const rows = centred(x, frame), cols = y ? centred(y, frame) : rows;
  const count = (y ?? x).count;
  const step = Math.min(
    TILE_POINTS,
    Math.max(1, Math.floor(TILE_ELEMENTS / x.dimensions)),
  );
  const double = 2 * frame.unit ** 2;
  for (let top = 0; top < x.count; top += step) {
    const bottom = Math.min(top + step, x.count);
    await scope(async () => {
      const upper = rows.tile(top, bottom);
      for (let left = y ? 0 : top; left < count; left += step) {
        const right = Math.min(left + step, count);
        const width = right - left;
        const products = await scope(() =>
          matmul(upper, cols.tile(left, right), { transposeB: true }).data()
        );
        for (let i = top; i < bottom; i++) {
          const low = rows.low[i]!, high = rows.high[i]!;
          const row = (i - top) * width - left;
          for (let j = y ? left : Math.max(left, i + 1); j < right; j++) {
            const product = double * products[row + j]!;
            visit(
              i,
              j,
              low + cols.low[j]! - product,
              high + cols.high[j]! - product,
            );
          }
        }
      }
    });
  }
}

/** Where the device puts the origin, and what it divides by. */
interface Frame {
  mean: Float64Array;
  /** A power of two; 0 if all points are equal. */
  unit: number;
}

function frameOf(sets: readonly PointSet[], dimensions: number): Frame {
  const mean = new Float64Array(dimensions);
  let count = 0;
  for (const set of sets) {
    for (let i = 0, k = 0; i < set.elements.length; i++) {
      mean[k]! += set.elements[i]!;
      if (++k === dimensions) k = 0;
    }
    count += set.count;
  }
  for (let k = 0; k < dimensions; k++) mean[k]! /= count;
  let farthest = 0;
  for (const { elements } of sets) {
    for (let i = 0, k = 0; i < elements.length; i++) {
      farthest = Math.max(farthest, Math.abs(elements[i]! - mean[k]!));
      if (++k === dimensions) k = 0;
    }
  }
  return {
    mean,
    unit: farthest === 0 ? 0 : 2 ** Math.ceil(Math.log2(farthest)),
  };
}

/** Points less the mean, with their squared lengths less and more what products may be off by. */
interface Centred {
  low: Float64Array;
  high: Float64Array;
  tile(first: number, end: number): Tensor;
}

function centred(
  { elements, count, dimensions }: PointSet,
  { mean, unit }: Frame,
): Centred {
  const relative = 1.1 * (dimensions + 4) * ROUNDING;
  const absolute = unit ** 2 * dimensions * UNDERFLOW;
  const low = new Float64Array(count), high = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    let square = 0;
    for (let k = 0; k < dimensions; k++) {
      square += (elements[i * dimensions + k]! - mean[k]!) ** 2;
    }
    low[i] = square * (1 - relative) - absolute;
    high[i] = square * (1 + relative) + absolute;
  }
  const tile = (first: number, end: number) => {
    const values = new Float32Array((end - first) * dimensions);
    for (let i = 0, k = 0; unit > 0 && i < values.length; i++) {
      values[i] = (elements[first * dimensions + i]! - mean[k]!) / unit;
      if (++k === dimensions) k = 0;
    }
    return tensor(values, [end - first, dimensions]);
  };
  return { low, high, tile };
}

/** A point that may be among the nearest. */
interface Candidate {
  index: number;
  /** Bounds of its squared distance. */
  low: number;
  high: number;
}

/** The k nearest points of each of many, found from bounds of distances in any order. */
export class NearestK {
  readonly #found: Candidate[][];
  /** For each, a bound of the k-th squared distance, from above. */
  readonly #limit: Float64Array;
  readonly #k: number;
  readonly #exact: (i: number, j: number) => number;
  readonly #room: number;

  /** @param exact The squared distance of point `j` from point `i` of `count`. */
  constructor(
    count: number,
    k: number,
    exact: (i: number, j: number) => number,
  ) {
    this.#found = Array.from({ length: count }, () => []);
    this.#limit = new Float64Array(count).fill(Infinity);
    this.#k = k;
    this.#exact = exact;
    this.#room = 4 * k + 16;
  }

  /** Takes a point into account. */
  offer(i: number, index: number, low: number, high: number): void {
    // No square is below 0, so nothing is nearer than k equal points.
    if (!(Math.max(low, 0) < this.#limit[i]!)) return;
    const found = this.#found[i]!;
    found.push({ index, low, high });
    if (found.length < this.#room) return;
    this.#setLimit(i, found.map(({ high }) => high).sort((a, b) => a - b));
    const near = found.filter(({ low }) => low <= this.#limit[i]!);
    this.#found[i] = near;
    // Bounds that hardly exclude any are replaced by what they bound, so the list stays short.
    if (near.length > this.#room / 2) this.#settle(i);
  }

  /** The k-th smallest squared distance of each, in float64. */
  kthSquares(): Float64Array<ArrayBuffer> {
    return Float64Array.from(
      this.#found,
      (_, i) => this.#settle(i).at(-1)!.low,
    );
  }

  #setLimit(i: number, ascending: readonly number[]): void {
    this.#limit[i] = Math.min(this.#limit[i]!, ascending[this.#k - 1]!);
  }

  /** Computes the distances of the candidates, and keeps the nearest k in ascending order. */
  #settle(i: number): Candidate[] {
    const near = this.#found[i]!.map(({ index }) => {
      const square = this.#exact(i, index);
      return { index, low: square, high: square };
    }).sort((a, b) => a.low - b.low).slice(0, this.#k);
    this.#setLimit(i, near.map(({ low }) => low));
    return this.#found[i] = near;
  }
}
