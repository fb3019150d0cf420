/**
 * A U-Net of half a million parameters for images of 28×28, after "Generating images with DDPMs: A
 * PyTorch Implementation" (Pulfer 2022), with layer normalisation over whole images. Fields carry the
 * names of its state dict (`b1.0.ln.weight`, `te_mid.0.bias`, …).
 *
 * @module
 */
import { add } from "../kernels/binary.ts";
import { concat } from "../kernels/shape.ts";
import { relu, silu } from "../kernels/unary.ts";
import { Conv2d } from "../nn/conv2d.ts";
import { ConvTranspose2d } from "../nn/conv_transpose2d.ts";
import { Embedding } from "../nn/embedding.ts";
import { LayerNorm } from "../nn/layer_norm.ts";
import { Linear } from "../nn/linear.ts";
import { Module } from "../nn/module.ts";
import { Sequential } from "../nn/sequential.ts";
import type { Rng } from "../tensor/rng.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { addPerChannel, requireInputs } from "./_denoiser.ts";
import type { DenoiserInputs, DenoiserNetwork } from "./denoiser.ts";
import { timeEmbedding } from "./time_embedding.ts";

/** Size and shape of a `LayerNormUNet`. */
export interface LayerNormUNetOptions {
  /** Channels of the images. */
  inChannels: number;
  /** Channels of the prediction; defaults to `inChannels`. */
  outChannels?: number;
  /** Height and width of the images, 4 times an odd number from 3; defaults to 28. */
  size?: number;
  /** Channels at full resolution; defaults to 10. */
  channels?: number;
  /** Columns of the code of a timestep, even; defaults to 100. */
  timeDim?: number;
  /** After every convolution of a block; defaults to `relu`. The original has `silu`. */
  activation?: (x: Tensor) => Tensor;
  /** Rows of the embedding of a conditional network: its classes, and one more if it also learns "no class". */
  numClasses?: number;
}

/** `a(conv2(a(conv1(ln(x)))))` with 3×3 convolutions. */
export class LayerNormBlock extends Module {
  /** Over channels, rows and columns, with a gain and an offset for each element. */
  readonly ln: LayerNorm;
  /** Changes the number of channels. */
  readonly conv1: Conv2d;
  /** Keeps it. */
  readonly conv2: Conv2d;
  readonly #normalize: boolean;
  readonly #activation: (x: Tensor) => Tensor;

  /**
   * Draws the weights from `rng`.
   *
   * @param options `size`: height and width. `normalize`: false leaves `ln` without a use, as the
   *   original has it in its last block.
   */
  constructor(
    from: number,
    to: number,
    options: {
      size: number;
      activation: (x: Tensor) => Tensor;
      normalize?: boolean;
    },
    rng: Rng,
  ) {
    super();
    const { size, activation, normalize = true } = options;
    this.ln = new LayerNorm([from, size, size]);
    this.conv1 = new Conv2d(from, to, 3, rng, { padding: 1 });
    this.conv2 = new Conv2d(to, to, 3, rng, { padding: 1 });
    this.#normalize = normalize;
    this.#activation = activation;
  }

  /** `[N, from, size, size]` to `[N, to, size, size]`. */
  forward(x: Tensor): Tensor {
    const h = this.conv1.forward(this.#normalize ? this.ln.forward(x) : x);
    return this.#activation(this.conv2.forward(this.#activation(h)));
  }
}

/** Halves an image, or doubles it if transposed. */
const HALF = { stride: 2, padding: 1 };

/**
 * Predicts the noise in an image at a timestep. With its defaults, 506,852 parameters for one channel,
 * of which 15,680 in the last block have no use. The original's table of timesteps, `time_embed.weight`, is computed instead: to load its weights, say
 * `strict: false`.
 */
export class LayerNormUNet extends Module implements DenoiserNetwork {
  /** From the code of the timestep to the channels of `b1`. */
  readonly te1: Sequential;
  /** At full resolution. */
  readonly b1: Sequential;
  /** Halves. */
  readonly down1: Conv2d;
  /** For `b2`. */
  readonly te2: Sequential;
  /** At half. */
  readonly b2: Sequential;
  /** Halves. */
  readonly down2: Conv2d;
  /** For `b3`. */
  readonly te3: Sequential;
  /** At a quarter. */
  readonly b3: Sequential;
  /** Takes one row and column off and halves: 7×7 to 3×3. */
  readonly down3: Sequential;
  /** For `b_mid`. */
  readonly te_mid: Sequential;
  /** At the lowest resolution. */
  readonly b_mid: Sequential;
  /** The way back of `down3`. */
  readonly up1: Sequential;
  /** For `b4`. */
  readonly te4: Sequential;
  /** At a quarter, of `b3` and `up1`. */
  readonly b4: Sequential;
  /** Doubles. */
  readonly up2: ConvTranspose2d;
  /** For `b5`. */
  readonly te5: Sequential;
  /** At half, of `b2` and `up2`. */
  readonly b5: Sequential;
  /** Doubles. */
  readonly up3: ConvTranspose2d;
  /** For `b_out`. */
  readonly te_out: Sequential;
  /** At full resolution, of `b1` and `up3`. */
  readonly b_out: Sequential;
  /** The last layer, 3×3. */
  readonly conv_out: Conv2d;
  /** One row per class, in a conditional network. */
  readonly label_emb?: Embedding;
  readonly #inChannels: number;
  readonly #size: number;
  readonly #timeDim: number;

