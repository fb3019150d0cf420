import assert from "node:assert/strict";
import { gzipSync } from "node:zlib";
import { loadFashionMnist, loadMnist } from "../../datasets/mnist.ts";
import { idx, pattern, withFolder, writeMnist } from "./_files.ts";

Deno.test("loadMnist() reads IDX files, compressed or not, in any standard layout", async () => {
  for (const gz of [true, false]) {
    for (const layout of ["mnist", "MNIST/raw", "."]) {
      await withFolder(async (dataDir) => {
        const labels = [3, 0, 9, 3];
        const pixels = await writeMnist(`${dataDir}/${layout}`, labels, { gz });
        const dataset = await loadMnist("train", { dataDir });
        assert.deepEqual(dataset.images, pixels);
        assert.deepEqual([...dataset.labels], labels);
        const { channels, height, width } = dataset;
        assert.deepEqual([channels, height, width], [1, 4, 3]);
        assert.deepEqual(dataset.warnings, ["4 of 60,000 training images"]);
        assert.equal(dataset.horizontalFlip, false);
      });
    }
  }
});

Deno.test("loadFashionMnist() names its classes and may be mirrored", async () => {
  await withFolder(async (dataDir) => {
    await writeMnist(`${dataDir}/fashion-mnist`, [9]);
    const dataset = await loadFashionMnist("train", { dataDir });
    assert.equal(dataset.classNames[9], "Ankle boot");
    assert.equal(dataset.horizontalFlip, true);
  });
});

Deno.test("loadMnist() names the missing file, the folders and the remedy", async () => {
  await withFolder(async (dataDir) => {
    const error = await loadMnist("test", { dataDir }).then(
      () => assert.fail(),
      (error: Error) => error,
    );
    assert(error.cause instanceof Deno.errors.NotFound);
    assert.match(error.message, /t10k-images-idx3-ubyte\.gz is not in/);
    assert(error.message.includes(`"${dataDir}"`));
    assert.match(
      error.message,
      /Remedy:.*--data-dir.*mnist\/train-images-idx3-ubyte\.gz/,
    );
  });
});

Deno.test("loadMnist() rejects files that are not what they should be", async () => {
  const images = idx(2051, [2, 2, 2], pattern(8));
  const labels = idx(2049, [2], Uint8Array.of(1, 2));
  const cases: [string, Uint8Array, Uint8Array, RegExp, string][] = [
    ["wrong magic", labels, labels, /must be 2051: it is 2049/, "SyntaxError"],
    [
      "text",
      new TextEncoder().encode("<html>…"),
      labels,
      /another kind/,
      "SyntaxError",
    ],
    ["no header", images.slice(0, 9), labels, /needs 16 bytes/, "SyntaxError"],
    ["empty", new Uint8Array(), labels, /has 0/, "SyntaxError"],
    [
      "short",
      images.slice(0, 20),
      labels,
      /needs 24 bytes: the file has 20/,
      "SyntaxError",
    ],
    [
      "long",
      Uint8Array.of(...images, 7),
      labels,
      /the file has 25/,
      "SyntaxError",
    ],
    [
      "bad label",
      images,
      idx(2049, [2], Uint8Array.of(1, 10)),
      /label 1 of .* is 10/,
      "RangeError",
    ],
    [
      "label count",
      images,
      idx(2049, [3], Uint8Array.of(1, 2, 3)),
      /2 images.*3 labels/,
      "RangeError",
    ],
    [
      "none",
      idx(2051, [0, 2, 2], pattern(0)),
      labels,
      /holds no images/,
      "RangeError",
    ],
    [
      "cut gzip",
      gzipSync(images).subarray(0, 25),
      labels,
      /gzip data is cut off or corrupt.*get it again/,
      "SyntaxError",
    ],
  ];
  for (const [what, imageFile, labelFile, message, name] of cases) {
    await withFolder(async (dataDir) => {
      await Deno.writeFile(`${dataDir}/train-images-idx3-ubyte.gz`, imageFile);
      await Deno.writeFile(`${dataDir}/train-labels-idx1-ubyte`, labelFile);
      await assert.rejects(
        loadMnist("train", { dataDir }),
        { name, message },
        what,
      );
    });
  }
});
