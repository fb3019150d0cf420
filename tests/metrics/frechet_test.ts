import assert from "node:assert/strict";
import {
  bootstrap,
  FeatureStatistics,
  frechetDistance,
  frechetInfinity,
  type Points,
  Rng,
} from "../../mod.ts";
import { assertClose } from "../_check.ts";

/** Correlated features, `[n, d]`, of unequal variances. */
async function features(n: number, d: number, seed: number): Promise<Points> {
  const x = await new Rng(seed).normal([n, d]).data();
  const data = Float64Array.from(x, (value, at) => {
    const column = at % d;
    return value / (1 + column) + (column > 0 ? x[at - 1]! / 2 : seed);
  });
  return { data, shape: [n, d] };
}

function statistics(points: Points): FeatureStatistics {
  return new FeatureStatistics(points.shape[1]!).add(points);
}

/** Rows `from` to `to`. */
function rows({ data, shape }: Points, from: number, to: number): Points {
  const d = shape[1]!;
  return {
    data: Array.from(data).slice(from * d, to * d),
    shape: [to - from, d],
  };
}

Deno.test("frechetDistance() knows two normal distributions", async () => {
  const a = { mean: [0, 0], covariance: [2, .5, .5, 1] };
  const b = { mean: [1, 2], covariance: [1, -.3, -.3, 3] };
  await assertClose([await frechetDistance(a, b)], [5.929311855], {
    atol: 1e-9,
  });
});

Deno.test("frechetDistance() of one dimension is that of means and deviations", async () => {
  const a = { mean: [3], covariance: [4] };
  for (const [variance, want] of [[25, 13], [0, 8]] as const) {
    const b = { mean: [1], covariance: [variance] };
    await assertClose([await frechetDistance(a, b)], [want], { rtol: 1e-14 });
  }
});

Deno.test("frechetDistance() of a set and itself is 0", async () => {
  for (
    const [n, d] of [[2, 5], [6, 6], [20, 30], [31, 30], [300, 30]] as const
  ) {
    const points = await features(n, d, n);
    const flat = { // with dimensions that are constant or copies, as ReLU makes them
      data: Array.from(
        points.data,
        (x, at) =>
          at % d === 1 ? 0 : at % d === 2 ? 50 * points.data[at - 1]! : 50 * x,
      ),
      shape: points.shape,
    };
    for (const set of [points, flat]) {
      assert.ok(await frechetDistance(set, set) < 1e-9);
      assert.ok(await frechetDistance(statistics(set), statistics(set)) < 1e-9);
      assert.ok(await frechetDistance(statistics(set), set) < 1e-6);
    }
  }
});

Deno.test("frechetDistance() of few rows is that of their covariances", async () => {
  for (const [n, m, d] of [[9, 12, 20], [9, 50, 20], [50, 20, 20]] as const) {
    const a = await features(n, d, 1), b = await features(m, d, 2);
    const got = await frechetDistance(a, b);
    // Covariances of low rank lose half of the digits of what they do not span.
    const tolerance = { rtol: 1e-6 };
    await assertClose([got], [
      await frechetDistance(statistics(a), statistics(b)),
    ], tolerance);
    await assertClose(
      [got],
      [await frechetDistance(b, statistics(a))],
      tolerance,
    );
  }
});

Deno.test("frechetDistance() is symmetric, and does not see rotations or the order of rows", async () => {
  const a = await features(40, 6, 1), b = await features(30, 6, 2);
  const want = [await frechetDistance(a, b)];
  await assertClose([await frechetDistance(b, a)], want, { rtol: 1e-12 });
  const turn = ({ data, shape }: Points): Points => ({
    data: Array.from(
      data,
      (x, at) =>
        at % 6 === 0
          ? .6 * x - .8 * data[at + 1]!
          : at % 6 === 1
          ? .8 * data[at - 1]! + .6 * x
          : x,
    ),
    shape,
  });
  await assertClose([await frechetDistance(turn(a), turn(b))], want, {
    rtol: 1e-12,
  });
  const reversed: Points = {
    data: Array.from(
      { length: 40 },
      (_, i) => [...rows(a, 39 - i, 40 - i).data as number[]],
    ).flat(),
    shape: a.shape,
  };
  await assertClose([await frechetDistance(reversed, b)], want, {
    rtol: 1e-12,
  });
});

