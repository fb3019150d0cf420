import assert from "node:assert/strict";
import {
  add,
  AdmClassifier,
  AdmUNet,
  type AdmUNetOptions,
  capture,
  gradients,
  groupNorm,
  type Module,
  mseLoss,
  mul,
  permute,
  reshape,
  Rng,
  scope,
  silu,
  split,
  tensor,
} from "../../mod.ts";
import { NormSilu } from "../../models/_adm_blocks.ts";
import { assertClose, assertGradient } from "../_check.ts";
import { awake, plainUNet, TINIEST, TINY } from "./_adm.ts";
import { answers, assertExplains, assertLearns } from "./_denoisers.ts";
import { image } from "./_plain.ts";

const IMAGENET = { inChannels: 3, imageSize: 64, multipliers: [1, 2, 3, 4] };
const ADM = {
  ...IMAGENET,
  attentionResolutions: [32, 16, 8],
  updown: "resBlock",
  numClasses: 1000,
} as const;

/**
 * Parameters at any width, from three narrow networks: every layer has a · width² + b · width + c of
 * them, so all together have.
 */
function countAt(
  width: number,
  make: (form: { channels: number; groups: number }) => Module,
): number {
  const [a, b, c] = [8, 16, 24].map((channels) => {
    const net = make({ channels, groups: 8 });
    const { parameterCount } = net;
    net.dispose();
    return parameterCount;
  }) as [number, number, number];
  const x = (width - 8) / 8;
  return a + x * (b - a) + x * (x - 1) / 2 * (c - 2 * b + a);
}

for (
  const [what, count, width, options] of [
    ["Nichol & Dhariwal's for CIFAR-10", 52_546_438, 128, {
      inChannels: 3,
      outChannels: 6,
      imageSize: 32,
      resBlocks: 3,
    }],
    ["theirs for ImageNet 64", 121_063_942, 128, {
      ...IMAGENET,
      outChannels: 6,
      resBlocks: 3,
    }],
    ["Dhariwal & Nichol's for ImageNet 64", 295_904_454, 192, {
      ...ADM,
      outChannels: 6,
      resBlocks: 3,
    }],
  ] as const
) {
  Deno.test(`AdmUNet as ${what} has ${count} parameters`, () => {
    const found = countAt(
      width,
      (form) => new AdmUNet({ ...options, ...form }, new Rng(0)),
    );
    assert.equal(found, count);
  });
}

Deno.test("AdmClassifier as Dhariwal & Nichol's for ImageNet 64 has 65,438,568 parameters", () => {
  const make = (form: { channels: number; groups: number }) =>
    new AdmClassifier({ ...ADM, resBlocks: 4, ...form }, new Rng(0));
  assert.equal(countAt(128, make), 65_438_568);
  const net = make({ channels: 40, groups: 8 });
  assert.equal(countAt(40, make), net.parameterCount); // the reckoning itself
  net.dispose();
});

/** Shapes by name. */
function shapesOf(net: Module): Record<string, readonly number[]> {
  return Object.fromEntries(
    Object.entries(net.stateDict()).map(([name, { shape }]) => [name, shape]),
  );
}

const RES = ["in_layers.0", "in_layers.2", "emb_layers.1", "out_layers.0"]
  .concat("out_layers.3");
/** Where the reference has weights and biases in its layers. */
const PLACES = {
  res: RES,
  wider: [...RES, "skip_connection"],
  attention: ["norm", "qkv", "proj_out"],
  down: ["op"],
  up: ["conv"],
};

/** `0.norm.weight, 0.norm.bias, …` of a sequence of layers. */
function namesOf(path: string, layers: readonly (keyof typeof PLACES)[]) {
  return layers.flatMap((layer, k) =>
    PLACES[layer].flatMap((place) =>
      ["weight", "bias"].map((name) => `${path}.${k}.${place}.${name}`)
    )
  );
}

