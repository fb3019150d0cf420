/**
 * `deno task fid A B`: how far apart two sets of images are, beside what real images score.
 *
 * @module
 */
import { deviceFlag } from "./_device.ts"; // before the engine, which opens the device
import {
  type FeatureExtractor,
  FeatureStatistics,
  statisticsBytes,
} from "../mod.ts";
import {
  asUsage,
  defineCommand,
  kebab,
  onInterrupt,
  type Parsed,
  runTask,
  UsageError,
  userPath,
} from "./_cli.ts";
import { drawImages, drawingFlags } from "./_drawn.ts";
import {
  extractorFlags,
  type ExtractorImages,
  type ExtractorOptions,
  openExtractor,
} from "./_extractors.ts";
import { cacheFlag, featureCache, featuresOf } from "./_features.ts";
import { fidScores, type Sample, sampleOf, type Score } from "./_fid_scores.ts";
import { type Floor, floorOf, referenceOf } from "./_floor.ts";
import { type ImageSource, pick } from "./_image_source.ts";
import { writeAtomic } from "./_run_folder.ts";
import { openSide, type Side, type StatisticsSide } from "./_sides.ts";
import { taskInfo } from "./_tasks.ts";
import { formatTable } from "./_text.ts";
import { readCheckpoint } from "./_trainer.ts";
import { useTuned } from "./_tuned.ts";

/** Most images of each side, unless told otherwise. */
const MOST = 10_000;
/** Scores below are rounding of 0. */
const ROUNDING = 1e-9;

const { seed, dataDir, ...drawing } = drawingFlags;

/** What `deno task fid` accepts. */
export const command = defineCommand({
  ...taskInfo("fid"),
  positionals: [
    {
      name: "a",
      description:
        "A folder of images, a run, a data set as dataset[/split][:class,class], or a .npz file of statistics or images",
    },
    {
      name: "b",
      description: "The same; may be left out with --save-stats",
      optional: true,
    },
  ],
  flags: {
    ...deviceFlag,
    ...extractorFlags,
    count: {
      type: "integer",
      min: 2,
      description:
        `Images of each side, at random if there are more (default: as many as the smaller side has, at most ${MOST}; all images of folders and data sets beside statistics or with --save-stats alone)`,
    },
    seed: {
      ...seed,
      description: "Seed of the choice of images, and of the noise of runs",
    },
    floor: {
      type: "boolean",
      default: true,
      description: "Do without what real images score",
    },
    saveStats: {
      type: "string",
      placeholder: "FILE",
      description: "Write the statistics of A to a .npz file",
    },
    skipBad: {
      type: "boolean",
      default: false,
      description: "Leave out files that are no images or cannot be read",
    },
    dataDir: {
      ...dataDir,
      description:
        "A folder that already holds the data set's files; nothing is downloaded then",
    },
    ...cacheFlag,
    ...drawing,
  },
  notes:
    "The floor is the score of real images against as many other real ones: of the two splits of a data set or of a run's data, else of two parts of a folder. No model scores below it but by chance. Scores of other numbers of images, other extractors or other ways to resize do not compare. The name of a data set wins over a folder of that name, which can be written ./mnist. Images that a run draws are kept in its folder, and features in the cache of the data sets. More: docs/metrics.md.",
});

type Flags = Parsed<typeof command.flags>["flags"];

/** Number of images of each side. */
function countOf(sides: readonly Side[], flags: Flags): number {
  const [short] = sides.filter((side) => "source" in side)
    .sort((a, b) => a.source.count - b.source.count);
  const most = short?.source.count ?? Infinity;
  if (most < 2) {
    throw new UsageError(
      `Cannot compare images as at least 2 are needed on each side: ${
        short!.name
      } has ${most}`,
    );
  }
  if (flags.count !== undefined && flags.count > most) {
    throw new UsageError(
      `--count must be at most the ${most} images of ${
        short!.name
      }: given ${flags.count}`,
    );
  }
  const statistics = sides.find((side) => side.kind === "statistics");
  // What is drawn takes long; what is there and is compared with what is known, or alone, counts in full.
  const isAll = short && (statistics || sides.length === 1);
  return flags.count ??
    Math.min(most, statistics?.statistics.count ?? most, isAll ? most : MOST);
}

/** Refuses flags that do nothing here. */
function checkDrawing(
  sides: readonly Side[],
  given: ReadonlySet<string>,
): void {
  if (sides.some(({ kind }) => kind === "run")) return;
  const name = Object.keys(drawing).find((name) => given.has(name));
  if (name === undefined) return;
  throw new UsageError(
    `--${kebab(name)} says how a run draws, and no run is given`,
  );
}