Deno.test("frechetDistance() says what is wrong", async () => {
  const a = await features(5, 3, 1);
  const refuses = (
    side: Parameters<typeof frechetDistance>[0],
    error: ErrorConstructor,
    message: RegExp,
  ) =>
    assert.rejects(() => frechetDistance(side, a), (thrown: Error) => {
      assert.ok(thrown instanceof error);
      assert.match(thrown.message, message);
      return true;
    });
  await refuses(await features(5, 4, 1), TypeError, /equal: they are 4 and 3/);
  await refuses(
    { data: [1, 2, 3], shape: [3] },
    TypeError,
    /\[N, D\]: shape is \[3\]/,
  );
  await refuses({ data: [1, 2], shape: [1, 3] }, TypeError, /of 2 elements/);
  await refuses(
    { data: [1, 2, 3], shape: [1, 3] },
    RangeError,
    /at least 2 rows: there are 1/,
  );
  await refuses(
    new FeatureStatistics(3),
    RangeError,
    /rows must be at least 1: there are 0/,
  );
  const broken = { data: Float64Array.from(a.data), shape: a.shape };
  broken.data[7] = NaN;
  await refuses(broken, RangeError, /element 1 of row 2 is NaN/);
  await refuses(
    { data: broken.data.subarray(0, 9), shape: [3, 3] },
    RangeError,
    /element 1 of point 2 is NaN/,
  );
  const mean = [0, 0, 0];
  await refuses(
    { mean, covariance: [1, 0, 0, 1] },
    TypeError,
    /must be \[3, 3\].*has 4/,
  );
  await refuses(
    { mean: [0, Infinity, 0], covariance: [1, 0, 0, 0, 1, 0, 0, 0, 1] },
    RangeError,
    /element 1 of point 0/,
  );
  await refuses(
    { mean, covariance: [1, 0, .5, 0, 1, 0, 0, 0, 1] },
    RangeError,
    /symmetric.*\[2, 0\] is 0, \[0, 2\] is 0\.5/,
  );
  await refuses(
    { mean, covariance: [1, 0, 0, 0, -1, 0, 0, 0, 1] },
    RangeError,
    /\[1, 1\] is -1/,
  );
  await refuses(
    { mean, covariance: [1, 2, 0, 2, 1, 0, 0, 0, 1] },
    RangeError,
    /variances allow: \[1, 0\] is 2/,
  );
  await refuses(
    { mean, covariance: [1, 0, 0, 0, NaN, 0, 0, 0, 1] },
    RangeError,
    /is NaN/,
  );
});

Deno.test("FeatureStatistics are mean and covariance by definition", async () => {
  const n = 600, d = 5;
  const points = await features(n, d, 4);
  const mean = Array.from(
    { length: d },
    (_, j) =>
      Array.from({ length: n }, (_, i) => points.data[i * d + j]!).reduce((
        a,
        b,
      ) => a + b) / n,
  );
  const covariance = Array.from({ length: d * d }, (_, at) => {
    let sum = 0;
    for (let i = 0; i < n; i++) {
      sum += (points.data[i * d + at % d]! - mean[at % d]!) *
        (points.data[i * d + Math.floor(at / d)]! - mean[Math.floor(at / d)]!);
    }
    return sum / (n - 1);
  });
  const found = statistics(points);
  assert.equal(found.count, n);
  await assertClose(found.mean(), mean, { rtol: 1e-13 });
  await assertClose(found.covariance(), covariance, { atol: 1e-13 });
});

Deno.test("FeatureStatistics do not depend on the pieces that rows come in", async () => {
  const points = await features(700, 4, 5);
  const whole = statistics(points);
  const pieces = new FeatureStatistics(4);
  for (let at = 0, size = 0; at < 700; at += size) {
    size = Math.min(700 - at, 1 + at % 97);
    pieces.add(rows(points, at, at + size));
  }
  assert.deepEqual(pieces.mean(), whole.mean());
  assert.deepEqual(pieces.covariance(), whole.covariance());
});

