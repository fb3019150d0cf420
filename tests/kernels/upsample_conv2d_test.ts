import { throws } from "node:assert/strict";
import * as d from "../../mod.ts";
import { assertClose, assertGradient } from "../_check.ts";

const rng = new d.Rng(21);

/** Window, scale and padding, beside sizes of an image. */
const CASES = [
  { window: [3, 3], scale: 2, padding: 1, size: [5, 7] },
  { window: [3, 3], scale: 2, padding: 1, size: [1, 1] },
  { window: [3, 3], scale: 2, padding: 0, size: [2, 3] },
  { window: [3, 3], scale: 3, padding: 2, size: [2, 4] },
  { window: [5, 2], scale: 2, padding: [4, 0], size: [3, 2] },
  { window: [1, 1], scale: 2, padding: 0, size: [3, 5] },
  { window: [2, 3], scale: 1, padding: [1, 1], size: [4, 3] },
] as const;

for (const { window, scale, padding, size } of CASES) {
  Deno.test(`upsampleConv2d() equals conv2d() of repeated pixels: ${window} over ${size} times ${scale}, padding ${padding}`, async () => {
    const x = rng.normal([2, 9, ...size]).requireGrad();
    const weight = rng.normal([11, 9, ...window]).requireGrad();
    const bias = rng.normal([11]).requireGrad();
    const got = d.upsampleConv2d(x, weight, bias, { scale, padding });
    const large = d.upsampleNearest(x, { scale });
    const want = d.conv2d(large, weight, bias, { padding });
    const tolerance = { atol: 3e-5 }; // sums of up to 90 products, in another order
    await assertClose(got, want, tolerance);
    const dy = rng.normal(want.shape);
    const inputs = [x, weight, bias];
    const gradients = d.gradients(want, inputs, { upstream: dy });
    for (
      const [i, dx] of d.gradients(got, inputs, { upstream: dy }).entries()
    ) {
      await assertClose(dx, gradients[i]!, tolerance);
    }
  });
}

Deno.test("upsampleConv2d() has the right gradient", async () => {
  await assertGradient(
    (x, weight, bias) => d.upsampleConv2d(x, weight, bias, { padding: 1 }),
    [rng.normal([1, 2, 2, 3]), rng.normal([3, 2, 3, 3]), rng.normal([3])],
  );
});

Deno.test("upsampleConv2d() gives known answers", async () => {
  const x = d.tensor([[[[1, 2]]]]), ones = d.ones([1, 1, 3, 3]);
  await assertClose(
    d.upsampleConv2d(x, ones, undefined, { padding: 1 }),
    d.tensor([[[[4, 8, 10, 8], [4, 8, 10, 8]]]]),
  );
});

Deno.test("upsampleConv2d() refuses what does not fit, by name", () => {
  const x = d.zeros([1, 2, 4, 4]), weight = d.zeros([3, 2, 3, 3]);
  const refuse = (body: () => unknown, name: string, message: RegExp) =>
    throws(body, { name, message });
  refuse(
    () => d.upsampleConv2d(d.zeros([1, 3, 4, 4]), weight),
    "TypeError",
    /upsampleConv2d as x must have 2 channels.*x is \[1, 3, 4, 4\]/,
  );
  refuse(
    () => d.upsampleConv2d(x, weight, d.zeros([2])),
    "TypeError",
    /a bias 3 elements.*bias is \[2\]/,
  );
  refuse(
    () => d.upsampleConv2d(x, d.zeros([3, 2, 9, 9])),
    "TypeError",
    /window must fit the enlarged image/,
  );
  refuse(
    () => d.upsampleConv2d(x, weight, undefined, { padding: 3 }),
    "RangeError",
    /padding must be less than the window: it is 3, 3, the window is 3 x 3/,
  );
  refuse(
    () => d.upsampleConv2d(x, weight, undefined, { scale: 1.5 }),
    "RangeError",
    /scale must be whole/,
  );
});
