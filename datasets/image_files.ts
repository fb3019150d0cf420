/**
 * Image files: which a folder holds, and what is in one.
 *
 * @module
 */
import { statOf } from "./stat.ts";
import type { Sharp } from "./_sharp.ts";
import { extname, join } from "./_path.ts";

/** What `npm:sharp` reads with its prebuilt libraries. */
export const IMAGE_EXTENSIONS: ReadonlySet<string> = new Set([
  ".avif",
  ".gif",
  ".jfif",
  ".jpe",
  ".jpeg",
  ".jpg",
  ".png",
  ".svg",
  ".tif",
  ".tiff",
  ".webp",
]);

/** Files decoded at once. */
export const CONCURRENCY = 32;

/** Whether a path is that of a folder. */
export async function isDirectory(path: string): Promise<boolean> {
  return (await statOf(path))?.isDirectory ?? false;
}

/**
 * The files of a folder and its sub-folders, hidden ones passed over.
 *
 * @param root The folder.
 * @returns Relative paths with `/`, sorted by code unit, the same on every machine: those that end like
 *   images, and all others.
 */
export async function listFiles(
  root: string,
): Promise<{ images: string[]; others: string[] }> {
  const images: string[] = [], others: string[] = [];
  // `parents` are real paths: a link back to one of them would never end.
  async function walk(relative: string, parents: readonly string[]) {
    const folder = join(root, relative);
    const real = await Deno.realPath(folder);
    if (parents.includes(real)) return;
    for await (const entry of Deno.readDir(folder)) {
      if (entry.name.startsWith(".")) continue;
      const path = relative === "" ? entry.name : `${relative}/${entry.name}`;
      const isFolder = entry.isDirectory ||
        (entry.isSymlink && await isDirectory(join(root, path)));
      if (isFolder) await walk(path, [...parents, real]);
      else if (IMAGE_EXTENSIONS.has(extname(path).toLowerCase())) {
        images.push(path);
      } else others.push(path);
    }
  }
  await walk("", []);
  return { images: images.sort(), others: others.sort() };
}

/** A decoded image. */
export interface DecodedImage {
  /** Pixels 0 to 255, `[3, height, width]`. */
  planes: Uint8Array<ArrayBuffer>;
  /** Whether the three planes are equal. */
  isGrey: boolean;
  height: number;
  width: number;
}

/**
 * Reads one file as 8-bit sRGB, turned upright; of an animation the first frame. Transparency is dropped.
 *
 * @param options `size` crops to the centre square and resizes it; `channels` 1 makes it grey.
 * @throws {SyntaxError} If it cannot be decoded.
 */
export async function decodeImage(
  sharp: Sharp,
  path: string,
  { size, channels }: { size?: number; channels?: 1 | 3 } = {},
): Promise<DecodedImage> {
  // Bytes, not the path: native code would read it past Deno's permissions.
  const bytes = await Deno.readFile(path);
  try {
    let image = sharp(bytes).autoOrient();
    if (size !== undefined) image = image.resize(size, size, { fit: "cover" });
    if (channels === 1) image = image.greyscale();
    const { data, info } = await image.toColourspace("srgb").removeAlpha()
      .raw().toBuffer({ resolveWithObject: true });
    const { height, width } = info;
    const pixels = height * width, isRgb = info.channels === 3;
    const planes = new Uint8Array(3 * pixels);
    let isGrey = true;
    for (let p = 0, at = 0; p < pixels; p++, at += info.channels) { // interleaved to planar
      const r = data[at]!;
      const g = isRgb ? data[at + 1]! : r, b = isRgb ? data[at + 2]! : r;
      planes[p] = r;
      planes[pixels + p] = g;
      planes[2 * pixels + p] = b;
      if (r !== g || g !== b) isGrey = false;
    }
    return { planes, isGrey, height, width };
  } catch (error) {
    throw new SyntaxError(
      `Cannot decode image "${path}": ${(error as Error).message}`,
      { cause: error },
    );
  }
}
