/**
 * `deno task datasets [list|get NAME|check NAME]`: which data sets there are,
 * download one, or read one completely and say what is in it.
 *
 * @module
 */
import { cacheDir } from "../datasets/cache.ts";
import type { Dataset, Split } from "../datasets/dataset.ts";
import {
  type DatasetInfo,
  listDatasets,
  loadDataset,
  parseSelector,
  type Selector,
} from "../datasets/load.ts";
import {
  asUsage,
  defineCommand,
  type Parsed,
  runTask,
  UsageError,
  userPath,
} from "./_cli.ts";
import { Progress } from "./_progress.ts";
import { taskInfo } from "./_tasks.ts";
import { formatBytes, formatTable } from "./_text.ts";

/** What `deno task datasets` accepts. */
export const command = defineCommand({
  ...taskInfo("datasets"),
  positionals: [
    {
      name: "action",
      description: "What to do, default list",
      choices: ["list", "get", "check"],
      optional: true,
    },
    {
      name: "data set",
      description:
        "For get and check: a name of the list, folder:PATH, or a part such as cifar10/test:cat",
      optional: true,
    },
  ],
  flags: {
    dataDir: {
      type: "string",
      placeholder: "DIR",
      description:
        "A folder that already holds the standard files; nothing is downloaded then",
    },
  },
  notes:
    "Downloads go to $DENOISE_DATA, else $XDG_CACHE_HOME/denoise, else ~/.cache/denoise. They resume where they broke off and are verified. get downloads what is missing; check never downloads.",
});

/**
 * Lists the data sets, downloads or checks one.
 *
 * @param parsed The command line.
 * @throws {UsageError} If the data set or a class is unknown.
 */
export async function main(
  { positionals, flags, json }: Parsed<typeof command.flags>,
): Promise<void> {
  const [action = "list", name] = positionals;
  if (action === "list") {
    if (name !== undefined) {
      throw new UsageError(
        `Unexpected argument "${name}": list takes none. Meant "check ${name}"?`,
      );
    }
    printList(listDatasets(), json);
    return;
  }
  if (name === undefined) {
    throw new UsageError(
      `Missing <data set> to ${action}: one of ${
        listDatasets().map((info) => info.name).join(", ")
      }`,
    );
  }
  const selector = await asUsage(() => parseSelector(name));
  const dataDir = flags.dataDir === undefined
    ? undefined
    : userPath(flags.dataDir);
  const parts = await load(selector, {
    dataDir,
    download: action === "get",
    quiet: json,
  });
  const reports = parts.map(describe);
  if (json) console.log(JSON.stringify(reports));
  else console.log(reports.map(formatReport).join("\n\n"));
}

function printList(infos: readonly DatasetInfo[], json: boolean): void {
  if (json) {
    console.log(JSON.stringify(infos));
    return;
  }
  const count = (value: number) => value === 0 ? "" : String(value);
  const rows = infos.map((info) => [
    info.name,
    count(info.trainCount),
    count(info.testCount),
    info.shape.some((size) => size === 0) ? "" : info.shape.join("×"),
    count(info.classCount),
    info.downloadBytes === 0 ? "" : formatBytes(info.downloadBytes),
    info.source,
  ]);
  const header = [
    "Name",
    "Train",
    "Test",
    "C×H×W",
    "Classes",
    "Download",
    "Source",
  ];
  console.log(formatTable([header, ...rows], { right: [1, 2, 4, 5] }));
  console.log(`\nDownloads are kept in ${cacheDir()}`);
}

/** Both parts of a data set, or the one that the selector names. */
async function load(
  { name, split, classes }: Selector,
  options: { dataDir?: string; download: boolean; quiet: boolean },
): Promise<Dataset[]> {
  const splits: Split[] = split === undefined ? ["train", "test"] : [split];
  const place = name.startsWith("folder:")
    ? `folder:${userPath(name.slice("folder:".length))}` as const
    : name;
  const parts: Dataset[] = [];
  for (const split of splits) {
    using progress = new FileProgress(options.quiet, name);
    const dataset = await asUsage(() =>
      loadDataset(place, {
        split,
        classes,
        dataDir: options.dataDir,
        download: options.download,
        onProgress: (done, total, file) => progress.update(done, total, file),
      })
    ).catch((error) => {
      throw canDownload(name, options) && isMissing(error)
        ? new Error(`${error.message}. Or: deno task datasets get ${name}`, {
          cause: error,
        })
        : error;
    });
    // A folder without train/ and test/ is the same for both.
    if (parts[0]?.checksum !== dataset.checksum) parts.push(dataset);
  }
  return parts;
}

