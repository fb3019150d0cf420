/**
 * What the networks of Nichol & Dhariwal 2021 and Dhariwal & Nichol 2021 have in common: the half of
 * the U-Net that leads down, and its middle.
 *
 * @module
 */
import { add } from "../kernels/binary.ts";
import { silu } from "../kernels/unary.ts";
import { Conv2d } from "../nn/conv2d.ts";
import { Embedding } from "../nn/embedding.ts";
import { Linear } from "../nn/linear.ts";
import { Module } from "../nn/module.ts";
import { checkpoint } from "../tensor/autograd.ts";
import { requireThat } from "../tensor/kernel.ts";
import type { Rng } from "../tensor/rng.ts";
import type { Tensor } from "../tensor/tensor.ts";
import {
  AdmAttentionBlock,
  AdmDownsample,
  type AdmLayer,
  AdmResBlock,
} from "./_adm_blocks.ts";
import type { AdmSettings } from "./_adm_options.ts";
import { requireInputs } from "./_denoiser.ts";
import type { DenoiserInputs } from "./denoiser.ts";
import { timeEmbedding } from "./time_embedding.ts";

/** Embeds the timestep and computes all levels on the way down. */
export abstract class AdmEncoder extends Module {
  /** Embedding of the timestep: two layers with SiLU between them. */
  readonly time_embed: { readonly 0: Linear; readonly 2: Linear };
  /** One row per class, in a conditional network. */
  readonly label_emb?: Embedding;
  /** A convolution, then the layers before each skip, full resolution first. */
  readonly input_blocks: readonly [
    readonly [Conv2d],
    ...(readonly AdmLayer[])[],
  ];
  /** At the lowest resolution. */
  readonly middle_block: readonly AdmLayer[];
  readonly #settings: AdmSettings;

  /** `numClasses`: rows of `label_emb`, which is left out without it. */
  constructor(settings: AdmSettings, rng: Rng, numClasses?: number) {
    super();
    this.#settings = settings;
    const { inChannels, channels, widths, embedding } = settings;
    const { resBlocks, attends, updown } = settings;
    this.time_embed = {
      0: new Linear(channels, embedding, rng),
      2: new Linear(embedding, embedding, rng),
    };
    if (numClasses !== undefined) {
      this.label_emb = new Embedding(numClasses, embedding, rng);
    }
    let width = widths[0]!;
    const blocks: AdmLayer[][] = [];
    const first = new Conv2d(inChannels, width, 3, rng, { padding: 1 });
    widths.forEach((to, level) => {
      for (let j = 0; j < resBlocks; j++) {
        const layers: AdmLayer[] = [new AdmResBlock(width, to, settings, rng)];
        if (attends[level]) {
          layers.push(new AdmAttentionBlock(to, settings, rng));
        }
        blocks.push(layers);
        width = to;
      }
      if (level === widths.length - 1) return;
      blocks.push([
        updown === "resBlock"
          ? new AdmResBlock(width, width, settings, rng, "down")
          : new AdmDownsample(width, updown === "conv" ? rng : undefined),
      ]);
    });
    this.input_blocks = [[first], ...blocks];
    this.middle_block = [
      new AdmResBlock(width, width, settings, rng),
      new AdmAttentionBlock(width, settings, rng),
      new AdmResBlock(width, width, settings, rng),
    ];
  }

  /**
   * Runs everything up to the middle.
   *
   * @returns `h` of the middle; the activated embedding `e`; and what the way up is given, last first.
   */
  protected encode(
    x: Tensor,
    t: Tensor,
    inputs: DenoiserInputs,
  ): { h: Tensor; e: Tensor; skips: Tensor[] } {
    this.#check(x, t, inputs);
    const { channels } = this.#settings;
    const { 0: first, 2: second } = this.time_embed;
    const code = timeEmbedding(t, channels, { form: "openai" });
    let e = second.forward(silu(first.forward(code)));
    if (this.label_emb) e = add(e, this.label_emb.forward(inputs.y!));
    e = silu(e); // every block activates it first
    const [[conv], ...blocks] = this.input_blocks;
    const skips = [conv.forward(x)];
    for (const layers of blocks) {
      skips.push(this.through(layers, skips.at(-1)!, e, inputs));
    }
    const h = this.through(this.middle_block, skips.at(-1)!, e, inputs);
    return { h, e, skips };
  }

  /** Runs layers one after the other. */
  protected through(
    layers: readonly AdmLayer[],
    h: Tensor,
    e: Tensor,
    inputs: DenoiserInputs,
  ): Tensor {
    const rng = inputs.rng ? { rng: inputs.rng } : {};
    return layers.reduce((h, layer) => {
      const body = (h: Tensor, e: Tensor) => layer.forward(h, e, inputs);
      return this.#settings.checkpoint
        ? checkpoint(body, [h, e], rng)
        : body(h, e);
    }, h);
  }

  #check(x: Tensor, t: Tensor, { y, training, rng }: DenoiserInputs): void {
    const { inChannels, multipliers, dropout } = this.#settings;
    const { name } = this.constructor;
    const factor = 2 ** (multipliers.length - 1);
    requireInputs(name, x, t, y, {
      channels: inChannels,
      takes: (side) => side % factor === 0,
      sides: `divisible by ${factor}`,
      conditional: this.label_emb !== undefined,
    });
    requireThat(
      !training || dropout === 0 || rng !== undefined,
      name,
      "training with dropout needs a generator rng",
      { dropout },
    );
  }
}
