/**
 * Where images come from that metrics judge: folders, data sets, memory. Bytes are read in pieces, so that
 * no source need fit in memory.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { loadSharp } from "../datasets/_sharp.ts";
import {
  CONCURRENCY,
  decodeImage,
  IMAGE_EXTENSIONS,
  isDirectory,
  listFiles,
} from "../datasets/image_files.ts";
import { type Dataset, type ImageShape, Rng, type Selector } from "../mod.ts";
import { parseNpy } from "../tensor/npy.ts";
import { unzip, zipEntries } from "../tensor/zip.ts";
import { UsageError } from "./_cli.ts";
import { loadData } from "./_data.ts";
import { join } from "./_path.ts";
import { Progress } from "./_progress.ts";
import { writeAtomic } from "./_run_folder.ts";

/** Thrown where `isCancelled` says so. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";
}

/** Images in a fixed order. */
export interface ImageSource {
  /** For people: a path, or `mnist/test:3,4`. */
  readonly name: string;
  /** Number of images. */
  readonly count: number;
  /** Of every image. */
  readonly shape: ImageShape;
  /** Tells images and order: sources of equal checksums give equal bytes at equal places. */
  readonly checksum: string;
  /** Class ids, `[count]`, where known. */
  readonly labels?: Int32Array<ArrayBuffer>;
  /** Names of the classes, by id, where known. */
  readonly classNames?: readonly string[];
  /** What a user should know, such as lossy files. */
  readonly warnings: readonly string[];
  /** What to call an image in messages. */
  nameOf(index: number): string;
  /** Bytes 0 to 255 of some images, `[n, C, H, W]`. */
  read(from: number, n: number): Promise<Uint8Array<ArrayBuffer>>;
}

/**
 * Images in memory.
 *
 * @param bytes `[N, C, H, W]`.
 * @param about Their name and shape; `labels` with `classNames` if they have some.
 * @throws {RangeError} If the bytes do not fit the shape.
 */
export function arraySource(
  bytes: Uint8Array<ArrayBuffer>,
  about:
    & Pick<ImageSource, "name" | "shape">
    & Partial<Pick<ImageSource, "labels" | "classNames" | "checksum">>,
): ImageSource {
  const { channels, height, width } = about.shape;
  const size = channels * height * width, count = bytes.length / size;
  if (!Number.isInteger(count) || count === 0) {
    throw new RangeError(
      `Cannot use ${about.name} as it must hold whole images of ${channels} × ${height} × ${width}: it has ${bytes.length} bytes`,
    );
  }
  return {
    checksum: createHash("sha256").update(`${channels},${height},${width};`)
      .update(bytes).digest("hex"),
    ...about,
    count,
    warnings: [],
    nameOf: (index) => `image ${index} of ${about.name}`,
    read: (from, n) =>
      Promise.resolve(bytes.slice(from * size, (from + n) * size)),
  };
}

/**
 * The images of a data set in memory.
 *
 * @param name Defaults to the name and split of the data set, with its classes where some are left out.
 */
export function datasetSource(
  dataset: Dataset,
  name: string = datasetName(dataset),
): ImageSource {
  const { images, channels, height, width, checksum, classNames } = dataset;
  return {
    ...arraySource(images, {
      name,
      shape: { channels, height, width },
      checksum,
      labels: Int32Array.from(dataset.labels),
      classNames,
    }),
    warnings: dataset.warnings,
  };
}

/** `mnist/test:3,4` */
export function datasetName(
  { name, split, classNames, classes }: Dataset,
): string {
  const part = name.startsWith("folder:") ? name : `${name}/${split}`;
  return classes.length === classNames.length
    ? part
    : `${part}:${classes.map((id) => classNames[id]).join(",")}`;
}

/**
 * Loads the data set that a selector names.
 *
 * @param flags `dataDir` as on the command line.
 * @param quiet Shows no progress.
 * @throws {UsageError} If classes are unknown.
 */
export async function loadSelected(
  { name, split = "train", classes = [] }: Selector,
  flags: { readonly dataDir?: string },
  quiet: boolean,
): Promise<Dataset> {
  return await loadData({ dataset: name, classes }, split, flags, quiet);
}

/** How a folder is opened. */
export interface FolderSourceOptions {
  /** Leaves out files that are no images, or cannot be read, with a warning. Default false. */
  skipBad?: boolean;
  /** Folder that keeps what was found in folders, as long as their files stay as they are. */
  cache?: string;
  /** Shows no progress. */
  quiet: boolean;
  /** Asked between files. */
  isCancelled?: () => boolean;
}

/** What is in a folder. */
interface FolderFacts {
  /** Relative paths of what can be read, sorted. */
  files: string[];
  /** The rest, each with the reason. */
  bad: [path: string, reason: string][];
  /** Number of images of each `width×height`. */
  sizes: Record<string, number>;
  /** Whether all are. */
  isGrey: boolean;
  /** SHA-256 over the pixels, in order. */
  checksum: string;
}

