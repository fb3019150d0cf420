/**
 * Conversion of element types.
 *
 * @module
 */
import { empties, Kernel } from "../tensor/kernel.ts";
import type { DType, Tensor } from "../tensor/tensor.ts";
import source from "./cast.wgsl" with { type: "text" };

const kernel = new Kernel("cast", source);

/**
 * The same numbers as another element type. From f32 to whole numbers towards zero, limited to the
 * range of the type; between i32 and u32 the bits are kept. No gradient, unless the type is the same
 * and `x` itself is returned.
 */
export function cast(x: Tensor, dtype: DType): Tensor {
  if (x.dtype === dtype) return x;
  if (x.dtype !== "f32" && dtype !== "f32") return x.view(x.shape, dtype);
  const kind = `${x.dtype}_to_${dtype}`.toUpperCase();
  const tensors = { x, out: empties(x.shape, dtype) };
  return kernel.run("convert", { n: x.size }, tensors, {
    constants: { KIND: kernel.code(kind) },
    workgroups: ({ n }) => Math.ceil(Number(n) / 64),
    splitBy: "n",
    split: ["x", "out"],
  });
}
