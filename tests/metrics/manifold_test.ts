import assert from "node:assert/strict";
import {
  manifoldMetrics,
  nearestDistances,
  neighborRadii,
  type Points,
  Rng,
} from "../../mod.ts";
import { assertClose } from "../_check.ts";

/** Points of one dimension. */
const line = (...data: number[]): Points => ({ data, shape: [data.length, 1] });

/** Normal points about `at`. */
async function normals(
  count: number,
  dimensions: number,
  seed: number,
  { at = 0, std = 1 }: { at?: number; std?: number } = {},
): Promise<Points<Float64Array>> {
  const x = await new Rng(seed).normal([count, dimensions]).data();
  return {
    data: Float64Array.from(x, (value) => at + std * value),
    shape: [count, dimensions],
  };
}

/** Rows of points in another order. */
function picked({ data, shape }: Points, rows: ArrayLike<number>): Points {
  const d = shape[1]!;
  return {
    data: Float64Array.from(
      { length: rows.length * d },
      (_, i) => data[rows[Math.floor(i / d)]! * d + i % d]!,
    ),
    shape: [rows.length, d],
  };
}

/** Distances of all pairs in float64. */
function distances(x: Points, y: Points): number[][] {
  const d = x.shape[1]!;
  const distance = (i: number, j: number) => {
    let sum = 0;
    for (let k = 0; k < d; k++) {
      sum += (x.data[i * d + k]! - y.data[j * d + k]!) ** 2;
    }
    return Math.sqrt(sum);
  };
  return Array.from(
    { length: x.shape[0]! },
    (_, i) => Array.from({ length: y.shape[0]! }, (_, j) => distance(i, j)),
  );
}

function plainRadii(x: Points, k: number): number[] {
  return distances(x, x).map((row, i) =>
    row.toSpliced(i, 1).sort((a, b) => a - b)[k - 1]!
  );
}

/** The definitions. */
function plainMetrics(real: Points, fake: Points, k: number) {
  const r = plainRadii(real, k), s = plainRadii(fake, k);
  const pairs = distances(real, fake);
  const inside = pairs.map((row, i) => row.map((d) => d < r[i]!));
  const balls = s.map((_, j) => inside.filter((row) => row[j]).length);
  const share = (flags: boolean[]) =>
    flags.filter(Boolean).length / flags.length;
  return {
    precision: share(balls.map((n) => n > 0)),
    recall: share(pairs.map((row) => row.some((d, j) => d < s[j]!))),
    density: balls.reduce((a, b) => a + b) / (k * s.length),
    coverage: share(inside.map((row) => row.some(Boolean))),
  };
}

Deno.test("manifoldMetrics() knows six points against five", async () => {
  assert.deepEqual(
    await manifoldMetrics(line(0, 1, 2, 4, 7, 11), line(0.5, 1.5, 3, 20, 6.5), {
      nearestK: 2,
    }),
    { precision: 0.8, recall: 1, density: 1.2, coverage: 1 },
  );
});

Deno.test("manifold metrics equal those of plain float64 distances", async () => {
  const shift = { at: 0.3, std: 0.8 };
  const cases: [Points, Points, number][] = [
    [await normals(67, 3, 1), await normals(50, 3, 2, shift), 5],
    [await normals(150, 40, 3), await normals(131, 40, 4, shift), 1],
    [await normals(20, 300, 5), await normals(31, 300, 6), 7],
    [await normals(2, 1, 7), await normals(3, 1, 8), 1],
    // Tiny and huge units.
    [
      await normals(40, 5, 9, { std: 1e-30 }),
      await normals(40, 5, 10, { std: 2e-30 }),
      3,
    ],
    [
      await normals(40, 5, 9, { std: 1e30 }),
      await normals(40, 5, 10, { std: 2e30 }),
      3,
    ],
  ];
  for (const [real, fake, k] of cases) {
    assert.deepEqual(
      await manifoldMetrics(real, fake, { nearestK: k }),
      plainMetrics(real, fake, k),
    );
    assert.deepEqual([...await neighborRadii(real, k)], plainRadii(real, k));
    assert.deepEqual(
      [...await nearestDistances(fake, real)],
      distances(fake, real).map((row) => Math.min(...row)),
    );
  }
});

Deno.test("manifold metrics do not lose a spread far from the origin in f32", async () => {
  // f32 numbers near 1000 are 6e-5 apart, their squares 0.06.
  const far = { at: 1000, std: 1e-4 };
  const real = await normals(120, 16, 11, far);
  const fake = await normals(110, 16, 12, far);
  assert.deepEqual(
    await manifoldMetrics(real, fake),
    plainMetrics(real, fake, 5),
  );
  // Clusters: taking the mean away does not help.
  const clusters = (x: Points): Points => ({
    data: Float64Array.from(
      x.data,
      (value, i) => value + [-3, 0.1, 2][Math.floor(i / 16) % 3]!,
    ),
    shape: x.shape,
  });
  assert.deepEqual(
    await manifoldMetrics(clusters(real), clusters(fake)),
    plainMetrics(clusters(real), clusters(fake), 5),
  );
  assert.deepEqual(
    [...await neighborRadii(clusters(real), 5)],
    plainRadii(clusters(real), 5),
  );
});

