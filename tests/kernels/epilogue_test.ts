import { deepEqual, equal, throws } from "node:assert/strict";
import * as d from "../../mod.ts";
import { assertClose, assertGradient } from "../_check.ts";
import { hasLimit, withBindingBytes } from "../_limit.ts";

const rng = new d.Rng(23);

const OPS: Record<d.Activation, (x: d.Tensor) => d.Tensor> = {
  relu: d.relu,
  leakyRelu: (x) => d.leakyRelu(x, 0.2),
  silu: d.silu,
  sigmoid: d.sigmoid,
  tanh: d.tanh,
};
const ACTIVATIONS = Object.keys(OPS) as d.Activation[];

/** Both convolutions, bound to a way of moving the window. */
type Convolution = (
  x: d.Tensor,
  weight: d.Tensor,
  bias?: d.Tensor,
  epilogue?: d.Epilogue,
) => d.Tensor;
const conv =
  (options: d.Conv2dOptions = {}): Convolution => (x, weight, bias, epilogue) =>
    d.conv2d(x, weight, bias, { ...options, ...epilogue });
const transposed =
  (options: d.ConvTranspose2dOptions): Convolution =>
  (x, weight, bias, epilogue) =>
    d.convTranspose2d(x, weight, bias, { ...options, ...epilogue });

// Tiles that reach over images and over the end of a group, and a phase with fewer pixels.
const CASES: [
  name: string,
  x: number[],
  weight: number[],
  channels: number,
  run: Convolution,
][] = [
  ["one pixel", [1, 1, 1, 1], [1, 1, 1, 1], 1, conv()],
  ["3x3", [2, 3, 7, 5], [9, 3, 3, 3], 9, conv({ padding: 1 })],
  ["1x1 past the tile", [5, 3, 3, 11], [67, 3, 1, 1], 67, conv()],
  ["lines of four", [3, 4, 8, 8], [33, 4, 3, 3], 33, conv({ padding: 1 })],
  [
    "stride and groups",
    [2, 6, 9, 10],
    [14, 3, 3, 2],
    14,
    conv({ stride: [2, 3], groups: 2 }),
  ],
  [
    "a transposed one with groups",
    [2, 6, 5, 3],
    [6, 5, 3, 3],
    10,
    transposed({ stride: 2, padding: 1, outputPadding: [0, 1], groups: 2 }),
  ],
];
for (const [name, xShape, weightShape, channels, run] of CASES) {
  for (const variant of ["register", "subgroup", "tile64", "panel"] as const) {
    Deno.test(`a convolution by ${variant} adds and activates as ops do, for ${name}`, async () => {
      const x = rng.normal(xShape), weight = rng.normal(weightShape);
      const bias = rng.normal([channels]);
      const [got, want] = d.withVariant(variant, () => {
        const y = run(x, weight, bias);
        const perChannel = rng.normal([y.shape[0]!, channels, 1, 1]);
        const perPixel = rng.normal(y.shape);
        const plain = run(x, weight);
        return [
          [
            run(x, weight, bias, { add: perChannel }),
            run(x, weight, bias, { add: perPixel, activation: "relu" }),
            run(x, weight, undefined, { add: perPixel, activation: "relu" }),
          ],
          [
            d.add(y, perChannel),
            d.relu(d.add(y, perPixel)),
            d.relu(d.add(plain, perPixel)),
          ],
        ] as const;
      }).result;
      for (const [i, tensor] of got.entries()) {
        await assertClose(tensor, want[i]!, { atol: 1e-5 });
      }
    });
  }
}

for (const activation of ACTIVATIONS) {
  Deno.test(`conv2d() with ${activation} equals the op, with and without gradients`, async () => {
    const x = rng.normal([2, 3, 5, 4]), weight = rng.normal([7, 3, 3, 3]);
    const bias = rng.normal([7]), add = rng.normal([2, 7, 1, 1]);
    const inputs = [x, weight, bias, add];
    const run = (x: d.Tensor, w: d.Tensor, b: d.Tensor, add: d.Tensor) =>
      d.conv2d(x, w, b, { padding: 1, add, activation, negativeSlope: 0.2 });
    const composed = (x: d.Tensor, w: d.Tensor, b: d.Tensor, add: d.Tensor) =>
      OPS[activation](d.add(d.conv2d(x, w, b, { padding: 1 }), add));
    const want = composed(x, weight, bias, add);
    await assertClose(run(x, weight, bias, add), want);
    const dy = rng.normal(want.shape);
    const [got, expected] = [run, composed].map((f) => {
      const leaves = inputs.map((input) => input.detach().requireGrad());
      const y = f(...leaves as [d.Tensor, d.Tensor, d.Tensor, d.Tensor]);
      return [y, ...d.gradients(y, leaves, { upstream: dy })];
    });
    await assertClose(got![0]!, want);
    for (const [i, tensor] of got!.entries()) {
      await assertClose(tensor, expected![i]!, { atol: 1e-4, rtol: 1e-4 });
    }
  });
}

