import assert from "node:assert/strict";
import { cacheDir } from "../../datasets/cache.ts";
import { join } from "../../datasets/_path.ts";
import { loadSharp } from "../../datasets/_sharp.ts";
import {
  type DatasetName,
  listDatasets,
  loadDataset,
  parseSelector,
} from "../../datasets/load.ts";
import { cifarRows, withFolder, writeMnist } from "./_files.ts";

Deno.test("loadDataset() filters classes, then limits", async () => {
  const threes = await loadDataset("digits", { classes: [3], limit: 7 });
  assert.deepEqual([...threes.labels], Array(7).fill(3));
  await withFolder(async (dataDir) => {
    await writeMnist(`${dataDir}/mnist`, [1, 2, 1]);
    await writeMnist(`${dataDir}/fashion-mnist`, [4]);
    await Deno.writeFile(`${dataDir}/test_batch.bin`, cifarRows([3, 6, 3]));
    const load = (name: DatasetName, more = {}) =>
      loadDataset(name, { dataDir, ...more });
    assert.equal((await load("mnist", { classes: "1" })).length, 2);
    assert.equal((await load("fashion-mnist")).title, "Fashion-MNIST");
    const cats = await load("cifar10", { split: "test", classes: "cat" });
    assert.equal(cats.length, 2);
    assert.deepEqual(cats.warnings, ["3 of 10,000 test images"]);
  });
});

Deno.test("loadDataset() reads imagenet64 and folders", async () => {
  await withFolder(async (dataDir) => {
    const sharp = await loadSharp();
    for (
      const path of ["train/n01/a.png", "train/n02/b.png", "val/n01/c.png"]
    ) {
      const file = join(dataDir, "imagenet64", path);
      await Deno.mkdir(join(file, ".."), { recursive: true });
      await sharp({
        create: { width: 64, height: 64, channels: 3, background: "#808080" },
      }).toFile(file);
    }
    const train = await loadDataset("imagenet64", { dataDir });
    assert.deepEqual(
      [train.length, train.channels, train.width, train.horizontalFlip],
      [2, 3, 64, true],
    );
    const test = await loadDataset("imagenet64", { dataDir, split: "test" });
    assert.equal(test.length, 1);
    const folder = await loadDataset(`folder:${dataDir}/imagenet64/train`, {
      size: 16,
      classes: "n02",
    });
    assert.deepEqual([folder.length, folder.width], [1, 16]);
    await assert.rejects(
      loadDataset("imagenet64", { cacheDir: `${dataDir}/x` }),
      /cannot be downloaded: give --data-dir/,
    );
  });
});

Deno.test("loadDataset() names the nearest data set", async () => {
  const message = async (name: string, options = {}) =>
    await loadDataset(name as DatasetName, options).then(
      () => assert.fail(),
      (error: Error) => {
        assert(error instanceof RangeError);
        return error.message;
      },
    );
  assert.match(await message("cifar-10"), /did you mean "cifar10"\?/);
  assert.match(await message("fashion"), /did you mean "fashion-mnist"\?/);
  assert.match(await message("quux"), /Unknown data set "quux": data sets are/);
  assert.match(await message("folder:"), /folder:PATH/);
  assert.match(await message("digits", { split: "tst" }), /mean "test"\?/);
  assert.match(await message("digits", { size: 32 }), /size applies only/);
});

Deno.test("listDatasets() agrees with what is loaded", async () => {
  const names = listDatasets().map((info) => info.name);
  assert.equal(new Set(names).size, names.length);
  const info = listDatasets().find(({ name }) => name === "digits")!;
  const train = await loadDataset("digits");
  const test = await loadDataset("digits", { split: "test" });
  assert.deepEqual(
    [info.trainCount, info.testCount, info.classCount, ...info.shape],
    [train.length, test.length, train.classes.length, 1, 8, 8],
  );
});

Deno.test("parseSelector() reads all forms", () => {
  assert.deepEqual(parseSelector("digits"), { name: "digits" });
  assert.deepEqual(parseSelector("cifar10/test"), {
    name: "cifar10",
    split: "test",
  });
  assert.deepEqual(parseSelector("cifar10/test:cat, frog"), {
    name: "cifar10",
    split: "test",
    classes: ["cat", "frog"],
  });
  assert.deepEqual(parseSelector("fashion-mnist:T-shirt/top"), {
    name: "fashion-mnist",
    classes: ["T-shirt/top"],
  });
  assert.deepEqual(parseSelector("folder:C:/a,b/test"), {
    name: "folder:C:/a,b/test",
  });
});

Deno.test("parseSelector() rejects what is no selector", () => {
  for (const text of ["", "cifar10/", "cifar10:", "cifar10:cat,", ":cat"]) {
    assert.throws(() => parseSelector(text), SyntaxError, text);
  }
  for (const text of ["cifar11", "cifar10/validation", "folder:"]) {
    assert.throws(() => parseSelector(text), RangeError, text);
  }
});

Deno.test("cacheDir() follows the environment", () => {
  const keys = ["DENOISE_DATA", "XDG_CACHE_HOME", "HOME"] as const;
  const before = keys.map((key) => [key, Deno.env.get(key)] as const);
  try {
    Deno.env.set("HOME", "/h");
    Deno.env.set("XDG_CACHE_HOME", "/x");
    Deno.env.set("DENOISE_DATA", "/d");
    assert.equal(cacheDir(), "/d");
    Deno.env.delete("DENOISE_DATA");
    assert.equal(cacheDir(), join("/x", "denoise"));
    Deno.env.delete("XDG_CACHE_HOME");
    assert.equal(cacheDir(), join("/h", ".cache", "denoise"));
  } finally {
    for (const [key, value] of before) {
      if (value === undefined) Deno.env.delete(key);
      else Deno.env.set(key, value);
    }
  }
});