Deno.test("AdmUNet names its state as the reference does", () => {
  const net = new AdmUNet(
    { ...TINY, attentionResolutions: [8], numClasses: 3 },
    new Rng(0),
  );
  const alone = ["time_embed.0", "time_embed.2", "input_blocks.0.0", "out.0"]
    .concat("out.2");
  assert.deepEqual(
    Object.keys(net.stateDict()).sort(),
    [
      ...alone.flatMap((path) => [`${path}.weight`, `${path}.bias`]),
      "label_emb.weight",
      ...namesOf("input_blocks.1", ["res", "attention"]),
      ...namesOf("input_blocks.2", ["down"]),
      ...namesOf("input_blocks.3", ["wider"]),
      ...namesOf("middle_block", ["res", "attention", "res"]),
      ...namesOf("output_blocks.0", ["wider"]),
      ...namesOf("output_blocks.1", ["wider", "up"]),
      ...namesOf("output_blocks.2", ["wider", "attention"]),
      ...namesOf("output_blocks.3", ["wider", "attention"]),
    ].sort(),
  );
});

Deno.test("AdmUNet has the reference's shapes, also with residual blocks that resample", () => {
  const shapes = shapesOf(
    new AdmUNet(
      { ...ADM, outChannels: 6, resBlocks: 3, channels: 8, groups: 8 },
      new Rng(0),
    ),
  );
  const want = {
    "time_embed.0.weight": [32, 8],
    "label_emb.weight": [1000, 32],
    "input_blocks.0.0.weight": [8, 3, 3, 3],
    "input_blocks.1.0.in_layers.0.weight": [8],
    "input_blocks.1.0.emb_layers.1.weight": [16, 32],
    "input_blocks.4.0.in_layers.2.weight": [8, 8, 3, 3], // halves
    "input_blocks.5.0.skip_connection.weight": [16, 8, 1, 1],
    "input_blocks.5.1.norm.weight": [16],
    "input_blocks.5.1.qkv.weight": [48, 16, 1],
    "input_blocks.5.1.qkv.bias": [48],
    "input_blocks.5.1.proj_out.weight": [16, 16, 1],
    "middle_block.1.qkv.weight": [96, 32, 1],
    "output_blocks.3.2.in_layers.2.weight": [32, 32, 3, 3], // doubles
    "output_blocks.15.0.in_layers.2.weight": [8, 16, 3, 3],
    "out.0.weight": [8],
    "out.2.weight": [6, 8, 3, 3],
  };
  for (const [name, shape] of Object.entries(want)) {
    assert.deepEqual(shapes[name], shape, name);
  }
  assert.ok(!("output_blocks.3.2.skip_connection.weight" in shapes));
  assert.ok(!("input_blocks.4.0.op.weight" in shapes));
});

for (
  const [what, side, options] of [
    ["digits of 28 pixels", 28, { multipliers: [1, 2, 2] }],
    ["digits of 8 pixels", 8, {}],
    ["one level", 3, { multipliers: [2], attentionResolutions: [3] }],
    ["a wider first level", 8, { multipliers: [2, 1.5] }],
    ["learned variances", 8, { inChannels: 3, outChannels: 6 }],
  ] as const
) {
  Deno.test(`AdmUNet takes ${what}, and is 0 at first`, async () => {
    const form: AdmUNetOptions = { ...TINY, imageSize: side, ...options };
    const net = new AdmUNet(form, new Rng(0));
    const x = new Rng(1).normal([2, form.inChannels, side, side]);
    const y = net.forward(x, tensor([0, 999]));
    const { outChannels = form.inChannels } = form;
    assert.deepEqual(y.shape, [2, outChannels, side, side]);
    assert.ok((await y.data()).every((value) => value === 0));
  });
}

Deno.test("AdmUNet attends at 7 to 16 pixels by default", () => {
  const net = (imageSize: number) =>
    new AdmUNet({ ...TINY, imageSize, multipliers: [1, 1, 1] }, new Rng(0));
  const sides = (imageSize: number) => {
    const names = Object.keys(net(imageSize).stateDict());
    return [0, 1, 2].filter((level) =>
      names.includes(`input_blocks.${1 + 2 * level}.1.qkv.weight`)
    ).map((level) => imageSize / 2 ** level);
  };
  assert.deepEqual(sides(32), [16, 8]);
  assert.deepEqual(sides(28), [14, 7]);
  assert.deepEqual(sides(8), [8]);
});

