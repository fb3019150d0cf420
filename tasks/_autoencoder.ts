/**
 * An autoencoder of a configuration, the first stage of latent diffusion: what its training minimises,
 * its reconstructions, and how another run takes it over.
 *
 * @module
 */
import {
  AutoencoderKl,
  type Batch,
  countFlops,
  type Dataset,
  gaussianKl,
  type HostTensor,
  narrow,
  noGrad,
  normalize,
  reshape,
  Rng,
  samplePosterior,
  scope,
  sum,
  type Tensor,
  tensor,
  toBytes,
  turn,
  zeros,
} from "../mod.ts";
import {
  type autoencoder,
  type AutoencoderConfig,
  autoencoderSchema,
} from "./_autoencoder_config.ts";
import { checkpointOf } from "./_checkpoint.ts";
import { UsageError, userPath } from "./_cli.ts";
import { checkConfig, type z } from "./_config.ts";
import { type JointConfig, jointSchema } from "./_joint_config.ts";
import type { Chart } from "./_plots.ts";
import { RunFolder } from "./_run_folder.ts";
import {
  type DataShape,
  type Losses,
  type Picture,
  readCheckpoint,
  type Trainable,
  under,
  weightsOf,
} from "./_trainer.ts";

/** Streams of the run's seed, none of which a diffusion model has. */
export const AUTOENCODER_STREAM = { weights: 31, latents: 32 } as const;
/** Images that go through the network at once while evaluating. */
const BATCH = 64;
/** Most images whose reconstructions are drawn: with them, a grid of 8 × 8. */
const PICTURED = 32;
/** Mean divergence from which a latent value is said to be in use, in nats (Burda et al. 2016, §5.2). */
const IN_USE = 0.01;

/** What is drawn of the log. */
const CHARTS: readonly Chart[] = [
  {
    file: "curves",
    yTitle: "Nats per value of an image",
    curves: { loss: "training loss", reconstruction: "reconstruction" },
  },
  {
    file: "divergence",
    yTitle: "KL divergence (nats per image)",
    curves: { kl: "training data" },
  },
  {
    file: "reconstruction",
    yTitle: "Mean square error",
    curves: { mse_train: "train", mse_test: "test" },
    logY: true,
  },
];

/**
 * Builds the network of a configuration's section.
 *
 * @throws {UsageError} If the images cannot be halved so often.
 */
export function buildAutoencoder(
  section: z.output<typeof autoencoder>,
  { channels, height, width }: DataShape,
  rng: Rng,
): AutoencoderKl {
  const factor = 2 ** (section.multipliers.length - 1);
  if (height % factor !== 0 || width % factor !== 0) {
    throw new UsageError(
      `Cannot use this autoencoder as it makes images ${factor} times smaller, so sides must be ` +
        `multiples of ${factor} pixels: they are ${height} × ${width}. Use fewer levels or, for a folder of images, set imageSize`,
    );
  }
  return new AutoencoderKl({ ...section, inChannels: channels }, rng);
}

/** Losses of an autoencoder by name, with the divergence of each channel. */
export function namedLosses(
  { klPerChannel, ...losses }: ReturnType<AutoencoderKl["losses"]>,
): Losses {
  const channels = Array.from({ length: klPerChannel.size }, (_, c) => [
    `kl_channel_${c}`,
    reshape(narrow(klPerChannel, 0, c, c + 1), []),
  ]);
  return { ...losses, ...Object.fromEntries(channels) };
}

/** Images that stand for a data set, and what becomes of them: kept in the checkpoint. */
export class Reconstructions {
  readonly #shape: DataShape;
  /** `[N, C, H, W]`, in [-1, 1]. */
  #images: Float32Array<ArrayBuffer> = new Float32Array();

  constructor(shape: DataShape) {
    this.#shape = shape;
  }

