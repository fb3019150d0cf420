/**
 * The floor of a distance: what real images score against as many other real ones. Nothing scores better
 * honestly.
 *
 * @module
 */
import { pickRows } from "../metrics/_rows.ts";
import { Rng } from "../mod.ts";
import { UsageError } from "./_cli.ts";
import { type FloorSamples, sampleOf } from "./_fid_scores.ts";
import { type ImageSource, part, pick, shuffled } from "./_image_source.ts";
import { dataOf, type Side } from "./_sides.ts";

/** Two samples of one kind of images. */
export interface Floor extends FloorSamples {
  /** What is compared, in words. */
  readonly of: string;
}

/** Images that the floor is of. */
export interface Reference {
  readonly source: ImageSource;
  /** The other split of a data set. */
  readonly other?: ImageSource;
}

/**
 * Loads what is nearest to real images: a data set, B's before A's; else the data of a run; else a folder.
 *
 * @param flags `class` as for `sample`: a run's data are those of the classes that are drawn.
 * @returns Undefined if there are only statistics.
 */
export async function referenceOf(
  sides: readonly Side[],
  flags: { class?: readonly string[] },
): Promise<Reference | undefined> {
  const last = <K extends Side["kind"]>(kind: K) =>
    sides.findLast((side): side is Extract<Side, { kind: K }> =>
      side.kind === kind
    );
  const run = last("run");
  const data = last("data") ?? (run && await dataOf(run.subject, flags.class));
  return data
    ? { source: data.source, other: await data.other() }
    : last("images");
}

/**
 * The floor for a score of so many images on each side: splits of a data set against each other, or else two
 * parts of the images; of as many, if there are enough.
 *
 * @param sample Features of a source.
 * @throws {UsageError} If there are fewer than 4 images.
 */
export async function floorOf(
  { source, other }: Reference,
  count: number,
  seed: number,
  sample: (source: ImageSource) => Promise<FloorSamples["a"]>,
): Promise<Floor> {
  if (other && Math.min(source.count, other.count) >= count) {
    return {
      of: `${source.name} against ${other.name}`,
      count,
      a: await sample(pick(source, count, seed)),
      b: await sample(pick(other, count, seed)),
    };
  }
  const of = `two parts of ${source.name}`;
  if (source.count >= 2 * count) {
    const mixed = shuffled(source, seed);
    const a = await sample(part(mixed, 0, count));
    return { of, count, a, b: await sample(part(mixed, count, count)) };
  }
  const rows = Math.min(count, source.count), half = Math.floor(rows / 2);
  if (half < 2) {
    throw new UsageError(
      `Cannot make a floor as two parts of ${source.name} must have 2 images each: there are ${rows}. --no-floor does without`,
    );
  }
  const { features } = await sample(pick(source, rows, seed));
  const order = new Rng(seed).permutation(rows);
  return {
    of,
    count: half,
    a: sampleOf(pickRows(features, order.subarray(0, half))),
    b: sampleOf(pickRows(features, order.subarray(half, 2 * half))),
  };
}
