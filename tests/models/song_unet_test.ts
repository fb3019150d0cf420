import assert from "node:assert/strict";
import {
  AdamW,
  capture,
  gradients,
  mean,
  mseLoss,
  NCSNPP,
  Rng,
  scope,
  SongUNet,
  type SongUNetOptions,
  type Tensor,
  tensor,
} from "../../mod.ts";
import { doubled, halved } from "../../models/_song_layers.ts";
import { assertClose, assertGradient } from "../_check.ts";
import { Zeros } from "./_denoisers.ts";

const CIFAR = { imageSize: 32, inChannels: 3 };
const TOY = { ...CIFAR, channels: 32, multipliers: [1, 2], blocks: 2 };

for (
  const [what, count, options] of [
    // Of EDM's networks for CIFAR-10, by its own arithmetic.
    ["DDPM++", 55_733_891, { ...CIFAR, augmentDim: 9 }],
    ["DDPM++ of 10 classes", 55_735_299, {
      ...CIFAR,
      augmentDim: 9,
      numClasses: 10,
    }],
    ["NCSN++", 56_397_827, { ...CIFAR, ...NCSNPP, augmentDim: 9 }],
    ["a toy", 1_033_507, TOY],
    ["another toy", 8_797_187, { ...CIFAR, channels: 64, blocks: 2 }],
  ] as const
) {
  Deno.test(`SongUNet as ${what} has ${count} parameters`, () => {
    scope(() => {
      const net = new SongUNet(options, new Zeros());
      assert.equal(net.parameterCount, count);
      net.dispose();
    });
  });
}

Deno.test("SongUNet names its state as EDM does", () => {
  const shapes = (options: SongUNetOptions) =>
    Object.fromEntries(
      Object.entries(new SongUNet(options, new Rng(0)).stateDict())
        .map(([name, { shape }]) => [name, shape]),
    );
  const plain = shapes({ ...TOY, numClasses: 10, augmentDim: 9 });
  const want = {
    "map_label.weight": [32, 10],
    "map_label.bias": [32],
    "map_augment.weight": [32, 9],
    "map_layer0.weight": [128, 32],
    "map_layer1.bias": [128],
    "enc.32x32_conv.weight": [32, 3, 3, 3],
    "enc.32x32_block0.norm0.weight": [32],
    "enc.16x16_down.conv0.resample_filter": [1, 1, 2, 2],
    "enc.16x16_down.skip.weight": [32, 32, 1, 1],
    "enc.16x16_block0.affine.weight": [64, 128],
    "enc.16x16_block1.qkv.weight": [192, 64, 1, 1],
    "dec.16x16_in0.proj.bias": [64],
    "dec.16x16_block2.norm2.bias": [64],
    "dec.32x32_up.conv0.resample_filter": [1, 1, 2, 2],
    "dec.32x32_block2.conv1.weight": [32, 32, 3, 3],
    "dec.32x32_aux_norm.bias": [32],
    "dec.32x32_aux_conv.weight": [3, 32, 3, 3],
  };
  for (const [name, shape] of Object.entries(want)) {
    assert.deepEqual(plain[name], shape, name);
  }
  for (
    const name of [
      "map_augment.bias",
      "map_noise.freqs",
      "dec.16x16_in1.qkv.weight",
      "dec.16x16_block0.qkv.weight",
      "enc.16x16_aux_residual.weight",
    ]
  ) assert.ok(!(name in plain), name);

  const residual = shapes({ ...TOY, ...NCSNPP });
  assert.deepEqual(residual["map_noise.freqs"], [32]);
  assert.deepEqual(residual["map_layer0.weight"], [128, 64]);
  assert.deepEqual(residual["enc.16x16_aux_residual.weight"], [32, 3, 3, 3]);
  assert.deepEqual(
    residual["enc.16x16_aux_residual.resample_filter"],
    [1, 1, 4, 4],
  );
});

const SMALL = {
  imageSize: 8,
  inChannels: 2,
  channels: 8,
  multipliers: [1, 2],
  blocks: 1,
  attentionResolutions: [4],
};

/** Values that other programs can make as well. */
function wave(shape: readonly number[], phase: number): Tensor {
  const size = shape.reduce((product, length) => product * length, 1);
  return tensor(
    Float32Array.from({ length: size }, (_, i) => 0.3 * Math.sin(i + phase)),
    shape,
  );
}

