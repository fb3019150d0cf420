import { embedding } from "../kernels/index.ts";
import type { Rng } from "../tensor/rng.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { type Init, normal } from "./init.ts";
import { Module, parameter } from "./module.ts";

/** A table of vectors, looked up by index: i32 `[...]` to f32 `[..., embeddingDim]`. */
export class Embedding extends Module {
  /** `[numEmbeddings, embeddingDim]`. */
  readonly weight: Tensor;

  /** Draws the table from `rng`; `weightInit` defaults to the standard normal, as PyTorch. */
  constructor(
    numEmbeddings: number,
    embeddingDim: number,
    rng: Rng,
    options: { weightInit?: Init } = {},
  ) {
    super();
    const { weightInit = normal() } = options;
    this.weight = parameter(weightInit([numEmbeddings, embeddingDim], rng));
  }

  /** Rows of the table. */
  forward(index: Tensor): Tensor {
    return embedding(this.weight, index);
  }
}
