/**
 * Losses. Lower is better; each is an expression of ops, so that gradients follow by themselves.
 *
 * @module
 */
import { add, mul, sub } from "../kernels/binary.ts";
import { gather } from "../kernels/index.ts";
import { mean, sum } from "../kernels/reduce.ts";
import { squeeze, unsqueeze } from "../kernels/shape.ts";
import { logSoftmax } from "../kernels/softmax.ts";
import {
  abs,
  clamp,
  exp,
  neg,
  scale,
  softplus,
  square,
} from "../kernels/unary.ts";
import { requireThat } from "../tensor/kernel.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** What becomes of the losses of single elements: their mean, their sum, or they are returned. */
export type Reduction = "mean" | "sum" | "none";

function reduce(losses: Tensor, reduction: Reduction): Tensor {
  if (reduction === "none") return losses;
  return reduction === "sum" ? sum(losses) : mean(losses);
}

function requireSameShape(name: string, found: Record<string, Tensor>): void {
  const shapes = Object.values(found).map(({ shape }) => shape.join());
  const names = Object.keys(found).join(" and ");
  requireThat(
    shapes.every((shape) => shape === shapes[0]),
    name,
    `${names} must have one shape`,
    found,
  );
}

/**
 * `(x - target)²`.
 *
 * @param target The shape of `x`; has a gradient, too.
 * @param options `reduction` over all elements defaults to the mean.
 * @throws {TypeError} If the shapes differ.
 */
export function mseLoss(
  x: Tensor,
  target: Tensor,
  options: { reduction?: Reduction } = {},
): Tensor {
  requireSameShape("mseLoss", { x, target });
  return reduce(square(sub(x, target)), options.reduction ?? "mean");
}

/**
 * `|x - target|`.
 *
 * @param target The shape of `x`; has a gradient, too.
 * @param options `reduction` over all elements defaults to the mean.
 * @throws {TypeError} If the shapes differ.
 */
export function l1Loss(
  x: Tensor,
  target: Tensor,
  options: { reduction?: Reduction } = {},
): Tensor {
  requireSameShape("l1Loss", { x, target });
  return reduce(abs(sub(x, target)), options.reduction ?? "mean");
}

/**
 * `½ d²` where `|d| ≤ δ`, else `δ (|d| - ½ δ)`, for `d = x - target` (Huber 1964).
 *
 * @param target The shape of `x`; has a gradient, too.
 * @param options `delta` defaults to 1; `reduction` over all elements defaults to the mean.
 * @throws {TypeError} If the shapes differ.
 * @throws {RangeError} If `delta` is not positive.
 */
export function huberLoss(
  x: Tensor,
  target: Tensor,
  options: { delta?: number; reduction?: Reduction } = {},
): Tensor {
  const { delta = 1, reduction = "mean" } = options;
  requireSameShape("huberLoss", { x, target });
  if (!(delta > 0)) {
    throw new RangeError(
      `Cannot apply huberLoss as delta must be positive: it is ${delta}`,
    );
  }
  const distance = abs(sub(x, target));
  const near = clamp(distance, { max: delta });
  return reduce(mul(near, sub(distance, scale(near, 0.5))), reduction); // both cases in one
}

/**
 * Cross entropy of classes, `-log softmax(logits)[target]`. Label smoothing ε takes a share ε of the
 * target away and spreads it over all classes (Szegedy et al. 2015, arXiv:1512.00567, section 7).
 *
 * @param logits `[N, classes, ...]`.
 * @param target Class ids, i32 `[N, ...]`; clamped to the classes there are.
 * @param options `labelSmoothing` defaults to 0; `reduction` over all targets defaults to the mean.
 * @throws {TypeError} If the shapes do not fit, or `target` is not i32.
 * @throws {RangeError} If `labelSmoothing` is not within 0 … 1.
 */
export function crossEntropy(
  logits: Tensor,
  target: Tensor,
  options: { labelSmoothing?: number; reduction?: Reduction } = {},
): Tensor {
  const { labelSmoothing = 0, reduction = "mean" } = options;
  requireThat(
    logits.rank >= 2 && target.dtype === "i32" &&
      logits.shape.toSpliced(1, 1).join() === target.shape.join(),
    "crossEntropy",
    "logits must be [N, classes, ...] and target i32 [N, ...]",
    { logits, target: String(target) },
  );
  if (!(labelSmoothing >= 0 && labelSmoothing <= 1)) {
    throw new RangeError(
      `Cannot apply crossEntropy as labelSmoothing must lie in 0 … 1: it is ${labelSmoothing}`,
    );
  }
  const logP = logSoftmax(logits, 1);
  const right = squeeze(gather(logP, 1, unsqueeze(target, 1)), 1);
  const share = labelSmoothing === 0 ? right : add(
    scale(right, 1 - labelSmoothing),
    scale(mean(logP, { axis: 1 }), labelSmoothing),
  );
  return neg(reduce(share, reduction));
}

/**
 * Cross entropy of yes and no, `-t log σ(x) - (1 - t) log(1 - σ(x))`, in the form
 * `softplus(x) - t x = max(x, 0) - t x + log(1 + e^-|x|)` that cannot overflow.
 *
 * @param logits x, before the sigmoid.
 * @param target t, probabilities in [0, 1], of the shape of `logits`; has a gradient, too.
 * @param options `reduction` over all elements defaults to the mean.
 * @throws {TypeError} If the shapes differ.
 */
export function bceWithLogits(
  logits: Tensor,
  target: Tensor,
  options: { reduction?: Reduction } = {},
): Tensor {
  requireSameShape("bceWithLogits", { logits, target });
  const losses = sub(softplus(logits), mul(logits, target));
  return reduce(losses, options.reduction ?? "mean");
}

/**
 * Kullback-Leibler divergence of `N(μ, σ²)` from the standard normal, per dimension,
 * `½ (μ² + σ² - 1 - log σ²)` in nats (Kingma & Welling 2013, arXiv:1312.6114, appendix B).
 *
 * @param mu Any shape.
 * @param logVar `log σ²`, of the same shape.
 * @param options `reduction` defaults to none: sum over the dimensions, then mean over samples.
 * @throws {TypeError} If the shapes differ.
 */
export function gaussianKl(
  mu: Tensor,
  logVar: Tensor,
  options: { reduction?: Reduction } = {},
): Tensor {
  requireSameShape("gaussianKl", { mu, logVar });
  const twice = sub(add(square(mu), exp(logVar)), add(logVar, 1));
  return reduce(scale(twice, 0.5), options.reduction ?? "none");
}

/**
 * Kullback-Leibler divergence of `N(μ₁, σ₁²)` from `N(μ₂, σ₂²)`, per dimension,
 * `½ (log σ₂² - log σ₁² + (σ₁² + (μ₁ - μ₂)²) / σ₂² - 1)` in nats.
 *
 * @param mu1 Any shape, as all four; they are broadcast.
 * @param logVar1 `log σ₁²`.
 * @param options `reduction` defaults to none.
 * @throws {TypeError} If the shapes do not fit.
 */
export function gaussianKlBetween(
  mu1: Tensor,
  logVar1: Tensor,
  mu2: Tensor,
  logVar2: Tensor,
  options: { reduction?: Reduction } = {},
): Tensor {
  const logRatio = sub(logVar1, logVar2);
  const distance = mul(square(sub(mu1, mu2)), exp(neg(logVar2)));
  const twice = sub(add(exp(logRatio), distance), add(logRatio, 1));
  return reduce(scale(twice, 0.5), options.reduction ?? "none");
}
