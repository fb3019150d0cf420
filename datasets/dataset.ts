/**
 * What a data set is once loaded, its class filter, and the one place where
 * pixel ranges change.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { nearest } from "../tensor/nearest.ts";

/** The training or the test part of a data set. */
export type Split = "train" | "test";

/**
 * A data set in memory: bytes, not floats. `normalize` or `Batches` make the
 * floats that models see.
 */
export interface Dataset {
  /** The name that loads it, such as `cifar10`. */
  readonly name: string;
  /** The name for people, such as `CIFAR-10`. */
  readonly title: string;
  /** Which part this is. */
  readonly split: Split;
  /** Pixels 0 to 255, shape `[length, channels, height, width]`. */
  readonly images: Uint8Array<ArrayBuffer>;
  /** Original class id of each image, shape `[length]`; all 0 if there are no classes. */
  readonly labels: Uint8Array<ArrayBuffer>;
  /** Number of images. */
  readonly length: number;
  /** 1 for grey, 3 for RGB. */
  readonly channels: number;
  /** Height in pixels. */
  readonly height: number;
  /** Width in pixels. */
  readonly width: number;
  /** Names of all classes of the data set, by original id; empty if it has none. */
  readonly classNames: readonly string[];
  /** Original ids of the classes kept, ascending; all of them without a filter. */
  readonly classes: readonly number[];
  /** From original id to position in `classes`: what a conditional model embeds. */
  readonly labelToDense: ReadonlyMap<number, number>;
  /** SHA-256 in hex over the bytes of `images`, then of `labels`; computed when first read. */
  readonly checksum: string;
  /** Whether a mirrored image is as plausible as the original: not for digits. */
  readonly horizontalFlip: boolean;
  /** What a user should know, such as that part of the data is missing. */
  readonly warnings: readonly string[];
}

/** The parts of a `Dataset` that `makeDataset` does not derive. */
export interface DatasetParts {
  /** The name that loads it. Default `custom`. */
  name?: string;
  /** The name for people. Default: `name`. */
  title?: string;
  /** Which part this is. Default `train`. */
  split?: Split;
  /** Pixels 0 to 255, `[N, channels, height, width]`. */
  images: Uint8Array<ArrayBuffer>;
  /** Class ids, `[N]`. Default: all 0. */
  labels?: Uint8Array<ArrayBuffer>;
  /** 1 or 3. */
  channels: number;
  /** Pixels. */
  height: number;
  /** Pixels. */
  width: number;
  /** Names of all classes by id. Default: none. */
  classNames?: readonly string[];
  /** Ids kept, ascending. Default: all of `classNames`. */
  classes?: readonly number[];
  /** Default `false`. */
  horizontalFlip?: boolean;
  /** Default: none. */
  warnings?: readonly string[];
}

/**
 * Makes a `Dataset` of one's own images.
 *
 * @param parts Images, labels and shape; see `DatasetParts` for defaults.
 * @returns The data set; it keeps the arrays and does not copy them.
 * @throws {RangeError} If the number of bytes or labels does not fit the
 *   shape, or a label is not the id of a class.
 */
export function makeDataset(parts: DatasetParts): Dataset {
  const { name = "custom", split = "train", channels, height, width } = parts;
  const { title = name, classNames = [], images } = parts;
  const imageBytes = channels * height * width;
  const length = images.length / imageBytes;
  if (!Number.isInteger(length)) {
    throw new RangeError(
      `Cannot make data set ${title} as images must be [N, ${channels}, ${height}, ${width}]: ${images.length} bytes is not a multiple of ${imageBytes}`,
    );
  }
  const labels = parts.labels ?? new Uint8Array(length);
  if (labels.length !== length) {
    throw new RangeError(
      `Cannot make data set ${title} as it must have one label per image: ${length} images, ${labels.length} labels`,
    );
  }
  const bad = labels.findIndex((label) =>
    label >= Math.max(1, classNames.length)
  );
  if (bad >= 0) {
    throw new RangeError(
      `Cannot make data set ${title} as labels must be below ${
        Math.max(1, classNames.length)
      }: label ${bad} is ${labels[bad]}`,
    );
  }
  const classes = parts.classes ?? classNames.map((_, id) => id);
  let checksum: string | undefined;
  return {
    name,
    title,
    split,
    images,
    labels,
    length,
    channels,
    height,
    width,
    classNames,
    classes,
    labelToDense: new Map(classes.map((id, dense) => [id, dense])),
    get checksum() {
      return checksum ??= createHash("sha256").update(images).update(labels)
        .digest("hex");
    },
    horizontalFlip: parts.horizontalFlip ?? false,
    warnings: parts.warnings ?? [],
  };
}

