/**
 * The networks whose features tasks compare images by: `--features`.
 *
 * @module
 */
import { downloadFile } from "../datasets/download.ts";
import {
  AdmClassifier,
  cacheDir,
  classifierExtractor,
  type ImageShape,
  INCEPTION_WEIGHTS,
  inceptionExtractor,
  lenetExtractor,
  listDatasets,
  type NetworkExtractor,
  PRETRAINED_LENETS,
  type PretrainedLeNetName,
  randomExtractor,
  RESIZE_DIALECTS,
  type ResizeDialect,
} from "../mod.ts";
import { checkpointOf } from "./_checkpoint.ts";
import { loadClassifier } from "./_classifier.ts";
import { asUsage, UsageError, userPath } from "./_cli.ts";
import { parseWeights } from "./_import.ts";
import { basename, join } from "./_path.ts";
import { Progress } from "./_progress.ts";
import { RunFolder } from "./_run_folder.ts";
import { formatBytes } from "./_text.ts";

/** For tasks that compare images by features. */
export const extractorFlags = {
  features: {
    type: "string",
    placeholder: "NETWORK|FILE|RUN",
    description:
      "inception, whose weights are downloaded once; lenet, for MNIST, Fashion-MNIST and the digits; random; a file of Inception's weights; or a run of train classifier (default: lenet where it fits the data, else inception if its weights are there, else random)",
  },
  resize: {
    type: "string",
    choices: RESIZE_DIALECTS,
    description: "How Inception's images are resized (default: pytorch-fid)",
  },
} as const;

/** What the flags say. */
export interface ExtractorFlags {
  features?: string;
  resize?: string;
}

/** Images whose features are wanted. */
export interface ExtractorImages {
  readonly shape: ImageShape;
  /** Name of the data set that they are of, or are drawn after, such as `mnist`. */
  readonly dataset?: string;
}

/** How a task talks while it opens an extractor. */
export interface ExtractorOptions {
  /** Shows no progress of a download. */
  quiet: boolean;
  /** Is told what a user should know. */
  say: (text: string) => void;
  /** Whether Inception's weights may be downloaded; defaults to true. */
  download?: boolean;
}

/** Where downloaded weights lie. */
export function inceptionPath(): string {
  return join(cacheDir(), "inception", INCEPTION_WEIGHTS.name);
}

/**
 * Opens the extractor that `--features` names, or the one that suits the images, and sees that it takes them.
 *
 * @throws {UsageError} If there is none of that name, its file cannot be used, or it takes no such images.
 */
export async function openExtractor(
  flags: ExtractorFlags,
  images: ExtractorImages,
  options: ExtractorOptions,
): Promise<NetworkExtractor> {
  const { features = await usual(images, options) } = flags;
  const extractor = await asUsage(() =>
    open(features, flags.resize as ResizeDialect | undefined, images, options)
  );
  try {
    // No images at all: only whether it takes such is looked at.
    await asUsage(() => extractor.extract(new Uint8Array(), images.shape));
  } catch (error) {
    extractor.dispose();
    throw error;
  }
  return extractor;
}

/** What suits images if nothing is asked for. */
async function usual(
  { dataset, shape: { channels, height, width } }: ExtractorImages,
  { say }: ExtractorOptions,
): Promise<string> {
  const { shape } = listDatasets().find(({ name }) => name === dataset) ?? {};
  const fits = shape?.join() === [channels, height, width].join();
  if (fits && isPretrained(dataset)) return "lenet";
  if (await exists(inceptionPath())) return "inception";
  say(
    `Features of random weights are compared, as there is no LeNet for such images and Inception's weights ` +
      `are not there: --features inception downloads them, ${
        formatBytes(INCEPTION_WEIGHTS.sizeBytes)
      }`,
  );
  return "random";
}

function isPretrained(name: string | undefined): name is PretrainedLeNetName {
  return (PRETRAINED_LENETS as readonly (string | undefined)[]).includes(name);
}

