import assert from "node:assert/strict";
import {
  type Covariance,
  type CovarianceType,
  GaussianMixture,
  type MixtureState,
  type Points,
  Rng,
} from "../../mod.ts";
import { kMeans } from "../../models/_k_means.ts";
import { hostNormals } from "../../tensor/points.ts";
import { assertClose } from "../_check.ts";

const TYPES: CovarianceType[] = ["full", "diag", "spherical"];

/** Three groups of two dimensions that lie far apart, one of them slanted. */
const APART = new GaussianMixture({
  covarianceType: "full",
  weights: [0.5, 0.3, 0.2],
  means: [[0, 0], [12, -3], [-4, 15]],
  covariances: [[[1, 0], [0, 1]], [[2, 1.2], [1.2, 1]], [[0.5, 0], [0, 3]]],
});
/** Twelve points, and what scikit-learn 1.9.1 makes of them. */
const FEW: Points = {
  // deno-fmt-ignore
  data: [
    0.5, 1, -0.25, 0.75, 1.5, -0.5, 0, -1, 0.75, 0.25, 4, 3.5,
    5.25, 4.5, 4.5, 2.75, 3.5, 4.75, 5, 3, 2.5, 1.5, 1.25, 2.25,
  ],
  shape: [12, 2],
};
const FEW_FITTED = {
  full: {
    weights: [0.5834543973290268, 0.4165456026709732],
    means: [
      0.8935090675217986,
      0.6078051036372545,
      4.4501206917439395,
      3.6999712948945516,
    ],
    covariances: [
      0.7672083516962538,
      0.3616132936998489,
      0.3616132936998489,
      1.0886990560329013,
      0.4100529621650475,
      -0.1399080043756005,
      -0.13990800437560047,
      0.6350767538817758,
    ],
    iterations: 6,
    lowerBound: -3.1172037017254652,
    bic: 102.14686193846833,
    aic: 96.81288879080033,
    logProbability: [
      -2.4841506613606397,
      -3.3063680877359998,
      -3.498853716727231,
    ],
    responsibility: 0.9999408208531428,
  },
  diag: {
    weights: [0.5831578768940019, 0.4168421231059981],
    means: [
      0.89239813765715,
      0.6069039529741054,
      4.449144877395448,
      3.699032384609282,
    ],
    covariances: [
      0.7648784602464801,
      1.0869445382790202,
      0.4115068196576022,
      0.6368569436018107,
    ],
    iterations: 6,
    lowerBound: -3.1827657049735083,
    bic: 98.75053669354371,
    aic: 94.38637684545171,
    logProbability: [
      -2.456576669928667,
      -3.1473845638225444,
      -3.089787934612703,
    ],
    responsibility: 0.9977952414782975,
  },
  spherical: {
    weights: [0.5831737729081212, 0.4168262270918787],
    means: [
      0.892482852226141,
      0.6069431823619658,
      4.4491619943163885,
      3.6990954203910373,
    ],
    covariances: [0.9260477715189142, 0.5241436327725014],
    iterations: 5,
    lowerBound: -3.201573227967143,
    bic: 94.23209821540634,
    aic: 90.83775166689034,
    logProbability: [
      -2.4669054414838563,
      -3.016118938735265,
      -3.1611805550519168,
    ],
    responsibility: 0.9979303128786902,
  },
};

/** Standard normal points. */
function normals(n: number, dimensions: number, seed: number): Points {
  const data = hostNormals(new Rng(seed), n * dimensions);
  return { data, shape: [n, dimensions] };
}

/** Points from a random mixture that overlaps. */
function overlapping(n: number, D: number, K: number, seed: number): Points {
  const { data: centres } = normals(K, D, seed);
  const { data } = normals(n, D, seed + 1);
  const moved = Float64Array.from(
    data,
    (z, at) => z + 2 * centres[Math.floor(at / D) % K * D + at % D]!,
  );
  return { data: moved, shape: [n, D] };
}

