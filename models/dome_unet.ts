/**
 * The U-Net of github.com/dome272/Diffusion-Models-pytorch, in which attention follows every change
 * of resolution, and smaller forms of it. Parameters carry the names of that repository's state dict
 * (`down1.maxpool_conv.1.double_conv.0.weight`, `sa1.mha.in_proj_weight`, …), so that weights load
 * without renaming.
 *
 * @module
 */
import { add } from "../kernels/binary.ts";
import { maxPool2d } from "../kernels/pool.ts";
import { concat, flatten, reshape, transpose } from "../kernels/shape.ts";
import { gelu, silu } from "../kernels/unary.ts";
import { upsampleBilinear } from "../kernels/upsample.ts";
import { Conv2d } from "../nn/conv2d.ts";
import { Embedding } from "../nn/embedding.ts";
import { GroupNorm } from "../nn/group_norm.ts";
import { LayerNorm } from "../nn/layer_norm.ts";
import { Linear } from "../nn/linear.ts";
import { Module } from "../nn/module.ts";
import { MultiheadAttention } from "../nn/multihead_attention.ts";
import { Sequential } from "../nn/sequential.ts";
import type { Rng } from "../tensor/rng.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { addPerChannel, requireInputs } from "./_denoiser.ts";
import type { DenoiserInputs, DenoiserNetwork } from "./denoiser.ts";
import { timeEmbedding } from "./time_embedding.ts";

/** Depth and widths of a `DomeUNet`: the channels after each of its blocks. */
export interface DomeLayout {
  /** After the first block, at full resolution. */
  inc: number;
  /** After each block on the way down, all of which halve the image. */
  down: readonly number[];
  /** After each block at the lowest resolution. */
  bot: readonly number[];
  /** After each block on the way up, all of which double the image: as many as on the way down. */
  up: readonly number[];
  /** The number in the name of the first block on the way up; defaults to 1. */
  firstUp?: number;
  /** Whether attention follows the last block too, at full resolution; defaults to true. */
  lastAttention?: boolean;
}

/** Names of layouts: the original one, and three with two levels, each smaller than the one before. */
export type DomeVariant = "3xblocks" | "2xud" | "2xud-half" | "small";

const layouts: Readonly<Record<DomeVariant, DomeLayout>> = {
  "3xblocks": {
    inc: 64,
    down: [128, 256, 256],
    bot: [512, 512, 256],
    up: [128, 64, 64],
  },
  "2xud": {
    inc: 64,
    down: [128, 256],
    bot: [512, 512, 256],
    up: [64, 64],
    firstUp: 2,
  },
  "2xud-half": {
    inc: 32,
    down: [64, 128],
    bot: [256, 256, 128],
    up: [64, 64],
    firstUp: 2,
  },
  "small": {
    inc: 32,
    down: [64, 128],
    bot: [256, 128],
    up: [64, 64],
    lastAttention: false,
  },
};

/** Size and shape of a `DomeUNet`. */
export interface DomeUNetOptions {
  /** Channels of the images. */
  inChannels: number;
  /** Channels of the prediction; defaults to `inChannels`. */
  outChannels?: number;
  /** A layout or its name; defaults to `"3xblocks"`. */
  variant?: DomeVariant | DomeLayout;
  /** Columns of the code of a timestep, even; defaults to 256. */
  timeDim?: number;
  /** Heads of every attention; defaults to 4. */
  heads?: number;
  /** Rows of the embedding of a conditional network: its classes, and one more if it also learns "no class". */
  numClasses?: number;
}

/** `conv, norm, GELU, conv, norm`, with 3×3 convolutions and one group; `GELU(x + …)` if residual. */
export class DomeDoubleConv extends Module {
  /** The layers. */
  readonly double_conv: Sequential;
  readonly #residual: boolean;

  /** `middle`: channels between the convolutions; the weights are drawn from `rng`. */
  constructor(
    from: number,
    to: number,
    rng: Rng,
    options: { middle?: number; residual?: boolean } = {},
  ) {
    super();
    const { middle = to, residual = false } = options;
    const same = { padding: 1, bias: false };
    this.double_conv = new Sequential(
      new Conv2d(from, middle, 3, rng, same),
      new GroupNorm(1, middle),
      (x) => gelu(x),
      new Conv2d(middle, to, 3, rng, same),
      new GroupNorm(1, to),
    );
    this.#residual = residual;
  }

  /** `[N, from, H, W]` to `[N, to, H, W]`. */
  forward(x: Tensor): Tensor {
    const h = this.double_conv.forward(x);
    return this.#residual ? gelu(add(x, h)) : h;
  }
}

