/**
 * Downloading one file so that what lands is complete and right, or nothing.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { dirname } from "./_path.ts";

/** What `downloadFile` may be told. */
export interface DownloadOptions {
  /** SHA-256 of the file in hex; checked if given. */
  sha256?: string;
  /** MD5 of the file in hex, where no SHA-256 is published; checked if given. */
  md5?: string;
  /** Its size; used for progress where the server does not tell, and to skip a finished transfer. */
  sizeBytes?: number;
  /** Called after each piece with bytes so far (resumed ones too) and in all (0 if unknown). */
  onProgress?: (doneBytes: number, totalBytes: number) => void;
  /** Give up on a server that sends nothing for so long. Default 30,000 ms. */
  stallTimeMs?: number;
}

/** Tries at one address, as long as each changes something. */
const MAX_TRIES = 5;

/**
 * Downloads a file. The bytes go to `PATH.part`, which a later call continues
 * (HTTP Range); when they are complete and their checksum is right, the part
 * is flushed and renamed. Another process doing the same is waited for.
 *
 * @param urls Addresses of the same file, tried in this order.
 * @param path Where it shall land; its folder is made. Needs `--allow-net`,
 *   `--allow-read` and `--allow-write`.
 * @param options See `DownloadOptions`.
 * @throws {Error} If no address gives the file: the message has one reason per
 *   address. A part with a wrong checksum is deleted, a short one is kept.
 */
export async function downloadFile(
  urls: readonly string[],
  path: string,
  options: DownloadOptions = {},
): Promise<void> {
  await Deno.mkdir(dirname(path), { recursive: true });
  const part = `${path}.part`;
  using file = await Deno.open(part, { read: true, write: true, create: true });
  await file.lock(true);
  if (await exists(path)) { // another process was faster
    await removeIfExists(part);
    return;
  }
  const reasons: string[] = [];
  for (const url of urls) {
    try {
      await fetchWhole(url, file, options);
      await file.sync();
      await Deno.rename(part, path);
      return;
    } catch (error) {
      const { message, cause } = error as Error;
      const reason = cause instanceof Error ? cause.message : message;
      reasons.push(`${url}: ${reason.replace(` for url (${url})`, "")}`);
    }
  }
  if ((await file.stat()).size === 0) await removeIfExists(part);
  throw new Error(
    `Cannot download "${path}": ${reasons.join("; ") || "no address is known"}`,
  );
}

/** One address, to the end; starts over once if a part that was there before turns out bad. */
async function fetchWhole(
  url: string,
  file: Deno.FsFile,
  options: DownloadOptions,
): Promise<void> {
  let mayStartOver = (await file.stat()).size > 0;
  for (let tries = 1;; tries++) {
    const before = (await file.stat()).size;
    if (before === 0 || before !== options.sizeBytes) {
      try {
        await transfer(url, file, options);
      } catch (error) {
        // New bytes came, or a part of no use went: another try can succeed.
        const isChanged = (await file.stat()).size !== before;
        if (isChanged && tries < MAX_TRIES) continue;
        throw error;
      }
    }
    const wrong = await checksumError(file, options);
    if (wrong === undefined) return;
    await file.truncate(0);
    if (!mayStartOver) throw new Error(wrong);
    mayStartOver = false;
  }
}

/** One request: appends to the file, or replaces its content if the server does not resume. */
async function transfer(
  url: string,
  file: Deno.FsFile,
  { sizeBytes = 0, onProgress, stallTimeMs = 30_000 }: DownloadOptions,
): Promise<void> {
  const abort = new AbortController();
  const stop = () =>
    abort.abort(new Error(`the server sent nothing for ${stallTimeMs} ms`));
  let timer = setTimeout(stop, stallTimeMs);
  try {
    let done = await file.seek(0, Deno.SeekMode.End);
    // "identity": the file as it is stored, for a .gz must stay compressed.
    const headers: Record<string, string> = { "accept-encoding": "identity" };
    if (done > 0) headers.range = `bytes=${done}-`;
    const response = await fetch(url, { headers, signal: abort.signal });
    const range = /^bytes (?:(\d+)-\d+|\*)\/(\d+)$/.exec(
      response.headers.get("content-range") ?? "",
    );
    if (response.status === 416 && done > 0) {
      await response.body?.cancel();
      if (Number(range?.[2]) === done) return; // it was complete already
      await file.truncate(0);
      throw new Error("the server cannot continue the part, which was deleted");
    }
    if (response.status !== 200 && response.status !== 206) {
      await response.body?.cancel();
      throw new Error(
        `HTTP ${response.status} ${response.statusText}`.trimEnd(),
      );
    }
    if (response.status === 206 && Number(range?.[1]) !== done) {
      await response.body?.cancel();
      await file.truncate(0);
      throw new Error("the server sent another range than asked for");
    }
    if (response.status === 200) {
      await file.truncate(0);
      done = await file.seek(0, Deno.SeekMode.Start);
    }
    const length = Number(response.headers.get("content-length") ?? 0);
    const total = range ? Number(range[2]) : length > 0 ? done + length : 0;
    for await (const chunk of response.body ?? []) {
      clearTimeout(timer);
      timer = setTimeout(stop, stallTimeMs);
      for (let at = 0; at < chunk.length;) {
        at += await file.write(chunk.subarray(at));
      }
      done += chunk.length;
      onProgress?.(done, total || sizeBytes);
    }
    const expected = total || sizeBytes;
    if (expected > 0 && done < expected) {
      throw new Error(`the body ended at ${done} of ${expected} bytes`);
    }
  } finally {
    clearTimeout(timer);
  }
}

/** What is wrong with the file's checksum, if anything. */
async function checksumError(
  file: Deno.FsFile,
  { sha256, md5 }: DownloadOptions,
): Promise<string | undefined> {
  for (const [kind, expected] of Object.entries({ sha256, md5 })) {
    if (expected === undefined) continue;
    const hash = createHash(kind);
    await file.seek(0, Deno.SeekMode.Start);
    const buffer = new Uint8Array(1 << 20);
    for (let n = await file.read(buffer); n !== null;) {
      hash.update(buffer.subarray(0, n));
      n = await file.read(buffer);
    }
    const found = hash.digest("hex");
    if (found !== expected) {
      return `wrong checksum, so the part was deleted: ${kind} is ${found}, must be ${expected}`;
    }
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

async function removeIfExists(path: string): Promise<void> {
  try {
    await Deno.remove(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
