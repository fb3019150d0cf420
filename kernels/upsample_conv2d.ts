/**
 * Convolution of an enlarged image, without the enlarged image.
 *
 * @module
 */
import { apply, linearOp, type Op } from "../tensor/autograd.ts";
import { ceilDiv, empties, Kernel, requireThat } from "../tensor/kernel.ts";
import { sizeOf, type Tensor } from "../tensor/tensor.ts";
import { type Pair, pairOf, requireImages, type Size } from "./conv2d.ts";
import { convTranspose2d } from "./conv_transpose2d.ts";
import source from "./upsample_conv2d.wgsl" with { type: "text" };

const kernel = new Kernel("upsample_conv2d", source);

/** How far `upsampleConv2d` enlarges, and how its window moves. */
export interface UpsampleConv2dOptions {
  /** Times that each pixel is repeated along both axes; defaults to 2. */
  scale?: number;
  /** Zeros around the enlarged image, less than the window; defaults to 0. */
  padding?: Pair;
}

/** `[rows, columns, …window]` to `[columns, rows, …taps]`. */
function fold(window: Tensor, taps: Size, last: Size, scale: number): Tensor {
  const [rows, columns, ...size] = window.shape as [number, number, ...Size];
  return kernel.run(
    "fold",
    { rows, columns, scale, taps: size, folded_taps: taps, last },
    { window, folded: empties([columns, rows, ...taps]) },
    { workgroups: () => ceilDiv(rows * columns, 64) },
  );
}

interface Attrs {
  readonly window: Size;
  readonly scale: number;
  /** Operations that folding saves later: they count as those of the larger window. */
  readonly saved: number;
}

const folding = linearOp<Attrs>(
  "upsampleConv2d",
  (weight, { window: [kh, kw], scale }) =>
    fold(weight, [kh + scale - 1, kw + scale - 1], [kh - 1, kw - 1], scale),
  (dy, { window: [kh, kw], scale }) =>
    fold(dy, [kh, kw], [kh - 1, kw - 1], scale),
);
const foldOp: Op<[weight: Tensor], Attrs> = {
  ...folding,
  flops: (_, { saved }) => saved,
};

/**
 * `conv2d(upsampleNearest(x, { scale }), weight, bias, { padding })`. An output pixel sees each pixel
 * of x through several elements of the window: their sums, `kh + scale - 1` of them along an axis, are
 * the window of a `convTranspose2d` with the scale as stride. For a scale of 2 and a window of 3 × 3
 * that is 4 products per pixel and channel instead of 9, and nothing is enlarged in memory.
 *
 * @param x Shape `[N, inChannels, H, W]`.
 * @param weight Shape `[outChannels, inChannels, kh, kw]`.
 * @param bias Shape `[outChannels]`; may be left out.
 * @returns Shape `[N, outChannels, H', W']`, where `H' = H · scale + 2 · padding - kh + 1`.
 * @throws {TypeError} If the shapes do not fit, or the window is larger than the padded image.
 * @throws {RangeError} If an option is not whole or out of range.
 */
export function upsampleConv2d(
  x: Tensor,
  weight: Tensor,
  bias?: Tensor,
  options: UpsampleConv2dOptions = {},
): Tensor {
  const name = "upsampleConv2d";
  requireImages(name, x, weight, bias, 1);
  const { scale = 2 } = options;
  pairOf(name, "scale", scale, 1);
  const padding = pairOf(name, "padding", options.padding ?? 0, 0);
  const [outChannels, inChannels, ...window] = weight.shape as [
    number,
    number,
    ...Size,
  ];
  const found = { x, weight, ...(bias ? { bias } : {}) };
  requireThat(
    x.shape[1] === inChannels && (!bias || bias.size === outChannels),
    name,
    `x must have ${inChannels} channels and a bias ${outChannels} elements`,
    found,
  );
  if (padding.some((pixels, axis) => pixels >= window[axis]!)) {
    throw new RangeError(
      `Cannot apply ${name} as padding must be less than the window: it is ${
        padding.join(", ")
      }, the window is ${window.join(" x ")}`,
    );
  }
  requireThat(
    window.every((length, axis) =>
      length <= x.shape[2 + axis]! * scale + 2 * padding[axis]!
    ),
    name,
    "the window must fit the enlarged image",
    { ...found, scale, padding },
  );
  const small = x.shape.slice(2);
  const large = small.map((pixels, axis) =>
    pixels * scale + 2 * padding[axis]! - window[axis]! + 1
  );
  const taps = window.map((length) => length + scale - 1);
  const saved = 2 * x.shape[0]! * inChannels * outChannels *
    (sizeOf([...large, ...window]) - sizeOf([...small, ...taps]));
  const folded = apply(foldOp, [weight], { window, scale, saved });
  return convTranspose2d(x, folded, bias, {
    stride: scale,
    padding: [window[0] - 1 - padding[0], window[1] - 1 - padding[1]],
  });
}
