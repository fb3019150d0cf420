import { groupNorm } from "../kernels/group_norm.ts";
import { ones, zeros } from "../tensor/fill.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { Module, parameter } from "./module.ts";

/** Choices of the normalisation layers. */
export interface NormOptions {
  /** Added to the variance; defaults to 1e-5. */
  eps?: number;
  /** Whether there is a learned gain and offset; defaults to true. */
  affine?: boolean;
}

/** Group normalisation of `[N, numChannels, ...]`, see `groupNorm`; gain 1 and offset 0 at first. */
export class GroupNorm extends Module {
  /** Gain `[numChannels]`, or null. */
  readonly weight: Tensor | null;
  /** Offset `[numChannels]`, or null. */
  readonly bias: Tensor | null;
  readonly #numGroups: number;
  readonly #eps: number;

  /**
   * Makes the parameters.
   *
   * @throws {RangeError} If the channels do not divide into the groups.
   */
  constructor(
    numGroups: number,
    numChannels: number,
    options: NormOptions = {},
  ) {
    super();
    if (numChannels % numGroups !== 0) {
      throw new RangeError(
        `Cannot make a GroupNorm as channels must divide into groups: ${numChannels} channels, ${numGroups} groups`,
      );
    }
    const { eps = 1e-5, affine = true } = options;
    this.weight = affine ? parameter(ones([numChannels])) : null;
    this.bias = affine ? parameter(zeros([numChannels])) : null;
    this.#numGroups = numGroups;
    this.#eps = eps;
  }

  /** Applies the layer. */
  forward(x: Tensor): Tensor {
    return groupNorm(
      x,
      this.#numGroups,
      this.weight ?? undefined,
      this.bias ?? undefined,
      this.#eps,
    );
  }
}
