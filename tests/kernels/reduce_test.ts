import { equal, throws } from "node:assert/strict";
import * as d from "../../mod.ts";
import { assertClose, assertGradient } from "../_check.ts";

const rng = new d.Rng(16);
const exactly = { atol: 0, rtol: 0 };

/** The elements of `x` that meet in each output, in row-major order of the outputs. */
function groups(
  x: ArrayLike<number>,
  shape: readonly number[],
  axes: readonly number[],
): number[][] {
  const kept = shape.map((n, axis) => axes.includes(axis) ? 1 : n);
  const found = Array.from(
    { length: kept.reduce((a, b) => a * b, 1) },
    () => [] as number[],
  );
  for (let i = 0; i < x.length; i++) {
    let rest = i, at = 0, stride = 1;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      if (kept[axis]! > 1) at += (rest % shape[axis]!) * stride;
      stride *= kept[axis]!;
      rest = Math.floor(rest / shape[axis]!);
    }
    found[at]!.push(x[i]!);
  }
  return found;
}

const total = (v: number[]) => v.reduce((a, b) => a + b, 0);
const spread = (v: number[], correction: number) => {
  const mean = total(v) / v.length;
  return total(v.map((e) => (e - mean) ** 2)) / (v.length - correction);
};

type Reduce = (x: d.Tensor, options?: d.ReduceOptions) => d.Tensor;
const CASES: [string, Reduce, (v: number[]) => number][] = [
  ["sum", d.sum, total],
  ["mean", d.mean, (v) => total(v) / v.length],
  ["max", d.max, (v) => Math.max(...v)],
  ["min", d.min, (v) => Math.min(...v)],
  ["norm", d.norm, (v) => Math.hypot(...v)],
  ["logSumExp", d.logSumExp, (v) => Math.log(total(v.map(Math.exp)))],
  ["variance", d.variance, (v) => spread(v, 1)],
  [
    "variance by n",
    (x, o) => d.variance(x, { ...o, correction: 0 }),
    (v) => spread(v, 0),
  ],
  ["std", d.std, (v) => Math.sqrt(spread(v, 1))],
];

/** Shape and axes: rows, columns, middles, several at once; short, and long enough for pieces. */
const SHAPES: [number[], number | number[] | undefined][] = [
  [[2], undefined],
  [[7], 0],
  [[3, 67], -1],
  [[67, 3], 0],
  [[2, 5, 3], 1],
  [[4, 3, 5, 2], [0, 2]],
  [[4, 3, 5, 2], [0, 1, 3]],
  [[3, 4, 2, 5], [2, 3]],
  [[1, 2, 1, 3], [-1, 1]],
  [[5003], undefined],
  [[3, 1031], 1],
  [[2, 263, 5], 1],
  [[2, 129, 3], [0, 1]],
  [[3, 2, 5, 2, 3], [1, 3, 4]], // two folds in one, between axes that stay
  [[37, 3, 128], [0, 2]], // in several shares along both axes
  [[1031, 2, 5], [0, 2]],
  [[4100, 4], 0],
  [[4099, 3], 0],
  [[16400], undefined],
];

for (const [name, f, exact] of CASES) {
  Deno.test(`${name}() folds any axes`, async () => {
    await Promise.all(SHAPES.map(async ([shape, axis]) => {
      const x = rng.normal(shape, 0.5);
      const rank = shape.length;
      const axes = axis === undefined
        ? shape.map((_, i) => i)
        : [axis].flat().map((a) => a < 0 ? a + rank : a);
      const want = Float32Array.from(
        groups(await x.data(), shape, axes),
        exact,
      );
      const kept = shape.map((n, i) => axes.includes(i) ? 1 : n);
      const dropped = shape.filter((_, i) => !axes.includes(i));
      const close = { rtol: 1e-5, atol: 1e-5 };
      await assertClose(
        f(x, { axis, keepDims: true }),
        d.tensor(want, kept),
        close,
      );
      await assertClose(f(x, { axis }), d.tensor(want, dropped), close);
    }));
  });

  Deno.test(`${name}() has the right gradient`, async () => {
    const x = () => d.cast(d.tensor(rng.permutation(24)), "f32"); // no ties
    const shaped = () => d.scale(d.reshape(x(), [2, 3, 4]), 0.1, -1);
    const step = 1e-2;
    await Promise.all([
      assertGradient((x) => f(x), [shaped()], { step }),
      assertGradient((x) => f(x, { axis: 1 }), [shaped()], { step }),
      assertGradient(
        (x) => f(x, { axis: [0, 2], keepDims: true }),
        [shaped()],
        { step },
      ),
    ]);
  });
}

Deno.test("max() and min() share the gradient among equals", async () => {
  const x = d.tensor([[1, 3, 3], [2, 2, 2]]).requireGrad();
  const third = 1 / 3;
  const [most] = d.gradients(d.sum(d.max(x, { axis: 1 })), [x]);
  await assertClose(most!, [0, 0.5, 0.5, third, third, third]);
  const [least] = d.gradients(d.sum(d.min(x, { axis: 1 })), [x]);
  await assertClose(least!, [1, 0, 0, third, third, third]);
});

Deno.test("max(), min() and logSumExp() know infinity", async () => {
  const lost = d.full([3, 300], -Infinity);
  for (const f of [d.max, d.min, d.logSumExp]) {
    await assertClose(f(lost, { axis: 1 }), [-Infinity, -Infinity, -Infinity]);
    await assertClose(f(d.neg(lost), { axis: 1 }), [
      Infinity,
      Infinity,
      Infinity,
    ]);
  }
  await assertClose(d.logSumExp(d.tensor([1000, 1000])), [1000 + Math.LN2]);
});