for (
  const [what, options] of Object.entries(
    {
      "strided convolutions": {},
      "residual blocks that resample": { updown: "resBlock" },
      "resampling without parameters": { updown: "plain" },
      "an embedding that is added": { adaptiveGroupNorm: false },
      "an embedding that is added while resampling": {
        adaptiveGroupNorm: false,
        updown: "resBlock",
      },
      "rescaled sums": { rescaleResiduals: true },
      "heads of fixed width": { headChannels: 4, attentionOrder: "new" },
    } as const,
  )
) {
  Deno.test(`AdmUNet with ${what} learns`, async () => {
    const net = awake(new AdmUNet({ ...TINIEST, ...options }, new Rng(0)));
    await assertLearns(net, [2, 1, 4, 4], { learningRate: 1e-4 });
  });
}

for (
  const [what, options] of [
    ["by default", {}],
    ["with blocks that resample", { updown: "resBlock" }],
    ["with all else", {
      updown: "resBlock",
      adaptiveGroupNorm: false,
      rescaleResiduals: true,
      attentionOrder: "new",
      numClasses: 3,
    }],
    ["with resampling without parameters", { updown: "plain" }],
  ] as const
) {
  Deno.test(`AdmUNet agrees with plain loops ${what}`, async () => {
    const form: AdmUNetOptions & { channels: number; heads: number } = {
      ...TINIEST,
      ...{ inChannels: 2, groups: 1, attentionResolutions: [2], ...options },
    };
    const net = awake(new AdmUNet(form, new Rng(0)));
    const isConditional = form.numClasses !== undefined;
    const x = new Rng(8).normal([2, 2, 4, 4]), t = [3, 700], y = [2, 0];
    const got = net.forward(x, tensor(t), {
      ...(isConditional ? { y: tensor(y, [2], "i32") } : {}),
    });
    const plain = await plainUNet(net, form);
    const values = await x.data();
    const want = t.flatMap((t, n) => {
      const one = image(
        [2, 4, 4],
        (c, i, j) => values[n * 32 + c * 16 + i * 4 + j]!,
      );
      return [...plain(one, t, isConditional ? y[n] : undefined).data];
    });
    await assertClose(got, want, { atol: 1e-4, rtol: 1e-4 });
  });
}

Deno.test("NormSilu() scales and shifts each image as ops one by one do", async () => {
  const rng = new Rng(4);
  const norm = awake(new NormSilu(3, 6));
  const x = rng.normal([2, 6, 3, 5]), modulation = rng.normal([2, 12]);
  const [gamma, beta] = split(reshape(modulation, [2, 12, 1, 1]), 2, 1);
  const plain = groupNorm(x, 3, norm.weight!, norm.bias!);
  await assertClose(
    norm.forward(x, modulation),
    silu(add(mul(plain, add(gamma!, 1)), beta!)),
    { atol: 2e-6 },
  );
  await assertGradient(
    (x, modulation) => norm.forward(x, modulation),
    [rng.normal([2, 6, 1, 2]), modulation],
  );
  const found = gradients(
    mseLoss(norm.forward(x, modulation), x),
    norm.parameters(),
  );
  const again = groupNorm(x, 3, norm.weight!, norm.bias!);
  const want = gradients(
    mseLoss(silu(add(mul(again, add(gamma!, 1)), beta!)), x),
    norm.parameters(),
  );
  for (const i of [0, 1]) await assertClose(found[i]!, want[i]!);
});

Deno.test("AdmUNet's two orders of attention are one network with its rows exchanged", async () => {
  const form = { ...TINY, heads: 4 };
  const legacy = awake(new AdmUNet(form, new Rng(0)));
  const other = new AdmUNet({ ...form, attentionOrder: "new" }, new Rng(0));
  other.loadStateDict(Object.fromEntries(
    Object.entries(legacy.stateDict()).map(([name, x]) => {
      if (!name.includes(".qkv.")) return [name, x];
      const byHead = reshape(x, [4, 3, -1]);
      return [name, reshape(permute(byHead, [1, 0, 2]), x.shape)];
    }),
  ));
  const x = new Rng(1).normal([2, 1, 8, 8]), t = tensor([5, 500]);
  await assertClose(other.forward(x, t), legacy.forward(x, t));
});

