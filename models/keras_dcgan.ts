/**
 * The GAN of TensorFlow's tutorial "Deep Convolutional Generative Adversarial Network", with what Keras
 * takes for granted: its padding "same", and its constants of normalisation and initial weights.
 *
 * @module
 */
import { dropout } from "../kernels/dropout.ts";
import { flatten, pad, reshape } from "../kernels/shape.ts";
import { leakyRelu, tanh } from "../kernels/unary.ts";
import { BatchNorm1d, BatchNorm2d } from "../nn/batch_norm.ts";
import { Conv2d } from "../nn/conv2d.ts";
import { ConvTranspose2d } from "../nn/conv_transpose2d.ts";
import { xavierUniform, zeros } from "../nn/init.ts";
import { Linear } from "../nn/linear.ts";
import { Module } from "../nn/module.ts";
import { requireThat } from "../tensor/kernel.ts";
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

/** Size and shape of a `KerasDcgan`. */
export interface KerasDcganOptions extends GanOptions {
  /** Channels of the generator at a quarter (two) and a half of the resolution; defaults to `[256, 128, 64]`. */
  generatorChannels?: readonly [number, number, number];
  /** Channels of the discriminator at a half and a quarter; defaults to `[64, 128]`. */
  discriminatorChannels?: readonly [number, number];
  /** Share of the discriminator's activations that are dropped while training; defaults to 0.3. */
  dropout?: number;
}

const NORM = { eps: 1e-3, momentum: 0.01 };
const WEIGHTS = { weightInit: xavierUniform(), biasInit: zeros };
const leaky = (x: Tensor) => leakyRelu(x, 0.3);

/** 5×5 with stride 2 of an even side needs three zeros, of which "same" puts the odd one behind. */
const HALVE = { ...WEIGHTS, stride: 2, padding: [1, 2, 1, 2] } as const;
/** Its transpose, but for a row and column too many behind. */
const DOUBLE = { ...WEIGHTS, stride: 2, padding: 1, bias: false };
const LESS_ONE = [0, -1, 0, -1];

function requireSize(network: string, size: number): void {
  if (Number.isInteger(size) && size >= 4 && size % 4 === 0) return;
  throw new RangeError(
    `Cannot make a ${network} as the size must be divisible by 4: it is ${size}`,
  );
}

/** From a linear layer by 5×5 transposed convolutions: 2,305,472 parameters for 28×28 grey. */
export class KerasDcganGenerator extends GanGenerator {
  /** To an image of a quarter of the resolution; channels first, where Keras has them last. */
  readonly fc: Linear;
  /** Behind it, of every value. */
  readonly bn0: BatchNorm1d;
  /** At the same resolution. */
  readonly conv1: ConvTranspose2d;
  /** Behind it. */
  readonly bn1: BatchNorm2d;
  /** To half the resolution. */
  readonly conv2: ConvTranspose2d;
  /** Behind it. */
  readonly bn2: BatchNorm2d;
  /** To all of it. */
  readonly conv3: ConvTranspose2d;
  readonly #small: readonly [number, number, number];

  /**
   * Draws the weights from `rng`.
   *
   * @throws {RangeError} If the size is not divisible by 4.
   */
  constructor(options: KerasDcganOptions, rng: Rng) {
    super(options, rng);
    const { size, inChannels, generatorChannels = [256, 128, 64] } = options;
    requireSize("KerasDcganGenerator", size);
    const [c0, c1, c2] = generatorChannels;
    this.#small = [c0, size / 4, size / 4];
    const flat = c0 * (size / 4) ** 2;
    const same = { ...WEIGHTS, padding: 2, bias: false };
    this.fc = new Linear(this.codeSize, flat, rng, { ...WEIGHTS, bias: false });
    this.bn0 = new BatchNorm1d(flat, NORM);
    this.conv1 = new ConvTranspose2d(c0, c1, 5, rng, same);
    this.bn1 = new BatchNorm2d(c1, NORM);
    this.conv2 = new ConvTranspose2d(c1, c2, 5, rng, DOUBLE);
    this.bn2 = new BatchNorm2d(c2, NORM);
    this.conv3 = new ConvTranspose2d(c2, inChannels, 5, rng, DOUBLE);
  }

  /** Up from a quarter of the resolution. */
  protected override images(code: Tensor, { training }: GanInputs): Tensor {
    const options = { training };
    let h = leaky(this.bn0.forward(this.fc.forward(code), options));
    h = reshape(h, [code.shape[0]!, ...this.#small]);
    h = leaky(this.bn1.forward(this.conv1.forward(h), options));
    h = pad(this.conv2.forward(h), LESS_ONE);
    h = leaky(this.bn2.forward(h, options));
    return tanh(pad(this.conv3.forward(h), LESS_ONE));
  }
}

/** Two 5×5 convolutions and a linear layer: 212,865 parameters for 28×28 grey. */
export class KerasDcganDiscriminator extends GanDiscriminator {
  /** To half the resolution. */
  readonly conv1: Conv2d;
  /** To a quarter. */
  readonly conv2: Conv2d;
  /** To the logit; channels first, where Keras has them last. */
  readonly fc: Linear;
  readonly #dropout: number;

  /**
   * Draws the weights from `rng`.
   *
   * @throws {RangeError} If the size is not divisible by 4.
   */
  constructor(options: KerasDcganOptions, rng: Rng) {
    const { size, discriminatorChannels = [64, 128], dropout = 0.3 } = options;
    requireSize("KerasDcganDiscriminator", size);
    const [c1, c2] = discriminatorChannels;
    super(options, [c2, size / 4], rng);
    this.conv1 = new Conv2d(this.seenChannels, c1, 5, rng, HALVE);
    this.conv2 = new Conv2d(c1, c2, 5, rng, HALVE);
    this.fc = new Linear(c2 * (size / 4) ** 2, 1, rng, WEIGHTS);
    this.#dropout = dropout;
  }

  /** Down to a quarter of the resolution, and one number of all of that. */
  protected override judge(x: Tensor, inputs: GanInputs): Judgement {
    const half = this.#drop(leaky(this.conv1.forward(x)), inputs);
    const features = this.#drop(leaky(this.conv2.forward(half)), inputs);
    const logits = flatten(this.fc.forward(flatten(features, 1)), 0);
    return { features, logits };
  }

  #drop(x: Tensor, { training = false, rng }: GanInputs): Tensor {
    if (!training || this.#dropout === 0) return x;
    requireThat(
      rng !== undefined,
      "KerasDcganDiscriminator",
      "dropout needs rng in training",
      { rng: "missing" },
    );
    return dropout(x, { p: this.#dropout, rng });
  }
}

/** Generator and discriminator of one size. */
export class KerasDcgan extends Module implements Gan {
  /** Generates. */
  readonly G: KerasDcganGenerator;
  /** Tells real from generated. */
  readonly D: KerasDcganDiscriminator;

  /**
   * Draws the weights from `rng`.
   *
   * @throws {RangeError} If the size is not divisible by 4.
   */
  constructor(options: KerasDcganOptions, rng: Rng) {
    super();
    this.G = new KerasDcganGenerator(options, rng);
    this.D = new KerasDcganDiscriminator(options, rng);
  }
}