/** Shape of a side's images, and of which data set they are, or are drawn after. */
function imagesOf(side: Exclude<Side, StatisticsSide>): ExtractorImages {
  if (side.kind !== "run") {
    return { shape: side.source.shape, dataset: side.dataset };
  }
  const { checkpoint, config } = side.subject;
  const { shape } = readCheckpoint(checkpoint.bytes, checkpoint.path);
  return { shape, dataset: config.dataset };
}

/**
 * The extractor asked for, or the one that suits the images.
 *
 * @throws {UsageError} If it does not take the images of a side, or did not make its statistics.
 */
async function extractorFor(
  sides: readonly Side[],
  flags: Flags,
  options: ExtractorOptions,
): Promise<FeatureExtractor> {
  const images = sides.flatMap((side) =>
    side.kind === "statistics" ? [] : [imagesOf(side)]
  );
  const known = images.find(({ dataset }) => dataset !== undefined);
  const extractor = await openExtractor(flags, known ?? images[0]!, options);
  for (const { shape } of images) {
    // No images at all: only whether it takes such is looked at.
    await asUsage(() => extractor.extract(new Uint8Array(), shape));
  }
  for (const side of sides) {
    if (side.kind === "statistics") side.check(extractor);
  }
  const sizes = new Set(
    images.map(({ shape }) => `${shape.width}×${shape.height}`),
  );
  if (sizes.size > 1) {
    options.say(
      `warning: images are of different sizes: ${[...sizes].join(" and ")}`,
    );
  }
  return extractor;
}

/** Name of a score of two files of statistics. */
function nameOf([a, b]: readonly StatisticsSide[]): string {
  const [ofA, ofB] = [a!, b!].map(({ statistics: { mean, extractor } }) =>
    extractor
      ? `${extractor.name} ${extractor.sha256} ${extractor.resize}`
      : `${mean.length} dimensions`
  );
  const sizes = [a!, b!].map(({ statistics }) => statistics.mean.length);
  const isKnown = a!.statistics.extractor && b!.statistics.extractor;
  if (sizes[0] !== sizes[1] || isKnown && ofA !== ofB) {
    throw new UsageError(
      `Cannot compare ${a!.name} with ${
        b!.name
      } as features must be of the same extractor: they are ${ofA} and ${ofB}`,
    );
  }
  const { name } = a!.statistics.extractor ?? b!.statistics.extractor ?? {};
  return name === undefined || name === "inception" ? "" : `${name}-`;
}

/** The extractor as it is told apart. */
function labelOf({ name, sha256, accuracy, resize }: FeatureExtractor): string {
  const known = accuracy === undefined
    ? ""
    : `, accuracy ${(100 * accuracy).toFixed(2)} %`;
  const way = resize === "none" ? "" : `, images resized as ${resize}`;
  return `${name} ${sha256.slice(0, 8)}${known}${way}`;
}

/** What is said of a side. */
interface SideFacts {
  name: string;
  kind: Side["kind"];
  /** Unknown of some statistics. */
  count?: number;
  checksum?: string;
  /** Of runs: how images were drawn. */
  id?: string;
}

function textOf({ name, count, id }: SideFacts, seed: number): string {
  const way = id === undefined ? "" : ` by ${id}, seed ${seed}`;
  return `${name}, ${count ?? "an unknown number of"} images${way}`;
}

function floorText(floor: Floor | undefined, count: number): string {
  if (!floor) return "none";
  const fewer = floor.count < count
    ? ": fewer than are scored, for which it would be lower"
    : "";
  return `${floor.of}, ${floor.count} images each${fewer}`;
}

/** The scores, and below what they are of. */
function report(
  scores: readonly Score[],
  facts: readonly (readonly string[])[],
): string {
  const digits = (value: number | undefined) =>
    value === undefined
      ? "–"
      : Math.abs(value) < ROUNDING
      ? "0"
      : String(Number(value.toPrecision(4)));
  const within = (value?: number, std?: number) =>
    std ? `${digits(value)} ± ${digits(std)}` : digits(value);
  const rows = scores.map((score) => [
    score.name,
    within(score.value, score.std),
    within(score.floor, score.floorStd),
    digits(score.aboveFloor),
  ]);
  const table = formatTable([["", "Score", "Floor", "Above it"], ...rows], {
    right: [1, 2, 3],
  });
  return `${table}\n\n${formatTable(facts)}`;
}

/**
 * Compares, and prints the scores.
 *
 * @param parsed The command line.
 */
