import { layerNorm } from "../kernels/layer_norm.ts";
import { ones, zeros } from "../tensor/fill.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { NormOptions } from "./group_norm.ts";
import { Module, parameter } from "./module.ts";

/** Layer normalisation over the last axes, see `layerNorm`; gain 1 and offset 0 at first. */
export class LayerNorm extends Module {
  /** Gain `[...normalizedShape]`, or null. */
  readonly weight: Tensor | null;
  /** Offset `[...normalizedShape]`, or null. */
  readonly bias: Tensor | null;
  readonly #shape: readonly number[];
  readonly #eps: number;

  /** Normalises axes of these lengths, the last ones of the input; a number means one axis. */
  constructor(
    normalizedShape: number | readonly number[],
    options: NormOptions = {},
  ) {
    super();
    const { eps = 1e-5, affine = true } = options;
    this.#shape = typeof normalizedShape === "number"
      ? [normalizedShape]
      : normalizedShape;
    this.weight = affine ? parameter(ones(this.#shape)) : null;
    this.bias = affine ? parameter(zeros(this.#shape)) : null;
    this.#eps = eps;
  }

  /** Applies the layer. */
  forward(x: Tensor): Tensor {
    return layerNorm(
      x,
      this.#shape,
      this.weight ?? undefined,
      this.bias ?? undefined,
      this.#eps,
    );
  }
}
