/**
 * A plain stack of strided and transposed convolutions that knows the timestep: the simplest network
 * that can learn to take noise away. Nothing leads around its narrow middle, so that its images stay
 * blurry: a baseline.
 *
 * @module
 */
import { add } from "../kernels/binary.ts";
import { leakyRelu, relu } from "../kernels/unary.ts";
import { BatchNorm2d } from "../nn/batch_norm.ts";
import { Conv2d } from "../nn/conv2d.ts";
import { ConvTranspose2d } from "../nn/conv_transpose2d.ts";
import { Embedding } from "../nn/embedding.ts";
import { Linear } from "../nn/linear.ts";
import { Module } from "../nn/module.ts";
import type { Rng } from "../tensor/rng.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { addPerChannel, requireInputs } from "./_denoiser.ts";
import type { DenoiserInputs, DenoiserNetwork } from "./denoiser.ts";
import { timeEmbedding } from "./time_embedding.ts";

/** Size and shape of a `ConvDenoiser`. */
export interface ConvDenoiserOptions {
  /** Channels of the images. */
  inChannels: number;
  /** Channels of the prediction; defaults to `inChannels`. */
  outChannels?: number;
  /** Channels of the first level, each further one having twice as many; defaults to 64. */
  channels?: number;
  /** How often the image is halved; defaults to 3. For 28×28 take 2. */
  levels?: number;
  /** Columns of the code of a timestep, even; defaults to 256. */
  timeDim?: number;
  /** Rows of the embedding of a conditional network: its classes, and one more if it also learns "no class". */
  numClasses?: number;
}

/** `activation(norm(conv2(conv1(x)))) + emb(e)`, where the first convolution changes the resolution. */
export class ConvDenoiserStage extends Module {
  /** 4×4, stride 2. */
  readonly conv1: Conv2d | ConvTranspose2d;
  /** 3×3. */
  readonly conv2: Conv2d | ConvTranspose2d;
  /** Absent at the first stage, as is `emb`. */
  readonly norm?: BatchNorm2d;
  /** From the code of the timestep to one number per channel. */
  readonly emb?: Linear;
  readonly #activation: (x: Tensor) => Tensor;

  /** `Conv`: which convolutions; `timeDim`: 0 means neither `norm` nor `emb`. */
  constructor(
    Conv: typeof Conv2d | typeof ConvTranspose2d,
    from: number,
    to: number,
    timeDim: number,
    activation: (x: Tensor) => Tensor,
    rng: Rng,
  ) {
    super();
    this.conv1 = new Conv(from, to, 4, rng, HALF);
    this.conv2 = new Conv(to, to, 3, rng, { padding: 1, bias: false });
    if (timeDim > 0) {
      this.norm = new BatchNorm2d(to);
      this.emb = new Linear(timeDim, to, rng);
    }
    this.#activation = activation;
  }

  /** `[N, from, H, W]` and `e` `[N, timeDim]` to `[N, to, H', W']`. */
  forward(x: Tensor, e: Tensor, { training }: DenoiserInputs): Tensor {
    let h = this.conv2.forward(this.conv1.forward(x));
    h = this.norm?.forward(h, { training }) ?? h;
    h = this.#activation(h);
    return this.emb ? addPerChannel(h, this.emb.forward(e)) : h;
  }
}

/** Halves an image, or doubles it if transposed. */
const HALF = { stride: 2, padding: 1, bias: false };

/**
 * Predicts the noise in an image at a timestep. With its defaults, 4,072,899 parameters for RGB.
 *
 * Batch normalisation follows the batch in `training`, and the running statistics otherwise, which
 * belong to the weights that made them. Who samples with averages of the weights averages the
 * statistics alike, `new Ema(net.namedBuffers(), …)`, or runs some batches in `training` inside
 * `Ema.withWeights` before.
 */
export class ConvDenoiser extends Module implements DenoiserNetwork {
  /** The way down, full resolution first. */
  readonly down: readonly ConvDenoiserStage[];
  /** The way up to half the resolution, lowest first. */
  readonly up: readonly ConvDenoiserStage[];
  /** To full resolution, 4×4. */
  readonly up_out: ConvTranspose2d;
  /** The last layer, 1×1. */
  readonly conv_out: Conv2d;
  /** One row per class, in a conditional network. */
  readonly label_emb?: Embedding;
  readonly #inChannels: number;
  readonly #timeDim: number;

  /**
   * Builds the network.
   *
   * @param rng Draws the initial weights.
   * @throws {RangeError} If `levels` is not whole, or below 1.
   */
  constructor(options: ConvDenoiserOptions, rng: Rng) {
    super();
    const {
      inChannels,
      outChannels = inChannels,
      channels = 64,
      levels = 3,
      timeDim = 256,
      numClasses,
    } = options;
    if (!Number.isInteger(levels) || levels < 1) {
      throw new RangeError(
        `Cannot make a ConvDenoiser as levels must be a whole number from 1: it is ${levels}`,
      );
    }
    this.#inChannels = inChannels;
    this.#timeDim = timeDim;
    const widths = Array.from({ length: levels }, (_, i) => channels * 2 ** i);
    const leaky = (x: Tensor) => leakyRelu(x, 0.2);
    let width = inChannels;
    this.down = widths.map((to, i) => {
      const code = i === 0 ? 0 : timeDim;
      const stage = new ConvDenoiserStage(Conv2d, width, to, code, leaky, rng);
      width = to;
      return stage;
    });
    this.up = widths.slice(1).toReversed().map((to) => {
      const stage = new ConvDenoiserStage(
        ConvTranspose2d,
        width,
        to,
        timeDim,
        relu,
        rng,
      );
      width = to;
      return stage;
    });
    this.up_out = new ConvTranspose2d(width, channels, 4, rng, HALF);
    this.conv_out = new Conv2d(channels, outChannels, 1, rng);
    if (numClasses !== undefined) {
      this.label_emb = new Embedding(numClasses, timeDim, rng);
    }
  }

  /**
   * Predicts the noise.
   *
   * @param x Noised images, `[N, inChannels, H, W]`, H and W divisible by 2^levels.
   * @param t Timesteps, f32 `[N]`.
   * @param inputs `training`: whether to normalise by the batch, and take it into the running
   *   statistics.
   * @returns `[N, outChannels, H, W]`.
   * @throws {TypeError} If a shape does not fit, or `y` is missing where it is needed.
   */
  forward(x: Tensor, t: Tensor, inputs: DenoiserInputs = {}): Tensor {
    const levels = this.down.length, factor = 2 ** levels;
    requireInputs("ConvDenoiser", x, t, inputs.y, {
      channels: this.#inChannels,
      takes: (side) => side % factor === 0,
      sides: `divisible by ${factor} with levels ${levels}`,
      conditional: this.label_emb !== undefined,
    });
    let e = timeEmbedding(t, this.#timeDim, { form: "dome" });
    if (this.label_emb) e = add(e, this.label_emb.forward(inputs.y!));
    let h = x;
    for (const stage of [...this.down, ...this.up]) {
      h = stage.forward(h, e, inputs);
    }
    return this.conv_out.forward(this.up_out.forward(h));
  }
}
