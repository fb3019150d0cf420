/**
 * A variational autoencoder of convolutions, for images whose sides are divisible by 4.
 *
 * @module
 */
import { flatten, reshape } from "../kernels/shape.ts";
import { relu } from "../kernels/unary.ts";
import { Conv2d } from "../nn/conv2d.ts";
import { ConvTranspose2d } from "../nn/conv_transpose2d.ts";
import { Linear } from "../nn/linear.ts";
import type { Rng } from "../tensor/rng.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { type VaeInputs, VaeNetwork, type VaeNetworkOptions } from "./vae.ts";

/** Size and shape of a `ConvVae`. */
export interface ConvVaeOptions extends VaeNetworkOptions {
  /** Channels at half the resolution; there are twice as many at a quarter. Defaults to 32. */
  channels?: number;
  /** Width of the layer between the convolutions and the latents; defaults to 256. */
  hidden?: number;
  /** The same in the decoder, 0 for no such layer; defaults to `hidden`. */
  decoderHidden?: number;
}

/** Halves an image, or doubles it if transposed. */
const HALF = { stride: 2, padding: 1 };

/**
 * Two strided convolutions, a hidden layer and the latents, then the same back; ReLU between. Has
 * 1,688,289 parameters for MNIST with `latent: 16`, and 4,570,115 for CIFAR-10 with `channels: 64` and
 * `latent: 128`. A class goes in beside the flat features and beside z.
 */
export class ConvVae extends VaeNetwork {
  /** To half the resolution, 4×4. */
  readonly enc1: Conv2d;
  /** To a quarter, 4×4. */
  readonly enc2: Conv2d;
  /** To the features. */
  readonly fc: Linear;
  /** From z, unless `decoderHidden` is 0. */
  readonly dec_hidden?: Linear;
  /** To an image of a quarter of the resolution. */
  readonly dec_fc: Linear;
  /** To half the resolution, 4×4. */
  readonly dec1: ConvTranspose2d;
  /** To all of it, 4×4. */
  readonly dec2: ConvTranspose2d;
  readonly #small: readonly [number, number, number];

  /**
   * Builds the network.
   *
   * @param rng Draws the initial weights.
   * @throws {RangeError} If a side is not divisible by 4.
   */
  constructor(options: ConvVaeOptions, rng: Rng) {
    const { shape, latent, numClasses = 0 } = options;
    const { channels = 32, hidden = 256, decoderHidden = hidden } = options;
    const [colours, height, width] = shape;
    if (height % 4 !== 0 || width % 4 !== 0) {
      throw new RangeError(
        `Cannot make a ConvVae as sides must be divisible by 4: the shape is ${
          shape.join(", ")
        }`,
      );
    }
    super(options, hidden, rng);
    this.#small = [2 * channels, height / 4, width / 4];
    const flat = channels * height * width / 8;
    this.enc1 = new Conv2d(colours, channels, 4, rng, HALF);
    this.enc2 = new Conv2d(channels, 2 * channels, 4, rng, HALF);
    this.fc = new Linear(flat + numClasses, hidden, rng);
    const code = latent + numClasses;
    if (decoderHidden > 0) {
      this.dec_hidden = new Linear(code, decoderHidden, rng);
    }
    this.dec_fc = new Linear(decoderHidden || code, flat, rng);
    this.dec1 = new ConvTranspose2d(2 * channels, channels, 4, rng, HALF);
    this.dec2 = new ConvTranspose2d(channels, colours, 4, rng, HALF);
  }

  /** The encoder but for its last layers. */
  protected override features(x: Tensor, inputs: VaeInputs): Tensor {
    const half = this.enc1.forward(x, { activation: "relu" });
    const small = this.enc2.forward(half, { activation: "relu" });
    return relu(this.fc.forward(this.besideClass(flatten(small, 1), inputs)));
  }

  /** The decoder. */
  protected override images(z: Tensor): Tensor {
    const h = this.dec_hidden ? relu(this.dec_hidden.forward(z)) : z;
    const small = relu(this.dec_fc.forward(h));
    const image = reshape(small, [z.shape[0]!, ...this.#small]);
    return this.dec2.forward(relu(this.dec1.forward(image)));
  }
}