async function open(
  features: string,
  resize: ResizeDialect | undefined,
  { shape, dataset }: ExtractorImages,
  options: ExtractorOptions,
): Promise<NetworkExtractor> {
  const requireNoResize = () => {
    if (resize === undefined) return;
    throw new UsageError(
      `--resize is for Inception: ${features} takes images as they are`,
    );
  };
  const lenet = /^lenet(-(?<data>.+))?$/.exec(features);
  if (lenet) {
    requireNoResize();
    const name = lenet.groups!.data ?? dataset;
    if (isPretrained(name)) return await lenetExtractor(name);
    throw new UsageError(
      `There is no LeNet for ${
        name ?? "images of unknown origin"
      }: --features must be one of ${
        PRETRAINED_LENETS.map((name) => `lenet-${name}`).join(", ")
      }, or another kind`,
    );
  }
  if (features === "random") {
    requireNoResize();
    return await randomExtractor(shape);
  }
  if (features === "inception") return await openFid(resize, options);
  const path = userPath(features);
  const info = await exists(path);
  if (!info) {
    throw new UsageError(
      `Cannot use the features of ${features}: there is no such file or run, and names are inception, lenet and random`,
    );
  }
  if (info.isFile) {
    const bytes = await Deno.readFile(path);
    const sha256 = await hashOf(bytes);
    if (sha256 !== INCEPTION_WEIGHTS.sha256) {
      options.say(
        `${features} has other weights than those of FID: sha256 is ${sha256}, not ${INCEPTION_WEIGHTS.sha256}, ` +
          "so scores bear the beginning of that in their names",
      );
    }
    return inception(bytes, basename(path), sha256, resize);
  }
  requireNoResize();
  return await openRun(path, options);
}

async function exists(path: string): Promise<Deno.FileInfo | undefined> {
  try {
    return await Deno.stat(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

async function hashOf(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", bytes);
  return new Uint8Array(digest).toHex();
}

/** Inception with the weights in a file. */
function inception(
  bytes: Uint8Array<ArrayBuffer>,
  name: string,
  sha256: string,
  resize: ResizeDialect | undefined,
): NetworkExtractor {
  const weights = parseWeights(bytes, name);
  try {
    return inceptionExtractor(weights, { sha256, name, resize });
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new UsageError(
      `Cannot take ${name} for Inception's weights, sha256 ${sha256}: ${error.message}`,
      { cause: error },
    );
  }
}

/** Inception with the weights of FID, which are downloaded if they are not there. */
async function openFid(
  resize: ResizeDialect | undefined,
  { quiet, download = true }: ExtractorOptions,
): Promise<NetworkExtractor> {
  const path = inceptionPath();
  const { name, folder, sizeBytes, sha256 } = INCEPTION_WEIGHTS;
  const url = folder + name;
  if (download && !await exists(path)) {
    using progress = new Progress({
      label: `Loading ${name}`,
      total: sizeBytes,
      unit: "bytes",
      quiet,
    });
    try {
      await downloadFile([url], path, {
        sizeBytes,
        sha256,
        onProgress: (done) => progress.update(done),
      });
    } catch (error) {
      throw new UsageError(
        `${
          (error as Error).message
        }. Remedy: check the network, or give the file by --features FILE`,
        { cause: error },
      );
    }
    progress.finish();
  }
  let bytes: Uint8Array<ArrayBuffer>;
  try {
    bytes = await Deno.readFile(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new UsageError(
      `Cannot find Inception's weights: ${path} must be the file at ${url}`,
    );
  }
  const found = await hashOf(bytes);
  if (found !== sha256) {
    throw new UsageError(
      `Cannot use ${path} as its sha256 must be ${sha256}: it is ${found}. Delete it, and it is downloaded again`,
    );
  }
  return inception(bytes, name, sha256, resize);
}

/** The classifier of a run. */
async function openRun(
  path: string,
  { say }: ExtractorOptions,
): Promise<NetworkExtractor> {
  const run = await RunFolder.open(path);
  const checkpoint = await checkpointOf(run, path, say);
  const { model } = loadClassifier(checkpoint.bytes, checkpoint.path, true);
  const { network, config, shape } = model;
  if (config.noisy || network instanceof AdmClassifier) {
    network.dispose();
    throw new UsageError(
      `Cannot use the features of ${run.path} as its classifier must be of clean images, and not ADM's: train classifier makes such`,
    );
  }
  const { accuracy } = model.summary();
  return await classifierExtractor(network, {
    name: run.name,
    shape,
    classNames: shape.classNames,
    accuracy: accuracy as number | undefined,
  });
}
