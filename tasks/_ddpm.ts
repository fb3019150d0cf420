/**
 * A diffusion model of a configuration: what its training minimises, and how it is sampled.
 *
 * @module
 */
import {
  type Batch,
  cast,
  clamp,
  type ClassifierGuidance,
  concat,
  countFlops,
  type Dataset,
  type Denoiser,
  type DenoiserNetwork,
  diffusionLoss,
  edmEstimator,
  EdmProcess,
  type Estimator,
  type EstimatorOptions,
  GaussianDiffusion,
  type HostTensor,
  ImportanceSampler,
  karrasSigmas,
  mean,
  mul,
  noGrad,
  type NoiseLevel,
  reshape,
  Rng,
  sampleAncestral,
  sampleDdim,
  sampleDpmpp,
  sampleEulerAncestral,
  sampleHeun,
  scale,
  scope,
  type Tensor,
  toBytes,
  vpEstimator,
  withClasses,
  zeros,
} from "../mod.ts";
import { noiseRatio } from "../models/transition.ts";
import { philoxWords, toUnit } from "../tensor/philox.ts";
import { AUTOENCODER_STREAM, buildAutoencoder } from "./_autoencoder.ts";
import { between } from "./_between.ts";
import { checkConfig } from "./_config.ts";
import {
  type DdpmConfig,
  ddpmSchema,
  type SamplerName,
  SAMPLERS,
} from "./_ddpm_config.ts";
import { inTurn } from "./_generator.ts";
import { trainingBound } from "./_likelihood.ts";
import { type JointConfig, jointSchema } from "./_joint_config.ts";
import { FrozenLatents, Latents } from "./_latents.ts";
import { buildNetwork } from "./_network_config.ts";
import type { Chart } from "./_plots.ts";
import {
  type DataShape,
  loadWeights,
  type Losses,
  type Picture,
  readCheckpoint,
  type Trainable,
  under,
  weightsOf,
} from "./_trainer.ts";

/** Streams of the run's seed. */
const STREAM = {
  weights: 1,
  timesteps: 2,
  noise: 3,
  dropout: 4,
  samples: 5,
  labels: 6,
  selfConditioning: 7,
  latents: 8,
  ancestral: 1_000,
} as const;
/** Images that go through the network at once while sampling. */
const SAMPLE_BATCH = 64;
/** Noise levels of networks trained as EDM (Karras et al. 2022, table 1). */
const EDM_SIGMAS = { sigmaMin: 0.002, sigmaMax: 80 };

/** Standard deviations beyond which a latent is an error of the network. */
const LATENT_RANGE = 4;

type Configured = DdpmConfig["samples"];

/** How images are drawn, as far as a run's configuration is not asked. */
export interface Drawing
  extends Partial<Omit<Configured, "count" | "sampler">> {
  /** By its name in the configuration. */
  sampler?: SamplerName;
}

/** What else `sample` takes. */
export interface SampleOptions extends Drawing {
  /** Number of images. */
  count: number;
  /** Seed of the noise. */
  seed: number;
  /** Number of the first image among those of the seed; defaults to 0. */
  first?: number;
  /** Class ids, one per image; for a conditional model, or a classifier. */
  classes?: Int32Array<ArrayBuffer>;
  /** Pulls images towards classes, given those of a batch. */
  classifier?: (y: Int32Array<ArrayBuffer>) => ClassifierGuidance;
  /** Images on the way from each start to the next, instead of independent ones. */
  interpolate?: number;
  /** Called after each step of the sampler. */
  onStep?: (done: number) => void;
  /** Asked after each step of the sampler. */
  isCancelled?: () => boolean;
}

/** What is drawn of the log. */
const CHARTS: readonly Chart[] = [
  {
    file: "curves",
    yTitle: "Mean squared error of the prediction",
    curves: { loss: "training loss" },
    logY: true,
  },
  {
    file: "likelihood",
    yTitle: "Negative likelihood bound (bits/dim)",
    curves: { bits_per_dim_train: "train", bits_per_dim_test: "test" },
  },
];

/** Thrown through a sampler to stop it. */
class Cancelled extends Error {}