for (
  const { form, options, inputs, some, average } of [
    {
      form: "DDPM++",
      options: { ...SMALL, numClasses: 3 },
      inputs: { y: tensor([2, 0], [2], "i32") },
      some: [-0.0807973, -0.1358966, 0.1547989, 0.0445543, -0.1010655],
      average: -0.0204431,
    },
    {
      form: "NCSN++",
      options: { ...SMALL, ...NCSNPP, augmentDim: 2 },
      inputs: { augment: tensor([[0.5, -1], [0, 2]]) },
      some: [-0.2406135, -0.3285185, 0.0269301, 0.020205, 0.0874264],
      average: -0.0118047,
    },
  ]
) {
  // From a plain float64 program with NumPy, in which no convolution is joined to another op.
  Deno.test(`SongUNet computes what a ${form} does`, async () => {
    const net = new SongUNet(options, new Rng(0));
    const state = net.stateDict();
    const names = Object.keys(state).sort()
      .filter((name) => !name.endsWith("resample_filter"));
    net.loadStateDict({
      ...state,
      ...Object.fromEntries(
        names.map((name, i) => [name, wave(state[name]!.shape, i)]),
      ),
    });
    const x = wave([2, 2, 8, 8], 0.5);
    const y = net.forward(x, tensor([-1.25, 0.75]), inputs);
    const sparse = (await y.data()).filter((_, i) => i % 61 === 0);
    await assertClose(sparse, some, { atol: 2e-5 });
    await assertClose(mean(y), [average], { atol: 2e-5 });
  });
}

/** The filter of `taps` along both axes of each plane, at every pixel: `[planes, h, w]`. */
function filtered(
  x: Float64Array,
  [planes, h, w]: readonly [number, number, number],
  taps: readonly number[],
): (plane: number, row: number, column: number) => number {
  const total = taps.reduce((a, b) => a + b);
  return (plane, row, column) => {
    let sum = 0;
    taps.forEach((a, i) =>
      taps.forEach((b, j) => {
        const r = row + i, c = column + j;
        if (plane >= planes || r < 0 || r >= h || c < 0 || c >= w) return;
        sum += a * b * x[(plane * h + r) * w + c]!;
      })
    );
    return sum / total ** 2;
  };
}

/** `f(plane, row, column)` for every pixel. */
function pixels(
  [planes, h, w]: readonly [number, number, number],
  f: (plane: number, row: number, column: number) => number,
): number[] {
  return Array.from(
    { length: planes * h * w },
    (_, i) => f(Math.floor(i / (h * w)), Math.floor(i / w) % h, i % w),
  );
}

const FILTERS = [[1, 1], [1, 3, 3, 1]];

/** The filter as the network holds it. */
function filterOf(taps: readonly number[]): Tensor {
  const options = { ...SMALL, resampleFilter: taps };
  const state = new SongUNet(options, new Rng(0)).stateDict();
  return state["enc.4x4_down.conv0.resample_filter"]!;
}

for (const taps of FILTERS) {
  const [h, w] = [6, 10], padding = taps.length / 2 - 1;

  Deno.test(`halved() filters by ${taps} and keeps every second pixel`, async () => {
    const x = new Rng(1).normal([2, 3, h, w]);
    const at = filtered(Float64Array.from(await x.data()), [6, h, w], taps);
    const want = pixels(
      [6, h / 2, w / 2],
      (p, r, c) => at(p, 2 * r - padding, 2 * c - padding),
    );
    const got = halved(x, filterOf(taps));
    assert.deepEqual(got.shape, [2, 3, h / 2, w / 2]);
    await assertClose(got, want);
  });

  Deno.test(`doubled() filters by ${taps} what has zeros between its pixels`, async () => {
    const x = new Rng(2).normal([2, 3, h, w]);
    const data = await x.data();
    const spread = pixels(
      [6, 2 * h, 2 * w],
      (p, r, c) => r % 2 + c % 2 > 0 ? 0 : data[(p * h + r / 2) * w + c / 2]!,
    );
    // Filters are symmetric: a transposed convolution need not flip them.
    const at = filtered(Float64Array.from(spread), [6, 2 * h, 2 * w], taps);
    const first = taps.length / 2;
    const want = pixels(
      [6, 2 * h, 2 * w],
      (p, r, c) => 4 * at(p, r - first, c - first),
    );
    const got = doubled(x, filterOf(taps));
    assert.deepEqual(got.shape, [2, 3, 2 * h, 2 * w]);
    await assertClose(got, want);
  });

  Deno.test(`halved() and doubled() by ${taps} have the right gradients`, async () => {
    const filter = filterOf(taps), x = new Rng(3).normal([1, 2, 4, 2]);
    await assertGradient((x) => halved(x, filter), [x]);
    await assertGradient((x) => doubled(x, filter), [x]);
  });
}