/** Random means. */
function randomMeans(K: number, D: number, seed: number): number[][] {
  const { data } = normals(K, D, seed + 100);
  return Array.from(
    { length: K },
    (_, k) => Array.from({ length: D }, (_, d) => data[k * D + d]!),
  );
}

/** A unit matrix. */
const identity = (D: number) =>
  Array.from(
    { length: D },
    (_, i) => Array.from({ length: D }, (_, j) => Number(i === j)),
  );
/** A covariance of any form as a matrix. */
const matrixOf = (covariance: Covariance, D: number): number[][] =>
  identity(D).map((row, i) =>
    row.map((one, j) => {
      if (typeof covariance === "number") return one * covariance;
      const own = covariance[i]!;
      return typeof own === "number" ? one * own : own[j]!;
    })
  );
const mean = (values: ArrayLike<number>) =>
  Array.from(values).reduce((sum, x) => sum + x) / values.length;

Deno.test("GaussianMixture.fit() gives scikit-learn's parameters, criteria and number of iterations", async () => {
  for (const covarianceType of TYPES) {
    const want = FEW_FITTED[covarianceType];
    const unit = { full: identity(2), diag: [1, 1], spherical: 1 };
    const mixture = GaussianMixture.fit(FEW, 2, {
      covarianceType,
      start: {
        mixture: {
          covarianceType,
          weights: [0.5, 0.5],
          means: [[0, 0], [4, 4]],
          covariances: [unit[covarianceType], unit[covarianceType]],
        },
      },
    });
    const close = (got: ArrayLike<number>, want: ArrayLike<number>) =>
      assertClose(got, want, { atol: 1e-13, rtol: 1e-11 });
    await close(mixture.weights, want.weights);
    await close(mixture.means.flat(), want.means);
    await close(mixture.covariances.flat(2) as number[], want.covariances);
    assert.equal(mixture.lowerBounds.length, want.iterations);
    assert.equal(mixture.converged, true);
    await close([mixture.lowerBounds.at(-1)!], [want.lowerBound]);
    await close([mixture.bic(FEW), mixture.aic(FEW)], [want.bic, want.aic]);
    await close(
      mixture.logProbability(FEW).subarray(0, 3),
      want.logProbability,
    );
    await close([mixture.responsibilities(FEW).data[20]!], [
      want.responsibility,
    ]);
  }
});

Deno.test("GaussianMixture has the density of its definition", async () => {
  const mixture = new GaussianMixture({
    covarianceType: "full",
    weights: [0.3, 0.7],
    means: [[1, -1], [0, 2]],
    covariances: [[[2, 0.5], [0.5, 1]], [[0.25, 0], [0, 4]]],
  });
  const density = (x: number, y: number) =>
    0.3 * Math.exp(
        -0.5 *
          ((x - 1) ** 2 - (x - 1) * (y + 1) + 2 * (y + 1) ** 2) / 1.75,
      ) /
      (2 * Math.PI * Math.sqrt(1.75)) +
    0.7 * Math.exp(-0.5 * (x ** 2 / 0.25 + (y - 2) ** 2 / 4)) / (2 * Math.PI);
  const points = normals(600, 2, 3); // past one block
  await assertClose(
    mixture.logProbability(points).map(Math.exp),
    Float64Array.from(
      { length: 600 },
      (_, i) => density(points.data[2 * i]!, points.data[2 * i + 1]!),
    ),
    { rtol: 1e-12, atol: 0 },
  );
});

