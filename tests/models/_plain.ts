/**
 * Layers of one image in float64 and plain loops, for checking whole networks: each finds its weights
 * in a state by name.
 *
 * @module
 */
import type { Module } from "../../mod.ts";

/** Numbers `[channels, height, width]`; a vector has height and width 1. */
export interface Image {
  shape: readonly [number, number, number];
  data: Float64Array;
}

/** Makes an image of what `value` says of each element. */
export function image(
  shape: Image["shape"],
  value: (c: number, i: number, j: number) => number,
): Image {
  const [channels, height, width] = shape;
  const data = new Float64Array(channels * height * width);
  for (let c = 0; c < channels; c++) {
    for (let i = 0; i < height; i++) {
      for (let j = 0; j < width; j++) {
        data[(c * height + i) * width + j] = value(c, i, j);
      }
    }
  }
  return { shape, data };
}

/** An element, 0 outside. */
export function at({ shape, data }: Image, c: number, i: number, j: number) {
  const [, height, width] = shape;
  const inside = i >= 0 && i < height && j >= 0 && j < width;
  return inside ? data[(c * height + i) * width + j]! : 0;
}

/** Applies `f` to each element, which it is also told the place of. */
export function map(
  x: Image,
  f: (value: number, c: number, i: number, j: number) => number,
): Image {
  return image(x.shape, (c, i, j) => f(at(x, c, i, j), c, i, j));
}

/** Sums of elements; a vector goes to all pixels. */
export function plus(x: Image, y: Image): Image {
  const vector = y.shape[1] === 1 && y.shape[2] === 1;
  return map(
    x,
    (value, c, i, j) => value + at(y, c, vector ? 0 : i, vector ? 0 : j),
  );
}

/** Channels of `x`, then of `y`. */
export function joined(x: Image, y: Image): Image {
  const [c, height, width] = x.shape;
  return {
    shape: [c + y.shape[0], height, width],
    data: Float64Array.from([...x.data, ...y.data]),
  };
}

/** `[v_0, …]` as a vector. */
export function vector(values: readonly number[]): Image {
  return image([values.length, 1, 1], (c) => values[c]!);
}

export const relu = (x: Image) => map(x, (v) => Math.max(v, 0));
export const leaky = (x: Image) => map(x, (v) => v > 0 ? v : 0.2 * v);
export const silu = (x: Image) => map(x, (v) => v / (1 + Math.exp(-v)));
/** By the series of erf, for |v| of a few units. */
export const gelu = (x: Image) =>
  map(x, (v) => {
    let term = v / Math.SQRT2, erf = 0;
    for (let k = 0; Math.abs(term) > 1e-18 || k < 3; k++) {
      erf += term / (2 * k + 1);
      term *= -v * v / 2 / (k + 1);
    }
    return v * (0.5 + erf / Math.sqrt(Math.PI));
  });

const EPS = 1e-5;

type State = Readonly<
  Record<string, { shape: readonly number[]; data: ArrayLike<number> }>
>;

/** The layers of a network. */
export class Plain {
  readonly #state: State;

  private constructor(state: State) {
    this.#state = state;
  }

  /** Reads all weights. */
  static async of(net: Module): Promise<Plain> {
    const entries = Object.entries(net.stateDict()).map(async ([name, x]) =>
      [name, { shape: x.shape, data: await x.data() }] as const
    );
    return new Plain(Object.fromEntries(await Promise.all(entries)));
  }