Deno.test("doubled() by [1, 1] repeats pixels, halved() averages them", async () => {
  const filter = filterOf([1, 1]), x = tensor([[[[1, 2], [3, 6]]]]);
  await assertClose(doubled(x, filter), [
    ...[1, 1, 2, 2, 1, 1, 2, 2],
    ...[3, 3, 6, 6, 3, 3, 6, 6],
  ]);
  await assertClose(halved(x, filter), [3]);
});

for (
  const [what, options] of [
    ["DDPM++", SMALL],
    ["NCSN++", { ...SMALL, ...NCSNPP }],
    ["DDPM++ with dropout, of 28 × 28 and one channel", {
      ...SMALL,
      imageSize: 28,
      inChannels: 1,
      multipliers: [1, 1, 2],
      attentionResolutions: [7],
      dropout: 0.1,
    }],
  ] as const
) {
  Deno.test(`SongUNet predicts almost nothing at first, and learns: ${what}`, async () => {
    const rng = new Rng(4), drops = new Rng(5);
    const net = new SongUNet(options, rng);
    const { inChannels: c, imageSize: side } = options;
    const x = rng.normal([2, c, side, side]), t = tensor([-1.4, 0.8]);
    const y = net.forward(x, t);
    assert.deepEqual(y.shape, x.shape);
    const first = await y.data();
    assert.ok(first.every((value) => Math.abs(value) < 1e-3));

    const parameters = net.parameters();
    const optimizer = new AdamW(net, { learningRate: 3e-3 });
    const step = capture(() => {
      const loss = mseLoss(
        net.forward(x, t, { training: true, rng: drops }),
        x,
      );
      optimizer.step(gradients(loss, parameters));
      return { loss };
    });
    for (let i = 0; i < 12; i++) step.replay({});
    const losses = (await step.outputs()).map(({ loss }) => loss[0]!);
    assert.ok(losses.at(-1)! < 0.8 * losses[0]!, `${losses}`);
    await step.verify({});
    step.dispose();
  });
}

Deno.test("SongUNet depends on the class, and no class adds nothing", async () => {
  const net = new SongUNet({ ...SMALL, numClasses: 4 }, new Rng(6));
  // The last layers of all branches are nearly zero, and the label would not show.
  net.loadStateDict(
    Object.fromEntries(
      Object.entries(net.stateDict()).map(([name, { shape }], i) => [
        name,
        wave(shape, i),
      ]),
    ),
  );
  const x = wave([2, 2, 8, 8], 0.5), t = tensor([0.5, 0.5]);
  const of = async (y: number[]) =>
    await net.forward(x, t, { y: tensor(y, [2], "i32") }).data();
  const [a, b, none] = [await of([0, 1]), await of([3, 1]), await of([4, -1])];
  const half = a.length / 2;
  assert.notDeepEqual(a.slice(0, half), b.slice(0, half));
  assert.deepEqual(a.slice(half), b.slice(half));
  const { weight } = net.map_label!;
  net.loadStateDict({
    ...net.stateDict(),
    "map_label.weight": tensor(new Float32Array(weight.size), weight.shape),
  });
  await assertClose(none, await of([0, 1]));
});

Deno.test("SongUNet explains what does not fit", () => {
  const rng = new Rng(7), net = new SongUNet(SMALL, rng);
  const x = rng.normal([2, 2, 8, 8]), t = tensor([0, 1]);
  assert.throws(
    () => net.forward(rng.normal([2, 2, 7, 8]), t),
    /sides divisible by 2/,
  );
  assert.throws(() => net.forward(rng.normal([2, 3, 8, 8]), t), /2 channels/);
  assert.throws(() => net.forward(x, tensor([0])), /a timestep per image/);
  assert.throws(
    () => net.forward(x, t, { y: tensor([0, 1], [2], "i32") }),
    /knows no classes/,
  );
  assert.throws(
    () => net.forward(x, t, { augment: x }),
    /knows no augmentation: give it augmentDim/,
  );
  const dropping = new SongUNet({ ...SMALL, dropout: 0.1 }, rng);
  assert.throws(
    () => dropping.forward(x, t, { training: true }),
    /dropout needs a generator rng/,
  );
  assert.throws(
    () => new SongUNet({ ...SMALL, imageSize: 7 }, rng),
    /imageSize must be divisible by 2: it is 7/,
  );
  assert.throws(
    () => new SongUNet({ ...SMALL, resampleFilter: [1, 2, 1] }, rng),
    /resampleFilter must have an even length: it is 1,2,1/,
  );
  assert.throws(
    () => new SongUNet({ ...SMALL, channels: 2 }, rng),
    /channels must divide into groups/,
  );
});
