/**
 * Layers of `SongUNet`: initialised as EDM's, and convolutions that halve or double an image.
 *
 * @module
 */
import { conv2d, type Epilogue } from "../kernels/conv2d.ts";
import { convTranspose2d } from "../kernels/conv_transpose2d.ts";
import { groupNormSilu } from "../kernels/group_norm.ts";
import { reshape } from "../kernels/shape.ts";
import { scale } from "../kernels/unary.ts";
import { Conv2d, type Conv2dLayerOptions } from "../nn/conv2d.ts";
import { GroupNorm } from "../nn/group_norm.ts";
import { xavierUniform, zeros } from "../nn/init.ts";
import { Linear } from "../nn/linear.ts";
import { buffer } from "../nn/module.ts";
import type { Rng } from "../tensor/rng.ts";
import { type Tensor, tensor } from "../tensor/tensor.ts";

const EPS = 1e-6;

/** What a convolution is made of, and the gain of its initial weights, 1 by default. */
export type ConvOptions = Conv2dLayerOptions & { gain?: number };

/** Glorot & Bengio's initialisation, no bias at first, and an image that keeps its size. */
function convOptions(
  kernelSize: number,
  { gain = 1, ...rest }: ConvOptions,
): Conv2dLayerOptions {
  return {
    padding: (kernelSize - 1) / 2,
    weightInit: xavierUniform(gain),
    biasInit: zeros,
    ...rest,
  };
}

/** A convolution with Glorot & Bengio's initial weights, times `gain`. */
export function conv(
  from: number,
  to: number,
  kernelSize: number,
  rng: Rng,
  options: ConvOptions = {},
): Conv2d {
  return new Conv2d(
    from,
    to,
    kernelSize,
    rng,
    convOptions(kernelSize, options),
  );
}

/** A linear layer with such weights and no bias at first. */
export function linear(
  from: number,
  to: number,
  rng: Rng,
  bias = true,
): Linear {
  const init = { weightInit: xavierUniform(), biasInit: zeros };
  return new Linear(from, to, rng, { bias, ...init });
}

/** Groups of at least 4 channels, 32 at most. */
function groupsOf(channels: number): number {
  return Math.min(32, Math.floor(channels / 4));
}

/** Group normalisation as EDM's networks have it. */
export function norm(channels: number): GroupNorm {
  return new GroupNorm(groupsOf(channels), channels, { eps: EPS });
}

/** `silu(norm(x))` in one kernel. */
export function normSilu(x: Tensor, { weight, bias }: GroupNorm): Tensor {
  return groupNormSilu(x, groupsOf(x.shape[1]!), weight!, bias!, EPS);
}

/** Every channel as an image of its own: a filter is the same for all. */
function eachPlane(x: Tensor, filter: (planes: Tensor) => Tensor): Tensor {
  const [n, c, ...size] = x.shape as [number, number, number, number];
  const planes = filter(reshape(x, [n * c, 1, ...size]));
  return reshape(planes, [n, c, ...planes.shape.slice(2)]);
}

/** Pixels around an image of which a filter of even length makes one of half the size. */
function paddingOf(filter: Tensor): number {
  return filter.shape[3]! / 2 - 1;
}

/** Filters an image and keeps every second pixel. */
export function halved(
  x: Tensor,
  filter: Tensor,
  padding: number = paddingOf(filter),
): Tensor {
  return eachPlane(
    x,
    (planes) => conv2d(planes, filter, undefined, { stride: 2, padding }),
  );
}

/** Puts zeros between the pixels of an image and filters it, four times as bright to make up for them. */
export function doubled(x: Tensor, filter: Tensor): Tensor {
  const padding = paddingOf(filter);
  return eachPlane(
    x,
    (planes) =>
      convTranspose2d(planes, scale(filter, 4), undefined, {
        stride: 2,
        padding,
      }),
  );
}

/** A convolution beside which an image is halved or doubled. */
abstract class ResamplingConv2d extends Conv2d {
  /** `f ⊗ f` of sum 1, `[1, 1, taps, taps]`. */
  readonly resample_filter: Tensor;

  constructor(
    from: number,
    to: number,
    kernelSize: number,
    filter: readonly number[],
    rng: Rng,
    options: ConvOptions = {},
  ) {
    super(from, to, kernelSize, rng, convOptions(kernelSize, options));
    const total = filter.reduce((sum, tap) => sum + tap, 0) ** 2;
    const outer = filter.flatMap((a) => filter.map((b) => a * b / total));
    const shape = [1, 1, filter.length, filter.length];
    this.resample_filter = buffer(tensor(Float32Array.from(outer), shape));
  }
}

/** Halves, then convolves. */
export class DownConv2d extends ResamplingConv2d {
  override forward(x: Tensor, ending: Epilogue = {}): Tensor {
    return super.forward(halved(x, this.resample_filter), ending);
  }
}

/** Doubles, then convolves. */
export class UpConv2d extends ResamplingConv2d {
  override forward(x: Tensor, ending: Epilogue = {}): Tensor {
    return super.forward(doubled(x, this.resample_filter), ending);
  }
}

/** Convolves, then halves: what the filter sees around the image is convolved, not zero. */
export class ConvDown2d extends ResamplingConv2d {
  constructor(from: number, to: number, filter: readonly number[], rng: Rng) {
    super(from, to, 3, filter, rng, { padding: filter.length / 2 });
  }

  override forward(x: Tensor): Tensor {
    return halved(super.forward(x), this.resample_filter, 0);
  }
}
