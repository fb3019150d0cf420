import { deepEqual, equal, throws } from "node:assert/strict";
import * as d from "../../mod.ts";
import { assertClose } from "../_check.ts";
import { hasLimit, withBindingBytes } from "../_limit.ts";

const rng = new d.Rng(5);

/** What `body` returns with tiles in shared memory, and with the plain kernels. */
function both<T>(variant: d.Variant, body: () => T): [got: T, want: T] {
  return [
    d.withVariant(variant, body).result,
    d.withVariant("register", body).result,
  ];
}

// One, primes, more than a tile, and a sum cut into pieces.
const SIZES: [number, number, number][] = [
  [1, 1, 1],
  [65, 17, 67],
  [131, 9, 3],
  [3, 1100, 37],
  [70, 66, 512],
];
for (const variant of ["tile64", "tile128", "panel"] as const) {
  for (const [rows, k, cols] of SIZES) {
    Deno.test(`matmul() of [${rows}, ${k}] x [${k}, ${cols}] by ${variant} equals the plain one`, async () => {
      for (const transposeA of [false, true]) {
        for (const transposeB of [false, true]) {
          const a = rng.normal(transposeA ? [2, k, rows] : [2, rows, k]);
          const b = rng.normal(transposeB ? [2, cols, k] : [2, k, cols]);
          const [got, want] = both(
            variant,
            () => d.matmul(a, b, { transposeA, transposeB }),
          );
          await assertClose(got, want, { atol: 1e-4 });
        }
      }
    });
  }
}

// The form reads by fours: less than a tile, more, and a sum in pieces; then lengths it leaves.
for (
  const [rows, k, cols] of [
    [4, 4, 4],
    [36, 44, 68],
    [8, 1100, 36],
    [33, 8, 40],
    [7, 5, 12],
    [6, 8, 9],
  ] as const
) {
  Deno.test(`matmul() of [${rows}, ${k}] x [${k}, ${cols}] by subgroup equals the plain one`, async () => {
    for (const transposeA of [false, true]) {
      for (const transposeB of [false, true]) {
        const a = rng.normal(transposeA ? [2, k, rows] : [2, rows, k]);
        const b = rng.normal(transposeB ? [2, cols, k] : [2, k, cols]);
        const one = rng.normal(transposeB ? [cols, k] : [k, cols]);
        for (const right of [b, one]) {
          const [got, want] = both(
            "subgroup",
            () => d.matmul(a, right, { transposeA, transposeB }),
          );
          await assertClose(got, want, { atol: 1e-4 });
        }
      }
    }
  });
}

// Of 8,192 elements that a binding sees: many rows, a long k, few columns of both, a batch.
for (
  const [aShape, bShape] of [
    [[1036, 36], [36, 44]],
    [[36, 3000], [3000, 68]],
    [[4, 1500], [1500, 8]],
    [[9, 36, 44], [9, 44, 36]],
  ] as const
) {
  Deno.test(
    `matmul() of [${aShape}] x [${bShape}] by pieces is the same in both forms without barriers`,
    {
      ignore: !hasLimit,
    },
    async () => {
      const a = rng.normal(aShape).requireGrad();
      const b = rng.normal(bShape).requireGrad();
      const [got, want] = withBindingBytes(32768, () =>
        both("subgroup", () => {
          const y = d.matmul(a, b);
          return [y, ...d.gradients(d.sum(d.square(y)), [a, b])];
        }));
      for (const [i, tensor] of got.entries()) {
        await assertClose(tensor, want[i]!, { atol: 2e-3, rtol: 1e-4 });
      }
    },
  );
}

Deno.test("products take the form for subgroups where they can, and the plain one elsewhere", () => {
  const taken = (rows: number, k: number, cols: number) =>
    Object.values(
      d.withVariant(
        "subgroup",
        () => d.matmul(d.zeros([rows, k]), d.zeros([k, cols])).dispose(),
      ).taken,
    )[0];
  const can = d.deviceInfo().features.includes("subgroups");
  equal(taken(64, 64, 64), can ? "subgroup" : "register");
  equal(taken(64, 63, 64), "register");
  equal(taken(64, 64, 62), "register");
});

for (const variant of ["tile64", "subgroup", "panel"] as const) {
  Deno.test(`linear() by ${variant} adds its bias once, also to a sum in pieces`, async () => {
    for (const k of [5, 1100]) {
      const x = rng.normal([3, k]), weight = rng.normal([72, k]);
      const bias = rng.normal([72]);
      const [got, want] = both(variant, () => d.linear(x, weight, bias));
      await assertClose(got, want, { atol: 1e-4 });
    }
  });
}

