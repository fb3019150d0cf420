import assert from "node:assert/strict";
import {
  DomeUNet,
  type DomeVariant,
  noGrad,
  Rng,
  scope,
  tensor,
} from "../../mod.ts";
import { assertClose } from "../_check.ts";
import { answers, assertExplains, assertLearns, Zeros } from "./_denoisers.ts";
import {
  at,
  gelu,
  type Image,
  image,
  joined,
  Plain,
  plus,
  silu,
  vector,
} from "./_plain.ts";

/** Parameters for 3 channels and for 1: those of the original code. */
const COUNTS: Record<DomeVariant, [number, number]> = {
  "3xblocks": [23_332_739, 23_331_457],
  "2xud": [16_062_083, 16_060_801],
  "2xud-half": [4_268_419, 4_267_713],
  "small": [3_062_531, 3_061_825],
};

for (const variant of Object.keys(COUNTS) as DomeVariant[]) {
  Deno.test(`DomeUNet has the parameters of the original, ${variant}`, () => {
    const counts = [3, 1].map((inChannels) =>
      scope(() =>
        new DomeUNet({ inChannels, variant }, new Zeros()).parameterCount
      )
    );
    assert.deepEqual(counts, COUNTS[variant]);
  });
}

Deno.test("DomeUNet has a row of 256 numbers per class", () => {
  const count = (numClasses: number) =>
    scope(() =>
      new DomeUNet({ inChannels: 3, numClasses }, new Zeros()).parameterCount
    );
  assert.deepEqual([2, 10].map(count), [23_333_251, 23_335_299]);
});

Deno.test("DomeUNet names its parameters as the original does", () => {
  const namesOf = (variant: DomeVariant) =>
    scope(() =>
      Object.keys(
        new DomeUNet({ inChannels: 1, variant, numClasses: 2 }, new Zeros())
          .namedParameters(),
      )
    );
  const blocks = (variant: DomeVariant) =>
    [...new Set(namesOf(variant).map((name) => name.split(".")[0]))].join(" ");
  assert.equal(
    blocks("3xblocks"),
    "inc down1 sa1 down2 sa2 down3 sa3 bot1 bot2 bot3 up1 sa4 up2 sa5 up3 sa6 outc label_emb",
  );
  const two =
    "inc down1 sa1 down2 sa2 bot1 bot2 bot3 up2 sa5 up3 sa6 outc label_emb";
  assert.equal(blocks("2xud"), two);
  assert.equal(blocks("2xud-half"), two);
  assert.equal(
    blocks("small"),
    "inc down1 sa1 down2 sa2 bot1 bot2 up1 sa4 up2 outc label_emb",
  );
  const names = namesOf("small");
  for (
    const name of [
      "inc.double_conv.0.weight",
      "inc.double_conv.4.bias",
      "down1.maxpool_conv.1.double_conv.3.weight",
      "down2.maxpool_conv.2.double_conv.1.weight",
      "down2.emb_layer.1.weight",
      "sa1.mha.in_proj_weight",
      "sa1.mha.out_proj.bias",
      "sa2.ln.weight",
      "sa4.ff_self.0.bias",
      "sa4.ff_self.3.weight",
      "up1.conv.0.double_conv.0.weight",
      "up2.emb_layer.1.bias",
      "outc.weight",
      "label_emb.weight",
    ]
  ) assert.ok(names.includes(name), name);
});

const TINY = {
  inChannels: 1,
  variant: { inc: 4, down: [6, 8], bot: [6], up: [6, 4] },
  timeDim: 8,
  heads: 2,
};

Deno.test("DomeUNet keeps the size of images, and may predict twice their channels", async () => {
  const rng = new Rng(1);
  const net = new DomeUNet({ ...TINY, outChannels: 2 }, rng);
  const y = net.forward(rng.normal([3, 1, 8, 12]), tensor([0, 500, 999]));
  assert.deepEqual(y.shape, [3, 2, 8, 12]);
  assert.ok((await y.data()).every(Number.isFinite));
  const small = new DomeUNet({ inChannels: 1, variant: "small" }, rng);
  const digit = noGrad(() =>
    small.forward(rng.normal([1, 1, 28, 28]), tensor([3]))
  );
  assert.deepEqual(digit.shape, [1, 1, 28, 28]);
});