/** Whether `get` would find what `check` does not. */
function canDownload(
  name: string,
  options: { dataDir?: string; download: boolean },
): boolean {
  const info = listDatasets().find((info) => info.name === name);
  return !options.download && options.dataDir === undefined &&
    info !== undefined && info.downloadBytes > 0;
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && error.cause instanceof Deno.errors.NotFound;
}

/** A progress bar per file: bytes of a download, images of a folder. */
class FileProgress {
  readonly #quiet: boolean;
  readonly #unit: string;
  #file: string | undefined;
  #progress: Progress | undefined;

  constructor(quiet: boolean, name: string) {
    this.#quiet = quiet;
    const isFolder = name.startsWith("folder:") || name === "imagenet64";
    this.#unit = isFolder ? "images" : "bytes";
  }

  update(done: number, total: number, file: string): void {
    if (file !== this.#file) {
      this.#progress?.finish();
      this.#file = file;
      this.#progress = new Progress({
        label: file,
        total: total || undefined, // 0 is unknown
        unit: this.#unit,
        initial: done,
        quiet: this.#quiet,
      });
    }
    this.#progress!.update(done);
  }

  [Symbol.dispose](): void {
    this.#progress?.finish();
  }
}

/** What is in a data set. */
interface Report {
  readonly name: string;
  readonly title: string;
  readonly split: Split;
  readonly images: number;
  readonly shape: readonly [channels: number, height: number, width: number];
  /** Images per class, in the order of the class ids. */
  readonly classes: Readonly<Record<string, number>>;
  /** Of the pixels in [0, 1]. */
  readonly pixelMean: number;
  readonly pixelStd: number;
  readonly sha256: string;
  readonly warnings: readonly string[];
}

function describe(dataset: Dataset): Report {
  const counts = new Map(
    dataset.classes.map((id) => [id, 0]),
  );
  for (const label of dataset.labels) {
    counts.set(label, (counts.get(label) ?? 0) + 1);
  }
  let sum = 0;
  let sumSquares = 0;
  for (const byte of dataset.images) {
    sum += byte;
    sumSquares += byte * byte;
  }
  const mean = sum / dataset.images.length;
  const variance = sumSquares / dataset.images.length - mean * mean;
  return {
    name: dataset.name,
    title: dataset.title,
    split: dataset.split,
    images: dataset.length,
    shape: [dataset.channels, dataset.height, dataset.width],
    classes: dataset.classNames.length === 0 ? {} : Object.fromEntries(
      [...counts].map(([id, count]) => [dataset.classNames[id]!, count]),
    ),
    pixelMean: mean / 255,
    pixelStd: Math.sqrt(Math.max(0, variance)) / 255,
    sha256: dataset.checksum,
    warnings: dataset.warnings,
  };
}

function formatReport(report: Report): string {
  const classes = Object.entries(report.classes).map(([name, count]) =>
    `${name} ${count}`
  );
  const rows = [
    ["Images", `${report.images} of ${report.shape.join("×")} (C×H×W)`],
    ["Classes", classes.join(", ") || "none"],
    [
      "Pixels",
      `mean ${report.pixelMean.toFixed(4)}, standard deviation ${
        report.pixelStd.toFixed(4)
      } of [0, 1]`,
    ],
    ["SHA-256", report.sha256],
    ...report.warnings.map((text) => ["Warning", text]),
  ];
  return `${report.title}, ${report.split}\n${
    formatTable(rows, { indent: 2 })
  }`;
}

if (import.meta.main) await runTask(command, main);
