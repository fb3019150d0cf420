import assert from "node:assert/strict";
import { type Points, Rng, tsne } from "../../mod.ts";
import {
  calibrate,
  denseAffinities,
  sparseAffinities,
} from "../../metrics/_affinities.ts";
import { Quadtree } from "../../metrics/_quadtree.ts";
import {
  BarnesHutObjective,
  ExactObjective,
  type Objective,
} from "../../metrics/_tsne_objective.ts";
import { hostNormals } from "../../tensor/points.ts";
import { assertClose } from "../_check.ts";

/** Groups of points with a standard deviation of 1 in 7 columns, `apart` from each other, in turn. */
function groups(n: number, count: number, apart: number): Points<Float64Array> {
  const data = hostNormals(new Rng(1), n * 7);
  for (let i = 0; i < n; i++) data[i * 7 + i % count]! += apart;
  return { data, shape: [n, 7] };
}

/** Places in the plane that differ. */
function places(n: number, seed = 2): Float64Array<ArrayBuffer> {
  return hostNormals(new Rng(seed), 2 * n);
}

function gradientOf(objective: Objective, y: Float64Array): Float64Array {
  const out = new Float64Array(y.length);
  objective.gradient(y, out);
  return out;
}

/** Share of points whose nearest other is of the same group, of `count` groups in turn. */
function agreement(y: Float64Array, count: number): number {
  const n = y.length / 2;
  let good = 0;
  for (let i = 0; i < n; i++) {
    let best = -1, least = Infinity;
    for (let j = 0; j < n; j++) {
      const d = Math.hypot(
        y[2 * i]! - y[2 * j]!,
        y[2 * i + 1]! - y[2 * j + 1]!,
      );
      if (j !== i && d < least) [best, least] = [j, d];
    }
    if (best % count === i % count) good++;
  }
  return good / n;
}

Deno.test("affinities have the perplexity that is asked for", async () => {
  const distances = hostNormals(new Rng(3), 41).map((z) => 100 + 9 * z * z);
  const p = distances.slice();
  const beta = calibrate(p, 6.5);
  await assertClose([p.reduce((sum, x) => sum + x)], [1], { rtol: 1e-12 });
  const entropy = -p.reduce((sum, x) => sum + (x > 0 ? x * Math.log(x) : 0), 0);
  await assertClose([Math.exp(entropy)], [6.5], { rtol: 2e-5 });
  // p is exp(-beta d), but for a factor
  await assertClose(
    [Math.log(p[0]! / p[1]!)],
    [-beta * (distances[0]! - distances[1]!)],
    { rtol: 1e-9 },
  );
  // Of equally far points all are as near, whatever is asked for.
  const same = new Float64Array(4).fill(7);
  calibrate(same, 2);
  await assertClose(same, [0.25, 0.25, 0.25, 0.25]);
});

Deno.test("affinities of all neighbours are the same, dense and sparse", async () => {
  const { data } = groups(23, 3, 2);
  const dense = await denseAffinities(data, 7, 5);
  const { rows, columns, p } = await sparseAffinities(data, 7, {
    perplexity: 5,
    neighbors: 22,
  });
  const seen = new Float64Array(dense.p.length);
  for (let i = 0; i < 23; i++) {
    for (let at = rows[i]!; at < rows[i + 1]!; at++) {
      const j = columns[at]!;
      if (j < i) seen[i * (i - 1) / 2 + j] = p[at]!;
    }
  }
  await assertClose(seen, dense.p, { atol: 0, rtol: 1e-12 });
  await assertClose([2 * dense.p.reduce((sum, x) => sum + x)], [1]);
  const few = await sparseAffinities(data, 7, { perplexity: 2, neighbors: 6 });
  await assertClose([few.p.reduce((sum, x) => sum + x)], [1]);
  assert.ok(few.p.length < 2 * 23 * 6);
});

Deno.test("the gradient of t-SNE is that of its divergence", async () => {
  const n = 19, { data } = groups(n, 3, 4), y = places(n);
  const sparse = await sparseAffinities(data, 7, {
    perplexity: 4,
    neighbors: 12,
  });
  for (
    const objective of [
      new ExactObjective(await denseAffinities(data, 7, 4)),
      new BarnesHutObjective(sparse, 0), // every point by itself
    ]
  ) {
    const step = 1e-5;
    const numeric = y.map((_, k) => {
      const [up, down] = [step, -step].map((by) =>
        objective.divergence(y.with(k, y[k]! + by))
      );
      return (up! - down!) / (2 * step);
    });
    await assertClose(gradientOf(objective, y), numeric, { atol: 1e-9 });
  }
});