/** Classes by name or original id: `["cat", 6]`, or names and ids in one text: `"cat,frog"`. */
export type ClassFilter = string | readonly (string | number)[];

/**
 * Keeps the images of some classes, in their order. Labels stay the original
 * ids; `classes` and `labelToDense` give the dense ones.
 *
 * @param dataset Any data set with classes.
 * @param filter Names (case, spaces, `-` and `_` do not matter) or original
 *   ids; a text may hold several, separated by commas.
 * @returns A new data set; `dataset` itself if it has only these classes.
 * @throws {RangeError} If a class is unknown, was filtered out before, or has
 *   no images here.
 */
export function selectClasses(dataset: Dataset, filter: ClassFilter): Dataset {
  const wanted = resolveClasses(dataset.classNames, filter, dataset.title);
  for (const id of wanted) {
    if (!dataset.labelToDense.has(id)) {
      throw new RangeError(
        `Cannot select class "${
          dataset.classNames[id]
        }" of ${dataset.title} as it was filtered out before: it holds ${
          dataset.classes.map((kept) => dataset.classNames[kept]).join(", ")
        }`,
      );
    }
  }
  if (wanted.length === dataset.classes.length) return dataset;
  const keep: number[] = [];
  const found = new Set<number>();
  dataset.labels.forEach((label, i) => {
    if (!wanted.includes(label)) return;
    keep.push(i);
    found.add(label);
  });
  const empty = wanted.find((id) => !found.has(id));
  if (empty !== undefined) {
    throw new RangeError(
      `Cannot select class "${
        dataset.classNames[empty]
      }" of ${dataset.title} as there are no ${dataset.split} images of it`,
    );
  }
  return pick(dataset, keep, wanted);
}

/**
 * Keeps the first images.
 *
 * @param dataset Any data set.
 * @param limit How many, a positive integer; more than there are keeps all.
 * @returns A new data set; `dataset` itself if nothing is left out.
 * @throws {RangeError} If `limit` is not a positive integer.
 */
export function takeImages(dataset: Dataset, limit: number): Dataset {
  checkLimit(limit);
  if (limit >= dataset.length) return dataset;
  const first = Array.from({ length: limit }, (_, i) => i);
  return pick(dataset, first, dataset.classes);
}

/**
 * Checks a number of images.
 *
 * @param limit What was given.
 * @throws {RangeError} If it is not a positive integer.
 */
export function checkLimit(limit: number): void {
  if (!Number.isInteger(limit) || limit < 1) {
    throw new RangeError(`Limit must be a positive integer: it is ${limit}`);
  }
}

function pick(
  dataset: Dataset,
  indices: readonly number[],
  classes: readonly number[],
): Dataset {
  const imageBytes = dataset.channels * dataset.height * dataset.width;
  const images = new Uint8Array(indices.length * imageBytes);
  indices.forEach((from, to) =>
    images.set(
      dataset.images.subarray(from * imageBytes, (from + 1) * imageBytes),
      to * imageBytes,
    )
  );
  const labels = Uint8Array.from(indices, (i) => dataset.labels[i]!);
  return makeDataset({ ...dataset, images, labels, classes });
}

/**
 * Finds the ids that a class filter means.
 *
 * @param classNames All names, by id.
 * @param filter See `ClassFilter`. A whole text that is a name wins over its
 *   parts between commas, and a name over an id written in digits.
 * @param title The data set's name, for messages.
 * @returns Ids, ascending, each once.
 * @throws {RangeError} If a class is unknown, the filter is empty, or there
 *   are no classes.
 */
