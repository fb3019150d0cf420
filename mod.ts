/**
 * Denoise: train, sample and judge generative image models on WebGPU, from any Deno script.
 *
 * ```ts
 * import { matmul, tensor } from "./mod.ts";
 *
 * const product = matmul(tensor([[1, 2], [3, 4]]), tensor([[5, 6], [7, 8]]));
 * console.log(await product.toArray()); // [[19, 22], [43, 50]]
 * ```
 *
 * @module
 */
export * from "./datasets/batches.ts";
export { cacheDir, type FindOptions } from "./datasets/cache.ts";
export * from "./datasets/cifar10.ts";
export * from "./datasets/dataset.ts";
export * from "./datasets/digits.ts";
export * from "./datasets/folder.ts";
export * from "./datasets/load.ts";
export * from "./datasets/mnist.ts";
export * from "./kernels/binary.ts";
export * from "./kernels/reduce.ts";
export * from "./kernels/shape.ts";
export * from "./kernels/unary.ts";
export * from "./models/noise_schedule.ts";
export { timeEmbedding } from "./models/time_embedding.ts";
export { backward, checkpoint, gradients } from "./tensor/autograd.ts";
export { assertFinite, detectAnomaly } from "./tensor/check_finite.ts";
export {
  enableGrad,
  isRecording,
  keep,
  noGrad,
  scope,
} from "./tensor/context.ts";
export { deviceError, deviceInfo, sync } from "./tensor/device.ts";
export { full, ones, zeros } from "./tensor/fill.ts";
export { memory, type MemoryInfo, trimPool } from "./tensor/memory.ts";
export { manualSeed, rand, randn, Rng, type RngState } from "./tensor/rng.ts";
export {
  type DType,
  type NestedArray,
  Tensor,
  tensor,
  type TypedArray,
} from "./tensor/tensor.ts";
