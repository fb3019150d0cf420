import assert from "node:assert/strict";
import {
  ClassMixtures,
  GaussianMixture,
  type MixtureState,
  type Points,
  Rng,
} from "../../mod.ts";
import { assertClose } from "../_check.ts";

/** One round component. */
const round = (x: number, y: number, variance = 1): MixtureState => ({
  covarianceType: "spherical",
  weights: [1],
  means: [[x, y]],
  covariances: [variance],
});
/** Two classes that overlap, and one apart from both. */
const OVERLAPPING = new ClassMixtures({
  mixtures: [round(-1, 0), round(1, 0), round(0, 20, 4)],
  priors: [0.5, 0.25, 0.25],
});

/** Labelled points. */
function labelled(count: number, seed: number): [Points, Int32Array] {
  const rng = new Rng(seed);
  const labels = OVERLAPPING.drawLabels(count, rng, OVERLAPPING.priors);
  return [OVERLAPPING.sample(labels, rng), labels];
}

/** Responsibility of each point's own class. */
function certainties(points: Points, labels: ArrayLike<number>): number[] {
  const { data, shape: [, classes] } = OVERLAPPING.responsibilities(points);
  return Array.from(labels, (label, i) => data[i * classes! + label]!);
}

Deno.test("ClassMixtures.fit() fits the points of each class alone, and counts them", async () => {
  const [points, labels] = labelled(3000, 1);
  const found = ClassMixtures.fit(points, labels, { components: 2 });
  assert.deepEqual([found.classes, found.dimensions], [3, 2]);
  await assertClose(found.priors, OVERLAPPING.priors, { atol: 0.03 });
  const own = Array.from(labels.keys()).filter((i) => labels[i] === 1);
  const data = own.flatMap((
    i,
  ) => [points.data[2 * i]!, points.data[2 * i + 1]!]);
  assert.deepEqual(
    found.mixtures[1]!.toJSON(),
    GaussianMixture.fit({ data, shape: [own.length, 2] }, 2).toJSON(),
  );
  assert.deepEqual(
    ClassMixtures.fit(points, labels, {
      components: 2,
      rng: new Rng(0),
      covarianceType: "diag",
    })
      .mixtures.map((one) => [one.covarianceType, one.components]),
    Array(3).fill(["diag", 2]),
  );
  assert.equal(ClassMixtures.fit(points, labels).mixtures[0]!.components, 3);
});

Deno.test("ClassMixtures.responsibilities() are Bayes' rule", async () => {
  const points = { data: [0, 0, 0.5, 3, 1e5, 0], shape: [3, 2] };
  const { data, shape } = OVERLAPPING.responsibilities(points);
  assert.deepEqual(shape, [3, 3]);
  // Of N(±1, 1) at x, the odds are exp(2 x); the third class is e^-50 away.
  const p = 1 / (1 + Math.exp(-1));
  await assertClose(data, [0.5, 0.5, 0, 1 - p, p, 0, 0, 0, 1], { atol: 1e-12 });
  const weighted = OVERLAPPING.responsibilities(points, [2, 1, 1]).data;
  await assertClose(weighted.subarray(0, 3), [2 / 3, 1 / 3, 0], {
    atol: 1e-12,
  });
});

Deno.test("ClassMixtures.equalLabels() and drawLabels() have the shares they say", async () => {
  assert.deepEqual([...OVERLAPPING.equalLabels(7)], [0, 1, 2, 0, 1, 2, 0]);
  const shares = (labels: Int32Array) =>
    [0, 1, 2].map((label) =>
      labels.filter((own) => own === label).length / labels.length
    );
  const rng = new Rng(4);
  await assertClose(shares(OVERLAPPING.drawLabels(9000, rng)), [
    1 / 3,
    1 / 3,
    1 / 3,
  ], { atol: 0.02 });
  await assertClose(
    shares(OVERLAPPING.drawLabels(9000, rng, OVERLAPPING.priors)),
    OVERLAPPING.priors,
    { atol: 0.02 },
  );
});

Deno.test("ClassMixtures.sample() draws from the class of each label", async () => {
  const labels = Int32Array.from([2, ...OVERLAPPING.equalLabels(6000), 2]);
  const points = OVERLAPPING.sample(labels, new Rng(7));
  assert.deepEqual(points.shape, [6002, 2]);
  for (const [label, want] of [[-1, 0], [1, 0], [0, 20]].entries()) {
    const own = Array.from(labels.keys()).filter((i) => labels[i] === label);
    const mean = [0, 1].map((d) =>
      own.reduce((sum, i) => sum + points.data[2 * i + d]!, 0) / own.length
    );
    await assertClose(mean, want, { atol: 0.15 });
  }
  assert.deepEqual(points, OVERLAPPING.sample(labels, new Rng(7)));
  assert.deepEqual(OVERLAPPING.sample([], new Rng(7)).shape, [0, 2]);
});

