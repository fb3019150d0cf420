/**
 * A data set from a folder of image files.
 *
 * @module
 */

import { loadSharp } from "./_sharp.ts";
import { join } from "./_path.ts";
import {
  checkLimit,
  type ClassFilter,
  type Dataset,
  makeDataset,
  resolveClasses,
  type Split,
} from "./dataset.ts";
import {
  CONCURRENCY,
  decodeImage,
  IMAGE_EXTENSIONS,
  isDirectory,
  listFiles,
} from "./image_files.ts";

/** How `loadFolder` reads images. */
export interface FolderOptions {
  /** Sub-folder to read if the folder has both `train` and `test`. Default `train`. */
  split?: Split;
  /** Classes to keep, before anything is decoded. Default: all. */
  classes?: ClassFilter;
  /** At most so many images, evenly spaced over the sorted paths. Default: all. */
  limit?: number;
  /** Crop to the centre square and resize to `size` × `size` pixels. Default: as they are. */
  size?: number;
  /** 1 for grey, 3 for RGB. Default: 1 if every pixel of every image is grey, else 3. */
  channels?: 1 | 3;
  /** The data set's name. Default `folder:PATH`. */
  name?: string;
  /** The name for people. Default: the path. */
  title?: string;
  /** Whether mirrored images are plausible. Default `false`, as nothing is known of them. */
  horizontalFlip?: boolean;
  /** Called with images decoded and images in all. */
  onProgress?: (done: number, total: number) => void;
}

/** Labels are bytes. */
const MAX_CLASSES = 256;
/** Larger is a mistake: it is held in memory as a whole. */
const MAX_BYTES = 4 * 2 ** 30;

interface ImageFile {
  path: string;
  /** Original id of its class. */
  label: number;
}

/**
 * Loads all image files of a folder and its sub-folders, in the order of
 * their paths. If every image lies in a sub-folder, the first level of
 * sub-folders are the classes; else there are no classes. Hidden files and
 * other kinds of files are passed over. Of an animation the first frame is
 * read; transparency is dropped.
 *
 * More than 256 classes need a filter; then only the classes kept are
 * numbered, from 0, and a warning says so.
 *
 * @param path The folder. Needs `--allow-read`, and for `sharp`
 *   `--allow-ffi --allow-env --allow-sys`.
 * @param options See `FolderOptions`.
 * @returns Images `[N, 1 or 3, height, width]`.
 * @throws {Error} If there is no such folder or no image in it, or `sharp`
 *   cannot be loaded.
 * @throws {RangeError} If sizes differ and no `size` is given, a class is
 *   unknown, or it would not fit in 4 GiB.
 * @throws {SyntaxError} If a file cannot be decoded.
 */
export async function loadFolder(
  path: string,
  options: FolderOptions = {},
): Promise<Dataset> {
  const { split = "train", size, limit } = options;
  const { name = `folder:${path}`, title = path } = options;
  if (limit !== undefined) checkLimit(limit);
  if (size !== undefined && !(Number.isInteger(size) && size > 0)) {
    throw new RangeError(`Size must be a positive integer: it is ${size}`);
  }
  const root = await splitFolder(path, split);
  const { images } = await listFiles(root);
  const listing = labelFiles(images, options.classes, title);
  const { classNames, classes, warnings } = listing;
  const files = limit === undefined
    ? listing.files
    : evenly(listing.files, limit);
  if (files.length === 0) {
    throw new Error(
      `Cannot load "${root}" as there are no images in it (${
        [...IMAGE_EXTENSIONS].join(" ")
      })`,
      { cause: new Deno.errors.NotFound(root) },
    );
  }
  const decoded = await decodeAll(
    files.map((file) => join(root, file.path)),
    options,
  );
  return makeDataset({
    name,
    title,
    split,
    ...decoded,
    labels: Uint8Array.from(files, (file) => file.label),
    classNames,
    classes,
    horizontalFlip: options.horizontalFlip,
    warnings,
  });
}