/**
 * The image files of a folder and its sub-folders, in the order of their paths. All are decoded once before
 * anything else is done, so that what is wrong is known early.
 *
 * @returns Grey images if all are grey, else RGB.
 * @throws {UsageError} If there are none, sizes differ, or files are no images and are not to be skipped.
 */
export async function folderSource(
  path: string,
  options: FolderSourceOptions,
): Promise<ImageSource> {
  if (!await isDirectory(path)) {
    throw new UsageError(`Cannot use ${path} as there is no such folder`);
  }
  const { files, bad, sizes, isGrey, checksum } = await inspect(path, options);
  const warnings: string[] = [];
  if (bad.length > 0) {
    const found = `${bad.length} of ${
      bad.length + files.length
    } files are no images that can be read: ${
      firstOf(bad.map(([file, why]) => `${file} (${why})`))
    }`;
    if (!options.skipBad) {
      throw new UsageError(
        `Cannot use ${path} as ${found}. Remove them, or leave them out with --skip-bad`,
      );
    }
    warnings.push(`${path}: left out as ${found}`);
  }
  if (files.length === 0) {
    throw new UsageError(
      `Cannot use ${path} as there are no images in it (${
        [...IMAGE_EXTENSIONS].join(" ")
      })`,
    );
  }
  const found = Object.entries(sizes).sort(([, a], [, b]) => b - a);
  if (found.length > 1) {
    throw new UsageError(
      `Cannot use ${path} as its images must be of one size: ${
        firstOf(found.map(([size, n]) => `${n} of ${size}`))
      } (width × height)`,
    );
  }
  const jpeg = files.filter((file) => /\.(jpe?g|jpe|jfif)$/i.test(file)).length;
  if (jpeg > 0) {
    warnings.push(
      `${path}: ${jpeg} of ${files.length} images are JPEG, whose losses alone change scores: write PNG`,
    );
  }
  const [width, height] = found[0]![0].split("×").map(Number) as [
    number,
    number,
  ];
  const shape = { channels: isGrey ? 1 : 3, height, width };
  const imageBytes = shape.channels * height * width;
  return {
    name: path,
    count: files.length,
    shape,
    checksum,
    warnings,
    nameOf: (index) => join(path, files[index]!),
    async read(from, n) {
      const bytes = new Uint8Array(n * imageBytes);
      const sharp = await loadSharp();
      for (let first = 0; first < n; first += CONCURRENCY) {
        const group = files.slice(
          from + first,
          from + Math.min(n, first + CONCURRENCY),
        );
        const images = await Promise.all(
          group.map((file) => decodeImage(sharp, join(path, file))),
        );
        images.forEach((image, k) => {
          if (image.height !== height || image.width !== width) {
            throw new Error(
              `Cannot go on with ${path} as ${group[k]} was changed meanwhile`,
            );
          }
          bytes.set(
            image.planes.subarray(0, imageBytes), // of a grey one, a plane is all
            (first + k) * imageBytes,
          );
        });
      }
      return bytes;
    },
  };
}

/** Decodes all files of a folder, or finds what was found before if they are as they were. */
async function inspect(
  path: string,
  { cache, quiet, isCancelled }: FolderSourceOptions,
): Promise<FolderFacts> {
  const listed = await listFiles(path);
  const seen: unknown[] = [await Deno.realPath(path), listed.others];
  for (const file of cache === undefined ? [] : listed.images) {
    // Of a link that leads nowhere, which is told when it is read.
    const stat = () => Deno.lstat(join(path, file));
    const { size, mtime } = await Deno.stat(join(path, file)).catch(stat);
    seen.push([file, size, Number(mtime)]);
  }
  const key = createHash("sha256").update(JSON.stringify(seen)).digest("hex");
  const known = cache && join(cache, "folders", `${key.slice(0, 32)}.json`);
  if (known !== undefined) {
    try {
      return JSON.parse(await Deno.readTextFile(known));
    } catch (error) {
      const isLost = error instanceof Deno.errors.NotFound ||
        error instanceof SyntaxError;
      if (!isLost) throw error;
    }
  }
  const sharp = await loadSharp();
  const hash = createHash("sha256");
  const facts: FolderFacts = {
    files: [],
    bad: listed.others.map((file) => [file, "not an image"]),
    sizes: {},
    isGrey: true,
    checksum: "",
  };
  using progress = new Progress({
    label: `Checking ${path}`,
    total: listed.images.length,
    unit: "images",
    quiet,
  });
  for (let first = 0; first < listed.images.length; first += CONCURRENCY) {
    if (isCancelled?.()) {
      throw new Interrupted(`Interrupted: ${path} was not checked`);
    }
    const group = listed.images.slice(first, first + CONCURRENCY);
    const decoded = await Promise.allSettled(
      group.map((file) => decodeImage(sharp, join(path, file))),
    );
    decoded.forEach((result, k) => {
      if (result.status === "rejected") {
        const { cause, message } = result.reason as Error;
        const reason = cause instanceof Error ? cause.message : message;
        facts.bad.push([group[k]!, reason.split("\n")[0]!]);
        return;
      }
      const { planes, isGrey, height, width } = result.value;
      const size = `${width}×${height}`;
      facts.sizes[size] = (facts.sizes[size] ?? 0) + 1;
      facts.files.push(group[k]!);
      facts.isGrey &&= isGrey;
      hash.update(`${size};`).update(planes);
    });
    progress.update(first + group.length);
  }
  progress.finish();
  facts.checksum = hash.digest("hex");
  if (known !== undefined) {
    await Deno.mkdir(join(cache!, "folders"), { recursive: true });
    await writeAtomic(known, JSON.stringify(facts));
  }
  return facts;
}

