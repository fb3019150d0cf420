import assert from "node:assert/strict";
import {
  Adam,
  capture,
  conv2d,
  flip,
  gradients,
  linear,
  mseLoss,
  mul,
  Rng,
  scale,
  SpectralConv2d,
  SpectralEmbedding,
  SpectralLinear,
  square,
  sum,
  tensor,
} from "../../mod.ts";
import { assertClose } from "../_check.ts";

/** Largest singular value of `[rows, cols]`, by many power iterations of WᵀW in doubles. */
function largestSingular(w: ArrayLike<number>, rows: number): number {
  const cols = w.length / rows;
  let v = Array.from({ length: cols }, (_, i) => 1 + 0.1 * i), sigma = 0;
  for (let i = 0; i < 1000; i++) {
    const wv = Array.from(
      { length: rows },
      (_, r) => v.reduce((s, value, c) => s + w[r * cols + c]! * value, 0),
    );
    const back = v.map((_, c) =>
      wv.reduce((s, value, r) => s + w[r * cols + c]! * value, 0)
    );
    const length = Math.hypot(...back);
    sigma = Math.sqrt(length / Math.hypot(...v));
    v = back.map((value) => value / length);
  }
  return sigma;
}

Deno.test("Spectral layers divide their weight by its largest singular value", async () => {
  const rng = new Rng(1);
  for (
    const layer of [
      new SpectralLinear(7, 5, rng),
      new SpectralConv2d(3, 4, [2, 3], rng),
      new SpectralLinear(1, 3, rng),
      new SpectralEmbedding(6, 4, rng),
    ]
  ) {
    for (let i = 0; i < 100; i++) layer.weight({ training: true });
    const raw = await layer.weight_orig.data();
    const sigma = largestSingular(raw, layer.weight_orig.shape[0]!);
    const want = raw.map((value) => value / sigma);
    await assertClose(layer.weight(), want, { rtol: 1e-5, atol: 1e-6 });
  }
});

Deno.test("Spectral layers are near their norm at first, and evaluation leaves u as it is", async () => {
  const layer = new SpectralLinear(20, 30, new Rng(2));
  const before = await layer.weight_u.data();
  const values = await layer.weight().data();
  const sigma = largestSingular(values, 30);
  assert.ok(Math.abs(sigma - 1) < 0.05, `${sigma}`);
  assert.deepEqual(await layer.weight_u.data(), before);
  layer.weight({ training: true });
  assert.notDeepEqual(await layer.weight_u.data(), before);
});

Deno.test("Spectral layers have the state of PyTorch's, and apply what they normalise", async () => {
  const rng = new Rng(3);
  const conv = new SpectralConv2d(2, 4, 3, rng, { padding: 1 });
  assert.deepEqual(
    Object.entries(conv.stateDict()).map(([name, { shape }]) => [name, shape]),
    [
      ["weight_orig", [4, 2, 3, 3]],
      ["bias", [4]],
      ["weight_u", [4]],
      ["weight_v", [18]],
    ],
  );
  assert.deepEqual(Object.keys(conv.namedParameters()), [
    "weight_orig",
    "bias",
  ]);
  const x = rng.normal([1, 2, 5, 5]);
  await assertClose(
    conv.forward(x),
    conv2d(x, conv.weight(), conv.bias!, { padding: 1 }),
  );
  const dense = new SpectralLinear(5, 3, rng, { bias: false });
  assert.equal(dense.bias, null);
  await assertClose(dense.forward(x), linear(x, dense.weight()));
  const table = new SpectralEmbedding(4, 3, rng);
  assert.deepEqual(Object.keys(table.stateDict()), [
    "weight_orig",
    "weight_u",
    "weight_v",
  ]);
  const rows = await table.weight().data();
  await assertClose(
    table.forward(tensor([3, 0], undefined, "i32")),
    [...rows.subarray(9), ...rows.subarray(0, 3)],
  );
});

Deno.test("The gradient of a spectral weight flows through σ = uᵀ W v", async () => {
  const rng = new Rng(4);
  const layer = new SpectralLinear(4, 3, rng);
  const upstream = rng.normal([3, 4]);
  const [gradient] = gradients(sum(mul(layer.weight(), upstream)), [
    layer.weight_orig,
  ]);
  const [w, u, v, g] = await Promise.all(
    [layer.weight_orig, layer.weight_u, layer.weight_v, upstream]
      .map((t) => t.data()),
  );
  let sigma = 0, dot = 0;
  w!.forEach((value, i) => {
    sigma += u![Math.floor(i / 4)]! * value * v![i % 4]!;
    dot += g![i]! * value;
  });
  const want = Array.from(
    w!,
    (_, i) =>
      g![i]! / sigma -
      dot / sigma ** 2 * u![Math.floor(i / 4)]! * v![i % 4]!,
  );
  await assertClose(gradient!, want, { rtol: 1e-4, atol: 1e-5 });
});

Deno.test("A later pass in training does not change the gradient of an earlier one", async () => {
  const make = () => new SpectralLinear(4, 3, new Rng(5));
  for (const training of [true, false]) {
    const plain = make(), passed = make();
    const slope = async (layer: SpectralLinear, between: () => void) => {
      const loss = sum(square(layer.weight({ training })));
      between();
      return await gradients(loss, [layer.weight_orig])[0]!.data();
    };
    const want = await slope(plain, () => {});
    const got = await slope(passed, () => passed.weight({ training: true }));
    assert.deepEqual(got, want);
  }
});

Deno.test("Spectral layers train in captured steps, and u follows", async () => {
  const rng = new Rng(6);
  const layer = new SpectralLinear(6, 6, rng);
  const x = rng.normal([16, 6]), target = scale(flip(x, 1), 0.9);
  const optimizer = new Adam(layer.parameters(), { learningRate: 1e-2 });
  const step = capture(() => {
    const loss = mseLoss(layer.forward(x, { training: true }), target);
    optimizer.step(gradients(loss, layer.parameters()));
    return { loss };
  }, { rows: 300 });
  for (let i = 0; i < 300; i++) step.replay({});
  const curve = (await step.outputs()).map(({ loss }) => loss[0]!);
  assert.ok(curve.at(-1)! < 0.1 * curve[0]!, `${curve[0]} to ${curve.at(-1)}`);
  const sigma = largestSingular(await layer.weight().data(), 6);
  assert.ok(Math.abs(sigma - 1) < 1e-2, `${sigma}`);
  step.dispose();
});
