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
  openExtractor,
} from "./_extractors.ts";
import { cacheFlag, featureCache, featuresOf } from "./_features.ts";
import { type FidResult, reportOf, type SideFacts } from "./_fid_report.ts";
import { fidScores, type Sample, sampleOf } from "./_fid_scores.ts";
import { floorOf, referenceOf } from "./_floor.ts";
import { type ImageSource, pick } from "./_image_source.ts";
import { writeAtomic } from "./_run_folder.ts";
import { openSide, type Side, type StatisticsSide } from "./_sides.ts";
import { taskInfo } from "./_tasks.ts";
import { readCheckpoint } from "./_trainer.ts";
import { useTuned } from "./_tuned.ts";

/** Most images of each side, unless told otherwise. */
const MOST = 10_000;

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
  { flags, quiet, say, warn }: Asked,
): Promise<FeatureExtractor> {
  const images = sides.flatMap((side) =>
    side.kind === "statistics" ? [] : [imagesOf(side)]
  );
  const known = images.find(({ dataset }) => dataset !== undefined);
  const extractor = await openExtractor(flags, known ?? images[0]!, {
    quiet,
    say,
  });
  for (const { shape } of images) {
    // No images at all: only whether it takes such is looked at.
    await asUsage(() => extractor.extract(new Uint8Array(), shape));
  }
  for (const side of sides) {
    if (side.kind !== "statistics") continue;
    side.check(extractor);
    if (side.statistics.extractor) continue;
    warn(
      `${side.name} does not say what made its features: they are taken for those of ${extractor.name}`,
    );
  }
  const sizes = new Set(
    images.map(({ shape }) => `${shape.width}×${shape.height}`),
  );
  if (sizes.size > 1) {
    warn(`images are of different sizes: ${[...sizes].join(" and ")}`);
  }
  return extractor;
}

/** What stands before the name of the score of two files of statistics. */
function prefixOf([a, b]: readonly StatisticsSide[]): string {
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

/** What `fid` is asked, and how it talks. */
interface Asked {
  readonly flags: Flags;
  readonly given: ReadonlySet<string>;
  readonly quiet: boolean;
  readonly say: (text: string) => void;
  readonly warn: (text: string) => void;
  readonly isCancelled: () => boolean;
}

/** Compares two files of statistics. */
async function compareFiles(files: readonly StatisticsSide[]) {
  const [a, b] = files.map(({ name, kind, statistics }) => ({
    name,
    kind,
    count: statistics.count,
  }));
  const [ofA, ofB] = files.map(({ statistics }) => ({ moments: statistics }));
  return { scores: await fidScores(prefixOf(files), ofA!, ofB!), a: a!, b: b! };
}

/** Compares images with images or statistics; of one side alone, there are no scores. */
async function compareImages(sides: readonly Side[], asked: Asked) {
  const { flags, given, say, warn } = asked;
  const { seed } = flags;
  const count = countOf(sides, flags);
  for (const side of sides) {
    if ("source" in side) side.source.warnings.forEach(warn);
  }
  const extractor = await extractorFor(sides, asked);
  const { name, sha256, resize, prefix, dimensions, accuracy } = extractor;
  const isPair = sides.length === 2;
  const reference = isPair && flags.floor
    ? await findReference(sides, flags)
    : undefined;
  if (isPair && count <= dimensions) {
    warn(
      `${count} images are no more than the ${dimensions} dimensions of the features, so that ${prefix}FID ` +
        `is mostly bias: look at what is above the floor, and at ${prefix}KID`,
    );
  }

  const known = new Map<string, ReturnType<typeof extract>>();
  const extract = async (source: ImageSource) =>
    sampleOf(
      (await featuresOf(source, extractor, {
        ...asked,
        cache: featureCache(flags),
      })).features,
    );
  const sample = (source: ImageSource) => {
    const key = `${source.count} ${source.checksum}`;
    const found = known.get(key) ?? extract(source);
    known.set(key, found);
    return found;
  };
  const samples: Sample[] = [], facts: SideFacts[] = [];
  for (const side of sides) {
    const { name, kind } = side;
    if (side.kind === "statistics") {
      samples.push({ moments: side.statistics });
      facts.push({ name, kind, count: side.statistics.count });
      continue;
    }
    const { source, id } = side.kind === "run"
      ? await drawImages(side.subject, { flags, given }, count)
      : { source: pick(side.source, count, seed), id: undefined };
    samples.push(await sample(source));
    facts.push({ name, kind, count, checksum: source.checksum, id });
  }
  const [a, b] = facts, [ofA, ofB] = samples;
  const written = flags.saveStats === undefined
    ? []
    : [await saveStatistics(userPath(flags.saveStats), ofA!, extractor)];
  if (isPair && a!.checksum !== undefined && a!.checksum === b!.checksum) {
    warn("A and B are the same images");
  }
  const floor = reference && await floorOf(reference, count, seed, sample);
  if (isPair) say(`Comparing ${dimensions} features …`);
  return {
    scores: isPair ? await fidScores(prefix, ofA!, ofB!, { floor, count }) : [],
    a: a!,
    b,
    floor: floor && { of: floor.of, count: floor.count },
    count,
    extractor: { name, sha256, resize, dimensions, accuracy },
    written,
  };
}

/** Loads the images of the floor, before anything takes long. */
async function findReference(sides: readonly Side[], flags: Flags) {
  try {
    return await referenceOf(sides, flags);
  } catch (error) {
    throw new UsageError(
      `Cannot make the floor, and --no-floor does without: ${
        (error as Error).message
      }`,
      { cause: error },
    );
  }
}

/** Writes a file, whose path it returns. */
async function saveStatistics(
  file: string,
  { moments, features }: Sample,
  extractor: FeatureExtractor,
): Promise<string> {
  const statistics = moments instanceof FeatureStatistics
    ? moments
    : new FeatureStatistics(extractor.dimensions).add(features!);
  await writeAtomic(file, statisticsBytes(statistics, extractor));
  return file;
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
  let interrupted = false;
  using _ = onInterrupt(() => interrupted = true);
  const warnings: string[] = [];
  const say = (text: string) => json ? undefined : console.error(text);
  const asked: Asked = {
    flags,
    given,
    quiet: json,
    say,
    warn(text) {
      warnings.push(text);
      say(`warning: ${text}`);
    },
    isCancelled: () => interrupted,
  };
  const cache = featureCache(flags);
  const sides: Side[] = [];
  for (const word of positionals) {
    sides.push(await openSide(word, { ...flags, ...asked, cache }));
  }
  checkDrawing(sides, given);
  if (sides[0]!.kind === "statistics" && flags.saveStats !== undefined) {
    throw new UsageError(
      `--save-stats writes statistics of images: ${sides[0]!.name} has none`,
    );
  }
  const files = sides.filter((side) => side.kind === "statistics");
  const result: FidResult = {
    seed: flags.seed,
    written: [],
    warnings,
    ...(files.length === 2
      ? await compareFiles(files)
      : await compareImages(sides, asked)),
  };
  for (const file of result.written) say(`Wrote ${file}`);
  if (json) console.log(JSON.stringify(result));
  else if (result.b) console.log(reportOf(result));
}

if (import.meta.main) await runTask(command, main);
