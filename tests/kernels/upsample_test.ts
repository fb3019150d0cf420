import assert from "node:assert/strict";
import * as d from "../../mod.ts";
import { assertClose, assertGradient } from "../_check.ts";

const rng = new d.Rng(4);
/** Same, whole and broken factors, up and down, from and to one pixel. */
const SIZES: [number, number][] = [[3, 5], [6, 10], [7, 13], [2, 3], [1, 1], [
  3,
  67,
], [9, 5]];

/** Per output along one axis: the inputs it mixes and their shares, in doubles. */
function shares(
  from: number,
  to: number,
  corners: boolean,
): [number, number][][] {
  return Array.from({ length: to }, (_, o) => {
    const scale = corners ? (to > 1 ? (from - 1) / (to - 1) : 0) : from / to;
    // A little more than exact, so that a whole position is not rounded down.
    const p = (corners ? o * scale : Math.max(0, (o + 0.5) * scale - 0.5)) +
      1e-12;
    const i = Math.floor(p);
    return [[i, 1 - (p - i)], [Math.min(i + 1, from - 1), p - i]];
  });
}

for (const size of SIZES) {
  Deno.test(`upsampleNearest() takes the pixel before, 3x5 to ${size.join("x")}`, async () => {
    const x = rng.normal([2, 2, 3, 5]);
    const host = await x.data();
    const want: number[] = [];
    for (let plane = 0; plane < 4; plane++) {
      for (let y = 0; y < size[0]; y++) {
        for (let o = 0; o < size[1]; o++) {
          const row = plane * 3 + Math.floor(y * 3 / size[0]);
          want.push(host[row * 5 + Math.floor(o * 5 / size[1])]!);
        }
      }
    }
    await assertClose(d.upsampleNearest(x, size), want, { atol: 0, rtol: 0 });
  });

  Deno.test(`upsampleBilinear() mixes the pixels around, 3x5 to ${size.join("x")}`, async () => {
    const x = rng.normal([2, 2, 3, 5]);
    const host = await x.data();
    for (const alignCorners of [false, true]) {
      const columns = shares(5, size[1], alignCorners);
      const want: number[] = [];
      for (let plane = 0; plane < 4; plane++) {
        for (const rows of shares(3, size[0], alignCorners)) {
          for (const pixels of columns) {
            let total = 0;
            for (const [y, a] of rows) {
              for (const [o, b] of pixels) {
                total += a * b * host[(plane * 3 + y) * 5 + o]!;
              }
            }
            want.push(total);
          }
        }
      }
      await assertClose(d.upsampleBilinear(x, size, { alignCorners }), want, {
        atol: 2e-6,
      });
    }
  });
}

Deno.test("upsampling has the right gradient at every size", async () => {
  const x = rng.normal([1, 2, 3, 5]);
  for (const size of SIZES.slice(0, 5)) {
    await assertGradient((x) => d.upsampleNearest(x, size), [x]);
    await assertGradient((x) => d.upsampleBilinear(x, size), [x]);
    await assertGradient(
      (x) => d.upsampleBilinear(x, size, { alignCorners: true }),
      [x],
    );
  }
});

Deno.test("the gradient of upsampling hands out all of dy", async () => {
  const x = d.zeros([1, 1, 29, 31]).requireGrad();
  for (const size of [[64, 65], [300, 7], [1, 31]] as [number, number][]) {
    for (
      const y of [
        d.upsampleNearest(x, size),
        d.upsampleBilinear(x, size),
        d.upsampleBilinear(x, size, { alignCorners: true }),
      ]
    ) {
      const [dx] = d.gradients(d.sum(y), [x]);
      await assertClose(d.sum(dx!), [size[0] * size[1]], { rtol: 1e-5 });
    }
  }
});

Deno.test("upsampleNearest() takes a factor", async () => {
  const x = d.tensor([[[[1, 2], [3, 4]]]]);
  const y = d.upsampleNearest(x, { scale: 2 });
  assert.deepEqual(await y.toArray(), [[[
    [1, 1, 2, 2],
    [1, 1, 2, 2],
    [3, 3, 4, 4],
    [3, 3, 4, 4],
  ]]]);
  assert.deepEqual(
    d.upsampleNearest(x, { scale: [1, 2.5] }).shape,
    [1, 1, 2, 5],
  );
});

Deno.test("upsampling passes an empty batch through and says what is wrong", () => {
  assert.deepEqual(d.upsampleNearest(d.zeros([0, 2, 3, 3]), 5).shape, [
    0,
    2,
    5,
    5,
  ]);
  const x = d.zeros([1, 1, 4, 4]);
  assert.throws(() => d.upsampleNearest(x, 0), RangeError);
  assert.throws(() => d.upsampleBilinear(x, [2.5, 2]), /size is 2.5, 2/);
  assert.throws(() => d.upsampleBilinear(d.zeros([4, 4]), 2), TypeError);
});
