/**
 * Zip archives, read with nothing trusted and written without compression. A reader of our own keeps
 * packages, and so the network, out of what `mod.ts` imports.
 * https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, 4.3.7 to 4.3.16
 *
 * @module
 */
import { crc32, inflateRawSync } from "node:zlib";

type Bytes = Uint8Array<ArrayBuffer>;

/** Throws, as `Cannot parse … as` and the problem. */
type Fail = (problem: string) => never;

/** A file of an archive. */
export interface ZipEntry {
  /** As it stands in the archive, a window of it. */
  readonly stored: Bytes;
  /** 0 is none, 8 deflate. */
  readonly compression: number;
  /** Bytes without compression. */
  readonly size: number;
  /** Checksum without compression. */
  readonly crc: number;
}

/** Of a header; versions, flags, times and the like are left 0. */
const LOCAL = 0x04034b50, CENTRAL = 0x02014b50, END = 0x06054b50;
const LOCAL_BYTES = 30, CENTRAL_BYTES = 46, END_BYTES = 22;
const VERSION = 20;
/** The first of January 1980. */
const DATE = 0x21;

/** The files of an archive below 4 GB, by name. */
export function zipEntries(bytes: Bytes, fail: Fail): Map<string, ZipEntry> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = bytes.length - END_BYTES; // no comment follows
  if (end < 0 || view.getUint32(end, true) !== END) {
    fail("a zip archive must end with its directory: it is cut off, or longer");
  }
  const entries = new Map<string, ZipEntry>();
  const count = view.getUint16(end + 10, true);
  let at = view.getUint32(end + 16, true);
  for (let i = 0; i < count; i++) {
    if (at + CENTRAL_BYTES > end || view.getUint32(at, true) !== CENTRAL) {
      fail(`the archive must list ${count} entries: it lists ${i}`);
    }
    const nameBytes = view.getUint16(at + 28, true);
    const name = new TextDecoder().decode(
      bytes.subarray(at + CENTRAL_BYTES, at + CENTRAL_BYTES + nameBytes),
    );
    const compressed = view.getUint32(at + 20, true);
    const size = view.getUint32(at + 24, true);
    const header = view.getUint32(at + 42, true);
    if ([compressed, size, header].includes(0xffffffff)) {
      fail(`${name} must lie in the first 4 GB`);
    }
    if (header + LOCAL_BYTES > end || view.getUint32(header, true) !== LOCAL) {
      fail(`${name} must have a header in the file`);
    }
    const start = header + LOCAL_BYTES + view.getUint16(header + 26, true) +
      view.getUint16(header + 28, true);
    if (start + compressed > end) fail(`${name} must lie in the file`);
    if (entries.has(name)) fail(`the archive has ${name} twice`);
    entries.set(name, {
      stored: bytes.subarray(start, start + compressed),
      compression: view.getUint16(at + 10, true),
      size,
      crc: view.getUint32(at + 16, true),
    });
    at += CENTRAL_BYTES + nameBytes + view.getUint16(at + 30, true) +
      view.getUint16(at + 32, true);
  }
  return entries;
}

/** The bytes of a file without compression, checked. */
export function unzip(name: string, entry: ZipEntry, fail: Fail): Bytes {
  const bytes = inflate(name, entry, fail);
  if (bytes.length !== entry.size || crc32(bytes) !== entry.crc) {
    fail(`${name} must have the size and checksum that the archive says`);
  }
  return bytes;
}

function inflate(
  name: string,
  { stored, compression, size }: ZipEntry,
  fail: Fail,
): Bytes {
  if (compression === 0) return stored;
  if (compression !== 8) {
    fail(
      `${name} must be stored or deflated: its compression is ${compression}`,
    );
  }
  try {
    // One more byte than there should be, as 0 is no limit.
    const bytes = inflateRawSync(stored, { maxOutputLength: size + 1 });
    return new Uint8Array(bytes);
  } catch (error) {
    fail(`${name} must be deflated well: ${(error as Error).message}`);
  }
}

/** An archive of files below 4 GB, not compressed. */
export function zip(files: Readonly<Record<string, Uint8Array>>): Bytes {
  const named = Object.entries(files).map(([name, bytes]) => ({
    name: new TextEncoder().encode(name),
    bytes,
  }));
  const out = new Uint8Array(
    named.reduce(
      (sum, { name, bytes }) =>
        sum + LOCAL_BYTES + CENTRAL_BYTES + 2 * name.length + bytes.length,
      END_BYTES,
    ),
  );
  const view = new DataView(out.buffer);
  let at = 0;
  /** What both headers have, the central one two bytes further on. */
  const describe = (start: number, name: Uint8Array, bytes: Uint8Array) => {
    view.setUint16(start, VERSION, true);
    view.setUint16(start + 8, DATE, true);
    view.setUint32(start + 10, crc32(bytes), true);
    view.setUint32(start + 14, bytes.length, true);
    view.setUint32(start + 18, bytes.length, true);
    view.setUint16(start + 22, name.length, true);
  };
  const starts = named.map(({ name, bytes }) => {
    const start = at;
    view.setUint32(at, LOCAL, true);
    describe(at + 4, name, bytes);
    out.set(name, at + LOCAL_BYTES);
    out.set(bytes, at + LOCAL_BYTES + name.length);
    at += LOCAL_BYTES + name.length + bytes.length;
    return start;
  });
  const directory = at;
  named.forEach(({ name, bytes }, i) => {
    view.setUint32(at, CENTRAL, true);
    view.setUint16(at + 4, VERSION, true);
    describe(at + 6, name, bytes);
    view.setUint32(at + 42, starts[i]!, true);
    out.set(name, at + CENTRAL_BYTES);
    at += CENTRAL_BYTES + name.length;
  });
  view.setUint32(at, END, true);
  view.setUint16(at + 8, named.length, true);
  view.setUint16(at + 10, named.length, true);
  view.setUint32(at + 12, at - directory, true);
  view.setUint32(at + 16, directory, true);
  return out;
}