export async function main(
  { positionals, flags, given, json }: Parsed<typeof command.flags>,
): Promise<void> {
  useTuned();
  if (positionals.length < 2 && flags.saveStats === undefined) {
    throw new UsageError(
      "Missing <b>: what to compare with, unless --save-stats writes statistics of <a> alone",
    );
  }
  const say = (text: string) => json ? undefined : console.error(text);
  let interrupted = false;
  using _ = onInterrupt(() => interrupted = true);
  const isCancelled = () => interrupted;
  const { ema, skipBad } = flags;
  const cache = featureCache(flags);
  const options = { quiet: json, say, isCancelled };
  const sides: Side[] = [];
  for (const word of positionals) {
    sides.push(
      await openSide(word, {
        ...options,
        ema,
        skipBad,
        cache,
        dataDir: flags.dataDir,
      }),
    );
  }
  checkDrawing(sides, given);
  const files = sides.filter((side) => side.kind === "statistics");
  if (sides[0]!.kind === "statistics" && flags.saveStats !== undefined) {
    throw new UsageError(
      `--save-stats writes statistics of images: ${sides[0]!.name} has none`,
    );
  }
  if (files.length === 2) {
    const [a, b] = files.map(({ statistics }) => ({ moments: statistics }));
    const scores = await fidScores(nameOf(files), a!, b!);
    const facts = files.map(({ name, statistics: { count } }, i) => [
      "AB"[i]!,
      textOf({ name, kind: "statistics", count }, flags.seed),
    ]);
    console.log(json ? JSON.stringify({ scores }) : report(scores, facts));
    return;
  }

  const count = countOf(sides, flags);
  for (const side of sides) {
    if (side.kind === "run" || side.kind === "statistics") continue;
    for (const warning of side.source.warnings) say(`warning: ${warning}`);
  }
  const extractor = await extractorFor(sides, flags, options);
  const reference = sides.length === 2 && flags.floor
    ? await referenceOf(sides, flags)
    : undefined;
  const { name, sha256, resize, prefix, dimensions, accuracy } = extractor;
  if (count <= dimensions) {
    say(
      `warning: ${count} images are no more than the ${dimensions} dimensions of the features, so that ` +
        `${prefix}FID is mostly bias: look at what is above the floor, and at ${prefix}KID`,
    );
  }

  const known = new Map<string, Promise<ReturnType<typeof sampleOf>>>();
  const sample = (source: ImageSource) => {
    const key = `${source.count} ${source.checksum}`;
    const found = known.get(key) ??
      featuresOf(source, extractor, { ...options, cache })
        .then(({ features }) => sampleOf(features));
    known.set(key, found);
    return found;
  };
  const samples: Sample[] = [], about: SideFacts[] = [];
  for (const side of sides) {
    if (side.kind === "statistics") {
      const { name, statistics } = side;
      samples.push({ moments: statistics });
      about.push({ name, kind: side.kind, count: statistics.count });
      continue;
    }
    const { source, id } = side.kind === "run"
      ? await drawImages(side.subject, { flags, given }, count)
      : { source: pick(side.source, count, flags.seed), id: undefined };
    samples.push(await sample(source));
    const { name, kind } = side, { checksum } = source;
    about.push({ name, kind, count, checksum, id });
  }
  const [a, b] = samples;
  const [aboutA, aboutB] = about;
  const written: string[] = [];
  if (flags.saveStats !== undefined) {
    const file = userPath(flags.saveStats);
    const statistics = new FeatureStatistics(dimensions).add(a!.features!);
    await writeAtomic(file, statisticsBytes(statistics, extractor));
    written.push(file);
    say(`Wrote ${file}`);
  }
  const shared = {
    count,
    seed: flags.seed,
    extractor: { name, sha256, resize, dimensions, accuracy },
    written,
  };
  if (!b) {
    if (json) console.log(JSON.stringify({ a: aboutA, ...shared }));
    return;
  }
  if (aboutA!.checksum !== undefined && aboutA!.checksum === aboutB!.checksum) {
    say("warning: A and B are the same images");
  }
  const floor = reference &&
    await floorOf(reference, count, flags.seed, sample);
  say(`Comparing ${dimensions} features …`);
  const scores = await fidScores(prefix, a!, b, { floor, count });
  if (json) {
    const { of, count } = floor ?? {};
    console.log(
      JSON.stringify({
        scores,
        a: aboutA,
        b: aboutB,
        floor: floor && { of, count },
        ...shared,
      }),
    );
    return;
  }
  console.log(report(scores, [
    ["A", textOf(aboutA!, flags.seed)],
    ["B", textOf(aboutB!, flags.seed)],
    ["Floor", floorText(floor, count)],
    ["Features", labelOf(extractor)],
  ]));
}

if (import.meta.main) await runTask(command, main);
