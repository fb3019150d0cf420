import { deepEqual, throws } from "node:assert/strict";
import * as d from "../../mod.ts";
import { assertClose, assertGradient } from "../_check.ts";
import { hasLimit, withBindingBytes } from "../_limit.ts";

const rng = new d.Rng(7);

/** Value and gradients from the definition, in doubles; padding is [left, right, top, bottom]. */
function exact(
  [x, weight, bias, dy]: Float64Array[],
  [batch, inChannels, height, width]: number[],
  [outChannels, channels, kh, kw]: number[],
  [outHeight, outWidth]: number[],
  options: {
    stride: number[];
    padding: number[];
    dilation: number[];
    groups: number;
  },
) {
  const { stride, padding, dilation, groups } = options;
  const y = new Float64Array(dy!.length), dx = new Float64Array(x!.length);
  const dWeight = new Float64Array(weight!.length);
  const dBias = new Float64Array(bias!.length);
  for (let n = 0; n < batch!; n++) {
    for (let o = 0; o < outChannels!; o++) {
      const group = Math.floor(o / (outChannels! / groups));
      for (let py = 0; py < outHeight!; py++) {
        for (let px = 0; px < outWidth!; px++) {
          const p = ((n * outChannels! + o) * outHeight! + py) * outWidth! + px;
          y[p]! += bias![o]!;
          dBias[o]! += dy![p]!;
          for (let c = 0; c < channels!; c++) {
            const plane = n * inChannels! + group * channels! + c;
            for (let ky = 0; ky < kh!; ky++) {
              for (let kx = 0; kx < kw!; kx++) {
                const qy = py * stride[0]! - padding[2]! + ky * dilation[0]!;
                const qx = px * stride[1]! - padding[0]! + kx * dilation[1]!;
                if (qy < 0 || qy >= height! || qx < 0 || qx >= width!) continue;
                const q = (plane * height! + qy) * width! + qx;
                const w = ((o * channels! + c) * kh! + ky) * kw! + kx;
                y[p]! += weight![w]! * x![q]!;
                dx[q]! += weight![w]! * dy![p]!;
                dWeight[w]! += dy![p]! * x![q]!;
              }
            }
          }
        }
      }
    }
  }
  return [y, dx, dWeight, dBias];
}

type Case = [name: string, x: number[], weight: number[], d.Conv2dOptions];
const CASES: Case[] = [
  ["one pixel", [1, 1, 1, 1], [1, 1, 1, 1], {}],
  ["3x3", [2, 3, 7, 5], [4, 3, 3, 3], { padding: 1 }],
  ["1x1 past the tile", [3, 5, 11, 13], [11, 5, 1, 1], {}],
  ["more than 256 weights in a row", [1, 29, 4, 3], [3, 29, 3, 3], {
    padding: 1,
  }],
  ["a weight gradient in pieces", [3, 2, 17, 19], [9, 2, 3, 3], { padding: 1 }],
  ["stride 2 with pixels left over", [2, 3, 8, 9], [5, 3, 3, 3], { stride: 2 }],
  ["a stride larger than the window", [2, 2, 9, 11], [3, 2, 2, 2], {
    stride: [3, 4],
  }],
  ["asymmetric padding", [2, 2, 6, 7], [3, 2, 3, 3], {
    stride: 2,
    padding: [0, 1, 2, 1],
  }],
  ["a flat window", [2, 3, 5, 9], [2, 3, 1, 7], { padding: [0, 3] }],
  ["dilation", [1, 2, 9, 10], [3, 2, 3, 2], { dilation: [2, 3], padding: 2 }],
  ["stride and dilation", [1, 2, 11, 12], [2, 2, 3, 3], {
    stride: [2, 4],
    dilation: [3, 2],
    padding: [4, 3],
  }],
  ["groups", [2, 6, 5, 5], [4, 3, 3, 3], { groups: 2, padding: 1 }],
  ["depthwise", [2, 5, 6, 5], [10, 1, 3, 3], { groups: 5, padding: 1 }],
];
for (const [name, xShape, weightShape, options] of CASES) {
  Deno.test(`conv2d() and its gradients are exact for ${name}`, async () => {
    const x = rng.normal(xShape).requireGrad();
    const weight = rng.normal(weightShape).requireGrad();
    const bias = rng.normal([weightShape[0]!]).requireGrad();
    const y = d.conv2d(x, weight, bias, options);
    const dy = rng.normal(y.shape);
    const got = [y, ...d.gradients(y, [x, weight, bias], { upstream: dy })];
    const both = (value: d.Pair) =>
      typeof value === "number" ? [value, value] : [...value];
    const { padding = 0 } = options;
    const around = typeof padding === "number" || padding.length === 2
      ? both(padding).flatMap((n) => [n, n])
      : [...padding];
    const want = exact(
      await Promise.all(
        [x, weight, bias, dy].map(async (t) =>
          Float64Array.from(await t.data())
        ),
      ),
      xShape,
      weightShape,
      y.shape.slice(2),
      {
        stride: both(options.stride ?? 1),
        padding: typeof padding !== "number" && padding.length === 2
          ? [padding[1], padding[1], padding[0], padding[0]]
          : around,
        dilation: both(options.dilation ?? 1),
        groups: options.groups ?? 1,
      },
    );
    for (const [i, tensor] of got.entries()) {
      await assertClose(tensor, want[i]!, { atol: i < 2 ? 1e-5 : 1e-4 });
    }
    // Without a bias, nothing but the bias is missing.
    await assertClose(
      d.add(
        d.conv2d(x, weight, undefined, options),
        d.reshape(bias, [-1, 1, 1]),
      ),
      y,
    );
  });
}