Deno.test("GaussianMixture.fit() never lowers the likelihood", () => {
  for (
    const [seed, D, K] of [[1, 1, 2], [2, 2, 5], [3, 3, 4], [4, 7, 3]] as const
  ) {
    const points = overlapping(300, D, K + 1, seed);
    for (const covarianceType of TYPES) {
      for (const regularization of [0, 1e-6]) {
        const options = { covarianceType, regularization, tolerance: 0 };
        const { lowerBounds, converged } = GaussianMixture.fit(points, K, {
          ...options,
          maxIterations: 60,
          start: { means: randomMeans(K, D, seed) },
        });
        assert.equal(lowerBounds.length, 60);
        assert.equal(converged, false);
        assert.ok(lowerBounds.at(-1)! - lowerBounds[0]! > 1e-3);
        for (let i = 1; i < 60; i++) {
          // Regularisation leaves the best covariance by 1e-6, and the best likelihood by the square.
          const slack = regularization === 0 ? 1e-13 : 1e-10;
          assert.ok(
            lowerBounds[i]! >= lowerBounds[i - 1]! - slack,
            `${covarianceType} ${D} ${regularization}: ${
              lowerBounds.slice(i - 1, i + 1)
            }`,
          );
        }
      }
    }
  }
});

Deno.test("GaussianMixture.fit() recovers groups that lie apart", async () => {
  const { points, components } = APART.sample(4000, new Rng(1));
  const found = GaussianMixture.fit(points, 3, { rng: new Rng(2) });
  assert.ok(found.converged);
  const order = APART.means.map(([x]) =>
    found.means.findIndex((mean) => Math.abs(mean[0]! - x!) < 1)
  );
  assert.deepEqual([...order].sort(), [0, 1, 2]);
  await assertClose(order.map((k) => found.weights[k]!), APART.weights, {
    atol: 0.03,
  });
  await assertClose(
    order.flatMap((k) => [...found.means[k]!]),
    APART.means.flat(),
    { atol: 0.2 },
  );
  await assertClose(
    order.flatMap((k) => [found.covariances[k]!].flat(2) as number[]),
    APART.covariances.flat(2) as number[],
    { atol: 0.2, rtol: 0.1 },
  );
  assert.deepEqual(
    [...found.predict(points)],
    Array.from(components, (k) => order[k]!),
  );
});

Deno.test("GaussianMixture.fit() has more likelihood the freer its covariances are", () => {
  const points = overlapping(400, 3, 3, 9);
  for (const K of [1, 3]) {
    const [full, diag, spherical] = TYPES.map((covarianceType) =>
      mean(
        GaussianMixture.fit(points, K, { covarianceType, tolerance: 1e-9 })
          .logProbability(points),
      )
    );
    assert.ok(
      full! > diag! && diag! > spherical!,
      `${[full, diag, spherical]}`,
    );
  }
});

Deno.test("GaussianMixture.fit() of one component is the mean and the covariance", async () => {
  const { means, covariances } = GaussianMixture.fit(FEW, 1, {
    regularization: 0,
  });
  const xs = FEW.data as number[];
  const centre = [0, 1].map((d) => mean(xs.filter((_, at) => at % 2 === d)));
  await assertClose(means[0]!, centre, { rtol: 1e-14 });
  const moment = (i: number, j: number) =>
    mean(
      Array.from({ length: 12 }, (_, n) =>
        (xs[2 * n + i]! - centre[i]!) * (xs[2 * n + j]! - centre[j]!)),
    );
  await assertClose(covariances.flat(2) as number[], [
    moment(0, 0),
    moment(1, 0),
    moment(1, 0),
    moment(1, 1),
  ], { rtol: 1e-13 });
});

