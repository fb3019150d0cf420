/**
 * Mean and covariance of features that come in pieces.
 *
 * @module
 */
import { matrix, product, transposed } from "../tensor/products.ts";
import type { Points } from "../tensor/points.ts";

/** Rows whose products are made at once: whatever pieces they come in, the blocks are the same. */
const BLOCK = 256;

/** What a Fréchet distance needs of a set of features. */
export interface GaussianStatistics {
  /** μ, `[D]`. */
  mean: ArrayLike<number>;
  /** Σ, `[D, D]`, row-major, of degrees of freedom N - 1. */
  covariance: ArrayLike<number>;
  /** N, where known. */
  count?: number;
}

/**
 * Mean and covariance in float64, of rows added in pieces of any size: the results depend on the order
 * of rows by rounding only, and on the sizes of the pieces not at all. Holds 8 D² bytes and a block of
 * rows.
 *
 * The scatter `Σ (x - μ)(x - μ)ᵀ` is taken about the mean of each block, and blocks are joined by
 * `S₁ + S₂ + n₁ n₂ / (n₁ + n₂) δ δᵀ` with δ = μ₁ - μ₂ (Chan, Golub & LeVeque 1983), so that features far
 * from zero lose no digits.
 */
export class FeatureStatistics {
  /** D. */
  readonly dimensions: number;
  readonly #mean: Float64Array<ArrayBuffer>; // of the rows that are not waiting
  readonly #scatter: Float64Array<ArrayBuffer>; // their lower triangle
  #count = 0;
  readonly #waiting: Float64Array<ArrayBuffer>; // a row longer than a block, for δ
  #rows = 0;

  /**
   * No rows yet.
   *
   * @throws {RangeError} If `dimensions` is not a positive whole number.
   */
  constructor(dimensions: number) {
    if (!Number.isInteger(dimensions) || dimensions < 1) {
      throw new RangeError(
        `Cannot make FeatureStatistics as dimensions must be whole and positive: they are ${dimensions}`,
      );
    }
    this.dimensions = dimensions;
    this.#mean = new Float64Array(dimensions);
    this.#scatter = new Float64Array(dimensions ** 2);
    this.#waiting = new Float64Array((BLOCK + 1) * dimensions);
  }

  /** N: rows that were added. */
  get count(): number {
    return this.#count + this.#rows;
  }

  /**
   * Adds rows.
   *
   * @param points `[n, D]`.
   * @throws {TypeError} If the shape is another.
   * @throws {RangeError} If an element is not finite; then no row of `points` is added.
   */
  add({ data, shape }: Points): this {
    const { dimensions } = this;
    const [rows = 0, columns] = shape;
    if (
      shape.length !== 2 || columns !== dimensions ||
      rows * columns !== data.length
    ) {
      throw new TypeError(
        `Cannot add features as they must be [N, ${dimensions}]: shape is [${
          shape.join(", ")
        }] of ${data.length} elements`,
      );
    }
    for (let i = 0; i < data.length; i++) {
      if (!Number.isFinite(data[i])) {
        throw new RangeError(
          `Cannot add features as they must be finite: element ${
            i % dimensions
          } of row ${Math.floor(i / dimensions)} is ${data[i]}`,
        );
      }
    }
    for (let row = 0; row < rows; row++) {
      const to = this.#rows++ * dimensions, from = row * dimensions;
      for (let i = 0; i < dimensions; i++) {
        this.#waiting[to + i] = data[from + i]!;
      }
      if (this.#rows === BLOCK) this.#take();
    }
    return this;
  }

  /**
   * Adds the rows of others, which stay as they are.
   *
   * @throws {TypeError} If dimensions differ.
   */
  merge(other: FeatureStatistics): this {
    const { dimensions } = this;
    if (other.dimensions !== dimensions) {
      throw new TypeError(
        `Cannot merge features as dimensions must be equal: they are ${dimensions} and ${other.dimensions}`,
      );
    }
    const waiting = other.#waiting.slice(0, other.#rows * dimensions);
    const rows = other.#rows;
    if (other.#count > 0) {
      this.#take();
      const scatter = other.#scatter;
      for (let i = 0; i < scatter.length; i++) this.#scatter[i]! += scatter[i]!;
      this.#join(other.#count, other.#mean, 0);
    }
    return this.add({ data: waiting, shape: [rows, dimensions] });
  }

  /**
   * μ, `[D]`.
   *
   * @throws {RangeError} If there are no rows.
   */
  mean(): Float64Array<ArrayBuffer> {
    this.#require(1);
    this.#take();
    return this.#mean.slice();
  }

  /**
   * Σ, `[D, D]`, divided by N - 1 as `numpy.cov` does.
   *
   * @throws {RangeError} If there are fewer than 2 rows.
   */
  covariance(): Float64Array<ArrayBuffer> {
    this.#require(2);
    this.#take();
    const { dimensions: d } = this;
    const covariance = new Float64Array(d * d);
    for (let i = 0; i < d; i++) {
      for (let j = 0; j <= i; j++) {
        covariance[i * d + j] =
          covariance[j * d + i] =
            this.#scatter[i * d + j]! / (this.#count - 1);
      }
    }
    return covariance;
  }

  #require(rows: number): void {
    if (this.count < rows) {
      throw new RangeError(
        `Cannot take statistics of features as rows must be at least ${rows}: there are ${this.count}`,
      );
    }
  }

  /** Takes the rows that wait into the scatter. */
  #take(): void {
    const { dimensions } = this;
    const rows = this.#rows, waiting = this.#waiting;
    if (rows === 0) return;
    const mean = new Float64Array(dimensions);
    for (let at = 0; at < rows * dimensions; at++) {
      mean[at % dimensions]! += waiting[at]! / rows;
    }
    for (let at = 0; at < rows * dimensions; at++) {
      waiting[at]! -= mean[at % dimensions]!;
    }
    this.#rows = 0;
    this.#join(rows, mean, rows);
  }

  /** Adds the scatter of the first `rows` that wait, and of δ, which is one row more. */
  #join(count: number, mean: Float64Array, rows: number): void {
    const { dimensions } = this;
    const total = this.#count + count, waiting = this.#waiting;
    const weight = Math.sqrt(this.#count / total * count);
    for (let i = 0; i < dimensions; i++) {
      const delta = mean[i]! - this.#mean[i]!;
      waiting[rows * dimensions + i] = weight * delta;
      this.#mean[i]! += delta * (count / total);
    }
    this.#count = total;
    const x = matrix(waiting, rows + 1, dimensions);
    product(transposed(x), x, { into: this.#scatter, lower: true });
  }
}
