/**
 * A variational autoencoder of a configuration: what its training lowers, how well it bounds the
 * likelihood of images, and its reconstructions.
 *
 * @module
 */
import {
  type Batch,
  BernoulliLikelihood,
  binarize,
  concat,
  ConvVae,
  countFlops,
  type Dataset,
  DiscretizedGaussianLikelihood,
  elboTerms,
  exp,
  GaussianLikelihood,
  type HostTensor,
  importanceWeightedBound,
  type Likelihood,
  type Live,
  live,
  mean,
  Module,
  narrow,
  noGrad,
  type Posterior,
  Rng,
  schedules,
  scope,
  SharedScaleLikelihood,
  type Tensor,
  tensor,
  toBytes,
  turn,
  Vae,
  type VaeInputs,
  vaeLoss,
  type VaeNetwork,
  zeros,
} from "../mod.ts";
import { spread } from "./_autoencoder.ts";
import { checkConfig } from "./_config.ts";
import { inTurn } from "./_generator.ts";
import type { Chart } from "./_plots.ts";
import type { RunFolder } from "./_run_folder.ts";
import {
  type DataShape,
  loadWeights,
  type Losses,
  type Picture,
  readCheckpoint,
  type Trainable,
} from "./_trainer.ts";
import { type VaeConfig, vaeSchema } from "./_vae_config.ts";
import { saveFigures } from "./_vae_figures.ts";

/** Streams of the run's seed, or of that of `sample`. */
export const VAE_STREAM = {
  weights: 41,
  latents: 42,
  binarize: 43,
  evaluation: 44,
  pictured: 45,
  samples: 46,
  mixture: 47,
  draws: 1_000, // and one more for each image
} as const;
/** Images that go through the decoder at once while evaluating. */
const BATCH = 512;
/** Most images whose reconstructions are drawn. */
const PICTURED = 16;
/** Mean divergence from which a latent is said to be in use, in nats (Burda et al. 2016, §5.2). */
const IN_USE = 0.01;

/** What is drawn of the log. */
const CHARTS: readonly Chart[] = [
  {
    file: "curves",
    yTitle: "Nats per image",
    curves: { loss: "training loss", reconstruction: "reconstruction" },
  },
  {
    file: "divergence",
    yTitle: "KL divergence (nats per image)",
    curves: { kl: "training data" },
  },
  {
    file: "elbo",
    yTitle: "Bound on the log likelihood (nats per image)",
    curves: { elbo_train: "train", elbo_test: "test" },
  },
  {
    file: "bits",
    yTitle: "Bound on the negative log likelihood (bits/dim)",
    curves: { bits_per_dim_train: "train", bits_per_dim_test: "test" },
  },
];

/** Network and likelihood, whose width may be learned. */
class VaeParts extends Module {
  readonly vae: VaeNetwork;
  readonly likelihood: Likelihood;

  constructor(vae: VaeNetwork, likelihood: Likelihood) {
    super();
    this.vae = vae;
    this.likelihood = likelihood;
  }
}

function buildVae(
  { dense, conv, latent, conditional, seed }: VaeConfig,
  { channels, height, width, classNames }: DataShape,
): VaeNetwork {
  const common = {
    shape: [channels, height, width] as const,
    latent,
    numClasses: conditional ? classNames.length : undefined,
  };
  const rng = new Rng(seed, VAE_STREAM.weights);
  return conv
    ? new ConvVae({ ...conv, ...common }, rng)
    : new Vae({ ...dense, ...common }, rng);
}

function buildLikelihood({ likelihood }: VaeConfig): Likelihood {
  const { type, ...options } = likelihood;
  switch (type) {
    case "bernoulli":
      return new BernoulliLikelihood();
    case "gaussian":
      return new GaussianLikelihood(options);
    case "discretized":
      return new DiscretizedGaussianLikelihood(options);
  }
}

/** What `bound` finds, by the names in the log. */
export interface VaeBound {
  elbo: number;
  /** By importance weighting. */
  iwae?: number;
  reconstruction: number;
  kl: number;
  /** Of likelihoods that are probabilities. */
  bits_per_dim?: number;
  latents_in_use: number;
  /** Of `elbo`, as the images are a sample. */
  standardError: number;
}

