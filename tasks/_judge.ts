/**
 * From a way to draw from a run to its entry in `evaluation.json`: which real images it is compared with,
 * the drawing, the features, the scores.
 *
 * @module
 */
import denoise from "../deno.json" with { type: "json" };
import {
  type Dataset,
  deviceInfo,
  type FeatureExtractor,
  type ImageShape,
  type NetworkExtractor,
  parseSelector,
  resolveClasses,
  saveSafetensors,
  selectClasses,
} from "../mod.ts";
import { asUsage, UsageError } from "./_cli.ts";
import { drawImages, type Drawn, openWay, SHOWN, type Way } from "./_drawn.ts";
import {
  mergeEvaluation,
  type Provenance,
  readEvaluation,
  type SampleScores,
} from "./_evaluation.ts";
import { type ExtractorFlags, openExtractor } from "./_extractors.ts";
import { featureCache, featuresOf, type SourceFeatures } from "./_features.ts";
import { saveGrid } from "./_images.ts";
import {
  datasetSource,
  type ImageSource,
  loadSelected,
  part,
  pick,
  shuffled,
} from "./_image_source.ts";
import { join } from "./_path.ts";
import { type RunFolder, writeAtomic } from "./_run_folder.ts";
import { type Reference, scoresOf } from "./_scores.ts";
import type { Subject } from "./_subject.ts";
import { shapeOf } from "./_trainer.ts";

/** Flags that say how images are judged. */
export interface JudgeFlags extends ExtractorFlags {
  /** Images drawn, and as many real ones. */
  count: number;
  /** Selector of the real images. */
  against?: string;
  nearestK: number;
  /** Most training images among which the nearest are looked for. */
  trainCount: number;
  /** Whether features are kept. */
  cache: boolean;
  dataDir?: string;
}

/** Of the choice of images, where there are more: that of `fid` by default, the same for all runs. */
const SEED = 1;
/** Images that all scores can be computed of, if there are neighbours enough. */
const LEAST = 4;
/** Rows of features kept for the report. */
const KEPT = 1000;

/** Sources of the images that drawn ones are compared with. */
export interface Choice {
  /** n of them. */
  readonly real: ImageSource;
  /** Of the same classes, none of them real: n or more. */
  readonly train: ImageSource;
  readonly classNames: readonly string[];
  readonly checksum: string;
}

/** What is to be evaluated, and how. */
export interface Plan {
  readonly subject: Subject;
  readonly way: Way;
  readonly choice: Choice;
  readonly extractor: NetworkExtractor;
}

/** Judges the images of runs by one extractor and one kind of real images. */
export class Judge {
  readonly #flags: JudgeFlags;
  /** By what they are of: shared by runs of the same data. */
  readonly #references = new Map<string, Promise<Reference>>();
  /** By images. */
  readonly #extractors = new Map<string, Promise<NetworkExtractor>>();

  constructor(flags: JudgeFlags) {
    this.#flags = flags;
  }

  /**
   * Sees to all that an evaluation needs, so that mistakes are told before anything takes long.
   *
   * @throws {UsageError} If the run cannot be drawn from so, or not be compared.
   */
  async plan(subject: Subject, way: Way): Promise<Plan> {
    const choice = await this.#choose(subject, way);
    const extractor = await this.#open(subject, choice.real.shape);
    (await openWay(subject, way)).dispose();
    return { subject, way, choice, extractor };
  }