Deno.test("AdmUNet rescales, and adds or modulates, by option alone", async () => {
  const x = new Rng(1).normal([1, 1, 4, 4]), t = tensor([5]);
  const first = awake(new AdmUNet(TINIEST, new Rng(0)));
  const rescaled = awake(
    new AdmUNet({ ...TINIEST, rescaleResiduals: true }, new Rng(0)),
  );
  const [a, b] = await Promise.all(
    [first, rescaled].map((net) => net.forward(x, t).data()),
  );
  assert.ok(a!.some((value, i) => Math.abs(value - b![i]!) > 1e-2));
  const rows = (adaptiveGroupNorm: boolean) =>
    shapesOf(new AdmUNet({ ...TINIEST, adaptiveGroupNorm }, new Rng(0)))[
      "middle_block.0.emb_layers.1.weight"
    ];
  assert.deepEqual([true, false].map(rows), [[16, 16], [8, 16]]);
});

Deno.test("AdmUNet tells classes apart", async () => {
  const net = awake(new AdmUNet({ ...TINIEST, numClasses: 3 }, new Rng(0)));
  const [a, b, again] = await answers(net, [1, 4, 4], [0, 2, 0]);
  assert.deepEqual(a, again);
  assert.notDeepEqual(a, b);
});

Deno.test("AdmUNet drops while it trains only", async () => {
  const net = awake(new AdmUNet({ ...TINIEST, dropout: 0.5 }, new Rng(0)));
  const x = new Rng(1).normal([1, 1, 4, 4]), t = tensor([5]);
  const run = (training: boolean) =>
    net.forward(x, t, { training, rng: new Rng(2) }).data();
  const plain = await net.forward(x, t).data();
  assert.deepEqual(await run(false), plain);
  assert.notDeepEqual(await run(true), plain);
  assert.deepEqual(await run(true), await run(true));
  assert.throws(
    () => net.forward(x, t, { training: true }),
    /needs a generator rng/,
  );
});

Deno.test("AdmUNet has the same gradients when it computes layers again, in captured steps too", async () => {
  const options = { ...TINIEST, dropout: 0.3, updown: "resBlock" } as const;
  const x = new Rng(1).normal([2, 1, 4, 4]), t = tensor([5, 50]);
  const gradientsOf = async (checkpoint: boolean, captured: boolean) => {
    const net = awake(new AdmUNet({ ...options, checkpoint }, new Rng(0)));
    const rng = new Rng(2);
    const step = () => {
      const y = net.forward(x, t, { training: true, rng });
      const names = Object.keys(net.namedParameters());
      const found = gradients(mseLoss(y, x), net.parameters());
      return Object.fromEntries(names.map((name, i) => [name, found[i]!]));
    };
    if (!captured) {
      const found = Object.entries(scope(step)).map(async ([name, gradient]) =>
        [name, await gradient.data()] as const
      );
      return Object.fromEntries(await Promise.all(found));
    }
    const replayed = capture(step);
    replayed.replay({});
    return (await replayed.outputs())[0]!;
  };
  const want = await gradientsOf(false, false);
  for (const captured of [false, true]) {
    const found = await gradientsOf(true, captured);
    for (const [name, gradient] of Object.entries(want)) {
      await assertClose(found[name]!, gradient);
    }
  }
});

Deno.test("AdmUNet explains inputs that do not fit", () => {
  assertExplains(
    new AdmUNet(TINIEST, new Rng(0)),
    new AdmUNet({ ...TINIEST, numClasses: 2 }, new Rng(0)),
    [1, 4, 4],
  );
});

Deno.test("AdmUNet explains options that do not fit", () => {
  const explains = (options: Partial<AdmUNetOptions>, message: RegExp) =>
    assert.throws(() => new AdmUNet({ ...TINY, ...options }, new Rng(0)), {
      name: "RangeError",
      message,
    });
  explains({ imageSize: 7 }, /imageSize must be divisible by 2.*found 7/);
  explains({ imageSize: 0 }, /imageSize must be whole and positive/);
  explains({ multipliers: [] }, /there must be multipliers/);
  explains({ multipliers: [1, 0.3] }, /products with channels are whole/);
  explains({ channels: 7 }, /channels must be even/);
  explains({ numClasses: 0 }, /numClasses must be whole and positive/);
  explains({ outChannels: 1.5 }, /outChannels must be whole and positive/);
  explains({ resBlocks: 0 }, /resBlocks must be whole and positive/);
  explains({ attentionResolutions: [16] }, /among the sides of levels, 8, 4/);
  explains({ heads: 3 }, /heads must divide the channels: .*3 heads/);
  explains({ headChannels: 5 }, /heads must divide.*5 channels per head/);
  explains({ groups: 3 }, /channels must divide into groups/);
});
