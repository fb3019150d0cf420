/**
 * From a data set to batches of floats.
 *
 * @module
 */

import { permutation, philoxWords } from "../tensor/philox.ts";
import { type Dataset, normalize } from "./dataset.ts";

/** One batch, ready for a model. */
export interface Batch {
  /** Pixels in [-1, 1], shape `[N, C, H, W]`. */
  images: Float32Array<ArrayBuffer>;
  /** Dense class ids (positions in `dataset.classes`), shape `[N]`; 0 if there are no classes. */
  labels: Int32Array<ArrayBuffer>;
  /** Position of each image in the data set, shape `[N]`. */
  indices: Uint32Array<ArrayBuffer>;
}

/** What `Batches` may be told. */
export interface BatchesOptions {
  /** Images per batch. */
  batchSize: number;
  /** Names the order and the flips: an integer in [0, 2³²). Default 0. */
  seed?: number;
  /** Mirror each image with probability ½. Default: `dataset.horizontalFlip`. */
  flip?: boolean;
}

/** Philox streams: second word of the key, so that no other use of the seed meets them. */
const ORDER_STREAM = 0xda7a0001;
const FLIP_STREAM = 0xda7a0002;

/**
 * Endless shuffled batches that are a pure function of seed and step: to
 * resume a training run, its step number is all that is needed.
 *
 * Image `i` of step `s` is number `p = s · batchSize + i` of an endless list:
 * epoch `e = floor(p / length)` shuffled by Philox under `(seed, e)`, at
 * position `p mod length`. So each epoch holds every image once, none is
 * dropped, a batch may straddle two epochs, and it may be larger than the data
 * set. Flips are drawn by Philox under `(seed, s, i)`.
 *
 * @example
 * ```ts
 * const batches = new Batches(loadDigits(), { batchSize: 64, seed: 1 });
 * const { images, labels } = batches.batch(0);
 * ```
 */
export class Batches {
  /** Where the images come from. */
  readonly dataset: Dataset;
  /** Images per batch. */
  readonly batchSize: number;
  /** Names the order and the flips. */
  readonly seed: number;
  /** Whether images are mirrored with probability ½. */
  readonly flip: boolean;
  /** Orders of the one or two epochs in use. */
  readonly #orders = new Map<number, Uint32Array>();
  /** Batches made ahead, by step; `undefined` while one is on its way. */
  readonly #ready = new Map<number, Batch | undefined>();

  /**
   * Prepares nothing yet: the first order is drawn by the first batch.
   *
   * @param dataset Any data set that is not empty.
   * @param options See `BatchesOptions`.
   * @throws {RangeError} If the batch size is not a positive integer, the seed
   *   is not an integer in [0, 2³²), or the data set is empty.
   */
  constructor(dataset: Dataset, options: BatchesOptions) {
    const { batchSize, seed = 0, flip = dataset.horizontalFlip } = options;
    if (!Number.isInteger(batchSize) || batchSize < 1) {
      throw new RangeError(
        `Batch size must be a positive integer: it is ${batchSize}`,
      );
    }
    checkWord("Seed", seed);
    if (dataset.length === 0) {
      throw new RangeError(
        `Cannot make batches of ${dataset.title} as it has no images`,
      );
    }
    this.dataset = dataset;
    this.batchSize = batchSize;
    this.seed = seed;
    this.flip = flip;
  }

  /**
   * The epoch, from 0, that the first image of a step belongs to.
   *
   * @param step From 0.
   * @returns `floor(step · batchSize / length)`.
   * @throws {RangeError} If `step` is not an integer in [0, 2³²).
   */
  epochOf(step: number): number {
    checkWord("Step", step);
    return Math.floor(step * this.batchSize / this.dataset.length);
  }

  /**
   * How many steps show every image so many times.
   *
   * @param epochs Not negative; may be a fraction.
   * @returns `ceil(epochs · length / batchSize)`.
   */
  stepsOf(epochs: number): number {
    return Math.ceil(epochs * this.dataset.length / this.batchSize);
  }

  /**
   * The batch of a step; taken from `prefetch` if that has it ready.
   *
   * @param step From 0.
   * @returns Fresh arrays, the same values at every call.
   * @throws {RangeError} If `step` is not an integer in [0, 2³²).
   */
  batch(step: number): Batch {
    checkWord("Step", step);
    const ready = this.#ready.get(step);
    this.#ready.delete(step);
    return ready ?? this.#make(step);
  }

  /**
   * Makes the batch of a step once the current task has ended, while the GPU
   * works, say, and keeps it until `batch(step)` takes it. Does nothing if it
   * is there already.
   *
   * @param step From 0.
   * @returns When the batch is ready; there is no need to wait.
   * @throws {RangeError} If `step` is not an integer in [0, 2³²).
   */
  prefetch(step: number): Promise<void> {
    checkWord("Step", step);
    if (this.#ready.has(step)) return Promise.resolve();
    this.#ready.set(step, undefined);
    return new Promise((resolve) =>
      setTimeout(() => {
        // Gone if batch(step) was called meanwhile.
        if (this.#ready.has(step)) this.#ready.set(step, this.#make(step));
        resolve();
      }, 0)
    );
  }

  #make(step: number): Batch {
    const { dataset, batchSize, seed } = this;
    const { length, channels, height, width } = dataset;
    const imageSize = channels * height * width;
    const images = new Float32Array(batchSize * imageSize);
    const labels = new Int32Array(batchSize);
    const indices = new Uint32Array(batchSize);
    const words = this.flip
      ? philoxWords(batchSize, [seed, FLIP_STREAM], step)
      : undefined;
    for (let i = 0; i < batchSize; i++) {
      const position = step * batchSize + i;
      const epoch = Math.floor(position / length);
      const index = this.#order(epoch)[position % length]!;
      indices[i] = index;
      labels[i] = dataset.labelToDense.get(dataset.labels[index]!) ?? 0;
      const out = images.subarray(i * imageSize, (i + 1) * imageSize);
      const from = index * imageSize;
      normalize(dataset.images.subarray(from, from + imageSize), out);
      if (words !== undefined && words[i]! >= 0x80000000) mirror(out, width);
    }
    return { images, labels, indices };
  }

  #order(epoch: number): Uint32Array {
    let order = this.#orders.get(epoch);
    if (order === undefined) {
      order = permutation(
        this.dataset.length,
        [this.seed, ORDER_STREAM],
        epoch,
      );
      if (this.#orders.size === 2) {
        const [oldest] = this.#orders.keys();
        this.#orders.delete(oldest!);
      }
      this.#orders.set(epoch, order);
    }
    return order;
  }
}

/** Reverses every row in place. */
function mirror(pixels: Float32Array, width: number): void {
  for (let at = 0; at < pixels.length; at += width) {
    pixels.subarray(at, at + width).reverse();
  }
}

function checkWord(name: string, value: number): void {
  if (!Number.isInteger(value) || value < 0 || value >= 2 ** 32) {
    throw new RangeError(
      `${name} must be an integer in [0, 4294967296): it is ${value}`,
    );
  }
}
