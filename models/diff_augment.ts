/**
 * Differentiable augmentation (Zhao et al. 2020, arXiv:2006.10738): what the discriminator is shown, real
 * and generated alike, is changed at random, so that it cannot learn a small data set by heart. The
 * generator learns through the changes.
 *
 * @module
 */
import { add, equal, greaterEqual, less, mul, sub } from "../kernels/binary.ts";
import { cast } from "../kernels/cast.ts";
import { matmul } from "../kernels/matmul.ts";
import { mean } from "../kernels/reduce.ts";
import { reshape } from "../kernels/shape.ts";
import { scale } from "../kernels/unary.ts";
import { keep, outsideCapture } from "../tensor/context.ts";
import { requireThat } from "../tensor/kernel.ts";
import type { Rng } from "../tensor/rng.ts";
import { type Tensor, tensor } from "../tensor/tensor.ts";

/** How strongly images are changed; 0 leaves out a change. */
export interface DiffAugmentOptions {
  /** Of brightness, saturation and contrast, which the paper has at 1 (default). */
  color?: number;
  /** Furthest shift, as a share of the side; defaults to 1/8. */
  translation?: number;
  /** Side of the square that is set to 0, as a share of that of the image; defaults to 1/2. */
  cutout?: number;
}

/** Moves away from `centre`, or towards it: `centre + factor · (x - centre)`. */
function stretched(x: Tensor, centre: Tensor, factor: Tensor): Tensor {
  return add(centre, mul(factor, sub(x, centre)));
}

function recoloured(x: Tensor, strength: number, rng: Rng): Tensor {
  const draw = (low: number, high: number) =>
    rng.uniform([x.shape[0]!, 1, 1, 1], low, high);
  const s = strength;
  const bright = add(x, draw(-0.5 * s, 0.5 * s));
  const grey = mean(bright, { axis: 1, keepDims: true });
  const saturated = stretched(bright, grey, draw(1 - s, 1 + s));
  const level = mean(saturated, { axis: [1, 2, 3], keepDims: true });
  return stretched(saturated, level, draw(1 - 0.5 * s, 1 + 0.5 * s));
}

const placesByLength = new Map<number, Tensor>();

/** `0 … length-1`, made once. */
function places(length: number): Tensor {
  let made = placesByLength.get(length);
  if (!made) {
    const values = Float32Array.from({ length }, (_, i) => i);
    made = outsideCapture(() => keep(tensor(values, [length])));
    placesByLength.set(length, made);
  }
  return made;
}

/** Whole numbers in `low … high - 1`, one per image, `[N, 1, 1, 1]`. */
function wholes(n: number, low: number, high: number, rng: Rng): Tensor {
  return cast(rng.integers([n, 1, 1, 1], low, high), "f32");
}

/** Shifts along both axes, zeros coming in: products with identity matrices that are shifted themselves. */
function translated(x: Tensor, share: number, rng: Rng): Tensor {
  const [n, , height, width] = x.shape as [number, number, number, number];
  /** 1 where the column is the row less the image's shift, `[N, 1, side, side]`. */
  const shift = (side: number) => {
    const most = Math.floor(side * share + 0.5);
    const row = reshape(places(side), [side, 1]);
    return equal(sub(row, wholes(n, -most, most + 1, rng)), places(side));
  };
  const down = matmul(shift(height), x);
  return matmul(down, shift(width), { transposeB: true });
}

function cut(x: Tensor, share: number, rng: Rng): Tensor {
  const [n, , height, width] = x.shape as [number, number, number, number];
  /** 1 for rows or columns within the square, `[N, 1, 1, side]`; its middle is anywhere. */
  const within = (side: number) => {
    const length = Math.floor(side * share + 0.5);
    const middle = wholes(n, 0, side + 1 - length % 2, rng);
    const first = scale(middle, 1, -Math.floor(length / 2));
    const at = places(side);
    return mul(greaterEqual(at, first), less(at, scale(first, 1, length)));
  };
  const rows = reshape(within(height), [n, 1, height, 1]);
  return mul(x, sub(1, mul(rows, within(width))));
}

/**
 * Changes every image by draws of its own: brightness, saturation and contrast, then a shift, then a hole.
 *
 * @param x Images in [-1, 1], `[N, C, H, W]`; what comes in or is cut out is 0.
 * @returns Like `x`.
 * @throws {TypeError} If `x` is not `[N, C, H, W]`.
 * @throws {RangeError} If a strength is negative, or that of `translation` or `cutout` exceeds 1.
 */
export function diffAugment(
  x: Tensor,
  rng: Rng,
  options: DiffAugmentOptions = {},
): Tensor {
  const { color = 1, translation = 1 / 8, cutout = 1 / 2 } = options;
  requireThat(x.rank === 4, "diffAugment", "x must be [N, C, H, W]", { x });
  for (
    const [name, value, most] of [
      ["color", color, Infinity],
      ["translation", translation, 1],
      ["cutout", cutout, 1],
    ] as const
  ) {
    if (value >= 0 && value <= most) continue;
    throw new RangeError(
      `Cannot apply diffAugment as ${name} must lie in 0 … ${most}: it is ${value}`,
    );
  }
  const colored = color > 0 ? recoloured(x, color, rng) : x;
  const moved = translation > 0
    ? translated(colored, translation, rng)
    : colored;
  return cutout > 0 ? cut(moved, cutout, rng) : moved;
}
