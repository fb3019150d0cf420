import { strictEqual, throws } from "node:assert/strict";
import * as d from "../../mod.ts";
import { assertClose } from "../_check.ts";

const rng = new d.Rng(3);
const shapeOf = (x: d.Tensor) => x.shape.join();

Deno.test("Linear computes x Wᵀ + b", async () => {
  const layer = new d.Linear(2, 3, rng);
  layer.loadStateDict({
    weight: d.tensor([[1, 2], [3, 4], [5, 6]]),
    bias: d.tensor([0.5, 0, -1]),
  });
  await assertClose(
    layer.forward(d.tensor([[1, -1]])),
    d.tensor([[-0.5, -1, -2]]),
  );
  const plain = new d.Linear(2, 3, rng, { bias: false });
  strictEqual(plain.bias, null);
  strictEqual(shapeOf(plain.forward(d.zeros([4, 5, 2]))), "4,5,3");
});

Deno.test("layers with weights begin as PyTorch's: uniform within 1/√fanIn", async () => {
  const layers = [
    { layer: new d.Linear(16, 300, rng), bound: 1 / 4 },
    {
      layer: new d.Conv2d(8, 40, [2, 3], rng, { groups: 2 }),
      bound: 1 / Math.sqrt(24),
    },
    // PyTorch counts the fan on the weight as it lies, [in, out / groups, …].
    { layer: new d.ConvTranspose2d(40, 6, 2, rng), bound: 1 / Math.sqrt(24) },
  ];
  for (const { layer, bound } of layers) {
    for (const values of [layer.weight, layer.bias!]) {
      const data = Array.from(await values.data());
      const largest = data.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
      if (!(largest <= bound)) throw new Error(`${largest} exceeds ${bound}`);
      if (data.length > 100 && largest < 0.95 * bound) {
        throw new Error(`${largest} is far below ${bound}`);
      }
    }
  }
});

Deno.test("layers of equal seeds are equal", async () => {
  const [a, b] = [new d.Rng(5), new d.Rng(5)].map((rng) =>
    new d.Linear(3, 4, rng)
  );
  await assertClose(a!.weight, b!.weight, { atol: 0, rtol: 0 });
  await assertClose(a!.bias!, b!.bias!, { atol: 0, rtol: 0 });
});

Deno.test("Conv2d and ConvTranspose2d pass their geometry on", async () => {
  const x = rng.normal([2, 4, 7, 5]);
  const options = { stride: 2, padding: [1, 0] as const, groups: 2 };
  const down = new d.Conv2d(4, 6, 3, rng, options);
  strictEqual(shapeOf(down.weight), "6,2,3,3");
  await assertClose(
    down.forward(x),
    d.conv2d(x, down.weight, down.bias!, options),
    { atol: 0, rtol: 0 },
  );
  const wider = { ...options, outputPadding: 1 };
  const up = new d.ConvTranspose2d(4, 6, 3, rng, { ...wider, bias: false });
  strictEqual(shapeOf(up.weight), "4,3,3,3");
  await assertClose(
    up.forward(x),
    d.convTranspose2d(x, up.weight, undefined, wider),
    { atol: 0, rtol: 0 },
  );
});

Deno.test("GroupNorm and LayerNorm begin as plain normalisation", async () => {
  const x = rng.normal([2, 6, 3, 3], 5, 2);
  const norm = new d.GroupNorm(3, 6, { eps: 1e-6 });
  await assertClose(
    norm.forward(x),
    d.groupNorm(x, 3, undefined, undefined, 1e-6),
  );
  const bare = new d.GroupNorm(3, 6, { affine: false });
  strictEqual(bare.parameterCount, 0);
  const layer = new d.LayerNorm([3, 3]);
  strictEqual(shapeOf(layer.weight!), "3,3");
  await assertClose(layer.forward(x), d.layerNorm(x, [3, 3]));
  strictEqual(new d.LayerNorm(5).parameterCount, 10);
  throws(() => new d.GroupNorm(4, 6), {
    name: "RangeError",
    message: /6 channels, 4 groups/,
  });
});

Deno.test("BatchNorm2d follows the batches while training, and uses that afterwards", async () => {
  const norm = new d.BatchNorm2d(1, { momentum: 0.5 });
  const x = d.tensor([1, 2, 3, 6].map((v) => [[[v]]]));
  const y = norm.forward(x, { training: true });
  const std = Math.sqrt(3.5 + 1e-5); // biased variance of 1, 2, 3, 6 about 3
  await assertClose(y, d.tensor([-2, -1, 0, 3].map((v) => [[[v / std]]])), {
    atol: 1e-5,
  });
  await assertClose(norm.running_mean, [1.5]);
  await assertClose(norm.running_var, [0.5 + 0.5 * 14 / 3]); // unbiased
  const z = norm.forward(x); // evaluation is the default
  const running = Math.sqrt(0.5 + 7 / 3 + 1e-5);
  await assertClose(
    z,
    d.tensor([-0.5, 0.5, 1.5, 4.5].map((v) => [[[v / running]]])),
    {
      atol: 1e-5,
    },
  );
  await assertClose(norm.running_mean, [1.5]);
  throws(
    () => norm.forward(d.zeros([2, 1])),
    /x must be \[N, C, H, W\]: x is \[2, 1\]/,
  );
  throws(
    () => new d.BatchNorm1d(1).forward(x),
    /x must be \[N, C\] or \[N, C, L\]/,
  );
  strictEqual(shapeOf(new d.BatchNorm1d(2).forward(d.zeros([3, 2]))), "3,2");
});

Deno.test("Embedding looks rows up and begins standard normal", async () => {
  const table = new d.Embedding(4, 3, rng);
  const index = d.tensor(Int32Array.of(2, 0), [1, 2]);
  const rows = await table.forward(index).data();
  const all = await table.weight.data();
  await assertClose(rows, [...all.slice(6, 9), ...all.slice(0, 3)]);
  const wide = Array.from(
    await new d.Embedding(100, 50, rng).weight.data(),
  );
  const square = wide.reduce((sum, v) => sum + v * v, 0) / wide.length;
  if (Math.abs(square - 1) > 0.1) throw new Error(`Variance ${square}`);
});

Deno.test("MultiheadAttention has PyTorch's names and begins with zero biases", async () => {
  const layer = new d.MultiheadAttention(6, 2, rng);
  strictEqual(
    Object.entries(layer.stateDict()).map(([name, t]) =>
      `${name} ${shapeOf(t)}`
    ).join("; "),
    "in_proj_weight 18,6; in_proj_bias 18; out_proj.weight 6,6; out_proj.bias 6",
  );
  await assertClose(layer.out_proj.bias!, new Float32Array(6));
  strictEqual(shapeOf(layer.forward(rng.normal([2, 5, 6]))), "2,5,6");
  throws(() => new d.MultiheadAttention(6, 4, rng), RangeError);
});

Deno.test("Sequential runs layers in order and passes options to modules only", async () => {
  const norm = new d.BatchNorm2d(2);
  // leakyRelu has a second argument of its own, which must not be touched.
  const net = new d.Sequential(
    norm,
    d.leakyRelu,
    new d.Sequential((x) => d.scale(x, 2)),
  );
  const x = rng.normal([3, 2, 2, 2]);
  const y = net.forward(x, { training: true });
  const same = new d.BatchNorm2d(2).forward(x, { training: true });
  await assertClose(y, d.scale(d.leakyRelu(same), 2));
  const [mean] = await norm.running_mean.data();
  if (mean === 0) throw new Error("The running mean did not move");
});
