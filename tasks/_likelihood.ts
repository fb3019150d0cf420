/**
 * The bound on the negative log likelihood of a run's model, in bits per dimension.
 *
 * @module
 */
import {
  add,
  Batches,
  cast,
  combineLikelihoods,
  concat,
  type Dataset,
  type Denoiser,
  diffusionBitsPerDim,
  type DiffusionLikelihood,
  type EdmProcess,
  GaussianDiffusion,
  indexSelect,
  mul,
  reshape,
  Rng,
  scope,
  sqrt,
  square,
  stratifiedTimesteps,
  tensor,
  withClasses,
  zeros,
} from "../mod.ts";
import type { DdpmModel } from "./_ddpm.ts";

/** Streams of the run's seed. */
const STREAM = { order: 20, timesteps: 21, noise: 22 } as const;

/** What is computed. */
export interface LikelihoodOptions {
  /** Images, at random; at most those there are. */
  count: number;
  /** Network evaluations per image, at timesteps spread at random. Default: at all, for the exact sum. */
  timesteps?: number;
  /** Images that go through the network at once. Default 64. */
  batchSize?: number;
  /** Called after each evaluation of a batch. */
  onStep?: () => void;
  /** Asked after each evaluation of a batch. */
  isCancelled?: () => boolean;
}

/** Thrown through the bound to stop it. */
class Cancelled extends Error {}

/** How often a batch goes through the network, and how many batches there are: for `onStep`. */
export function evaluationsOf(
  model: DdpmModel,
  dataset: Dataset,
  { count, timesteps, batchSize = 64 }: LikelihoodOptions,
): number {
  return Math.ceil(Math.min(count, dataset.length) / batchSize) *
    (timesteps ?? model.diffusion.timesteps);
}

/**
 * The bound of some images. The same images, timesteps and noise at every call, so that what changes is
 * the model.
 *
 * @returns Undefined if cancelled.
 * @throws {RangeError} If there are not so many timesteps.
 */
export async function likelihoodOf(
  model: DdpmModel,
  dataset: Dataset,
  options: LikelihoodOptions,
): Promise<DiffusionLikelihood | undefined> {
  const { batchSize = 64, onStep, isCancelled } = options;
  const { seed } = model.config;
  const { channels, height, width } = dataset;
  const process = processOf(model);
  const count = Math.min(options.count, dataset.length);
  const timesteps = options.timesteps === undefined
    ? undefined
    : stratifiedTimesteps(
      process.timesteps,
      options.timesteps,
      new Rng(seed, STREAM.timesteps),
    );
  // Shuffled, as files may be sorted by class.
  const batches = new Batches(dataset, { batchSize, seed, flip: false });
  const parts: DiffusionLikelihood[] = [];
  try {
    for (let firstRow = 0; firstRow < count; firstRow += batchSize) {
      const n = Math.min(batchSize, count - firstRow);
      const { images, labels } = batches.batch(firstRow / batchSize);
      const part = await scope(() =>
        diffusionBitsPerDim(
          process,
          denoiserOf(model, process, labels.slice(0, n)),
          tensor(images.slice(0, n * channels * height * width), [
            n,
            channels,
            height,
            width,
          ]),
          {
            rng: new Rng(seed, STREAM.noise),
            firstRow,
            timesteps,
            onStep() {
              if (isCancelled?.()) throw new Cancelled();
              onStep?.();
            },
          },
        )
      );
      parts.push(part);
    }
  } catch (error) {
    if (error instanceof Cancelled) return undefined;
    throw error;
  }
  return combineLikelihoods(parts);
}

/** What the bound is of: the run's process, or one around a network that gives x̂_0 at any noise. */
function processOf({ edm, diffusion, config }: DdpmModel): GaussianDiffusion {
  return edm
    ? new GaussianDiffusion({ ...config.diffusion, prediction: "x0" })
    : diffusion;
}

/** The network with classes filled in; it is shown no earlier guess if it is self-conditioned. */
function denoiserOf(
  { network, config, shape, edm }: DdpmModel,
  process: GaussianDiffusion,
  labels: Int32Array<ArrayBuffer>,
): Denoiser {
  const predict: Denoiser = config.conditional
    ? withClasses(network, labels, shape.classNames.length).denoise
    : (x, t) => network.forward(x, t);
  if (edm) return unscaled(edm, process, predict);
  return config.selfConditioning
    ? (x, t) => predict(concat([x, zeros(x.shape)], 1), t)
    : predict;
}

/** x̂_0 of a network that knows x_0 + σ ε. */
function unscaled(
  edm: EdmProcess,
  process: GaussianDiffusion,
  network: Denoiser,
): Denoiser {
  const sigmas = tensor(Float32Array.from(process.betas, (_, t) => {
    const { alpha, sigma } = process.level(t);
    return sigma / alpha;
  }));
  return (x, t) => {
    const sigma = indexSelect(sigmas, 0, cast(t, "i32"));
    const scale = sqrt(add(square(sigma), 1)); // 1 / √ᾱ
    const shape = [x.shape[0]!, 1, 1, 1];
    return edm.denoised(network, mul(reshape(scale, shape), x), sigma);
  };
}

/**
 * Estimates for the log of a training run: the bound on held-out images, and on as many that are
 * trained on.
 *
 * @returns Undefined if cancelled.
 */
export async function trainingBound(
  model: DdpmModel,
  { train, test }: { readonly train: Dataset; readonly test: Dataset },
  isCancelled: () => boolean,
): Promise<Record<string, number> | undefined> {
  const { evaluation } = model.config;
  const options = {
    count: evaluation.count,
    timesteps: Math.min(evaluation.timesteps, model.diffusion.timesteps),
    isCancelled,
  };
  const onTest = await likelihoodOf(model, test, options);
  const onTrain = onTest && await likelihoodOf(model, train, options);
  if (!onTrain) return undefined;
  return {
    bits_per_dim_test: onTest.total,
    bits_per_dim_train: onTrain.total,
  };
}