/** Network, likelihood and loss of a configuration. */
export class VaeModel implements Trainable<VaeConfig> {
  readonly charts = CHARTS;
  readonly config: VaeConfig;
  readonly shape: DataShape;
  readonly network: VaeParts;
  readonly rngs: Readonly<Record<"latents" | "binarize", Rng>>;
  /** Of the step under way. */
  #step = 0;
  /** Images that stand for the data set, `[N, C, H, W]` in [-1, 1], and their classes. */
  #pictured = { images: new Float32Array(), labels: new Int32Array() };

  /**
   * Draws the initial weights from the configuration's seed.
   *
   * @throws {RangeError} If the network does not fit the data.
   */
  constructor(config: VaeConfig, shape: DataShape) {
    const { seed } = config;
    this.config = config;
    this.shape = shape;
    this.network = new VaeParts(
      buildVae(config, shape),
      buildLikelihood(config),
    );
    this.rngs = {
      latents: new Rng(seed, VAE_STREAM.latents),
      binarize: new Rng(seed, VAE_STREAM.binarize),
    };
  }

  prepare(batch: Batch, step: number) {
    this.#step = step;
    const { images, labels } = batch;
    if (this.#pictured.labels.length === 0) {
      const count = Math.min(PICTURED, labels.length);
      this.#pictured = {
        images: images.slice(0, count * images.length / labels.length),
        labels: labels.slice(0, count),
      };
    }
    return { images, labels };
  }

  losses({ images, labels }: Readonly<Record<string, Tensor>>): Losses {
    const { network: { vae, likelihood }, rngs } = this;
    const x = this.#seen(images!, rngs.binarize);
    const { loss, reconstruction, kl } = vaeLoss(vae, likelihood, x, {
      ...this.#told(labels!),
      training: true,
      rng: rngs.latents,
      beta: this.#beta(),
      freeBits: this.config.loss.freeBits,
    });
    return {
      loss: mean(loss),
      reconstruction: mean(reconstruction),
      kl: mean(kl),
      ...(likelihood instanceof SharedScaleLikelihood
        ? { sigma: exp(likelihood.log_scale) }
        : {}),
    };
  }

  #beta(): number | Live {
    const { beta, warmupSteps } = this.config.loss;
    if (warmupSteps === 0) return beta;
    const rise = schedules.linearWarmup(beta, { warmupSteps, startFactor: 0 });
    return live(() => rise(this.#step));
  }

  /** Images as the network is shown them. */
  #seen(images: Tensor, rng: Rng): Tensor {
    const how = this.config.likelihood.binarize;
    if (how === "none") return images;
    return binarize(images, how === "dynamic" ? rng : undefined);
  }

  /** What a conditional network is told besides. */
  #told(y: Tensor): VaeInputs {
    return this.config.conditional ? { y } : {};
  }

  extraState(): Record<string, HostTensor> {
    const { images, labels } = this.#pictured;
    const { channels, height, width } = this.shape;
    const shape = [labels.length, channels, height, width];
    return {
      pictured: { dtype: "f32", shape, data: images },
      pictured_labels: { dtype: "i32", shape: [labels.length], data: labels },
    };
  }

  restoreExtra(
    { pictured, pictured_labels }: Readonly<Record<string, HostTensor>>,
  ): void {
    this.#pictured = {
      images: pictured!.data as Float32Array<ArrayBuffer>,
      labels: pictured_labels!.data as Int32Array<ArrayBuffer>,
    };
  }

  flops(): number {
    const { shape: { channels, height, width }, network: { vae } } = this;
    return countFlops(() => {
      const told = this.#told(zeros([1], "i32"));
      vae.decode(
        vae.encode(zeros([1, channels, height, width]), told).mean,
        told,
      );
    });
  }

  /** Floating-point operations of one image drawn. */
  drawingFlops(): number {
    const z = zeros([1, this.config.latent]);
    return countFlops(() =>
      this.network.vae.decode(z, this.#told(zeros([1], "i32")))
    );
  }

  report(): string[] {
    const { latent, likelihood, loss } = this.config;
    const { beta, warmupSteps, freeBits } = loss;
    const { type, sigma, binarize } = likelihood;
    const width = type === "bernoulli"
      ? binarize === "none"
        ? "of pixels as they are"
        : `of ${binarize} binary pixels`
      : sigma === undefined
      ? "of learned width"
      : `of width ${sigma}`;
    return [
      `Latents: ${latent}; likelihood: ${type} ${width}; beta ${beta}` +
      (warmupSteps > 0 ? ` after ${warmupSteps} steps` : "") +
      (freeBits > 0 ? `; ${freeBits} nats of each latent are free` : "") +
      (latent === 2
        ? ""
        : `; no plane of latents is drawn, as there are ${latent}, not 2`),
    ];
  }

  /** Images and their reconstructions above each other, then as many new ones. */
  async picture(): Promise<Picture> {
    const { images, labels } = this.#pictured;
    const columns = labels.length < PICTURED ? 4 : 8;
    const count = columns ** 2 / 4;
    const size = images.length / labels.length;
    const shown = new Float32Array(count * size);
    const classes = new Int32Array(count);
    for (let i = 0; i < count; i++) {
      const from = i % labels.length; // a batch may be smaller
      shown.set(images.subarray(from * size, (from + 1) * size), i * size);
      classes[i] = labels[from]!;
    }
    const pairs = await this.reconstruct(shown, classes, columns);
    const prior = new Rng(this.config.seed, VAE_STREAM.samples);
    const samples = await this.decode(
      prior.normal([2 * count, this.config.latent]),
      inTurn(2 * count, this.shape.classNames.map((_, id) => id)),
    );
    const bytes = new Uint8Array(pairs.length + samples.length);
    bytes.set(pairs);
    bytes.set(samples, pairs.length);
    return { bytes, count: 4 * count };
  }

  /**
   * Images as the network sees them, and what it makes of their latents' means, in rows in turn.
   *
   * @param images In [-1, 1], `[N, C, H, W]`.
   * @param columns In a row.
   * @returns Bytes of 2 N images.
   */
  async reconstruct(
    images: Float32Array<ArrayBuffer>,
    labels: Int32Array<ArrayBuffer>,
    columns: number,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const { channels, height, width } = this.shape;
    const n = labels.length, size = images.length / n;
    const { vae, likelihood } = this.network;
    const rng = new Rng(this.config.seed, VAE_STREAM.pictured);
    const [seen, decoded] = await scope(() =>
      noGrad(() => {
        const x = this.#seen(tensor(images, [n, channels, height, width]), rng);
        const told = this.#told(tensor(labels));
        const { mean } = vae.encode(x, told);
        const output = likelihood.mean(vae.decode(mean, told));
        return Promise.all([x.data(), output.data()]);
      })
    );
    const bytes = new Uint8Array(2 * images.length);
    for (let from = 0; from < n; from += columns) {
      const row = [seen, decoded].map((all) =>
        toBytes(all.subarray(from * size, (from + columns) * size))
      );
      bytes.set(row[0]!, 2 * from * size);
      bytes.set(row[1]!, 2 * from * size + row[0]!.length);
    }
    return bytes;
  }

  /**
   * The images that latents stand for, without noise.
   *
   * @param z `[N, latent]`.
   * @param classes One per image; of no account if the model is not conditional.
   * @returns Bytes, `[N, C, H, W]`.
   */
  async decode(
    z: Tensor,
    classes: Int32Array<ArrayBuffer>,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const { vae, likelihood } = this.network;
    const data = await scope(() =>
      noGrad(() =>
        likelihood.mean(vae.decode(z, this.#told(tensor(classes)))).data()
      )
    );
    return toBytes(data);
  }

  /** q(z | x) of images in [-1, 1]; `rng` makes them binary, if it is drawn which are. */
  posterior(images: Tensor, labels: Tensor, rng: Rng): Posterior {
    const x = this.#seen(images, rng);
    return this.network.vae.encode(x, this.#told(labels));
  }

  figures(run: RunFolder, train: Dataset): Promise<void> {
    return saveFigures(run, this, train);
  }

  /**
   * The bound on training and on test data, by names that end in `_train` and `_test`, in nats per
   * image; with a draw of z for each, and the tighter one at the last step.
   */
  async evaluate(
    data: { readonly train: Dataset; readonly test: Dataset },
    isCancelled: () => boolean,
  ): Promise<Record<string, number> | undefined> {
    const { count, importanceSamples } = this.config.evaluation;
    const samples = this.#step + 1 < this.config.steps ? 0 : importanceSamples;
    const named: [string, number][] = [];
    for (const part of ["train", "test"] as const) {
      const found = await this.bound(data[part], {
        count,
        samples,
        isCancelled,
      });
      if (!found) return undefined;
      const { standardError: _, ...means } = found;
      for (const [name, value] of Object.entries(means)) {
        named.push([`${name}_${part}`, value]);
      }
    }
    return Object.fromEntries(named);
  }

  /**
   * The bound of images spread over a data set, means in nats per image. The same draws at every call.
   *
   * @param options `samples` of each image for the tighter bound, or 0 for none.
   * @returns Undefined if cancelled.
   */
  async bound(dataset: Dataset, { count, samples, isCancelled, onImages }: {
    count: number;
    samples: number;
    isCancelled?: () => boolean;
    onImages?: (done: number) => void;
  }): Promise<VaeBound | undefined> {
    const { config, network: { vae, likelihood } } = this;
    const { channels, height, width } = dataset;
    const rng = new Rng(config.seed, VAE_STREAM.evaluation);
    const share = Math.max(1, Math.floor(BATCH / samples)); // images with all their draws
    let images = 0, reconstruction = 0, tighter = 0, squares = 0;
    const kl = new Float64Array(config.latent);
    for (const { images: pixels, labels } of spread(dataset, count)) {
      const n = labels.length;
      const [terms, perImage, perDimension, weighted] = await scope(() =>
        noGrad(() => {
          const all = tensor(pixels, [n, channels, height, width]);
          const x = this.#seen(all, rng), y = tensor(labels);
          const told = this.#told(y);
          const posterior = vae.encode(x, told);
          const output = vae.decode(vae.reparameterize(posterior, rng), told);
          const found = elboTerms(likelihood, x, posterior, output);
          const bounds: Tensor[] = [];
          for (let from = 0; samples > 0 && from < n; from += share) {
            const to = Math.min(n, from + share);
            bounds.push(importanceWeightedBound(
              vae,
              likelihood,
              narrow(x, 0, from, to),
              { ...this.#told(narrow(y, 0, from, to)), samples, rng },
            ));
          }
          return Promise.all([
            found.reconstruction.data(),
            found.elbo.data(),
            found.klPerDimension.data(),
            bounds.length > 0 ? concat(bounds).data() : new Float32Array(),
          ]);
        })
      );
      reconstruction += total(terms);
      tighter += total(weighted);
      for (const value of perImage) squares += value ** 2;
      perDimension.forEach((value, i) => kl[i]! += n * value);
      images += n;
      await turn();
      if (isCancelled?.()) return undefined;
      onImages?.(images);
    }
    const elbo = -(reconstruction + total(kl)) / images;
    const variance = Math.max(0, squares / images - elbo ** 2);
    const { type, binarize } = config.likelihood;
    const isProbability = type === "discretized" || binarize !== "none";
    return {
      elbo,
      ...(samples > 0 ? { iwae: tighter / images } : {}),
      reconstruction: reconstruction / images,
      kl: total(kl) / images,
      ...(isProbability
        ? { bits_per_dim: -elbo / (channels * height * width * Math.LN2) }
        : {}),
      latents_in_use: kl.filter((value) => value / images > IN_USE).length,
      standardError: Math.sqrt(variance / images),
    };
  }
}

function total(values: Iterable<number>): number {
  let sum = 0;
  for (const value of values) sum += value;
  return sum;
}

/**
 * The model in a checkpoint, ready to draw.
 *
 * @param path For messages.
 * @param ema Whether to take the moving average of the weights.
 * @throws {SyntaxError} If the file is not a whole checkpoint.
 */
export function loadVae(
  bytes: Uint8Array<ArrayBuffer>,
  path: string,
  ema: boolean,
): { model: VaeModel; step: number } {
  const checkpoint = readCheckpoint(bytes, path);
  const config = checkConfig(vaeSchema, checkpoint.config, path);
  const model = new VaeModel(config, checkpoint.shape);
  loadWeights(model.network, checkpoint, ema);
  return { model, step: checkpoint.step };
}
