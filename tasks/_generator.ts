/**
 * What `sample` asks of a trained model, whatever its kind: pictures of a number, a seed and classes.
 *
 * @module
 */
import type { checkpointOf } from "./_checkpoint.ts";
import type { Flags, FlagValues } from "./_cli.ts";
import type { RunFolder } from "./_run_folder.ts";
import type { DataShape } from "./_trainer.ts";

/** What is drawn. */
export interface GenerateOptions {
  /** Number of images. */
  count: number;
  /** Of the noise. */
  seed: number;
  /** Number of the first image among those of the seed; no image depends on the others. Defaults to 0. */
  first?: number;
  /** Class ids, one per image; given where and only where the generator `knowsClasses`. */
  classes?: Int32Array<ArrayBuffer>;
  /** Called with the steps done so far, of those that `steps` tells. */
  onStep?: (done: number) => void;
  /** Asked after every step. */
  isCancelled?: () => boolean;
}

/** A trained model with all that the command line says of how to draw from it. */
export interface Generator {
  /** Of the images. */
  readonly shape: DataShape;
  /** Optimizer steps of its training. */
  readonly step: number;
  /** Whether it draws the classes it is told. */
  readonly knowsClasses: boolean;
  /** How it draws, in few words: `ddim`, `prior`, `gmm class`. */
  readonly method: string;
  /** Evaluations of the network for one image; guidance asks twice. */
  readonly nfe: number;
  /** Strength of guidance, where there is. */
  readonly guidance?: number;
  /** What `--json` says besides. */
  readonly summary: Readonly<Record<string, unknown>>;
  /** Images in a row of a grid; default: about a square. */
  readonly columns?: number;
  /** Steps in which so many images are drawn. */
  steps(count: number): number;
  /** Floating-point operations for one image; left out if other networks take part. */
  flops?(): number;
  /**
   * Draws.
   *
   * @returns Bytes 0 to 255, `[count, C, H, W]`; undefined if cancelled.
   */
  generate(
    options: GenerateOptions,
  ): Promise<Uint8Array<ArrayBuffer> | undefined>;
  /** Gives back the memory of its networks. */
  dispose(): void;
}

/** Where a generator comes from. */
export interface GeneratorSource {
  /** Of its training. */
  readonly run: RunFolder;
  /** In it. */
  readonly checkpoint: Awaited<ReturnType<typeof checkpointOf>>;
  /** Prints a line for people. */
  readonly say: (text: string) => void;
  /** Whether nothing but the result is printed. */
  readonly quiet: boolean;
}

/** Flags of `sample` for all kinds of model. */
export const drawFlags = {
  count: {
    type: "integer",
    min: 1,
    default: 64,
    description: "Number of images",
  },
  first: {
    type: "integer",
    min: 0,
    default: 0,
    description: "Number of the first image among those of the seed",
  },
  seed: {
    type: "integer",
    min: 0,
    max: 2 ** 32 - 1,
    default: 1,
    description: "Seed of the noise",
  },
  ema: {
    type: "boolean",
    default: true,
    description: "Draw with the last weights, not their moving average",
  },
} as const satisfies Flags;

/** For kinds that may know classes. */
export const classFlag = {
  class: {
    type: "list",
    description:
      "Classes to draw, by name or number; for a conditional model, or with --classifier or --gmm (default: all)",
  },
} as const satisfies Flags;

/** For kinds whose images follow from noise at the start alone. */
export const interpolateFlag = {
  interpolate: {
    type: "integer",
    min: 2,
    placeholder: "N",
    description: "Draw rows of N images, each on the way between two",
  },
} as const satisfies Flags;

/** A kind of model that `sample` draws from. */
export interface GeneratorKind<F extends Flags = Flags> {
  /** Flags of `sample` that it takes besides `drawFlags`. */
  readonly flags: F;
  /**
   * Makes a generator of a checkpoint.
   *
   * @throws {UsageError} If the model cannot be drawn from as the flags say.
   */
  open(
    source: GeneratorSource,
    flags: FlagValues<F & typeof drawFlags>,
  ): Promise<Generator>;
}

/** Keeps the types of a kind's flags. */
export function defineGenerator<const F extends Flags>(
  kind: GeneratorKind<F>,
): GeneratorKind<F> {
  return kind;
}

/** Classes of `count` images from number `first` on: the wanted ones in turn, each for a `row` of images. */
export function inTurn(
  count: number,
  wanted: readonly number[],
  { first = 0, row = 1 } = {},
): Int32Array<ArrayBuffer> {
  return Int32Array.from(
    { length: count },
    (_, i) => wanted[Math.floor((first + i) / row) % wanted.length]!,
  );
}
