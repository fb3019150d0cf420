/**
 * The denoisers that a configuration may name: each is a section of its own, and the one that is there
 * is the one that is built.
 *
 * @module
 */
import { type DenoiserNetwork, type Rng, UNet } from "../mod.ts";
import { UsageError } from "./_cli.ts";
import { z } from "./_config.ts";
import { belowOne, count } from "./_training_config.ts";

/** U-Net of Ho et al. 2020, appendix B. */
const unet = z.strictObject({
  channels: count.default(32), // of the first level
  multipliers: z.array(count).min(1).default([1, 2, 2]), // of `channels`, per level
  resBlocks: count.default(1), // per level
  attentionLevels: z.array(z.int().min(0)).default([1]), // 0 is full resolution
  groups: count.default(8), // of every GroupNorm
  dropout: belowOne.default(0),
});

/** The sections, to spread into a schema. */
export const networkKeys = {
  unet: unet.optional(),
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

/** How each section is built and what it wants. */
const BUILDERS: {
  [S in Section]: {
    build(
      options: NonNullable<NetworkConfig[S]>,
      demands: NetworkDemands,
      rng: Rng,
    ): DenoiserNetwork;
    /** Sides must be a multiple of this. */
    factor(options: NonNullable<NetworkConfig[S]>): number;
  };
} = {
  unet: {
    build: (options, { inChannels, outChannels, numClasses }, rng) =>
      new UNet({ ...options, inChannels, outChannels, numClasses }, rng),
    factor: ({ multipliers }) => 2 ** (multipliers.length - 1),
  },
};

/**
 * Builds the network of a configuration.
 *
 * @param rng Draws the initial weights.
 */
export function buildNetwork(
  config: NetworkConfig,
  demands: NetworkDemands,
  rng: Rng,
): DenoiserNetwork {
  const name = networkOf(config);
  return BUILDERS[name].build(config[name]!, demands, rng);
}

/**
 * Checks that the image can be halved as often as the network does.
 *
 * @throws {UsageError} If a level would have half a pixel.
 */
export function checkImageSize(
  config: NetworkConfig,
  { height, width }: { readonly height: number; readonly width: number },
): void {
  const name = networkOf(config);
  const factor = BUILDERS[name].factor(config[name]!);
  if (height % factor === 0 && width % factor === 0) return;
  throw new UsageError(
    `Cannot use this ${name} as it halves the image ${
      Math.log2(factor)
    } times, so sides must be ` +
      `multiples of ${factor} pixels: they are ${height} × ${width}. Use fewer levels, or set imageSize`,
  );
}

/** Says what is wrong between keys of a network's section. */
export function checkNetwork(
  config: NetworkConfig,
  wrong: (path: string[], message: string) => void,
): void {
  if (networkOf(config) === undefined) {
    wrong(
      ["unet"],
      `given, or another of the networks ${NETWORKS.join(", ")}`,
    );
    return;
  }
  const { unet } = config;
  if (!unet) return;
  for (const multiplier of unet.multipliers) {
    if (unet.channels * multiplier % unet.groups !== 0) {
      wrong(
        ["unet", "groups"],
        `a divisor of the channels of every level, ${
          unet.multipliers.map((m) => m * unet.channels).join(", ")
        }`,
      );
      break;
    }
  }
  if (unet.attentionLevels.some((level) => level >= unet.multipliers.length)) {
    wrong(
      ["unet", "attentionLevels"],
      `levels from 0 to ${
        unet.multipliers.length - 1
      }, as multipliers has ${unet.multipliers.length}`,
    );
  }
}
