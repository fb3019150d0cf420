/**
 * Random numbers that depend only on a seed, a stream and the number of draws before: the same on
 * every device, and the same after a resume.
 *
 * @module
 */
import { context } from "./context.ts";
import { Kernel } from "./kernel.ts";
import { permutation, philoxWords, toUnit } from "./philox.ts";
import { type DType, Tensor } from "./tensor.ts";
import { afterStep, type Live, live } from "./trace.ts";
import philoxSource from "./philox.wgsl" with { type: "text" };
import turnSource from "./turn.wgsl" with { type: "text" };
import normalsSource from "./normals.wgsl" with { type: "text" };
import source from "./rng.wgsl" with { type: "text" };

const kernel = new Kernel(
  "rng",
  philoxSource,
  turnSource,
  normalsSource,
  source,
);

/** Where a generator stands; plain numbers, for checkpoints. */
export interface RngState {
  /** First word of the key. */
  seed: number;
  /** Second word of the key. */
  stream: number;
  /** Draws made so far. */
  calls: number;
}

/** A position to return to; see `Rng.mark`. */
export interface RngMark {
  /** Before the draws of the captured step, if there is one. */
  readonly state: RngState;
  /** Draws of the captured step before the mark. */
  readonly drawn: number;
}

/** Philox4x32-10 with the key `(seed, stream)`; every draw takes the next counter. */
export class Rng {
  /** The position; assign a saved one to continue from there. */
  state: RngState;

  /**
   * Starts at the first draw.
   *
   * @param seed Whole number, 0 to 2^32 - 1.
   * @param stream Independent sequences of one seed have different streams; defaults to 0.
   * @throws {RangeError} If either is out of range.
   */
  constructor(seed: number, stream = 0) {
    for (const [name, value] of [["seed", seed], ["stream", stream]] as const) {
      if (!Number.isInteger(value) || value < 0 || value > 0xffffffff) {
        throw new RangeError(
          `Cannot seed as ${name} must be a whole number below 2^32: ${value}`,
        );
      }
    }
    this.state = { seed, stream, calls: 0 };
  }

  /** A generator of the same seed with another stream, at its start. */
  fork(stream: number): Rng {
    return new Rng(this.state.seed, stream);
  }

  /** The key and counter of the next draw, for a kernel that draws by itself. */
  next(): { seed: number; stream: number; call: number | Live } {
    const { seed, stream } = this.state;
    // Inside a captured step the state moves on only after a replay: draws of one step are counted.
    const drawn = context().trace?.count(this) ?? 0;
    const call = live(() => this.state.calls + drawn);
    afterStep({ forward: () => this.#move(1), back: () => this.#move(-1) });
    return { seed, stream, call };
  }

  /** Remembers this position, for `again`. */
  mark(): RngMark {
    return {
      state: this.state,
      drawn: context().trace?.ordinalOf(this) ?? 0,
    };
  }

  /** Runs `body`, which draws what was drawn after the mark; then goes on as if it had not run. */
  again<T>(mark: RngMark, body: () => T): T {
    const { trace } = context();
    if (trace) return trace.again(this, mark.drawn, body);
    const later = this.state;
    this.state = mark.state;
    try {
      return body();
    } finally {
      this.state = later;
    }
  }

  #move(calls: number): void {
    this.state = { ...this.state, calls: this.state.calls + calls };
  }

  /** The next draw, for numbers that the host needs. */
  #nextOnHost(what: string): { key: [number, number]; call: number } {
    if (context().trace) {
      throw new Error(
        `Cannot capture ${what} as it draws on the host: call it outside the step, and pass the ` +
          "result as an input",
      );
    }
    const { seed, stream, call } = this.next();
    return { key: [seed, stream], call: call as number };
  }

  /** Uniform in `[low, high)`, f32. Defaults to [0, 1). */
  uniform(shape: readonly number[], low = 0, high = 1): Tensor {
    return this.#draw("UNIFORM", shape, low, high);
  }

  /** Normal with the given mean and standard deviation, f32. Defaults to 0 and 1. */
  normal(shape: readonly number[], mean = 0, std = 1): Tensor {
    return this.#draw("NORMAL", shape, mean, std);
  }