/** Network and process of a configuration. */
export class DdpmModel implements Trainable<DdpmConfig> {
  readonly charts = CHARTS;
  /** The denoiser. */
  readonly network: DenoiserNetwork;
  /** The noising process. */
  readonly diffusion: GaussianDiffusion;
  /** Instead of it, if the network is trained so. */
  readonly edm?: EdmProcess;
  readonly config: DdpmConfig;
  readonly shape: DataShape;
  /** What the noise is added to, if not the images. */
  readonly latents?: Latents;
  readonly rngs: Readonly<
    Record<"timesteps" | "noise" | "dropout" | "selfConditioning", Rng>
  >;
  readonly inputs?: Trainable["inputs"];
  readonly observe?: Trainable["observe"];
  /** Draws latents from their posteriors, if they are drawn. */
  readonly #posteriors?: Rng;
  readonly #importance?: ImportanceSampler;
  /** Timesteps of the step under way, if they are drawn by importance. */
  #drawn: Int32Array<ArrayBuffer> = new Int32Array();

  /** Draws the initial weights from the configuration's seed. */
  constructor(config: DdpmConfig, shape: DataShape, latents?: Latents) {
    const { seed, diffusion, loss, batchSize, conditional } = config;
    this.config = config;
    this.shape = shape;
    this.latents = latents;
    this.diffusion = new GaussianDiffusion(diffusion);
    if (loss.type === "edm") {
      const { sigmaData = latents ? 1 : 0.5 } = config.edm;
      this.edm = new EdmProcess({ ...config.edm, sigmaData });
    }
    this.network = buildNetwork(config, {
      ...this.#channels(),
      height: this.noised.height,
      width: this.noised.width,
      // One row more for "no class", where that is trained.
      numClasses: conditional
        ? shape.classNames.length + Number(config.labelDropout > 0)
        : undefined,
    }, new Rng(seed, STREAM.weights));
    if (config.latent?.sample) this.#posteriors = new Rng(seed, STREAM.latents);
    this.rngs = {
      timesteps: new Rng(seed, STREAM.timesteps),
      noise: new Rng(seed, STREAM.noise),
      dropout: new Rng(seed, STREAM.dropout),
      selfConditioning: new Rng(seed, STREAM.selfConditioning),
      ...(this.#posteriors ? { latents: this.#posteriors } : {}),
    };
    if (loss.timesteps === "importance") {
      const importance = new ImportanceSampler(diffusion.timesteps);
      this.#importance = importance;
      this.inputs = {
        timesteps: { shape: [batchSize], dtype: "i32" },
        weights: { shape: [batchSize] },
      };
      this.observe = ({ terms }) => {
        // The log stops a run whose loss is not finite.
        if (terms!.every(Number.isFinite)) {
          importance.update(this.#drawn, terms!);
        }
      };
    }
  }

  /** Of what the noise is added to. */
  get noised(): DataShape {
    return this.latents?.shape ?? this.shape;
  }

  /** The largest value to expect of what the noise is added to. */
  get #range(): number {
    return this.latents ? LATENT_RANGE : 1;
  }

  /** Of what the network takes and gives. */
  #channels(): { inChannels: number; outChannels: number } {
    const { channels } = this.noised;
    const { diffusion, selfConditioning } = this.config;
    return {
      inChannels: channels * (selfConditioning ? 2 : 1),
      outChannels: channels * (diffusion.variance === "learned_range" ? 2 : 1),
    };
  }

  prepare({ images, labels }: Batch, step: number) {
    const inputs = { images, labels: this.#dropLabels(labels, step) };
    if (!this.#importance) return inputs;
    const { t, weights } = this.#importance.draw(
      labels.length,
      this.rngs.timesteps,
    );
    this.#drawn = t;
    return { ...inputs, timesteps: t, weights };
  }

  /** Takes the class from some examples, each with its own draw. */
  #dropLabels(
    labels: Int32Array<ArrayBuffer>,
    step: number,
  ): Int32Array<ArrayBuffer> {
    const { labelDropout, seed } = this.config;
    if (labelDropout === 0) return labels;
    const none = this.shape.classNames.length;
    const words = philoxWords(labels.length, [seed, STREAM.labels], step);
    return labels.map((y, i) => toUnit(words[i]!) < labelDropout ? none : y);
  }

