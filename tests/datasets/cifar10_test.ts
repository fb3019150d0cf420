import assert from "node:assert/strict";
import { gzipSync } from "node:zlib";
import { loadCifar10 } from "../../datasets/cifar10.ts";
import { cifarRows, pattern, tar, withFolder } from "./_files.ts";

Deno.test("loadCifar10() joins partial files and says how many images there are", async () => {
  await withFolder(async (dataDir) => {
    await Deno.mkdir(`${dataDir}/cifar-10`);
    const batch = (n: number) => `${dataDir}/cifar-10/data_batch_${n}.bin`;
    await Deno.writeFile(batch(1), cifarRows([3, 6]));
    await Deno.writeFile(`${batch(2)}.gz`, gzipSync(cifarRows([9])));
    const dataset = await loadCifar10("train", { dataDir });
    assert.deepEqual([...dataset.labels], [3, 6, 9]);
    const expected = [pattern(3072, 0), pattern(3072, 1), pattern(3072, 0)];
    assert.deepEqual(
      dataset.images,
      Uint8Array.from(expected.flatMap((x) => [...x])),
    );
    assert.deepEqual(dataset.warnings, ["3 of 50,000 training images"]);
    assert.equal(dataset.classNames[3], "cat");
    await assert.rejects(
      loadCifar10("test", { dataDir }),
      /cifar-10-binary\.tar\.gz .*is not in.*test_batch\.bin/,
    );
  });
});

Deno.test("loadCifar10() reads the official archive", async () => {
  await withFolder(async (dataDir) => {
    const archive = tar({
      "cifar-10-batches-bin/test_batch.bin": cifarRows([1, 2]),
      "cifar-10-batches-bin/readme.html": pattern(700),
      "cifar-10-batches-bin/data_batch_2.bin": cifarRows([5]),
      "cifar-10-batches-bin/data_batch_1.bin": cifarRows([4]),
    });
    const path = `${dataDir}/cifar-10-binary.tar.gz`;
    await Deno.writeFile(path, gzipSync(archive));
    const train = await loadCifar10("train", { dataDir });
    assert.deepEqual([...train.labels], [4, 5]);
    const test = await loadCifar10("test", { dataDir });
    assert.deepEqual([...test.labels], [1, 2]);
    assert.deepEqual(test.images.subarray(3072), pattern(3072, 1));

    const bad: [Uint8Array, RegExp][] = [
      [archive.slice(0, 5000), /archive is cut off/],
      [pattern(2000), /tar archive: bad header at byte 0/],
      [tar({ "a.txt": pattern(3) }), /must hold data_batch_1.*holds a\.txt/],
    ];
    for (const [bytes, message] of bad) {
      await Deno.writeFile(path, gzipSync(bytes));
      await assert.rejects(loadCifar10("train", { dataDir }), {
        name: "SyntaxError",
        message,
      });
    }
  });
});

Deno.test("loadCifar10() rejects files that are not what they should be", async () => {
  const cases: [string, Uint8Array, RegExp, string][] = [
    [
      "part of a row",
      cifarRows([1, 2]).slice(0, 6000),
      /no multiple of 3073/,
      "SyntaxError",
    ],
    ["empty", new Uint8Array(), /0 bytes/, "SyntaxError"],
    ["CIFAR-100", new Uint8Array(3074), /CIFAR-100/, "SyntaxError"],
    [
      "bad label",
      cifarRows([1, 10]),
      /row 1 of .*test_batch\.bin" has label 10/,
      "RangeError",
    ],
    [
      "corrupt gzip",
      gzipSync(cifarRows([1])).fill(0, 40, 60),
      /gzip/,
      "SyntaxError",
    ],
  ];
  for (const [what, bytes, message, name] of cases) {
    await withFolder(async (dataDir) => {
      await Deno.writeFile(`${dataDir}/test_batch.bin`, bytes);
      await assert.rejects(
        loadCifar10("test", { dataDir }),
        { name, message },
        what,
      );
    });
  }
});