/** Halves the image, and adds a projection of the code of the timestep. */
export class DomeDown extends Module {
  /** Pooling and two double convolutions. */
  readonly maxpool_conv: Sequential;
  /** From the code to one number per channel. */
  readonly emb_layer: Sequential;

  /** Draws the weights from `rng`. */
  constructor(from: number, to: number, timeDim: number, rng: Rng) {
    super();
    this.maxpool_conv = new Sequential(
      (x) => maxPool2d(x, 2),
      new DomeDoubleConv(from, from, rng, { residual: true }),
      new DomeDoubleConv(from, to, rng),
    );
    this.emb_layer = new Sequential(silu, new Linear(timeDim, to, rng));
  }

  /** `[N, from, H, W]` and `e` `[N, timeDim]` to `[N, to, H / 2, W / 2]`. */
  forward(x: Tensor, e: Tensor): Tensor {
    return addPerChannel(
      this.maxpool_conv.forward(x),
      this.emb_layer.forward(e),
    );
  }
}

/** Doubles the image, joins it with what the way down had there, and adds a projection of the code. */
export class DomeUp extends Module {
  /** Two double convolutions. */
  readonly conv: Sequential;
  /** From the code to one number per channel. */
  readonly emb_layer: Sequential;

  /** `from`: channels of both inputs together; the weights are drawn from `rng`. */
  constructor(from: number, to: number, timeDim: number, rng: Rng) {
    super();
    this.conv = new Sequential(
      new DomeDoubleConv(from, from, rng, { residual: true }),
      new DomeDoubleConv(from, to, rng, { middle: Math.floor(from / 2) }),
    );
    this.emb_layer = new Sequential(silu, new Linear(timeDim, to, rng));
  }

  /** `[N, C, H / 2, W / 2]`, `skip` `[N, from - C, H, W]` and `e` `[N, timeDim]` to `[N, to, H, W]`. */
  forward(x: Tensor, skip: Tensor, e: Tensor): Tensor {
    const [height, width] = skip.shape.slice(2) as [number, number];
    const large = upsampleBilinear(x, [height, width], { alignCorners: true });
    return addPerChannel(
      this.conv.forward(concat([skip, large], 1)),
      this.emb_layer.forward(e),
    );
  }
}

/** Attention over all pixels, and two layers for each of them, both residual. */
export class DomeAttention extends Module {
  /** After `ln`. */
  readonly mha: MultiheadAttention;
  /** Over the channels. */
  readonly ln: LayerNorm;
  /** Normalisation and two layers with GELU between them. */
  readonly ff_self: Sequential;

  /**
   * Draws the weights from `rng`.
   *
   * @throws {RangeError} If the channels do not divide into the heads.
   */
  constructor(channels: number, heads: number, rng: Rng) {
    super();
    this.mha = new MultiheadAttention(channels, heads, rng);
    this.ln = new LayerNorm(channels);
    this.ff_self = new Sequential(
      new LayerNorm(channels),
      new Linear(channels, channels, rng),
      (x) => gelu(x),
      new Linear(channels, channels, rng),
    );
  }

  /** `x`: `[N, C, H, W]`; returns the same shape. */
  forward(x: Tensor): Tensor {
    const tokens = transpose(flatten(x, 2), 1, 2); // [N, H·W, C]
    const a = add(this.mha.forward(this.ln.forward(tokens)), tokens);
    const b = add(this.ff_self.forward(a), a);
    return reshape(transpose(b, 1, 2), x.shape);
  }
}

/** A block on the way up, and the attention after it, if any. */
export interface DomeLevel<Block> {
  /** Changes the resolution. */
  readonly block: Block;
  /** At the new resolution. */
  readonly attention?: DomeAttention;
}

/**
 * Predicts the noise in an image at a timestep. Parameters by `variant`, for RGB: `"3xblocks"`
 * 23,332,739; `"2xud"` 16,062,083; `"2xud-half"` 4,268,419; `"small"` 3,062,531. Sides must be
 * divisible by 8 for the first, and by 4 for the others.
 */
