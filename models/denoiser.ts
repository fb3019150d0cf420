/**
 * What all networks that take noise away have in common, so that a process, a sampler and a task can
 * use any of them.
 *
 * @module
 */
import type { Module } from "../nn/module.ts";
import type { Rng } from "../tensor/rng.ts";
import type { Tensor } from "../tensor/tensor.ts";

/**
 * From noised images `x` (`[N, C, H, W]`) and their timesteps `t` (`[N]`, f32, counted in the schedule
 * the network was trained with) to what the network predicts of each, such as the noise in it: like
 * `x`, or with twice its channels where a variance is predicted too.
 */
export type Denoiser = (x: Tensor, t: Tensor) => Tensor;

/** What a forward pass may be given besides images and timesteps. */
export interface DenoiserInputs {
  /** Class ids, i32 `[N]`; needed by a conditional network, and refused by another. */
  y?: Tensor;
  /** Whether to drop out. Defaults to false. */
  training?: boolean;
  /** Draws what is dropped; needed while training with dropout. */
  rng?: Rng;
}

/** A network that predicts what `Denoiser` says. */
export interface DenoiserNetwork extends Module {
  /**
   * Predicts.
   *
   * @param x Noised images, `[N, inChannels, H, W]`.
   * @param t Timesteps, f32 `[N]`.
   * @returns `[N, outChannels, H, W]`.
   * @throws {TypeError} If a shape does not fit, or `y` or `rng` is missing where it is needed.
   */
  forward(x: Tensor, t: Tensor, inputs?: DenoiserInputs): Tensor;
}
