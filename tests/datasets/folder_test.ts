import assert from "node:assert/strict";
import { loadSharp } from "../../datasets/_sharp.ts";
import { dirname } from "../../datasets/_path.ts";
import { type FolderOptions, loadFolder } from "../../datasets/folder.ts";
import { withFolder } from "./_files.ts";

/** Writes an image of one colour, 4 wide and 3 high unless told. */
async function paint(
  path: string,
  rgb: [number, number, number],
  [width, height] = [4, 3],
): Promise<void> {
  await Deno.mkdir(dirname(path), { recursive: true });
  const sharp = await loadSharp();
  const pixels = new Uint8Array(width! * height! * 3);
  for (let i = 0; i < pixels.length; i++) pixels[i] = rgb[i % 3]!;
  await sharp(pixels, { raw: { width: width!, height: height!, channels: 3 } })
    .toFile(path);
}

Deno.test("loadFolder() takes sub-folders as classes, in sorted order", async () => {
  await withFolder(async (folder) => {
    await paint(`${folder}/frog/b.png`, [1, 2, 3]);
    await paint(`${folder}/cat/deep/z.webp`, [200, 200, 200]);
    await paint(`${folder}/frog/a.png`, [4, 5, 6]);
    await Deno.writeTextFile(`${folder}/frog/notes.txt`, "no image");
    await Deno.writeTextFile(`${folder}/frog/.hidden.png`, "no image");
    const dataset = await loadFolder(folder);
    assert.deepEqual(dataset.classNames, ["cat", "frog"]);
    assert.deepEqual([...dataset.labels], [0, 1, 1]);
    const { channels, height, width } = dataset;
    assert.deepEqual([channels, height, width], [3, 3, 4]);
    const planes = (rgb: number[]) => rgb.flatMap((v) => Array(12).fill(v));
    assert.deepEqual(
      [...dataset.images.subarray(36)],
      [...planes([4, 5, 6]), ...planes([1, 2, 3])],
    );

    const frogs = await loadFolder(folder, { classes: "frog" });
    assert.deepEqual([...frogs.labels], [1, 1]);
    assert.deepEqual(frogs.classes, [1]);
    assert.equal((await loadFolder(folder, { limit: 2 })).length, 2);
    await assert.rejects(
      loadFolder(folder, { classes: "forg" }),
      /did you mean "frog"/,
    );
  });
});

Deno.test("loadFolder() finds grey images and images without classes", async () => {
  await withFolder(async (folder) => {
    await paint(`${folder}/a.png`, [7, 7, 7]);
    await paint(`${folder}/b.png`, [9, 9, 9]);
    const grey = await loadFolder(folder);
    assert.equal(grey.channels, 1);
    assert.deepEqual(grey.classNames, []);
    assert.deepEqual([...grey.images], [
      ...Array(12).fill(7),
      ...Array(12).fill(9),
    ]);
    assert.equal((await loadFolder(folder, { channels: 3 })).channels, 3);
    await assert.rejects(loadFolder(folder, { classes: "cat" }), /has none/);

    await paint(`${folder}/c/c.png`, [1, 2, 3]);
    const mixed = await loadFolder(folder);
    assert.equal(mixed.channels, 3);
    assert.deepEqual(mixed.classNames, []);
    assert.match(mixed.warnings[0]!, /no classes/);
    assert.equal((await loadFolder(folder, { channels: 1 })).channels, 1);
  });
});

Deno.test("loadFolder() wants one size, or makes it", async () => {
  await withFolder(async (folder) => {
    await paint(`${folder}/a.png`, [7, 7, 7], [8, 6]);
    await paint(`${folder}/b.jpg`, [9, 9, 9], [5, 9]);
    await assert.rejects(loadFolder(folder), {
      name: "RangeError",
      message: /a\.png" is 8×6, .*b\.jpg" is 5×9.*size/,
    });
    const dataset = await loadFolder(folder, { size: 4 });
    const { length, height, width } = dataset;
    assert.deepEqual([length, height, width], [2, 4, 4]);
  });
});

Deno.test("loadFolder() picks the split where there are both", async () => {
  await withFolder(async (folder) => {
    await paint(`${folder}/train/x/a.png`, [7, 7, 7]);
    await paint(`${folder}/test/x/b.png`, [9, 9, 9]);
    assert.equal((await loadFolder(folder)).images[0], 7);
    assert.equal((await loadFolder(folder, { split: "test" })).images[0], 9);
  });
});

Deno.test("loadFolder() says what is wrong with a folder", async () => {
  await withFolder(async (folder) => {
    const rejects = (
      path: string,
      name: string,
      message: RegExp,
      options: FolderOptions = {},
    ) => assert.rejects(loadFolder(path, options), { name, message });
    await rejects(`${folder}/none`, "Error", /no such folder/);
    await rejects(folder, "Error", /no images in it/);
    await Deno.writeTextFile(`${folder}/a.png`, "this is text");
    await rejects(folder, "SyntaxError", /Cannot decode image .*a\.png/);
    await rejects(folder, "RangeError", /Size/, { size: 0 });
    await rejects(folder, "RangeError", /Limit/, { limit: 0 });
  });
});
