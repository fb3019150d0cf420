import assert from "node:assert/strict";
import {
  concat,
  type LabelledFeatures,
  linearProbe,
  nearestNeighbors,
  Rng,
  tensor,
} from "../../mod.ts";

/** Clouds of `n` points around each centre, of the class of its place. */
function clouds(
  centres: readonly (readonly number[])[],
  n: number,
  std: number,
  seed: number,
): LabelledFeatures {
  const rng = new Rng(seed);
  const parts = centres.map((centre) =>
    concat(centre.map((at) => rng.normal([n, 1], at, std)), 1)
  );
  return {
    features: concat(parts),
    labels: Int32Array.from(
      { length: n * centres.length },
      (_, i) => Math.floor(i / n),
    ),
  };
}

const CORNERS = [[0, 0, 5], [4, 0, 5], [0, 4, 5]];

Deno.test("probes find classes that are apart, all of them", async () => {
  const train = clouds(CORNERS, 67, 0.3, 1), test = clouds(CORNERS, 20, 0.3, 2);
  assert.deepEqual(await linearProbe(train, test), { train: 1, test: 1 });
  assert.deepEqual(await nearestNeighbors(train, test), [1, 1]);
});

Deno.test("probes of features without classes are right by chance", async () => {
  const same = [[1, 2], [1, 2]];
  const train = clouds(same, 300, 1, 3), test = clouds(same, 300, 1, 4);
  // Three standard errors of 600 guesses.
  const near = (share: number) => Math.abs(share - 0.5) < 0.062;
  assert.ok(near((await linearProbe(train, test)).test));
  assert.ok((await nearestNeighbors(train, test)).every(near));
});

Deno.test("linearProbe() cannot tell what no plane divides, but neighbours can", async () => {
  const diagonal = (seed: number) => {
    const { features } = clouds(
      [[0, 0], [1, 1], [0, 1], [1, 0]],
      50,
      0.05,
      seed,
    );
    const labels = Int32Array.from({ length: 200 }, (_, i) => Number(i >= 100));
    return { features, labels };
  };
  const { test } = await linearProbe(diagonal(5), diagonal(6));
  assert.ok(test < 0.8, String(test));
  assert.deepEqual(await nearestNeighbors(diagonal(5), diagonal(6)), [1, 1]);
});

Deno.test("linearProbe() does not mind the units of dimensions, or one that is constant", async () => {
  const train = clouds(CORNERS, 40, 0.3, 7), test = clouds(CORNERS, 40, 0.3, 8);
  const scaled = async ({ features, labels }: LabelledFeatures) => {
    const data = await features.data();
    const values = Float32Array.from(
      data,
      (value, i) => [value * 100, value, 7][i % 3]!,
    );
    return { features: tensor(values, features.shape), labels };
  };
  const found = await linearProbe(await scaled(train), await scaled(test));
  assert.deepEqual(found, { train: 1, test: 1 });
});

Deno.test("nearestNeighbors() is a vote, which the nearest of equals decides", async () => {
  const train = {
    features: tensor([[0], [1], [2], [3], [10]]),
    labels: Int32Array.from([0, 1, 1, 0, 2]),
  };
  const at = async (x: number, k: number) => {
    const shares = [0, 1, 2].map((label) =>
      nearestNeighbors(
        train,
        { features: tensor([[x]]), labels: Int32Array.of(label) },
        [k],
      )
    );
    return (await Promise.all(shares)).findIndex(([share]) => share === 1);
  };
  assert.equal(await at(0.2, 1), 0);
  assert.equal(await at(0.2, 2), 0); // one vote each: the nearest
  assert.equal(await at(0.2, 3), 1);
  assert.equal(await at(0.2, 4), 0); // two votes each
  assert.equal(await at(8, 1), 2);
  assert.equal(await at(8, 5), 0); // two of 0 and 1, and 3 is nearer than 2
});

Deno.test("probes explain what they cannot use", async () => {
  const good = clouds(CORNERS, 3, 1, 9);
  const one = { ...good, labels: new Int32Array(9).fill(4) };
  for (const probe of [linearProbe, nearestNeighbors]) {
    await assert.rejects(
      async () => await probe(one, good),
      /at least 2 classes: all labels are 4/,
    );
    await assert.rejects(
      async () => await probe({ ...good, labels: new Int32Array(8) }, good),
      TypeError,
    );
    const flat = clouds([[0], [1]], 3, 1, 1);
    await assert.rejects(
      async () => await probe(good, flat),
      /the same dimensions/,
    );
  }
  await assert.rejects(() => nearestNeighbors(good, good, [10]), /from 1 to 9/);
});
