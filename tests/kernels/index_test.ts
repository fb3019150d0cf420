import { throws } from "node:assert/strict";
import * as d from "../../mod.ts";
import { assertClose, assertGradient } from "../_check.ts";
import { withBindingBytes } from "../_limit.ts";

const rng = new d.Rng(4);
const exactly = { atol: 0, rtol: 0 };

for (
  const [shape, axis, rest] of [
    [[5], 0, [7]],
    [[3, 11], 1, [3, 1]],
    [[4, 5, 3], 1, [4, 67, 3]],
    [[4, 5, 3], -1, [2, 5, 2]],
    [[4, 5, 3], 0, [0, 5, 3]],
  ] as const
) {
  Deno.test(`gather() picks from [${shape}] along ${axis} by [${rest}]`, async () => {
    const x = rng.normal(shape);
    const at = axis < 0 ? axis + shape.length : axis;
    const index = rng.integers(rest, 0, shape[at]!);
    const [xs, ks] = await Promise.all([x.data(), index.data()]);
    const want = Float32Array.from(ks, (k, i) => {
      let offset = 0, stride = 1, left = i;
      for (let a = shape.length - 1; a >= 0; a--) {
        offset += (a === at ? k : left % rest[a]!) * stride;
        left = Math.floor(left / rest[a]!);
        stride *= shape[a]!;
      }
      return xs[offset]!;
    });
    await assertClose(d.gather(x, axis, index), d.tensor(want, rest), exactly);
    if (want.length > 0 && want.length < 50) {
      await assertGradient((x) => d.gather(x, axis, index), [x]);
    }
  });
}

for (
  const [shape, axis, index] of [
    [[5], 0, [4, 4, 0]],
    [[1, 3], 0, [0]],
    [[3, 4, 2], 1, [3, 0, 0, 1, 3]],
    [[2, 3], -1, []],
    [[67, 5], 0, Array.from({ length: 131 }, (_, i) => (i * i) % 67)],
  ] as const
) {
  Deno.test(`indexSelect() picks ${index.length} rows of [${shape}] along ${axis}`, async () => {
    const x = rng.normal(shape);
    const at = axis < 0 ? axis + shape.length : axis;
    const inner = shape.slice(at + 1).reduce<number>((a, b) => a * b, 1);
    const n = shape[at]!, m = index.length;
    const xs = await x.data();
    const to = shape.map((length, a) => a === at ? m : length);
    const want = Float32Array.from({ length: xs.length / n * m }, (_, i) => {
      const o = Math.floor(i / (m * inner)), k = Math.floor(i / inner) % m;
      return xs[(o * n + index[k]!) * inner + i % inner]!;
    });
    await assertClose(
      d.indexSelect(x, axis, index),
      d.tensor(want, to),
      exactly,
    );
    const onDevice = d.tensor(Int32Array.from(index));
    await assertClose(d.indexSelect(x, axis, onDevice), want, exactly);
    if (x.size < 50) {
      await assertGradient((x) => d.indexSelect(x, axis, onDevice), [x]);
    }
  });
}

Deno.test("indexSelect() moves whole numbers", async () => {
  const x = d.tensor(Int32Array.of(-1, 2147483647, 5));
  await assertClose(d.indexSelect(x, 0, [1, 0]), [2147483647, -1], exactly);
});

Deno.test("embedding() has the right value and gradient", async () => {
  const weight = rng.normal([67, 3]), index = rng.integers([5, 31], 0, 67);
  const [table, rows] = await Promise.all([weight.data(), index.data()]);
  const want = Array.from(
    rows,
    (row) => [0, 1, 2].map((c) => table[3 * row + c]!),
  ).flat();
  const y = d.embedding(weight, index);
  await assertClose(y, d.tensor(Float32Array.from(want), [5, 31, 3]), exactly);

  const leaf = weight.detach().requireGrad(), dy = rng.normal([5, 31, 3]);
  const [dWeight] = d.gradients(d.embedding(leaf, index), [leaf], {
    upstream: dy,
  });
  const sums = new Float64Array(67 * 3), up = await dy.data();
  rows.forEach((row, k) =>
    [0, 1, 2].forEach((c) => sums[3 * row + c]! += up[3 * k + c]!)
  );
  await assertClose(dWeight!, sums);
});

