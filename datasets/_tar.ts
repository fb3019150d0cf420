/** Reading tar archives: 512-byte headers, each followed by the padded content (POSIX ustar). */

const BLOCK = 512;

/** A regular file of an archive. */
export interface TarEntry {
  /** Path inside the archive, with `/`. */
  name: string;
  /** Its content, a view into the archive's bytes. */
  data: Uint8Array<ArrayBuffer>;
}

/**
 * Lists the regular files of a tar archive without copying them.
 *
 * @param bytes The archive, decompressed.
 * @param path For messages.
 * @throws {SyntaxError} If a header's checksum is wrong or the archive is cut off.
 */
export function* tarEntries(
  bytes: Uint8Array<ArrayBuffer>,
  path: string,
): Generator<TarEntry> {
  for (let at = 0; at + BLOCK <= bytes.length;) {
    const header = bytes.subarray(at, at + BLOCK);
    if (header.every((byte) => byte === 0)) return; // the end mark
    // The checksum counts its own eight bytes as spaces.
    let sum = 8 * 0x20;
    header.forEach((byte, i) => sum += i >= 148 && i < 156 ? 0 : byte);
    const size = octal(header, 124, 12);
    if (octal(header, 148, 8) !== sum || !(size >= 0)) {
      throw new SyntaxError(
        `Cannot read "${path}" as a tar archive: bad header at byte ${at}`,
      );
    }
    const data = bytes.subarray(at + BLOCK, at + BLOCK + size);
    if (data.length < size) {
      throw new SyntaxError(
        `Cannot read "${path}" as the archive is cut off: an entry needs ${size} bytes, ${data.length} are left`,
      );
    }
    const type = String.fromCharCode(header[156]!);
    if (type === "0" || type === "\0") {
      const prefix = text(header, 345, 155);
      const name = text(header, 0, 100);
      yield { name: prefix === "" ? name : `${prefix}/${name}`, data };
    }
    at += BLOCK + Math.ceil(size / BLOCK) * BLOCK;
  }
}

function text(header: Uint8Array, from: number, length: number): string {
  const field = header.subarray(from, from + length);
  const end = field.indexOf(0);
  return new TextDecoder().decode(end < 0 ? field : field.subarray(0, end));
}

function octal(header: Uint8Array, from: number, length: number): number {
  return Number.parseInt(text(header, from, length).trim(), 8);
}