Deno.test("GaussianMixture.fit() starts from what is given", async () => {
  const points = overlapping(200, 2, 3, 5);
  const one = { maxIterations: 1 };
  const first = GaussianMixture.fit(points, 2, one);
  const second = GaussianMixture.fit(points, 2, {
    ...one,
    start: { mixture: first },
  });
  const both = GaussianMixture.fit(points, 2, {
    maxIterations: 2,
    tolerance: 0,
  });
  assert.deepEqual([...second.weights], [...both.weights]);
  assert.deepEqual(second.means, both.means);
  const third = GaussianMixture.fit(points, 2, {
    ...one,
    start: { responsibilities: first.responsibilities(points) },
  });
  await assertClose(
    third.means.flat(),
    GaussianMixture.fit(points, 2, { maxIterations: 3, tolerance: 0 }).means
      .flat(),
    { rtol: 1e-12 },
  );
  const means = [[-1, 0], [1, 0]];
  const byMeans = GaussianMixture.fit(points, 2, { ...one, start: { means } });
  const byShares = GaussianMixture.fit(points, 2, {
    ...one,
    start: {
      responsibilities: {
        data: Array.from(
          { length: 200 },
          (_, i) => points.data[2 * i]! < 0 ? [1, 0] : [0, 1],
        ).flat(),
        shape: [200, 2],
      },
    },
  });
  assert.deepEqual(byMeans.toJSON(), byShares.toJSON());
});

Deno.test("GaussianMixture.fit() is the same for the same seed, and takes f32", () => {
  const points = overlapping(150, 2, 3, 6);
  const single = Float32Array.from(points.data);
  const fit = (data: ArrayLike<number>, seed: number) =>
    GaussianMixture.fit({ data, shape: [150, 2] }, 3, { rng: new Rng(seed) })
      .toJSON();
  assert.deepEqual(fit(single, 1), fit(Float64Array.from(single), 1));
  assert.deepEqual(fit(single, 1), fit(single, 1));
});

Deno.test("GaussianMixture.fit() says whether it has converged", () => {
  const points = overlapping(200, 2, 3, 7);
  const short = GaussianMixture.fit(points, 3, {
    maxIterations: 2,
    tolerance: 1e-9,
  });
  assert.deepEqual([short.converged, short.lowerBounds.length], [false, 2]);
  const long = GaussianMixture.fit(points, 3, { tolerance: 1e-5 });
  const [before, last] = long.lowerBounds.slice(-2);
  assert.ok(long.converged && Math.abs(last! - before!) < 1e-5);
});

Deno.test("GaussianMixture.fit() regularises groups without spread", () => {
  const points = { data: [1, 2, 1, 2, 5, 6, 5, 6, 5, 6], shape: [5, 2] };
  for (const covarianceType of TYPES) {
    const mixture = GaussianMixture.fit(points, 2, { covarianceType });
    assert.deepEqual([...mixture.weights].map((w) => w.toFixed(6)).sort(), [
      "0.400000",
      "0.600000",
    ]);
    // More components than distinct points leave some empty, but all finite.
    const more = GaussianMixture.fit(points, 4, { covarianceType });
    assert.ok(more.logProbability(points).every(Number.isFinite));
    assert.throws(
      () =>
        GaussianMixture.fit(points, 2, { covarianceType, regularization: 0 }),
      /covariance of component 0 must be positive definite: its [23]\.00 of 5 points do not spread in every direction; take more regularization \(it is 0\) or fewer components \(there are 2\)/,
    );
  }
});

Deno.test("GaussianMixture.fit() refuses a full covariance of points on a line", () => {
  const data = Array.from({ length: 40 }, (_, i) => [i / 7, 0.1 + i / 3])
    .flat();
  const fit = (covarianceType: CovarianceType, regularization: number) => () =>
    GaussianMixture.fit({ data, shape: [40, 2] }, 2, {
      covarianceType,
      regularization,
    });
  assert.throws(fit("full", 0), /do not spread in every direction/);
  assert.ok(fit("full", 1e-6)().weights.length === 2);
  assert.ok(fit("diag", 0)().weights.length === 2);
});