Deno.test("variance() survives a large mean", async () => {
  const x = d.tensor([1e4 + 1, 1e4 + 2, 1e4 + 3]);
  await assertClose(d.variance(x), [1]);
});

Deno.test("norm() has the gradient 0 at 0", async () => {
  const x = d.zeros([2, 3]).requireGrad();
  await assertClose(
    d.gradients(d.sum(d.norm(x, { axis: 1 })), [x])[0]!,
    d.zeros([2, 3]),
  );
});

Deno.test("argMax() is the first largest", async () => {
  const x = d.tensor([[1, 5, 5], [7, 7, 0]]);
  const last = d.argMax(x);
  equal(last.dtype, "i32");
  await assertClose(last, d.tensor([1, 0], [2], "i32"), exactly);
  await assertClose(d.argMax(x, { axis: 0 }), [1, 1, 0], exactly);
  const long = rng.normal([3, 67, 5]);
  const want = groups(await long.data(), [3, 67, 5], [1]).map((v) =>
    v.indexOf(Math.max(...v))
  );
  const kept = d.argMax(long, { axis: 1, keepDims: true });
  await assertClose(kept, d.tensor(Int32Array.from(want), [3, 1, 5]), exactly);
});

Deno.test("reductions of nothing: sums are 0, extremes an error", async () => {
  await assertClose(d.sum(d.zeros([0])), d.zeros([]), exactly);
  await assertClose(d.sum(d.zeros([3, 0]), { axis: 1 }), d.zeros([3]), exactly);
  await assertClose(d.sum(d.zeros([3, 0]), { axis: 0 }), d.zeros([0]), exactly);
  await assertClose(d.sum(d.zeros([0, 3]), { axis: 0 }), d.zeros([3]), exactly);
  await assertClose(
    d.norm(d.zeros([2, 0, 3]), { axis: [0, 1] }),
    d.zeros([3]),
    exactly,
  );
  for (const f of [d.max, d.min, d.logSumExp]) {
    throws(() => f(d.zeros([2, 0])), /there must be an element: x is \[2, 0\]/);
    await assertClose(f(d.zeros([2, 0]), { axis: 0 }), d.zeros([0]), exactly);
  }
  throws(() => d.argMax(d.zeros([2, 0])), RangeError);
});

Deno.test("reductions of scalars, and over no axes, change nothing", async () => {
  const x = d.full([], 3), y = rng.normal([2, 3]);
  for (const f of [d.sum, d.mean, d.max, d.min, d.norm, d.logSumExp]) {
    await assertClose(f(x), x);
    if (f !== d.norm) await assertClose(f(y, { axis: [] }), y);
  }
  await assertClose(d.norm(y, { axis: [] }), d.abs(y));
});

Deno.test("the order of folding does not matter", async () => {
  const x = d.cast(rng.integers([30, 41, 53], -9, 9), "f32"); // sums are exact
  const all = d.sum(x);
  await assertClose(
    d.sum(d.sum(d.sum(x, { axis: 0 }), { axis: 0 })),
    all,
    exactly,
  );
  await assertClose(d.sum(d.sum(x, { axis: [1, 2] })), all, exactly);
  await assertClose(d.sum(d.sum(x, { axis: [0, 2] })), all, exactly);
  await assertClose(
    d.sum(d.reshape(x, [53, 30, 41]), { axis: [2, 0, 1] }),
    all,
    exactly,
  );
});

Deno.test("sum() is precise and the same every time past 65535 workgroups", async () => {
  const n = 4_300_003;
  await d.scope(async () => {
    const x = rng.uniform([n]);
    const host = await x.data();
    const want = Float64Array.from(host).reduce((a, b) => a + b);
    await assertClose(d.sum(x), [want], { rtol: 3e-7, atol: 0 });
    await assertClose(d.sum(x), d.sum(x), exactly);
    const many = d.sum(d.reshape(d.narrow(x, 0, 0, n - 3), [-1, 1]), {
      axis: 1,
    });
    await assertClose(
      d.narrow(many, 0, n - 8, n - 3),
      host.subarray(n - 8, n - 3),
      exactly,
    );
  });
  d.trimPool();
});

Deno.test("sumTo() undoes broadcasting", async () => {
  const x = rng.normal([2, 3, 4]);
  await assertClose(
    d.sumTo(x, [3, 1]),
    d.sum(x, { axis: [0, 2] }).view([3, 1]),
  );
  await assertClose(d.sumTo(x, []), d.sum(x));
  equal(d.sumTo(x, [2, 3, 4]), x);
  await assertClose(d.sumTo(d.zeros([0, 3]), [1, 3]), d.zeros([1, 3]));
  throws(() => d.sumTo(x, [2, 1]), /a is \[2, 1\], b is \[2, 3, 4\]/);
});

Deno.test("reductions name bad axes and element types", () => {
  const x = d.zeros([2, 3]);
  throws(() => d.sum(x, { axis: 2 }), /axis must lie in -2 … 1: it is 2/);
  throws(() => d.mean(x, { axis: [0, -2] }), /given twice: 0, 0/);
  throws(() => d.max(d.zeros([2], "i32")), /x is i32\[2\]/);
  throws(() => d.argMax(d.zeros([2], "u32")), /x is u32\[2\]/);
});
