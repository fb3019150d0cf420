import assert from "node:assert/strict";
import {
  capture,
  ConvDenoiser,
  Ema,
  gradients,
  mseLoss,
  narrow,
  Rng,
  scope,
  SGD,
  tensor,
} from "../../mod.ts";
import { assertClose } from "../_check.ts";
import { answers, assertExplains, assertLearns, Zeros } from "./_denoisers.ts";
import {
  type Image,
  image,
  leaky,
  Plain,
  plus,
  relu,
  vector,
} from "./_plain.ts";

Deno.test("ConvDenoiser has 4,072,899 parameters for RGB", () => {
  const count = (options: { inChannels: number; levels?: number }) =>
    scope(() => new ConvDenoiser(options, new Zeros()).parameterCount);
  assert.equal(count({ inChannels: 3 }), 4_072_899);
  // Without the level of 256 channels: less both its convolutions, norm and projection down; the same
  // up, from 256.
  const norms = 2 * 256, projection = 256 * 256 + 256;
  const down = 16 * 128 * 256 + 9 * 256 * 256 + norms + projection;
  const up = 16 * 256 * 256 + 9 * 256 * 256 + norms + projection;
  // The next way up comes from 128 channels instead of 256.
  const next = 16 * 128 * 128;
  assert.equal(
    count({ inChannels: 3, levels: 2 }),
    4_072_899 - down - up - next,
  );
});

const TINY = { inChannels: 1, channels: 4, levels: 2, timeDim: 8 };

Deno.test("ConvDenoiser keeps the size of images, and may predict twice their channels", async () => {
  const rng = new Rng(1);
  const net = new ConvDenoiser({ ...TINY, outChannels: 2 }, rng);
  const y = net.forward(rng.normal([3, 1, 28, 12]), tensor([0, 500, 999]));
  assert.deepEqual(y.shape, [3, 2, 28, 12]);
  assert.ok((await y.data()).every(Number.isFinite));
});

/** The network with two levels on one image in plain loops, by running statistics. */
function plainForward(p: Plain, x: Image, t: number, y: number): Image {
  const angles = Array.from({ length: 4 }, (_, j) => t * 10000 ** (-2 * j / 8));
  const code = vector([...angles.map(Math.sin), ...angles.map(Math.cos)]);
  const e = plus(code, p.row("label_emb.weight", y));
  const shift = (name: string) =>
    p.linear(e, `${name}.emb.weight`, `${name}.emb.bias`);
  const half = { stride: 2, padding: 1 }, same = { padding: 1 };
  let h = p.conv(x, "down.0.conv1", half);
  h = leaky(p.conv(h, "down.0.conv2", same));
  h = p.conv(p.conv(h, "down.1.conv1", half), "down.1.conv2", same);
  h = plus(leaky(p.batchNorm(h, "down.1.norm")), shift("down.1"));
  h = p.convTransposed(h, "up.0.conv1", half);
  h = p.convTransposed(h, "up.0.conv2", same);
  h = plus(relu(p.batchNorm(h, "up.0.norm")), shift("up.0"));
  return p.conv(p.convTransposed(h, "up_out", half), "conv_out");
}

Deno.test("ConvDenoiser computes what plain loops compute", async () => {
  const rng = new Rng(2);
  const net = new ConvDenoiser({ ...TINY, numClasses: 3 }, rng);
  // Gains, offsets and statistics start as ones and zeros, which would hide mistakes.
  for (const [name, values] of Object.entries(net.stateDict())) {
    if (values.rank > 1) continue;
    const moved = rng.uniform(values.shape, 0.5, 2);
    net.loadStateDict({ [name]: moved }, { strict: false });
  }
  const x = rng.normal([2, 1, 8, 4]), times = [3, 987], classes = [2, 0];
  const out = net.forward(x, tensor(times), {
    y: tensor(classes, [2], "i32"),
  });
  const [plain, pixels] = [await Plain.of(net), await x.data()];
  const want = times.flatMap((t, n) => {
    const one = image([1, 8, 4], (_, i, j) => pixels[(n * 8 + i) * 4 + j]!);
    return [...plainForward(plain, one, t, classes[n]!).data];
  });
  await assertClose(out, want, { atol: 1e-5 });
});

