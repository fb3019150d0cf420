/**
 * Guidance: what pulls samples towards a class, and what keeps them in range meanwhile.
 *
 * @module
 */
import { div } from "../kernels/binary.ts";
import { linearCombination } from "../kernels/linear_combination.ts";
import { quantile } from "../kernels/quantile.ts";
import { reshape } from "../kernels/shape.ts";
import { abs, clamp } from "../kernels/unary.ts";
import { type Tensor, tensor } from "../tensor/tensor.ts";
import type { Denoiser, DenoiserNetwork } from "./denoiser.ts";
import { onePerExample } from "./q_sample.ts";

/**
 * `unconditional + scale (conditional - unconditional)`, of noise, images or v alike (Ho & Salimans 2022,
 * arXiv:2207.12598, eq. 6, whose w is `scale - 1`): 1 is the conditional alone, more exaggerates what the
 * condition changes.
 */
export function classifierFree(
  conditional: Tensor,
  unconditional: Tensor,
  scale: number,
): Tensor {
  return linearCombination([[scale, conditional], [1 - scale, unconditional]]);
}

/** A conditional network as estimators take it. */
export interface ConditionalDenoisers {
  /** Of images of the classes. */
  denoise: Denoiser;
  /** Of twice as many: images of the classes, then as many of no class. */
  both: Denoiser;
}

/**
 * A network with the classes of a batch filled in: `denoise` for an estimator, and `both` for its
 * `guidance`.
 *
 * @param y A class id per image.
 * @param nullClass The id that stood for no class in training.
 */
export function withClasses(
  network: Pick<DenoiserNetwork, "forward">,
  y: Int32Array<ArrayBuffer>,
  nullClass: number,
): ConditionalDenoisers {
  const twice = new Int32Array(2 * y.length).fill(nullClass);
  twice.set(y);
  const [one, two] = [tensor(y), tensor(twice)];
  return {
    denoise: (x, t) => network.forward(x, t, { y: one }),
    both: (x, t) => network.forward(x, t, { y: two }),
  };
}

/**
 * Limits every image to its own range and scales that to [-1, 1]: `clamp(x, -s, s) / s` with s the
 * `q`-th quantile of |x|, or 1 if that is more (dynamic thresholding, Saharia et al. 2022,
 * arXiv:2205.11487, §2.3).
 *
 * @param x0 `[N, ...]`.
 * @param q Defaults to 0.995.
 */
export function dynamicThreshold(x0: Tensor, q = 0.995): Tensor {
  const s = clamp(quantile(abs(x0), q), { min: 1 });
  const scaled = div(x0, reshape(s, onePerExample(x0)));
  return clamp(scaled, { min: -1, max: 1 });
}