  losses(inputs: Readonly<Record<string, Tensor>>): Losses {
    const images = inputs.images!;
    const x0 = this.latents?.encode(images, this.#posteriors) ?? images;
    return this.denoise(x0, inputs);
  }

  /** Losses of images, or of their latents. */
  denoise(x0: Tensor, inputs: Readonly<Record<string, Tensor>>): Losses {
    const { config, diffusion, network, edm, rngs } = this;
    const y = config.conditional ? inputs.labels : undefined;
    const predict: Denoiser = (x, t) =>
      network.forward(x, t, { y, training: true, rng: rngs.dropout });
    if (edm) {
      return { loss: edm.loss(predict, x0, rngs.timesteps, rngs.noise) };
    }
    const { firstTimestep, ...loss } = config.loss;
    const options = { ...loss, type: config.loss.type as "simple" };
    const t = inputs.timesteps ??
      rngs.timesteps.integers(
        [config.batchSize],
        firstTimestep,
        diffusion.timesteps,
      );
    const denoise = config.selfConditioning
      ? this.#selfConditioned(predict, t)
      : predict;
    const terms = diffusionLoss(
      diffusion,
      denoise,
      x0,
      t,
      rngs.noise,
      options,
    );
    if (!inputs.weights) return { loss: mean(terms) };
    return { loss: mean(mul(inputs.weights, terms)), terms };
  }

  /** Half of the examples see the image that the network makes of them without seeing one. */
  #selfConditioned(predict: Denoiser, t: Tensor): Denoiser {
    return (x, time) => {
      const guess = noGrad(() => {
        const { value } = this.diffusion.split(
          predict(concat([x, zeros(x.shape)], 1), time),
        );
        const x0 = this.diffusion.startFrom(x, t, value);
        const range = this.#range;
        return clamp(x0, { min: -range, max: range });
      });
      const drawn = this.rngs.selfConditioning.integers([x.shape[0]!], 0, 2);
      const shown = reshape(cast(drawn, "f32"), [x.shape[0]!, 1, 1, 1]);
      return predict(concat([x, mul(shown, guess)], 1), time);
    };
  }

