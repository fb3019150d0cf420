/**
 * Constant tensors, and what changes tensors in place: the sum that autograd needs, and copies.
 *
 * @module
 */
import { bitsOf, Kernel, type Params } from "./kernel.ts";
import { type DType, Tensor } from "./tensor.ts";
import { Live } from "./trace.ts";
import source from "./fill.wgsl" with { type: "text" };

const kernel = new Kernel("fill", source);
const workgroups = ({ n }: Params) => Math.ceil(Number(n) / 256);

/**
 * A tensor with every element equal to `value`, which may be one that changes from step to step.
 *
 * @param dtype Defaults to `f32`.
 */
export function full(
  shape: readonly number[],
  value: number | Live,
  dtype: DType = "f32",
): Tensor {
  const out = new Tensor([...shape], dtype);
  const bits = value instanceof Live
    ? new Live(() => bitsOf(value.value(), dtype))
    : bitsOf(value, dtype);
  return kernel.run("fill", { n: out.size, bits }, { out }, {
    workgroups,
    splitBy: "n",
    split: ["out"],
  });
}

/** A tensor of zeros. */
export function zeros(shape: readonly number[], dtype: DType = "f32"): Tensor {
  return full(shape, 0, dtype);
}

/** A tensor of ones. */
export function ones(shape: readonly number[], dtype: DType = "f32"): Tensor {
  return full(shape, 1, dtype);
}

/** `sum += x`, in place, for tensors the engine owns. @internal */
export function addInPlace(sum: Tensor, x: Tensor): void {
  kernel.run("add", { n: sum.size, bits: 0 }, { x, sum }, {
    workgroups,
    splitBy: "n",
    split: ["x", "sum"],
  });
}

/** `out = x`, in place, of any element type: for parameters and their state only. @internal */
export function copyInPlace(out: Tensor, x: Tensor): void {
  if (x.storage.buffer === out.storage.buffer) {
    // A kernel cannot read and write one buffer: by way of another.
    const between = new Tensor(x.shape, x.dtype);
    copyInPlace(between, x);
    copyInPlace(out, between);
    between.dispose();
    return;
  }
  kernel.run("copy", { n: out.size, bits: 0 }, { bits_in: x, out }, {
    workgroups,
    splitBy: "n",
    split: ["bits_in", "out"],
  });
}
