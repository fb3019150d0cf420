/**
 * Data sets by name.
 *
 * @module
 */

import { nearest } from "../tensor/nearest.ts";
import { type FindOptions, missingFile, searchFolders } from "./cache.ts";
import { loadCifar10 } from "./cifar10.ts";
import {
  type ClassFilter,
  type Dataset,
  selectClasses,
  type Split,
  takeImages,
} from "./dataset.ts";
import { loadDigits } from "./digits.ts";
import { loadFolder } from "./folder.ts";
import { loadFashionMnist, loadMnist } from "./mnist.ts";

/** The data sets that have a name of their own. */
export type NamedDataset =
  | "digits"
  | "mnist"
  | "fashion-mnist"
  | "cifar10"
  | "imagenet64";

/** What `loadDataset` takes: a name, or `folder:` and the path of a folder of images. */
export type DatasetName = NamedDataset | `folder:${string}`;

/** How `loadDataset` finds and cuts a data set. */
export interface LoadOptions extends FindOptions {
  /** `train` (default) or `test`. */
  split?: Split;
  /** Classes to keep. Default: all. */
  classes?: ClassFilter;
  /**
   * Keep at most so many images (after the class filter): the first ones, or,
   * of a folder, evenly spaced ones. Default: all.
   */
  limit?: number;
  /** Only for folders and `imagenet64`: crop to the centre square and resize to so many pixels. */
  size?: number;
}

/** What `listDatasets` tells about a data set. */
export interface DatasetInfo {
  /** The name that loads it. */
  name: NamedDataset | "folder:PATH";
  /** The name for people. */
  title: string;
  /** Channels, height, width; 0 where the files decide. */
  shape: readonly [channels: number, height: number, width: number];
  /** Training images; 0 where the files decide. */
  trainCount: number;
  /** Test images; 0 where the files decide. */
  testCount: number;
  /** Number of classes; 0 where the files decide. */
  classCount: number;
  /** Bytes to download, both splits; 0 if nothing is downloaded. */
  downloadBytes: number;
  /** Where the files come from. */
  source: string;
  /** Under which terms. */
  licence: string;
}

const INFOS: readonly DatasetInfo[] = [
  {
    name: "digits",
    title: "UCI digits",
    shape: [1, 8, 8],
    trainCount: 1500,
    testCount: 297,
    classCount: 10,
    downloadBytes: 0,
    source: "embedded; Alpaydin and Kaynak, UCI Machine Learning Repository",
    licence: "CC BY 4.0",
  },
  {
    name: "mnist",
    title: "MNIST",
    shape: [1, 28, 28],
    trainCount: 60_000,
    testCount: 10_000,
    classCount: 10,
    downloadBytes: 11_594_722,
    source: "ossci-datasets.s3.amazonaws.com/mnist",
    licence: "none stated; commonly cited as CC BY-SA 3.0",
  },
  {
    name: "fashion-mnist",
    title: "Fashion-MNIST",
    shape: [1, 28, 28],
    trainCount: 60_000,
    testCount: 10_000,
    classCount: 10,
    downloadBytes: 30_878_645,
    source: "github.com/zalandoresearch/fashion-mnist",
    licence: "MIT",
  },
  {
    name: "cifar10",
    title: "CIFAR-10",
    shape: [3, 32, 32],
    trainCount: 50_000,
    testCount: 10_000,
    classCount: 10,
    downloadBytes: 170_052_171,
    source: "www.cs.toronto.edu/~kriz/cifar.html",
    licence: "none stated; cite Krizhevsky 2009",
  },
  {
    name: "imagenet64",
    title: "ImageNet 64×64",
    shape: [3, 64, 64],
    trainCount: 0,
    testCount: 0,
    classCount: 0,
    downloadBytes: 0,
    source:
      "your copy: imagenet64/train/CLASS/*.png and imagenet64/test/CLASS/*.png in --data-dir",
    licence: "image-net.org's terms of access",
  },
  {
    name: "folder:PATH",
    title: "A folder of images",
    shape: [0, 0, 0],
    trainCount: 0,
    testCount: 0,
    classCount: 0,
    downloadBytes: 0,
    source: "your files; sub-folders are classes",
    licence: "yours",
  },
];

/**
 * The data sets there are, as a table for people.
 *
 * @returns One entry per name that `loadDataset` takes.
 */
export function listDatasets(): readonly DatasetInfo[] {
  return INFOS;
}

/**
 * Loads a data set by name.
 *
 * @param name `digits` needs nothing; `mnist`, `fashion-mnist` and `cifar10`
 *   are found in `dataDir` or the cache, or downloaded; `imagenet64` must be in
 *   `dataDir` or the cache; `folder:PATH` is any folder of images.
 * @param options See `LoadOptions`.
 * @returns The data set.
 * @throws {RangeError} If the name, the split or a class is unknown (with the
 *   nearest one), or a value in the files is out of range.
 * @throws {SyntaxError} If a file does not parse.
 * @throws {Error} If files are missing: the message says where they should be.
 *
 * @example
 * ```ts
 * const cats = await loadDataset("cifar10", { classes: "cat", dataDir: "data" });
 * ```
 */