  extraState(): Record<string, HostTensor> {
    const latents = this.latents?.extraState() ?? {};
    if (!this.#importance) return latents;
    const { losses, counts } = this.#importance.state;
    return {
      ...latents,
      losses: { dtype: "f32", shape: [losses.length], data: losses },
      counts: { dtype: "i32", shape: [counts.length], data: counts },
    };
  }

  restoreExtra(state: Readonly<Record<string, HostTensor>>): void {
    this.latents?.restoreExtra(state);
    if (!this.#importance) return;
    this.#importance.state = {
      losses: state.losses!.data as Float32Array<ArrayBuffer>,
      counts: state.counts!.data as Int32Array<ArrayBuffer>,
    };
  }

  flops(): number {
    return this.#networkFlops() + (this.latents?.flops() ?? 0);
  }

  /** Of one evaluation for one image. */
  #networkFlops(): number {
    const { height, width } = this.noised;
    const x = [1, this.#channels().inChannels, height, width];
    return countFlops(() =>
      this.network.forward(zeros(x), zeros([1]), {
        y: this.config.conditional ? zeros([1], "i32") : undefined,
      })
    );
  }

  /** Floating-point operations of one image drawn. */
  drawingFlops(drawing: ReturnType<DdpmModel["drawing"]>): number {
    const { latents, noised: { channels, height, width } } = this;
    const network = this.evaluations(drawing) * this.#networkFlops();
    if (!latents) return network;
    const z = [1, channels, height, width];
    return network + countFlops(() => latents.decode(zeros(z)));
  }

  report(): string[] {
    return [...this.latents?.report() ?? [], ...this.#reportOfNoise()];
  }

  #reportOfNoise(): string[] {
    if (this.edm) {
      const { sigmaData, pMean, pStd } = this.edm;
      return [
        `Noise: ln σ ~ N(${pMean}, ${pStd}²), σ_data ${sigmaData}`,
      ];
    }
    const report = this.diffusion.report();
    const line =
      `Schedule: ${this.config.diffusion.schedule}, ${report.timesteps} timesteps, ᾱ_T = ${
        report.finalAlphaCumprod.toExponential(2)
      } (prior KL ${
        report.priorBitsPerDim.toExponential(1)
      } bits/dim), ᾱ ≥ ½ until t = ${report.halfTimestep}, ${report.clippedBetas} of the betas clipped`;
    return report.warning ? [line, `warning: ${report.warning}`] : [line];
  }

  evaluate(
    data: { readonly train: Dataset; readonly test: Dataset },
    isCancelled: () => boolean,
  ): Promise<Record<string, number> | undefined> {
    return trainingBound(this, data, isCancelled);
  }

  async picture(isCancelled: () => boolean): Promise<Picture | undefined> {
    const { count } = this.config.samples;
    const bytes = await this.sample({
      count,
      seed: this.config.seed,
      classes: this.config.conditional
        ? inTurn(count, this.shape.classNames.map((_, id) => id))
        : undefined,
      isCancelled,
    });
    return bytes && { bytes, count };
  }

  /** The configured way to draw, changed by what is asked for; a sampler's own steps and spacing go with it. */
  drawing(asked: Drawing = {}) {
    const given = Object.fromEntries(
      Object.entries(asked).filter(([, value]) => value !== undefined),
    ) as Drawing;
    const configured = this.config.samples;
    const sampler = given.sampler ?? configured.sampler;
    const own = SAMPLERS[sampler];
    const { steps, spacing, ...rest } = configured;
    const kept = sampler === configured.sampler ? { steps, spacing } : {};
    return {
      ...rest,
      ...given,
      sampler,
      steps: given.steps ?? kept.steps ??
        ("steps" in own ? own.steps : this.diffusion.timesteps),
      spacing: given.spacing ?? kept.spacing ?? own.spacing,
    };
  }

  /** Levels of noise that a sampler visits. */
  levels(steps: number, spacing: Configured["spacing"]): NoiseLevel[] {
    if (!this.edm) return this.diffusion.levels(steps, spacing);
    const sigmas = karrasSigmas(steps, EDM_SIGMAS).subarray(0, -1);
    return Array.from(sigmas, (sigma) => ({ alpha: 1, sigma }));
  }

  /** How often a sampler evaluates the network for one image; with guidance, with and without class. */
  evaluations(
    { sampler, steps, spacing, guidance, guidanceInterval }: ReturnType<
      DdpmModel["drawing"]
    >,
  ): number {
    const levels = this.levels(steps, spacing);
    // At the end of each step again, but of the last and of a first one from pure noise.
    const again = sampler === "heun"
      ? levels.slice(levels[0]!.alpha === 0 ? 2 : 1)
      : [];
    const [low, high] = guidanceInterval ?? [-1, Infinity];
    const times = (level: NoiseLevel) => {
      const ratio = noiseRatio(level);
      return guidance !== 1 && low < ratio && ratio <= high ? 2 : 1;
    };
    return [...levels, ...again].reduce((sum, at) => sum + times(at), 0);
  }

  /** What a sampler asks about a batch. */
  estimator(
    classes: Int32Array<ArrayBuffer> | undefined,
    drawing: ReturnType<DdpmModel["drawing"]>,
    classifier?: ClassifierGuidance,
  ): Estimator {
    const { network, edm, diffusion, shape } = this;
    const { guidance, guidanceInterval: interval, threshold } = drawing;
    const options: EstimatorOptions = {
      threshold,
      range: this.#range,
      classifier,
      selfConditioning: this.config.selfConditioning,
    };
    let denoise: Denoiser = (x, t) => network.forward(x, t);
    if (classes && this.config.conditional) {
      const both = withClasses(network, classes, shape.classNames.length);
      denoise = both.denoise;
      if (guidance !== 1) {
        options.guidance = { both: both.both, scale: guidance, interval };
      }
    }
    return edm
      ? edmEstimator(edm, denoise, options)
      : vpEstimator(diffusion, denoise, options);
  }

  /** Steps of the sampler in which `sample` draws so many images. */
  stepsFor(
    count: number,
    { steps, spacing }: ReturnType<DdpmModel["drawing"]>,
  ): number {
    return Math.ceil(count / SAMPLE_BATCH) *
      this.levels(steps, spacing).length;
  }

  /**
   * Draws images.
   *
   * @returns Bytes 0 to 255, `[count, C, H, W]`; undefined if cancelled.
   */
  async sample(
    options: SampleOptions,
  ): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const { count, seed, first = 0, classes, interpolate } = options;
    const drawing = this.drawing(options);
    const levels = this.levels(drawing.steps, drawing.spacing);
    const draw = async () => {
      const pieces: Tensor[] = [];
      for (let from = 0; from < count; from += SAMPLE_BATCH) {
        const n = Math.min(SAMPLE_BATCH, count - from);
        const y = classes?.slice(from, from + n);
        const estimator = this.estimator(
          y,
          drawing,
          y && options.classifier?.(y),
        );
        const start = interpolate
          ? await between((n, row) => this.#noise(n, seed, row), {
            from,
            n,
            way: interpolate,
          })
          : this.#noise(n, seed, first + from);
        const before = pieces.length * levels.length;
        const x = await this.#run(drawing, estimator, levels, start, {
          row: first + from,
          seed,
          onStep(done) {
            if (options.isCancelled?.()) throw new Cancelled();
            options.onStep?.(before + done);
          },
        });
        pieces.push(this.latents?.decode(x) ?? x);
      }
      return toBytes(await concat(pieces).data());
    };
    try {
      return await scope(draw);
    } catch (error) {
      if (error instanceof Cancelled) return undefined;
      throw error;
    }
  }

  /** Standard normals for `n` images from number `row` on, whose noise does not depend on their batch. */
  #noise(n: number, seed: number, row: number): Tensor {
    const { channels, height, width } = this.noised;
    return new Rng(seed, STREAM.samples)
      .normalRows([n, channels, height, width], row);
  }

  /** Runs the sampler on one batch of standard normals. */
  #run(
    drawing: ReturnType<DdpmModel["drawing"]>,
    estimator: Estimator,
    levels: readonly NoiseLevel[],
    start: Tensor,
    { seed, row, onStep }: {
      seed: number;
      row: number;
      onStep: (done: number) => void;
    },
  ): Promise<Tensor> {
    const xT = this.edm ? scale(start, levels[0]!.sigma) : start;
    const rng = new Rng(seed, STREAM.ancestral);
    const noise = (shape: readonly number[]) => rng.normalRows(shape, row);
    const { sampler, eta, churn: sChurn } = drawing;
    switch (sampler) {
      case "ddpm": {
        const isWhole = levels.length === this.diffusion.timesteps;
        const { variance } = this.diffusion;
        return sampleAncestral(estimator, levels, xT, {
          noise,
          onStep,
          // Over fewer steps, the larger variance leaves images noisy.
          variance: variance === "fixedlarge" && !isWhole
            ? "fixedsmall"
            : variance,
        });
      }
      case "ddim":
        return sampleDdim(estimator, levels, xT, { noise, onStep, eta });
      case "dpmpp":
        return sampleDpmpp(estimator, levels, xT, { onStep });
      case "heun":
        return sampleHeun(estimator, levels, xT, { noise, onStep, sChurn });
      case "euler-ancestral":
        return sampleEulerAncestral(estimator, levels, xT, { noise, onStep });
    }
  }
}

