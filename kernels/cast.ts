/**
 * Conversion of element types.
 *
 * @module
 */
import { ceilDiv, empties, Kernel } from "../tensor/kernel.ts";
import type { StoredType, Tensor } from "../tensor/tensor.ts";
import fours from "./_fours.wgsl" with { type: "text" };
import source from "./cast.wgsl" with { type: "text" };

const kernel = new Kernel("cast", fours, source);

function toHalves(x: Tensor): Tensor {
  const tensors = { floats: x, out_halves: empties(x.shape, "f16") };
  return kernel.run("to_halves", { n: x.size }, tensors, {
    workgroups: ({ n }) => ceilDiv(Number(n), 1024),
    splitBy: "n",
    split: ["floats", "out_halves"],
  });
}

function fromHalves(x: Tensor): Tensor {
  const tensors = { halves: x, out_floats: empties(x.shape) };
  return kernel.run("from_halves", { n: x.size }, tensors, {
    workgroups: ({ n }) => ceilDiv(Number(n), 1024),
    splitBy: "n",
    split: ["halves", "out_floats"],
  });
}

/**
 * The same numbers as another element type. From f32 to whole numbers towards zero, limited to the
 * range of the type; between i32 and u32 the bits are kept. To f16, which halves the memory, rounded
 * to 11 significant bits; what exceeds 65504 becomes infinite. No gradient, unless the type is the
 * same and `x` itself is returned.
 */
export function cast(x: Tensor, dtype: StoredType): Tensor {
  if (x.dtype === dtype) return x;
  if (x.dtype === "f16") return cast(fromHalves(x), dtype);
  if (dtype === "f16") return toHalves(cast(x, "f32"));
  if (x.dtype !== "f32" && dtype !== "f32") return x.view(x.shape, dtype);
  const kind = `${x.dtype}_to_${dtype}`.toUpperCase();
  const tensors = { x, out: empties(x.shape, dtype) };
  return kernel.run("convert", { n: x.size }, tensors, {
    constants: { KIND: kernel.code(kind) },
    workgroups: ({ n }) => ceilDiv(Number(n), 64),
    splitBy: "n",
    split: ["x", "out"],
  });
}