for (
  const [shape, axis, m] of [
    [[700, 4], 0, 37], // the table is cut
    [[700, 4], 0, 631], // and the result
    [[90, 33], 0, 50], // rows that do not begin where a binding may
    [[20, 4], 0, 700], // the result alone
    [[3, 701, 5], 1, 13],
    [[301, 7, 3], 1, 5],
    [[301, 2, 3], 2, 7],
  ] as const
) {
  Deno.test(`indexSelect() picks ${m} rows of [${shape}] along ${axis} by pieces`, async () => {
    const x = rng.normal(shape).requireGrad();
    const n = shape[axis]!;
    const index = d.tensor(Int32Array.from(
      { length: m },
      (_, i) => i === 0 ? -1 : i === 1 ? n : (i * i * 7) % n, // two are clamped
    ));
    const dy = rng.normal(shape.map((length, i) => i === axis ? m : length));
    const all = () => {
      const y = d.indexSelect(x, axis, index);
      return [y, ...d.gradients(y, [x], { upstream: dy })];
    };
    const [y, dx] = all(), [got, dGot] = withBindingBytes(8192, all);
    await assertClose(got!, y!, exactly);
    await assertClose(dGot!, dx!, { atol: 1e-5 });
  });
}

Deno.test("oneHot() marks the class, and nothing for an unknown one", async () => {
  const want = [0, 0, 1, 1, 0, 0];
  await assertClose(
    d.oneHot([2, 0], 3),
    d.tensor(Float32Array.from(want), [2, 3]),
    exactly,
  );
  const index = d.tensor(Int32Array.of(1, -1, 3, 0), [2, 2]);
  await assertClose(
    d.oneHot(index, 3),
    [0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0],
    exactly,
  );
});

Deno.test("indices that only the device knows are clamped, in both directions", async () => {
  const index = d.tensor(Int32Array.of(-5, 1, 99));
  const x = d.tensor([10, 20, 30]).requireGrad();
  for (const y of [d.indexSelect(x, 0, index), d.gather(x, 0, index)]) {
    await assertClose(y, [10, 20, 30], exactly);
    const [dx] = d.gradients(y, [x], { upstream: d.tensor([1, 2, 3]) });
    await assertClose(dx!, [1, 2, 3], exactly);
  }
});

Deno.test("indexing names what does not fit", () => {
  const x = d.zeros([3, 4]), floats = d.zeros([2]), i = d.zeros([2], "i32");
  throws(
    () => d.gather(x, 0, i),
    /rank of x: x is \[3, 4\], index is i32\[2\]/,
  );
  throws(
    () => d.gather(x, 0, d.zeros([2, 5], "i32")),
    /longer than x along any axis but 0/,
  );
  throws(() => d.gather(x, 2, d.zeros([2, 2], "i32")), RangeError);
  throws(() => d.indexSelect(x, 0, floats), /i32: index is f32\[2\]/);
  throws(() => d.indexSelect(x, 0, d.zeros([2, 2], "i32")), /one axis/);
  throws(() => d.indexSelect(x, 0, [0, 3]), /lie in 0 … 2: one is 3/);
  throws(() => d.indexSelect(x, 0, [0.5]), /one is 0.5/);
  throws(() => d.indexSelect(d.zeros([0, 4]), 0, i), /nothing to pick from/);
  throws(() => d.embedding(floats, i), /\[rows, width\]: weight is \[2\]/);
  throws(() => d.oneHot([5], 5), /one is 5/);
});
