/**
 * How images come to the size and the range that the Inception network of FID wants. Tools differ in this,
 * and a FID moves by up to half a point with it; so the ways have names.
 *
 * @module
 */
import { matmul } from "../kernels/matmul.ts";
import { clamp, scale } from "../kernels/unary.ts";
import { keep } from "../tensor/context.ts";
import { requireThat } from "../tensor/kernel.ts";
import { nearest } from "../tensor/nearest.ts";
import { type Tensor, tensor } from "../tensor/tensor.ts";

/** One output pixel along an axis: the first input pixel that it sees, and the weights of those from there on. */
interface Taps {
  first: number;
  weights: number[];
}

/** A way to resize, and what becomes of the values. */
interface Dialect {
  /** Pixel `at` of an axis of `from` pixels that becomes one of `to`. */
  taps(at: number, from: number, to: number): Taps;
  /** To the network's range, of values 0 to 255. */
  range(x: Tensor): Tensor;
}

/** Between the two pixels around a place, as a share of the way. */
function between(place: number, from: number): Taps {
  const first = Math.floor(place), share = place - first;
  // Beyond the last pixel there is only that.
  return first + 1 < from
    ? { first, weights: [1 - share, share] }
    : { first, weights: [1] };
}

/** Keys 1981's cubic with a = -0.5. */
function cubic(x: number): number {
  const a = -0.5, d = Math.abs(x);
  if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  return d < 2 ? (((d - 5) * d + 8) * d - 4) * a : 0;
}

/** Name of a way to resize. */
export type ResizeDialect = "pytorch-fid" | "torch-fidelity" | "clean-fid";

const DIALECTS: Readonly<Record<ResizeDialect, Dialect>> = {
  // Bilinear, centres of pixels at halves, no antialiasing: `interpolate` of PyTorch.
  "pytorch-fid": {
    taps: (at, from, to) =>
      between(Math.max((at + 0.5) * from / to - 0.5, 0), from),
    range: (x) => scale(x, 2 / 255, -1),
  },
  // Bilinear, corners of pixels at whole numbers: TensorFlow 1's `resize_bilinear`.
  "torch-fidelity": {
    taps: (at, from, to) => between(at * from / to, from),
    range: (x) => scale(x, 1 / 128, -1),
  },
  // Pillow's bicubic, which widens the cubic where an image shrinks; what overshoots is cut off.
  "clean-fid": {
    taps(at, from, to) {
      const wide = Math.max(from / to, 1), centre = (at + 0.5) * from / to;
      const first = Math.max(Math.trunc(centre - 2 * wide + 0.5), 0);
      const end = Math.min(Math.trunc(centre + 2 * wide + 0.5), from);
      const weights = Array.from(
        { length: end - first },
        (_, i) => cubic((first + i + 0.5 - centre) / wide),
      );
      const sum = weights.reduce((a, b) => a + b);
      return { first, weights: weights.map((weight) => weight / sum) };
    },
    range: (x) => scale(clamp(x, { min: 0, max: 255 }), 1 / 128, -1),
  },
};

/** Names of the ways to resize. */
export const RESIZE_DIALECTS: readonly ResizeDialect[] = Object.keys(
  DIALECTS,
) as ResizeDialect[];

/** A dialect by its name. */
function dialectOf(name: ResizeDialect): Dialect {
  if (Object.hasOwn(DIALECTS, name)) return DIALECTS[name];
  const guess = nearest(String(name), RESIZE_DIALECTS);
  throw new RangeError(
    `Cannot resize as "${name}": ${
      guess === undefined ? "" : `did you mean "${guess}"? `
    }It must be one of ${RESIZE_DIALECTS.join(", ")}`,
  );
}

/**
 * Resizing along one axis as a matrix: an image x of height h and width w becomes `R_h x R_wᵀ`.
 *
 * @param from Pixels of the axis.
 * @param to Pixels that become of them.
 * @returns `[to, from]`, row-major; rows sum to 1.
 * @throws {RangeError} If the dialect is unknown or a size is no whole number above 0.
 */
export function resizeMatrix(
  dialect: ResizeDialect,
  from: number,
  to: number,
): Float64Array<ArrayBuffer> {
  const { taps } = dialectOf(dialect);
  if (![from, to].every((size) => Number.isInteger(size) && size > 0)) {
    throw new RangeError(
      `Cannot resize as sizes must be whole and above 0: they are ${from} and ${to}`,
    );
  }
  const matrix = new Float64Array(to * from);
  for (let at = 0; at < to; at++) {
    const { first, weights } = taps(at, from, to);
    matrix.set(weights, at * from + first);
  }
  return matrix;
}

/**
 * Makes a function that brings images to a size and to the range of the Inception network: `pytorch-fid` gives
 * `2 v / 255 - 1`; the others `(v - 128) / 128`, and `clean-fid` first cuts off what its cubic overshoots.
 * The function may be part of a captured step.
 *
 * @param height Of the images.
 * @param width Of the images.
 * @param size Height and width of the result.
 * @returns Takes values 0 to 255, `[N, C, height, width]`, to `[N, C, size, size]`.
 * @throws {RangeError} If the dialect is unknown or a size is no whole number above 0.
 */
export function imageResizer(
  height: number,
  width: number,
  size: number,
  dialect: ResizeDialect = "pytorch-fid",
): (x: Tensor) => Tensor {
  const { range } = dialectOf(dialect);
  const matrix = (from: number) =>
    keep(
      tensor(
        Float32Array.from(resizeMatrix(dialect, from, size)),
        [size, from],
      ),
    );
  const rows = matrix(height), columns = matrix(width);
  return (x) => {
    requireThat(
      x.rank === 4 && x.shape[2] === height && x.shape[3] === width,
      "imageResizer",
      `images must be [N, C, ${height}, ${width}]`,
      { x },
    );
    return range(matmul(rows, matmul(x, columns, { transposeB: true })));
  };
}
