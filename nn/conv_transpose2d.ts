import type { Pair } from "../kernels/conv2d.ts";
import {
  convTranspose2d,
  type ConvTranspose2dOptions,
} from "../kernels/conv_transpose2d.ts";
import type { Rng } from "../tensor/rng.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { weightAndBias, type WeightOptions } from "./linear.ts";
import { windowOf } from "./conv2d.ts";
import { Module } from "./module.ts";

/** What `ConvTranspose2d` takes: the geometry of `convTranspose2d`, and the parameters' beginnings. */
export interface ConvTranspose2dLayerOptions
  extends ConvTranspose2dOptions, WeightOptions {}

/** Transposed convolution of `[N, inChannels, H, W]` to `[N, outChannels, H', W']`, see `convTranspose2d`. */
export class ConvTranspose2d extends Module {
  /** `[inChannels, outChannels / groups, kernelHeight, kernelWidth]`. */
  readonly weight: Tensor;
  /** `[outChannels]`, or null. */
  readonly bias: Tensor | null;
  readonly #geometry: ConvTranspose2dOptions;

  /** Draws the parameters from `rng`; the default bounds count fans on the weight as it lies, as PyTorch. */
  constructor(
    inChannels: number,
    outChannels: number,
    kernelSize: Pair,
    rng: Rng,
    options: ConvTranspose2dLayerOptions = {},
  ) {
    super();
    const { groups = 1 } = options;
    const shape = [inChannels, outChannels / groups, ...windowOf(kernelSize)];
    const { weight, bias } = weightAndBias(shape, outChannels, rng, options);
    this.weight = weight;
    this.bias = bias;
    this.#geometry = options;
  }

  /** Applies the layer. */
  forward(x: Tensor): Tensor {
    return convTranspose2d(
      x,
      this.weight,
      this.bias ?? undefined,
      this.#geometry,
    );
  }
}
