import type { Tensor } from "../tensor/tensor.ts";
import { type ForwardOptions, Module } from "./module.ts";

/** What a `Sequential` may hold: a module of one input, or a function such as `relu`. */
export type Layer =
  | (Module & { forward(x: Tensor, options?: ForwardOptions): Tensor })
  | ((x: Tensor) => Tensor);

/** Layers one after the other. Parameters are named by position, `0.weight`; functions count too. */
export class Sequential extends Module {
  readonly #layers: readonly Layer[];

  /** Takes the layers in order. */
  constructor(...layers: Layer[]) {
    super();
    this.#layers = layers;
  }

  /** The layers by position. @internal */
  override members(): Iterable<readonly [string, unknown]> {
    return this.#layers.map((layer, i) => [String(i), layer] as const);
  }

  /** Applies the layers; modules are given the options too. */
  forward(x: Tensor, options: ForwardOptions = {}): Tensor {
    return this.#layers.reduce(
      (h, layer) =>
        layer instanceof Module ? layer.forward(h, options) : layer(h),
      x,
    );
  }
}