  /**
   * Builds the network.
   *
   * @param rng Draws the initial weights.
   * @throws {RangeError} If `size` is not 4 times an odd number from 3.
   */
  constructor(options: LayerNormUNetOptions, rng: Rng) {
    super();
    const {
      inChannels,
      outChannels = inChannels,
      size = 28,
      channels: c = 10,
      timeDim = 100,
      activation = relu,
      numClasses,
    } = options;
    if (size % 8 !== 4 || size < 12) {
      throw new RangeError(
        `Cannot make a LayerNormUNet as the size must be 4 times an odd number from 3, such as 28: it is ${size}`,
      );
    }
    this.#inChannels = inChannels;
    this.#size = size;
    this.#timeDim = timeDim;
    const code = (to: number) =>
      new Sequential(
        new Linear(timeDim, to, rng),
        silu,
        new Linear(to, to, rng),
      );
    /** Blocks between these widths. */
    const stage = (
      side: number,
      [first, ...widths]: [number, ...number[]],
      normalizeLast = true,
    ) => {
      let from = first;
      return new Sequential(...widths.map((to, i) => {
        const normalize = normalizeLast || i < widths.length - 1;
        const options = { size: side, activation, normalize };
        const block = new LayerNormBlock(from, to, options, rng);
        from = to;
        return block;
      }));
    };
    const [full, half, quarter] = [size, size / 2, size / 4];
    this.te1 = code(inChannels);
    this.b1 = stage(full, [inChannels, c, c, c]);
    this.down1 = new Conv2d(c, c, 4, rng, HALF);
    this.te2 = code(c);
    this.b2 = stage(half, [c, 2 * c, 2 * c, 2 * c]);
    this.down2 = new Conv2d(2 * c, 2 * c, 4, rng, HALF);
    this.te3 = code(2 * c);
    this.b3 = stage(quarter, [2 * c, 4 * c, 4 * c, 4 * c]);
    this.down3 = new Sequential(
      new Conv2d(4 * c, 4 * c, 2, rng),
      silu,
      new Conv2d(4 * c, 4 * c, 4, rng, HALF),
    );
    this.te_mid = code(4 * c);
    this.b_mid = stage((quarter - 1) / 2, [4 * c, 2 * c, 2 * c, 4 * c]);
    this.up1 = new Sequential(
      new ConvTranspose2d(4 * c, 4 * c, 4, rng, HALF),
      silu,
      new ConvTranspose2d(4 * c, 4 * c, 2, rng),
    );
    this.te4 = code(8 * c);
    this.b4 = stage(quarter, [8 * c, 4 * c, 2 * c, 2 * c]);
    this.up2 = new ConvTranspose2d(2 * c, 2 * c, 4, rng, HALF);
    this.te5 = code(4 * c);
    this.b5 = stage(half, [4 * c, 2 * c, c, c]);
    this.up3 = new ConvTranspose2d(c, c, 4, rng, HALF);
    this.te_out = code(2 * c);
    this.b_out = stage(full, [2 * c, c, c, c], false);
    this.conv_out = new Conv2d(c, outChannels, 3, rng, { padding: 1 });
    if (numClasses !== undefined) {
      this.label_emb = new Embedding(numClasses, timeDim, rng);
    }
  }

  /**
   * Predicts the noise.
   *
   * @param x Noised images, `[N, inChannels, size, size]`.
   * @param t Timesteps, f32 `[N]`.
   * @returns `[N, outChannels, size, size]`.
   * @throws {TypeError} If a shape does not fit, or `y` is missing where it is needed.
   */
  forward(x: Tensor, t: Tensor, { y }: DenoiserInputs = {}): Tensor {
    requireInputs("LayerNormUNet", x, t, y, {
      channels: this.#inChannels,
      takes: (side) => side === this.#size,
      sides: `of ${this.#size}, its size`,
      conditional: this.label_emb !== undefined,
    });
    let e = timeEmbedding(t, this.#timeDim, { form: "interleaved" });
    if (this.label_emb) e = add(e, this.label_emb.forward(y!));
    const stage = (b: Sequential, te: Sequential, h: Tensor) =>
      b.forward(addPerChannel(h, te.forward(e)));
    const joined = (a: Tensor, b: Tensor) => concat([a, b], 1);
    const h1 = stage(this.b1, this.te1, x);
    const h2 = stage(this.b2, this.te2, this.down1.forward(h1));
    const h3 = stage(this.b3, this.te3, this.down2.forward(h2));
    let h = stage(this.b_mid, this.te_mid, this.down3.forward(h3));
    h = stage(this.b4, this.te4, joined(h3, this.up1.forward(h)));
    h = stage(this.b5, this.te5, joined(h2, this.up2.forward(h)));
    h = stage(this.b_out, this.te_out, joined(h1, this.up3.forward(h)));
    return this.conv_out.forward(h);
  }
}
