/**
 * Items of this library alone: whole samplers, and training steps of every diffusion loss, on the
 * benchmark's U-Net; and those of its other models.
 *
 * @module
 */
import {
  concat,
  type Denoiser,
  diffusionLoss,
  type DiffusionLossOptions,
  EdmProcess,
  type Estimator,
  GaussianDiffusion,
  mean,
  type NoiseLevel,
  type NoiseSource,
  Rng,
  sampleAncestral,
  sampleDdim,
  sampleDpmpp,
  sampleEulerAncestral,
  sampleHeun,
  type Tensor,
  tensor,
  vpEstimator,
} from "../mod.ts";
import { noise, uniform } from "./data.ts";
import type { ItemOf } from "./items.ts";
import type { Library, Weights } from "./library.ts";
import * as net from "./networks.ts";
import { MODEL_ITEMS } from "./own_models.ts";

const SHAPE = net.UNETS.unet16!;
const DECLARATIONS = net.unetDeclarations(SHAPE);
/** Of one evaluation of the U-Net for `SAMPLE_BATCH` images, and of one training step for as many. */
const FORWARD_FLOPS = 2101870592, TRAINING_FLOPS = 3 * FORWARD_FLOPS;
/** Steps of a sampler. */
const STEPS = 10;

const process = new GaussianDiffusion();
const images = [
  net.SAMPLE_BATCH,
  SHAPE.channels,
  SHAPE.resolution,
  SHAPE.resolution,
];

/** The U-Net with its weights. */
function denoiser(
  lib: Library<Tensor>,
  weights: Weights<Tensor>,
  frequencies = tensor(net.frequencies()),
): Denoiser {
  return (x, t) => net.unet(lib, weights, SHAPE, x, t, frequencies);
}

/** Runs of a sampler that takes STEPS steps. */
function sampler(
  name: string,
  evaluations: number,
  sample: (
    estimator: Estimator,
    levels: NoiseLevel[],
    xT: Tensor,
    noise: NoiseSource,
  ) => Promise<Tensor>,
  guidanceScale?: number,
): ItemOf<Tensor> {
  return {
    name: `sample_${name}`,
    flops: evaluations * FORWARD_FLOPS,
    images: net.SAMPLE_BATCH,
    prepare(lib) {
      const weights = net.initialise(lib, DECLARATIONS, 100);
      const denoise = denoiser(lib, weights);
      const guidance = guidanceScale === undefined
        ? undefined
        : { both: denoise, scale: guidanceScale };
      const estimator = vpEstimator(process, denoise, { guidance });
      const xT = tensor(noise(images, 13), images);
      return {
        run: async () => {
          const rng = new Rng(1);
          return [
            await sample(
              estimator,
              process.levels(STEPS),
              xT,
              (shape) => rng.normalRows(shape),
            ),
          ];
        },
        layouts: ["image"],
        params: net.count(DECLARATIONS),
      };
    },
  };
}

/** Training steps of a loss. */
function loss(
  name: string,
  lossOf: (denoise: Denoiser, x0: Tensor, rng: Rng) => Tensor,
): ItemOf<Tensor> {
  return {
    name: `loss_${name}`,
    flops: TRAINING_FLOPS,
    images: net.SAMPLE_BATCH,
    prepare(lib) {
      const rng = new Rng(2);
      const run = lib.train({
        networks: [net.initialise(lib, DECLARATIONS, 100)],
        inputs: [
          tensor(uniform(images, 11), images),
          tensor(net.frequencies()),
        ],
        adam: { learningRate: 2e-4, betas: [0.9, 0.999] },
        step: (_, update, x0, frequencies) =>
          update(
            0,
            (weights) => lossOf(denoiser(lib, weights, frequencies), x0!, rng),
          ),
      });
      return {
        run: () => [run()],
        layouts: [],
        params: net.count(DECLARATIONS),
      };
    },
  };
}

/** A loss of a process whose variance is learned: both halves of what it asks for are the same. */
function learnedLoss(type: DiffusionLossOptions["type"]): ItemOf<Tensor> {
  const learned = new GaussianDiffusion({ variance: "learned_range" });
  return loss(type!, (denoise, x0, rng) => {
    const t = rng.integers([net.SAMPLE_BATCH], 0, learned.timesteps);
    const twice: Denoiser = (x, t) => {
      const value = denoise(x, t);
      return concat([value, value], 1);
    };
    return mean(diffusionLoss(learned, twice, x0, t, rng, { type }));
  });
}

/** All of them, in the order in which they run. */
export const OWN_ITEMS: readonly ItemOf<Tensor>[] = [
  sampler(
    "ddpm",
    STEPS,
    (estimator, levels, xT, noise) =>
      sampleAncestral(estimator, levels, xT, { noise }),
  ),
  sampler(
    "ddim",
    STEPS,
    (estimator, levels, xT) => sampleDdim(estimator, levels, xT),
  ),
  sampler(
    "dpmpp",
    STEPS,
    (estimator, levels, xT) => sampleDpmpp(estimator, levels, xT),
  ),
  sampler(
    "heun",
    2 * STEPS - 1,
    (estimator, levels, xT) => sampleHeun(estimator, levels, xT),
  ),
  sampler(
    "euler_ancestral",
    STEPS,
    (estimator, levels, xT, noise) =>
      sampleEulerAncestral(estimator, levels, xT, { noise }),
  ),
  sampler(
    "ddim_cfg",
    2 * STEPS,
    (estimator, levels, xT) => sampleDdim(estimator, levels, xT),
    3,
  ),
  loss("simple", (denoise, x0, rng) => {
    const t = rng.integers([net.SAMPLE_BATCH], 0, process.timesteps);
    return mean(diffusionLoss(process, denoise, x0, t, rng));
  }),
  learnedLoss("hybrid"),
  learnedLoss("vlb"),
  loss(
    "edm",
    (denoise, x0, rng) => new EdmProcess().loss(denoise, x0, rng, rng),
  ),
  ...MODEL_ITEMS,
];
