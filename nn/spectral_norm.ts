/**
 * Spectral normalisation (Miyato et al. 2018, arXiv:1802.05957): layers whose weight is divided by its
 * largest singular value, so that a discriminator's slope stays bounded.
 *
 * @module
 */
import { div, maximum, mul } from "../kernels/binary.ts";
import { conv2d, type Conv2dOptions, type Pair } from "../kernels/conv2d.ts";
import { embedding } from "../kernels/index.ts";
import { linear } from "../kernels/linear.ts";
import { matmul } from "../kernels/matmul.ts";
import { norm, sum } from "../kernels/reduce.ts";
import { reshape, transpose } from "../kernels/shape.ts";
import { scale } from "../kernels/unary.ts";
import { noGrad } from "../tensor/context.ts";
import { copyInPlace } from "../tensor/fill.ts";
import type { Rng } from "../tensor/rng.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { type Conv2dLayerOptions, windowOf } from "./conv2d.ts";
import type { Init } from "./init.ts";
import { weightAndBias, type WeightOptions } from "./linear.ts";
import { buffer, type ForwardOptions, Module } from "./module.ts";

/** Below it a vector is not stretched to length 1. */
const EPS = 1e-12;
/** Power iterations before the first pass; then one in each pass while training. */
const FIRST_ITERATIONS = 15;

function unit(x: Tensor): Tensor {
  return div(x, maximum(norm(x), EPS));
}

/** One step towards the singular vectors of the largest singular value of `matrix`. */
function powerIteration(matrix: Tensor, u: Tensor): { u: Tensor; v: Tensor } {
  const v = unit(matmul(transpose(matrix), u));
  return { u: unit(matmul(matrix, v)), v };
}

/** A layer with such a weight. Its state is spelt as that of `torch.nn.utils.spectral_norm`. */
export abstract class SpectralLayer extends Module {
  /** As it is trained, `[outFeatures, ...]`. */
  readonly weight_orig: Tensor;
  /** `[outFeatures]`, or null. */
  readonly bias: Tensor | null;
  /** Left singular vector, `[outFeatures]`, changed in place while training. */
  readonly weight_u: Tensor;
  /** Right singular vector, of as many elements as `weight_orig` has for each output. */
  readonly weight_v: Tensor;

  /** Draws the parameters and the first `weight_u` from `rng`. */
  constructor(shape: readonly number[], rng: Rng, options: WeightOptions) {
    super();
    const rows = shape[0]!;
    const { weight, bias } = weightAndBias(shape, rows, rng, options);
    this.weight_orig = weight;
    this.bias = bias;
    const start = noGrad(() => {
      let vectors = powerIteration(this.#matrix(), unit(rng.normal([rows, 1])));
      for (let i = 1; i < FIRST_ITERATIONS; i++) {
        vectors = powerIteration(this.#matrix(), vectors.u);
      }
      return vectors;
    });
    this.weight_u = buffer(reshape(start.u, [rows]));
    this.weight_v = buffer(reshape(start.v, [weight.size / rows]));
  }

  /**
   * `weight_orig / σ` with `σ = uᵀ W v`: u and v are constants of the gradient, σ is not.
   *
   * @param options While `training` u and v come one power iteration closer first; else they stay.
   */
  weight({ training = false }: ForwardOptions = {}): Tensor {
    const matrix = this.#matrix();
    const { u, v } = noGrad(() => this.#vectors(matrix, training));
    const sigma = sum(mul(matmul(matrix, v), u));
    return div(this.weight_orig, sigma);
  }

  #vectors(matrix: Tensor, training: boolean): { u: Tensor; v: Tensor } {
    const column = (x: Tensor) => reshape(x, [x.size, 1]);
    // Copies, as a later pass in training overwrites the buffers before the gradient.
    if (!training) {
      return {
        u: column(scale(this.weight_u, 1)),
        v: column(scale(this.weight_v, 1)),
      };
    }
    const next = powerIteration(matrix, column(this.weight_u));
    copyInPlace(this.weight_u, next.u);
    copyInPlace(this.weight_v, next.v);
    return next;
  }

  /** Outputs in rows. */
  #matrix(): Tensor {
    return reshape(this.weight_orig, [this.weight_orig.shape[0]!, -1]);
  }
}

/** `Conv2d` with spectral normalisation. */
export class SpectralConv2d extends SpectralLayer {
  readonly #geometry: Conv2dOptions;

  /** Draws the parameters from `rng`. */
  constructor(
    inChannels: number,
    outChannels: number,
    kernelSize: Pair,
    rng: Rng,
    options: Conv2dLayerOptions = {},
  ) {
    const { groups = 1 } = options;
    const window = windowOf(kernelSize);
    super([outChannels, inChannels / groups, ...window], rng, options);
    this.#geometry = options;
  }

  /** Applies the layer. */
  forward(x: Tensor, options: ForwardOptions = {}): Tensor {
    const weight = this.weight(options);
    return conv2d(x, weight, this.bias ?? undefined, this.#geometry);
  }
}

/** `Linear` with spectral normalisation. */
export class SpectralLinear extends SpectralLayer {
  /** Draws the parameters from `rng`. */
  constructor(
    inFeatures: number,
    outFeatures: number,
    rng: Rng,
    options: WeightOptions = {},
  ) {
    super([outFeatures, inFeatures], rng, options);
  }

  /** Applies the layer. */
  forward(x: Tensor, options: ForwardOptions = {}): Tensor {
    return linear(x, this.weight(options), this.bias ?? undefined);
  }
}

/** `Embedding` with spectral normalisation: of the table, not of each row. */
export class SpectralEmbedding extends SpectralLayer {
  /** Draws the table from `rng`; `weightInit` defaults to U(±1/√embeddingDim). */
  constructor(
    numEmbeddings: number,
    embeddingDim: number,
    rng: Rng,
    options: { weightInit?: Init } = {},
  ) {
    super([numEmbeddings, embeddingDim], rng, { ...options, bias: false });
  }

  /** Rows of the normalised table, by i32 indices `[...]`. */
  forward(index: Tensor, options: ForwardOptions = {}): Tensor {
    return embedding(this.weight(options), index);
  }
}
