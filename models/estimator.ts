/**
 * Estimators: what a sampler asks about noised images, whatever the network was trained to predict.
 *
 * @module
 */
import type { Tensor } from "../tensor/tensor.ts";
import type { NoiseLevel } from "./noise_schedule.ts";

/** What a network, with its guidance, makes of noised images. */
export interface Estimate {
  /** x̂_0, after guidance and thresholding; like x. */
  x0: Tensor;
  /** What a network that learns its variance says of it, in about [-1, 1]; like x. */
  fraction?: Tensor;
  /** `s ∇_x log p(y | x)` of classifier guidance, which the sampler still has to apply; like x. */
  gradient?: Tensor;
}

/** Estimates x_0 from noised images. */
export interface Estimator {
  /**
   * Runs the network.
   *
   * @param x `[N, C, H, W]` at that level.
   * @param level Asked while a step is captured, and again before every replay.
   */
  (x: Tensor, level: () => NoiseLevel): Estimate;
  /** Levels of one kind can be computed by one captured step; by default all can. */
  kind?(level: NoiseLevel): string;
  /** Forgets what it kept of images before; called when a sampler starts. */
  reset?(): void;
}