export async function loadDataset(
  name: DatasetName,
  options: LoadOptions = {},
): Promise<Dataset> {
  checkName(name);
  const { split = "train", classes, limit, size } = options;
  checkSplit(split);
  if (name === "imagenet64") return loadImagenet64(split, options);
  if (name.startsWith("folder:")) {
    const { onProgress } = options;
    const path = name.slice("folder:".length);
    return loadFolder(path, {
      split,
      classes,
      limit,
      size,
      onProgress: onProgress &&
        ((done, total) => onProgress(done, total, path)),
    });
  }
  if (size !== undefined) {
    throw new RangeError(
      `Cannot resize ${name} as size applies only to folder:PATH and imagenet64: it is ${size}`,
    );
  }
  let dataset = name === "digits"
    ? loadDigits(split)
    : name === "cifar10"
    ? await loadCifar10(split, options)
    : name === "mnist"
    ? await loadMnist(split, options)
    : await loadFashionMnist(split, options);
  if (classes !== undefined) dataset = selectClasses(dataset, classes);
  if (limit !== undefined) dataset = takeImages(dataset, limit);
  return dataset;
}

/** ImageNet at 64×64 cannot be downloaded freely: only a folder of it is read. */
async function loadImagenet64(
  split: Split,
  options: LoadOptions,
): Promise<Dataset> {
  const place = {
    title: "ImageNet 64×64",
    folders: ["imagenet64"],
    expected: [`${split}/CLASS/*.png`],
    mirrors: [],
  };
  // "val" is what most copies call the test part.
  const parts = split === "train" ? ["train"] : ["test", "val"];
  for (const folder of searchFolders(place, options)) {
    for (const part of parts) {
      const path = `${folder}/${part}`;
      try {
        if (!(await Deno.stat(path)).isDirectory) continue;
      } catch (error) {
        if (error instanceof Deno.errors.NotFound) continue;
        throw error;
      }
      const { classes, limit, size, onProgress } = options;
      return loadFolder(path, {
        split,
        classes,
        limit,
        size,
        name: "imagenet64",
        title: place.title,
        channels: 3,
        horizontalFlip: true,
        onProgress: onProgress &&
          ((done, total) => onProgress(done, total, path)),
      });
    }
  }
  throw missingFile(place, parts, options);
}

/** A data set, and which part of it: what `parseSelector` reads. */
export interface Selector {
  /** What to load. */
  name: DatasetName;
  /** The part, if the text names one. */
  split?: Split;
  /** Names or ids of classes, if the text names some. */
  classes?: string[];
}

/**
 * Reads a selector, `dataset[/split][:class[,class]]`, such as
 * `cifar10/test:cat,frog`. After `folder:` all is the path.
 *
 * @param text The selector.
 * @returns Its parts; `loadDataset(selector.name, selector)` loads it. Whether
 *   the classes exist is checked there.
 * @throws {RangeError} If the data set or the split is unknown.
 * @throws {SyntaxError} If a part is empty.
 */
export function parseSelector(text: string): Selector {
  if (text.startsWith("folder:")) {
    checkName(text);
    return { name: text };
  }
  const colon = text.indexOf(":");
  const head = colon < 0 ? text : text.slice(0, colon);
  const slash = head.indexOf("/");
  const name = slash < 0 ? head : head.slice(0, slash);
  const split = slash < 0 ? undefined : head.slice(slash + 1);
  const classes = colon < 0
    ? undefined
    : text.slice(colon + 1).split(",").map((word) => word.trim());
  if (name === "" || split === "" || classes?.includes("")) {
    throw new SyntaxError(
      `Cannot read data set "${text}" as a part is empty: it must be dataset[/split][:class[,class]], such as cifar10/test:cat`,
    );
  }
  checkName(name);
  if (split !== undefined) checkSplit(split);
  return {
    name,
    ...(split === undefined ? {} : { split }),
    ...(classes === undefined ? {} : { classes }),
  };
}

function checkName(name: string): asserts name is DatasetName {
  const names = INFOS.map((info) => info.name);
  if (name.startsWith("folder:") && name.length > "folder:".length) return;
  if (name !== "folder:PATH" && names.some((known) => known === name)) return;
  if (name === "folder:" || name === "folder") {
    throw new RangeError(`Unknown data set "${name}": give folder:PATH`);
  }
  const aliases = { fashion: "fashion-mnist", imagenet: "imagenet64" };
  const close = Object.entries(aliases).find(([alias]) => alias === name)
    ?.[1] ?? nearest(name, names);
  throw new RangeError(
    `Unknown data set "${name}": ${
      close === undefined ? "data sets" : `did you mean "${close}"? Data sets`
    } are ${names.join(", ")}`,
  );
}

function checkSplit(split: string): asserts split is Split {
  if (split === "train" || split === "test") return;
  const close = nearest(split, ["train", "test"]);
  throw new RangeError(
    `Unknown split "${split}": ${
      close === undefined ? "it" : `did you mean "${close}"? It`
    } must be train or test`,
  );
}
