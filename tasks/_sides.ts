/**
 * What `fid` compares: a run, a data set, a folder or a file, told apart by how it is written and what is
 * there.
 *
 * @module
 */
import {
  type Dataset,
  type FeatureExtractor,
  listDatasets,
  parseSelector,
  parseStatistics,
  resolveClasses,
  selectClasses,
  type StoredStatistics,
} from "../mod.ts";
import { statOf } from "../datasets/stat.ts";
import { zipEntries } from "../tensor/zip.ts";
import { asUsage, UsageError, userPath } from "./_cli.ts";
import {
  datasetSource,
  folderSource,
  type ImageSource,
  loadSelected,
  npzSource,
} from "./_image_source.ts";
import { join } from "./_path.ts";
import { Subject, type SubjectOptions } from "./_subject.ts";
import { readCheckpoint } from "./_trainer.ts";

/** How sides are opened. */
export interface SideOptions extends SubjectOptions {
  /** Leaves out files that are no images. */
  skipBad: boolean;
  /** Where is kept what was found in folders. */
  cache?: string;
}

/** Images whose origin is not known, such as a folder of samples. */
export interface ImagesSide {
  readonly kind: "images";
  readonly name: string;
  readonly source: ImageSource;
  readonly dataset?: undefined;
}

/** Real images. */
export interface DataSide {
  readonly kind: "data";
  readonly name: string;
  /** Of the data set alone. */
  readonly dataset: string;
  readonly source: ImageSource;
  /** Images of the same classes that are in the other split; undefined if there are no others. */
  other(): Promise<ImageSource | undefined>;
}

/** A run, which draws as many images as are wanted. */
export interface RunSide {
  readonly kind: "run";
  readonly name: string;
  readonly subject: Subject;
}

/** Statistics of images that are not at hand. */
export interface StatisticsSide {
  readonly kind: "statistics";
  readonly name: string;
  readonly statistics: StoredStatistics;
  /**
   * Checks that they are of an extractor's features.
   *
   * @throws {UsageError} If they are known not to be.
   */
  check(extractor: FeatureExtractor): void;
}

/** What is compared. */
export type Side = ImagesSide | DataSide | RunSide | StatisticsSide;

/**
 * Opens what a word of the command line names. The name of a data set wins over a folder of that name, which
 * can be written `./mnist`.
 *
 * @throws {UsageError} If there is nothing of that name, or it cannot be used.
 */
export async function openSide(
  word: string,
  options: SideOptions,
): Promise<Side> {
  const head = word.split(/[/:]/)[0];
  if (listDatasets().some(({ name }) => name.split(":")[0] === head)) {
    return await openData(word, options);
  }
  const path = userPath(word);
  const found = await statOf(path);
  if (!found) {
    const why = await asUsage(() => parseSelector(word)).then(
      () => "",
      (error: Error) => error.message,
    );
    throw new UsageError(
      `Cannot find ${word}: there is no such folder, run or .npz file, and it is no data set either. ${why}`,
    );
  }
  if (path.endsWith(".npz")) return openNpz(word, await Deno.readFile(path));
  const isRun = path.endsWith(".safetensors") ||
    await statOf(join(path, "config.yaml"));
  if (isRun) {
    const subject = await Subject.open(path, options);
    return { kind: "run", name: subject.run.path, subject };
  }
  if (!found.isDirectory) {
    throw new UsageError(
      `Cannot use ${word} as it must be a folder of images, a run, a .npz file or a data set: it is another file`,
    );
  }
  const source = await folderSource(path, options);
  return { kind: "images", name: word, source };
}

/** Opens a data set. */
async function openData(
  word: string,
  options: SideOptions,
): Promise<DataSide> {
  const selector = await asUsage(() => parseSelector(word));
  const data = await loadSelected(selector, options, options.quiet);
  const otherSplit = data.split === "train" ? "test" : "train";
  return dataSide(
    data,
    () =>
      loadSelected({ ...selector, split: otherSplit }, options, options.quiet),
  );
}

/** What a run was trained on, for which its test images are the other split; only classes that are drawn. */
export async function dataOf(
  subject: Subject,
  drawn: readonly string[] | undefined,
): Promise<DataSide> {
  const { checkpoint: { bytes, path }, run } = subject;
  const { classNames } = readCheckpoint(bytes, path).shape;
  const names = drawn &&
    await asUsage(() =>
      resolveClasses(classNames, drawn, run.name).map((id) => classNames[id]!)
    );
  const chosen = (data: Dataset) => names ? selectClasses(data, names) : data;
  return dataSide(chosen(await subject.train()), async () => {
    const test = await subject.test();
    return test && chosen(test);
  });
}

function dataSide(
  data: Dataset,
  load: () => Promise<Dataset | undefined>,
): DataSide {
  const source = datasetSource(data);
  return {
    kind: "data",
    name: source.name,
    dataset: data.name,
    source,
    async other() {
      const other = await load();
      return other && other.checksum !== data.checksum
        ? datasetSource(other)
        : undefined;
    },
  };
}

/** Opens a file of statistics, or of images as guided-diffusion writes them. */
function openNpz(
  word: string,
  bytes: Uint8Array<ArrayBuffer>,
): StatisticsSide | ImagesSide {
  const attempt = <T>(action: () => T): T => {
    try {
      return action();
    } catch (error) {
      const { message } = error as Error;
      throw new UsageError(`${word}: ${message}`, { cause: error });
    }
  };
  const entries = attempt(() =>
    zipEntries(bytes, (problem) => {
      throw new SyntaxError(`Cannot parse arrays as ${problem}`);
    })
  );
  if (entries.has("arr_0.npy")) {
    const source = attempt(() => npzSource(word, bytes));
    return { kind: "images", name: word, source };
  }
  return {
    kind: "statistics",
    name: word,
    statistics: attempt(() => parseStatistics(bytes)),
    check(extractor) {
      attempt(() => parseStatistics(bytes, extractor));
    },
  };
}
