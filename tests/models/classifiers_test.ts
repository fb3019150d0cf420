import assert from "node:assert/strict";
import {
  Adam,
  capture,
  crossEntropy,
  gradients,
  type ImageClassifier,
  LeNet5,
  ResNet,
  ResNetBlock,
  Rng,
  scope,
  SmallCnn,
  tensor,
} from "../../mod.ts";
import { assertClose } from "../_check.ts";
import { type Image, image, map, Plain, plus, relu } from "./_plain.ts";

/** The largest of each 2×2. */
function pooled(x: Image): Image {
  const [c, height, width] = x.shape;
  const at = (c: number, i: number, j: number) =>
    x.data[(c * height + i) * width + j]!;
  return image(
    [c, Math.floor(height / 2), Math.floor(width / 2)],
    (c, i, j) =>
      Math.max(
        ...[0, 1, 2, 3].map((k) => at(c, 2 * i + (k >> 1), 2 * j + (k & 1))),
      ),
  );
}

const flat = (x: Image): Image => ({ ...x, shape: [x.data.length, 1, 1] });

Deno.test("Classifiers have as many parameters as their sources", () => {
  const count = (net: ImageClassifier) => {
    const { parameterCount } = net;
    net.dispose();
    return parameterCount;
  };
  const rng = new Rng(0);
  assert.equal(count(new LeNet5({}, rng)), 61_706);
  assert.equal(count(new LeNet5({ padding: 0 }, rng)), 44_426);
  assert.equal(count(new SmallCnn({}, rng)), 159_254);
  assert.equal(count(new ResNet({}, rng)), 269_722);
  assert.equal(count(new ResNet({ depth: 8 }, rng)), 75_290);
});

Deno.test("LeNet5 and SmallCnn compute what plain loops do", async () => {
  const rng = new Rng(1);
  for (const Net of [LeNet5, SmallCnn]) {
    const size = 14; // 14 + 4 → 14 → 7 → 3 → 1, and 14 → 12 → 6 → 4 → 2 → 1
    const net = new Net({ size, numClasses: 3, inChannels: 2 }, rng);
    const x = rng.normal([1, 2, size, size]), values = await x.data();
    const plain = await Plain.of(net);
    let h = image(
      [2, size, size],
      (c, i, j) => values[(c * size + i) * size + j]!,
    );
    if (Net === LeNet5) {
      h = pooled(relu(plain.conv(h, "conv1", { padding: 2 })));
      h = flat(pooled(relu(plain.conv(h, "conv2"))));
      h = relu(plain.linear(h, "fc1.weight", "fc1.bias"));
      h = relu(plain.linear(h, "fc2.weight", "fc2.bias"));
      await assertClose(net.features(x), h.data, { atol: 1e-5 });
      h = plain.linear(h, "fc3.weight", "fc3.bias");
    } else {
      h = pooled(relu(plain.conv(h, "conv1")));
      h = relu(plain.conv(h, "conv2"));
      h = flat(pooled(relu(plain.conv(h, "conv3"))));
      h = relu(plain.linear(h, "fc1.weight", "fc1.bias"));
      await assertClose(net.features(x), h.data, { atol: 1e-5 });
      h = plain.linear(h, "fc2.weight", "fc2.bias");
    }
    await assertClose(net.forward(x), h.data, { atol: 1e-5 });
  }
});

Deno.test("ResNetBlock adds every other pixel to what its convolutions make", async () => {
  const rng = new Rng(2);
  const block = new ResNetBlock(2, 5, 2, rng);
  const x = rng.normal([1, 2, 6, 4]), values = await x.data();
  const plain = await Plain.of(block);
  const start = image([2, 6, 4], (c, i, j) => values[(c * 6 + i) * 4 + j]!);
  // At first the running statistics are 0 and 1.
  const normal = (x: Image) => map(x, (v) => v / Math.sqrt(1 + 1e-5));
  const geometry = { padding: 1 };
  const h = relu(
    normal(plain.conv(start, "conv1", { ...geometry, stride: 2 })),
  );
  const skipped = image(
    [5, 3, 2],
    (c, i, j) =>
      c === 1 || c === 2 ? values[((c - 1) * 6 + 2 * i) * 4 + 2 * j]! : 0,
  );
  const want = relu(plus(normal(plain.conv(h, "conv2", geometry)), skipped));
  await assertClose(block.forward(x), want.data, { atol: 1e-5 });
});

Deno.test("Classifiers explain sizes that do not fit", () => {
  const rng = new Rng(3);
  assert.throws(() => new LeNet5({ size: 8 }, rng), /leave a pixel: size is 8/);
  assert.throws(() => new SmallCnn({ size: 12 }, rng), RangeError);
  assert.throws(() => new ResNet({ depth: 18 }, rng), /8, 14, 20/);
  assert.throws(
    () => new SmallCnn({}, rng).forward(rng.normal([1, 1, 32, 32])),
    /images must be \[N, 1, 28, 28\]: x is \[1, 1, 32, 32\]/,
  );
  assert.throws(
    () => new ResNet({ depth: 8 }, rng).forward(rng.normal([1, 1, 8, 8])),
    TypeError,
  );
});

Deno.test("Classifiers learn a batch by heart, captured", async () => {
  const rng = new Rng(4);
  const labels = tensor([0, 1, 2, 3, 4, 0, 1, 2], undefined, "i32");
  const nets: [ImageClassifier, number][] = [
    [new LeNet5({ inChannels: 3, size: 14 }, rng), 14],
    [new SmallCnn({ inChannels: 3, size: 14 }, rng), 14],
    [new ResNet({ depth: 8, channels: 8 }, rng), 8],
  ];
  for (const [net, size] of nets) {
    const x = rng.normal([8, 3, size, size]);
    const optimizer = new Adam(net.parameters(), { learningRate: 3e-3 });
    const step = capture(() => {
      const loss = crossEntropy(net.forward(x, { training: true }), labels);
      optimizer.step(gradients(loss, net.parameters()));
      return { loss };
    }, { rows: 80 });
    for (let i = 0; i < 80; i++) step.replay({});
    const curve = (await step.outputs()).map(({ loss }) => loss[0]!);
    assert.ok(
      curve.at(-1)! < 0.1 * curve[0]!,
      `${net.constructor.name}: ${curve[0]} to ${curve.at(-1)}`,
    );
    scope(() => assert.deepEqual(net.features(x).shape, [8, net.featureCount]));
    step.dispose();
    net.dispose();
  }
});
