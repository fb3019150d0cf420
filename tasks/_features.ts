/**
 * Features of images, in pieces that are kept on disk: what was interrupted goes on, and a second call only
 * reads.
 *
 * ```
 * CACHE/4f0c…/            by images, extractor, resize and version
 *   0-512.safetensors     from-count: features, logits and spatial of these images
 * ```
 *
 * @module
 */
import { createHash } from "node:crypto";
import config from "../deno.json" with { type: "json" };
import {
  cacheDir,
  type FeatureExtractor,
  type HostTensor,
  type ImageFeatures,
  parseSafetensors,
  type Points,
  saveSafetensors,
} from "../mod.ts";
import { type ImageSource, Interrupted } from "./_image_source.ts";
import { join } from "./_path.ts";
import { Progress } from "./_progress.ts";
import { writeAtomic } from "./_run_folder.ts";

/** Batches whose features are written at once. */
const BATCHES = 8;

/** Features of all images of a source, one row each. */
export interface SourceFeatures {
  features: Points<Float32Array<ArrayBuffer>>;
  /** Of extractors that know classes. */
  logits?: Points<Float32Array<ArrayBuffer>>;
  /** For sFID, of extractors that have such. */
  spatial?: Points<Float32Array<ArrayBuffer>>;
  /** Least and greatest byte of the images. */
  range: [low: number, high: number];
}

/** How features are computed. */
export interface FeaturesOptions {
  /** Where they are kept; undefined keeps nothing. */
  cache?: string;
  /** Shows no progress. */
  quiet: boolean;
  /** Asked now and then. */
  isCancelled?: () => boolean;
  /** Images whose features are written at once; defaults to 8 batches of the extractor. */
  pieceSize?: number;
}

/** For tasks that compute features. */
export const cacheFlag = {
  cache: {
    type: "boolean",
    default: true,
    description: "Neither look for features on disk nor keep them there",
  },
} as const;

/** The folder where features are kept, `features` in that of the data sets; undefined for `--no-cache`. */
export function featureCache(
  { cache }: { readonly cache: boolean },
): string | undefined {
  return cache ? join(cacheDir(), "features") : undefined;
}

/** What an extractor may give, in the order of the alphabet. */
const KINDS = ["features", "logits", "spatial"] as const;

/** Some rows of features and the range of the bytes they are of. */
type Piece = ImageFeatures & { range: [number, number] };

/**
 * Features of all images.
 *
 * @throws {Interrupted} If cancelled; what is done is kept.
 * @throws {Error} If a feature is not finite: names the image.
 */
export async function featuresOf(
  source: ImageSource,
  extractor: FeatureExtractor,
  options: FeaturesOptions,
): Promise<SourceFeatures> {
  const { cache, quiet, isCancelled } = options;
  const { pieceSize = BATCHES * batchSizeOf(extractor) } = options;
  const folder = cache && join(cache, keyOf(source, extractor));
  if (folder !== undefined) await Deno.mkdir(folder, { recursive: true });
  using progress = new Progress({
    label: `Features of ${source.name}`,
    total: source.count,
    unit: "images",
    quiet,
  });
  const { count } = source;
  const pieces: Piece[] = [];
  for (let from = 0; from < count; from += pieceSize) {
    const n = Math.min(pieceSize, count - from);
    const file = folder && join(folder, `${from}-${n}.safetensors`);
    let piece = file && await readPiece(file, n, extractor);
    if (!piece) {
      piece = await extract(source, extractor, from, n, (done) => {
        progress.update(from + done);
        if (isCancelled?.()) throw stopped(source, from, cache);
      });
      if (file !== undefined) {
        await writePiece(file, piece, n, source, extractor);
      }
    }
    pieces.push(piece);
    progress.update(from + n);
  }
  progress.finish();
  const joined = (key: typeof KINDS[number]) =>
    pieces[0]![key] && concat(pieces.map((piece) => piece[key]!), count);
  return {
    features: joined("features")!,
    logits: joined("logits"),
    spatial: joined("spatial"),
    range: [
      Math.min(...pieces.map(({ range }) => range[0])),
      Math.max(...pieces.map(({ range }) => range[1])),
    ],
  };
}

function batchSizeOf({ batchSize = 64 }: FeatureExtractor): number {
  return batchSize;
}

