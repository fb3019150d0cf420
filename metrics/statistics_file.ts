/**
 * Statistics of features in files, `.npz`, as pytorch-fid and its kin write and read them.
 *
 * @module
 */
import { type NpyArray, npyBytes, parseNpy } from "../tensor/npy.ts";
import { unzip, zip, zipEntries } from "../tensor/zip.ts";
import type { FeatureExtractor } from "./feature_extractor.ts";
import {
  FeatureStatistics,
  type GaussianStatistics,
} from "./feature_statistics.ts";

/** What made features: they can be compared only if it is the same. */
export type ExtractorIdentity = Pick<
  FeatureExtractor,
  "name" | "sha256" | "resize"
>;

/** Statistics, and where they are from. */
export interface StoredStatistics extends GaussianStatistics {
  /** μ, `[D]`. */
  mean: Float64Array<ArrayBuffer>;
  /** Σ, `[D, D]`. */
  covariance: Float64Array<ArrayBuffer>;
  /** What made the features; not in files of other tools. */
  extractor?: ExtractorIdentity;
}

function fail(problem: string): never {
  throw new SyntaxError(`Cannot parse statistics as ${problem}`);
}

/**
 * Reads a `.npz` file of statistics: `mu` `[D]` and `sigma` `[D, D]`, f8 or f4, as pytorch-fid writes
 * them; of ours, also `n` and `extractor`. Other arrays are left alone.
 *
 * @param extractor What the features that they are for are made by, to be checked as far as is known.
 * @throws {SyntaxError} If the file is broken, or an array is missing or of another shape.
 * @throws {RangeError} If the features are of other dimensions or of another extractor.
 */
export function parseStatistics(
  bytes: Uint8Array<ArrayBuffer>,
  extractor?: ExtractorIdentity & Pick<FeatureExtractor, "dimensions">,
): StoredStatistics {
  const entries = zipEntries(bytes, fail);
  const array = (name: string): NpyArray | undefined => {
    const entry = entries.get(`${name}.npy`);
    return entry && parseNpy(
      unzip(`${name}.npy`, entry, fail),
      (problem) => fail(`${name} cannot be read: ${problem}`),
    );
  };
  const mu = array("mu"), sigma = array("sigma");
  if (!mu || !sigma) {
    const names = [...entries.keys()].map((name) => name.replace(/\.npy$/, ""));
    fail(
      `it must have the arrays mu and sigma: it has ${
        names.join(", ") || "none"
      }`,
    );
  }
  const [d] = mu.shape;
  if (
    mu.shape.length !== 1 || sigma.shape.join() !== `${d},${d}` ||
    Array.isArray(mu.data) || Array.isArray(sigma.data)
  ) {
    fail(
      `mu must be [D] and sigma [D, D], of numbers: they are [${
        mu.shape.join(", ")
      }] and [${sigma.shape.join(", ")}]`,
    );
  }
  const count = array("n")?.data[0], text = array("extractor")?.data[0];
  if (count !== undefined && !(Number.isInteger(count) && Number(count) >= 2)) {
    fail(`n must be whole and at least 2: it is ${count}`);
  }
  const stored: StoredStatistics = {
    mean: Float64Array.from(mu.data),
    covariance: Float64Array.from(sigma.data),
  };
  if (count !== undefined) stored.count = Number(count);
  if (text !== undefined) stored.extractor = parseIdentity(String(text));
  if (extractor) requireSame(stored, extractor);
  return stored;
}

function parseIdentity(text: string): ExtractorIdentity {
  let read: unknown;
  try {
    read = JSON.parse(text);
  } catch {
    // told below
  }
  const { name, sha256, resize } = Object(read) as Record<string, unknown>;
  if (
    typeof name !== "string" || typeof sha256 !== "string" ||
    typeof resize !== "string"
  ) {
    fail(
      `extractor must be JSON with name, sha256 and resize: it is ${
        text.slice(0, 200)
      }`,
    );
  }
  return { name, sha256, resize };
}

function requireSame(
  { mean, extractor: theirs }: StoredStatistics,
  ours: ExtractorIdentity & Pick<FeatureExtractor, "dimensions">,
): void {
  if (mean.length !== ours.dimensions) {
    throw new RangeError(
      `Cannot use statistics as features of ${ours.name} have ${ours.dimensions} dimensions: the statistics have ${mean.length}`,
    );
  }
  const say = ({ name, sha256, resize }: ExtractorIdentity) =>
    `${name} (resize ${resize}, SHA-256 ${sha256})`;
  if (theirs && say(theirs) !== say(ours)) {
    throw new RangeError(
      `Cannot use statistics as features must be of the same extractor: ${
        say(ours)
      } is used, the statistics are of ${say(theirs)}`,
    );
  }
}

/**
 * A `.npz` file of statistics, which pytorch-fid takes in the place of a folder: `mu`, `sigma`, the
 * number of rows as `n` where it is known, and JSON about the extractor as `extractor`.
 *
 * @param extractor What made the features.
 * @throws {RangeError} If there are fewer than 2 rows.
 */
export function statisticsBytes(
  statistics: FeatureStatistics | GaussianStatistics,
  extractor?: ExtractorIdentity,
): Uint8Array<ArrayBuffer> {
  const { count } = statistics;
  const { mean, covariance } = statistics instanceof FeatureStatistics
    ? { mean: statistics.mean(), covariance: statistics.covariance() }
    : statistics;
  const d = mean.length;
  const files: Record<string, Uint8Array> = {
    "mu.npy": npyBytes(Float64Array.from(mean), [d]),
    "sigma.npy": npyBytes(Float64Array.from(covariance), [d, d]),
  };
  if (count !== undefined) files["n.npy"] = npyBytes(count);
  if (extractor) {
    const { name, sha256, resize } = extractor;
    files["extractor.npy"] = npyBytes(JSON.stringify({ name, sha256, resize }));
  }
  return zip(files);
}
