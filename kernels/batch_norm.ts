/**
 * Batch normalisation.
 *
 * @module
 */
import { noGrad } from "../tensor/context.ts";
import { Kernel, requireThat } from "../tensor/kernel.ts";
import { span } from "../tensor/shape.ts";
import { show, type Tensor } from "../tensor/tensor.ts";
import source from "./batch_norm.wgsl" with { type: "text" };
import {
  type Layout,
  normalization,
  requireAffine,
  setSize,
  statisticsOf,
} from "./_normalize.ts";
import { stack } from "./shape.ts";

const kernel = new Kernel("batch_norm", source);
const normalize = normalization("batchNorm");

/** What `batchNorm` takes besides `x`; tensors are `[C]`. */
export interface BatchNormOptions {
  /** Defaults to ones. */
  weight?: Tensor;
  /** Defaults to zeros. */
  bias?: Tensor;
  /** Mean of the batches so far; overwritten in training. Needed in evaluation. */
  runningMean?: Tensor;
  /** Unbiased variance of the batches so far; overwritten in training. Needed in evaluation. */
  runningVar?: Tensor;
  /** Whether to use the batch's own statistics, and update the running ones. */
  training: boolean;
  /** Share of the new batch in the running statistics; defaults to 0.1. */
  momentum?: number;
  /** In units of x²; defaults to 1e-5. */
  eps?: number;
}

/** `running += momentum · (factor · batch - running)`, where `batch` is one of `[C, 2]` statistics. */
function follow(
  running: Tensor | undefined,
  stats: Tensor,
  which: "MEAN" | "VARIANCE",
  momentum: number,
  factor: number,
): void {
  if (!running) return;
  kernel.run("follow", { n: running.size, momentum, factor }, {
    stats,
    running,
  }, {
    constants: { WHICH: kernel.code(which) },
    workgroups: ({ n }) => Math.ceil(Number(n) / 64),
  });
}

/**
 * `(x - mean) / √(var + eps) · weight + bias` per channel. Ioffe & Szegedy 2015 (arXiv:1502.03167),
 * algorithm 1. In training mean and variance (of n) are those of the batch, gradients flow through
 * them, and the running ones move by `running += momentum · (batch - running)`, with the variance of
 * n - 1, in place; in evaluation the running ones are constants.
 *
 * @param x Shape `[N, C, ...]`, such as `[N, C]` or `[N, C, H, W]`.
 * @returns Same shape as `x`.
 * @throws {TypeError} If a shape does not fit, or evaluation lacks the running statistics.
 * @throws {RangeError} If a training batch has only one value per channel.
 */
export function batchNorm(x: Tensor, options: BatchNormOptions): Tensor {
  const { weight, bias, runningMean, runningVar, training } = options;
  const { momentum = 0.1, eps = 1e-5 } = options;
  requireThat(x.rank >= 2, "batchNorm", "x must be [N, C, ...]", { x });
  const [n, c] = x.shape as [number, number];
  requireAffine("batchNorm", x, [c], { weight, bias, runningMean, runningVar });
  const layout: Layout = {
    rows: n * c,
    cols: span(x.shape, 2),
    sets: c,
    setRows: 1,
    channels: c,
    byColumn: false,
  };
  if (!training) {
    requireThat(
      runningMean !== undefined && runningVar !== undefined,
      "batchNorm",
      "evaluation needs runningMean and runningVar",
      { x },
    );
    return normalize(x, weight, bias, {
      layout,
      eps,
      // A copy, as training may overwrite them before the gradient.
      statistics: noGrad(() => stack([runningMean, runningVar], 1)),
    });
  }
  const count = setSize(layout);
  if (count < 2) {
    throw new RangeError(
      `Cannot apply batchNorm as training needs more than one value per channel: x is ${
        show(x)
      }`,
    );
  }
  return normalize(x, weight, bias, {
    layout,
    eps,
    statistics: (x) => {
      const stats = statisticsOf(x, layout);
      follow(runningMean, stats, "MEAN", momentum, 1);
      follow(runningVar, stats, "VARIANCE", momentum, count / (count - 1));
      return stats;
    },
  });
}
