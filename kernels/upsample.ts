/**
 * Images `[N, C, H, W]` in another size, larger or smaller.
 *
 * @module
 */
import { apply, linearOp } from "../tensor/autograd.ts";
import { empties, Kernel, requireThat } from "../tensor/kernel.ts";
import { show, type Tensor } from "../tensor/tensor.ts";
import { lanesPerRow } from "./_lanes.ts";
import source from "./upsample.wgsl" with { type: "text" };
import type { Pair } from "./conv2d.ts";

const kernel = new Kernel("upsample", source);
/** Twice its square fits a 32-bit integer, in which positions are computed. */
const MAX_LENGTH = 16384;

type Sampling = "nearest" | "areas" | "corners";
interface Attrs {
  readonly size: readonly [number, number];
  readonly sampling: Sampling;
  /** Of x. */
  readonly shape: readonly number[];
}

/** Position of output `i`: `max(0, i · step + base) / den`. */
function positions(sampling: Sampling, from: number, to: number) {
  switch (sampling) {
    case "nearest":
      return { step: from, base: 0, den: to };
    case "areas":
      return { step: 2 * from, base: from - to, den: 2 * to };
    case "corners":
      return { step: to > 1 ? from - 1 : 0, base: 0, den: Math.max(1, to - 1) };
  }
}

function run(
  direction: "forward" | "backward",
  { size, sampling, shape }: Attrs,
  tensors: Record<string, Tensor>,
): Tensor {
  const [n, c, h, w] = shape as [number, number, number, number];
  const axes = [
    positions(sampling, w, size[1]),
    positions(sampling, h, size[0]),
  ];
  const whole = sampling === "nearest" && size[0] % h === 0 &&
    size[1] % w === 0;
  const [height, width] = whole
    ? [h, w]
    : tensors.out!.shape.slice(2) as [number, number];
  const lanes = lanesPerRow(width);
  const params = {
    planes: n * c,
    lanes,
    size: [w, h],
    count: [size[1], size[0]],
    step: axes.map(({ step }) => step),
    base: axes.map(({ base }) => base),
    den: axes.map(({ den }) => den),
  };
  const entry = !whole
    ? direction
    : direction === "forward"
    ? "repeat"
    : "sum_repeats";
  return kernel.run(entry, params, tensors, {
    constants: { NEAREST: Number(sampling === "nearest") },
    workgroups: ({ planes }) => Math.ceil(Number(planes) * height * lanes / 64),
    splitBy: "planes",
    split: ["x", "dy", "out"],
  });
}

function upsampleOp(name: string) {
  return linearOp<Attrs>(
    name,
    (x, attrs) => {
      const out = empties([...attrs.shape.slice(0, 2), ...attrs.size]);
      return run("forward", attrs, { x, out });
    },
    (dy, attrs) => run("backward", attrs, { dy, out: empties(attrs.shape) }),
  );
}
const nearestOp = upsampleOp("upsampleNearest");
const bilinearOp = upsampleOp("upsampleBilinear");

function both(value: Pair): readonly [number, number] {
  return typeof value === "number" ? [value, value] : value;
}

function requireSizes(
  name: string,
  x: Tensor,
  size: readonly [number, number],
): void {
  requireThat(
    x.rank === 4 && x.dtype === "f32" && x.shape[2]! > 0 && x.shape[3]! > 0,
    name,
    "x must be f32[N, C, H, W] with a pixel",
    { x: String(x) },
  );
  if (
    !size.every((length) => Number.isInteger(length) && length > 0) ||
    Math.max(...size, x.shape[2]!, x.shape[3]!) > MAX_LENGTH
  ) {
    throw new RangeError(
      `Cannot apply ${name} as sizes must be whole numbers from 1 to ${MAX_LENGTH}: size is ` +
        `${size.join(", ")}, x is ${show(x)}`,
    );
  }
}

/**
 * Each output pixel is the input pixel `floor(i · in / out)` along each axis.
 *
 * @param x Shape `[N, C, H, W]`.
 * @param size Height and width of the result, or `{ scale }` for `floor(H · scale), floor(W · scale)`.
 * @returns Shape `[N, C, ...size]`.
 * @throws {TypeError} If `x` is no image.
 * @throws {RangeError} If a size is not whole or below 1.
 */
export function upsampleNearest(
  x: Tensor,
  size: Pair | { readonly scale: Pair },
): Tensor {
  const wanted = typeof size === "object" && "scale" in size
    ? both(size.scale).map((factor, axis) =>
      Math.floor((x.shape[2 + axis] ?? 0) * factor)
    ) as [number, number]
    : both(size);
  requireSizes("upsampleNearest", x, wanted);
  const attrs = { size: wanted, sampling: "nearest", shape: x.shape } as const;
  return apply(nearestOp, [x], attrs);
}

/**
 * Each output pixel mixes the four input pixels around it, by distance.
 *
 * @param x Shape `[N, C, H, W]`.
 * @param size Height and width of the result.
 * @param options `alignCorners`: false (default) takes pixels as areas, so that output `i` lies at
 *   `max(0, (i + ½) in / out - ½)`; true lets the centres of the corner pixels coincide, `i (in - 1) / (out - 1)`.
 * @returns Shape `[N, C, ...size]`.
 * @throws {TypeError} If `x` is no image.
 * @throws {RangeError} If a size is not whole or below 1.
 */
export function upsampleBilinear(
  x: Tensor,
  size: Pair,
  options: { alignCorners?: boolean } = {},
): Tensor {
  const wanted = both(size);
  requireSizes("upsampleBilinear", x, wanted);
  const sampling = options.alignCorners ? "corners" : "areas";
  return apply(bilinearOp, [x], { size: wanted, sampling, shape: x.shape });
}
