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
export {
  setVariants,
  type Variant,
  VARIANTS,
  withVariant,
} from "./kernels/_variants.ts";
export { addcmul } from "./kernels/addcmul.ts";
export { attention, multiheadAttention } from "./kernels/attention.ts";
export { autocast } from "./kernels/autocast.ts";
export { batchNorm, type BatchNormOptions } from "./kernels/batch_norm.ts";
export * from "./kernels/binary.ts";
export { cast } from "./kernels/cast.ts";
export { discretizedGaussianLogProb } from "./kernels/discretized_gaussian.ts";
export { dropout } from "./kernels/dropout.ts";
export { globalNorm } from "./kernels/global_norm.ts";
export { groupNorm, groupNormSilu } from "./kernels/group_norm.ts";
export {
  convTranspose2d,
  type ConvTranspose2dOptions,
} from "./kernels/conv_transpose2d.ts";
export {
  type Activation,
  conv2d,
  type Conv2dOptions,
  type Epilogue,
  type Pair,
} from "./kernels/conv2d.ts";
export {
  embedding,
  gather,
  indexSelect,
  type Indices,
  oneHot,
} from "./kernels/index.ts";
export { layerNorm } from "./kernels/layer_norm.ts";
export { linear } from "./kernels/linear.ts";
export { linearCombination } from "./kernels/linear_combination.ts";
export { matmul, type MatmulOptions } from "./kernels/matmul.ts";
export {
  adaptiveAvgPool2d,
  avgPool2d,
  maxPool2d,
  type PoolOptions,
} from "./kernels/pool.ts";
export { quantile } from "./kernels/quantile.ts";
export * from "./kernels/reduce.ts";
export * from "./kernels/shape.ts";
export { logSoftmax, softmax } from "./kernels/softmax.ts";
export * from "./kernels/unary.ts";
export { upsampleBilinear, upsampleNearest } from "./kernels/upsample.ts";
export {
  upsampleConv2d,
  type UpsampleConv2dOptions,
} from "./kernels/upsample_conv2d.ts";
export { where } from "./kernels/where.ts";
export type { LabelledFeatures } from "./metrics/_labelled.ts";
export type { ScoreOptions } from "./metrics/_probabilities.ts";
export {
  type Bootstrap,
  bootstrap,
  type BootstrapOptions,
} from "./metrics/bootstrap.ts";
export * from "./metrics/class_frequency.ts";
export {
  classifierExtractor,
  type ClassifierFacts,
  INCEPTION_WEIGHTS,
  inceptionExtractor,
  type InceptionFacts,
  lenetExtractor,
  type NetworkExtractor,
  randomExtractor,
} from "./metrics/extractors.ts";
export type {
  FeatureExtractor,
  ImageFeatures,
  ImageShape,
} from "./metrics/feature_extractor.ts";
export {
  FeatureStatistics,
  frechetDistance,
  frechetInfinity,
  type FrechetInfinityOptions,
  type FrechetInput,
  type GaussianStatistics,
} from "./metrics/frechet.ts";
export {
  inceptionScore,
  type InceptionScoreOptions,
} from "./metrics/inception_score.ts";
export {
  type KernelDistance,
  kernelDistance,
  type KernelDistanceOptions,
  squaredMmd,
} from "./metrics/kernel_distance.ts";
export {
  linearProbe,
  type LinearProbeOptions,
} from "./metrics/linear_probe.ts";
export {
  type ManifoldMetrics,
  manifoldMetrics,
  nearestDistances,
  neighborRadii,
} from "./metrics/manifold.ts";
export { nearestNeighbors } from "./metrics/nearest_neighbors.ts";
export { pca, type PrincipalComponents } from "./metrics/pca.ts";
export {
  imageResizer,
  RESIZE_DIALECTS,
  type ResizeDialect,
  resizeMatrix,
} from "./metrics/resize.ts";
export {
  type ExtractorIdentity,
  parseStatistics,
  statisticsBytes,
  type StoredStatistics,
} from "./metrics/statistics_file.ts";
export { tsne, type TsneOptions } from "./metrics/tsne.ts";
export * from "./models/adm_classifier.ts";
export * from "./models/adm_unet.ts";
export * from "./models/autoencoder_kl.ts";
export * from "./models/class_mixtures.ts";
export * from "./models/classifiers.ts";
export * from "./models/conv_denoiser.ts";
export * from "./models/conv_vae.ts";
export * from "./models/dcgan.ts";
export * from "./models/denoiser.ts";
export * from "./models/diff_augment.ts";
export * from "./models/diffusion.ts";
export * from "./models/diffusion_losses.ts";
export * from "./models/dome_unet.ts";
export * from "./models/edm.ts";
export * from "./models/estimator.ts";
export * from "./models/gan.ts";
export * from "./models/gan_loss.ts";
export * from "./models/gaussian_mixture.ts";
export * from "./models/guidance.ts";
export * from "./models/importance_sampler.ts";
export * from "./models/inception.ts";
export * from "./models/keras_dcgan.ts";
export * from "./models/layer_norm_unet.ts";
export * from "./models/likelihood.ts";
export * from "./models/noise_schedule.ts";
export * from "./models/pretrained_lenet.ts";
export * from "./models/samplers.ts";
export { slerp } from "./models/slerp.ts";
export * from "./models/song_unet.ts";
export * from "./models/time_embedding.ts";
export * from "./models/unet.ts";
export * from "./models/vae.ts";
export * from "./models/vae_likelihood.ts";
export * from "./models/vae_loss.ts";
export {
  BatchNorm,
  BatchNorm1d,
  BatchNorm2d,
  type BatchNormLayerOptions,
} from "./nn/batch_norm.ts";
export {
  clipGradNorm,
  clipGradNormInPlace,
  clipScale,
} from "./nn/clip_grad_norm.ts";
export { Conv2d, type Conv2dLayerOptions } from "./nn/conv2d.ts";
export {
  ConvTranspose2d,
  type ConvTranspose2dLayerOptions,
} from "./nn/conv_transpose2d.ts";
export { Ema } from "./nn/ema.ts";
export { Embedding } from "./nn/embedding.ts";
export { GroupNorm, type NormOptions } from "./nn/group_norm.ts";
export * as init from "./nn/init.ts";
export type { FanMode, Init } from "./nn/init.ts";
export { LayerNorm } from "./nn/layer_norm.ts";
export { Linear, type WeightOptions } from "./nn/linear.ts";
export {
  bceWithLogits,
  crossEntropy,
  gaussianKl,
  gaussianKlBetween,
  huberLoss,
  l1Loss,
  mseLoss,
  type Reduction,
} from "./nn/losses.ts";
export {
  buffer,
  type ForwardOptions,
  type LoadStateOptions,
  type LoadStateResult,
  Module,
  parameter,
  type ParameterSource,
  type StateDict,
} from "./nn/module.ts";
export { MultiheadAttention } from "./nn/multihead_attention.ts";
export * from "./nn/optimizers.ts";
export * as schedules from "./nn/schedules.ts";
export type { Schedule } from "./nn/schedules.ts";
export { type Layer, Sequential } from "./nn/sequential.ts";
export {
  SpectralConv2d,
  SpectralEmbedding,
  SpectralLayer,
  SpectralLinear,
} from "./nn/spectral_norm.ts";
export { backward, checkpoint, gradients } from "./tensor/autograd.ts";
export {
  capture,
  CapturedStep,
  type CaptureInfo,
  type CaptureOptions,
  type InputSpec,
} from "./tensor/capture.ts";
export { assertFinite, detectAnomaly } from "./tensor/check_finite.ts";
export {
  enableGrad,
  isRecording,
  keep,
  noGrad,
  outsideCapture,
  scope,
} from "./tensor/context.ts";
export { countFlops } from "./tensor/count_flops.ts";
export { deviceError, deviceInfo, sync, turn } from "./tensor/device.ts";
export type { DeviceInfo } from "./tensor/executor.ts";
export { full, ones, zeros } from "./tensor/fill.ts";
export { memory, type MemoryInfo, trimPool } from "./tensor/memory.ts";
export {
  manualSeed,
  rand,
  randn,
  Rng,
  type RngMark,
  type RngState,
} from "./tensor/rng.ts";
export {
  type HostTensor,
  loadSafetensors,
  parseSafetensors,
  type Safetensors,
  saveSafetensors,
} from "./tensor/safetensors.ts";
export {
  type DType,
  type NestedArray,
  type StoredType,
  Tensor,
  tensor,
  type TypedArray,
} from "./tensor/tensor.ts";
export {
  loadTorchFile,
  parseTorchFile,
  type TorchFileOptions,
} from "./tensor/torch_file.ts";
export { NoDeviceError } from "./tensor/webgpu.ts";
export { type Advance, afterStep, Live, live } from "./tensor/trace.ts";
export { compileWgsl } from "./wgsl/compile.ts";
export { WgslError } from "./wgsl/error.ts";
export type {
  CompiledKernel,
  CompileOptions,
  RunKernel,
} from "./wgsl/kernel_abi.ts";