const CONVOLUTIONS: [string, number[], number[], d.Conv2dOptions][] = [
  ["one pixel", [1, 1, 1, 1], [1, 1, 1, 1], {}],
  ["more than a tile", [2, 19, 6, 7], [67, 19, 3, 3], { padding: 1 }],
  ["a weight gradient in pieces", [3, 2, 17, 19], [9, 2, 3, 3], { padding: 1 }],
  ["stride and dilation", [1, 2, 11, 12], [2, 2, 3, 3], {
    stride: [2, 4],
    dilation: [3, 2],
    padding: [4, 3],
  }],
  ["asymmetric padding", [2, 2, 6, 7], [3, 2, 3, 3], {
    stride: 2,
    padding: [0, 1, 2, 1],
  }],
  ["groups", [2, 6, 5, 5], [4, 3, 3, 3], { groups: 2, padding: 1 }],
  ["lines of four pixels", [2, 5, 8, 8], [37, 5, 3, 3], { padding: 1 }],
  ["one tap", [3, 36, 4, 12], [40, 36, 1, 1], {}],
  ["one tap on many pixels", [5, 6, 16, 18], [8, 3, 1, 1], { groups: 2 }],
  ["images of fewer than four pixels", [3, 2, 2, 3], [7, 2, 3, 3], {
    padding: 1,
  }],
  ["windows that leave gaps", [2, 3, 10, 11], [2, 3, 1, 2], { stride: 3 }],
  ["groups, stride and lines of four", [2, 16, 9, 16], [72, 8, 3, 2], {
    groups: 2,
    stride: [1, 2],
    padding: [1, 0],
  }],
];
for (
  const [variant, name, xShape, weightShape, options] of CONVOLUTIONS
    .flatMap((row) =>
      (["tile64", "subgroup", "panel"] as const).map((variant) =>
        [variant, ...row] as const
      )
    )
) {
  Deno.test(`conv2d() and its gradients by ${variant} equal the plain ones for ${name}`, async () => {
    const x = rng.normal(xShape).requireGrad();
    const weight = rng.normal(weightShape).requireGrad();
    const bias = rng.normal([weightShape[0]!]);
    const dy = rng.normal(d.conv2d(x, weight, bias, options).shape);
    const [got, want] = both(variant, () => {
      const y = d.conv2d(x, weight, bias, options);
      return [y, ...d.gradients(y, [x, weight], { upstream: dy })];
    });
    for (const [i, tensor] of got.entries()) {
      await assertClose(tensor, want[i]!, { atol: 2e-4 });
    }
  });
}

for (const variant of ["tile64", "panel"] as const) {
  Deno.test(`products of nothing are empty or zero by ${variant}`, async () => {
    const [empty, zero] = d.withVariant(variant, () => [
      d.matmul(d.zeros([0, 3]), d.zeros([3, 2])),
      d.matmul(d.zeros([2, 0]), d.zeros([0, 3])),
    ]).result;
    deepEqual(empty!.shape, [0, 2]);
    await assertClose(zero!, d.zeros([2, 3]));
  });
}

Deno.test("a software driver leaves a form whose tiles would be mostly idle", {
  ignore: !!d.deviceError() || !d.deviceInfo().software ||
    d.deviceInfo().executor === "cpu",
}, () => {
  const usual = (rows: number, cols: number) =>
    Object.values(
      d.withVariant(
        undefined,
        () => d.matmul(d.zeros([rows, 64]), d.zeros([64, cols])).dispose(),
      ).taken,
    )[0];
  const can = d.deviceInfo().features.includes("subgroups");
  equal(usual(64, 64), can ? "subgroup" : "register");
  equal(usual(64, 4), "register");
  equal(usual(3, 64), "register");
});

Deno.test("setVariants() decides for products of about the same sizes", () => {
  const a = d.zeros([60, 70]), b = d.zeros([70, 4]);
  const taken = () => d.withVariant(undefined, () => d.matmul(a, b)).taken;
  const [[product, usual]] = Object.entries(taken()) as [[string, d.Variant]];
  equal(product, "matmul 1 4 64 64"); // few columns: the transposed product
  if (d.deviceInfo().software) {
    equal(usual, d.deviceInfo().executor === "cpu" ? "panel" : "register");
  }
  try {
    d.setVariants({ [product]: "tile128" });
    deepEqual(taken(), { [product]: "tile128" });
    throws(
      () => d.setVariants({ [product]: "tile16" }),
      /RangeError: Cannot set the variant of "matmul 1 4 64 64" as it must be one of register, subgroup, tile64, tile128, panel: it is "tile16"/,
    );
    deepEqual(taken(), { [product]: "tile128" });
  } finally {
    d.setVariants({});
  }
  deepEqual(taken(), { [product]: usual });
});
