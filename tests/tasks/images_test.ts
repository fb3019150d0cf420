import { deepEqual, equal, ok, rejects, throws } from "node:assert/strict";
import { loadSharp } from "../../datasets/_sharp.ts";
import {
  animatedGif,
  defaultScale,
  encodePng,
  gridPixels,
  imageGrid,
  type Pixels,
  readPixels,
  saveGif,
  saveGrid,
  saveImages,
} from "../../tasks/_images.ts";

/** Pixel (y, x) of a picture. */
function at({ data, width, channels }: Pixels, y: number, x: number): number[] {
  const start = (y * width + x) * channels;
  return Array.from(data.subarray(start, start + channels));
}

Deno.test("imageGrid() puts grey pixels where they belong, enlarged without smoothing", async () => {
  // Three images of 2 × 3; pixel value = 100 · image + 10 · row + column.
  const bytes = Uint8Array.from(
    { length: 18 },
    (_, i) => 100 * Math.floor(i / 6) + 10 * Math.floor(i % 6 / 3) + i % 3,
  );
  const shape = { channels: 1, height: 2, width: 3 };
  const png = await imageGrid(bytes, {
    ...shape,
    columns: 2,
    padding: 1,
    scale: 2,
    background: 77,
  });
  const path = await Deno.makeTempFile({ suffix: ".png" });
  try {
    await Deno.writeFile(path, png);
    const grid = await readPixels(path);
    deepEqual(
      [grid.width, grid.height, grid.channels],
      [1 + 2 * (6 + 1), 1 + 2 * (4 + 1), 1],
    );
    for (let y = 0; y < grid.height; y++) {
      for (let x = 0; x < grid.width; x++) {
        const [row, dy] = [Math.floor((y - 1) / 5), (y - 1) % 5];
        const [column, dx] = [Math.floor((x - 1) / 7), (x - 1) % 7];
        const n = 2 * row + column;
        const inside = y > 0 && x > 0 && dy < 4 && dx < 6 && n < 3;
        const want = inside
          ? 100 * n + 10 * Math.floor(dy / 2) + Math.floor(dx / 2)
          : 77;
        deepEqual(at(grid, y, x), [want], `pixel ${y}, ${x}`);
      }
    }
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("imageGrid() interleaves colours", async () => {
  // Two images of 1 × 2, planes R, G, B.
  const bytes = Uint8Array.of(1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16);
  const grid = gridPixels(bytes, {
    channels: 3,
    height: 1,
    width: 2,
    padding: 0,
    scale: 1,
    columns: 1,
  });
  deepEqual(Array.from(grid.data), [1, 3, 5, 2, 4, 6, 11, 13, 15, 12, 14, 16]);
  const sharp = await loadSharp();
  const { data, info } = await sharp(await encodePng(grid)).raw()
    .toBuffer({ resolveWithObject: true });
  deepEqual([info.width, info.height, info.channels], [2, 2, 3]);
  deepEqual(Array.from(data), Array.from(grid.data));
});

Deno.test("gridPixels() makes small images large and the grid square", () => {
  deepEqual(
    [8, 28, 32, 48, 64].map((size) => defaultScale(size, size)),
    [6, 2, 2, 1, 1],
  );
  const shape = { channels: 1, height: 8, width: 8 };
  const grid = gridPixels(new Uint8Array(100 * 64), shape);
  deepEqual([grid.width, grid.height], [502, 502]);
  const part = gridPixels(new Uint8Array(100 * 64), { ...shape, count: 5 });
  deepEqual([part.width, part.height], [152, 102]);
});

Deno.test("gridPixels() refuses bytes that do not fit", () => {
  const shape = { channels: 1, height: 8, width: 8 };
  throws(() => gridPixels(new Uint8Array(65), shape), RangeError);
  throws(() => gridPixels(new Uint8Array(0), shape), RangeError);
  throws(
    () => gridPixels(new Uint8Array(64), { ...shape, count: 2 }),
    RangeError,
  );
  throws(
    () => gridPixels(new Uint8Array(64), { channels: 4, height: 4, width: 4 }),
    /1 or 3 channels: they have 4/,
  );
});

Deno.test("animatedGif() keeps frames and delays, grey or colour", async () => {
  const frame = (value: number, channels: 1 | 3): Pixels => ({
    data: new Uint8Array(16 * 8 * channels).fill(value),
    width: 16,
    height: 8,
    channels,
  });
  const gif = await animatedGif([frame(0, 1), frame(128, 3), frame(255, 1)], {
    delayMs: 100,
    lastDelayMs: 900,
  });
  const sharp = await loadSharp();
  const meta = await sharp(gif, { animated: true }).metadata();
  deepEqual([meta.pages, meta.pageHeight, meta.width], [3, 8, 16]);
  deepEqual([meta.delay, meta.loop], [[100, 100, 900], 0]);
  const { data, info } = await sharp(gif, { animated: true }).raw()
    .toBuffer({ resolveWithObject: true });
  const middle = (page: number) =>
    data[((8 * page + 4) * 16 + 8) * info.channels]!;
  deepEqual([middle(0), middle(1), middle(2)], [0, 128, 255]);
  await rejects(animatedGif([]), /without frames/);
  await rejects(
    animatedGif([frame(0, 1), { ...frame(0, 1), width: 8 }]),
    /frame 0 is 16 × 8, frame 1 is 8 × 8/,
  );
});

Deno.test("images are saved to files", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const bytes = Uint8Array.from({ length: 3 * 64 }, (_, i) => i);
    const shape = { channels: 1, height: 8, width: 8 };
    equal(await saveImages(`${folder}/out`, bytes, { ...shape, first: 7 }), 3);
    const second = await readPixels(`${folder}/out/00008.png`);
    deepEqual(second.data, bytes.slice(64, 128));
    await saveGrid(`${folder}/grid.png`, bytes, shape);
    const grid = await readPixels(`${folder}/grid.png`);
    await saveGif(`${folder}/a.gif`, [grid, grid]);
    ok((await Deno.stat(`${folder}/a.gif`)).size > 0);
    deepEqual(
      Array.from(Deno.readDirSync(folder), ({ name }) => name).sort(),
      ["a.gif", "grid.png", "out"],
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