Deno.test("FeatureStatistics merge to those of all rows", async () => {
  const points = await features(700, 4, 6);
  const whole = statistics(points);
  for (const at of [0, 3, 256, 600, 700]) {
    const other = statistics(rows(points, at, 700));
    const merged = statistics(rows(points, 0, at)).merge(other);
    assert.equal(merged.count, 700);
    assert.equal(other.count, 700 - at);
    await assertClose(merged.mean(), whole.mean(), { rtol: 1e-13 });
    await assertClose(merged.covariance(), whole.covariance(), { atol: 1e-13 });
  }
  assert.throws(
    () => whole.merge(new FeatureStatistics(5)),
    /they are 4 and 5/,
  );
});

Deno.test("FeatureStatistics keep their digits far from zero", async () => {
  const points = await features(700, 4, 7);
  const rounded = Array.from(points.data, (x) => Math.round(x * 1024) / 1024);
  const near = statistics({ data: rounded, shape: [700, 4] });
  const far = statistics({
    data: rounded.map((x) => x + 2 ** 30),
    shape: [700, 4],
  });
  await assertClose(far.covariance(), near.covariance(), { atol: 1e-6 });
});

Deno.test("FeatureStatistics refuse what is no row", () => {
  assert.throws(() => new FeatureStatistics(0), RangeError);
  const two = new FeatureStatistics(2);
  assert.throws(
    () => two.add({ data: [1, 2, 3], shape: [1, 3] }),
    /must be \[N, 2\]: shape is \[1, 3\]/,
  );
  assert.throws(
    () => two.add({ data: [1, 2, 3, Infinity], shape: [2, 2] }),
    /element 1 of row 1 is Infinity/,
  );
  assert.equal(two.count, 0);
  two.add({ data: [1, 2], shape: [1, 2] });
  assert.throws(
    () => two.covariance(),
    /rows must be at least 2: there are 1/,
  );
});

Deno.test("frechetInfinity() takes away what few rows add", async () => {
  const d = 16;
  const real = {
    mean: new Float64Array(d),
    covariance: Float64Array.from(
      { length: d * d },
      (_, at) => Number(at % (d + 1) === 0),
    ),
  };
  const fake = {
    data: await new Rng(3).normal([1000, d]).data(),
    shape: [1000, d],
  };
  const plain = await frechetDistance(real, fake);
  const limit = await frechetInfinity(real, fake);
  assert.ok(Math.abs(limit) < plain / 3, `${limit} of ${plain}`);
  assert.equal(await frechetInfinity(real, fake), limit);
  assert.notEqual(await frechetInfinity(real, fake, { seed: 1 }), limit);
});

Deno.test("frechetInfinity() refuses where distances are not linear in 1 / n", async () => {
  const points = await features(500, 4, 1);
  const refuses = (real: Points, fake: Points, smallest?: number) =>
    assert.rejects(() => frechetInfinity(real, fake, { smallest }), RangeError);
  await refuses(points, rows(points, 0, 399));
  await refuses(rows(points, 0, 4), points);
  await refuses(points, points, 4);
  const wide = await features(500, 201, 1);
  await assert.rejects(
    () => frechetInfinity(wide, wide),
    /smallest is 503, generated rows are 500/,
  );
});

Deno.test("bootstrap() finds how uncertain a mean is", async () => {
  const points = {
    data: await new Rng(8).normal([400, 1]).data(),
    shape: [400, 1],
  };
  const score = ({ data, shape }: Points) =>
    Array.from(data).reduce((sum, x) => sum + x) / shape[0]!;
  const found = await bootstrap(score, points, { samples: 200 });
  assert.equal(found.value, score(points));
  await assertClose([found.std], [1 / 20], { rtol: 0.2 });
  const [low, high] = found.interval;
  await assertClose([low, high], [found.value - 0.098, found.value + 0.098], {
    atol: 0.03,
  });
  assert.deepEqual(await bootstrap(score, points, { samples: 200 }), found);
  assert.notEqual((await bootstrap(score, points, { seed: 1 })).std, found.std);
  await assert.rejects(
    () => bootstrap(score, points, { samples: 1 }),
    RangeError,
  );
});
