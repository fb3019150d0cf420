/**
 * What generators and discriminators (Goodfellow et al. 2014, arXiv:1406.2661) of several families have
 * in common: the latent, the images, and how either is told the class.
 *
 * @module
 */
import { add, mul } from "../kernels/binary.ts";
import { sum } from "../kernels/reduce.ts";
import { concat, expand, flatten, reshape } from "../kernels/shape.ts";
import { Embedding } from "../nn/embedding.ts";
import { xavierUniform } from "../nn/init.ts";
import { Linear } from "../nn/linear.ts";
import { Module } from "../nn/module.ts";
import { SpectralEmbedding, SpectralLinear } from "../nn/spectral_norm.ts";
import { requireThat } from "../tensor/kernel.ts";
import type { Rng } from "../tensor/rng.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** What both networks are told. */
export interface GanOptions {
  /** Height and width of the images. */
  size: number;
  /** Channels of the images. */
  inChannels: number;
  /** Numbers that an image is generated from; defaults to 100. */
  latent?: number;
  /** Classes of a conditional pair. */
  numClasses?: number;
  /** Columns of the embeddings of a class; defaults to 10. */
  classFeatures?: number;
  /**
   * What the class is to the discriminator: further `channels` of the image, each of one value
   * (default), one that is a `map` of as many values as there are pixels, or a vector for the
   * `projection` of its last features, summed over the pixels (Miyato & Koyama 2018,
   * arXiv:1802.05637, eq. 3). Or it is not told: an `auxiliary` classifier of these features has to find
   * it (Odena et al. 2017, arXiv:1610.09585).
   */
  condition?: "channels" | "map" | "projection" | "auxiliary";
}

/** What a pass may be given besides its input. */
export interface GanInputs {
  /** Class ids, i32 `[N]`; needed by a conditional network, and refused by another. */
  y?: Tensor;
  /** Whether to drop out, and normalise by the batch. Defaults to false. */
  training?: boolean;
  /** Draws what is dropped; needed while training with dropout. */
  rng?: Rng;
}

/** A generator and its discriminator. */
export interface Gan extends Module {
  /** Generates. */
  readonly G: GanGenerator;
  /** Tells real from generated. */
  readonly D: GanDiscriminator;
}

function requireInputs(
  name: string,
  input: Tensor,
  shape: readonly number[],
  numClasses: number,
  { y }: GanInputs,
): void {
  requireThat(
    input.rank >= 1 && input.shape.slice(1).join() === shape.join(),
    name,
    `the input must be [N, ${shape.join(", ")}]`,
    { input },
  );
  requireThat(
    (numClasses > 0) === (y !== undefined),
    name,
    numClasses > 0
      ? "a conditional network needs classes y"
      : "the network knows no classes: give it numClasses",
    { y: y ?? "missing" },
  );
  requireThat(
    y === undefined || (y.rank === 1 && y.size === input.shape[0]),
    name,
    "there must be a class per example",
    { input, y: y ?? "missing" },
  );
}

/** From latents to images in [-1, 1]. */
export abstract class GanGenerator extends Module {
  /** One row per class, in a conditional network. */
  readonly embed?: Embedding;
  /** Numbers that an image is generated from. */
  readonly latent: number;
  /** Classes; 0 of an unconditional network. */
  readonly numClasses: number;
  /** Latents and what stands for the class. @internal */
  readonly codeSize: number;

  /** Draws the embedding from `rng`. */
  constructor(options: GanOptions, rng: Rng) {
    super();
    const { latent = 100, numClasses = 0, classFeatures = 10 } = options;
    this.latent = latent;
    this.numClasses = numClasses;
    if (numClasses > 0) {
      this.embed = new Embedding(numClasses, classFeatures, rng);
    }
    this.codeSize = latent + (this.embed ? classFeatures : 0);
  }

  /**
   * Generates.
   *
   * @param z Standard normal, `[N, latent]`.
   * @returns `[N, inChannels, size, size]`.
   * @throws {TypeError} If a shape does not fit, or `y` is missing where it is needed.
   */
  forward(z: Tensor, inputs: GanInputs = {}): Tensor {
    const { name } = this.constructor;
    requireInputs(name, z, [this.latent], this.numClasses, inputs);
    const code = this.embed ? concat([z, this.embed.forward(inputs.y!)], 1) : z;
    return this.images(code, inputs);
  }

  /** From `[N, codeSize]`. */
  protected abstract images(code: Tensor, inputs: GanInputs): Tensor;
}

/** What a discriminator makes of images. @internal */
export interface Judgement {
  /** Above 0 where an image rather is real, `[N]`. */
  logits: Tensor;
  /** What they are computed from, `[N, F, h, w]`. */
  features: Tensor;
}

