/** Tiny files in the formats of the data sets, for the tests. */

import { gzipSync } from "node:zlib";
import { makeDataset } from "../../datasets/dataset.ts";
import type { Dataset } from "../../datasets/dataset.ts";

/** Runs `use` with a fresh folder, removed afterwards. */
export async function withFolder(
  use: (folder: string) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await use(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** IDX bytes: big-endian magic number and axes, then `data`. */
export function idx(
  magic: number,
  shape: number[],
  data: Uint8Array,
): Uint8Array {
  const bytes = new Uint8Array(4 + 4 * shape.length + data.length);
  const view = new DataView(bytes.buffer);
  [magic, ...shape].forEach((value, i) => view.setUint32(4 * i, value));
  bytes.set(data, 4 + 4 * shape.length);
  return bytes;
}

/** `n` bytes that differ from place to place. */
export function pattern(n: number, seed = 1): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length: n }, (_, i) => (i * 31 + seed * 17) % 256);
}

/** Writes the two files of an MNIST training set into `folder`. */
export async function writeMnist(
  folder: string,
  labels: number[],
  { gz = true } = {},
): Promise<Uint8Array> {
  await Deno.mkdir(folder, { recursive: true });
  const pixels = pattern(labels.length * 12);
  const images = idx(2051, [labels.length, 4, 3], pixels);
  const ids = idx(2049, [labels.length], Uint8Array.from(labels));
  const end = gz ? ".gz" : "";
  const pack = (bytes: Uint8Array) => gz ? gzipSync(bytes) : bytes;
  await Deno.writeFile(
    `${folder}/train-images-idx3-ubyte${end}`,
    pack(images),
  );
  await Deno.writeFile(`${folder}/train-labels-idx1-ubyte${end}`, pack(ids));
  return pixels;
}

/** CIFAR-10 rows with these labels. */
export function cifarRows(labels: number[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(labels.length * 3073);
  labels.forEach((label, i) => {
    bytes[i * 3073] = label;
    bytes.set(pattern(3072, i), i * 3073 + 1);
  });
  return bytes;
}

/** A ustar archive of regular files. */
export function tar(files: Record<string, Uint8Array>): Uint8Array {
  const blocks: Uint8Array[] = [];
  const encoder = new TextEncoder();
  for (const [name, data] of Object.entries(files)) {
    const header = new Uint8Array(512);
    const put = (at: number, text: string) =>
      header.set(encoder.encode(text), at);
    put(0, name);
    put(100, "0000644\0");
    put(124, data.length.toString(8).padStart(11, "0") + " ");
    put(148, " ".repeat(8));
    put(156, "0");
    put(257, "ustar\x0000");
    const sum = header.reduce((a, b) => a + b);
    put(148, sum.toString(8).padStart(6, "0") + "\0 ");
    const padded = new Uint8Array(Math.ceil(data.length / 512) * 512);
    padded.set(data);
    blocks.push(header, padded);
  }
  blocks.push(new Uint8Array(1024));
  return Uint8Array.from(blocks.flatMap((block) => [...block]));
}

/** `length` images of 1×2×3 whose first pixel is their index, labels 0 to 3 in turn. */
export function tinyDataset(length: number, horizontalFlip = false): Dataset {
  const images = new Uint8Array(length * 6);
  for (let i = 0; i < length; i++) {
    images.set([i, 10, 20, 30, 40, 50], i * 6);
  }
  return makeDataset({
    images,
    labels: Uint8Array.from({ length }, (_, i) => i % 4),
    channels: 1,
    height: 2,
    width: 3,
    classNames: ["ant", "bee", "cat", "sea cow"],
    horizontalFlip,
  });
}
