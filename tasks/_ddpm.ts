/**
 * A diffusion model and its training: network, moving average, optimizer, and everything that a
 * checkpoint holds of them, so that a resumed run continues bit for bit. A training step is captured
 * and replayed.
 *
 * @module
 */
import {
  AdamW,
  autocast,
  type Batch,
  capture,
  type CapturedStep,
  type CaptureInfo,
  clipScale,
  concat,
  type Dataset,
  Ema,
  GaussianDiffusion,
  gradients,
  type HostTensor,
  narrow,
  parseSafetensors,
  Rng,
  type RngState,
  sampleAncestral,
  sampleDdim,
  saveSafetensors,
  type Schedule,
  schedules,
  scope,
  type Tensor,
  tensor,
  toBytes,
  UNet,
} from "../mod.ts";
import { checkConfig } from "./_config.ts";
import { type DdpmConfig, ddpmSchema } from "./_ddpm_config.ts";

/** Streams of the run's seed; ancestral noise has one per batch of samples from its own on. */
const STREAM = {
  weights: 1,
  timesteps: 2,
  noise: 3,
  dropout: 4,
  samples: 5,
  ancestral: 1_000,
} as const;
/** Images that go through the network at once while sampling. */
const SAMPLE_BATCH = 64;
/** Value of the metadata key `format` of a checkpoint. */
const FORMAT = "denoise-ddpm-1";

/** What describes the data to a model: stored in the checkpoint, so that sampling needs no flags. */
export interface DataShape {
  /** Image channels. */
  channels: number;
  /** Pixels. */
  height: number;
  /** Pixels. */
  width: number;
  /** Names of the classes trained on, by the network's ids. */
  classNames: string[];
}

/** How samples are drawn. */
export interface SampleOptions {
  /** Number of images. */
  count: number;
  /** Seed of the noise. */
  seed: number;
  /** `ddpm` is ancestral. */
  sampler: "ddpm" | "ddim";
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

/** The shape of a data set as a model needs it. */
export function shapeOf(dataset: Dataset): DataShape {
  const { channels, height, width, classes, classNames } = dataset;
  return {
    channels,
    height,
    width,
    classNames: classes.map((id) => classNames[id]!),
  };
}

/** Thrown through a sampler to stop it. */
class Cancelled extends Error {}

/** Network and process of a configuration. */
export class DdpmModel {
  /** The noise predictor. */
  readonly unet: UNet;
  /** The noising process. */
  readonly diffusion: GaussianDiffusion;
  /** As configured. */
  readonly config: DdpmConfig;
  /** Of the images. */
  readonly shape: DataShape;

  /** Draws the initial weights from the configuration's seed. */
  constructor(config: DdpmConfig, shape: DataShape) {
    this.config = config;
    this.shape = shape;
    this.diffusion = new GaussianDiffusion(config.diffusion);
    this.unet = new UNet({
      ...config.unet,
      inChannels: shape.channels,
      numClasses: config.conditional ? shape.classNames.length + 1 : undefined,
    }, new Rng(config.seed, STREAM.weights));
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
          this.unet.forward(x, t, { y });
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

  /** One line on how far the schedule goes, with a warning if it never reaches noise. */
  scheduleReport(): string {
    const { schedule, timesteps } = this.config.diffusion;
    const left = Math.sqrt(this.diffusion.alphasCumprod[timesteps - 1]!);
    const line = `Schedule: ${schedule}, ${timesteps} timesteps, √ᾱ_T = ${
      left.toExponential(1)
    }`;
    if (left < 0.02) return line;
    return `${line}\nwarning: ${
      (100 * left).toFixed(0)
    } % of the signal's amplitude is left at the ` +
      "last timestep, but sampling starts from pure noise: use more timesteps, a larger " +
      "diffusion.betaEnd or the cosine schedule";
  }
}

/** What a step is given: floats in [-1, 1], and class ids. */
type StepInput = "images" | "labels";

/** A `DdpmModel` with what training adds to it. */
export class DdpmTrainer extends DdpmModel {
  /** Updates the weights. */
  readonly optimizer: AdamW;
  /** The moving average that samples are drawn with. */
  readonly ema: Ema;
  /** Optimizer steps done. */
  step = 0;
  /** Seconds of training before, as far as a checkpoint tells. */
  seconds = 0;
  readonly #schedule: Schedule;
  readonly #rngs: Readonly<Record<"timesteps" | "noise" | "dropout", Rng>>;
  /** Captured when first needed, as the capture compiles the kernels. */
  #captured: CapturedStep<StepInput, "loss" | "norm"> | undefined;
  /** Loss and gradient norm of steps since the last log line, as far as they were read. */
  #rows: [loss: number, norm: number][] = [];
  #unread = 0;