/** What a discriminator with an auxiliary classifier makes of images. */
export interface ClassJudgement {
  /** Above 0 where an image rather is real, `[N]`. */
  logits: Tensor;
  /** Of the classes, `[N, numClasses]`. */
  classLogits: Tensor;
}

/** From images to how real they are. */
export abstract class GanDiscriminator extends Module {
  /** One row per class, in a conditional network that is told the class. */
  readonly embed?: Embedding | SpectralEmbedding;
  /** From the last features to the classes, with `condition: "auxiliary"`. */
  readonly auxiliary?: Linear | SpectralLinear;
  /** Classes; 0 of an unconditional network. */
  readonly numClasses: number;
  /** Channels of the images and, if it is shown so, of the class. @internal */
  readonly seenChannels: number;
  readonly #shape: readonly number[];
  readonly #condition?: GanOptions["condition"];

  /**
   * `features`: channels and side of what `judge` judges by. `spectral`: whether the weights behind these
   * are normalised, as those before. Draws embedding or classifier from `rng`.
   */
  constructor(
    options: GanOptions,
    features: readonly [channels: number, side: number],
    rng: Rng,
    { spectral = false }: { spectral?: boolean } = {},
  ) {
    super();
    const { size, inChannels, numClasses = 0, classFeatures = 10 } = options;
    const [channels, side] = features;
    this.#shape = [inChannels, size, size];
    this.numClasses = numClasses;
    this.seenChannels = inChannels;
    if (numClasses === 0) return;
    this.#condition = options.condition ?? "channels";
    switch (this.#condition) {
      case "channels":
        this.embed = new Embedding(numClasses, classFeatures, rng);
        this.seenChannels += classFeatures;
        break;
      case "map":
        this.embed = new Embedding(numClasses, size * size, rng);
        this.seenChannels++;
        break;
      case "projection": {
        const Table = spectral ? SpectralEmbedding : Embedding;
        this.embed = new Table(numClasses, channels, rng, {
          weightInit: xavierUniform(), // standard normals' products would outweigh the image at first
        });
        break;
      }
      case "auxiliary": {
        const Dense = spectral ? SpectralLinear : Linear;
        this.auxiliary = new Dense(channels * side ** 2, numClasses, rng);
      }
    }
  }

  /**
   * Judges.
   *
   * @param x Images, `[N, inChannels, size, size]`.
   * @param inputs An auxiliary classifier's discriminator does not look at `y`, which it may lack.
   * @returns Logits, `[N]`: above 0 where x rather is real.
   * @throws {TypeError} If a shape does not fit, or `y` or `rng` is missing where it is needed.
   */
  forward(x: Tensor, inputs: GanInputs = {}): Tensor {
    const { logits, features } = this.#judged(x, inputs);
    if (this.#condition !== "projection") return logits;
    const code = this.embed!.forward(inputs.y!, inputs);
    const total = sum(features, { axis: [2, 3] });
    return add(logits, sum(mul(code, total), { axis: 1 }));
  }

  /**
   * Judges, and tells classes apart; both by one pass.
   *
   * @param x Images, `[N, inChannels, size, size]`.
   * @throws {TypeError} If there is no auxiliary classifier, a shape does not fit, or `rng` is missing
   *   where it is needed.
   */
  classify(x: Tensor, inputs: GanInputs = {}): ClassJudgement {
    requireThat(
      this.auxiliary !== undefined,
      `${this.constructor.name}.classify`,
      'only condition "auxiliary" has a classifier',
      { condition: this.#condition ?? "none, as there are no classes" },
    );
    const { logits, features } = this.#judged(x, inputs);
    const flat = flatten(features, 1);
    return { logits, classLogits: this.auxiliary.forward(flat, inputs) };
  }

  /** `judge`, with the class beside the image where it is told so. */
  #judged(x: Tensor, inputs: GanInputs): Judgement {
    const told = this.auxiliary && !inputs.y ? 0 : this.numClasses;
    requireInputs(this.constructor.name, x, this.#shape, told, inputs);
    if (this.seenChannels === this.#shape[0]) return this.judge(x, inputs);
    const n = x.shape[0]!, [, ...sides] = this.#shape;
    const code = this.embed!.forward(inputs.y!, inputs);
    const planes = this.#condition === "map"
      ? reshape(code, [n, 1, ...sides])
      : expand(reshape(code, [n, -1, 1, 1]), [n, code.shape[1]!, ...sides]);
    return this.judge(concat([x, planes], 1), inputs);
  }

  /** Judges images with the class beside them, `[N, seenChannels, size, size]`. */
  protected abstract judge(x: Tensor, inputs: GanInputs): Judgement;
}
