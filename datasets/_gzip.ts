/** Reading files that may be gzip-compressed. */

import { gunzip } from "node:zlib";
import { promisify } from "node:util";

/** One-shot decompression on a thread, twice as fast as `DecompressionStream`. */
const inflate = promisify(gunzip);

/**
 * The content of a file, decompressed if it starts as gzip does (1f 8b),
 * whatever its name.
 *
 * @throws {SyntaxError} If the file is cut off or corrupt.
 */
export async function readMaybeGzip(
  path: string,
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = await Deno.readFile(path);
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  try {
    const { buffer, byteOffset, length } = await inflate(bytes);
    return new Uint8Array(buffer as ArrayBuffer, byteOffset, length);
  } catch (error) {
    throw new SyntaxError(
      `Cannot read "${path}" as its gzip data is cut off or corrupt (${
        (error as Error).message
      }): delete the file and get it again`,
      { cause: error },
    );
  }
}
