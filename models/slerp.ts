/**
 * Interpolation of noise.
 *
 * @module
 */
import { add, mul } from "../kernels/binary.ts";
import { sum } from "../kernels/reduce.ts";
import { scope } from "../tensor/context.ts";
import { requireThat } from "../tensor/kernel.ts";
import { type Tensor, tensor } from "../tensor/tensor.ts";
import { onePerExample } from "./q_sample.ts";

/** Below this sine of the angle, two directions are one. */
const PARALLEL = 1e-6;

/**
 * Spherical interpolation, `sin((1 - w) θ) / sin(θ) a + sin(w θ) / sin(θ) b` with θ the angle between a and
 * b: unlike a weighted mean, what lies between two standard normal batches is as long as they are, so that
 * a sampler takes it for noise (Song et al. 2021, arXiv:2010.02502, eq. 67). Each example has its own θ;
 * parallel ones are interpolated linearly.
 *
 * @param a `[N, ...]`.
 * @param b Like `a`.
 * @param weight w: 0 gives `a`, 1 gives `b`.
 * @throws {TypeError} If shapes differ, or there is no axis besides that of examples.
 */
export async function slerp(
  a: Tensor,
  b: Tensor,
  weight: number,
): Promise<Tensor> {
  requireThat(
    a.rank >= 2 && a.shape.join() === b.shape.join(),
    "slerp",
    "both must have one shape, examples along the first of two axes or more",
    { a, b },
  );
  return await scope(async () => {
    const axis = a.shape.map((_, i) => i).slice(1);
    const [aa, bb, ab] = await Promise.all(
      [mul(a, a), mul(b, b), mul(a, b)].map((x) => sum(x, { axis }).data()),
    );
    const factors = Array.from(ab!, (dot, i) => {
      const cosine = dot / Math.sqrt(aa![i]! * bb![i]!);
      const angle = Math.acos(Math.max(-1, Math.min(1, cosine)));
      const sine = Math.sin(angle);
      if (!(sine > PARALLEL)) return [1 - weight, weight];
      return [
        Math.sin((1 - weight) * angle) / sine,
        Math.sin(weight * angle) / sine,
      ];
    });
    const [ofA, ofB] = [0, 1].map((which) =>
      tensor(
        Float32Array.from(factors, (pair) => pair[which]!),
        onePerExample(a),
      )
    );
    return add(mul(ofA!, a), mul(ofB!, b));
  });
}