/**
 * The model in a checkpoint, ready to sample.
 *
 * @param path For messages.
 * @param ema Whether to take the moving average of the weights.
 * @throws {SyntaxError} If the file is not a whole checkpoint of a diffusion model.
 */
export function loadDdpm(
  bytes: Uint8Array<ArrayBuffer>,
  path: string,
  ema: boolean,
): { model: DdpmModel; step: number } {
  const checkpoint = readCheckpoint(bytes, path);
  const { shape, step, tensors } = checkpoint;
  if (checkpoint.model === "joint") {
    const config = checkConfig(jointSchema, checkpoint.config, path);
    const weights = weightsOf(checkpoint, ema);
    const model = jointDdpm(config, shape);
    model.latents!.network.loadStateDict(under("autoencoder.", weights));
    model.network.loadStateDict(under("denoiser.", weights));
    return { model, step };
  }
  if (checkpoint.model !== "ddpm") {
    throw new SyntaxError(
      `Cannot use ${path} as it is a checkpoint of ${checkpoint.model}, not of ddpm or joint`,
    );
  }
  const config = checkConfig(ddpmSchema, checkpoint.config, path);
  const latents = config.latent && new FrozenLatents(config.latent, shape);
  const model = new DdpmModel(config, shape, latents);
  loadWeights(model.network, checkpoint, ema);
  latents?.restoreExtra(under("extra.", tensors));
  return { model, step };
}

/** A diffusion model whose latents are trained with it. */
export function jointDdpm(config: JointConfig, shape: DataShape): DdpmModel {
  const network = buildAutoencoder(
    config.autoencoder,
    shape,
    new Rng(config.seed, AUTOENCODER_STREAM.weights),
  );
  return new DdpmModel(
    { ...config, model: "ddpm" },
    shape,
    new Latents(network, shape),
  );
}
