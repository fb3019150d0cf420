/**
 * The U-Net of "Improved Denoising Diffusion Probabilistic Models" (Nichol & Dhariwal 2021,
 * arXiv:2102.09672) and "Diffusion Models Beat GANs on Image Synthesis" (Dhariwal & Nichol 2021,
 * arXiv:2105.05233), block for block as their code has it. Fields carry the names of its state dict,
 * so that published weights load without renaming.
 *
 * @module
 */
import { concat } from "../kernels/shape.ts";
import { Conv2d } from "../nn/conv2d.ts";
import type { GroupNorm } from "../nn/group_norm.ts";
import type { Rng } from "../tensor/rng.ts";
import type { Tensor } from "../tensor/tensor.ts";
import {
  AdmAttentionBlock,
  type AdmLayer,
  AdmResBlock,
  AdmUpsample,
  NormSilu,
  SILENT,
} from "./_adm_blocks.ts";
import { AdmEncoder } from "./_adm_encoder.ts";
import { type AdmOptions, settingsOf } from "./_adm_options.ts";
import type { DenoiserInputs, DenoiserNetwork } from "./denoiser.ts";

export type { AdmLayer } from "./_adm_blocks.ts";
export type { AdmEncoder } from "./_adm_encoder.ts";
export type {
  AdmOptions,
  AdmSettings,
  AttentionOrder,
  UpDown,
} from "./_adm_options.ts";

/** Size and shape of an `AdmUNet`. */
export interface AdmUNetOptions extends AdmOptions {
  /** Channels of the prediction, twice `inChannels` with learned variances; defaults to `inChannels`. */
  outChannels?: number;
  /** Rows of the embedding of a conditional network: its classes, and one more if it also learns "no class". */
  numClasses?: number;
}

/**
 * Predicts what `Denoiser` says. Published networks, for three channels and with learned variances
 * (`inChannels: 3, outChannels: 6`):
 *
 * - Nichol & Dhariwal's for CIFAR-10, 52,546,438 parameters: `imageSize: 32, resBlocks: 3`.
 * - Theirs for ImageNet of 64 pixels, 121,063,942: `imageSize: 64, multipliers: [1, 2, 3, 4],
 *   resBlocks: 3`. Both were trained with 4000 steps and know timesteps as `t / 4`.
 * - Dhariwal & Nichol's for ImageNet of 64 pixels, 295,904,454: `imageSize: 64, channels: 192,
 *   multipliers: [1, 2, 3, 4], resBlocks: 3, attentionResolutions: [32, 16, 8], headChannels: 64,
 *   attentionOrder: "new", updown: "resBlock", numClasses: 1000`.
 */
export class AdmUNet extends AdmEncoder implements DenoiserNetwork {
  /** On the way up: the layers after each skip, lowest resolution first. */
  readonly output_blocks: readonly (readonly AdmLayer[])[];
  /** Normalisation with SiLU, and a convolution, which is 0 at first. */
  readonly out: { readonly 0: GroupNorm; readonly 2: Conv2d };

  /**
   * Builds the network.
   *
   * @param rng Draws the initial weights.
   * @throws {RangeError} If the levels do not fit the image, `attentionResolutions` the levels, or
   *   groups or heads the channels.
   */
  constructor(options: AdmUNetOptions, rng: Rng) {
    const { inChannels, outChannels = inChannels, numClasses } = options;
    const settings = settingsOf("AdmUNet", options);
    super(settings, rng, numClasses);
    const { widths, resBlocks, attends, updown, groups } = settings;
    const last = widths.length - 1;
    // Widths of what the way down leaves: its first layer, then its blocks and what halves images.
    const skips = [
      widths[0]!,
      ...widths.flatMap((width, level) =>
        new Array<number>(resBlocks + Number(level < last)).fill(width)
      ),
    ];
    const blocks: AdmLayer[][] = [];
    let width = widths[last]!;
    for (let level = last; level >= 0; level--) {
      const to = widths[level]!;
      for (let j = 0; j <= resBlocks; j++) {
        const from = width + skips.pop()!;
        const layers: AdmLayer[] = [new AdmResBlock(from, to, settings, rng)];
        if (attends[level]) {
          layers.push(new AdmAttentionBlock(to, settings, rng));
        }
        blocks.push(layers);
        width = to;
      }
      if (level > 0) {
        blocks.at(-1)!.push(
          updown === "resBlock"
            ? new AdmResBlock(width, width, settings, rng, "up")
            : new AdmUpsample(width, updown === "conv" ? rng : undefined),
        );
      }
    }
    this.output_blocks = blocks;
    this.out = {
      0: new NormSilu(groups, width),
      2: new Conv2d(width, outChannels, 3, rng, { padding: 1, ...SILENT }),
    };
  }

  /**
   * Predicts.
   *
   * @param x Noised images, `[N, inChannels, H, W]`, H and W divisible by 2^(levels - 1).
   * @param t Timesteps, f32 `[N]`.
   * @returns `[N, outChannels, H, W]`.
   * @throws {TypeError} If a shape does not fit, or `y` or `rng` is missing where it is needed.
   */
  forward(x: Tensor, t: Tensor, inputs: DenoiserInputs = {}): Tensor {
    const { h: middle, e, skips } = this.encode(x, t, inputs);
    const h = this.output_blocks.reduce(
      (h, layers) =>
        this.through(layers, concat([h, skips.pop()!], 1), e, inputs),
      middle,
    );
    return this.out[2].forward(this.out[0].forward(h));
  }
}