Deno.test("conv2d() with an epilogue has the right gradient", async () => {
  const x = rng.normal([2, 2, 4, 3]), weight = rng.normal([2, 2, 2, 2]);
  const bias = rng.normal([2]);
  const options = { stride: [1, 2], padding: [1, 0, 0, 1] } as const;
  const { shape } = d.conv2d(x, weight, bias, options);
  for (const add of [rng.normal(shape), rng.normal([2, 2, 1, 1])]) {
    await assertGradient(
      (x, w, b, add) =>
        d.conv2d(x, w, b, { ...options, add, activation: "tanh" }),
      [x, weight, bias, add],
    );
    await assertGradient(
      (x, w, add) => d.conv2d(x, w, undefined, { ...options, add }),
      [x, weight, add],
    );
  }
});

Deno.test("convTranspose2d() with an epilogue has the right gradient", async () => {
  await assertGradient(
    (x, w, b, add) =>
      d.convTranspose2d(x, w, b, { stride: 2, add, activation: "sigmoid" }),
    [
      rng.normal([2, 3, 2, 3]),
      rng.normal([3, 2, 2, 2]),
      rng.normal([2]),
      rng.normal([2, 2, 1, 1]),
    ],
  );
});

Deno.test("only what is added may want a gradient, and x may be what is added", async () => {
  const x = rng.normal([2, 3, 4, 4]), weight = rng.normal([3, 3, 3, 3]);
  const add = rng.normal([2, 3, 4, 4]).requireGrad();
  const y = d.conv2d(x, weight, undefined, { padding: 1, add });
  const dy = rng.normal(y.shape);
  await assertClose(d.gradients(y, [add], { upstream: dy })[0]!, dy);
  const leaf = x.detach().requireGrad();
  const same = (f: (x: d.Tensor) => d.Tensor) =>
    d.gradients(f(leaf), [leaf], { upstream: dy })[0]!;
  await assertClose(
    same((x) => d.conv2d(x, weight, undefined, { padding: 1, add: x })),
    same((x) => d.add(d.conv2d(x, weight, undefined, { padding: 1 }), x)),
    { atol: 1e-5 },
  );
});

Deno.test("an epilogue takes no further dispatch, also in a captured step", async () => {
  const x = rng.normal([2, 3, 6, 5]), weight = rng.normal([4, 3, 3, 3]);
  const add = rng.normal([2, 4, 4, 3]);
  const capture = (epilogue: d.Epilogue) =>
    d.capture(() => ({ y: d.conv2d(x, weight, undefined, epilogue) }));
  const plain = capture({}), whole = capture({ add, activation: "silu" });
  equal(whole.info.dispatches, plain.info.dispatches);
  whole.replay({});
  const [outputs] = await whole.outputs();
  await assertClose(
    outputs!.y,
    d.silu(d.add(d.conv2d(x, weight), add)),
  );
  plain.dispose();
  whole.dispose();
});

Deno.test(
  "what is added is cut with the batch where a binding sees a part of it",
  {
    ignore: !hasLimit,
  },
  async () => {
    const x = rng.normal([5, 4, 4, 4]), weight = rng.normal([64, 4, 3, 3]);
    for (const add of [rng.normal([5, 64, 2, 2]), rng.normal([5, 64, 1, 1])]) {
      const run = () => d.conv2d(x, weight, undefined, { add });
      await assertClose(withBindingBytes(16 * 4 * 64 * 4, run), run());
    }
  },
);

Deno.test("a convolution of no image has an epilogue too", () => {
  const y = d.conv2d(d.zeros([0, 2, 5, 5]), d.zeros([3, 2, 3, 3]), undefined, {
    add: d.zeros([0, 3, 1, 1]),
    activation: "relu",
  });
  deepEqual(y.shape, [0, 3, 3, 3]);
});

Deno.test("convolutions say what does not fit their epilogue", () => {
  const x = d.zeros([2, 3, 8, 8]), weight = d.zeros([5, 3, 3, 3]);
  const run = (epilogue: d.Epilogue) => () =>
    d.conv2d(x, weight, undefined, epilogue);
  for (const shape of [[2, 5], [1, 5, 1, 1], [2, 4, 1, 1], [2, 5, 8, 8]]) {
    throws(
      run({ add: d.zeros(shape) }),
      /TypeError: Cannot apply conv2d as add must be f32 \[2, 5, 6, 6\] or \[2, 5, 1, 1\]: add is /,
    );
  }
  throws(run({ add: d.zeros([2, 5, 1, 1], "i32") }), /add must be f32/);
  throws(
    run({ activation: "gelu" as d.Activation }),
    /RangeError: Cannot apply conv2d as activation must be one of relu, leakyRelu, silu, sigmoid, tanh: it is gelu/,
  );
  throws(
    run({ activation: "leakyRelu", negativeSlope: -0.1 }),
    /RangeError: Cannot apply conv2d as negativeSlope must not be negative: it is -0.1/,
  );
  throws(
    () =>
      d.convTranspose2d(x, d.zeros([3, 2, 2, 2]), undefined, {
        add: d.zeros([2, 3, 1, 1]),
      }),
    /Cannot apply convTranspose2d as add must be f32 \[2, 2, 9, 9\] or \[2, 2, 1, 1\]/,
  );
});
