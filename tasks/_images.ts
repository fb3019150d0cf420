/**
 * Pictures of samples: grids, single images, animations. Pixels are bytes;
 * files are written atomically.
 *
 * @module
 */
import { loadSharp } from "../datasets/_sharp.ts";
import { writeAtomic } from "./_run_folder.ts";

/** A picture: bytes `[height, width, channels]`, 1 channel for grey, 3 for RGB. */
export interface Pixels {
  readonly data: Uint8Array<ArrayBuffer>;
  readonly width: number;
  readonly height: number;
  readonly channels: 1 | 3;
}

/** How images are laid out; sizes of the images in their own pixels. */
export interface GridOptions {
  /** Images to show; defaults to all. */
  readonly count?: number;
  /** 1 for grey, 3 for RGB. */
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  /** Images in a row; defaults to about a square. */
  readonly columns?: number;
  /** Pixels of the picture around every image. Default 2. */
  readonly padding?: number;
  /** Whole factor of enlargement, without smoothing; defaults to `defaultScale`. */
  readonly scale?: number;
  /** Grey value between the images, 0 to 255. Default 0. */
  readonly background?: number;
}

/** Enlarged images are at least this high and wide, so that 8 × 8 can be seen. */
const MIN_TILE_PIXELS = 48;

/**
 * The least whole enlargement that makes an image 48 pixels or larger.
 *
 * @param height Pixels of the image.
 * @param width Pixels of the image.
 */
export function defaultScale(height: number, width: number): number {
  return Math.max(1, Math.ceil(MIN_TILE_PIXELS / Math.min(height, width)));
}

/**
 * Lays images out in a grid, row by row; image (row, column) begins at
 * `padding + column · (width · scale + padding)`, likewise in height.
 *
 * @param bytes Pixels 0 to 255, `[N, C, H, W]`.
 * @param options The shape of `bytes`, and the layout.
 * @returns One picture.
 * @throws {RangeError} If the bytes do not fit the shape.
 */
export function gridPixels(bytes: Uint8Array, options: GridOptions): Pixels {
  const { channels, height, width, padding = 2, background = 0 } = options;
  if (channels !== 1 && channels !== 3) {
    throw new RangeError(
      `Cannot draw a grid as images must have 1 or 3 channels: they have ${channels}`,
    );
  }
  const imageBytes = channels * height * width;
  const count = options.count ?? bytes.length / imageBytes;
  if (
    !Number.isInteger(count) || count < 1 || count * imageBytes > bytes.length
  ) {
    throw new RangeError(
      `Cannot draw a grid as it must hold whole images of ${channels} × ${height} × ${width}: ${bytes.length} bytes for ${count}`,
    );
  }
  const {
    columns = Math.ceil(Math.sqrt(count)),
    scale = defaultScale(height, width),
  } = options;
  const rows = Math.ceil(count / columns);
  const tileWidth = width * scale;
  const tileHeight = height * scale;
  const gridWidth = columns * (tileWidth + padding) + padding;
  const gridHeight = rows * (tileHeight + padding) + padding;
  const data = new Uint8Array(gridWidth * gridHeight * channels)
    .fill(background);
  for (let n = 0; n < count; n++) {
    const left = padding + (n % columns) * (tileWidth + padding);
    const top = padding + Math.floor(n / columns) * (tileHeight + padding);
    for (let y = 0; y < tileHeight; y++) {
      const sourceRow = Math.floor(y / scale) * width;
      let to = ((top + y) * gridWidth + left) * channels;
      for (let x = 0; x < tileWidth; x++) {
        const source = n * imageBytes + sourceRow + Math.floor(x / scale);
        for (let c = 0; c < channels; c++) {
          data[to++] = bytes[source + c * height * width]!;
        }
      }
    }
  }
  return { data, width: gridWidth, height: gridHeight, channels };
}

/**
 * Encodes a picture as PNG; grey stays grey.
 *
 * @param pixels The picture.
 * @returns The bytes of the file.
 */
export async function encodePng(pixels: Pixels): Promise<Uint8Array> {
  const sharp = await loadSharp();
  const { data, width, height, channels } = pixels;
  const image = sharp(data, { raw: { width, height, channels } });
  return await (channels === 1 ? image.toColourspace("b-w") : image)
    .png({ compressionLevel: 9 }).toBuffer();
}

/**
 * A grid of images as PNG.
 *
 * @param bytes Pixels 0 to 255, `[N, C, H, W]`.
 * @param options As for `gridPixels`.
 * @returns The bytes of the file.
 */