Deno.test("GaussianMixture gives responsibilities that sum to 1, even far away", async () => {
  const points = { data: [0, 0, 1e4, -1e4, 12, -3, -1e6, 1e6], shape: [4, 2] };
  const { data, shape } = APART.responsibilities(points);
  assert.deepEqual(shape, [4, 3]);
  const sums = [0, 1, 2, 3].map((i) =>
    data[3 * i]! + data[3 * i + 1]! + data[3 * i + 2]!
  );
  await assertClose(sums, [1, 1, 1, 1], { atol: 1e-15 });
  assert.deepEqual([...APART.predict(points)].slice(0, 3), [0, 0, 1]);
  assert.ok(APART.logProbability(points).every(Number.isFinite));
  const none = { data: [], shape: [0, 2] };
  assert.equal(
    APART.logProbability(none).length + APART.predict(none).length,
    0,
  );
});

Deno.test("GaussianMixture.sample() has the mixture's moments, and components by weight", async () => {
  const n = 20_000;
  const states: MixtureState[] = [
    APART,
    {
      covarianceType: "diag",
      weights: [0.25, 0.75],
      means: [[0, 1, 2], [5, 5, 5]],
      covariances: [[1, 4, 9], [1, 1, 0.25]],
    },
    {
      covarianceType: "spherical",
      weights: [1],
      means: [[3]],
      covariances: [2],
    },
  ];
  for (const state of states) {
    const { points, components } = new GaussianMixture(state).sample(
      n,
      new Rng(4),
    );
    const D = state.means[0]!.length;
    for (const [k, weight] of state.weights.entries()) {
      const own = Array.from(components.keys()).filter((i) =>
        components[i] === k
      );
      await assertClose([own.length / n], [weight], { atol: 0.015 });
      const centre = state.means[k]!.map((_, d) =>
        mean(own.map((i) => points.data[i * D + d]!))
      );
      await assertClose(centre, state.means[k]!, { atol: 0.12 });
      const want = matrixOf(state.covariances[k]!, D);
      for (let a = 0; a < D; a++) {
        for (let b = 0; b <= a; b++) {
          const got = mean(
            own.map((i) =>
              (points.data[i * D + a]! - centre[a]!) *
              (points.data[i * D + b]! - centre[b]!)
            ),
          );
          const atol = 0.06 * Math.sqrt(want[a]![a]! * want[b]![b]!);
          await assertClose([got], [want[a]![b]!], { atol });
        }
      }
    }
  }
  assert.deepEqual(APART.sample(5, new Rng(1)), APART.sample(5, new Rng(1)));
  assert.deepEqual(APART.sample(0, new Rng(1)).points.shape, [0, 2]);
});

Deno.test("GaussianMixture.fitBest() finds the number of components", () => {
  const { points } = APART.sample(600, new Rng(8));
  const best = GaussianMixture.fitBest(points, 6, { rng: new Rng(1) });
  assert.equal(best.components, 3);
  const one = GaussianMixture.fitBest(normals(300, 2, 1), 4);
  assert.equal(one.components, 1);
  assert.throws(() => GaussianMixture.fitBest(points, 601), /601 components/);
  assert.throws(
    () => GaussianMixture.fitBest(points, 2, { start: { mixture: best } }),
    /start must not be given/,
  );
});

Deno.test("GaussianMixture.ellipses() hold their share of a component's points", async () => {
  const [round, slanted, tall] = APART.ellipses();
  const radius = Math.sqrt(5.991464547);
  await assertClose(round!.radii, [radius, radius], { rtol: 1e-9 });
  assert.deepEqual(round!.centre, [0, 0]);
  await assertClose(tall!.radii, [
    radius * Math.sqrt(3),
    radius * Math.sqrt(0.5),
  ]);
  await assertClose([tall!.angle, tall!.weight], [Math.PI / 2, 0.2]);
  // tan 2θ = 2 · 1.2 / (2 - 1)
  await assertClose([slanted!.angle], [Math.atan(2.4) / 2], { rtol: 1e-12 });
  const { points, components } = APART.sample(20_000, new Rng(3));
  const inside = Array.from(components.keys()).filter((i) =>
    components[i] === 1
  ).map((i) => {
    const [x, y] = [points.data[2 * i]! - 12, points.data[2 * i + 1]! + 3];
    const c = Math.cos(slanted!.angle), s = Math.sin(slanted!.angle);
    const [a, b] = slanted!.radii;
    return Number(((c * x + s * y) / a) ** 2 + ((c * y - s * x) / b) ** 2 < 1);
  });
  await assertClose([mean(inside)], [0.95], { atol: 0.01 });
  const [half] = APART.ellipses(0.5);
  await assertClose([half!.radii[0]], [Math.sqrt(2 * Math.LN2)]);
  assert.throws(() => APART.ellipses(1), /share must lie between 0 and 1/);
  const flat = new GaussianMixture({
    covarianceType: "spherical",
    weights: [1],
    means: [[0]],
    covariances: [1],
  });
  assert.throws(() => flat.ellipses(), /must have 2 dimensions: they have 1/);
});

