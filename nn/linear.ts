import { linear } from "../kernels/linear.ts";
import type { Rng } from "../tensor/rng.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { defaultBias, defaultWeight, type Init } from "./init.ts";
import { Module, parameter } from "./module.ts";

/** Choices that layers with a weight and a bias share. */
export interface WeightOptions {
  /** Whether there is a bias; defaults to true. */
  bias?: boolean;
  /** Initial weight; defaults to U(±1/√fanIn), as PyTorch. */
  weightInit?: Init;
  /** Initial bias; defaults to U(±1/√fanIn), as PyTorch. */
  biasInit?: Init;
}

/** Draws weight and bias of a layer. @internal */
export function weightAndBias(
  shape: readonly number[],
  outFeatures: number,
  rng: Rng,
  options: WeightOptions,
): { weight: Tensor; bias: Tensor | null } {
  const {
    bias = true,
    weightInit = defaultWeight,
    biasInit = defaultBias(shape),
  } = options;
  return {
    weight: parameter(weightInit(shape, rng)),
    bias: bias ? parameter(biasInit([outFeatures], rng)) : null,
  };
}

/** `y = x Wᵀ + b` on the last axis: `[..., inFeatures]` to `[..., outFeatures]`. */
export class Linear extends Module {
  /** `[outFeatures, inFeatures]`. */
  readonly weight: Tensor;
  /** `[outFeatures]`, or null. */
  readonly bias: Tensor | null;

  /** Draws the parameters from `rng`. */
  constructor(
    inFeatures: number,
    outFeatures: number,
    rng: Rng,
    options: WeightOptions = {},
  ) {
    super();
    const shape = [outFeatures, inFeatures];
    const { weight, bias } = weightAndBias(shape, outFeatures, rng, options);
    this.weight = weight;
    this.bias = bias;
  }

  /** Applies the layer. */
  forward(x: Tensor): Tensor {
    return linear(x, this.weight, this.bias ?? undefined);
  }
}
