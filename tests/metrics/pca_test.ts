import assert from "node:assert/strict";
import { pca, type Points, Rng } from "../../mod.ts";
import { hostNormals } from "../../tensor/points.ts";
import { assertClose } from "../_check.ts";

/** Normals whose columns have these standard deviations. */
function normals(n: number, stds: readonly number[], seed: number): Points {
  const D = stds.length;
  const data = hostNormals(new Rng(seed), n * D).map((z, i) =>
    z * stds[i % D]!
  );
  return { data, shape: [n, D] };
}

/** `|Vᵀ C V - diag(variances)|` at most, where C is the covariance, by plain loops. */
function worstError(points: Points, K: number): number {
  const { components: { data: V }, explainedVariance, mean } = pca(points, K);
  const [n, D] = points.shape as [number, number];
  let worst = 0;
  const along = (i: number, k: number) => {
    let sum = 0;
    for (let j = 0; j < D; j++) {
      sum += (points.data[i * D + j]! - mean[j]!) * V[k * D + j]!;
    }
    return sum;
  };
  const z = Float64Array.from(
    { length: n * K },
    (_, at) => along(Math.floor(at / K), at % K),
  );
  for (let a = 0; a < K; a++) {
    for (let b = 0; b < K; b++) {
      let sum = 0, dot = 0;
      for (let i = 0; i < n; i++) sum += z[i * K + a]! * z[i * K + b]!;
      for (let j = 0; j < D; j++) dot += V[a * D + j]! * V[b * D + j]!;
      const [variance, length] = a === b ? [explainedVariance[a]!, 1] : [0, 0];
      worst = Math.max(
        worst,
        Math.abs(sum / (n - 1) - variance),
        Math.abs(dot - length),
      );
    }
  }
  return worst;
}

Deno.test("pca() of points on a line finds the line", async () => {
  // (3, 4) / 5 times -2, -1, 0, 1, 2, around (1, 2)
  const data = [-2, -1, 0, 1, 2].flatMap((t) => [1 + 0.6 * t, 2 + 0.8 * t]);
  const found = pca({ data, shape: [5, 2] }, 2);
  await assertClose(found.mean, [1, 2]);
  await assertClose(found.components.data.subarray(0, 2), [0.6, 0.8]);
  await assertClose(found.explainedVariance, [2.5, 0]);
  await assertClose(found.explainedVarianceRatio, [1, 0]);
  const { data: placed, shape } = found.transform({ data, shape: [5, 2] });
  assert.deepEqual(shape, [5, 2]);
  await assertClose(placed, [-2, 0, -1, 0, 0, 0, 1, 0, 2, 0], { atol: 1e-12 });
});

Deno.test("pca() diagonalises the covariance, of few columns and of many", () => {
  const slope = (D: number) => Array.from({ length: D }, (_, j) => 3 / (1 + j));
  assert.ok(worstError(normals(60, slope(7), 1), 7) < 1e-12);
  // Above 300 columns by Lanczos; with fewer points than columns as well.
  assert.ok(worstError(normals(350, slope(311), 2), 5) < 1e-9);
  assert.ok(worstError(normals(20, slope(301), 3), 20) < 1e-9);
});

Deno.test("pca() by Lanczos goes on where the points are exhausted", async () => {
  // Two directions alone, of 310.
  const data = new Float64Array(4 * 310);
  data.set([3, 0], 0);
  data.set([-3, 0], 310);
  data.set([0, 1], 620);
  data.set([0, -1], 930);
  const { explainedVariance, components } = pca({ data, shape: [4, 310] }, 4);
  await assertClose(explainedVariance, [6, 2 / 3, 0, 0], { atol: 1e-12 });
  await assertClose(components.data.subarray(0, 3), [1, 0, 0], { atol: 1e-9 });
  await assertClose(components.data.subarray(310, 313), [0, 1, 0], {
    atol: 1e-9,
  });
});

Deno.test("pca() turns components so that their largest element is positive", () => {
  const points = normals(50, [1, 5, 2, 0.5], 4);
  const opposite = { ...points, data: Array.from(points.data, (x) => -x) };
  const found = pca(points, 4).components.data;
  assert.deepEqual(pca(opposite, 4).components.data, found);
  for (let k = 0; k < 4; k++) {
    const row = found.subarray(4 * k, 4 * k + 4);
    assert.equal(Math.max(...row), Math.max(...row.map(Math.abs)));
  }
});

Deno.test("pca() says what does not fit", () => {
  const points = normals(5, [1, 1, 1], 5);
  assert.throws(() => pca(points, 4), /whole and from 1 to 3.*\[5, 3\]/);
  assert.throws(() => pca(points, 0.5), RangeError);
  assert.throws(
    () => pca({ data: [1, 2], shape: [1, 2] }, 1),
    /at least 2 points: there are 1/,
  );
  assert.throws(
    () => pca({ data: [1, 2, NaN, 4], shape: [2, 2] }, 1),
    /element 0 of point 1 is NaN/,
  );
  assert.throws(
    () => pca(points, 1).transform({ data: [1, 2], shape: [1, 2] }),
    /must be \[N, 3\]/,
  );
});
