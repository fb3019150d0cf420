/**
 * The decoder of models whose likelihood is in bits: a Gaussian on 256 values.
 *
 * @module
 */
import { apply, type Op } from "../tensor/autograd.ts";
import { Kernel, like, requireThat } from "../tensor/kernel.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { expand } from "./shape.ts";
import source from "./discretized_gaussian.wgsl" with { type: "text" };

const kernel = new Kernel("discretized_gaussian", source);

type Inputs = readonly [x: Tensor, mean: Tensor, logScale: Tensor];
type Cdf = { cdf: "TANH" | "ERF" };

function run(entry: string, { cdf }: Cdf, tensors: Record<string, Tensor>) {
  kernel.run(entry, { n: tensors.x!.size }, tensors, {
    constants: { CDF: kernel.code(cdf) },
    workgroups: ({ n }) => Math.ceil(Number(n) / 64),
    splitBy: "n",
    split: Object.keys(tensors),
  });
}

const logProbOp: Op<Inputs, Cdf> = {
  name: "discretizedGaussianLogProb",
  forward: ([x, mean, logScale], attrs) => {
    const out = like(x);
    run("forward", attrs, { x, mean, log_scale: logScale, out });
    return out;
  },
  backward: (dy, [x, mean, logScale], attrs) => {
    const dMean = like(x), dLogScale = like(x);
    const ends = { d_mean: dMean, d_log_scale: dLogScale };
    run("backward", attrs, { x, mean, log_scale: logScale, dy, ...ends });
    return [null, dMean, dLogScale];
  },
};

/**
 * `log p(x)` in nats of values `-1 + 2k/255`, k = 0 … 255, under `N(mean, e^(2 logScale))` whose mass
 * goes to the nearest of them, the tails to -1 and 1 (Ho et al. 2020, arXiv:2006.11239, eq. 13): the
 * probabilities of all 256 sum to 1. None is below 1e-12, and there the gradients are 0. Precise for a
 * bin far from the mean, and for one much narrower than the Gaussian.
 *
 * @param x f32, in [-1, 1]; no gradient.
 * @param mean The shape of `x`, or broadcast to it, as is `logScale`.
 * @param options `cdf`: `tanh` (default) is `½ (1 + tanh(√(2/π) (z + 0.044715 z³)))`, with which the
 *   figures of Ho et al. and its successors were made; `erf` is the normal distribution function.
 * @returns Like `x`.
 * @throws {TypeError} If shapes or element types do not fit.
 */
export function discretizedGaussianLogProb(
  x: Tensor,
  mean: Tensor,
  logScale: Tensor,
  options: { cdf?: "tanh" | "erf" } = {},
): Tensor {
  const all = { x, mean, logScale };
  requireThat(
    Object.values(all).every(({ dtype }) => dtype === "f32"),
    "discretizedGaussianLogProb",
    "elements must be f32",
    { x: String(x), mean: String(mean), logScale: String(logScale) },
  );
  const like = (other: Tensor) =>
    other.shape.join() === x.shape.join() ? other : expand(other, x.shape);
  const cdf = options.cdf === "erf" ? "ERF" : "TANH";
  return apply(logProbOp, [x, like(mean), like(logScale)], { cdf });
}