  /**
   * Draws images, scores them, and puts the scores into the run's `evaluation.json` in place of those of the
   * same way before. Scores that are there are not computed again.
   *
   * @throws {Interrupted} If cancelled.
   */
  async evaluate(
    { subject, way, choice, extractor }: Plan,
  ): Promise<SampleScores> {
    const { run, options: { say, quiet, isCancelled } } = subject;
    const drawn = await drawImages(subject, way, choice.real.count);
    const provenance = await provenanceOf(
      subject,
      way,
      drawn,
      choice,
      extractor,
    );
    checkRange(provenance, drawn.source.name, say);
    const before = (await readEvaluation(run)).samples ?? [];
    const known = before.find(({ id }) => id === drawn.id);
    const isKnown = known && this.#flags.cache &&
      known.nearestK === this.#flags.nearestK &&
      known.memorization.images === choice.train.count &&
      JSON.stringify(known.provenance) === JSON.stringify(provenance);
    if (isKnown) {
      say(`${run.name}: the scores of ${drawn.id} are there`);
      return await keepLast(run, known);
    }
    const features = (source: ImageSource) =>
      featuresOf(source, extractor, {
        cache: featureCache(this.#flags),
        quiet,
        isCancelled,
      });
    const own = await features(drawn.source);
    const reference = await this.#reference(choice, features, extractor);
    await keepFeatures(drawn, own, reference);
    await drawReal(drawn, choice.real);
    say(`Scoring ${drawn.source.name} …`);
    const scores = await scoresOf(own, reference, {
      extractor,
      nearestK: this.#flags.nearestK,
      classNames: choice.classNames,
      asked: drawn.source.labels &&
        Array.from(drawn.source.labels, (id) => drawn.source.classNames![id]!),
    });
    const { id, cost } = drawn;
    return await keepLast(run, { id, provenance, ...scores, cost });
  }

  /**
   * Chooses the images to compare with, before anything is drawn.
   *
   * @throws {UsageError} If there are too few, or they are of another shape.
   */
  async #choose(subject: Subject, way: Way): Promise<Choice> {
    const { run, shape, options: { say, quiet } } = subject;
    const { count, against, trainCount, nearestK } = this.#flags;
    const train = await subject.train();
    let real: Dataset, known = train;
    if (against === undefined) {
      real = await subject.test() ?? train;
      const wanted = way.flags.class;
      if (wanted) {
        const ids = await asUsage(() =>
          resolveClasses(shape.classNames, wanted, run.name)
        );
        const names = ids.map((id) => shape.classNames[id]!);
        real = selectClasses(real, names);
        known = selectClasses(train, names);
      }
    } else {
      const selector = await asUsage(() => parseSelector(against));
      real = await loadSelected(
        { split: "test", ...selector },
        this.#flags,
        quiet,
      );
      // The floor is of the classes that are compared with.
      const names = shapeOf(real).classNames;
      const isPart = names.length < shape.classNames.length &&
        names.length > 0 &&
        names.every((name) => shape.classNames.includes(name));
      if (isPart) known = selectClasses(train, names);
    }
    const [found, needed] = [shapeOf(real), shape].map((
      { channels, height, width },
    ) => `${channels} × ${height} × ${width}`);
    if (found !== needed) {
      throw new UsageError(
        `Cannot compare ${run.path} with ${real.title} as images must be ${needed}: they are ${found}`,
      );
    }
    // Real images that it was trained on are no others to compare with.
    const isSame = real.checksum === known.checksum;
    const most = isSame
      ? Math.floor(known.length / 2)
      : Math.min(real.length, known.length);
    const n = Math.min(count, most);
    const least = Math.max(LEAST, nearestK + 1);
    if (n < least) {
      throw new UsageError(
        `Cannot evaluate ${run.path} as there must be at least ${least} images: ` +
          (count < least
            ? `--count is ${count}`
            : `${datasetSource(real).name} leaves ${most}`),
      );
    }
    if (n < count) {
      say(
        `${run.name}: ${n} images instead of ${count}, as there are no more real ones to compare with`,
      );
    }
    const trained = shuffled(datasetSource(known), SEED);
    const first = isSame ? n : 0;
    return {
      real: isSame ? part(trained, 0, n) : pick(datasetSource(real), n, SEED),
      train: part(
        trained,
        first,
        Math.min(Math.max(n, trainCount), trained.count - first),
      ),
      classNames: shapeOf(real).classNames,
      checksum: real.checksum,
    };
  }

