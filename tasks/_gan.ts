/**
 * A generative adversarial network of a configuration: what its two networks learn in turn, what tells
 * that they lost their balance, and how it is sampled.
 *
 * @module
 */
import {
  add,
  type Batch,
  countFlops,
  crossEntropy,
  Dcgan,
  DCGAN_GENERATORS_32,
  diffAugment,
  div,
  type Gan,
  type GanLoss,
  gradientPenalty,
  hingeLoss,
  type HostTensor,
  instanceNoise,
  KerasDcgan,
  live,
  maximum,
  mean,
  noGrad,
  nonSaturatingLoss,
  r1Penalty,
  Rng,
  scale,
  scope,
  sigmoid,
  std,
  type Tensor,
  tensor,
  toBytes,
  turn,
  wassersteinLoss,
  zeros,
} from "../mod.ts";
import { between } from "./_between.ts";
import { checkConfig } from "./_config.ts";
import { CHANGES, type GanConfig, ganSchema } from "./_gan_config.ts";
import type { Chart } from "./_plots.ts";
import {
  type DataShape,
  loadWeights,
  type Losses,
  type Picture,
  type Player,
  readCheckpoint,
  type Trainable,
} from "./_trainer.ts";

/** Streams of the run's seed. */
const STREAM = {
  weights: 1,
  latents: 2,
  noise: 3,
  dropout: 4,
  samples: 5,
  augment: 6,
  penalty: 7,
} as const;
/** Images that go through the generator at once while sampling. */
const SAMPLE_BATCH = 64;
/** Steps without a break after which people are warned. */
const PATIENCE = 500;
/** Distance from its least value below which the discriminator's loss has nothing left to teach. */
const WON = 0.02;
/** Share of the variety of real images below which generated ones are all the same. */
const ALIKE = 0.05;

/** What is drawn of the log. */
const CHARTS: readonly Chart[] = [
  {
    file: "curves",
    yTitle: "Loss",
    curves: {
      discriminator_loss: "discriminator",
      generator_loss: "generator",
    },
  },
  {
    file: "scores",
    yTitle: "Taken for real (probability, or score)",
    curves: {
      d_real: "D(x)",
      d_fake: "D(G(z))",
      d_fake_after: "D(G(z)) after D's step",
    },
  },
  {
    file: "diversity",
    yTitle: "Standard deviation over a batch, real = 1",
    curves: { diversity: "generated" },
  },
  {
    file: "classes",
    yTitle: "Cross entropy of the classes",
    curves: { class_loss_real: "real", class_loss_fake: "generated" },
  },
];

/**
 * Builds the networks of a configuration.
 *
 * @throws {RangeError} If they do not fit the images.
 */
export function buildGan(
  { dcgan, kerasDcgan, conditional }: GanConfig,
  { channels, height, width, classNames }: DataShape,
  rng: Rng,
): Gan {
  if (height !== width) {
    throw new RangeError(
      `Cannot make a GAN as images must be square: they are ${width} × ${height}`,
    );
  }
  const data = {
    size: height,
    inChannels: channels,
    numClasses: conditional ? classNames.length : 0,
  };
  if (!dcgan) return new KerasDcgan({ ...kerasDcgan!, ...data }, rng);
  const { generatorChannels: given } = dcgan;
  const generatorChannels = typeof given === "string"
    ? DCGAN_GENERATORS_32[given]
    : given;
  return new Dcgan({ ...dcgan, generatorChannels, ...data }, rng);
}

/** Entropy of a coin, in nats. */
function entropyOf(p: number): number {
  const part = (q: number) => q === 0 ? 0 : -q * Math.log(q);
  return part(p) + part(1 - p);
}

/** What a configuration's networks make small, and what can be said of it. */
function lossOf({ loss }: GanConfig): {
  loss: GanLoss;
  /** What the discriminator's score says, for the log. */
  shown: (logits: Tensor) => Tensor;
  /** The least loss of a discriminator that is sure of everything. */
  least: number;
} {
  switch (loss.type) {
    case "non-saturating":
      return {
        loss: nonSaturatingLoss(loss),
        shown: sigmoid,
        least: entropyOf(loss.real) + entropyOf(loss.fake),
      };
    case "hinge":
      return { loss: hingeLoss(), shown: (logits) => logits, least: 0 };
    case "wasserstein-gp":
      return {
        loss: wassersteinLoss(),
        shown: (logits) => logits,
        least: -Infinity,
      };
  }
}