/** `path/train` or `path/test` if both exist, else `path`. */
async function splitFolder(path: string, split: Split): Promise<string> {
  if (!await isDirectory(path)) {
    throw new Error(`Cannot load "${path}" as there is no such folder`, {
      cause: new Deno.errors.NotFound(path),
    });
  }
  const [train, test] = [join(path, "train"), join(path, "test")];
  const isSplit = await isDirectory(train) && await isDirectory(test);
  return isSplit ? (split === "train" ? train : test) : path;
}

/** Gives each path the class of its first folder, and keeps the classes asked for. */
function labelFiles(
  paths: readonly string[],
  filter: ClassFilter | undefined,
  title: string,
): {
  files: ImageFile[];
  classNames: string[];
  classes: number[];
  warnings: string[];
} {
  const folderOf = (path: string) => path.slice(0, path.indexOf("/"));
  const isLabelled = paths.every((path) => path.includes("/"));
  const all = isLabelled ? [...new Set(paths.map(folderOf))].sort() : [];
  const warnings = !isLabelled && paths.some((path) => path.includes("/"))
    ? ["no classes, as some images lie outside of the sub-folders"]
    : [];
  const kept = filter === undefined
    ? all.map((_, id) => id)
    : resolveClasses(all, filter, title);
  if (kept.length > MAX_CLASSES) {
    throw new RangeError(
      `Cannot load ${title} as at most ${MAX_CLASSES} classes can be held: it has ${kept.length}. Select some`,
    );
  }
  let [classNames, classes] = [all, kept];
  if (all.length > MAX_CLASSES) {
    classNames = kept.map((id) => all[id]!);
    classes = kept.map((_, dense) => dense);
    warnings.push(
      `the ${kept.length} classes selected of ${all.length} are numbered from 0`,
    );
  }
  const idOf = new Map(classes.map((id) => [classNames[id]!, id]));
  const files = paths.flatMap((path) => {
    const label = isLabelled ? idOf.get(folderOf(path)) : 0;
    return label === undefined ? [] : [{ path, label }];
  });
  return { files, classNames, classes, warnings };
}

/** `limit` of the items at equal distances, so that sorted classes all stay represented. */
function evenly<T>(items: readonly T[], limit: number): T[] {
  if (limit >= items.length) return [...items];
  return Array.from(
    { length: limit },
    (_, i) => items[Math.floor(i * items.length / limit)]!,
  );
}

async function decodeAll(
  paths: readonly string[],
  options: FolderOptions,
): Promise<
  {
    images: Uint8Array<ArrayBuffer>;
    channels: number;
    height: number;
    width: number;
  }
> {
  const sharp = await loadSharp();
  const { height, width } = await decodeImage(sharp, paths[0]!, options);
  const pixels = height * width;
  if (paths.length * 3 * pixels > MAX_BYTES) {
    throw new RangeError(
      `Cannot load ${paths.length} images of ${height}×${width} as they would take ${
        (paths.length * 3 * pixels / 2 ** 30).toFixed(1)
      } GiB, more than 4: select classes, or give a limit or a smaller size`,
    );
  }
  const images = new Uint8Array(paths.length * 3 * pixels);
  let isGrey = true;
  for (let first = 0; first < paths.length; first += CONCURRENCY) {
    const group = paths.slice(first, first + CONCURRENCY);
    const decoded = await Promise.all(
      group.map((path) => decodeImage(sharp, path, options)),
    );
    decoded.forEach((image, k) => {
      if (image.height !== height || image.width !== width) {
        throw new RangeError(
          `Cannot load images of different sizes: "${
            paths[0]
          }" is ${width}×${height}, "${
            group[k]
          }" is ${image.width}×${image.height} (width × height). Give a size to crop and resize them`,
        );
      }
      images.set(image.planes, (first + k) * 3 * pixels);
      isGrey &&= image.isGrey;
    });
    options.onProgress?.(first + group.length, paths.length);
  }
  if ((options.channels ?? (isGrey ? 1 : 3)) === 3) {
    return { images, channels: 3, height, width };
  }
  const grey = new Uint8Array(paths.length * pixels);
  for (let i = 0; i < paths.length; i++) {
    const red = images.subarray(3 * i * pixels, (3 * i + 1) * pixels);
    grey.set(red, i * pixels); // the three planes are equal
  }
  return { images: grey, channels: 1, height, width };
}