export class DomeUNet extends Module implements DenoiserNetwork {
  /** The first block. */
  readonly inc: DomeDoubleConv;
  /** The way down, full resolution first: `down1`, `sa1`, `down2`, … in the state. */
  readonly down: readonly DomeLevel<DomeDown>[];
  /** At the lowest resolution: `bot1`, … in the state. */
  readonly bot: readonly DomeDoubleConv[];
  /** The way up, lowest resolution first: `up1`, `sa4`, `up2`, … in the state. */
  readonly up: readonly DomeLevel<DomeUp>[];
  /** The last layer, 1×1. */
  readonly outc: Conv2d;
  /** One row per class, in a conditional network. */
  readonly label_emb?: Embedding;
  readonly #inChannels: number;
  readonly #timeDim: number;
  readonly #firstUp: number;

  /**
   * Builds the network.
   *
   * @param rng Draws the initial weights.
   * @throws {RangeError} If the ways down and up differ in length, or the heads do not divide the
   *   channels where there is attention.
   */
  constructor(options: DomeUNetOptions, rng: Rng) {
    super();
    const {
      inChannels,
      outChannels = inChannels,
      variant = "3xblocks",
      timeDim = 256,
      heads = 4,
      numClasses,
    } = options;
    const layout = typeof variant === "string" ? layouts[variant] : variant;
    const { inc, down, bot, up, firstUp = 1, lastAttention = true } = layout;
    if (down.length !== up.length) {
      throw new RangeError(
        `Cannot make a DomeUNet as there must be as many blocks up as down: ${up.length} up, ${down.length} down`,
      );
    }
    this.#inChannels = inChannels;
    this.#timeDim = timeDim;
    this.#firstUp = firstUp;
    const attention = (channels: number) =>
      new DomeAttention(channels, heads, rng);
    this.inc = new DomeDoubleConv(inChannels, inc, rng);
    let width = inc;
    const skips: number[] = [];
    this.down = down.map((to) => {
      skips.push(width);
      const block = new DomeDown(width, to, timeDim, rng);
      width = to;
      return { block, attention: attention(to) };
    });
    this.bot = bot.map((to) => {
      const block = new DomeDoubleConv(width, to, rng);
      width = to;
      return block;
    });
    this.up = up.map((to, i) => {
      const block = new DomeUp(width + skips.pop()!, to, timeDim, rng);
      width = to;
      return i < up.length - 1 || lastAttention
        ? { block, attention: attention(to) }
        : { block };
    });
    this.outc = new Conv2d(width, outChannels, 1, rng);
    if (numClasses !== undefined) {
      this.label_emb = new Embedding(numClasses, timeDim, rng);
    }
  }

  /** The blocks by the names that they have in the original. @internal */
  override *members(): Iterable<readonly [string, unknown]> {
    yield ["inc", this.inc];
    for (const [i, { block, attention }] of this.down.entries()) {
      yield [`down${i + 1}`, block];
      yield [`sa${i + 1}`, attention];
    }
    for (const [i, block] of this.bot.entries()) yield [`bot${i + 1}`, block];
    // The original numbers attention through, and its two-level forms keep the numbers of the three.
    const attentions = Math.max(3, this.down.length);
    for (const [i, { block, attention }] of this.up.entries()) {
      const number = this.#firstUp + i;
      yield [`up${number}`, block];
      yield [`sa${attentions + number}`, attention];
    }
    yield ["outc", this.outc];
    yield ["label_emb", this.label_emb];
  }

  /**
   * Predicts the noise.
   *
   * @param x Noised images, `[N, inChannels, H, W]`, H and W divisible by 2 to the number of blocks
   *   on the way down.
   * @param t Timesteps, f32 `[N]`.
   * @returns `[N, outChannels, H, W]`.
   * @throws {TypeError} If a shape does not fit, or `y` is missing where it is needed.
   */
  forward(x: Tensor, t: Tensor, { y }: DenoiserInputs = {}): Tensor {
    const factor = 2 ** this.down.length;
    requireInputs("DomeUNet", x, t, y, {
      channels: this.#inChannels,
      takes: (side) => side % factor === 0,
      sides: `divisible by ${factor}` +
        (factor > 4 ? ', or by 4 with variant "2xud" or "small"' : ""),
      conditional: this.label_emb !== undefined,
    });
    let e = timeEmbedding(t, this.#timeDim, { form: "dome" });
    if (this.label_emb) e = add(e, this.label_emb.forward(y!));
    let h = this.inc.forward(x);
    const skips: Tensor[] = [];
    for (const { block, attention } of this.down) {
      skips.push(h);
      h = block.forward(h, e);
      h = attention?.forward(h) ?? h;
    }
    for (const block of this.bot) h = block.forward(h);
    for (const { block, attention } of this.up) {
      h = block.forward(h, skips.pop()!, e);
      h = attention?.forward(h) ?? h;
    }
    return this.outc.forward(h);
  }
}
