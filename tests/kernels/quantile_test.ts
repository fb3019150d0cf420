import assert from "node:assert/strict";
import { quantile, Rng, tensor } from "../../mod.ts";
import { assertClose } from "../_check.ts";

/** From the sorted row, in doubles. */
function bySorting(row: Float32Array, q: number): number {
  const sorted = row.toSorted(), place = q * (row.length - 1);
  const a = sorted[Math.floor(place)]!, b = sorted[Math.ceil(place)]!;
  return a + (place - Math.floor(place)) * (b - a);
}

Deno.test("quantile() lies between the elements that sorting finds", async () => {
  const rng = new Rng(1);
  for (const [rows, cols] of [[1, 1], [3, 2], [5, 67], [2, 784], [7, 1021]]) {
    const x = rng.normal([rows!, cols!]);
    const data = await x.data();
    for (const q of [0, 0.25, 0.5, 0.995, 1]) {
      const want = Array.from(
        { length: rows! },
        (_, i) =>
          bySorting(data.slice(i * cols!, (i + 1) * cols!) as Float32Array, q),
      );
      await assertClose(quantile(x, q), want, { atol: 1e-6, rtol: 1e-6 });
    }
  }
});

Deno.test("quantile() gives PyTorch's answers, over all axes but the first", async () => {
  const x = tensor([[[3, -1], [2, 7]], [[0, 0], [5, 0]]]);
  assert.deepEqual([...await quantile(x, 0.5).data()], [2.5, 0]);
  assert.deepEqual([...await quantile(x, 1).data()], [7, 5]);
  await assertClose(quantile(x, 0.9), [5.8, 3.5]);
});

Deno.test("quantile() keeps order among signs, ties, tiny and infinite numbers", async () => {
  const row = [-Infinity, -2, -2, -1e-40, 0, 1e-40, 2, 2, Infinity];
  const x = tensor([row.toReversed(), row]);
  for (const [rank, want] of row.entries()) {
    const [a, b] = await quantile(x, rank / (row.length - 1)).data();
    assert.equal(a, b);
    assert.equal(a, Math.fround(want));
  }
  const [, got] = await quantile(tensor([[1, 2], [NaN, 1]]), 0).data();
  assert.ok(Number.isNaN(got));
});

Deno.test("quantile() refuses what has no quantile", () => {
  assert.throws(() => quantile(tensor([1, 2]), 0.5), TypeError);
  assert.throws(
    () => quantile(tensor([[1, 2]]), 1.5),
    /q is 1.5, x is \[1, 2\]/,
  );
});