export function resolveClasses(
  classNames: readonly string[],
  filter: ClassFilter,
  title: string,
): number[] {
  const plain = (name: string) => name.toLowerCase().replace(/[\s_-]+/g, "-");
  const ids = new Map(classNames.map((name, id) => [plain(name), id]));
  const words = typeof filter !== "string"
    ? filter
    : ids.has(plain(filter.trim()))
    ? [filter]
    : filter.split(",");
  if (words.length === 0) {
    throw new RangeError(
      `Cannot select classes of ${title} as the list is empty`,
    );
  }
  if (classNames.length === 0) {
    throw new RangeError(`Cannot select classes of ${title} as it has none`);
  }
  const found = words.map((word) => {
    const text = String(word).trim();
    const id = typeof word === "number"
      ? word
      : ids.get(plain(text)) ?? (/^\d+$/.test(text) ? Number(text) : -1);
    if (classNames[id] !== undefined) return id;
    const close = nearest(text, classNames);
    throw new RangeError(
      `Unknown class "${text}" of ${title}: ${
        close === undefined ? "classes" : `did you mean "${close}"? Classes`
      } are ${listClasses(classNames)}`,
    );
  });
  return [...new Set(found)].sort((a, b) => a - b);
}

function listClasses(classNames: readonly string[]): string {
  const shown = classNames.slice(0, 50).map((name, id) =>
    name === String(id) ? name : `${id} ${name}`
  );
  const more = classNames.length - shown.length;
  return shown.join(", ") + (more > 0 ? ` and ${more} more` : "");
}

/** `x / 127.5 - 1` of every byte, in f32. */
const NORMALIZED = Float32Array.from(
  { length: 256 },
  (_, byte) => byte / 127.5 - 1,
);

/**
 * Bytes to floats, `x / 127.5 - 1`: 0 to -1, 255 to 1.
 *
 * @param bytes Pixels 0 to 255, any shape.
 * @param out Where to write, of the same length. Default: a new array.
 * @returns `out`, in [-1, 1].
 * @throws {RangeError} If the lengths differ.
 */
export function normalize(
  bytes: Uint8Array,
  out: Float32Array<ArrayBuffer> = new Float32Array(bytes.length),
): Float32Array<ArrayBuffer> {
  if (out.length !== bytes.length) {
    throw new RangeError(
      `Cannot normalize as lengths must agree: bytes has ${bytes.length}, out has ${out.length}`,
    );
  }
  for (let i = 0; i < bytes.length; i++) out[i] = NORMALIZED[bytes[i]!]!;
  return out;
}

/**
 * Floats to bytes, the inverse of `normalize`:
 * `clamp(round((x + 1) · 127.5), 0, 255)`. NaN becomes 0.
 *
 * @param images Values nominally in [-1, 1], any shape.
 * @returns Pixels 0 to 255.
 */
export function toBytes(images: ArrayLike<number>): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(images.length);
  for (let i = 0; i < bytes.length; i++) {
    bytes[i] = Math.min(255, Math.max(0, Math.round((images[i]! + 1) * 127.5)));
  }
  return bytes;
}

/**
 * Checks the range of images before they reach a model: finite, inside
 * `[low, high]`, and not plainly of another range: bytes (0 to 255), or 0 to 1
 * where -1 to 1 is asked for.
 *
 * @param images Several images, so that the darkest pixel says something.
 * @param low The least value allowed. Default -1.
 * @param high The greatest value allowed. Default 1.
 * @param name What to call them in messages. Default `images`.
 * @throws {RangeError} If not so; the message states the least and greatest
 *   value found.
 */
export function checkRange(
  images: ArrayLike<number>,
  low = -1,
  high = 1,
  name = "images",
): void {
  let min = Infinity, max = -Infinity;
  for (let i = 0; i < images.length; i++) {
    const value = images[i]!;
    if (!Number.isFinite(value)) {
      throw new RangeError(
        `Values of ${name} must be in [${low}, ${high}]: value ${i} is ${value}`,
      );
    }
    if (value < min) min = value;
    if (value > max) max = value;
  }
  if (images.length === 0) {
    throw new RangeError(`Values of ${name} cannot be checked: there are none`);
  }
  const found = `found ${Number(min.toPrecision(4))} to ${
    Number(max.toPrecision(4))
  }`;
  const slack = 1e-5 * (high - low); // rounding of f32 arithmetic
  if (min < low - slack || max > high + slack) {
    const hint = min >= 0 && max > 2 && max <= 255
      ? ", which looks like bytes: apply normalize()"
      : "";
    throw new RangeError(
      `Values of ${name} must be in [${low}, ${high}]: ${found}${hint}`,
    );
  }
  if (low < 0 && min >= 0) {
    throw new RangeError(
      `Values of ${name} must be in [${low}, ${high}]: ${found}, which looks like [0, ${high}]: apply 2x - 1 first`,
    );
  }
}