Deno.test("manifold metrics decide ties as float64 does", async () => {
  // Points of a lattice have many neighbours at equal distances: none on a boundary is inside.
  const lattice = (seed: number, count: number): Points => ({
    data: Float64Array.from(
      new Rng(seed).categorical([1, 1, 1, 1], count * 3),
      (value) => 0.1 * value,
    ),
    shape: [count, 3],
  });
  const real = lattice(1, 90), fake = lattice(2, 80);
  for (const nearestK of [1, 2, 5]) {
    assert.deepEqual(
      await manifoldMetrics(real, fake, { nearestK }),
      plainMetrics(real, fake, nearestK),
    );
  }
});

Deno.test("manifoldMetrics() of a set against itself are all 1", async () => {
  const points = await normals(61, 9, 21);
  const ones = { precision: 1, recall: 1, density: 1, coverage: 1 };
  // A ball holds its centre and the k - 1 neighbours before the one on its boundary.
  for (const nearestK of [1, 5, 60]) {
    assert.deepEqual(await manifoldMetrics(points, points, { nearestK }), ones);
  }
});

Deno.test("balls of repeated images are empty", async () => {
  const nothing = { precision: 0, recall: 0, density: 0, coverage: 0 };
  const same = line(...Array(50).fill(3));
  assert.deepEqual(await manifoldMetrics(same, same), nothing);
  assert.deepEqual([...await neighborRadii(same, 5)], Array(50).fill(0));
  const points = await normals(60, 4, 13);
  const sixTimes = picked(
    points,
    Array.from({ length: 360 }, (_, i) => i % 60),
  );
  assert.deepEqual(await manifoldMetrics(sixTimes, sixTimes), nothing);
  const { recall, coverage } = await manifoldMetrics(points, sixTimes);
  assert.equal(recall, 0);
  assert.equal(coverage, 1);
  assert.deepEqual(
    [...await nearestDistances(sixTimes, points)],
    Array(360).fill(0),
  );
});

Deno.test("manifold metrics do not mind the order of images", async () => {
  const real = await normals(70, 8, 14), fake = await normals(70, 8, 15);
  const order = new Rng(16).permutation(70);
  assert.deepEqual(
    await manifoldMetrics(
      picked(real, order),
      picked(fake, order.toReversed()),
    ),
    await manifoldMetrics(real, fake),
  );
  const radii = await neighborRadii(real, 3);
  await assertClose(
    await neighborRadii(picked(real, order), 3),
    Array.from(order, (i) => radii[i]!),
    { atol: 0, rtol: 0 },
  );
});

Deno.test("manifold metrics go by tiles", async () => {
  // 0 to 2099 in some order: more than fit a tile. The second neighbour is 1 away, of the ends 2.
  const n = 2100, order = new Rng(17).permutation(n);
  const points = line(...order),
    between = line(...Array.from(order, (x) => x + 0.5));
  assert.deepEqual(
    [...await neighborRadii(points, 2)],
    Array.from(order, (x) => x % (n - 1) === 0 ? 2 : 1),
  );
  // On the boundary of the neighbours' balls, but for those of the ends.
  assert.deepEqual(await manifoldMetrics(points, points, { nearestK: 2 }), {
    precision: 1,
    recall: 1,
    density: (n + 2) / (2 * n),
    coverage: 1,
  });
  assert.deepEqual(
    [...await nearestDistances(line(...Array.from(between.data), -3), points)],
    [...Array(n).fill(0.5), 3],
  );
});

Deno.test("equal distributions have precision near recall, density near 1, coverage near 1 - 2^-k", async () => {
  const real = await normals(1000, 64, 19), fake = await normals(1000, 64, 20);
  const { precision, recall, density, coverage } = await manifoldMetrics(
    real,
    fake,
  );
  // Wide of what the sampling of a thousand gives, narrow enough for a wrong k or neighbour.
  assert.ok(Math.abs(precision - recall) < 0.06, `${precision} ${recall}`);
  assert.ok(Math.abs(density - 1) < 0.15, String(density));
  assert.ok(Math.abs(coverage - (1 - 2 ** -5)) < 0.03, String(coverage));
});

Deno.test("manifold metrics explain what they cannot use", async () => {
  const five = line(1, 2, 3, 4, 5), six = line(1, 2, 3, 4, 5, 6);
  await assert.rejects(
    () => manifoldMetrics(six, five),
    {
      name: "RangeError",
      message:
        "Cannot compute precision and recall of fake features as 5 neighbours need at least 6 points: there are 5",
    },
  );
  await assert.rejects(
    () => manifoldMetrics(five, six),
    /of real features .* at least 6 points: there are 5/,
  );
  await assert.rejects(
    () => manifoldMetrics(six, { data: [1, 2, 3, 4], shape: [2, 2] }),
    {
      name: "TypeError",
      message: /fake features as points must be \[N, 1\]: shape is \[2, 2\]/,
    },
  );
  await assert.rejects(
    () => manifoldMetrics(six, line(1, 2, NaN, 4, 5, 6)),
    { name: "RangeError", message: /fake features .* of point 2 is NaN/ },
  );
  await assert.rejects(() => neighborRadii(six, 6), /at least 7 points/);
  await assert.rejects(
    () => neighborRadii(six, 0),
    /whole and from 1 on: .* 0/,
  );
  await assert.rejects(() => nearestDistances(six, line()), /there are none/);
  await assert.rejects(
    () => nearestDistances({ data: [1, 2], shape: [1, 2] }, six),
    /queries as points must be \[N, 1\]/,
  );
});