  /** Keeps images of the first batch that it is shown: a number that fills rows in turns. */
  look({ images, labels }: Batch): void {
    if (this.#images.length > 0) return;
    const rows = Math.floor(Math.sqrt(Math.min(labels.length, PICTURED) / 2));
    const count = Math.max(1, 2 * rows ** 2);
    this.#images = images.slice(0, count * images.length / labels.length);
  }

  get state(): Record<string, HostTensor> {
    const { channels, height, width } = this.#shape;
    const shape = [-1, channels, height, width];
    shape[0] = this.#images.length / (channels * height * width);
    return { pictured: { dtype: "f32", shape, data: this.#images } };
  }

  set state({ pictured }: Readonly<Record<string, HostTensor>>) {
    this.#images = pictured!.data as Float32Array<ArrayBuffer>;
  }

  /** A grid whose rows are images and their reconstructions in turn. */
  async picture(network: AutoencoderKl): Promise<Picture> {
    const { shape, data } = this.state.pictured!;
    const count = shape[0]!, size = data.length / count;
    const decoded = await scope(() =>
      noGrad(() => {
        const { mean } = network.encode(tensor(this.#images, shape));
        return network.decode(mean).data();
      })
    );
    const columns = Math.ceil(Math.sqrt(2 * count));
    const bytes = new Uint8Array(2 * data.length);
    for (let from = 0; from < count; from += columns) {
      const row = [data, decoded].map((images) =>
        toBytes(images.subarray(from * size, (from + columns) * size))
      );
      bytes.set(row[0]!, 2 * from * size);
      bytes.set(row[1]!, 2 * from * size + row[0]!.length);
    }
    return { bytes, count: 2 * count };
  }
}

/** Batches of images spread evenly over a data set, which may be sorted, `count` in all. */
export function* spread(
  dataset: Dataset,
  count: number,
): Iterable<Omit<Batch, "indices">> {
  const { channels, height, width, length, labelToDense } = dataset;
  const size = channels * height * width;
  const total = Math.min(count, length);
  for (let from = 0; from < total; from += BATCH) {
    const n = Math.min(BATCH, total - from);
    const images = new Float32Array(n * size), labels = new Int32Array(n);
    for (let i = 0; i < n; i++) {
      const at = Math.floor((from + i) * length / total);
      normalize(
        dataset.images.subarray(at * size, (at + 1) * size),
        images.subarray(i * size, (i + 1) * size),
      );
      labels[i] = labelToDense.get(dataset.labels[at]!) ?? 0;
    }
    yield { images, labels };
  }
}

/**
 * How well a network reconstructs images from the means of their latents.
 *
 * @returns `l1` and `mse` per value, in units of [-1, 1]; `kl` in nats per image; `latents_in_use`, those
 *   whose divergence is above 0.01 nats on average. Undefined if cancelled.
 */
async function judge(
  network: AutoencoderKl,
  dataset: Dataset,
  count: number,
  isCancelled: () => boolean,
): Promise<Record<string, number> | undefined> {
  const { channels, height, width } = dataset;
  let l1 = 0, squares = 0, values = 0, images = 0;
  let divergence = new Float64Array();
  for (const { images: pixels, labels } of spread(dataset, count)) {
    const n = labels.length;
    const [decoded, kl] = await scope(() =>
      noGrad(() => {
        const x = tensor(pixels, [n, channels, height, width]);
        const { mean, logVariance } = network.encode(x);
        const kl = sum(gaussianKl(mean, logVariance), { axis: 0 });
        return Promise.all([network.decode(mean).data(), kl.data()]);
      })
    );
    pixels.forEach((value, i) => {
      const error = Math.abs(value - decoded[i]!);
      l1 += error;
      squares += error ** 2;
    });
    if (images === 0) divergence = new Float64Array(kl.length);
    kl.forEach((value, i) => divergence[i]! += value);
    values += pixels.length;
    images += n;
    await turn();
    if (isCancelled()) return undefined;
  }
  return {
    l1: l1 / values,
    mse: squares / values,
    kl: divergence.reduce((total, value) => total + value, 0) / images,
    latents_in_use:
      divergence.filter((value) => value / images > IN_USE).length,
  };
}

/** `judge` on both parts of the data, by names that end in `_train` and `_test`. */
export async function evaluateAutoencoder(
  network: AutoencoderKl,
  data: { readonly train: Dataset; readonly test: Dataset },
  count: number,
  isCancelled: () => boolean,
): Promise<Record<string, number> | undefined> {
  const named: [string, number][] = [];
  for (const part of ["train", "test"] as const) {
    const found = await judge(network, data[part], count, isCancelled);
    if (!found) return undefined;
    for (const [name, value] of Object.entries(found)) {
      named.push([`${name}_${part}`, value]);
    }
  }
  return Object.fromEntries(named);
}

/** Network and loss of a configuration. */
export class AutoencoderModel implements Trainable<AutoencoderConfig> {
  readonly charts = CHARTS;
  readonly config: AutoencoderConfig;
  readonly shape: DataShape;
  readonly network: AutoencoderKl;
  readonly rngs: Readonly<Record<"latents", Rng>>;
  readonly #reconstructions: Reconstructions;

  /** Draws the initial weights from the configuration's seed. */
  constructor(config: AutoencoderConfig, shape: DataShape) {
    const { seed } = config;
    this.config = config;
    this.shape = shape;
    this.network = buildAutoencoder(
      config.autoencoder,
      shape,
      new Rng(seed, AUTOENCODER_STREAM.weights),
    );
    this.rngs = { latents: new Rng(seed, AUTOENCODER_STREAM.latents) };
    this.#reconstructions = new Reconstructions(shape);
  }

  prepare(batch: Batch) {
    this.#reconstructions.look(batch);
    return { images: batch.images, labels: batch.labels };
  }

  losses({ images }: Readonly<Record<string, Tensor>>): Losses {
    const posterior = this.network.encode(images!);
    const z = samplePosterior(posterior, this.rngs.latents);
    noGrad(() => this.network.normalize(z.detach(), { training: true })); // follows the latents
    return namedLosses(
      this.network.losses(images!, posterior, z, this.config.loss),
    );
  }

  extraState(): Record<string, HostTensor> {
    return this.#reconstructions.state;
  }

  restoreExtra(state: Readonly<Record<string, HostTensor>>): void {
    this.#reconstructions.state = state;
  }

  flops(): number {
    const { channels, height, width } = this.shape;
    const { network } = this;
    return countFlops(() =>
      network.decode(network.encode(zeros([1, channels, height, width])).mean)
    );
  }

  report(): string[] {
    const { channels, height, width } = this.shape;
    const { factor, options: { latentChannels } } = this.network;
    const [h, w] = [height / factor, width / factor];
    return [
      `Latents: ${w} × ${h} × ${latentChannels} (f = ${factor}), ${
        w * h * latentChannels
      } values for the ${channels * height * width} of an image`,
    ];
  }

  async picture(): Promise<Picture> {
    return await this.#reconstructions.picture(this.network);
  }

  async evaluate(
    data: { readonly train: Dataset; readonly test: Dataset },
    isCancelled: () => boolean,
  ): Promise<Record<string, number> | undefined> {
    const { count } = this.config.evaluation;
    return await evaluateAutoencoder(this.network, data, count, isCancelled);
  }
}

/** An autoencoder that was trained. */
export interface LoadedAutoencoder {
  /** With the moving average for weights. */
  network: AutoencoderKl;
  /** Of it, by name. */
  weights: Record<string, HostTensor>;
  /** The same with the weights that it started from. */
  untrained: () => AutoencoderKl;
  /** As configured. */
  config: AutoencoderConfig | JointConfig;
  /** Of its images. */
  shape: DataShape;
  /** Where it comes from. */
  run: RunFolder;
  /** Training steps. */
  step: number;
}

/**
 * The autoencoder in a run of its own, or of a joint model.
 *
 * @param path A run folder, or a checkpoint in one.
 * @throws {UsageError} If there is no run of an autoencoder.
 */
export async function loadAutoencoder(
  path: string,
): Promise<LoadedAutoencoder> {
  const full = userPath(path);
  const run = await RunFolder.open(full);
  const { path: file, bytes } = await checkpointOf(run, full, console.error);
  const checkpoint = readCheckpoint(bytes, file);
  const { model } = checkpoint;
  if (model !== "autoencoder" && model !== "joint") {
    throw new UsageError(
      `Cannot use ${run.path} as it is a run of ${model}: train an autoencoder`,
    );
  }
  const config = model === "joint"
    ? checkConfig(jointSchema, checkpoint.config, file)
    : checkConfig(autoencoderSchema, checkpoint.config, file);
  const { shape, step } = checkpoint;
  const untrained = () =>
    buildAutoencoder(
      config.autoencoder,
      shape,
      new Rng(config.seed, AUTOENCODER_STREAM.weights),
    );
  const network = untrained();
  const all = weightsOf(checkpoint, true);
  const weights = model === "joint" ? under("autoencoder.", all) : all;
  network.loadStateDict(weights);
  return { network, weights, untrained, config, shape, run, step };
}