/** The network on one image in plain loops, for one level down and up. */
function plainForward(p: Plain, x: Image, t: number, y: number): Image {
  const double = (x: Image, name: string) => {
    const conv = `${name}.double_conv`;
    let h = p.norm(
      p.conv(x, `${conv}.0`, { padding: 1 }),
      `${conv}.1`,
      "channel",
    );
    h = p.conv(gelu(h), `${conv}.3`, { padding: 1 });
    return p.norm(h, `${conv}.4`, "channel");
  };
  const residual = (x: Image, name: string) => gelu(plus(x, double(x, name)));
  const shift = (e: Image, name: string) =>
    p.linear(silu(e), `${name}.weight`, `${name}.bias`);
  const attention = (x: Image, name: string, heads: number) => {
    const [channels, height, width] = x.shape;
    const normed = p.normOfPixels(x, `${name}.ln`);
    const [q, k, v] = [0, 1, 2].map((i) =>
      p.linear(
        normed,
        `${name}.mha.in_proj_weight`,
        `${name}.mha.in_proj_bias`,
        [
          i * channels,
          (i + 1) * channels,
        ],
      )
    ) as [Image, Image, Image];
    const wide = channels / heads;
    const pixels = Array.from(
      { length: height * width },
      (_, i) => [Math.floor(i / width), i % width] as const,
    );
    const mixed = image(x.shape, (c, i, j) => {
      const first = Math.floor(c / wide) * wide;
      const weights = pixels.map(([u, w]) => {
        let score = 0;
        for (let d = first; d < first + wide; d++) {
          score += at(q, d, i, j) * at(k, d, u, w);
        }
        return Math.exp(score / Math.sqrt(wide));
      });
      const total = weights.reduce((a, b) => a + b);
      return pixels.reduce(
        (sum, [u, w], index) => sum + weights[index]! / total * at(v, c, u, w),
        0,
      );
    });
    const out = `${name}.mha.out_proj`;
    const a = plus(x, p.linear(mixed, `${out}.weight`, `${out}.bias`));
    const ff = `${name}.ff_self`;
    const h = gelu(
      p.linear(p.normOfPixels(a, `${ff}.0`), `${ff}.1.weight`, `${ff}.1.bias`),
    );
    return plus(a, p.linear(h, `${ff}.3.weight`, `${ff}.3.bias`));
  };
  const pooled = (x: Image) => {
    const [c, height, width] = x.shape;
    return image([c, height / 2, width / 2], (c, i, j) =>
      Math.max(
        at(x, c, 2 * i, 2 * j),
        at(x, c, 2 * i, 2 * j + 1),
        at(x, c, 2 * i + 1, 2 * j),
        at(x, c, 2 * i + 1, 2 * j + 1),
      ));
  };
  /** Corners stay corners. */
  const doubled = (x: Image) => {
    const [c, height, width] = x.shape;
    return image([c, 2 * height, 2 * width], (c, i, j) => {
      const row = i * (height - 1) / (2 * height - 1);
      const column = j * (width - 1) / (2 * width - 1);
      const [u, v] = [Math.floor(row), Math.floor(column)];
      const [a, b] = [row - u, column - v];
      return (1 - a) * ((1 - b) * at(x, c, u, v) + b * at(x, c, u, v + 1)) +
        a * ((1 - b) * at(x, c, u + 1, v) + b * at(x, c, u + 1, v + 1));
    });
  };
  const angles = Array.from({ length: 4 }, (_, j) => t * 10000 ** (-2 * j / 8));
  const code = vector([...angles.map(Math.sin), ...angles.map(Math.cos)]);
  const e = plus(code, p.row("label_emb.weight", y));
  const x1 = double(x, "inc");
  let h = residual(pooled(x1), "down1.maxpool_conv.1");
  h = double(h, "down1.maxpool_conv.2");
  h = attention(plus(h, shift(e, "down1.emb_layer.1")), "sa1", 2);
  h = double(h, "bot1");
  h = residual(joined(x1, doubled(h)), "up1.conv.0");
  // Half of the 10 channels lie between the two convolutions.
  h = double(h, "up1.conv.1");
  h = attention(plus(h, shift(e, "up1.emb_layer.1")), "sa4", 2);
  return p.conv(h, "outc");
}

Deno.test("DomeUNet computes what plain loops compute", async () => {
  const rng = new Rng(2);
  const net = new DomeUNet({
    ...TINY,
    variant: { inc: 4, down: [6], bot: [6], up: [4] },
    numClasses: 3,
  }, rng);
  // Gains and offsets start as ones and zeros, which would hide mistakes.
  for (const [name, values] of Object.entries(net.stateDict())) {
    if (values.rank > 1) continue;
    const moved = rng.normal(
      values.shape,
      name.endsWith("weight") ? 1 : 0,
      0.3,
    );
    net.loadStateDict({ [name]: moved }, { strict: false });
  }
  const x = rng.normal([2, 1, 6, 4]), times = [3, 987], classes = [2, 0];
  const out = net.forward(x, tensor(times), {
    y: tensor(classes, [2], "i32"),
  });
  const [plain, pixels] = [await Plain.of(net), await x.data()];
  const want = times.flatMap((t, n) => {
    const one = image([1, 6, 4], (_, i, j) => pixels[(n * 6 + i) * 4 + j]!);
    return [...plainForward(plain, one, t, classes[n]!).data];
  });
  await assertClose(out, want, { atol: 1e-5 });
});

Deno.test("DomeUNet learns with all its parameters", async () => {
  await assertLearns(new DomeUNet(TINY, new Rng(3)), [2, 1, 8, 8]);
});

Deno.test("DomeUNet with classes depends on them", async () => {
  const net = new DomeUNet({ ...TINY, numClasses: 3 }, new Rng(4));
  const [a, b, again] = await answers(net, [1, 8, 8], [0, 2, 0]);
  assert.deepEqual(a, again);
  assert.notDeepEqual(a, b);
});

Deno.test("DomeUNet explains what does not fit", () => {
  const rng = new Rng(5);
  assertExplains(
    new DomeUNet(TINY, rng),
    new DomeUNet({ ...TINY, numClasses: 2 }, rng),
    [1, 8, 8],
  );
  const three = { inc: 4, down: [4, 4, 4], bot: [4], up: [4, 4, 4] };
  const deep = new DomeUNet({ ...TINY, variant: three }, rng);
  assert.throws(
    () => deep.forward(rng.normal([1, 1, 28, 28]), tensor([0])),
    /divisible by 8, or by 4 with variant "2xud" or "small": x is \[1, 1, 28, 28\]/,
  );
  const uneven = { inc: 4, down: [4, 4], bot: [], up: [4] };
  assert.throws(
    () => new DomeUNet({ inChannels: 1, variant: uneven }, rng),
    /as many blocks up as down: 1 up, 2 down/,
  );
  assert.throws(
    () => new DomeUNet({ ...TINY, heads: 4 }, rng),
    /embedDim must divide into heads: 6 into 4/,
  );
});
