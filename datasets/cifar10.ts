/**
 * CIFAR-10, from the binary version's files or archive.
 *
 * @module
 */

import { findFile, type FindOptions, obtainFile, type Place } from "./cache.ts";
import { type Dataset, makeDataset, type Split } from "./dataset.ts";
import { readMaybeGzip } from "./_gzip.ts";
import { basename } from "./_path.ts";
import { tarEntries } from "./_tar.ts";

const PIXELS = 3 * 32 * 32;
const ROW_BYTES = 1 + PIXELS; // label, then 32×32 of R, of G, of B
const FILE_ROWS = 10_000;

const CLASS_NAMES = [
  "airplane",
  "automobile",
  "bird",
  "cat",
  "deer",
  "dog",
  "frog",
  "horse",
  "ship",
  "truck",
];

const FILES: Record<Split, readonly string[]> = {
  train: [1, 2, 3, 4, 5].map((n) => `data_batch_${n}.bin`),
  test: ["test_batch.bin"],
};

const ARCHIVE = {
  name: "cifar-10-binary.tar.gz",
  sizeBytes: 170_052_171,
  md5: "c32a1d4ab5d03f1284b67883e8d87530",
};

const PLACE: Place = {
  title: "CIFAR-10",
  folders: [
    "cifar-10",
    "cifar10",
    "cifar-10-batches-bin",
    "cifar-10/cifar-10-batches-bin",
  ],
  expected: [
    `data_batch_1.bin … data_batch_5.bin and test_batch.bin (each may end in .gz), or ${ARCHIVE.name}`,
  ],
  mirrors: ["https://www.cs.toronto.edu/~kriz/"],
};

/** Rows of one file, and what to call it in messages. */
interface Rows {
  bytes: Uint8Array<ArrayBuffer>;
  path: string;
}

/**
 * CIFAR-10, small photographs. Images `[N, 3, 32, 32]` (RGB), labels 0 to 9;
 * 50,000 for training, 10,000 for testing.
 *
 * Files with fewer rows than the official 10,000, and missing files among
 * `data_batch_1` to `5`, are accepted with a warning that states how many
 * images there are.
 *
 * A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images",
 * technical report, University of Toronto, 2009. No explicit licence; the
 * author asks for this citation.
 *
 * @param split `train` (default) or `test`.
 * @param options Where to find `data_batch_1.bin` … `data_batch_5.bin` and
 *   `test_batch.bin`, each perhaps with `.gz`, or `cifar-10-binary.tar.gz`,
 *   which is what is downloaded; see `FindOptions`.
 * @returns The data set.
 * @throws {Error} If the files are missing and cannot be downloaded.
 * @throws {SyntaxError} If a file is corrupt or not a whole number of rows.
 * @throws {RangeError} If a label is not a class.
 */
export async function loadCifar10(
  split: Split = "train",
  options: FindOptions = {},
): Promise<Dataset> {
  const files = await readFiles(split, options);
  const counts = files.map(countRows);
  const count = counts.reduce((a, b) => a + b, 0);
  const images = new Uint8Array(count * PIXELS);
  const labels = new Uint8Array(count);
  let i = 0;
  files.forEach(({ bytes, path }, f) => {
    for (let row = 0; row < counts[f]!; row++, i++) {
      const at = row * ROW_BYTES;
      const label = bytes[at]!;
      if (label >= CLASS_NAMES.length) {
        throw new RangeError(
          `Cannot load CIFAR-10 as labels must be below ${CLASS_NAMES.length}: row ${row} of "${path}" has label ${label}`,
        );
      }
      labels[i] = label;
      images.set(bytes.subarray(at + 1, at + ROW_BYTES), i * PIXELS);
    }
  });
  const official = FILES[split].length * FILE_ROWS;
  const warnings = count === official ? [] : [
    `${count.toLocaleString("en")} of ${official.toLocaleString("en")} ${
      split === "train" ? "training" : "test"
    } images`,
  ];
  return makeDataset({
    name: "cifar10",
    title: "CIFAR-10",
    split,
    images,
    labels,
    channels: 3,
    height: 32,
    width: 32,
    classNames: CLASS_NAMES,
    horizontalFlip: true,
    warnings,
  });
}

/** The files of a split that exist; the archive only if there are none. */
async function readFiles(split: Split, options: FindOptions): Promise<Rows[]> {
  const paths: string[] = [];
  for (const name of FILES[split]) {
    const path = await findFile(PLACE, [name, `${name}.gz`], options);
    if (path !== undefined) paths.push(path);
  }
  if (paths.length > 0) {
    return Promise.all(
      paths.map(async (path) => ({ path, bytes: await readMaybeGzip(path) })),
    );
  }
  const archive = await obtainFile(
    PLACE,
    [ARCHIVE.name, ARCHIVE.name.replace(/\.gz$/, "")],
    ARCHIVE,
    options,
  );
  const found = new Map<string, Rows>();
  for (const entry of tarEntries(await readMaybeGzip(archive), archive)) {
    const path = `${archive}/${entry.name}`;
    found.set(basename(entry.name), { path, bytes: entry.data });
  }
  const rows = FILES[split].flatMap((name) => found.get(name) ?? []);
  if (rows.length === 0) {
    throw new SyntaxError(
      `Cannot read "${archive}" as CIFAR-10: it must hold ${
        FILES[split].join(", ")
      }, it holds ${[...found.keys()].join(", ") || "no files"}`,
    );
  }
  return rows;
}

function countRows({ bytes, path }: Rows): number {
  const count = bytes.length / ROW_BYTES;
  if (Number.isInteger(count) && count > 0) return count;
  const hint = bytes.length > 0 && bytes.length % 3074 === 0
    ? ", but of 3074: this is CIFAR-100"
    : ": the file is cut off, or not of the binary version";
  throw new SyntaxError(
    `Cannot read "${path}" as CIFAR-10 as its ${bytes.length} bytes are no multiple of ${ROW_BYTES}${hint}`,
  );
}
