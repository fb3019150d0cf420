/**
 * Options of the networks in openai/improved-diffusion and openai/guided-diffusion.
 *
 * @module
 */

/**
 * How rows of stacked queries, keys and values lie: head by head, each with its queries, keys and
 * values (`"legacy"`), or the queries of all heads first (`"new"`). Only published weights tell them
 * apart.
 */
export type AttentionOrder = "legacy" | "new";

/**
 * What halves and doubles images: a convolution, a residual block as in BigGAN, or nothing but means
 * and repeated pixels.
 */
export type UpDown = "conv" | "resBlock" | "plain";

/** Size and shape of an `AdmUNet` or `AdmClassifier`. */
export interface AdmOptions {
  /** Channels of the images. */
  inChannels: number;
  /** Pixels along a side of the images; divisible by 2^(levels - 1). */
  imageSize: number;
  /** Channels that the multipliers multiply, even; defaults to 128. */
  channels?: number;
  /** Channels of each level over `channels`; every level but the last halves the image. Defaults to `[1, 2, 2, 2]`. */
  multipliers?: readonly number[];
  /** Residual blocks per level on the way down, one more on the way up; defaults to 2. */
  resBlocks?: number;
  /**
   * Levels whose residual blocks are followed by attention, by their pixels along a side where an
   * image has `imageSize`; 28, 14 and 7 are those of three levels. Defaults to all of 7 to 16 pixels.
   */
  attentionResolutions?: readonly number[];
  /** Heads of attention; defaults to 4. */
  heads?: number;
  /** Channels of a head, in place of a fixed number of heads. */
  headChannels?: number;
  /** Order of rows in the projections of attention; defaults to `"legacy"`. */
  attentionOrder?: AttentionOrder;
  /** What halves and doubles images; defaults to `"conv"`. */
  updown?: UpDown;
  /** Whether the embedding scales and shifts norms, instead of being added to what they take; defaults to true. */
  adaptiveGroupNorm?: boolean;
  /** Whether sums of a branch and what it skips are divided by √2; defaults to false. */
  rescaleResiduals?: boolean;
  /** Groups of every normalisation; defaults to 32. */
  groups?: number;
  /** Probability to drop within blocks while training; defaults to 0. */
  dropout?: number;
  /** Whether gradients compute each layer again instead of keeping what lies within it; defaults to false. */
  checkpoint?: boolean;
}

/** Options with their defaults, and what follows from them. */
export interface AdmSettings
  extends Required<Omit<AdmOptions, "headChannels">> {
  /** Channels of a head; a fixed number of heads if undefined. */
  headChannels: number | undefined;
  /** Columns of the embedding. */
  embedding: number;
  /** Channels of each level. */
  widths: readonly number[];
  /** Whether each level has attention. */
  attends: readonly boolean[];
}

/**
 * Fills in what is missing.
 *
 * @param network Its name, for messages.
 * @throws {RangeError} If an option is out of range, or does not fit another.
 */
export function settingsOf(
  network: string,
  options: AdmOptions & { outChannels?: number; numClasses?: number },
): AdmSettings {
  const {
    imageSize,
    channels = 128,
    multipliers = [1, 2, 2, 2],
    resBlocks = 2,
  } = options;
  const sides = multipliers.map((_, level) => imageSize / 2 ** level);
  const widths = multipliers.map((multiplier) => channels * multiplier);
  const {
    attentionResolutions = sides.filter((side) => side >= 7 && side <= 16),
  } = options;

  const demand = (holds: boolean, rule: string, found: unknown) => {
    if (holds) return;
    throw new RangeError(`Cannot make ${network} as ${rule}: found ${found}`);
  };
  const isCount = (n: number) => Number.isInteger(n) && n > 0;
  const { inChannels, outChannels = 1, numClasses = 1 } = options;
  const counts = { inChannels, outChannels, numClasses, imageSize, resBlocks };
  for (const [name, count] of Object.entries(counts)) {
    demand(isCount(count), `${name} must be whole and positive`, count);
  }
  demand(channels % 2 === 0, "channels must be even", channels);
  demand(
    widths.length > 0 && widths.every(isCount),
    "there must be multipliers whose products with channels are whole",
    widths.join(", "),
  );
  demand(
    sides.every(Number.isInteger),
    `imageSize must be divisible by ${
      2 ** (sides.length - 1)
    }, as every level but the last halves images`,
    imageSize,
  );
  demand(
    attentionResolutions.every((side) => sides.includes(side)),
    `attentionResolutions must be among the sides of levels, ${
      sides.join(", ")
    }`,
    attentionResolutions.join(", "),
  );
  return {
    inChannels,
    imageSize,
    channels,
    multipliers,
    resBlocks,
    attentionResolutions,
    heads: options.heads ?? 4,
    headChannels: options.headChannels,
    attentionOrder: options.attentionOrder ?? "legacy",
    updown: options.updown ?? "conv",
    adaptiveGroupNorm: options.adaptiveGroupNorm ?? true,
    rescaleResiduals: options.rescaleResiduals ?? false,
    groups: options.groups ?? 32,
    dropout: options.dropout ?? 0,
    checkpoint: options.checkpoint ?? false,
    embedding: 4 * channels,
    widths,
    attends: sides.map((side) => attentionResolutions.includes(side)),
  };
}
