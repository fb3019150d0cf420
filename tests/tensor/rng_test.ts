import assert from "node:assert/strict";
import * as d from "../../mod.ts";
import { philox4x32, philoxWords } from "../../tensor/philox.ts";
import { assertClose } from "../_check.ts";

Deno.test("philox4x32() gives the known answers of Random123", () => {
  const full = 0xffffffff;
  for (
    const [counter, key, want] of [
      [[0, 0, 0, 0], [0, 0], [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]],
      [[full, full, full, full], [full, full], [
        0x408f276d,
        0x41c83b0e,
        0xa20bc7c6,
        0x6d5451fd,
      ]],
      [
        [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
        [0xa4093822, 0x299f31d0],
        [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
      ],
    ] as const
  ) assert.deepEqual(philox4x32(counter, key), [...want]);
});

for (
  const [seed, stream, calls] of [[0, 0, 0], [1, 2, 3], [
    0xffffffff,
    0xa4093822,
    70_000,
  ]] as const
) {
  Deno.test(`the device draws the host's words, seed ${seed}, stream ${stream}, call ${calls}`, async () => {
    for (const size of [1, 3, 257, 4099]) {
      const rng = new d.Rng(seed, stream);
      rng.state = { seed, stream, calls };
      const got = await rng.words([size]).data();
      assert.deepEqual(got, philoxWords(size, [seed, stream], calls));
      assert.equal(rng.state.calls, calls + 1);
    }
  });
}

Deno.test("Rng.uniform() is the top 24 bits of each word", async () => {
  const words = philoxWords(1001, [5, 0]);
  const want = Float32Array.from(words, (word) => (word >>> 8) / 2 ** 24);
  const got = await new d.Rng(5).uniform([7, 11, 13]).data();
  assert.deepEqual(got, want);
  await assertClose(
    new d.Rng(5).uniform([1001], -3, 5),
    Float64Array.from(words, (word) => -3 + 8 * (word >>> 8) / 2 ** 24),
    { atol: 1e-6 },
  );
});

Deno.test("Rng.normal() is Box-Muller, to the last digits", async () => {
  const n = 100_000;
  const words = philoxWords(n, [6, 1]);
  const want = new Float64Array(n);
  for (let i = 0; i < n; i += 2) {
    const r = Math.sqrt(
      -2 * Math.log(((words[i]! >>> 8) + 1) / 2 ** 24),
    );
    const angle = 2 * Math.PI * (words[i + 1]! >>> 8) / 2 ** 24;
    want[i] = r * Math.cos(angle);
    want[i + 1] = r * Math.sin(angle);
  }
  const got = [...await new d.Rng(6, 1).normal([n]).data()];
  await assertClose(got, want, { atol: 5e-5, rtol: 0 });
  // Moments of a standard normal, within five standard errors.
  for (
    const [power, moment, variance] of [
      [1, 0, 1],
      [2, 1, 2],
      [3, 0, 15],
      [4, 3, 96],
    ] as const
  ) {
    const mean = got.reduce((sum, z) => sum + z ** power, 0) / n;
    assert(
      Math.abs(mean - moment) < 5 * Math.sqrt(variance / n),
      `Moment ${power} is ${mean}`,
    );
  }
  await assertClose(
    new d.Rng(6, 1).normal([100], 10, 2),
    want.subarray(0, 100).map((z) => 10 + 2 * z),
    { atol: 1e-4 },
  );
});

Deno.test("Rng.integers() takes every value of its range about equally often", async () => {
  const got = await new d.Rng(7).integers([7000], -3, 4).data();
  const counts = new Map<number, number>();
  for (const value of got) counts.set(value, (counts.get(value) ?? 0) + 1);
  assert.deepEqual([...counts.keys()].sort((a, b) => a - b), [
    -3,
    -2,
    -1,
    0,
    1,
    2,
    3,
  ]);
  assertEvenly([...counts.values()], new Array<number>(7).fill(1000));
  assert.throws(() => new d.Rng(7).integers([1], 3, 3), RangeError);
});

/** Chi-square below its mean plus five standard deviations. */
function assertEvenly(counts: number[], expected: number[]): void {
  const chiSquare = counts.reduce(
    (sum, count, i) => sum + (count - expected[i]!) ** 2 / expected[i]!,
    0,
  );
  const degrees = counts.length - 1;
  assert(
    chiSquare < degrees + 5 * Math.sqrt(2 * degrees),
    `Chi-square is ${chiSquare} with ${degrees} degrees of freedom`,
  );
}

Deno.test("Rng.permutation() orders every index once, first places evenly", () => {
  const rng = new d.Rng(8);
  const order = rng.permutation(1000);
  assert.notDeepEqual(order, order.toSorted());
  assert.deepEqual([...order.toSorted()], [...order.keys()]);
  const firsts = new Array<number>(5).fill(0);
  for (let i = 0; i < 5000; i++) firsts[rng.permutation(5)[0]!]!++;
  assertEvenly(firsts, new Array<number>(5).fill(1000));
  assert.equal(rng.permutation(0).length, 0);
});

Deno.test("Rng.categorical() follows its weights and never takes a zero", () => {
  const counts = new Array<number>(5).fill(0);
  for (const i of new d.Rng(9).categorical([1, 0, 2, 4, 3], 10_000)) {
    counts[i]!++;
  }
  assert.equal(counts.splice(1, 1)[0], 0);
  assertEvenly(counts, [1000, 2000, 4000, 3000]);
  assert.throws(
    () => new d.Rng(9).categorical([1, -1], 1),
    /weight 1 is -1/,
  );
  assert.throws(() => new d.Rng(9).categorical([0, 0], 1), /all are 0/);
});

Deno.test("a generator continues from a saved state", async () => {
  const rng = new d.Rng(10);
  rng.normal([5]);
  const state = JSON.parse(JSON.stringify(rng.state));
  const want = [await rng.normal([5]).data(), rng.permutation(9)];
  const later = new d.Rng(0);
  later.state = state;
  assert.deepEqual(
    [await later.normal([5]).data(), later.permutation(9)],
    want,
  );
});

Deno.test("a draw does not depend on its shape, and differs by call and stream", async () => {
  const draw = async (rng: d.Rng, shape: number[]) =>
    (await rng.uniform(shape).data()).slice(0, 12);
  const flat = await draw(new d.Rng(11), [12]);
  assert.deepEqual(await draw(new d.Rng(11), [3, 4]), flat);
  assert.deepEqual(await draw(new d.Rng(11), [1000]), flat);
  const rng = new d.Rng(11);
  rng.next();
  assert.notDeepEqual(await draw(rng, [12]), flat);
  assert.notDeepEqual(await draw(rng.fork(1), [12]), flat);
});

Deno.test("Rng.normalRows() draws rows of a longer draw", async () => {
  for (const row of [[], [1], [3, 5], [2, 2, 3], [67]]) {
    const whole = new d.Rng(13, 2), rng = new d.Rng(13, 2);
    for (let call = 0; call < 2; call++) {
      const state = rng.state;
      const pieces = [[0, 8], [8, 20], [20, 21]].map(([from, to]) => {
        rng.state = state; // each batch makes the same number of draws
        return rng.normalRows([to! - from!, ...row], from);
      });
      assert.deepEqual(
        await d.concat(pieces).data(),
        await whole.normal([21, ...row]).data(),
      );
      assert.deepEqual(rng.state, whole.state);
    }
  }
  for (const bad of [-1, 0.5, 2 ** 33]) {
    assert.throws(
      () => new d.Rng(1).normalRows([4, 3], bad),
      /firstRow be a whole number within the draw: shape is \[4, 3\], firstRow is/,
    );
  }
  assert.throws(() => new d.Rng(1).normalRows([]), RangeError);
});

Deno.test("Rng.normalRows() can be captured", async () => {
  const called = new d.Rng(14), replayed = new d.Rng(14);
  const step = d.capture(() => ({ z: replayed.normalRows([2, 3], 5) }));
  for (let i = 0; i < 2; i++) step.replay({});
  for (const { z } of await step.outputs()) {
    assert.deepEqual(
      [...z],
      [...await called.normal([7, 3]).data()].slice(15),
    );
  }
  step.dispose();
});

Deno.test("manualSeed() fixes rand() and randn()", async () => {
  d.manualSeed(12);
  const want = [await d.rand([3]).data(), await d.randn([3]).data()];
  d.manualSeed(12);
  assert.deepEqual([await d.rand([3]).data(), await d.randn([3]).data()], want);
  assert.throws(() => new d.Rng(-1), /seed must be a whole number below 2\^32/);
});