/**
 * Images of a `.npz` file as guided-diffusion writes samples: `arr_0`, bytes `[N, H, W, C]`, and class ids
 * `arr_1`, if there are such.
 *
 * @throws {SyntaxError} If the file is broken, or its arrays are others.
 */
export function npzSource(
  name: string,
  bytes: Uint8Array<ArrayBuffer>,
): ImageSource {
  const fail = (problem: string): never => {
    throw new SyntaxError(`Cannot parse images as ${problem}`);
  };
  const entries = zipEntries(bytes, fail);
  const array = (name: string) => {
    const entry = entries.get(name);
    return entry && parseNpy(unzip(name, entry, fail), fail);
  };
  const images = array("arr_0.npy"), classes = array("arr_1.npy")?.data;
  const [count = 0, height = 0, width = 0, channels = 0] = images?.shape ?? [];
  const isImages = images?.data instanceof Uint8Array &&
    images.shape.length === 4 && (channels === 1 || channels === 3);
  if (!isImages) {
    fail(
      `arr_0 must be bytes [N, H, W, 1 or 3]: it is ${
        images?.data.constructor.name ?? "not there"
      } [${images?.shape.join(", ") ?? ""}]`,
    );
  }
  const interleaved = images!.data as Uint8Array;
  const planar = new Uint8Array(interleaved.length), pixels = height * width;
  for (let i = 0; i < count; i++) {
    const image = i * channels * pixels;
    for (let p = 0; p < pixels; p++) {
      for (let c = 0; c < channels; c++) {
        planar[image + c * pixels + p] = interleaved[image + p * channels + c]!;
      }
    }
  }
  return arraySource(planar, {
    name,
    shape: { channels, height, width },
    ...(classes?.length === count
      ? { labels: Int32Array.from(classes, Number) }
      : {}),
  });
}

/** `a, b, c and 7 more` */
function firstOf(items: readonly string[]): string {
  const shown = items.slice(0, 5).join(", ");
  return items.length > 5 ? `${shown} and ${items.length - 5} more` : shown;
}

/**
 * The same images in a random order, that of the seed.
 *
 * @param seed From 0, below 2³².
 */
export function shuffled(source: ImageSource, seed: number): ImageSource {
  const order = new Rng(seed).permutation(source.count);
  return {
    ...source,
    checksum: `${source.checksum}/${seed}`,
    labels: source.labels && Int32Array.from(order, (i) => source.labels![i]!),
    nameOf: (index) => source.nameOf(order[index]!),
    async read(from, n) {
      const images = await Promise.all(
        Array.from(order.subarray(from, from + n), (i) => source.read(i, 1)),
      );
      const size = images[0]!.length;
      const bytes = new Uint8Array(n * size);
      images.forEach((image, i) => bytes.set(image, i * size));
      return bytes;
    },
  };
}

/**
 * `count` images from number `from` on.
 *
 * @throws {RangeError} If there are not so many.
 */
export function part(
  source: ImageSource,
  from: number,
  count: number,
): ImageSource {
  if (count < 1 || from + count > source.count) {
    throw new RangeError(
      `Cannot take ${count} images from number ${from} on as ${source.name} has ${source.count}`,
    );
  }
  return {
    ...source,
    count,
    checksum: from === 0 ? source.checksum : `${source.checksum}+${from}`,
    labels: source.labels?.slice(from, from + count),
    nameOf: (index) => source.nameOf(from + index),
    read: (first, n) => source.read(from + first, n),
  };
}

/** `count` images at random, those of the seed; all of them in their own order. */
export function pick(
  source: ImageSource,
  count: number,
  seed: number,
): ImageSource {
  return count === source.count
    ? source
    : part(shuffled(source, seed), 0, count);
}
