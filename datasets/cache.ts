/**
 * Where the files of a data set are: in the user's folder, else in the cache,
 * else on the network.
 *
 * @module
 */

import { statOf } from "./stat.ts";
import { join } from "./_path.ts";
import { downloadFile } from "./download.ts";

/** How a loader finds its files. */
export interface FindOptions {
  /**
   * A folder that already holds the standard files (`mnist/…`,
   * `fashion-mnist/…`, `cifar-10/…`, or directly). Nothing is downloaded then.
   */
  dataDir?: string;
  /** Where downloads go and are looked for. Default `cacheDir()`. */
  cacheDir?: string;
  /** Whether to download what is absent. Default `true`. */
  download?: boolean;
  /** Base addresses tried instead of the official places, each ending in `/`. */
  mirrors?: readonly string[];
  /** Called while downloading: bytes so far, bytes in all (0 if unknown), file name. */
  onProgress?: (doneBytes: number, totalBytes: number, file: string) => void;
}

/** A file on the network. */
export interface RemoteFile {
  /** The official file name. */
  name: string;
  /** Its size. */
  sizeBytes: number;
  /** SHA-256 in hex. */
  sha256?: string;
  /** MD5 in hex, where no SHA-256 is known. */
  md5?: string;
}

/** Where the files of one data set are looked for. */
export interface Place {
  /** The data set's name for people. */
  title: string;
  /** Sub-folders that may hold the files; the cache uses the first. */
  folders: readonly string[];
  /** The files a data folder must hold, for the message when one is missing. */
  expected: readonly string[];
  /** Official base addresses, each ending in `/`. */
  mirrors: readonly string[];
}

/**
 * The folder where downloaded data sets are kept: `$DENOISE_DATA`, else
 * `$XDG_CACHE_HOME/denoise`, else `.cache/denoise` in the home folder
 * (`$HOME`, or `$USERPROFILE` on Windows). Where none of these may be read
 * (`--allow-env`) or is set, `.cache/denoise` in the working folder.
 *
 * @returns A path; the folder need not exist.
 */
export function cacheDir(): string {
  const data = readEnv("DENOISE_DATA");
  if (data) return data;
  const cache = readEnv("XDG_CACHE_HOME");
  if (cache) return join(cache, "denoise");
  const home = readEnv("HOME") || readEnv("USERPROFILE") || ".";
  return join(home, ".cache", "denoise");
}

function readEnv(name: string): string | undefined {
  try {
    return Deno.env.get(name);
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) return undefined;
    throw error;
  }
}

/**
 * Finds a file under one of its names, in `dataDir` if given, else in the
 * cache.
 *
 * @param place The data set.
 * @param names Possible file names, best first.
 * @param options See `FindOptions`.
 * @returns Its path, or `undefined`.
 */
export async function findFile(
  place: Place,
  names: readonly string[],
  options: FindOptions = {},
): Promise<string | undefined> {
  for (const folder of searchFolders(place, options)) {
    for (const name of names) {
      const path = join(folder, name);
      if ((await statOf(path))?.isFile) return path;
    }
  }
}

/**
 * Finds a file as `findFile` does, or else downloads it into the cache.
 *
 * @param place The data set.
 * @param names Possible file names, best first.
 * @param remote The file to download.
 * @param options See `FindOptions`.
 * @returns Its path.
 * @throws {Error} If it is absent and must not be or cannot be downloaded. The
 *   message names the file, the places and the remedy; the cause is a
 *   `Deno.errors.NotFound`.
 */
export async function obtainFile(
  place: Place,
  names: readonly string[],
  remote: RemoteFile,
  options: FindOptions = {},
): Promise<string> {
  const found = await findFile(place, names, options);
  if (found !== undefined) return found;
  if (options.dataDir !== undefined || options.download === false) {
    throw missingFile(place, names, options);
  }
  const path = join(
    options.cacheDir ?? cacheDir(),
    place.folders[0]!,
    remote.name,
  );
  const { onProgress } = options;
  const urls = (options.mirrors ?? place.mirrors).map((base) =>
    base + remote.name
  );
  try {
    await downloadFile(urls, path, {
      ...remote,
      onProgress: onProgress &&
        ((done, total) => onProgress(done, total, remote.name)),
    });
  } catch (error) {
    throw missingFile(place, names, options, (error as Error).message);
  }
  return path;
}

/**
 * The error for a file that is not there.
 *
 * @param place The data set.
 * @param names The names it could have had.
 * @param options Where it was looked for.
 * @param reason Why it could not be downloaded either.
 * @returns An error to throw, caused by a `Deno.errors.NotFound`.
 */
export function missingFile(
  place: Place,
  names: readonly string[],
  options: FindOptions,
  reason?: string,
): Error {
  const folders = searchFolders(place, options);
  const expected = place.expected.map((name) => join(place.folders[0]!, name));
  const remedy = place.mirrors.length === 0
    ? "it cannot be downloaded: give --data-dir DIR with a folder"
    : options.dataDir !== undefined
    ? "leave out --data-dir to download, or give one"
    : options.download === false
    ? "allow the download, or give --data-dir DIR with a folder"
    : "check the network, or give --data-dir DIR with a folder";
  const message = `Cannot load ${place.title} as ${
    names.join(" or ")
  } is not in ${folders.map((folder) => `"${folder}"`).join(" or ")}${
    reason === undefined ? "" : `. ${reason}`
  }. Remedy: ${remedy} that holds ${expected.join(", ")}`;
  return new Error(message, { cause: new Deno.errors.NotFound(names[0]) });
}

/** The folders a file may be in, in order. */
export function searchFolders(
  place: Place,
  options: FindOptions = {},
): string[] {
  const { dataDir } = options;
  if (dataDir === undefined) {
    return [join(options.cacheDir ?? cacheDir(), place.folders[0]!)];
  }
  return [...place.folders.map((name) => join(dataDir, name)), dataDir];
}
