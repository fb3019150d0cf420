import assert from "node:assert/strict";
import * as d from "../../mod.ts";
import { assertClose, assertGradient } from "../_check.ts";

const rng = new d.Rng(2);

/** Pools planes of h x w; `window(o)` gives a window's pixels along an axis, before they are cut. */
function reference(
  data: ArrayLike<number>,
  [planes, h, w]: [number, number, number],
  [outH, outW]: [number, number],
  window: (o: number, axis: number) => [from: number, to: number],
  fold: (values: number[]) => number,
): number[] {
  const inside = ([from, to]: [number, number], length: number) =>
    Array.from({ length: to - from }, (_, k) => from + k)
      .filter((i) => i >= 0 && i < length);
  const out: number[] = [];
  for (let plane = 0; plane < planes; plane++) {
    for (let y = 0; y < outH; y++) {
      for (let x = 0; x < outW; x++) {
        const columns = inside(window(x, 1), w);
        out.push(fold(
          inside(window(y, 0), h).flatMap((i) =>
            columns.map((j) => data[(plane * h + i) * w + j]!)
          ),
        ));
      }
    }
  }
  return out;
}

const average = (values: number[]) =>
  values.reduce((a, b) => a + b, 0) / values.length;

for (
  const { kernel, stride, padding, size } of [
    { kernel: 2, stride: 2, padding: 0, size: [8, 8] },
    { kernel: 3, stride: 2, padding: 1, size: [7, 11] },
    { kernel: [3, 2], stride: [1, 3], padding: [1, 0], size: [5, 13] },
    { kernel: 1, stride: 1, padding: 0, size: [1, 1] },
  ] as const
) {
  Deno.test(`maxPool2d() and avgPool2d() fold windows of ${kernel}, stride ${stride}, padding ${padding}`, async () => {
    const at = (value: number | readonly number[], axis: number) =>
      typeof value === "number" ? value : value[axis]!;
    const [h, w] = size;
    const x = rng.normal([2, 3, h, w]);
    const host = await x.data();
    const options = { stride, padding };
    const out = size.map((length, axis) =>
      Math.floor(
        (length + 2 * at(padding, axis) - at(kernel, axis)) / at(stride, axis),
      ) + 1
    ) as [number, number];
    const pool = (fold: (values: number[]) => number) =>
      reference(host, [6, h, w], out, (o, axis) => {
        const from = o * at(stride, axis) - at(padding, axis);
        return [from, from + at(kernel, axis)];
      }, fold);
    const max = d.maxPool2d(x, kernel, options);
    assert.deepEqual(max.shape, [2, 3, ...out]);
    await assertClose(max, pool((values) => Math.max(...values)));
    await assertClose(
      d.avgPool2d(x, kernel, { ...options, countIncludePad: false }),
      pool(average),
    );
    const pixels = at(kernel, 0) * at(kernel, 1);
    await assertClose(
      d.avgPool2d(x, kernel, options),
      pool((values) => values.reduce((a, b) => a + b, 0) / pixels),
    );
  });
}

Deno.test("pooling has the right gradient", async () => {
  // Distinct values, a step apart by more than the differences take.
  const x = d.tensor(
    Float32Array.from(new d.Rng(3).permutation(70), (v) => v / 10),
    [1, 2, 5, 7],
  );
  const overlapping = { stride: 2, padding: 1 };
  await assertGradient((x) => d.maxPool2d(x, 3, overlapping), [x]);
  await assertGradient((x) => d.maxPool2d(x, [1, 2]), [x]);
  await assertGradient((x) => d.avgPool2d(x, 3, overlapping), [x]);
  await assertGradient(
    (x) => d.avgPool2d(x, 3, { ...overlapping, countIncludePad: false }),
    [x],
  );
  await assertGradient((x) => d.adaptiveAvgPool2d(x, [3, 4]), [x]);
  await assertGradient((x) => d.adaptiveAvgPool2d(x, [7, 9]), [x]);
});

Deno.test("maxPool2d() gives the gradient of a tie to the first", async () => {
  const x = d.ones([1, 1, 2, 4]).requireGrad();
  const [dx] = d.gradients(d.sum(d.maxPool2d(x, 2)), [x]);
  await assertClose(dx!, [1, 0, 1, 0, 0, 0, 0, 0]);
});

Deno.test("adaptiveAvgPool2d() covers the image with any number of windows", async () => {
  const x = rng.normal([2, 3, 5, 7]);
  const host = await x.data();
  for (const out of [[1, 1], [2, 3], [5, 7], [1, 13], [8, 7]] as const) {
    const want = reference(host, [6, 5, 7], [...out], (o, axis) => {
      const length = [5, 7][axis]!;
      return [
        Math.floor(o * length / out[axis]!),
        Math.ceil((o + 1) * length / out[axis]!),
      ];
    }, average);
    await assertClose(d.adaptiveAvgPool2d(x, out), want);
  }
});

Deno.test("pooling passes an empty batch through", () => {
  const x = d.zeros([0, 3, 4, 4]);
  assert.deepEqual(d.maxPool2d(x, 2).shape, [0, 3, 2, 2]);
  assert.deepEqual(d.avgPool2d(x, 2).shape, [0, 3, 2, 2]);
  assert.deepEqual(d.adaptiveAvgPool2d(x, 3).shape, [0, 3, 3, 3]);
});

Deno.test("pooling says what is wrong", () => {
  const x = d.zeros([1, 1, 4, 4]);
  assert.throws(
    () => d.maxPool2d(x, 5),
    /Cannot apply maxPool2d as a window must fit into the padded image: x is \[1, 1, 4, 4\]/,
  );
  assert.throws(() => d.maxPool2d(x, 2, { padding: 2 }), RangeError);
  assert.throws(() => d.avgPool2d(x, 0), /kernelSize must be whole/);
  assert.throws(() => d.adaptiveAvgPool2d(x, 1.5), RangeError);
  assert.throws(() => d.avgPool2d(d.zeros([4, 4]), 2), TypeError);
});