/** Name of the folder of some features: that of the same images in the same order is the same. */
function keyOf(source: ImageSource, extractor: FeatureExtractor): string {
  const { checksum, shape: { channels, height, width } } = source;
  const { sha256, resize } = extractor;
  const identity = [checksum, channels, height, width, sha256, resize];
  return createHash("sha256")
    .update(JSON.stringify([...identity, config.version]))
    .digest("hex").slice(0, 32);
}

function stopped(
  source: ImageSource,
  done: number,
  cache: string | undefined,
): Interrupted {
  return new Interrupted(
    `Interrupted: ${
      cache === undefined
        ? "nothing was kept, as --no-cache says"
        : `features of ${done} of ${source.count} images of ${source.name} are kept, and the same command goes on from there`
    }`,
  );
}

/**
 * Features of images `from` to `from + n`.
 *
 * @param onStep Told how many are done; what it throws ends all.
 */
async function extract(
  source: ImageSource,
  extractor: FeatureExtractor,
  from: number,
  n: number,
  onStep: (done: number) => void,
): Promise<Piece> {
  const images = await source.read(from, n);
  const size = images.length / n;
  const found: Partial<Record<typeof KINDS[number], Float32Array[]>> = {};
  const step = batchSizeOf(extractor);
  for (let first = 0; first < n; first += step) {
    onStep(first);
    const some = images.subarray(first * size, (first + step) * size);
    const given = await extractor.extract(some, source.shape);
    for (const kind of KINDS) {
      const values = given[kind];
      if (!values) continue;
      const at = values.findIndex((value) => !Number.isFinite(value));
      if (at >= 0) {
        const row = Math.floor(at / (values.length / (some.length / size)));
        throw new Error(
          `Cannot use ${extractor.name} on ${
            source.nameOf(from + first + row)
          } as its features must be finite: one is ${values[at]}`,
        );
      }
      (found[kind] ??= []).push(values);
    }
  }
  let low = 255, high = 0;
  for (const byte of images) {
    if (byte < low) low = byte;
    if (byte > high) high = byte;
  }
  return {
    ...Object.fromEntries(
      Object.entries(found).map((
        [kind, parts],
      ) => [kind, concat(parts, n).data]),
    ) as unknown as ImageFeatures,
    range: [low, high],
  };
}

async function writePiece(
  file: string,
  piece: Piece,
  n: number,
  source: ImageSource,
  extractor: FeatureExtractor,
): Promise<void> {
  const entries: Record<string, HostTensor> = {};
  const hash = createHash("sha256");
  for (const name of KINDS) {
    const data = piece[name];
    if (!data) continue;
    entries[name] = { dtype: "f32", shape: [n, data.length / n], data };
    hash.update(data);
  }
  await writeAtomic(
    file,
    await saveSafetensors(entries, {
      source: source.name,
      extractor: `${extractor.name} ${extractor.sha256}`,
      resize: extractor.resize,
      range: piece.range.join(","),
      sha256: hash.digest("hex"),
    }),
  );
}

/** What `writePiece` wrote; undefined if it is not there, or not as it was written. */
async function readPiece(
  file: string,
  n: number,
  { dimensions }: FeatureExtractor,
): Promise<Piece | undefined> {
  let bytes: Uint8Array<ArrayBuffer>;
  try {
    bytes = await Deno.readFile(file);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  try {
    const { tensors, metadata } = parseSafetensors(bytes);
    const hash = createHash("sha256");
    for (const name of KINDS) {
      if (tensors[name]) hash.update(tensors[name].data);
    }
    const arrays = Object.fromEntries(
      Object.entries(tensors).map(([name, { data }]) => [name, data]),
    ) as unknown as ImageFeatures;
    const isWhole = arrays.features?.length === n * dimensions &&
      hash.digest("hex") === metadata.sha256;
    if (!isWhole) return undefined;
    const [low, high] = metadata.range!.split(",").map(Number);
    return { ...arrays, range: [low!, high!] };
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** Rows below each other. */
function concat(
  pieces: readonly Float32Array[],
  count: number,
): Points<Float32Array<ArrayBuffer>> {
  const size = pieces.reduce((sum, { length }) => sum + length, 0);
  const data = new Float32Array(size);
  let at = 0;
  for (const piece of pieces) {
    data.set(piece, at);
    at += piece.length;
  }
  return { data, shape: [count, size / count] };
}