Deno.test("GaussianMixture comes back exactly from JSON", () => {
  const points = overlapping(100, 2, 2, 11);
  for (const covarianceType of TYPES) {
    const mixture = GaussianMixture.fit(points, 2, { covarianceType });
    const back = GaussianMixture.fromJSON(JSON.parse(JSON.stringify(mixture)));
    assert.deepEqual(back.toJSON(), mixture.toJSON());
    assert.deepEqual(
      back.logProbability(points),
      mixture.logProbability(points),
    );
    assert.deepEqual(back.sample(7, new Rng(1)), mixture.sample(7, new Rng(1)));
  }
});

Deno.test("GaussianMixture.fit() refuses what it cannot fit", () => {
  const fit =
    (data: number[], shape: number[], components = 1, options = {}) => () =>
      GaussianMixture.fit({ data, shape }, components, options);
  assert.throws(fit([1, 2, 3], [3, 1], 4), {
    name: "RangeError",
    message: /a point for each component: there are 3 points for 4 components/,
  });
  assert.throws(fit([1, 2, NaN, 4], [2, 2]), {
    name: "RangeError",
    message: /points must be finite: element 0 of point 1 is NaN/,
  });
  assert.throws(fit([1, Infinity], [2, 1]), /element 0 of point 1 is Infinity/);
  assert.throws(fit([1, 2, 3], [2, 2]), {
    name: "TypeError",
    message: /must be \[N, D\]: shape is \[2, 2\] of 3 elements/,
  });
  assert.throws(fit([1, 2], [2]), /shape is \[2\] of 2/);
  assert.throws(fit([], [2, 0]), TypeError);
  assert.throws(
    fit([1, 2], [2, 1], 0),
    /components must be a positive integer/,
  );
  assert.throws(fit([1, 2], [2, 1], 1.5), /it is 1.5/);
  assert.throws(
    fit([1, 2], [2, 1], 1, { restarts: 0 }),
    /restarts must be a pos/,
  );
  assert.throws(
    fit([1, 2], [2, 1], 1, { maxIterations: 0 }),
    /maxIterations must/,
  );
  assert.throws(
    fit([1, 2], [2, 1], 1, { regularization: -1 }),
    /regularization must be finite/,
  );
  assert.throws(
    fit([1, 2], [2, 1], 1, { tolerance: NaN }),
    /tolerance must not/,
  );
  assert.throws(
    fit([1, 2], [2, 1], 1, { covarianceType: "tied" }),
    /one of full, diag, spherical: it is tied/,
  );
  const start = (start: unknown) => fit([1, 2, 3, 4], [4, 1], 2, { start });
  assert.throws(
    start({ mixture: APART }),
    /means must be \[2, 1\]: shape is \[3, 2\]/,
  );
  assert.throws(start({ means: [[1], [2, 3]] }), /means must be \[2, 1\]/);
  assert.throws(start({ means: [[1]] }), /shape is \[1, 1\]/);
  assert.throws(start({ means: [[1], [NaN]] }), /must be finite/);
  assert.throws(
    start({ responsibilities: { data: [1, 0], shape: [1, 2] } }),
    /responsibilities must be \[4, 2\]/,
  );
  assert.throws(
    start({
      responsibilities: { data: [1, 0, 1, 0, 0.5, 0.4, 0, 1], shape: [4, 2] },
    }),
    /sum to 1: those of point 2 are 0.5, 0.4/,
  );
  assert.throws(
    () => APART.logProbability({ data: [1, 2, 3], shape: [1, 3] }),
    /points must be \[N, 2\]: shape is \[1, 3\]/,
  );
  assert.throws(() => APART.sample(-1, new Rng(0)), /count must be a whole/);
});