/** What `sample` takes. */
export interface GanSampleOptions {
  /** Number of images. */
  count: number;
  /** Seed of the latents. */
  seed: number;
  /** Number of the first image among those of the seed; defaults to 0. */
  first?: number;
  /** Class ids, one per image; of a conditional network. */
  classes?: Int32Array<ArrayBuffer>;
  /** Images on the way from each latent to another, so many to a row. */
  interpolate?: number;
  /** Called with the number of images so far. */
  onStep?: (done: number) => void;
  /** Asked after every batch. */
  isCancelled?: () => boolean;
}

/** Networks and losses of a configuration. */
export class GanModel implements Trainable<GanConfig> {
  readonly charts = CHARTS;
  readonly config: GanConfig;
  readonly shape: DataShape;
  readonly network: Gan;
  readonly players: readonly Player[];
  readonly rngs: Readonly<
    Record<"latents" | "noise" | "dropout" | "augment" | "penalty", Rng>
  >;
  readonly #loss: ReturnType<typeof lossOf>;
  /** Of the discriminator for one of the generator. */
  readonly #criticSteps: number;
  /** Made in a step, for both players. */
  #fake?: Tensor;
  /** The step under way. */
  #step = 0;
  /** Step of the last line of the log. */
  #logged = 0;
  /** For how many steps the discriminator has won, and images have been alike. */
  #trouble = { won: 0, alike: 0 };

  /**
   * Draws the initial weights from the configuration's seed.
   *
   * @throws {RangeError} If the networks do not fit the data.
   */
  constructor(config: GanConfig, shape: DataShape) {
    const { seed, loss, optimizer, discriminatorOptimizer } = config;
    this.config = config;
    this.shape = shape;
    this.network = buildGan(config, shape, new Rng(seed, STREAM.weights));
    this.rngs = {
      latents: new Rng(seed, STREAM.latents),
      noise: new Rng(seed, STREAM.noise),
      dropout: new Rng(seed, STREAM.dropout),
      augment: new Rng(seed, STREAM.augment),
      penalty: new Rng(seed, STREAM.penalty),
    };
    this.#loss = lossOf(config);
    this.#criticSteps = config.criticSteps ??
      (loss.type === "wasserstein-gp" ? 5 : 1);
    const differs = Object.fromEntries(
      Object.entries(discriminatorOptimizer).filter(([, value]) =>
        value !== undefined
      ),
    );
    this.players = [
      {
        name: "discriminator",
        module: this.network.D,
        optimizer: { ...optimizer, ...differs },
        losses: (inputs, step) => this.#discriminate(inputs, step),
      },
      {
        name: "generator",
        module: this.network.G,
        plays: (step) => this.#generates(step),
        losses: (inputs) => this.#generate(inputs),
      },
    ];
  }