  /**
   * Rows of a longer draw, standard normal, f32: row `i` is what row `firstRow + i` of
   * `normal([anything, ...])` would be, so that an image's noise does not depend on its batch.
   *
   * @param shape `[rows, ...]`.
   * @param firstRow Defaults to 0.
   * @throws {RangeError} If there is no axis of rows, or `firstRow` is not a whole number from 0 on, or
   *   so large that the draw would end beyond its 2^34 elements.
   */
  normalRows(shape: readonly number[], firstRow = 0): Tensor {
    const row = shape.slice(1).reduce((size, length) => size * length, 1);
    const start = firstRow * row;
    if (
      shape.length === 0 || !Number.isInteger(firstRow) || firstRow < 0 ||
      start + shape[0]! * row > 2 ** 34
    ) {
      throw new RangeError(
        "Cannot draw rows as shape must begin with their number and firstRow be a whole number " +
          `within the draw: shape is [${
            shape.join(", ")
          }], firstRow is ${firstRow}`,
      );
    }
    return this.#draw("NORMAL", shape, 0, 1, "f32", start);
  }

  /** Whole numbers, i32, uniform in `low … high - 1`; the range may span up to 2^24. */
  integers(shape: readonly number[], low: number, high: number): Tensor {
    if (!(high > low)) {
      throw new RangeError(
        `Cannot draw integers as high must exceed low: low is ${low}, high is ${high}`,
      );
    }
    return this.#draw("INTEGERS", shape, low, high, "i32");
  }

  /** Raw words, u32. */
  words(shape: readonly number[]): Tensor {
    return this.#draw("WORDS", shape, 0, 0, "u32");
  }

  /** `0 … count-1` in random order, on the host. */
  permutation(count: number): Uint32Array<ArrayBuffer> {
    const { key, call } = this.#nextOnHost("permutation()");
    return permutation(count, key, call);
  }

  /**
   * `count` indices drawn with the given weights (not negative, any sum above 0), on the host.
   *
   * @throws {RangeError} If a weight is negative or not finite, or all are zero.
   */
  categorical(
    weights: ArrayLike<number>,
    count: number,
  ): Uint32Array<ArrayBuffer> {
    let sum = 0;
    const cumulative = Float64Array.from(weights, (weight, i) => {
      if (!(weight >= 0 && weight < Infinity)) {
        throw new RangeError(
          `Cannot draw as weights must be finite and not negative: weight ${i} is ${weight}`,
        );
      }
      return sum += weight;
    });
    if (sum === 0) {
      throw new RangeError(
        "Cannot draw as some weight must be above zero: all are 0",
      );
    }
    const { key, call } = this.#nextOnHost("categorical()");
    const words = philoxWords(count, key, call);
    // A draw of exactly the last edge cannot happen: units stay below 1.
    return Uint32Array.from(words, (word) => {
      const u = toUnit(word) * sum;
      let low = 0, high = cumulative.length - 1;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (cumulative[middle]! > u) high = middle;
        else low = middle + 1;
      }
      return low;
    });
  }

  #draw(
    kind: string,
    shape: readonly number[],
    a: number,
    b: number,
    dtype: DType = "f32",
    start = 0,
  ): Tensor {
    const out = new Tensor([...shape], dtype);
    const block = Math.floor(start / 4), skipped = start % 4;
    const params = { n: out.size, first: 0, block, skipped, a, b };
    const entry = skipped === 0 ? "fill" : "fill_across";
    return kernel.run(entry, { ...params, ...this.next() }, { out }, {
      constants: { KIND: kernel.code(kind) },
      workgroups: ({ n }) => Math.ceil(Number(n) / 256),
      splitBy: "n",
      split: ["out"],
    });
  }
}

let shared = new Rng(0);

/** Seeds the generator that `rand` and `randn` use when none is passed; it starts with seed 0. */
export function manualSeed(seed: number): void {
  shared = new Rng(seed);
}

/** Uniform in [0, 1), f32, from `rng` or the shared generator. */
export function rand(shape: readonly number[], rng: Rng = shared): Tensor {
  return rng.uniform(shape);
}

/** Standard normal, f32, from `rng` or the shared generator. */
export function randn(shape: readonly number[], rng: Rng = shared): Tensor {
  return rng.normal(shape);
}
