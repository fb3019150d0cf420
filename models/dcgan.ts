/**
 * The deep convolutional GAN of Radford et al. 2016 (arXiv:1511.06434), in the form of PyTorch's
 * tutorial and at several sizes. Fields carry its names.
 *
 * @module
 */
import { flatten, reshape } from "../kernels/shape.ts";
import { leakyRelu, relu, tanh } from "../kernels/unary.ts";
import { BatchNorm2d } from "../nn/batch_norm.ts";
import { Conv2d } from "../nn/conv2d.ts";
import { ConvTranspose2d } from "../nn/conv_transpose2d.ts";
import { normal, zeros } from "../nn/init.ts";
import { Module } from "../nn/module.ts";
import { type Layer, Sequential } from "../nn/sequential.ts";
import { SpectralConv2d } from "../nn/spectral_norm.ts";
import { copyInPlace } from "../tensor/fill.ts";
import type { Rng } from "../tensor/rng.ts";
import type { Tensor } from "../tensor/tensor.ts";
import {
  type Gan,
  GanDiscriminator,
  GanGenerator,
  type GanInputs,
  type GanOptions,
  type Judgement,
} from "./gan.ts";

/** Size and shape of a `Dcgan`. */
export interface DcganOptions extends GanOptions {
  /**
   * Channels of the generator from its smallest image on, each image having twice the side of the one
   * before. Defaults to `[128, 64]` for 8 pixels a side, `[256, 128]` for 28, `[256, 128, 64]` for 32 and
   * `[512, 256, 128, 64]` for 64; other sizes need it.
   */
  generatorChannels?: readonly number[];
  /** Channels of the discriminator from half the resolution on; defaults to 64, 128, … at these sizes. */
  discriminatorChannels?: readonly number[];
  /**
   * What tames the discriminator: `batch` normalisation of all images but the first (default),
   * `spectral` normalisation of the weights, or `none`, which a gradient penalty wants, as it is one of
   * each example. Without `batch` the convolutions have biases.
   */
  norm?: "batch" | "spectral" | "none";
}

/** Generators for 32×32 that differ in where their channels are, by the names they were compared under. */
export const DCGAN_GENERATORS_32 = {
  default: [256, 128, 64],
  block2outngfx4: [256, 256, 64],
  outs842nc: [512, 256, 128],
  block1outngfx8: [512, 128, 64],
} as const;

const GENERATOR_CHANNELS: Readonly<Record<number, readonly number[]>> = {
  8: [128, 64],
  28: [256, 128],
  32: DCGAN_GENERATORS_32.default,
  64: [512, 256, 128, 64],
};
const leaky = (x: Tensor) => leakyRelu(x, 0.2);
const weightInit = normal(0, 0.02);
const SCALED = { stride: 2, padding: 1 };

/** Channels of one network, and the side of its smallest image. */
function levelsOf(
  network: string,
  size: number,
  given: readonly number[] | undefined,
  usual: readonly number[] | undefined,
): { channels: readonly number[]; head: number } {
  const channels = given ?? usual;
  if (!channels) {
    throw new RangeError(
      `Cannot make a ${network} as its channels must be given but for sizes ${
        Object.keys(GENERATOR_CHANNELS).join(", ")
      }: size is ${size}`,
    );
  }
  const head = size / 2 ** channels.length;
  if (channels.length === 0 || !Number.isInteger(head)) {
    throw new RangeError(
      `Cannot make a ${network} as the size must halve once for each of its channels: size is ${size}, channels are ${
        channels.join(", ")
      }`,
    );
  }
  return { channels, head };
}

/** Batch normalisation whose gains begin around 1. */
function norm(channels: number, rng: Rng): BatchNorm2d {
  const layer = new BatchNorm2d(channels);
  copyInPlace(layer.weight!, rng.normal([channels], 1, 0.02));
  return layer;
}