Deno.test("ConvDenoiser learns with all its parameters, in training and without", async () => {
  for (const training of [true, false]) {
    const net = new ConvDenoiser(TINY, new Rng(3));
    await assertLearns(net, [2, 1, 8, 8], { training });
  }
});

Deno.test("ConvDenoiser follows the batch in training, in a captured step too", async () => {
  const rng = new Rng(4);
  const [net, other] = [4, 4].map((seed) =>
    new ConvDenoiser(TINY, new Rng(seed))
  ) as [ConvDenoiser, ConvDenoiser];
  const x = rng.normal([4, 1, 8, 8]), t = tensor([1, 20, 300, 999]);
  const trainerOf = (net: ConvDenoiser) => {
    const optimizer = new SGD(net, { learningRate: 0.01 });
    return () => {
      const loss = mseLoss(net.forward(x, t, { training: true }), x);
      optimizer.step(gradients(loss, net.parameters()));
      return { loss };
    };
  };
  const captured = capture(trainerOf(net)), step = trainerOf(other);
  for (let i = 0; i < 4; i++) {
    scope(() => {
      captured.replay({});
      step();
    });
  }
  const want = other.stateDict();
  assert.ok("up.0.norm.running_var" in want);
  for (const [name, values] of Object.entries(net.stateDict())) {
    await assertClose(values, want[name]!, { atol: 0, rtol: 0 });
  }
  const [variance] = await net.down[1]!.norm!.running_var.data();
  assert.notEqual(variance, 1);
  captured.dispose();
});

Deno.test("ConvDenoiser takes no note of the batch without training", async () => {
  const rng = new Rng(8);
  const net = new ConvDenoiser(TINY, rng);
  const x = rng.normal([4, 1, 8, 8]), t = tensor([1, 20, 300, 999]);
  const all = net.forward(x, t);
  const first = net.forward(narrow(x, 0, 0, 1), narrow(t, 0, 0, 1));
  await assertClose(first, narrow(all, 0, 0, 1), { atol: 1e-6 });
  const [variance] = await net.down[1]!.norm!.running_var.data();
  assert.equal(variance, 1);
});

Deno.test("ConvDenoiser's running statistics are averaged beside its weights", async () => {
  const rng = new Rng(5);
  const net = new ConvDenoiser(TINY, rng);
  const { running_mean: mean } = net.up[0]!.norm!;
  const weights = new Ema(net, { decay: 0.5 });
  const statistics = new Ema(net.namedBuffers(), { decay: 0.5 });
  const optimizer = new SGD(net, { learningRate: 0.01 });
  const history: number[] = [];
  for (let i = 0; i < 3; i++) {
    scope(() => {
      const x = rng.normal([4, 1, 8, 8]), t = tensor([1, 20, 300, 999]);
      const loss = mseLoss(net.forward(x, t, { training: true }), x);
      const found = gradients(loss, net.parameters());
      optimizer.step(found, { ema: weights });
      statistics.update();
    });
    history.push((await mean.data())[0]!);
  }
  const want = history.reduce((average, value) => (average + value) / 2, 0);
  await weights.withWeights(() =>
    statistics.withWeights(async () => {
      const [inside] = await mean.data();
      assert.ok(Math.abs(inside! - want) < 1e-7, `${inside}, want ${want}`);
    })
  );
  assert.equal((await mean.data())[0], history.at(-1));
});

Deno.test("ConvDenoiser with classes depends on them", async () => {
  const net = new ConvDenoiser({ ...TINY, numClasses: 3 }, new Rng(6));
  const [a, b, again] = await answers(net, [1, 8, 8], [0, 2, 0]);
  assert.deepEqual(a, again);
  assert.notDeepEqual(a, b);
});

Deno.test("ConvDenoiser explains what does not fit", () => {
  const rng = new Rng(7);
  assertExplains(
    new ConvDenoiser(TINY, rng),
    new ConvDenoiser({ ...TINY, numClasses: 2 }, rng),
    [1, 8, 8],
  );
  assert.throws(
    () =>
      new ConvDenoiser({ ...TINY, levels: 3 }, rng)
        .forward(rng.normal([1, 1, 28, 28]), tensor([0])),
    /divisible by 8 with levels 3: x is \[1, 1, 28, 28\]/,
  );
  assert.throws(
    () => new ConvDenoiser({ ...TINY, levels: 0 }, rng),
    /levels must be a whole number from 1: it is 0/,
  );
});
