import { throws } from "node:assert/strict";
import * as d from "../../mod.ts";
import { assertClose, assertGradient } from "../_check.ts";
import { hasLimit, withBindingBytes } from "../_limit.ts";

const rng = new d.Rng(11);

Deno.test("convTranspose2d() writes the window at every pixel", async () => {
  const x = d.tensor([[[[1, 2]]]]), weight = d.tensor([[[[1, 10, 100]]]]);
  const y = d.convTranspose2d(x, weight, d.tensor([0.5]), { stride: [1, 2] });
  await assertClose(y, d.tensor([[[[1.5, 10.5, 102.5, 20.5, 200.5]]]]));
});

type Case = [
  name: string,
  x: number[],
  weight: number[],
  d.ConvTranspose2dOptions,
];
const CASES: Case[] = [
  ["one pixel", [1, 1, 1, 1], [1, 1, 1, 1], {}],
  ["one pixel to an image", [2, 5, 1, 1], [5, 3, 4, 4], {}],
  ["doubling", [2, 3, 5, 4], [3, 9, 4, 4], { stride: 2, padding: 1 }],
  ["output padding", [1, 2, 4, 5], [2, 3, 3, 3], {
    stride: [2, 3],
    padding: 1,
    outputPadding: [1, 2],
  }],
  ["gaps between windows", [2, 2, 3, 4], [2, 2, 2, 2], { stride: 3 }],
  ["dilation", [1, 2, 5, 6], [2, 3, 3, 2], { dilation: [2, 3], padding: 1 }],
  ["stride and dilation", [1, 2, 4, 3], [2, 2, 3, 3], {
    stride: [2, 4],
    dilation: [3, 2],
    padding: [2, 1],
  }],
  ["groups", [2, 4, 3, 3], [4, 3, 3, 3], { groups: 2, stride: 2, padding: 1 }],
  ["depthwise", [2, 5, 3, 4], [5, 1, 3, 3], { groups: 5, stride: 2 }],
  ["past the tile", [2, 3, 9, 17], [3, 11, 3, 3], { stride: 2 }],
];
for (const [name, xShape, weightShape, options] of CASES) {
  // conv2d is tested by itself; with the same weight, one is the transpose of the other:
  // <convTranspose2d(x), u> = <x, conv2d(u)>, and the gradients follow from that.
  Deno.test(`convTranspose2d() is the transpose of conv2d() for ${name}`, async () => {
    const { stride, dilation, padding, groups } = options;
    const x = rng.normal(xShape).requireGrad();
    const weight = rng.normal(weightShape).requireGrad();
    const y = d.convTranspose2d(x, weight, undefined, options);
    const u = rng.normal(y.shape).requireGrad();
    const v = d.conv2d(u, weight, undefined, {
      stride,
      dilation,
      padding,
      groups,
    });
    await assertClose(
      d.sum(d.mul(y, u)),
      d.sum(d.mul(x, v)),
      { atol: 1e-3, rtol: 1e-4 },
    );
    const [dx, dWeight] = d.gradients(y, [x, weight], { upstream: u.detach() });
    const [du, dWeightToo] = d.gradients(v, [u, weight], {
      upstream: x.detach(),
    });
    await assertClose(dx!, v, { atol: 1e-4 });
    await assertClose(du!, y, { atol: 1e-4 });
    await assertClose(dWeight!, dWeightToo!, { atol: 1e-4 });
  });
}

Deno.test("convTranspose2d() has the right gradient", async () => {
  const x = rng.normal([1, 2, 2, 3]), weight = rng.normal([2, 2, 3, 2]);
  await assertGradient(
    (x, w, b) =>
      d.convTranspose2d(x, w, b, {
        stride: 2,
        padding: [1, 0],
        outputPadding: [1, 0],
      }),
    [x, weight, rng.normal([2])],
  );
});

Deno.test("convTranspose2d() adds its bias once where it works by pieces", {
  ignore: !hasLimit,
}, async () => {
  for (
    const [xShape, weightShape] of [
      [[2, 43, 5, 6], [43, 24, 3, 3]], // a weight
      [[1, 8, 8, 64], [8, 4, 3, 3]], // an image of the result
    ] as const
  ) {
    const x = rng.normal(xShape).requireGrad();
    const weight = rng.normal(weightShape).requireGrad();
    const bias = rng.normal([weightShape[1]]).requireGrad();
    const inputs = [x, weight, bias];
    const all = () => {
      const y = d.convTranspose2d(x, weight, bias, { stride: 2 });
      return [y, ...d.gradients(d.sum(d.square(y)), inputs)];
    };
    const want = all(), got = withBindingBytes(32768, all);
    for (const [i, tensor] of got.entries()) {
      await assertClose(tensor, want[i]!, { atol: 1e-2, rtol: 1e-4 });
    }
  }
});

Deno.test("convTranspose2d() of no image is empty", async () => {
  const y = d.convTranspose2d(d.zeros([0, 2, 3, 3]), d.zeros([2, 5, 3, 3]));
  await assertClose(y, d.zeros([0, 5, 5, 5]));
});

Deno.test("convTranspose2d() says what does not fit", () => {
  const x = d.zeros([2, 3, 4, 4]);
  throws(
    () => d.convTranspose2d(x, d.zeros([4, 5, 3, 3])),
    /Cannot apply convTranspose2d as x must have 4 channels: x is \[2, 3, 4, 4\], weight is \[4, 5, 3, 3\]/,
  );
  const weight = d.zeros([3, 5, 3, 3]);
  throws(
    () => d.convTranspose2d(x, weight, d.zeros([3])),
    /the bias must be \[5\]/,
  );
  throws(
    () => d.convTranspose2d(x, weight, undefined, { groups: 2 }),
    /groups must divide the input channels/,
  );
  throws(
    () => d.convTranspose2d(x, weight, undefined, { padding: 3 }),
    /must leave something/,
  );
  throws(
    () => d.convTranspose2d(x, weight, undefined, { outputPadding: 1 }),
    /RangeError: .*outputPadding must be less than stride or dilation: it is 1, 1, stride is 1, 1/,
  );
});