/**
 * Transposed convolutions, from one pixel to all: 3,576,704 parameters for 64×64 RGB, 1,183,616 for 32×32
 * from 128 latents, 1,781,504 for 28×28 grey.
 */
export class DcganGenerator extends GanGenerator {
  /** The layers: convolution, normalisation and ReLU in turn, and tanh. */
  readonly main: Sequential;

  /**
   * Draws the weights from `rng`: N(0, 0.02²), gains N(1, 0.02²).
   *
   * @throws {RangeError} If the size does not fit the channels.
   */
  constructor(options: DcganOptions, rng: Rng) {
    super(options, rng);
    const { size, inChannels, generatorChannels } = options;
    const usual = GENERATOR_CHANNELS[size];
    const { channels, head } = levelsOf(
      "DcganGenerator",
      size,
      generatorChannels,
      usual,
    );
    const start = { bias: false, weightInit };
    const layers: Layer[] = [
      new ConvTranspose2d(this.codeSize, channels[0]!, head, rng, start),
    ];
    channels.forEach((from, i) => {
      const to = channels[i + 1] ?? inChannels;
      const geometry = { ...start, ...SCALED };
      layers.push(norm(from, rng), relu);
      layers.push(new ConvTranspose2d(from, to, 4, rng, geometry));
    });
    this.main = new Sequential(...layers, tanh);
  }

  /** From one pixel up. */
  protected override images(code: Tensor, { training }: GanInputs): Tensor {
    return this.main.forward(reshape(code, [...code.shape, 1, 1]), {
      training,
    });
  }
}

/** The generator's mirror image: 2,765,568 parameters for 64×64, 663,296 for 32×32, 138,624 for 28×28 grey. */
export class DcganDiscriminator extends GanDiscriminator {
  /** The layers: convolution, normalisation and leaky ReLU in turn. */
  readonly main: Sequential;
  readonly #body: Sequential;
  readonly #head: Conv2d | SpectralConv2d;

  /**
   * Draws the weights from `rng`: N(0, 0.02²), gains N(1, 0.02²).
   *
   * @throws {RangeError} If the size does not fit the channels.
   */
  constructor(options: DcganOptions, rng: Rng) {
    const { size, discriminatorChannels, norm: kind = "batch" } = options;
    const { channels, head } = levelsOf(
      "DcganDiscriminator",
      size,
      discriminatorChannels,
      GENERATOR_CHANNELS[size]?.map((_, i) => 64 * 2 ** i),
    );
    const spectral = kind === "spectral";
    super(options, [channels.at(-1)!, head], rng, { spectral });
    const Conv = spectral ? SpectralConv2d : Conv2d;
    const start = { bias: kind !== "batch", weightInit, biasInit: zeros };
    const layers: Layer[] = channels.flatMap((to, i) => {
      const from = channels[i - 1] ?? this.seenChannels;
      const conv = new Conv(from, to, 4, rng, { ...start, ...SCALED });
      return i > 0 && kind === "batch"
        ? [conv, norm(to, rng), leaky]
        : [conv, leaky];
    });
    this.#body = new Sequential(...layers);
    this.#head = new Conv(channels.at(-1)!, 1, head, rng, start);
    this.main = new Sequential(...layers, this.#head);
  }

  /** Down to one pixel. */
  protected override judge(x: Tensor, { training }: GanInputs): Judgement {
    const features = this.#body.forward(x, { training });
    const pixel = this.#head.forward(features, { training });
    return { features, logits: flatten(pixel, 0) };
  }
}

/** Generator and discriminator of one size. */
export class Dcgan extends Module implements Gan {
  /** Generates. */
  readonly G: DcganGenerator;
  /** Tells real from generated. */
  readonly D: DcganDiscriminator;

  /**
   * Draws the weights from `rng`.
   *
   * @throws {RangeError} If the size does not fit the channels.
   */
  constructor(options: DcganOptions, rng: Rng) {
    super();
    this.G = new DcganGenerator(options, rng);
    this.D = new DcganDiscriminator(options, rng);
  }
}
