import assert from "node:assert/strict";
import {
  classifierExtractor,
  type FeatureExtractor,
  INCEPTION_WEIGHTS,
  inceptionExtractor,
  InceptionV3,
  LeNet5,
  lenetExtractor,
  memory,
  noGrad,
  pretrainedLeNet,
  randomExtractor,
  type ResizeDialect,
  ResNet,
  Rng,
  scope,
  tensor,
} from "../../mod.ts";
import { permutation } from "../../tensor/philox.ts";
import { assertClose } from "../_check.ts";

/** Images of noise, `[count, C, H, W]`. */
function noise(count: number, size: number): Uint8Array<ArrayBuffer> {
  const images = new Uint8Array(count * size);
  for (let i = 0; i < images.length; i++) {
    images[i] = Math.imul(i ^ (i >>> 7), 0x9e3779b1) >>> 24; // Fibonacci hashing
  }
  return images;
}

/** Features must not depend on the number of images, nor on which others there are. */
async function assertIndependent(
  extractor: FeatureExtractor,
  count: number,
  shape: { channels: number; height: number; width: number },
): Promise<void> {
  const size = shape.channels * shape.height * shape.width;
  const images = noise(count, size);
  const order = permutation(count, [7, 0]);
  const mixed = new Uint8Array(images.length);
  order.forEach((from, to) =>
    mixed.set(images.subarray(from * size, (from + 1) * size), to * size)
  );
  // At once, although one call must not see the images of the other.
  const [all, other, one] = await Promise.all([
    extractor.extract(images, shape),
    extractor.extract(mixed, shape),
    extractor.extract(images.subarray(0, size), shape),
  ]);
  for (const kind of ["features", "logits"] as const) {
    if (!all[kind]) continue;
    const columns = all[kind].length / count;
    const row = (rows: Float32Array, i: number) =>
      rows.subarray(i * columns, (i + 1) * columns);
    order.forEach((from, to) =>
      assert.deepEqual(row(other[kind]!, to), row(all[kind]!, from), kind)
    );
    assert.deepEqual(one[kind], row(all[kind], 0), kind);
    assert.ok(new Set(all[kind]).size > columns, "images must differ");
  }
  assert.equal(all.features.length, count * extractor.dimensions);
}

Deno.test("randomExtractor() takes images of any size, each for itself", async () => {
  const extractor = await randomExtractor({ channels: 1 });
  assert.equal(extractor.name, "random");
  assert.equal(extractor.prefix, "Random-");
  assert.equal(extractor.dimensions, 256);
  // The same on all devices, for scores to compare.
  assert.equal(
    extractor.sha256,
    "fb9105e25360550910d97fa2a01d7297126a5a03ec5af48943b1344d9212c0dc",
  );
  const shape = { channels: 1, height: 9, width: 7 };
  await assertIndependent(extractor, extractor.batchSize + 3, shape);
  await assertIndependent(extractor, 3, { channels: 1, height: 8, width: 8 });
  const { features } = await extractor.extract(new Uint8Array(), shape);
  assert.equal(features.length, 0);
  const { bytesInUse } = memory();
  await extractor.extract(noise(150, 63), shape);
  assert.ok(memory().bytesInUse <= bytesInUse, "memory must not grow");
  extractor.dispose();
  const colour = await randomExtractor();
  assert.notEqual(colour.sha256, extractor.sha256);
  await assert.rejects(
    () => colour.extract(noise(1, 63), shape),
    /^RangeError: Cannot take features by random as images must be 3 × 9 × 7: they are 1 × 9 × 7$/,
  );
  colour.dispose();
});

Deno.test("lenetExtractor() gives what the network that comes with the project does", async () => {
  const extractor = await lenetExtractor("mnist");
  const { network, sha256, accuracy } = await pretrainedLeNet("mnist");
  const { name, prefix, resize, dimensions } = extractor;
  assert.deepEqual({ name, prefix, resize, dimensions }, {
    name: "lenet-mnist",
    prefix: "LeNet-",
    resize: "none",
    dimensions: 84,
  });
  assert.equal(extractor.sha256, sha256);
  assert.equal(extractor.accuracy, accuracy);
  assert.equal(extractor.classNames?.[7], "7");
  const images = noise(2, 784);
  const x = tensor(
    Float32Array.from(images, (byte) => byte / 127.5 - 1),
    [2, 1, 28, 28],
  );
  const found = await extractor.extract(images, {
    channels: 1,
    height: 28,
    width: 28,
  });
  const [features, logits] = noGrad(() => [
    network.features(x),
    network.forward(x),
  ]);
  await assertClose(found.features, features!, { atol: 1e-5 });
  await assertClose(found.logits!, logits!, { atol: 1e-5 });
  await assert.rejects(
    () =>
      extractor.extract(noise(1, 3072), {
        channels: 3,
        height: 32,
        width: 32,
      }),
    /^RangeError: Cannot take features by lenet-mnist as images must be 1 × 28 × 28: they are 3 × 32 × 32$/,
  );
  await assert.rejects(
    () =>
      extractor.extract(noise(1, 783), {
        channels: 1,
        height: 28,
        width: 28,
      }),
    /^TypeError: .*must be bytes \[N, 1, 28, 28\]: they are a Uint8Array of 783$/,
  );
  extractor.dispose();
});