  /** Draws the initial weights from the configuration's seed. */
  constructor(config: DdpmConfig, shape: DataShape) {
    super(config, shape);
    const { learningRate, betas, eps, weightDecay, warmupSteps, schedule } =
      config.optimizer;
    const named = this.unet.namedParameters();
    this.optimizer = new AdamW(named, {
      learningRate,
      betas,
      eps,
      weightDecay,
    });
    this.ema = new Ema(named, config.ema);
    const rest = schedule === "cosine"
      ? schedules.warmupCosine(learningRate, {
        warmupSteps,
        totalSteps: config.steps,
      })
      : schedules.constant(learningRate);
    this.#schedule = (step) =>
      step < warmupSteps ? learningRate * (step + 1) / warmupSteps : rest(step);
    this.#rngs = {
      timesteps: new Rng(config.seed, STREAM.timesteps),
      noise: new Rng(config.seed, STREAM.noise),
      dropout: new Rng(config.seed, STREAM.dropout),
    };
  }

  /** Learning rate of a step, counted from 0. */
  learningRate(step: number): number {
    return this.#schedule(step);
  }

  /** Steps whose losses `takeLosses` has not returned yet. */
  get pendingSteps(): number {
    return this.#rows.length + this.#unread;
  }

  /** Memory and work of a step; undefined before the first. */
  get stepInfo(): CaptureInfo | undefined {
    return this.#captured?.info;
  }

  /** One optimizer step on a batch. Nothing is waited for. */
  train({ images, labels }: Batch): void {
    this.#captured ??= this.#capture();
    this.optimizer.learningRate = this.learningRate(this.step);
    this.#captured.replay({ images, labels });
    this.#unread++;
    this.step++;
  }

  #capture(): CapturedStep<StepInput, "loss" | "norm"> {
    const { config, shape, diffusion } = this;
    const n = config.batchSize;
    const { timesteps: drawT, noise: drawNoise, dropout: rng } = this.#rngs;
    const parameters = this.unet.parameters();
    const { gradientClip } = config.optimizer;
    return capture(({ images, labels }: Record<StepInput, Tensor>) => {
      const t = drawT.integers([n], 0, diffusion.timesteps);
      const y = config.conditional ? labels : undefined;
      const denoise = (x: Tensor, t: Tensor) =>
        this.unet.forward(x, t, { y, training: true, rng });
      const forward = () => diffusion.loss(denoise, images, t, drawNoise);
      const loss = config.storage === "f16"
        ? autocast("f16", forward)
        : forward();
      const found = gradients(loss, parameters);
      const { norm, scale } = clipScale(found, gradientClip || Infinity);
      this.optimizer.step(found, { scale, ema: this.ema });
      return { loss: loss.detach(), norm };
    }, {
      inputs: {
        images: { shape: [n, shape.channels, shape.height, shape.width] },
        labels: { shape: [n], dtype: "i32" },
      },
      rows: Math.max(64, config.logEvery),
    });
  }

  /** Mean loss and gradient norm since the last call; waits for the device. */
  async takeLosses(): Promise<{ loss: number; gradNorm: number }> {
    await this.#readRows();
    const rows = this.#rows.splice(0);
    const mean = (column: 0 | 1) =>
      rows.reduce((sum, row) => sum + row[column], 0) / rows.length;
    return { loss: mean(0), gradNorm: mean(1) };
  }