Deno.test("GaussianMixture refuses parameters that are none", () => {
  const good: MixtureState = {
    covarianceType: "full",
    weights: [1],
    means: [[0, 0]],
    covariances: [identity(2)],
  };
  const make = (change: object) => () =>
    new GaussianMixture({ ...good, ...change });
  assert.throws(make({ weights: [0.5] }), /sum to 1: they are 0.5/);
  assert.throws(
    make({ weights: [1, 0] }),
    /one entry per component: they have 2, 1 and 1/,
  );
  assert.throws(make({ weights: [], means: [], covariances: [] }), TypeError);
  assert.throws(make({ means: [[0, NaN]] }), /mean 0 is 0, NaN/);
  assert.throws(make({ means: [[]] }), /mean 0 has 0 numbers/);
  assert.throws(
    make({ covariances: [1] }),
    /must be \[D, D\] with D = 2: that of component 0 is not/,
  );
  assert.throws(make({ covariances: [[[1, 0], [0]]] }), TypeError);
  assert.throws(
    make({ covariances: [[1, 1]], covarianceType: "spherical" }),
    /must be a number/,
  );
  assert.throws(
    make({ covariances: [identity(2)], covarianceType: "diag" }),
    /must be \[D\]/,
  );
  assert.throws(
    make({ covarianceType: "tied" }),
    /covarianceType must be one of/,
  );
  for (
    const covariance of [[[1, 2], [2, 1]], [[1, 0.5], [0, 1]], [[1, NaN], [
      NaN,
      1,
    ]], [[0, 0], [0, 1]]]
  ) {
    assert.throws(make({ covariances: [covariance] }), {
      name: "RangeError",
      message: /symmetric and positive definite: that of component 0 is not/,
    });
  }
  for (const variances of [[1, -1], [0, 1], [1, Infinity]]) {
    assert.throws(
      make({ covarianceType: "diag", covariances: [variances] }),
      RangeError,
    );
  }
});

Deno.test("hostNormals() are the device's normals", async () => {
  const device = await new Rng(5, 2).normal([1001]).data();
  await assertClose(hostNormals(new Rng(5, 2), 1001), device, { atol: 1e-5 });
  const rng = new Rng(5);
  assert.notDeepEqual(hostNormals(rng, 4), hostNormals(rng, 4));
});

Deno.test("kMeans() finds groups, and leaves no cluster empty", () => {
  const { points, components } = APART.sample(500, new Rng(6));
  const labels = kMeans(points.data, 2, 3, { rng: new Rng(1), restarts: 2 });
  const pairs = new Set(
    Array.from(labels, (label, i) => `${label} ${components[i]}`),
  );
  assert.equal(pairs.size, 3);
  // As many clusters as points, and fewer distinct points than clusters.
  const line = Float64Array.from({ length: 9 }, (_, i) => i);
  assert.equal(
    new Set(kMeans(line, 1, 9, { rng: new Rng(1), restarts: 1 })).size,
    9,
  );
  const same = kMeans(new Float64Array(6).fill(2), 1, 3, {
    rng: new Rng(1),
    restarts: 1,
  });
  assert.ok(same.every((label) => label >= 0 && label < 3));
});
