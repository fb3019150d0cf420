/**
 * The denoisers that a configuration may name: each is a section of its own, and the one that is there
 * is the one that is built.
 *
 * @module
 */
import {
  AdmUNet,
  ConvDenoiser,
  type DenoiserNetwork,
  DomeUNet,
  LayerNormUNet,
  relu,
  type Rng,
  silu,
  SongUNet,
  UNet,
} from "../mod.ts";
import { UsageError } from "./_cli.ts";
import { z } from "./_config.ts";
import { belowOne, count } from "./_training_config.ts";

/** Columns of a code of sines and cosines. */
const even = z.int().min(2).multipleOf(2, "an even number");

/** U-Net of Ho et al. 2020, appendix B. */
const unet = z.strictObject({
  channels: even.default(32), // of the first level
  multipliers: z.array(count).min(1).default([1, 2, 2]), // of `channels`, per level
  resBlocks: count.default(1), // per level
  attentionLevels: z.array(z.int().min(0)).default([1]), // 0 is full resolution
  groups: count.default(8), // of every GroupNorm
  dropout: belowOne.default(0),
});

/** U-Net of Nichol & Dhariwal 2021, and of Dhariwal & Nichol 2021 (ADM). */
const adm = z.strictObject({
  channels: even.default(32), // of the first level
  multipliers: z.array(count).min(1).default([1, 2, 2]), // of `channels`, per level
  resBlocks: count.default(1), // per level
  attentionResolutions: z.array(count).optional(), // sides in pixels; default: levels of 7 to 16
  heads: count.default(4), // of attention
  headChannels: count.optional(), // instead of heads
  attentionOrder: z.enum(["legacy", "new"]).default("legacy"), // only published weights tell
  updown: z.enum(["conv", "resBlock", "plain"]).default("conv"), // what halves and doubles images
  adaptiveGroupNorm: z.boolean().default(true), // timesteps scale and shift norms
  rescaleResiduals: z.boolean().default(false), // sums of two are divided by √2
  groups: count.default(8), // of every GroupNorm
  dropout: belowOne.default(0),
  checkpoint: z.boolean().default(false), // gradients compute again what lies within a layer
});

/** U-Net of github.com/dome272/Diffusion-Models-pytorch, and smaller forms of it. */
const dome = z.strictObject({
  variant: z.enum(["3xblocks", "2xud", "2xud-half", "small"]).default("small"),
  layout: z.strictObject({ // channels after each block, instead of a variant
    inc: count,
    down: z.array(count).min(1), // each halves the image
    bot: z.array(count),
    up: z.array(count).min(1), // each doubles it: as many as down
    lastAttention: z.boolean().default(true), // at full resolution too
  }).optional(),
  timeDim: even.default(256),
  heads: count.default(4), // of attention
});

/** DDPM++ and NCSN++ of Song et al. 2021, as Karras et al. 2022 (EDM) train them. */
const song = z.strictObject({
  channels: z.int().min(4).multipleOf(4, "a multiple of 4").default(32),
  multipliers: z.array(count).min(1).default([1, 2]), // of `channels`, per level
  blocks: count.default(2), // per level
  attentionResolutions: z.array(count).optional(), // sides in pixels; default: levels of 7 to 16
  dropout: belowOne.default(0),
  embedding: z.enum(["positional", "fourier"]).default("positional"), // of the noise level
  noiseMultiplier: count.default(1), // its width over `channels`
  encoder: z.enum(["standard", "residual"]).default("standard"), // residual: sees the image at every level
  resampleFilter: z.array(z.number()).min(2).default([1, 1]), // for halving and doubling
  augmentDim: count.optional(), // of published weights; nothing here augments so
});

/** Convolutions down and up without skips, of the projects that compare it with U-Nets. */
const conv = z.strictObject({
  channels: count.default(32), // of the first level; each further one has twice as many
  levels: count.default(2), // how often the image is halved
  timeDim: even.default(256),
});

/** Pulfer's U-Net of half a million parameters for 28 × 28 pixels. */
const layerNormUnet = z.strictObject({
  channels: count.default(10), // at full resolution
  timeDim: even.default(100),
  activation: z.enum(["relu", "silu"]).default("relu"),
});

/** The sections, to spread into a schema. */
export const networkKeys = {
  unet: unet.optional(),
  adm: adm.optional(),
  dome: dome.optional(),
  song: song.optional(),
  conv: conv.optional(),
  layerNormUnet: layerNormUnet.optional(),
} as const;

/** What a configuration says about its network. */
export type NetworkConfig = z.output<z.ZodObject<typeof networkKeys>>;
type Section = keyof typeof networkKeys;

/** For `resolveConfig`: a section given by a stronger source replaces the others. */
export const NETWORKS = Object.keys(networkKeys) as Section[];

/** Which section is there. */
export function networkOf(config: NetworkConfig): Section {
  return NETWORKS.find((name) => config[name] !== undefined)!;
}

/** What the data and the process ask of a network. */
export interface NetworkDemands {
  /** Channels of what it is given. */
  inChannels: number;
  /** Channels of what it returns. */
  outChannels: number;
  /** Rows of its label embedding; undefined if it knows no classes. */
  numClasses?: number;
  /** Sides of the images, in pixels. */
  height: number;
  /** Sides of the images, in pixels. */
  width: number;
}

type Wrong = (path: string[], message: string) => void;

