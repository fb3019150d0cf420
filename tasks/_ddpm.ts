/**
 * A diffusion model of a configuration: what its training minimises, and how it is sampled.
 *
 * @module
 */
import {
  type Batch,
  concat,
  type DenoiserNetwork,
  GaussianDiffusion,
  narrow,
  Rng,
  sampleAncestral,
  sampleDdim,
  scope,
  type Tensor,
  tensor,
  toBytes,
} from "../mod.ts";
import { philoxWords, toUnit } from "../tensor/philox.ts";
import { checkConfig } from "./_config.ts";
import { type DdpmConfig, ddpmSchema } from "./_ddpm_config.ts";
import { buildNetwork } from "./_network_config.ts";
import {
  type DataShape,
  loadWeights,
  type Picture,
  readCheckpoint,
  type Trainable,
} from "./_trainer.ts";

/** Streams of the run's seed; ancestral noise has one per batch of samples from its own on. */
const STREAM = {
  weights: 1,
  timesteps: 2,
  noise: 3,
  dropout: 4,
  samples: 5,
  labels: 6,
  ancestral: 1_000,
} as const;
/** Images that go through the network at once while sampling. */
const SAMPLE_BATCH = 64;

/** How samples are drawn. */
export interface SampleOptions {
  /** Number of images. */
  count: number;
  /** Seed of the noise. */
  seed: number;
  /** `ddpm` is ancestral. */
  sampler: DdpmConfig["samples"]["sampler"];
  /** Network evaluations; defaults to all timesteps. */
  steps?: number;
  /** Of ddim; defaults to 0. */
  eta?: number;
  /** Class ids, one per image; for a conditional model. */
  classes?: Int32Array<ArrayBuffer>;
  /** Called after each network evaluation. */
  onStep?: (done: number) => void;
  /** Asked after each network evaluation. */
  isCancelled?: () => boolean;
}

/** Thrown through a sampler to stop it. */
class Cancelled extends Error {}

/** Network and process of a configuration. */
export class DdpmModel implements Trainable<DdpmConfig> {
  readonly lossTitle = "mean squared error of the predicted noise";
  /** The denoiser. */
  readonly network: DenoiserNetwork;
  /** The noising process. */
  readonly diffusion: GaussianDiffusion;
  readonly config: DdpmConfig;
  readonly shape: DataShape;
  readonly rngs: Readonly<Record<"timesteps" | "noise" | "dropout", Rng>>;

  /** Draws the initial weights from the configuration's seed. */
  constructor(config: DdpmConfig, shape: DataShape) {
    this.config = config;
    this.shape = shape;
    this.diffusion = new GaussianDiffusion(config.diffusion as never);
    const { channels, height, width, classNames } = shape;
    const { seed, conditional, labelDropout } = config;
    this.network = buildNetwork(config, {
      inChannels: channels,
      outChannels: channels,
      height,
      width,
      // One row more for "no class", where that is trained.
      numClasses: conditional
        ? classNames.length + Number(labelDropout > 0)
        : undefined,
    }, new Rng(seed, STREAM.weights));
    this.rngs = {
      timesteps: new Rng(seed, STREAM.timesteps),
      noise: new Rng(seed, STREAM.noise),
      dropout: new Rng(seed, STREAM.dropout),
    };
  }

  prepare({ images, labels }: Batch, step: number) {
    return { images, labels: this.#dropLabels(labels, step) };
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

  losses({ images, labels }: Readonly<Record<string, Tensor>>) {
    const { config, diffusion, network } = this;
    const { timesteps, noise, dropout: rng } = this.rngs;
    const t = timesteps.integers(
      [config.batchSize],
      config.loss.firstTimestep,
      diffusion.timesteps,
    );
    const y = config.conditional ? labels : undefined;
    const denoise = (x: Tensor, t: Tensor) =>
      network.forward(x, t, { y, training: true, rng });
    return { loss: diffusion.loss(denoise, images!, t, noise) };
  }

  report(): string[] {
    const { schedule, timesteps } = this.config.diffusion;
    const left = Math.sqrt(this.diffusion.alphasCumprod[timesteps - 1]!);
    const line = `Schedule: ${schedule}, ${timesteps} timesteps, √ᾱ_T = ${
      left.toExponential(1)
    }`;
    if (left < 0.02) return [line];
    return [
      line,
      `warning: ${
        (100 * left).toFixed(0)
      } % of the signal's amplitude is left at the ` +
      "last timestep, but sampling starts from pure noise: use more timesteps, a larger " +
      "diffusion.betaEnd or the cosine schedule",
    ];
  }

  /** Classes of `count` images, in turn. */
  classesInTurn(
    count: number,
    wanted = this.shape.classNames.map((_, id) => id),
  ): Int32Array<ArrayBuffer> | undefined {
    if (!this.config.conditional) return undefined;
    return Int32Array.from(
      { length: count },
      (_, i) => wanted[i % wanted.length]!,
    );
  }

  async picture(isCancelled: () => boolean): Promise<Picture | undefined> {
    const { samples, seed } = this.config;
    const { count } = samples;
    const bytes = await this.sample({
      ...samples,
      steps: samples.sampler === "ddpm" ? undefined : samples.steps,
      seed,
      classes: this.classesInTurn(count),
      isCancelled,
    });
    return bytes && { bytes, count };
  }

  /** Batches in which `sample` draws so many images. */
  batchesFor(count: number): number {
    return Math.ceil(count / SAMPLE_BATCH);
  }

  /**
   * Draws images.
   *
   * @returns Bytes 0 to 255, `[count, C, H, W]`; undefined if cancelled.
   */
  async sample(
    options: SampleOptions,
  ): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const { count, seed, sampler, eta = 0, classes } = options;
    const { channels, height, width } = this.shape;
    const steps = options.steps ?? this.diffusion.timesteps;
    const onStep = (done: number) => {
      if (options.isCancelled?.()) throw new Cancelled();
      options.onStep?.(done);
    };
    const draw = async () => {
      // All starting noise is one draw, so that it does not depend on the batch size.
      const noise = new Rng(seed, STREAM.samples).normal([
        count,
        channels,
        height,
        width,
      ]);
      const pieces: Tensor[] = [];
      for (let i = 0; i < this.batchesFor(count); i++) {
        const from = i * SAMPLE_BATCH,
          to = Math.min(count, from + SAMPLE_BATCH);
        const xT = narrow(noise, 0, from, to);
        const y = classes && tensor(classes.slice(from, to));
        const denoise = (x: Tensor, t: Tensor) =>
          this.network.forward(x, t, { y });
        const rng = new Rng(seed, STREAM.ancestral + i);
        const common = {
          steps,
          onStep: (done: number) => onStep(i * steps + done),
        };
        pieces.push(
          sampler === "ddpm"
            ? await sampleAncestral(this.diffusion, denoise, xT, rng, common)
            : await sampleDdim(this.diffusion, denoise, xT, {
              ...common,
              eta,
              rng,
            }),
        );
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
  if (checkpoint.model !== "ddpm") {
    throw new SyntaxError(
      `Cannot use ${path} as it is a checkpoint of ${checkpoint.model}, not of ddpm`,
    );
  }
  const config = checkConfig(ddpmSchema, checkpoint.config, path);
  const model = new DdpmModel(config, checkpoint.shape);
  loadWeights(model.network, checkpoint, ema);
  return { model, step: checkpoint.step };
}