  async #readRows(): Promise<void> {
    const outputs = await this.#captured?.outputs() ?? [];
    for (const { loss, norm } of outputs) this.#rows.push([loss[0]!, norm[0]!]);
    this.#unread = 0;
  }

  /** `sample` with the moving average for weights. Classes are drawn in turn. */
  sampleEma(options: Omit<SampleOptions, "classes">): Promise<
    Uint8Array<ArrayBuffer> | undefined
  > {
    const { length } = this.shape.classNames;
    const classes = this.config.conditional
      ? Int32Array.from({ length: options.count }, (_, i) => i % length)
      : undefined;
    return this.ema.withWeights(() => this.sample({ ...options, classes }));
  }

  /** All that `restore` needs, as a safetensors file. */
  async checkpoint(): Promise<Uint8Array> {
    await this.#readRows();
    const pending: HostTensor = {
      dtype: "f32",
      shape: [this.#rows.length, 2],
      data: Float32Array.from(this.#rows.flat()),
    };
    return await saveSafetensors({
      ...this.unet.stateDict("model."),
      ...this.ema.stateDict("ema."),
      ...this.optimizer.stateDict("optimizer."),
      "train.pending": pending,
    }, {
      format: FORMAT,
      step: String(this.step),
      seconds: String(this.seconds),
      rng: JSON.stringify(
        Object.fromEntries(
          Object.entries(this.#rngs).map(([name, { state }]) => [name, state]),
        ),
      ),
      config: JSON.stringify(this.config),
      shape: JSON.stringify(this.shape),
    });
  }

  /**
   * Takes over a checkpoint of the same configuration.
   *
   * @param path For messages.
   * @throws {SyntaxError} If the file is not a whole checkpoint.
   * @throws {TypeError} If it is of another architecture; the message names the differences.
   */
  restore(bytes: Uint8Array<ArrayBuffer>, path: string): void {
    const { tensors, step, seconds, rng } = readCheckpoint(bytes, path);
    const { "train.pending": pending, ...rest } = tensors;
    this.unet.loadStateDict(under("model.", rest));
    this.ema.loadStateDict(under("ema.", rest));
    this.optimizer.loadStateDict(under("optimizer.", rest));
    for (const [name, generator] of Object.entries(this.#rngs)) {
      generator.state = rng[name]!;
    }
    const data = pending?.data ?? [];
    this.#rows = Array.from(
      { length: data.length / 2 },
      (_, i) => [data[2 * i]!, data[2 * i + 1]!],
    );
    this.step = step;
    this.seconds = seconds;
  }
}

function under<T>(
  prefix: string,
  entries: Record<string, T>,
): Record<string, T> {
  return Object.fromEntries(
    Object.entries(entries).flatMap(([name, value]) =>
      name.startsWith(prefix) ? [[name.slice(prefix.length), value]] : []
    ),
  );
}

interface Checkpoint {
  tensors: Record<string, HostTensor>;
  step: number;
  seconds: number;
  rng: Record<string, RngState>;
  config: DdpmConfig;
  shape: DataShape;
}

function readCheckpoint(
  bytes: Uint8Array<ArrayBuffer>,
  path: string,
): Checkpoint {
  const { tensors, metadata } = parse(bytes, path);
  if (metadata.format !== FORMAT) {
    throw new SyntaxError(
      `Cannot read ${path} as it is no checkpoint of train ddpm: its format is ` +
        `${metadata.format ?? "not given"}, want ${FORMAT}`,
    );
  }
  return {
    tensors,
    step: Number(metadata.step),
    seconds: Number(metadata.seconds),
    rng: JSON.parse(metadata.rng!),
    config: checkConfig(ddpmSchema, JSON.parse(metadata.config!), path),
    shape: JSON.parse(metadata.shape!),
  };
}

function parse(bytes: Uint8Array<ArrayBuffer>, path: string) {
  try {
    return parseSafetensors(bytes);
  } catch (error) {
    throw new SyntaxError(`Cannot read ${path}: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

/**
 * The model in a checkpoint, ready to sample.
 *
 * @param path For messages.
 * @param ema Whether to take the moving average of the weights.
 * @throws {SyntaxError} If the file is not a whole checkpoint.
 */
export function loadDdpm(
  bytes: Uint8Array<ArrayBuffer>,
  path: string,
  ema: boolean,
): { model: DdpmModel; step: number } {
  const { tensors, step, config, shape } = readCheckpoint(bytes, path);
  const model = new DdpmModel(config, shape);
  const { num_updates: _, ...weights } = under(
    ema ? "ema." : "model.",
    tensors,
  );
  model.unet.loadStateDict(weights);
  return { model, step };
}