/** What a section means. */
interface Network<Options> {
  /** Builds it. */
  build(options: Options, demands: NetworkDemands, rng: Rng): DenoiserNetwork;
  /** How often it halves the image, if any sides will do that can be halved so often. */
  halvings?(options: Options): number;
  /** Says what is wrong between keys of the section. */
  check?(options: Options, wrong: Wrong): void;
}

/** Sides of the levels at which published networks of this kind attend. */
function usualAttention(height: number, levels: number): number[] {
  return Array.from({ length: levels }, (_, level) => height / 2 ** level)
    .filter((side) => side >= 7 && side <= 16);
}

function checkGroups(
  section: Section,
  { channels, multipliers, groups }: {
    channels: number;
    multipliers: number[];
    groups: number;
  },
  wrong: Wrong,
): void {
  const widths = multipliers.map((multiplier) => multiplier * channels);
  if (widths.every((width) => width % groups === 0)) return;
  wrong(
    [section, "groups"],
    `a divisor of the channels of every level, ${widths.join(", ")}`,
  );
}

const BUILDERS: {
  [S in Section]: Network<NonNullable<NetworkConfig[S]>>;
} = {
  unet: {
    build: (options, { inChannels, outChannels, numClasses }, rng) =>
      new UNet({ ...options, inChannels, outChannels, numClasses }, rng),
    halvings: ({ multipliers }) => multipliers.length - 1,
    check(options, wrong) {
      checkGroups("unet", options, wrong);
      const { attentionLevels, multipliers } = options;
      if (attentionLevels.every((level) => level < multipliers.length)) return;
      wrong(
        ["unet", "attentionLevels"],
        `levels from 0 to ${
          multipliers.length - 1
        }, as multipliers has ${multipliers.length}`,
      );
    },
  },
  adm: {
    build: (options, { height, width: _, ...demands }, rng) =>
      new AdmUNet({ ...options, ...demands, imageSize: height }, rng),
    halvings: ({ multipliers }) => multipliers.length - 1,
    check: (options, wrong) => checkGroups("adm", options, wrong),
  },
  dome: {
    build: (
      { layout, ...options },
      { height: _, width: __, ...demands },
      rng,
    ) =>
      new DomeUNet(
        { ...options, ...demands, variant: layout ?? options.variant },
        rng,
      ),
    halvings: ({ layout, variant }) =>
      layout?.down.length ?? (variant === "3xblocks" ? 3 : 2),
    check({ layout }, wrong) {
      if (!layout || layout.up.length === layout.down.length) return;
      wrong(
        ["dome", "layout", "up"],
        `as long as down, whose length is ${layout.down.length}`,
      );
    },
  },
  song: {
    build(options, { height, width: _, ...demands }, rng) {
      const {
        multipliers,
        attentionResolutions = usualAttention(height, multipliers.length),
      } = options;
      return new SongUNet({
        ...options,
        ...demands,
        attentionResolutions,
        imageSize: height,
      }, rng);
    },
    halvings: ({ multipliers }) => multipliers.length - 1,
    check({ resampleFilter }, wrong) {
      if (resampleFilter.length % 2 === 0) return;
      wrong(["song", "resampleFilter"], "a list whose length is even");
    },
  },
  conv: {
    build: (options, { height: _, width: __, ...demands }, rng) =>
      new ConvDenoiser({ ...options, ...demands }, rng),
    halvings: ({ levels }) => levels,
  },
  layerNormUnet: {
    build: ({ activation, ...options }, demands, rng) => {
      const { height, width, ...rest } = demands;
      if (height !== width) {
        throw new RangeError(
          `Cannot use this layerNormUnet as images must be square: they are ${height} × ${width}`,
        );
      }
      return new LayerNormUNet({
        ...options,
        ...rest,
        size: height,
        activation: activation === "silu" ? silu : relu,
      }, rng);
    },
  },
};

/** The section that is there, and what it means. */
function chosen(config: NetworkConfig) {
  const name = networkOf(config);
  return {
    name,
    options: config[name]!,
    network: BUILDERS[name] as Network<NonNullable<NetworkConfig[Section]>>,
  };
}

/**
 * Builds the network of a configuration.
 *
 * @param rng Draws the initial weights.
 * @throws {UsageError} If it does not fit the images, or itself.
 */
export function buildNetwork(
  config: NetworkConfig,
  demands: NetworkDemands,
  rng: Rng,
): DenoiserNetwork {
  const { network, options } = chosen(config);
  try {
    return network.build(options, demands, rng);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new UsageError(error.message, { cause: error });
  }
}

/**
 * Checks that the image can be halved as often as the network does.
 *
 * @param what It is, for the message.
 * @throws {UsageError} If a level would have half a pixel.
 */
export function checkImageSize(
  config: NetworkConfig,
  { height, width }: { readonly height: number; readonly width: number },
  what = "the image",
): void {
  const { name, network, options } = chosen(config);
  const halvings = network.halvings?.(options) ?? 0;
  const factor = 2 ** halvings;
  if (height % factor === 0 && width % factor === 0) return;
  throw new UsageError(
    `Cannot use this ${name} as it halves ${what} ${halvings} times, so sides must be ` +
      `multiples of ${factor} pixels: they are ${height} × ${width}. Use fewer levels or, for a folder of images, set imageSize`,
  );
}

/** Says what is wrong between keys of a network's section. */
export function checkNetwork(config: NetworkConfig, wrong: Wrong): void {
  if (networkOf(config) === undefined) {
    wrong(
      ["unet"],
      `given, or another of the networks ${NETWORKS.join(", ")}`,
    );
    return;
  }
  const { network, options } = chosen(config);
  network.check?.(options, wrong);
}
