/**
 * The variational autoencoder (Kingma & Welling 2013, arXiv:1312.6114): a network from images to
 * Gaussians over a few latent numbers, and one back. `vaeLoss` trains it; what the decoder's output
 * means, a `Likelihood` says. New images are `likelihood.mean(vae.decode(rng.normal([n, latent])))`.
 *
 * @module
 */
import type { Activation } from "../kernels/conv2d.ts";
import { dropout } from "../kernels/dropout.ts";
import { oneHot } from "../kernels/index.ts";
import { concat, flatten, reshape } from "../kernels/shape.ts";
import {
  clamp,
  leakyRelu,
  relu,
  sigmoid,
  silu,
  tanh,
} from "../kernels/unary.ts";
import { BatchNorm1d, type BatchNormLayerOptions } from "../nn/batch_norm.ts";
import { Linear } from "../nn/linear.ts";
import { Module } from "../nn/module.ts";
import { requireThat } from "../tensor/kernel.ts";
import type { Rng } from "../tensor/rng.ts";
import { sizeOf, type Tensor } from "../tensor/tensor.ts";
import { type Posterior, samplePosterior } from "./autoencoder_kl.ts";

/** What every `VaeNetwork` is told. */
export interface VaeNetworkOptions {
  /** Of one image, `[C, H, W]`. */
  shape: readonly [channels: number, height: number, width: number];
  /** Latent numbers of an image. */
  latent: number;
  /** Classes of a conditional network, which is shown the class beside the image, and beside z. */
  numClasses?: number;
}

/** What a pass through a `VaeNetwork` may be given besides its input. */
export interface VaeInputs {
  /** Class ids, i32 `[N]`; needed by a conditional network, and refused by another. */
  y?: Tensor;
  /** Whether to drop out, and normalise by the batch. Defaults to false. */
  training?: boolean;
  /** Draws what is dropped; needed while training with dropout. */
  rng?: Rng;
}

/** What variational autoencoders have in common: all but the layers before and behind the latents. */
export abstract class VaeNetwork extends Module {
  /** From the features of an image to the means of q(z | x). */
  readonly fc_mu: Linear;
  /** To the logarithms of its variances. */
  readonly fc_logvar: Linear;
  /** Of one image, `[C, H, W]`. */
  readonly shape: readonly [channels: number, height: number, width: number];
  /** Latent numbers of an image. */
  readonly latent: number;
  /** Classes; 0 of an unconditional network. */
  readonly numClasses: number;

  /** `features`: how many the encoder ends with. */
  constructor(options: VaeNetworkOptions, features: number, rng: Rng) {
    super();
    const { shape, latent, numClasses = 0 } = options;
    this.shape = shape;
    this.latent = latent;
    this.numClasses = numClasses;
    this.fc_mu = new Linear(features, latent, rng);
    this.fc_logvar = new Linear(features, latent, rng);
  }

  /**
   * q(z | x).
   *
   * @param x Images, `[N, C, H, W]`.
   * @returns Both `[N, latent]`; the log variance within -30 … 20, as beyond exp() would leave f32.
   * @throws {TypeError} If a shape does not fit, or `y` or `rng` is missing where it is needed.
   */
  encode(x: Tensor, inputs: VaeInputs = {}): Posterior {
    this.#require("encode", x, this.shape, inputs);
    const features = this.features(x, inputs);
    return {
      mean: this.fc_mu.forward(features),
      logVariance: clamp(this.fc_logvar.forward(features), {
        min: -30,
        max: 20,
      }),
    };
  }

  /** A draw from q(z | x) that has a gradient: `mean + e^(logVariance / 2) · ε`, `[N, latent]`. */
  reparameterize(posterior: Posterior, rng: Rng): Tensor {
    return samplePosterior(posterior, rng);
  }

  /**
   * What p(x | z) is told by, see `Likelihood`.
   *
   * @param z `[N, latent]`.
   * @returns `[N, C, H, W]`.
   * @throws {TypeError} If a shape does not fit, or `y` or `rng` is missing where it is needed.
   */
  decode(z: Tensor, inputs: VaeInputs = {}): Tensor {
    this.#require("decode", z, [this.latent], inputs);
    return this.images(this.besideClass(z, inputs), inputs);
  }

  /** From images to what means and variances are computed of, `[N, features]`. */
  protected abstract features(x: Tensor, inputs: VaeInputs): Tensor;

  /** From z, with the class behind it, to images. */
  protected abstract images(z: Tensor, inputs: VaeInputs): Tensor;

  /** `[N, K]` with the class behind it, one-hot, `[N, K + numClasses]`. */
  protected besideClass(x: Tensor, { y }: VaeInputs): Tensor {
    return y ? concat([x, oneHot(y, this.numClasses)], 1) : x;
  }

