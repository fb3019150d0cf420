import assert from "node:assert/strict";
import { Batches } from "../../datasets/batches.ts";
import { makeDataset, selectClasses } from "../../datasets/dataset.ts";
import { tinyDataset } from "./_files.ts";

Deno.test("Batches shows every image once per epoch, whatever the batch size", () => {
  const dataset = tinyDataset(11);
  for (const batchSize of [1, 3, 11, 30]) {
    const batches = new Batches(dataset, { batchSize, seed: 5 });
    const all: number[] = [];
    for (let step = 0; all.length < 55; step++) {
      assert.equal(batches.epochOf(step), Math.floor(all.length / 11));
      all.push(...batches.batch(step).indices);
    }
    const orders = new Set<string>();
    for (let epoch = 0; epoch < 5; epoch++) {
      const order = all.slice(epoch * 11, (epoch + 1) * 11);
      assert.deepEqual(
        [...order].sort((a, b) => a - b),
        Array.from({ length: 11 }, (_, i) => i),
      );
      orders.add(order.join());
    }
    assert.equal(orders.size, 5);
  }
});

Deno.test("Batches.batch() is a pure function of seed and step", () => {
  const dataset = tinyDataset(11, true);
  const options = { batchSize: 4, seed: 9 };
  const first = new Batches(dataset, options);
  const straight = Array.from({ length: 9 }, (_, step) => first.batch(step));
  const resumed = new Batches(dataset, options);
  for (const step of [7, 8, 2, 7]) {
    assert.deepEqual(resumed.batch(step), straight[step]);
  }
  const other = new Batches(dataset, { batchSize: 4, seed: 10 });
  assert.notDeepEqual(other.batch(0).indices, straight[0]!.indices);
});

Deno.test("Batches.batch() has the pixels and labels of its indices", () => {
  const dataset = selectClasses(tinyDataset(20), "cat, ant");
  const batches = new Batches(dataset, { batchSize: 6 });
  const { images, labels, indices } = batches.batch(3);
  indices.forEach((index, i) => {
    const original = 2 * index; // every second image is an ant or a cat
    assert.equal(images[i * 6], Math.fround(original / 127.5 - 1));
    assert.equal(images[i * 6 + 5], Math.fround(50 / 127.5 - 1));
    assert.equal(labels[i], original % 4 === 0 ? 0 : 1);
  });
});

Deno.test("Batches mirrors rows only where it may", () => {
  const count = (flip: boolean | undefined, horizontalFlip: boolean) => {
    const dataset = tinyDataset(50, horizontalFlip);
    const batches = new Batches(dataset, { batchSize: 50, flip });
    let mirrored = 0;
    for (let step = 0; step < 8; step++) {
      const { images, indices } = batches.batch(step);
      indices.forEach((index, i) => {
        const bytes = [...images.subarray(i * 6, i * 6 + 6)].map((x) =>
          Math.round((x + 1) * 127.5)
        );
        if (bytes[5] === 30) {
          mirrored++;
          assert.deepEqual(bytes, [20, 10, index, 50, 40, 30]);
        } else assert.deepEqual(bytes, [index, 10, 20, 30, 40, 50]);
      });
    }
    return mirrored;
  };
  assert.equal(count(undefined, false), 0);
  assert.equal(count(false, true), 0);
  const half = count(undefined, true); // of 400: standard deviation 10
  assert(half > 150 && half < 250, `${half} of 400 are mirrored`);
  assert.equal(count(true, false), half);
});

Deno.test("Batches.prefetch() changes no value", async () => {
  const dataset = tinyDataset(11, true);
  const plain = new Batches(dataset, { batchSize: 4 });
  const ahead = new Batches(dataset, { batchSize: 4 });
  await ahead.prefetch(2);
  const pending = ahead.prefetch(3); // taken before it is ready
  assert.deepEqual(ahead.batch(3), plain.batch(3));
  await pending;
  const batch = ahead.batch(2);
  assert.deepEqual(batch, plain.batch(2));
  batch.images.fill(7); // the caller's own
  assert.deepEqual(ahead.batch(2), plain.batch(2));
});

Deno.test("Batches.stepsOf() counts whole steps", () => {
  const batches = new Batches(tinyDataset(11), { batchSize: 4 });
  assert.deepEqual([0, 1, 2, 4].map((n) => batches.stepsOf(n)), [0, 3, 6, 11]);
});

Deno.test("Batches rejects bad sizes, seeds, steps and an empty data set", () => {
  const dataset = tinyDataset(3);
  for (const batchSize of [0, -1, 2.5, NaN]) {
    assert.throws(() => new Batches(dataset, { batchSize }), RangeError);
  }
  for (const seed of [-1, 0.5, 2 ** 32]) {
    assert.throws(
      () => new Batches(dataset, { batchSize: 1, seed }),
      RangeError,
    );
  }
  const batches = new Batches(dataset, { batchSize: 1 });
  for (const step of [-1, 0.5, 2 ** 32]) {
    assert.throws(() => batches.batch(step), RangeError);
  }
  assert.throws(
    () => new Batches(tinyDataset(0), { batchSize: 1 }),
    /no images/,
  );
});

Deno.test("Batches gives label 0 where there are no classes", () => {
  const dataset = makeDataset({
    images: new Uint8Array(5),
    channels: 1,
    height: 1,
    width: 1,
  });
  const { labels } = new Batches(dataset, { batchSize: 5 }).batch(0);
  assert.deepEqual([...labels], [0, 0, 0, 0, 0]);
});