Deno.test("conv2d() has the right gradient", async () => {
  const x = rng.normal([1, 2, 4, 3]), weight = rng.normal([2, 2, 2, 2]);
  await assertGradient(
    (x, w, b) => d.conv2d(x, w, b, { stride: [1, 2], padding: [1, 0, 0, 1] }),
    [x, weight, rng.normal([2])],
  );
});

// Of 8,192 elements that a binding sees.
for (
  const [name, xShape, weightShape, options] of [
    ["a weight", [2, 24, 5, 6], [43, 24, 3, 3], { padding: 1 }],
    ["a weight of one row", [2, 1088, 4, 4], [1, 1088, 3, 3], {}],
    ["a batch", [9, 3, 20, 32], [6, 3, 3, 3], { padding: 1 }],
    ["an image of few channels", [2, 3, 60, 64], [2, 3, 3, 3], {}],
    ["an image of the result", [2, 1, 40, 64], [5, 1, 3, 3], { padding: 1 }],
    ["an image, and a stride", [1, 5, 60, 64], [3, 5, 3, 3], { stride: 2 }],
    ["groups", [2, 32, 5, 6], [64, 16, 3, 3], { groups: 2, padding: 1 }],
    ["single channels", [2, 5, 50, 64], [10, 1, 3, 3], { groups: 5 }],
  ] as const
) {
  for (const variant of ["register", "subgroup"] as const) {
    Deno.test(
      `conv2d() and its gradients by ${variant} work by pieces for ${name}`,
      {
        ignore: !hasLimit,
      },
      async () => {
        const x = rng.normal(xShape).requireGrad();
        const weight = rng.normal(weightShape).requireGrad();
        const bias = rng.normal([weightShape[0]]).requireGrad();
        const dy = rng.normal(d.conv2d(x, weight, bias, options).shape);
        const all = () => {
          const y = d.conv2d(x, weight, bias, options);
          return [y, ...d.gradients(y, [x, weight, bias], { upstream: dy })];
        };
        const want = d.withVariant("register", all).result;
        const got = withBindingBytes(
          32768,
          () => d.withVariant(variant, all).result,
        );
        for (const [i, tensor] of got.entries()) {
          await assertClose(tensor, want[i]!, { atol: 1e-3, rtol: 1e-4 });
        }
      },
    );
  }
}

Deno.test("conv2d() does not depend on the rest of the batch", async () => {
  const x = rng.normal([3, 2, 5, 5]), weight = rng.normal([4, 2, 3, 3]);
  const y = d.conv2d(x, weight);
  for (let n = 0; n < 3; n++) {
    const one = d.conv2d(d.narrow(x, 0, n, n + 1), weight);
    deepEqual(await one.data(), await d.narrow(y, 0, n, n + 1).data());
  }
});

Deno.test("conv2d() of no image is empty, and its gradients are zero", async () => {
  const weight = rng.normal([3, 2, 3, 3]).requireGrad();
  const bias = rng.normal([3]).requireGrad();
  const y = d.conv2d(d.zeros([0, 2, 5, 5]), weight, bias);
  await assertClose(y, d.zeros([0, 3, 3, 3]));
  const [dWeight, dBias] = d.gradients(y, [weight, bias], {
    upstream: d.zeros(y.shape),
  });
  await assertClose(dWeight!, d.zeros(weight.shape));
  await assertClose(dBias!, d.zeros([3]));
});

Deno.test("conv2d() says what does not fit", () => {
  const x = d.zeros([2, 3, 8, 8]);
  throws(
    () => d.conv2d(x, d.zeros([5, 4, 3, 3])),
    /Cannot apply conv2d as x must have 4 channels: x is \[2, 3, 8, 8\], weight is \[5, 4, 3, 3\]/,
  );
  throws(
    () => d.conv2d(x, d.zeros([4, 1, 3, 3]), undefined, { groups: 3 }),
    /groups must divide .*groups is 3/,
  );
  throws(
    () => d.conv2d(x, d.zeros([5, 3, 3, 3]), d.zeros([4])),
    /the bias must be \[5\]/,
  );
  throws(
    () => d.conv2d(x, d.zeros([5, 3, 9, 9])),
    /the window must fit into the padded image/,
  );
  throws(() => d.conv2d(d.zeros([3, 8, 8]), d.zeros([5, 3, 3, 3])), TypeError);
  const weight = d.zeros([5, 3, 3, 3]);
  throws(
    () => d.conv2d(x, weight, undefined, { stride: 0 }),
    /RangeError: Cannot apply conv2d as stride must be whole and at least 1: it is 0, 0/,
  );
  throws(() => d.conv2d(x, weight, undefined, { padding: -1 }), RangeError);
});
