/**
 * What generators and discriminators (Goodfellow et al. 2014, arXiv:1406.2661) of several families have
 * in common: the latent, the images, and how either is told the class.
 *
 * @module
 */
import { add, mul } from "../kernels/binary.ts";
import { sum } from "../kernels/reduce.ts";
import { concat, expand, reshape } from "../kernels/shape.ts";
import { Embedding } from "../nn/embedding.ts";
import { xavierUniform } from "../nn/init.ts";
import { Module } from "../nn/module.ts";
import { SpectralEmbedding } from "../nn/spectral_norm.ts";
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
   * How the discriminator is told the class: as further `channels` of the image, each of one value
   * (default), or by the `projection` of its last features, summed over the pixels, on a vector of the
   * class (Miyato & Koyama 2018, arXiv:1802.05637, eq. 3).
   */
  condition?: "channels" | "projection";
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

/** What a discriminator makes of images. */
export interface Judgement {
  /** Above 0 where an image rather is real, `[N]`. */
  logits: Tensor;
  /** What they are computed from, `[N, F, h, w]`. */
  features: Tensor;
}

/** From images to how real they are. */
export abstract class GanDiscriminator extends Module {
  /** One row per class, in a conditional network. */
  readonly embed?: Embedding | SpectralEmbedding;
  /** Classes; 0 of an unconditional network. */
  readonly numClasses: number;
  /** Channels of the images and, if it is shown so, of the class. @internal */
  readonly seenChannels: number;
  readonly #shape: readonly number[];
  readonly #projects: boolean;

  /**
   * `features`: channels of what `judge` judges by. `spectral`: whether vectors that these are projected
   * on are normalised, as the layers are. Draws the embedding from `rng`.
   */
  constructor(
    options: GanOptions,
    features: number,
    rng: Rng,
    { spectral = false }: { spectral?: boolean } = {},
  ) {
    super();
    const { size, inChannels, numClasses = 0, classFeatures = 10 } = options;
    this.#shape = [inChannels, size, size];
    this.#projects = options.condition === "projection";
    this.numClasses = numClasses;
    this.seenChannels = inChannels;
    if (numClasses > 0 && this.#projects) {
      const Table = spectral ? SpectralEmbedding : Embedding;
      this.embed = new Table(numClasses, features, rng, {
        weightInit: xavierUniform(), // standard normals' products would outweigh the image at first
      });
    } else if (numClasses > 0) {
      this.embed = new Embedding(numClasses, classFeatures, rng);
      this.seenChannels += classFeatures;
    }
  }

  /**
   * Judges.
   *
   * @param x Images, `[N, inChannels, size, size]`.
   * @returns Logits, `[N]`: above 0 where x rather is real.
   * @throws {TypeError} If a shape does not fit, or `y` or `rng` is missing where it is needed.
   */
  forward(x: Tensor, inputs: GanInputs = {}): Tensor {
    const { name } = this.constructor;
    requireInputs(name, x, this.#shape, this.numClasses, inputs);
    const code = this.embed?.forward(inputs.y!, inputs);
    if (!code) return this.judge(x, inputs).logits;
    if (this.#projects) {
      const { logits, features } = this.judge(x, inputs);
      const total = sum(features, { axis: [2, 3] });
      return add(logits, sum(mul(code, total), { axis: 1 }));
    }
    const [n, width] = code.shape as [number, number];
    const side = x.shape[2]!;
    const planes = expand(
      reshape(code, [n, width, 1, 1]),
      [n, width, side, side],
    );
    return this.judge(concat([x, planes], 1), inputs).logits;
  }

  /** Judges images with the class beside them, `[N, seenChannels, size, size]`. */
  protected abstract judge(x: Tensor, inputs: GanInputs): Judgement;
}
