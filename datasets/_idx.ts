/**
 * The IDX format of the MNIST files: a big-endian u32 magic number (0, 0,
 * type 8 = u8, number of axes), one u32 per axis, then the bytes.
 */

/** Magic number of a list of images: u8, three axes. */
export const IDX_IMAGES = 0x0803;
/** Magic number of a list of labels: u8, one axis. */
export const IDX_LABELS = 0x0801;

const KINDS: Record<number, string> = {
  [IDX_IMAGES]: "images",
  [IDX_LABELS]: "labels",
};

/**
 * Reads IDX data.
 *
 * @param bytes The file, decompressed.
 * @param magic `IDX_IMAGES` or `IDX_LABELS`.
 * @param path For messages.
 * @returns The length of each axis, and the content, a view into `bytes`.
 * @throws {SyntaxError} If the magic number is another, or the length does not
 *   follow from the header.
 */
export function parseIdx(
  bytes: Uint8Array<ArrayBuffer>,
  magic: number,
  path: string,
): { shape: number[]; data: Uint8Array<ArrayBuffer> } {
  const rank = magic & 0xff;
  const headerBytes = 4 + 4 * rank;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const what = `Cannot read "${path}" as IDX ${KINDS[magic]}`;
  const found = bytes.length < 4 ? undefined : view.getUint32(0);
  if (found !== undefined && found !== magic) {
    const other = KINDS[found] === undefined
      ? "it is another kind of file"
      : `it holds ${KINDS[found]}`;
    throw new SyntaxError(
      `${what} as its magic number must be ${magic}: it is ${found}, ${other}`,
    );
  }
  if (bytes.length < headerBytes) {
    throw new SyntaxError(
      `${what} as the header needs ${headerBytes} bytes: the file has ${bytes.length}`,
    );
  }
  const shape = Array.from(
    { length: rank },
    (_, axis) => view.getUint32(4 + 4 * axis),
  );
  const expected = headerBytes + shape.reduce((a, b) => a * b);
  if (bytes.length !== expected) {
    throw new SyntaxError(
      `${what} as [${
        shape.join(", ")
      }] needs ${expected} bytes: the file has ${bytes.length}. Delete it and get it again`,
    );
  }
  return { shape, data: bytes.subarray(headerBytes) };
}
