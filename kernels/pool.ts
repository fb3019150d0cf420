/**
 * Pooling of images `[N, C, H, W]`.
 *
 * @module
 */
import { apply, linearOp, type Op } from "../tensor/autograd.ts";
import { empties, Kernel, requireThat } from "../tensor/kernel.ts";
import type { Tensor } from "../tensor/tensor.ts";
import source from "./pool.wgsl" with { type: "text" };
import { type Pair, pairOf } from "./conv2d.ts";
import { gather } from "./index.ts";
import { mean } from "./reduce.ts";
import { flatten, reshape } from "./shape.ts";

const kernel = new Kernel("pool", source);

/** Where windows lie. */
export interface PoolOptions {
  /** Pixels between windows; defaults to the kernel size. */
  stride?: Pair;
  /** Pixels added on each side, at most half the kernel size; defaults to 0. */
  padding?: Pair;
}

interface Attrs {
  readonly window: readonly [number, number];
  readonly stride: readonly [number, number];
  readonly padding: readonly [number, number];
  /** Windows along each axis. */
  readonly count: readonly [number, number];
  readonly countPadding: boolean;
  readonly adaptive: boolean;
  /** Of x. */
  readonly shape: readonly number[];
}

function run(
  entry: string,
  { window, stride, padding, count, countPadding, adaptive, shape }: Attrs,
  tensors: Record<string, Tensor>,
): Tensor {
  const [n, c, h, w] = shape as [number, number, number, number];
  const { size } = tensors.out!;
  const xy = ([y, x]: readonly [number, number]) => [x, y];
  const params = {
    planes: n * c,
    count_padding: Number(countPadding),
    size: [w, h],
    count: xy(count),
    window: xy(window),
    stride: xy(stride),
    padding: xy(padding),
  };
  return kernel.run(entry, params, tensors, {
    constants: { ADAPTIVE: Number(adaptive) },
    workgroups: ({ planes }) => Math.ceil(size / (n * c) * Number(planes) / 64),
    splitBy: "planes",
    split: ["x", "dy", "index", "out", "index_out"],
  });
}

function output({ shape, count }: Attrs, dtype?: "i32"): Tensor {
  return empties([...shape.slice(0, 2), ...count], dtype);
}

const maxPoolOp: Op<[x: Tensor], Attrs> = {
  name: "maxPool2d",
  forward([x], attrs, context) {
    const out = output(attrs), index = output(attrs, "i32");
    context.save(index);
    return run("max_forward", attrs, { x, out, index_out: index });
  },
  backward: (dy, _, attrs, { saved: [index] }) => [
    apply(unpoolOp, [dy, index!], attrs),
  ],
};

/** Sends the largest pixels back to where they were found. */
const unpoolOp: Op<[dy: Tensor, index: Tensor], Attrs> = {
  name: "the gradient of maxPool2d",
  forward: ([dy, index], attrs) =>
    run("max_backward", attrs, { dy, index, out: empties(attrs.shape) }),
  backward: (dx, [dy, index]) => {
    const [found, pixels] = [index, dx].map((image) => flatten(image, 2));
    return [reshape(gather(pixels!, 2, found!), dy.shape), null];
  },
};

function averageOp(name: string): Op<[x: Tensor], Attrs> {
  return linearOp<Attrs>(
    name,
    (x, attrs) => run("avg_forward", attrs, { x, out: output(attrs) }),
    (dy, attrs) =>
      run("avg_backward", attrs, { dy, out: empties(attrs.shape) }),
  );
}
const avgPoolOp = averageOp("avgPool2d");
const adaptiveOp = averageOp("adaptiveAvgPool2d");

function requireImages(name: string, x: Tensor): void {
  requireThat(
    x.rank === 4 && x.dtype === "f32",
    name,
    "x must be f32[N, C, H, W]",
    { x: String(x) },
  );
}

function windows(
  name: string,
  x: Tensor,
  kernelSize: Pair,
  options: PoolOptions,
): Attrs {
  requireImages(name, x);
  const window = pairOf(name, "kernelSize", kernelSize, 1);
  const stride = pairOf(name, "stride", options.stride ?? window, 1);
  const padding = pairOf(name, "padding", options.padding ?? 0, 0);
  if (padding.some((pixels, axis) => pixels > window[axis]! / 2)) {
    throw new RangeError(
      `Cannot apply ${name} as padding must be at most half of kernelSize: padding is ` +
        `${padding}, kernelSize is ${window}`,
    );
  }
  const count = [0, 1].map((axis) =>
    Math.floor(
      (x.shape[2 + axis]! + 2 * padding[axis]! - window[axis]!) / stride[axis]!,
    ) + 1
  ) as [number, number];
  requireThat(
    count[0] > 0 && count[1] > 0,
    name,
    "a window must fit into the padded image",
    { x, kernelSize: [...window], padding: [...padding] },
  );
  return {
    window,
    stride,
    padding,
    count,
    countPadding: false,
    adaptive: false,
    shape: x.shape,
  };
}

/**
 * The largest pixel of each window; the first of equal ones (row by row) gets the gradient. Padding
 * never wins.
 *
 * @param x Shape `[N, C, H, W]`.
 * @returns Shape `[N, C, floor((H + 2 padding - kernelSize) / stride) + 1, …]`.
 * @throws {TypeError} If `x` is no image, or smaller than a window.
 * @throws {RangeError} If a number is not whole, too small, or the padding too large.
 */
export function maxPool2d(
  x: Tensor,
  kernelSize: Pair,
  options: PoolOptions = {},
): Tensor {
  return apply(maxPoolOp, [x], windows("maxPool2d", x, kernelSize, options));
}

/**
 * The mean of each window.
 *
 * @param x Shape `[N, C, H, W]`.
 * @param options `countIncludePad`: whether padding counts as zeros (default), or not at all.
 * @returns Shape `[N, C, floor((H + 2 padding - kernelSize) / stride) + 1, …]`.
 * @throws {TypeError} If `x` is no image, or smaller than a window.
 * @throws {RangeError} If a number is not whole, too small, or the padding too large.
 */
export function avgPool2d(
  x: Tensor,
  kernelSize: Pair,
  options: PoolOptions & { countIncludePad?: boolean } = {},
): Tensor {
  const attrs = windows("avgPool2d", x, kernelSize, options);
  const { countIncludePad: countPadding = true } = options;
  return apply(avgPoolOp, [x], { ...attrs, countPadding });
}

/**
 * Means of windows that cover the image in an output of any size: output `o` of `out` averages
 * pixels `floor(o · in / out)` to `ceil((o + 1) · in / out) - 1`.
 *
 * @param x Shape `[N, C, H, W]`.
 * @param outputSize Height and width of the result.
 * @returns Shape `[N, C, ...outputSize]`.
 * @throws {TypeError} If `x` is no image, or has no pixels.
 * @throws {RangeError} If a size is not whole or below 1.
 */
export function adaptiveAvgPool2d(x: Tensor, outputSize: Pair): Tensor {
  requireImages("adaptiveAvgPool2d", x);
  const count = pairOf("adaptiveAvgPool2d", "outputSize", outputSize, 1);
  requireThat(
    x.shape[2]! > 0 && x.shape[3]! > 0,
    "adaptiveAvgPool2d",
    "there must be a pixel",
    { x },
  );
  if (count[0] * count[1] === 1) {
    return mean(x, { axis: [2, 3], keepDims: true });
  }
  return apply(adaptiveOp, [x], {
    window: [0, 0],
    stride: [1, 1],
    padding: [0, 0],
    count,
    countPadding: false,
    adaptive: true,
    shape: x.shape,
  });
}