export function imageGrid(
  bytes: Uint8Array,
  options: GridOptions,
): Promise<Uint8Array> {
  return encodePng(gridPixels(bytes, options));
}

/**
 * An animation as GIF, repeated for ever.
 *
 * @param frames Pictures of one size, such as grids of a run's samples.
 * @param options `delayMs` per frame, default 200; `lastDelayMs` of the last
 *   one, default 1500.
 * @returns The bytes of the file.
 * @throws {RangeError} If there are no frames, or their sizes differ.
 */
export async function animatedGif(
  frames: readonly Pixels[],
  options: { delayMs?: number; lastDelayMs?: number } = {},
): Promise<Uint8Array> {
  const { delayMs = 200, lastDelayMs = 1500 } = options;
  const first = frames[0];
  if (first === undefined) {
    throw new RangeError("Cannot make an animation without frames");
  }
  const { width, height } = first;
  const frameBytes = width * height * 3;
  const stacked = new Uint8Array(frameBytes * frames.length);
  frames.forEach((frame, i) => {
    if (frame.width !== width || frame.height !== height) {
      throw new RangeError(
        `Cannot make an animation as frames must have one size: frame 0 is ${width} × ${height}, frame ${i} is ${frame.width} × ${frame.height}`,
      );
    }
    stacked.set(rgb(frame), i * frameBytes);
  });
  const sharp = await loadSharp();
  return await sharp(stacked, {
    raw: {
      width,
      height: height * frames.length,
      channels: 3,
      pageHeight: height,
    },
    limitInputPixels: false, // the stack of all frames is tall
  }).gif({
    delay: frames.map((_, i) =>
      i === frames.length - 1 ? lastDelayMs : delayMs
    ),
    loop: 0,
  }).toBuffer();
}

function rgb({ data, channels }: Pixels): Uint8Array {
  if (channels === 3) return data;
  const out = new Uint8Array(data.length * 3);
  data.forEach((value, i) => out.fill(value, 3 * i, 3 * i + 3));
  return out;
}

/**
 * Reads a picture, such as a grid that is to be a frame of an animation.
 *
 * @param path A file in any format that sharp knows.
 * @returns Grey stays grey; transparency is dropped.
 * @throws {Error} If it cannot be read.
 */
export async function readPixels(path: string): Promise<Pixels> {
  const sharp = await loadSharp();
  const file = await Deno.readFile(path);
  const isGrey = (await sharp(file).metadata()).space === "b-w";
  const { data, info } = await sharp(file).removeAlpha()
    .toColourspace(isGrey ? "b-w" : "srgb").raw()
    .toBuffer({ resolveWithObject: true });
  return {
    data: new Uint8Array(data),
    width: info.width,
    height: info.height,
    channels: info.channels === 1 ? 1 : 3,
  };
}

/**
 * Writes a grid of images as a PNG file, atomically.
 *
 * @param path The file.
 * @param bytes Pixels 0 to 255, `[N, C, H, W]`.
 * @param options As for `gridPixels`.
 */
export async function saveGrid(
  path: string,
  bytes: Uint8Array,
  options: GridOptions,
): Promise<void> {
  await writeAtomic(path, await imageGrid(bytes, options));
}

/**
 * Writes each image as a PNG file of its own size: `00000.png`, `00001.png`, …
 *
 * @param folder Made if needed.
 * @param bytes Pixels 0 to 255, `[N, C, H, W]`.
 * @param options The shape of `bytes`; `first` is the number of the first file,
 *   default 0.
 * @returns The number of files.
 */
export async function saveImages(
  folder: string,
  bytes: Uint8Array,
  options: {
    channels: number;
    height: number;
    width: number;
    first?: number;
  },
): Promise<number> {
  const { channels, height, width, first = 0 } = options;
  await Deno.mkdir(folder, { recursive: true });
  const imageBytes = channels * height * width;
  const count = bytes.length / imageBytes;
  for (let n = 0; n < count; n++) {
    const image = bytes.subarray(n * imageBytes, (n + 1) * imageBytes);
    const name = `${String(first + n).padStart(5, "0")}.png`;
    await saveGrid(`${folder}/${name}`, image, {
      channels,
      height,
      width,
      padding: 0,
      scale: 1,
    });
  }
  return count;
}

/**
 * Writes an animation as a GIF file, atomically.
 *
 * @param path The file.
 * @param frames As for `animatedGif`.
 * @param options As for `animatedGif`.
 */
export async function saveGif(
  path: string,
  frames: readonly Pixels[],
  options: { delayMs?: number; lastDelayMs?: number } = {},
): Promise<void> {
  await writeAtomic(path, await animatedGif(frames, options));
}