  /** Values of a weight; a bias that a layer lacks is all zeros. */
  #weights(name: string): (index: number) => number {
    const { data } = this.#state[name] ?? { data: null };
    return (index) => data ? data[index]! : 0;
  }

  /** A convolution, whichever its window. */
  conv(
    x: Image,
    name: string,
    { stride = 1, padding = 0 }: { stride?: number; padding?: number } = {},
  ): Image {
    const [to, from, k] = this.#state[`${name}.weight`]!.shape as [
      number,
      number,
      number,
    ];
    const w = this.#weights(`${name}.weight`);
    const b = this.#weights(`${name}.bias`);
    const side = (size: number) =>
      Math.floor((size + 2 * padding - k) / stride) + 1;
    return image([to, side(x.shape[1]), side(x.shape[2])], (c, i, j) => {
      let sum = b(c);
      for (let d = 0; d < from; d++) {
        for (let u = 0; u < k; u++) {
          for (let v = 0; v < k; v++) {
            sum += w(((c * from + d) * k + u) * k + v) *
              at(x, d, i * stride + u - padding, j * stride + v - padding);
          }
        }
      }
      return sum;
    });
  }

  /** A transposed convolution: every pixel of `x` is spread over a window. */
  convTransposed(
    x: Image,
    name: string,
    { stride = 1, padding = 0 }: { stride?: number; padding?: number } = {},
  ): Image {
    const [, to, k] = this.#state[`${name}.weight`]!.shape as [
      number,
      number,
      number,
    ];
    const w = this.#weights(`${name}.weight`);
    const b = this.#weights(`${name}.bias`);
    const side = (size: number) => (size - 1) * stride - 2 * padding + k;
    const shape = [to, side(x.shape[1]), side(x.shape[2])] as const;
    const out = image(shape, (c) => b(c));
    map(x, (value, d, i, j) => {
      for (let c = 0; c < to; c++) {
        for (let u = 0; u < k; u++) {
          for (let v = 0; v < k; v++) {
            const row = i * stride + u - padding;
            const column = j * stride + v - padding;
            if (row < 0 || row >= shape[1]) continue;
            if (column < 0 || column >= shape[2]) continue;
            out.data[(c * shape[1] + row) * shape[2] + column]! += value *
              w(((d * to + c) * k + u) * k + v);
          }
        }
      }
      return value;
    });
    return out;
  }

  /** A linear layer over the channels of every pixel; `rows`: which of its rows, defaults to all. */
  linear(
    x: Image,
    weight: string,
    bias: string,
    [first, end] = [0, this.#state[weight]!.shape[0]!],
  ): Image {
    const from = this.#state[weight]!.shape[1]!;
    const w = this.#weights(weight), b = this.#weights(bias);
    const [, height, width] = x.shape;
    return image([end! - first!, height, width], (c, i, j) => {
      const row = first! + c;
      let sum = b(row);
      for (let d = 0; d < from; d++) sum += w(row * from + d) * at(x, d, i, j);
      return sum;
    });
  }

  /** Over all elements, with a gain for each of them, or for each channel. */
  norm(x: Image, name: string, each: "element" | "channel"): Image {
    const w = this.#weights(`${name}.weight`);
    const b = this.#weights(`${name}.bias`);
    const [, height, width] = x.shape;
    const { mean, deviation } = statistics(x.data);
    return map(x, (value, c, i, j) => {
      const index = each === "channel" ? c : (c * height + i) * width + j;
      return (value - mean) / deviation * w(index) + b(index);
    });
  }

  /** Over the channels of every pixel. */
  normOfPixels(x: Image, name: string): Image {
    const w = this.#weights(`${name}.weight`);
    const b = this.#weights(`${name}.bias`);
    return map(x, (value, c, i, j) => {
      const pixel = Array.from(
        { length: x.shape[0] },
        (_, d) => at(x, d, i, j),
      );
      const { mean, deviation } = statistics(pixel);
      return (value - mean) / deviation * w(c) + b(c);
    });
  }

  /** Batch normalisation by the running statistics. */
  batchNorm(x: Image, name: string): Image {
    const of = (part: string) => this.#weights(`${name}.${part}`);
    const mean = of("running_mean"), variance = of("running_var");
    const w = of("weight"), b = of("bias");
    return map(
      x,
      (value, c) =>
        (value - mean(c)) / Math.sqrt(variance(c) + EPS) * w(c) + b(c),
    );
  }

  /** A row of an embedding. */
  row(name: string, index: number): Image {
    const width = this.#state[name]!.shape[1]!;
    const w = this.#weights(name);
    return image([width, 1, 1], (c) => w(index * width + c));
  }
}

function statistics(values: ArrayLike<number>) {
  const list = Array.from(values);
  const mean = list.reduce((sum, v) => sum + v) / list.length;
  const squares = list.reduce((sum, v) => sum + (v - mean) ** 2, 0);
  return { mean, deviation: Math.sqrt(squares / list.length + EPS) };
}