Deno.test("a quadtree holds every point once, and a walk past every cell is over", () => {
  const y = places(100);
  y.copyWithin(2, 0, 20); // points 1 to 10 are where 0 to 9 are
  const { count, centre, size, skip, length } = new Quadtree(y);
  assert.ok(length < 200);
  let leaves = 0;
  for (let cell = 0; cell < length; cell++) {
    assert.ok(skip[cell]! > cell && skip[cell]! <= length);
    if (size[cell]! > 0) {
      let inside = 0;
      for (let at = cell + 1; at < skip[cell]!; at = skip[at]!) {
        inside += count[at]!;
      }
      assert.equal(inside, count[cell]);
    } else {
      leaves += count[cell]!;
      assert.equal(skip[cell], cell + 1);
    }
  }
  assert.equal(leaves, 100);
  assert.equal(count[0], 100);
  const mean = y.filter((_, k) => k % 2 === 0).reduce((a, b) => a + b) / 100;
  assert.ok(Math.abs(centre[0]! - mean) < 1e-12);
  // All in one place: one cell.
  assert.equal(new Quadtree(new Float64Array(14).fill(0.1)).length, 1);
});

Deno.test("the gradient by Barnes and Hut is nearly the exact one", async () => {
  const n = 300, { data } = groups(n, 4, 5), y = places(n).map((z) => 9 * z);
  const near = { perplexity: 20, neighbors: n - 1 };
  const sparse = await sparseAffinities(data, 7, near);
  const exact = new ExactObjective(await denseAffinities(data, 7, 20));
  const want = gradientOf(exact, y);
  const errorOf = (theta: number) => {
    const got = gradientOf(new BarnesHutObjective(sparse, theta), y);
    return Math.hypot(...got.map((g, k) => g - want[k]!)) / Math.hypot(...want);
  };
  assert.ok(errorOf(0) < 1e-12);
  const [little, usual] = [errorOf(0.2), errorOf(0.5)];
  // A cell taken whole has an error of the order of theta squared.
  assert.ok(usual < 0.06 && little < 0.01, `${little}, ${usual}`);
  await assertClose(
    [new BarnesHutObjective(sparse, 0.5).divergence(y)],
    [exact.divergence(y)],
    { rtol: 1e-2 },
  );
});

Deno.test("tsne() keeps groups apart, by all pairs and by cells", async () => {
  const points = groups(120, 4, 12);
  const affinities = await denseAffinities(points.data, 7, 30);
  const objective = new ExactObjective(affinities);
  const steps: number[] = [];
  for (const theta of [0, 0.5]) {
    const options = { theta, iterations: 300, exaggerationSteps: 100 };
    const early = await tsne(points, { ...options, iterations: 120 });
    const y = await tsne(points, {
      ...options,
      onStep: (done) => steps.push(done),
    });
    assert.equal(agreement(y, 4), 1);
    const [before, after] = [early, y].map((at) => objective.divergence(at));
    assert.ok(after! < before! && after! < 0.5, `${before} to ${after}`);
  }
  assert.deepEqual(steps.slice(0, 3), [1, 2, 3]);
  assert.equal(steps.length, 600);
});

Deno.test("tsne() gives equal places for equal points, and stops when told", async () => {
  const points = groups(30, 3, 6);
  const run = (iterations: number, stopAt = Infinity) => {
    let done = 0;
    return tsne(points, {
      iterations,
      onStep: (step) => done = step,
      isCancelled: () => done >= stopAt,
    });
  };
  assert.deepEqual(await run(20), await run(20));
  assert.deepEqual(await run(50, 7), await run(7));
  const twins = { data: [1, 2, 1, 2, 5, 3, 4, 9, 0, 0], shape: [5, 2] };
  const y = await tsne(twins, { iterations: 100 });
  assert.deepEqual(y.subarray(0, 2), y.subarray(2, 4));
  assert.ok(y.every(Number.isFinite));
  const same = { data: new Float64Array(12).fill(3), shape: [6, 2] };
  assert.ok((await tsne(same, { iterations: 9 })).every((v) => v === 0));
});

Deno.test("tsne() says what does not fit", async () => {
  const points = groups(8, 2, 1);
  const wrong: [Parameters<typeof tsne>[1], RegExp][] = [
    [{ perplexity: 8 }, /perplexity must be from 1 on and below .* 8: 8/],
    [{ theta: 0.9 }, /theta must be from 0 to 0\.7: 0\.9/],
    [{ iterations: 1.5 }, /iterations must be a whole number from 0 on: 1\.5/],
    [{ learningRate: 0 }, /learningRate must be positive and finite: 0/],
  ];
  for (const [options, want] of wrong) {
    await assert.rejects(() => tsne(points, options), want);
  }
  await assert.rejects(
    () => tsne({ data: [1, 2, 3], shape: [3, 1] }),
    /at least 2 points of 2 columns: \[3, 1\]/,
  );
  await assert.rejects(
    () => tsne({ data: [1, 2, 3, Infinity], shape: [2, 2] }),
    /element 1 of point 1 is Infinity/,
  );
});