  #require(
    method: string,
    x: Tensor,
    shape: readonly number[],
    { y }: VaeInputs,
  ): void {
    const name = `${this.constructor.name}.${method}`;
    requireThat(
      x.rank >= 1 && x.shape.slice(1).join() === shape.join(),
      name,
      `the input must be [N, ${shape.join(", ")}]`,
      { input: x },
    );
    const conditional = this.numClasses > 0;
    requireThat(
      conditional === (y !== undefined),
      name,
      conditional
        ? "a conditional network needs classes y"
        : "the network knows no classes: give it numClasses",
      { y: y ?? "missing" },
    );
    requireThat(
      y === undefined || (y.rank === 1 && y.size === x.shape[0]),
      name,
      "there must be a class per example",
      { input: x, y: y ?? "missing" },
    );
  }
}

/** Size and shape of a `Vae`. */
export interface VaeOptions extends VaeNetworkOptions {
  /** Widths of the layers of the encoder; the decoder has them in reverse. Defaults to `[400]`. */
  hidden?: readonly number[];
  /** Behind every hidden layer; defaults to `relu`. */
  activation?: Activation;
  /** Whether the activations are normalised, or how; defaults to false. */
  batchNorm?: boolean | BatchNormLayerOptions;
  /** Share of hidden values that are dropped while training; defaults to 0. */
  dropout?: number;
}

const ACTIVATIONS: Readonly<Record<Activation, (x: Tensor) => Tensor>> = {
  relu,
  leakyRelu,
  silu,
  sigmoid,
  tanh,
};

/** `dropout(norm(activation(linear(x))))`. */
export class VaeLayer extends Module {
  /** First. */
  readonly linear: Linear;
  /** Behind the activation, if there is one. */
  readonly norm?: BatchNorm1d;
  readonly #activation: (x: Tensor) => Tensor;
  readonly #dropout: number;

  /** Draws the weights from `rng`. */
  constructor(from: number, to: number, options: VaeOptions, rng: Rng) {
    super();
    const { activation = "relu", batchNorm = false, dropout = 0 } = options;
    this.linear = new Linear(from, to, rng);
    if (batchNorm) {
      this.norm = new BatchNorm1d(to, batchNorm === true ? {} : batchNorm);
    }
    this.#activation = ACTIVATIONS[activation];
    this.#dropout = dropout;
  }

  /** `[N, from]` to `[N, to]`. */
  forward(x: Tensor, { training = false, rng }: VaeInputs): Tensor {
    const active = this.#activation(this.linear.forward(x));
    const h = this.norm?.forward(active, { training }) ?? active;
    if (!training || this.#dropout === 0) return h;
    requireThat(rng !== undefined, "Vae", "dropout needs rng in training", {
      rng: "missing",
    });
    return dropout(h, { p: this.#dropout, rng });
  }
}

/** Layers for these widths, one after the other. */
function layers(widths: readonly number[], options: VaeOptions, rng: Rng) {
  return widths.slice(1).map((to, i) =>
    new VaeLayer(widths[i]!, to, options, rng)
  );
}

/**
 * A variational autoencoder of linear layers. PyTorch's example for MNIST is the default with
 * `latent: 20`, 652,824 parameters; the Keras one that shows two latents in a plane has `latent: 2`,
 * `hidden: [256, 128]`, `batchNorm: { eps: 1e-3, momentum: 0.01 }` and `dropout: 0.3`, 470,804.
 */
export class Vae extends VaeNetwork {
  /** From the pixels to the features. */
  readonly encoder: readonly VaeLayer[];
  /** From z back. */
  readonly decoder: readonly VaeLayer[];
  /** To the pixels. */
  readonly out: Linear;

  /** Draws the weights from `rng`. */
  constructor(options: VaeOptions, rng: Rng) {
    const { shape, latent, hidden = [400], numClasses = 0 } = options;
    const pixels = sizeOf(shape);
    super(options, hidden.at(-1) ?? pixels + numClasses, rng);
    const back = [latent + numClasses, ...hidden.toReversed()];
    this.encoder = layers([pixels + numClasses, ...hidden], options, rng);
    this.decoder = layers(back, options, rng);
    this.out = new Linear(back.at(-1)!, pixels, rng);
  }

  /** The encoder but for its last layers. */
  protected override features(x: Tensor, inputs: VaeInputs): Tensor {
    const pixels = this.besideClass(flatten(x, 1), inputs);
    return this.encoder.reduce((h, layer) => layer.forward(h, inputs), pixels);
  }

  /** The decoder. */
  protected override images(z: Tensor, inputs: VaeInputs): Tensor {
    const h = this.decoder.reduce((h, layer) => layer.forward(h, inputs), z);
    return reshape(this.out.forward(h), [z.shape[0]!, ...this.shape]);
  }
}
