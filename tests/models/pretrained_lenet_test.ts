/**
 * The weights that come with the project. That their accuracy is what they say is checked on real data:
 * `tests/data/real_data.ts`.
 *
 * @module
 */
import assert from "node:assert/strict";
import {
  argMax,
  loadDigits,
  noGrad,
  normalize,
  PRETRAINED_LENETS,
  pretrainedLeNet,
  type PretrainedLeNetName,
  tensor,
  zeros,
} from "../../mod.ts";

Deno.test("pretrainedLeNet() gives LeNet-5 and says where it is from", async () => {
  const least = { mnist: 0.99, "fashion-mnist": 0.9, digits: 0.95 };
  const parameters = {
    mnist: 61_706,
    "fashion-mnist": 61_706,
    digits: 15_626,
  };
  const ids = new Set<string>();
  for (const dataset of PRETRAINED_LENETS) {
    const found = await pretrainedLeNet(dataset);
    assert.equal(found.dataset, dataset);
    assert.equal(found.network.parameterCount, parameters[dataset]);
    assert.equal(found.size, dataset === "digits" ? 8 : 28);
    assert.equal(found.network.featureCount, 84);
    assert.equal(found.classNames.length, 10);
    assert.ok(
      found.accuracy >= least[dataset] && found.accuracy < 1,
      `${dataset}: ${found.accuracy}`,
    );
    for (const sum of [found.trainChecksum, found.testChecksum, found.sha256]) {
      assert.match(sum, /^[0-9a-f]{64}$/);
      ids.add(sum);
    }
    const file = new URL(
      `../../models/weights/lenet-${dataset}.safetensors`,
      import.meta.url,
    );
    assert.ok((await Deno.stat(file)).size < 300_000);
    found.network.dispose();
  }
  assert.equal(ids.size, 9);
  assert.equal((await pretrainedLeNet("mnist")).classNames[7], "7");
  assert.equal(
    (await pretrainedLeNet("fashion-mnist")).classNames[1],
    "Trouser",
  );
});

Deno.test("pretrainedLeNet() tells a vertical bar from a ring", async () => {
  const { network } = await pretrainedLeNet("mnist");
  const draw = (ink: (i: number, j: number) => boolean) =>
    Float32Array.from(
      { length: 28 * 28 },
      (_, at) => ink(Math.floor(at / 28), at % 28) ? 1 : -1,
    );
  const bar = draw((i, j) => i >= 5 && i < 23 && j >= 13 && j < 16);
  const ring = draw((i, j) => {
    const r = Math.hypot((i - 13.5) / 9, (j - 13.5) / 7);
    return r < 1 && r > 0.7;
  });
  const x = tensor(new Float32Array([...bar, ...ring]), [2, 1, 28, 28]);
  const found = await noGrad(() => argMax(network.forward(x), { axis: 1 }))
    .toArray();
  assert.deepEqual(found, [1, 0]);
});

Deno.test("pretrainedLeNet() reads the digits as well as it says", async () => {
  const { network, accuracy, ...known } = await pretrainedLeNet("digits");
  const train = loadDigits("train"), test = loadDigits("test");
  assert.equal(known.trainChecksum, train.checksum);
  assert.equal(known.testChecksum, test.checksum);
  const x = tensor(normalize(test.images), [test.length, 1, 8, 8]);
  const found = await noGrad(() => argMax(network.forward(x), { axis: 1 }))
    .toArray() as number[];
  const right = found.filter((id, i) => id === test.labels[i]).length;
  assert.ok(Math.abs(right / test.length - accuracy) < 1e-6, `${right}`);
});

Deno.test("pretrainedLeNet() refuses names and images that it does not know", async () => {
  await assert.rejects(
    () => pretrainedLeNet("fashion-minst" as PretrainedLeNetName),
    /^RangeError: Cannot load a LeNet-5 for "fashion-minst": did you mean "fashion-mnist"\?/,
  );
  await assert.rejects(
    () => pretrainedLeNet("cifar10" as PretrainedLeNetName),
    /There are weights for mnist, fashion-mnist, digits/,
  );
  const { network } = await pretrainedLeNet("mnist");
  for (const shape of [[2, 3, 28, 28], [2, 1, 32, 32]]) {
    assert.throws(
      () => network.features(zeros(shape)),
      /^TypeError: .*images must be \[N, 1, 28, 28\]/,
    );
  }
});