Deno.test("ClassMixtures.sample() rejects where classes overlap", () => {
  const labels = OVERLAPPING.equalLabels(3000);
  const all = certainties(OVERLAPPING.sample(labels, new Rng(1)), labels);
  const kept = OVERLAPPING.sample(labels, new Rng(1), {
    minResponsibility: 0.95,
  });
  const certain = certainties(kept, labels);
  assert.ok(all.filter((p) => p < 0.95).length > 500);
  assert.ok(certain.every((p) => p >= 0.95));
  // Odds of 19 to 1 are ln(19) / 2 = 1.47 from the border; the class apart is drawn as before.
  labels.forEach((label, i) => {
    const x = kept.data[2 * i]!;
    if (label < 2) assert.ok((label === 0 ? -x : x) >= Math.log(19) / 2 - 1e-9);
  });
  const apart = Array.from(labels.keys()).filter((i) => labels[i] === 2);
  const spread = apart.reduce((sum, i) => sum + kept.data[2 * i]! ** 2, 0) /
    apart.length;
  assert.ok(Math.abs(spread - 4) < 0.6, `${spread}`);
});

Deno.test("ClassMixtures.sample() says where nearly all would be rejected", () => {
  const same = new ClassMixtures({
    mixtures: [round(0, 0), round(0, 0)],
    priors: [0.5, 0.5],
  });
  assert.throws(
    () => same.sample([1, 1], new Rng(0), { minResponsibility: 0.6 }),
    {
      name: "RangeError",
      message:
        /Cannot sample class 1 as its responsibility must be at least 0.6: 0 of 1024 points are so certain, the best has 0.500; take a lower/,
    },
  );
  assert.equal(
    same.sample([1, 1], new Rng(0), { minResponsibility: 0.5 }).data.length,
    4,
  );
  for (const minResponsibility of [1, -0.1, NaN]) {
    assert.throws(
      () => same.sample([1], new Rng(0), { minResponsibility }),
      /minResponsibility must be from 0 up to but not 1/,
    );
  }
});

Deno.test("ClassMixtures come back exactly from JSON", () => {
  const [points, labels] = labelled(200, 3);
  const mixtures = ClassMixtures.fit(points, labels);
  const back = ClassMixtures.fromJSON(JSON.parse(JSON.stringify(mixtures)));
  assert.deepEqual(back.toJSON(), mixtures.toJSON());
  const draw = (of: ClassMixtures) =>
    of.sample([2, 0, 1], new Rng(1), { minResponsibility: 0.9 });
  assert.deepEqual(draw(back), draw(mixtures));
});

Deno.test("ClassMixtures.fit() names the class that it cannot fit", () => {
  const points = { data: [1, 2, 3, 4, 4, 4, 4, 9], shape: [8, 1] };
  const fit = (labels: number[], options = {}) => () =>
    ClassMixtures.fit(points, labels, { components: 1, ...options });
  assert.throws(fit([0, 0, 0, 0, 2, 2, 2, 2]), {
    name: "RangeError",
    message:
      /Class 1: Cannot fit a mixture as there must be a point for each component: there are 0 points/,
  });
  assert.throws(
    fit([0, 0, 0, 0, 0, 0, 1, 1], { components: 3 }),
    /Class 1: .* 2 points for 3/,
  );
  assert.throws(
    fit([0, 0, 0, 0, 0, 0, 0, 0], { classes: 2 }),
    /Class 1: .* 0 points/,
  );
  assert.throws(
    fit([0, 0, 0, 1, 1, 1, 1, 0], { regularization: 0 }),
    /Class 1: Cannot fit a mixture as the covariance of component 0 must be positive definite/,
  );
  assert.throws(fit([0, 0]), {
    name: "TypeError",
    message: /8 points and 2 labels/,
  });
  assert.throws(
    fit([0, 0, 0, 0, 0, 0, 0, -1]),
    /from 0 to 0: label 7 is -1/,
  );
  assert.throws(
    fit([0, 0, 0, 0, 0, 0, 0, 0.5]),
    /label 7 is 0.5/,
  );
  assert.throws(
    fit([0, 0, 0, 0, 0, 0, 0, 5], { classes: 2 }),
    /from 0 to 1: label 7 is 5/,
  );
  assert.throws(
    () => ClassMixtures.fit({ data: [1, NaN], shape: [2, 1] }, [0, 0]),
    /points must be finite: element 0 of point 1/,
  );
  assert.throws(
    () => ClassMixtures.fit({ data: [], shape: [0, 2] }, []),
    /Class 0: .* there are 0 points/,
  );
});

Deno.test("ClassMixtures refuse what does not fit together", () => {
  const make = (mixtures: MixtureState[], priors: number[]) => () =>
    new ClassMixtures({ mixtures, priors });
  const line = { ...round(0, 0), means: [[0]] };
  assert.throws(make([round(0, 0), line], [0.5, 0.5]), /dimensions 2, 1/);
  assert.throws(make([round(0, 0)], [0.5, 0.5]), /1 mixtures, 2 priors/);
  assert.throws(make([], []), TypeError);
  assert.throws(
    make([round(0, 0)], [0.5]),
    /priors must not be negative, and sum to 1/,
  );
  const rng = new Rng(0);
  assert.throws(() => OVERLAPPING.drawLabels(2, rng, [1]), /there are 1 for 3/);
  assert.throws(
    () => OVERLAPPING.sample([3], rng),
    /from 0 to 2: label 0 is 3/,
  );
  const points = { data: [1, 2, 3], shape: [1, 3] };
  assert.throws(
    () => OVERLAPPING.responsibilities(points),
    /points must be \[N, 2\]/,
  );
  assert.throws(
    () => OVERLAPPING.responsibilities({ data: [1, 2], shape: [1, 2] }, [1]),
    /there are 1 for 3/,
  );
});
