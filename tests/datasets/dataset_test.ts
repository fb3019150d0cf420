import assert from "node:assert/strict";
import {
  checkRange,
  makeDataset,
  normalize,
  resolveClasses,
  selectClasses,
  takeImages,
  toBytes,
} from "../../datasets/dataset.ts";
import { tinyDataset } from "./_files.ts";

Deno.test("normalize() and toBytes() are inverse on all bytes", () => {
  const bytes = Uint8Array.from({ length: 256 }, (_, i) => i);
  const floats = normalize(bytes);
  assert.equal(floats[0], -1);
  assert.equal(floats[255], 1);
  assert.equal(floats[128], Math.fround(128 / 127.5 - 1));
  assert.deepEqual(toBytes(floats), bytes);
});

Deno.test("toBytes() clamps and rounds", () => {
  assert.deepEqual(
    [...toBytes([-7, -1, -0.9999, 0, 0.002, 1, 1.5, NaN])],
    [0, 0, 0, 128, 128, 255, 255, 0],
  );
});

Deno.test("normalize() rejects an output of another length", () => {
  assert.throws(
    () => normalize(new Uint8Array(3), new Float32Array(2)),
    RangeError,
  );
});

Deno.test("checkRange() accepts [-1, 1] and says what else it found", () => {
  checkRange(new Float32Array([-1, 0.5, 1]));
  checkRange(new Float32Array([-0.2, 1 + 1e-6]));
  checkRange(new Uint8Array([0, 255]), 0, 255);
  const message = (values: number[]) => {
    try {
      checkRange(values, -1, 1, "batch");
    } catch (error) {
      assert(error instanceof RangeError);
      return error.message;
    }
  };
  assert.match(message([0, 17, 255])!, /batch.*found 0 to 255.*normalize/);
  assert.match(message([0, 0.25, 1])!, /found 0 to 1.*2x - 1/);
  assert.match(message([-3, 0])!, /\[-1, 1\]: found -3 to 0$/);
  assert.match(message([0, NaN])!, /value 1 is NaN/);
  assert.match(message([])!, /none/);
});

Deno.test("makeDataset() derives the rest and checks shapes and labels", () => {
  const dataset = tinyDataset(5);
  assert.equal(dataset.length, 5);
  assert.deepEqual(dataset.classes, [0, 1, 2, 3]);
  assert.match(dataset.checksum, /^[0-9a-f]{64}$/);
  const { checksum: _, ...parts } = dataset;
  assert.throws(
    () => makeDataset({ ...parts, images: new Uint8Array(7) }),
    /7 bytes is not a multiple of 6/,
  );
  assert.throws(
    () => makeDataset({ ...parts, labels: new Uint8Array(4) }),
    /5 images, 4 labels/,
  );
  assert.throws(
    () => makeDataset({ ...parts, labels: new Uint8Array([0, 1, 4, 0, 0]) }),
    /label 2 is 4/,
  );
  assert.deepEqual(
    makeDataset({
      images: new Uint8Array(8),
      channels: 1,
      height: 2,
      width: 2,
    }).labels,
    new Uint8Array(2),
  );
});

Deno.test("Dataset.checksum depends on pixels and labels only", () => {
  const dataset = tinyDataset(5);
  assert.equal(
    tinyDataset(5, true).checksum,
    dataset.checksum,
  );
  const labels = new Uint8Array(5);
  assert.notEqual(
    makeDataset({ ...dataset, labels }).checksum,
    dataset.checksum,
  );
});

Deno.test("selectClasses() keeps ids and maps them to dense ones", () => {
  const dataset = tinyDataset(10);
  const two = selectClasses(dataset, ["sea cow", 1]);
  assert.deepEqual(two.classes, [1, 3]);
  assert.deepEqual([...two.labels], [1, 3, 1, 3, 1]);
  assert.deepEqual([...two.labelToDense], [[1, 0], [3, 1]]);
  assert.equal(two.classNames.length, 4);
  assert.deepEqual([0, 6, 12, 18, 24].map((p) => two.images[p]), [
    1,
    3,
    5,
    7,
    9,
  ]);
  assert.notEqual(two.checksum, dataset.checksum);
  for (const same of ["bee,Sea-Cow", "1, 3", ["SEA_COW", "bee", 3]]) {
    assert.equal(selectClasses(dataset, same).checksum, two.checksum);
  }
  assert.equal(selectClasses(dataset, "0,1,2,3"), dataset);
  assert.deepEqual([...selectClasses(two, "bee").labels], [1, 1, 1]);
});

Deno.test("selectClasses() rejects what is not there", () => {
  const dataset = tinyDataset(10);
  assert.throws(() => selectClasses(dataset, "bea"), {
    name: "RangeError",
    message:
      'Unknown class "bea" of custom: did you mean "bee"? Classes are 0 ant, 1 bee, 2 cat, 3 sea cow',
  });
  assert.throws(() => selectClasses(dataset, [4]), /Unknown class "4"/);
  assert.throws(() => selectClasses(dataset, [-1]), /Unknown class "-1"/);
  assert.throws(() => selectClasses(dataset, [0.5]), /Unknown class "0.5"/);
  assert.throws(() => selectClasses(dataset, "cat,"), /Unknown class ""/);
  assert.throws(() => selectClasses(dataset, []), /list is empty/);
  assert.throws(
    () => selectClasses(selectClasses(dataset, "cat"), "ant"),
    /filtered out before: it holds cat/,
  );
  assert.throws(
    () => selectClasses(tinyDataset(2), "cat"),
    /no train images/,
  );
});

Deno.test("resolveClasses() prefers names to ids and to parts", () => {
  const names = ["one, two", "0", "two"];
  assert.deepEqual(resolveClasses(names, "one, two", "x"), [0]);
  assert.deepEqual(resolveClasses(names, "0,two", "x"), [1, 2]);
  assert.deepEqual(resolveClasses(names, [0], "x"), [0]);
  assert.throws(() => resolveClasses([], "cat", "x"), /it has none/);
});

Deno.test("takeImages() keeps the first images", () => {
  const dataset = tinyDataset(10);
  const three = takeImages(dataset, 3);
  assert.equal(three.length, 3);
  assert.deepEqual(three.images, dataset.images.subarray(0, 18));
  assert.equal(takeImages(dataset, 99), dataset);
  for (const limit of [0, -1, 1.5, NaN]) {
    assert.throws(() => takeImages(dataset, limit), RangeError);
  }
});