Deno.test("classifierExtractor() takes large images a few at once", async () => {
  const tiny = await classifierExtractor(
    new ResNet({ depth: 8, channels: 1, inChannels: 1 }, new Rng(3)),
    {
      name: "tiny",
      classNames: ["a", "b"],
      shape: { channels: 1, height: 256, width: 512 },
    },
  );
  // 16 at once.
  await assertIndependent(tiny, 17, { channels: 1, height: 256, width: 512 });
  tiny.dispose();
});

Deno.test("classifierExtractor() takes any classifier, and hashes its weights", async () => {
  const shape = { channels: 1, height: 8, width: 8 };
  const facts = { name: "mine", shape, classNames: ["a", "b"] };
  const make = (seed: number) =>
    classifierExtractor(
      new LeNet5({ size: 8, padding: 4, numClasses: 2 }, new Rng(seed)),
      facts,
    );
  const [extractor, same, other] = await Promise.all([
    make(1),
    make(1),
    make(2),
  ]);
  assert.equal(extractor.prefix, "Classifier-");
  assert.equal(extractor.sha256, same.sha256);
  assert.notEqual(extractor.sha256, other.sha256);
  await assertIndependent(extractor, 70, shape);
  const resnet = await classifierExtractor(
    new ResNet({ depth: 8, channels: 4, inChannels: 1 }, new Rng(3)),
    { ...facts, accuracy: 0.5 },
  );
  assert.equal(resnet.dimensions, 16);
  assert.equal(resnet.accuracy, 0.5);
  await assertIndependent(resnet, 5, shape);
  for (const made of [extractor, same, other, resnet]) made.dispose();
});

Deno.test("inceptionExtractor() repeats grey images to RGB, and only FID's weights are called so", async () => {
  const network = new InceptionV3(new Rng(1));
  const weights = network.stateDict();
  const sha256 = "ab".repeat(32);
  const extractor = scope(() =>
    inceptionExtractor(weights, { sha256, name: "mine.pth", batchSize: 1 })
  );
  const { name, prefix, resize, dimensions } = extractor;
  assert.deepEqual({ name, prefix, resize, dimensions }, {
    name: "mine.pth",
    prefix: "Inception(abababab)-",
    resize: "pytorch-fid",
    dimensions: 2048,
  });
  const grey = noise(1, 12);
  const found = await extractor.extract(grey, {
    channels: 1,
    height: 3,
    width: 4,
  });
  const rgb = new Uint8Array([...grey, ...grey, ...grey]);
  const again = await extractor.extract(rgb, {
    channels: 3,
    height: 3,
    width: 4,
  });
  assert.deepEqual(again, found);
  assert.equal(found.features.length, 2048);
  assert.equal(found.logits!.length, 1008);
  assert.equal(found.spatial!.length, 7 * 17 * 17);
  const mean = found.features.reduce((a, b) => a + b) / 2048;
  assert.ok(mean > 1e-3 && mean < 1e3, String(mean));
  await assert.rejects(
    () => extractor.extract(grey, { channels: 4, height: 1, width: 3 }),
    /^RangeError: .*images must have 1 or 3 channels: they have 4$/,
  );
  extractor.dispose();

  const official = inceptionExtractor(weights, INCEPTION_WEIGHTS);
  assert.deepEqual([official.name, official.prefix], ["inception", ""]);
  official.dispose();
  const { "fc.bias": _, ...rest } = weights;
  assert.throws(
    () => inceptionExtractor(rest, { sha256 }),
    /^TypeError: .*missing \(1\): fc\.bias/,
  );
  assert.throws(
    () =>
      inceptionExtractor(weights, { sha256, resize: "pil" as ResizeDialect }),
    /^RangeError: Cannot resize as "pil"/,
  );
  network.dispose();
});
