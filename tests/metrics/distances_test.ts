import assert from "node:assert/strict";
import {
  eachPair,
  NearestK,
  type PointSet,
  pointSet,
  squaredDistance,
} from "../../metrics/_distances.ts";
import { Rng } from "../../mod.ts";

async function normals(
  count: number,
  dimensions: number,
  seed: number,
  at = 0,
): Promise<PointSet> {
  const x = new Rng(seed).normal([count, dimensions], at);
  return pointSet({ data: await x.data(), shape: x.shape }, "test");
}

Deno.test("eachPair() bounds every distance closely, each pair once", async () => {
  const cases = [
    [await normals(67, 5, 1, 1000), await normals(40, 5, 2, 1003)],
    [await normals(30, 1100, 3), null],
    [await normals(5, 2 ** 20, 4), await normals(3, 2 ** 20, 5)], // in tiles
  ] as const;
  for (const [x, y] of cases) {
    const seen = new Set<string>();
    await eachPair(x, y, (i, j, low, high) => {
      seen.add(`${i} ${j}`);
      const square = squaredDistance(x, i, y ?? x, j);
      assert.ok(low <= square && square <= high, `${low} ${square} ${high}`);
      // Squared lengths are about as large as squared distances here.
      const allowed = 8 * (x.dimensions + 4) * 2 ** -23 * square;
      assert.ok(high - low < Math.max(allowed, 1e-4), `${low} ${high}`);
      assert.ok(y || i < j);
    });
    const pairs = y ? x.count * y.count : x.count * (x.count - 1) / 2;
    assert.equal(seen.size, pairs);
  }
});

Deno.test("NearestK finds the k-th smallest, in whatever order and however wide the bounds", () => {
  const random = new Rng(6).permutation(500), k = 4;
  const orders = [random, random.toSorted(), random.toSorted().reverse()];
  for (const values of orders) {
    for (const error of [0, 0.6, 30, 1e6]) {
      const nearest = new NearestK(1, k, (_, j) => values[j]!);
      // Off by parts of the error that differ from value to value.
      values.forEach((value, j) =>
        nearest.offer(
          0,
          j,
          value - error * (j * 7 % 11) / 11,
          value + error * (j * 5 % 13) / 13,
        )
      );
      assert.deepEqual([...nearest.kthSquares()], [k - 1]);
    }
  }
});

Deno.test("NearestK asks for few exact distances", () => {
  const values = new Rng(7).permutation(10_000), k = 5;
  let asked = 0;
  const nearest = new NearestK(1, k, (_, j) => {
    asked++;
    return values[j]!;
  });
  values.forEach((value, j) => nearest.offer(0, j, value - 1, value + 1));
  nearest.kthSquares();
  assert.ok(asked < 40, String(asked));
});
