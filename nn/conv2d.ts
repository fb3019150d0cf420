import {
  conv2d,
  type Conv2dOptions,
  type Epilogue,
  type Pair,
} from "../kernels/conv2d.ts";
import type { Rng } from "../tensor/rng.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { weightAndBias, type WeightOptions } from "./linear.ts";
import { type ForwardOptions, Module } from "./module.ts";

/** Height and width of a window. @internal */
export function windowOf(size: Pair): readonly [number, number] {
  return typeof size === "number" ? [size, size] : size;
}

/** What `Conv2d` takes: the geometry of `conv2d`, and the parameters' beginnings. */
export interface Conv2dLayerOptions extends Conv2dOptions, WeightOptions {}

/** Convolution of `[N, inChannels, H, W]` to `[N, outChannels, H', W']`, see `conv2d`. */
export class Conv2d extends Module {
  /** `[outChannels, inChannels / groups, kernelHeight, kernelWidth]`. */
  readonly weight: Tensor;
  /** `[outChannels]`, or null. */
  readonly bias: Tensor | null;
  readonly #geometry: Conv2dOptions;

  /** Draws the parameters from `rng`. */
  constructor(
    inChannels: number,
    outChannels: number,
    kernelSize: Pair,
    rng: Rng,
    options: Conv2dLayerOptions = {},
  ) {
    super();
    const { groups = 1 } = options;
    const shape = [outChannels, inChannels / groups, ...windowOf(kernelSize)];
    const { weight, bias } = weightAndBias(shape, outChannels, rng, options);
    this.weight = weight;
    this.bias = bias;
    this.#geometry = options;
  }

  /** Applies the layer, and to its result what `conv2d` can do in the same pass. */
  forward(x: Tensor, options: ForwardOptions & Epilogue = {}): Tensor {
    return conv2d(x, this.weight, this.bias ?? undefined, {
      ...this.#geometry,
      ...options,
    });
  }
}