  /** Whether the generator learns in a step. */
  #generates(step: number): boolean {
    return (step + 1) % this.#criticSteps === 0;
  }

  prepare({ images, labels }: Batch, step: number) {
    this.#step = step;
    return { images, labels };
  }

  /** Standard deviation of the noise on all that the discriminator sees in a step. */
  #noiseAt(step: number): number {
    const { instanceNoise, steps } = this.config;
    return instanceNoise * (1 - step / steps);
  }

  /** Images as the discriminator is shown them while it is trained. */
  #disguised(images: Tensor): Tensor {
    const { diffAugment: changes, instanceNoise: strength } = this.config;
    let x = images;
    if (changes.length > 0) {
      const off = CHANGES.filter((change) => !changes.includes(change));
      const strengths = Object.fromEntries(off.map((change) => [change, 0]));
      x = diffAugment(x, this.rngs.augment, strengths);
    }
    if (strength > 0) {
      const std = live(() => this.#noiseAt(this.#step));
      x = instanceNoise(x, std, this.rngs.noise);
    }
    return x;
  }

  /** What the networks are told besides. */
  #told({ labels }: Readonly<Record<string, Tensor>>) {
    return {
      y: this.config.conditional ? labels : undefined,
      training: true,
      rng: this.rngs.dropout,
    };
  }

  #discriminate(
    inputs: Readonly<Record<string, Tensor>>,
    step: number,
  ): Losses {
    const { rngs, config, network: { G, D } } = this;
    const { type, penalty, r1 } = config.loss;
    const told = this.#told(inputs);
    const z = rngs.latents.normal([config.batchSize, G.latent]);
    const make = () => G.forward(z, told);
    // The generator learns by the same images.
    this.#fake = this.#generates(step) ? make() : noGrad(make);
    const pair = [inputs.images!, this.#fake.detach()];
    const [real, fake] = pair.map((images) => this.#disguised(images));
    const judge = (x: Tensor) => D.forward(x, told);
    const [ofReal, ofFake] = [real!, fake!].map((x) => this.#judge(x, inputs));
    const named: Record<string, Tensor> = {
      ...this.#scores({ d_real: ofReal!.logits, d_fake: ofFake!.logits }),
      diversity: diversityOf(pair),
    };
    let loss = this.#loss.loss.discriminator(ofReal!.logits, ofFake!.logits);
    if (D.auxiliary) {
      named.class_loss_real = ofReal!.classLoss!;
      named.class_loss_fake = ofFake!.classLoss!;
      const both = add(named.class_loss_real, named.class_loss_fake);
      loss = add(loss, scale(both, config.loss.auxiliary));
    }
    if (type === "wasserstein-gp") {
      const found = gradientPenalty(judge, real!, fake!, rngs.penalty);
      loss = add(loss, scale(found, penalty));
      named.gradient_penalty = found;
    }
    if (r1 > 0) {
      const found = r1Penalty(judge, real!);
      loss = add(loss, scale(found, r1));
      named.r1_penalty = found;
    }
    return { ...named, loss };
  }

  #generate(inputs: Readonly<Record<string, Tensor>>): Losses {
    const fake = this.#disguised(this.#fake!);
    const { logits, classLoss } = this.#judge(fake, inputs);
    const loss = this.#loss.loss.generator(logits);
    return {
      loss: classLoss
        ? add(loss, scale(classLoss, this.config.loss.auxiliary))
        : loss,
      ...this.#scores({ d_fake_after: logits }),
    };
  }

  /** Logits of the discriminator, and how far an auxiliary classifier is from the classes. */
  #judge(
    x: Tensor,
    inputs: Readonly<Record<string, Tensor>>,
  ): { logits: Tensor; classLoss?: Tensor } {
    const { D } = this.network;
    const told = this.#told(inputs);
    if (!D.auxiliary) return { logits: D.forward(x, told) };
    const { logits, classLogits } = D.classify(x, told);
    return { logits, classLoss: crossEntropy(classLogits, inputs.labels!) };
  }

  /** For the log. */
  #scores(logits: Record<string, Tensor>): Record<string, Tensor> {
    return noGrad(() =>
      Object.fromEntries(
        Object.entries(logits).map((
          [name, values],
        ) => [name, mean(this.#loss.shown(values))]),
      )
    );
  }

  watch(step: number, means: Readonly<Record<string, number>>) {
    const since = step - this.#logged, before = this.#trouble;
    this.#logged = step;
    const count = (is: boolean, steps: number) => is ? steps + since : 0;
    this.#trouble = {
      won: count(
        means.discriminator_loss! - this.#loss.least < WON,
        before.won,
      ),
      alike: count(means.diversity! < ALIKE, before.alike),
    };
    const { won, alike } = this.#trouble;
    const warnings: string[] = [];
    if (won >= PATIENCE && before.won < PATIENCE) {
      warnings.push(
        `The discriminator has been sure of everything for ${won} steps and teaches the generator ` +
          "little: try instanceNoise, loss.real 0.9, diffAugment, or loss.type wasserstein-gp",
      );
    }
    if (alike >= PATIENCE && before.alike < PATIENCE) {
      warnings.push(
        `Generated images have been all alike for ${alike} steps (diversity ${
          means.diversity!.toFixed(3)
        }, of real ones 1): the generator has collapsed. Try another seed, a lower ` +
          "optimizer.learningRate, dcgan.norm spectral, or loss.type wasserstein-gp",
      );
    }
    const collapse = Math.max(won, alike) >= PATIENCE;
    const numbers: Record<string, number> = { collapse: Number(collapse) };
    if (this.config.instanceNoise > 0) {
      numbers.instance_noise = this.#noiseAt(step - 1);
    }
    return { numbers, warnings };
  }

  extraState(): Record<string, HostTensor> {
    const { won, alike } = this.#trouble;
    const data = Int32Array.of(this.#logged, won, alike);
    return { watch: { dtype: "i32", shape: [3], data } };
  }

  restoreExtra({ watch }: Readonly<Record<string, HostTensor>>): void {
    const [logged, won, alike] = watch!.data as Int32Array;
    this.#logged = logged!;
    this.#trouble = { won: won!, alike: alike! };
  }

  flops(): number {
    const { G, D } = this.network;
    const y = this.config.conditional;
    return countFlops(() => {
      const inputs = y ? { y: zeros([1], "i32") } : {};
      D.forward(G.forward(zeros([1, G.latent]), inputs), inputs);
    });
  }

  /** Floating-point operations of one image drawn. */
  drawingFlops(): number {
    const { G } = this.network;
    const y = this.config.conditional ? zeros([1], "i32") : undefined;
    return countFlops(() => G.forward(zeros([1, G.latent]), { y }));
  }

  report(): string[] {
    const { G, D } = this.network;
    const { loss: { type } } = this.config;
    const size = (it: { parameterCount: number }) =>
      it.parameterCount.toLocaleString("en");
    const turns = this.#criticSteps === 1
      ? ""
      : `, ${this.#criticSteps} steps of the discriminator for one of the generator`;
    return [
      `Generator: ${size(G)} parameters, ${G.latent} latents; discriminator: ${
        size(D)
      }; loss: ${type}${turns}`,
    ];
  }

  async picture(isCancelled: () => boolean): Promise<Picture | undefined> {
    const { conditional, seed, samples: { count } } = this.config;
    const classes = conditional ? this.#classesByRow(count) : undefined;
    const bytes = await this.sample({ count, seed, classes, isCancelled });
    return bytes && { bytes, count };
  }

  /** Classes of a square grid, each of as many rows as the others. */
  #classesByRow(count: number): Int32Array<ArrayBuffer> {
    const columns = Math.ceil(Math.sqrt(count));
    const rows = Math.ceil(count / columns);
    const { length } = this.shape.classNames;
    return Int32Array.from(
      { length: count },
      (_, i) => Math.floor(Math.floor(i / columns) * length / rows),
    );
  }

  /**
   * Draws images; none depends on the others.
   *
   * @returns Bytes 0 to 255, `[count, C, H, W]`; undefined if cancelled.
   */
  async sample(
    options: GanSampleOptions,
  ): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const { count, seed, first = 0, interpolate: way } = options;
    const { G } = this.network;
    const latents = (n: number, row: number) =>
      new Rng(seed, STREAM.samples).normalRows([n, G.latent], row);
    const { channels, height, width } = this.shape;
    const size = channels * height * width;
    const bytes = new Uint8Array(count * size);
    for (let from = 0; from < count; from += SAMPLE_BATCH) {
      const n = Math.min(SAMPLE_BATCH, count - from);
      const y = options.classes &&
        tensor(options.classes.slice(from, from + n));
      const images = await scope(async () => {
        const z = way
          ? await between(latents, { from: first + from, n, way })
          : latents(n, first + from);
        return await noGrad(() => G.forward(z, { y })).data();
      });
      bytes.set(toBytes(images), from * size);
      await turn();
      if (options.isCancelled?.()) return undefined;
      options.onStep?.(from + n);
    }
    return bytes;
  }
}

/** How much generated images differ from each other, against how much real ones do, `[]`. */
function diversityOf([real, fake]: readonly Tensor[]): Tensor {
  return noGrad(() => {
    const spread = (x: Tensor) => mean(std(x.detach(), { axis: 0 }));
    return div(spread(fake!), maximum(spread(real!), 1e-6));
  });
}

/**
 * The GAN in a checkpoint, ready to sample.
 *
 * @param path For messages.
 * @param ema Whether to take the moving average of the weights.
 * @throws {SyntaxError} If the file is not a whole checkpoint of a GAN.
 */
export function loadGan(
  bytes: Uint8Array<ArrayBuffer>,
  path: string,
  ema: boolean,
): { model: GanModel; step: number } {
  const checkpoint = readCheckpoint(bytes, path);
  if (checkpoint.model !== "gan") {
    throw new SyntaxError(
      `Cannot use ${path} as it is a checkpoint of ${checkpoint.model}, not of gan`,
    );
  }
  const config = checkConfig(ganSchema, checkpoint.config, path);
  const model = new GanModel(config, checkpoint.shape);
  loadWeights(model.network, checkpoint, ema);
  return { model, step: checkpoint.step };
}