  /** The extractor for a run's images. */
  #open(
    { config: { dataset }, options: { quiet, say } }: Subject,
    shape: ImageShape,
  ): Promise<NetworkExtractor> {
    const { channels, height, width } = shape;
    const key = JSON.stringify([dataset, channels, height, width]);
    const extractor = this.#extractors.get(key) ??
      openExtractor(this.#flags, { shape, dataset }, { quiet, say });
    this.#extractors.set(key, extractor);
    return extractor;
  }

  /** Frees the extractors. */
  async [Symbol.asyncDispose](): Promise<void> {
    const opened = await Promise.allSettled(this.#extractors.values());
    for (const result of opened) {
      if (result.status === "fulfilled") result.value.dispose();
    }
  }

  /** Features of what drawn images are compared with. */
  #reference(
    { real, train }: Choice,
    features: (source: ImageSource) => Promise<SourceFeatures>,
    { sha256, resize }: FeatureExtractor,
  ): Promise<Reference> {
    const sides = [real, train].map(({ checksum, count }) => [checksum, count]);
    const key = JSON.stringify([sides, sha256, resize]);
    const known = this.#references.get(key);
    if (known) return known;
    const made = features(real).then(async (ofReal) => ({
      real: ofReal,
      train: await features(train),
    }));
    this.#references.set(key, made);
    return made;
  }
}

/** Puts an entry in place of that of the same way, behind all others. */
async function keepLast(
  run: RunFolder,
  entry: SampleScores,
): Promise<SampleScores> {
  const { samples = [] } = await readEvaluation(run);
  const others = samples.filter(({ id }) => id !== entry.id);
  await mergeEvaluation(run, { samples: [...others, entry] });
  return entry;
}

/** What decides whether two entries may be compared, and how to make one again. */
async function provenanceOf(
  { step }: Subject,
  { flags: { ema, seed } }: Way,
  { method, nfe, guidance, options, source }: Drawn,
  { real, classNames, checksum }: Choice,
  extractor: FeatureExtractor,
): Promise<Provenance> {
  const { name, prefix, sha256, resize, dimensions, accuracy } = extractor;
  return {
    version: denoise.version,
    device: deviceInfo().adapter,
    step,
    ema,
    seed,
    method,
    nfe,
    ...(guidance === undefined ? {} : { guidance }),
    options: { ...options },
    count: source.count,
    against: real.name,
    checksum,
    classNames: [...classNames],
    extractor: {
      name,
      prefix,
      sha256,
      resize,
      dimensions,
      ...(accuracy === undefined ? {} : { accuracy }),
    },
    range: { drawn: await rangeOf(source), real: await rangeOf(real) },
  };
}

/** Least and greatest byte. */
async function rangeOf(source: ImageSource): Promise<[number, number]> {
  let low = 255, high = 0;
  for (const byte of await source.read(0, source.count)) {
    if (byte < low) low = byte;
    if (byte > high) high = byte;
  }
  return [low, high];
}

/**
 * Looks for images that were scaled wrongly.
 *
 * @throws {Error} If drawn images are all but constant.
 */
function checkRange(
  { range: { drawn, real } }: Provenance,
  name: string,
  say: (text: string) => void,
): void {
  const [low, high] = drawn;
  const text = `the bytes of ${name} go from ${low} to ${high}, ` +
    `those of real images from ${real[0]} to ${real[1]}`;
  if (high - low <= 1) {
    throw new Error(`Cannot score images that show nothing: ${text}`);
  }
  if (2 * (high - low) < real[1] - real[0]) {
    say(`warning: ${text}: they are too pale to be scaled alike`);
  }
}

/** Draws real images beside the drawn ones, as many. */
async function drawReal({ folder }: Drawn, real: ImageSource): Promise<void> {
  const count = Math.min(SHOWN, real.count);
  const images = await real.read(0, count);
  await saveGrid(join(folder, "real.png"), images, { ...real.shape, count });
}

/** Keeps some features beside the images, for pictures of them. */
async function keepFeatures(
  { folder }: Drawn,
  drawn: SourceFeatures,
  { real }: Reference,
): Promise<void> {
  const rows = ({ features: { data, shape } }: SourceFeatures) => {
    const [n, width] = shape as [number, number];
    const kept = Math.min(n, KEPT);
    return {
      dtype: "f32" as const,
      shape: [kept, width],
      data: data.slice(0, kept * width),
    };
  };
  await writeAtomic(
    join(folder, "features.safetensors"),
    await saveSafetensors({ drawn: rows(drawn), real: rows(real) }),
  );
}
