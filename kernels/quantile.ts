/**
 * Quantiles.
 *
 * @module
 */
import { empties, Kernel, requireThat } from "../tensor/kernel.ts";
import { show, type Tensor } from "../tensor/tensor.ts";
import source from "./quantile.wgsl" with { type: "text" };

const kernel = new Kernel("quantile", source);

/**
 * The `q`-th quantile of every example, over all axes but the first: between the two elements beside
 * rank `q (n - 1)`, linearly, as `torch.quantile`. Exact; not a number where an element is none. No
 * gradient.
 *
 * @param x f32 `[N, ...]`.
 * @param q From 0 (least) to 1 (largest).
 * @returns `[N]`.
 * @throws {TypeError} If `x` has fewer than two axes, or is not f32.
 * @throws {RangeError} If `q` lies outside [0, 1], or an example has no elements.
 */
export function quantile(x: Tensor, q: number): Tensor {
  requireThat(
    x.dtype === "f32" && x.rank >= 2,
    "quantile",
    "x must be f32, examples along the first of two axes or more",
    { x: String(x) },
  );
  const rows = x.shape[0]!, cols = rows && x.size / rows;
  if (!(q >= 0 && q <= 1) || (rows > 0 && cols === 0)) {
    throw new RangeError(
      "Cannot apply quantile as q must lie in [0, 1] and examples must have elements: q is " +
        `${q}, x is ${show(x)}`,
    );
  }
  const place = q * (cols - 1), rank = Math.floor(place);
  const params = { rows, cols, rank, weight: place - rank };
  return kernel.run("of_rows", params, { x, out: empties([rows]) }, {
    workgroups: ({ rows }) => Number(rows),
    splitBy: "rows",
    split: ["x", "out"],
  });
}
