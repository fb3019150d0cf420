/**
 * Transposed convolution: the gradient of a convolution as an operation of its own.
 *
 * @module
 */
import { apply } from "../tensor/autograd.ts";
import { requireThat } from "../tensor/kernel.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { endingOf, type Epilogue } from "./_epilogue.ts";
import {
  convTranspose2dOp,
  type Pair,
  pairOf,
  requireImages,
  sizeOfImage,
} from "./conv2d.ts";

/** How the window of `convTranspose2d` moves. */
export interface ConvTranspose2dOptions {
  /** Pixels of the result from one window to the next; defaults to 1. */
  stride?: Pair;
  /** Pixels cut off the result on each side; defaults to 0. */
  padding?: Pair;
  /** Pixels added below and on the right, less than stride or dilation; defaults to 0. */
  outputPadding?: Pair;
  /** Pixels from one element of the window to the next; defaults to 1. */
  dilation?: Pair;
  /** Independent groups of channels; defaults to 1. */
  groups?: number;
}

/**
 * The transpose of `conv2d` as a linear map, PyTorch's `conv_transpose2d`: each pixel of x adds the
 * window, times its value, to the result at `stride · p - padding + dilation · k`
 * (Dumoulin & Visin 2016, arXiv:1603.07285, chapter 4). `add` and `activation` are those of `conv2d`.
 *
 * @param x Shape `[N, inChannels, H, W]`.
 * @param weight Shape `[inChannels, outChannels / groups, kh, kw]`.
 * @param bias Shape `[outChannels]`; may be left out.
 * @returns Shape `[N, outChannels, H', W']`, where
 *   `H' = (H - 1) · stride - 2 · padding + dilation · (kh - 1) + outputPadding + 1`.
 * @throws {TypeError} If the shapes do not fit, or nothing is left of the result.
 * @throws {RangeError} If an option is not whole, too small or unknown, or the output padding too large.
 */
export function convTranspose2d(
  x: Tensor,
  weight: Tensor,
  bias?: Tensor,
  options: ConvTranspose2dOptions & Epilogue = {},
): Tensor {
  const name = "convTranspose2d";
  const { groups = 1 } = options;
  requireImages(name, x, weight, bias, groups);
  const stride = pairOf(name, "stride", options.stride ?? 1, 1);
  const padding = pairOf(name, "padding", options.padding ?? 0, 0);
  const extra = pairOf(name, "outputPadding", options.outputPadding ?? 0, 0);
  const dilation = pairOf(name, "dilation", options.dilation ?? 1, 1);
  if (extra.some((n, axis) => n >= Math.max(stride[axis]!, dilation[axis]!))) {
    throw new RangeError(
      `Cannot apply ${name} as outputPadding must be less than stride or dilation: it is ` +
        `${extra.join(", ")}, stride is ${stride.join(", ")}`,
    );
  }
  const [inChannels, rows, kh, kw] = weight.shape as [
    number,
    number,
    number,
    number,
  ];
  const found = { x, weight, ...(groups > 1 ? { groups } : {}) };
  requireThat(
    x.shape[1] === inChannels,
    name,
    `x must have ${inChannels} channels`,
    found,
  );
  requireThat(
    inChannels % groups === 0,
    name,
    "the groups must divide the input channels",
    found,
  );
  requireThat(
    !bias || bias.size === rows * groups,
    name,
    `the bias must be [${rows * groups}]`,
    { ...found, ...(bias ? { bias } : {}) },
  );
  const length = (pixels: number, taps: number, axis: 0 | 1) =>
    (pixels - 1) * stride[axis] - 2 * padding[axis] +
    dilation[axis] * (taps - 1) + extra[axis] + 1;
  const [height, width] = sizeOfImage(x);
  const size = [length(height, kh, 0), length(width, kw, 1)] as const;
  requireThat(
    size[0] > 0 && size[1] > 0,
    name,
    "the padding must leave something of the result",
    { ...found, padding: `${padding}` },
  );
  const shape = [x.shape[0]!, rows * groups, ...size];
  const { inputs, ending } = endingOf(name, bias, options, shape);
  return apply(convTranspose2dOp, [x, weight, ...inputs], {
    geometry: { stride, padding, dilation, groups },
    size,
    ending,
  });
}
