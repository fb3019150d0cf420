/**
 * What the benchmark asks of a library: the few operations of its items, in whatever memory layout
 * and manner suit the library best, so that items and networks are defined once for all of them.
 *
 * @module
 */

/**
 * What the axes of a tensor mean, for libraries that prefer another order: `image` is [N, C, H, W],
 * `conv` [out, in, kH, kW], `convT` [in, out, kH, kW], `lin` [out, in]; `plain` is left as it is.
 */
export type Layout = "image" | "conv" | "convT" | "lin" | "plain";

/** Parameters by name. */
export type Weights<T> = Record<string, T>;

/** Stride and padding, the same on both axes. */
export interface Window {
  stride: number;
  padding: number;
}

/** A training step of one or several networks, each with an Adam of its own. */
export interface Training<T> {
  /** Initial parameters, network by network. */
  networks: Weights<T>[];
  /** Further tensors that the step reads. */
  inputs: T[];
  /** Of every Adam; epsilon is 1e-8. */
  adam: { learningRate: number; betas: [number, number] };
  /**
   * One step. `current(i)` are the parameters of a network as they are now; `update(i, loss)` takes
   * an Adam step for them and returns the loss before it.
   *
   * @returns The loss to report.
   */
  step(
    current: (network: number) => Weights<T>,
    update: (network: number, loss: (weights: Weights<T>) => T) => T,
    ...inputs: T[]
  ): T;
}

/** A library with tensors of type `T`. Sources and results are in PyTorch's axis order. */
export interface Library<T> {
  /** In reports: `denoise`, or name and version of a peer. */
  readonly name: string;
  /** Adapter in use. */
  readonly adapter: string;

  tensor(
    data: Float32Array<ArrayBuffer>,
    shape: readonly number[],
    layout?: Layout,
  ): T;
  /** All values. */
  read(x: T, layout: Layout): Promise<Float32Array>;
  /** Waits until these results of a run, and all runs before it, are computed. */
  wait(results: readonly T[]): Promise<void>;
  free(tensors: readonly T[]): void;

  /** A function that computes `f(...inputs)` each time, compiled if the library can. */
  compile(f: (...inputs: T[]) => T[], inputs: readonly T[]): () => T[];
  /** As `compile`, for a whole network, of which there is one result of this shape. */
  compileNetwork(
    f: (...inputs: T[]) => T,
    inputs: readonly T[],
    shape: readonly number[],
  ): () => T[];
  /** Gradients of a scalar function; only inside `compile`. */
  gradients(f: (...xs: T[]) => T, xs: readonly T[]): T[];
  /** A function that takes one training step and returns its loss, compiled if the library can. */
  train(training: Training<T>): () => T;
  /** `f()`, of which no gradient will be asked. */
  constant(f: () => T): T;

  add(a: T, b: T | number): T;
  mul(a: T, b: T | number): T;
  /** `a · b + c` of one shape. */
  mulAdd(a: T, b: T, c: T): T;
  exp(x: T): T;
  sin(x: T): T;
  cos(x: T): T;
  tanh(x: T): T;
  relu(x: T): T;
  leakyRelu(x: T, slope: number): T;
  silu(x: T): T;
  /** Over all elements. */
  sum(x: T): T;
  /** Over the last axis. */
  softmax(x: T): T;
  matmul(a: T, b: T): T;
  /** `x wᵀ + b`. */
  linear(x: T, weight: T, bias: T): T;
  conv2d(x: T, weight: T, bias: T | null, window: Window): T;
  /** Kernels are 4x4, so that stride 2 and padding 1 double the size. */
  convTranspose2d(x: T, weight: T, bias: T | null, window: Window): T;
  groupNorm(x: T, groups: number, weight: T, bias: T): T;
  groupNormSilu(x: T, groups: number, weight: T, bias: T): T;
  /** Normalises by the statistics of the batch. */
  batchNorm(x: T, weight: T, bias: T): T;
  /** q, k, v: `[N, heads, tokens, D]`. */
  attention(q: T, k: T, v: T): T;
  /** Self-attention over the pixels of an image whose channels are q, k, v, each head by head. */
  imageAttention(qkv: T, heads: number): T;
  /** Nearest neighbour, twice the size. */
  upsample(x: T): T;
  /** Joins the channels of two images. */
  concatChannels(a: T, b: T): T;
  /** Adds `[N, C]` to every pixel of an image. */
  addPerChannel(x: T, bias: T): T;
  /** Image to `[N, C H W]`. */
  flatten(x: T): T;
  /** `[N, C H W]` to image. */
  unflatten(x: T, channels: number, size: number): T;
  /** `[N, a]` and `[N, b]` to `[N, a + b]`. */
  concat(a: T, b: T): T;
  /** `[N, 2 a]` to two of `[N, a]`. */
  halves(x: T): [T, T];
  /** `[N]` and `[K]` to `[N, K]`. */
  outer(a: T, b: T): T;
  mseLoss(x: T, target: T): T;
  bceWithLogits(logits: T, target: T | number, reduction: "mean" | "sum"): T;
  /** KL(N(mu, exp(logVar)) ‖ N(0, 1)), summed. */
  gaussianKl(mu: T, logVar: T): T;
}
