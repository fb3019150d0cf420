import assert from "node:assert/strict";
import {
  Adam,
  BatchNorm2d,
  capture,
  Dcgan,
  DCGAN_GENERATORS_32,
  DcganDiscriminator,
  DcganGenerator,
  type DcganOptions,
  Embedding,
  flatten,
  type Gan,
  gradients,
  KerasDcgan,
  KerasDcganDiscriminator,
  KerasDcganGenerator,
  type Layer,
  linear,
  type Module,
  mul,
  nonSaturatingLoss,
  repeat,
  Rng,
  scale,
  scope,
  Sequential,
  SpectralEmbedding,
  sum,
  tensor,
} from "../../mod.ts";
import { assertClose } from "../_check.ts";

const GREY = { size: 28, inChannels: 1 };
const RGB32 = { size: 32, inChannels: 3, latent: 128 };
const TINY: DcganOptions = {
  size: 8,
  inChannels: 1,
  latent: 6,
  generatorChannels: [8, 6],
  discriminatorChannels: [6, 8],
};

function count<Options>(
  Net: new (options: Options, rng: Rng) => Module,
  options: Options,
): number {
  const net = new Net(options, new Rng(0));
  const { parameterCount } = net;
  net.dispose();
  return parameterCount;
}

Deno.test("DcganGenerator and its discriminator have as many parameters as their sources", () => {
  assert.equal(count(DcganGenerator, GREY), 1_781_504);
  assert.equal(count(DcganDiscriminator, GREY), 138_624);
  assert.equal(count(DcganGenerator, RGB32), 1_183_616);
  assert.equal(count(DcganDiscriminator, RGB32), 663_296);
  const { block2outngfx4, outs842nc, block1outngfx8 } = DCGAN_GENERATORS_32;
  const wide = (generatorChannels: readonly number[]) =>
    count(DcganGenerator, { ...RGB32, generatorChannels });
  assert.equal(wide(block2outngfx4), 1_839_232);
  assert.equal(wide(outs842nc), 3_677_952);
  assert.equal(wide(block1outngfx8), 2_232_704);
  const conditional = {
    ...RGB32,
    generatorChannels: block2outngfx4,
    numClasses: 10,
  };
  assert.equal(count(DcganGenerator, conditional), 1_880_292);
  assert.equal(count(DcganDiscriminator, conditional), 673_636);
  const rgb64 = { size: 64, inChannels: 3 };
  assert.equal(count(DcganGenerator, rgb64), 3_576_704);
  assert.equal(count(DcganDiscriminator, rgb64), 2_765_568);
});

Deno.test("KerasDcgan has as many parameters as its source", () => {
  assert.equal(count(KerasDcganGenerator, GREY), 2_305_472);
  assert.equal(count(KerasDcganDiscriminator, GREY), 212_865);
});

Deno.test("Dcgan begins at N(0, 0.02²), and gains at N(1, 0.02²)", async () => {
  const { G } = new Dcgan({ size: 32, inChannels: 3 }, new Rng(1));
  const moments = async (name: string) => {
    const values = Array.from(await G.namedParameters()[name]!.data());
    const mean = values.reduce((a, b) => a + b) / values.length;
    const square = values.reduce((a, b) => a + (b - mean) ** 2, 0);
    return [mean, Math.sqrt(square / values.length)];
  };
  await assertClose(await moments("main.3.weight"), [0, 0.02], { atol: 1e-3 });
  await assertClose(await moments("main.1.weight"), [1, 0.02], { atol: 5e-3 });
});

/** Pairs of all kinds, small. */
function pairs(rng: Rng): Gan[] {
  const numClasses = 3, condition = "projection";
  return [
    new Dcgan(TINY, rng),
    new Dcgan({ ...TINY, numClasses }, rng),
    new Dcgan({ ...TINY, numClasses, condition, norm: "spectral" }, rng),
    new Dcgan({ ...TINY, norm: "none" }, rng),
    new Dcgan({ ...TINY, numClasses, condition: "map" }, rng),
    new Dcgan({ ...TINY, ...AUXILIARY, norm: "spectral" }, rng),
    new KerasDcgan({ ...KERAS, numClasses }, rng),
    new KerasDcgan({ ...KERAS, numClasses, condition }, rng),
    new KerasDcgan({ ...KERAS, ...AUXILIARY }, rng),
  ];
}
const AUXILIARY = { numClasses: 3, condition: "auxiliary" } as const;
const KERAS = {
  size: 8,
  inChannels: 2,
  latent: 5,
  generatorChannels: [8, 7, 6],
  discriminatorChannels: [6, 8],
} as const;

Deno.test("All kinds of Dcgan generate images in [-1, 1], and judge them", async () => {
  const rng = new Rng(2);
  for (const { G, D } of pairs(rng)) {
    const y = G.numClasses ? tensor([0, 2, 1], undefined, "i32") : undefined;
    const fake = G.forward(rng.normal([3, G.latent]), { y, training: true });
    assert.deepEqual(fake.shape.slice(2), [8, 8]);
    assert.ok((await fake.data()).every((v) => Math.abs(v) <= 1));
    const logits = D.forward(fake, { y, training: true, rng });
    assert.deepEqual(logits.shape, [3]);
  }
  const { G, D } = new Dcgan({ size: 8, inChannels: 1 }, rng);
  assert.deepEqual(D.forward(G.forward(rng.normal([2, 100]))).shape, [2]);
});

Deno.test("Without batch normalisation each image is judged for itself", async () => {
  const rng = new Rng(3);
  for (const norm of ["spectral", "none"] as const) {
    const { D } = new Dcgan({ ...TINY, norm }, rng);
    const layers = [...D.main.members()].map(([, layer]) => layer);
    assert.ok(!layers.some((layer) => layer instanceof BatchNorm2d));
    const x = rng.normal([2, 1, 8, 8]).requireGrad();
    const first = sum(mul(D.forward(x), tensor([1, 0])));
    const dx = await gradients(first, [x])[0]!.data();
    assert.ok(dx.subarray(0, 64).some((v) => v !== 0));
    assert.ok(dx.subarray(64).every((v) => v === 0));
  }
});

Deno.test("A conditional Dcgan sees its class in both networks", async () => {
  const rng = new Rng(4);
  for (const { G, D } of pairs(rng).filter(({ G }) => G.numClasses > 0)) {
    const y = tensor([0, 2], undefined, "i32");
    const image = G.forward(repeat(rng.normal([1, G.latent]), [2, 1]), { y });
    const values = await image.data(), half = values.length / 2;
    assert.notDeepEqual(values.subarray(0, half), values.subarray(half));
    const channels = image.shape[1]!;
    const x = repeat(rng.normal([1, channels, 8, 8]), [2, 1, 1, 1]);
    const [a, b] = await D.forward(x, { y }).data();
    if (D.auxiliary) assert.equal(a, b); // it is to find the class
    else assert.notEqual(a, b);
  }
});

Deno.test("A map of the class is one more channel of the image", async () => {
  const rng = new Rng(8);
  const { D } = new Dcgan({ ...TINY, numClasses: 3, condition: "map" }, rng);
  const plain = new DcganDiscriminator({ ...TINY, inChannels: 2 }, rng);
  const { "embed.weight": maps, ...body } = D.stateDict();
  assert.deepEqual(maps!.shape, [3, 64]);
  plain.loadStateDict(body);
  const x = rng.normal([2, 1, 8, 8]), y = tensor([2, 0], undefined, "i32");
  const [pixels, table] = await Promise.all([x.data(), maps!.data()]);
  const both = [0, 1].flatMap((n) => [
    ...pixels.subarray(64 * n, 64 * (n + 1)),
    ...table.subarray(n ? 0 : 128, n ? 64 : 192),
  ]);
  const want = await plain.forward(tensor(both, [2, 2, 8, 8])).data();
  await assertClose(D.forward(x, { y }), want);
});

Deno.test("An auxiliary classifier is linear in the last features, and the judgement stays", async () => {
  const rng = new Rng(9);
  const { D } = new Dcgan({ ...TINY, ...AUXILIARY }, rng);
  const plain = new DcganDiscriminator(TINY, rng);
  const { "auxiliary.weight": w, "auxiliary.bias": b, ...body } = D.stateDict();
  plain.loadStateDict(body);
  assert.deepEqual(w!.shape, [3, 8 * 2 * 2]);
  const x = rng.normal([2, 1, 8, 8]);
  const { logits, classLogits } = D.classify(x);
  const judged = await plain.forward(x).data();
  await assertClose(logits, judged);
  await assertClose(D.forward(x), judged);
  const h = new Sequential(...layersOf(plain).slice(0, -1)).forward(x);
  await assertClose(
    classLogits,
    await linear(flatten(h, 1), w!, b!).data(),
    { rtol: 1e-4, atol: 1e-5 },
  );
  assert.throws(() => plain.classify(x), {
    name: "TypeError",
    message:
      /DcganDiscriminator\.classify.*only condition "auxiliary" has a classifier/,
  });
});

/** The layers of a discriminator, one after the other. */
function layersOf({ main }: DcganDiscriminator): Layer[] {
  return [...main.members()].map(([, layer]) => layer as Layer);
}

Deno.test("A projection adds the product of class vector and summed features", async () => {
  const rng = new Rng(5);
  const options = { ...TINY, numClasses: 3, condition: "projection" } as const;
  const { D } = new Dcgan(options, rng);
  const plain = new Dcgan(TINY, rng).D;
  const body = Object.fromEntries(
    Object.entries(D.stateDict()).filter(([name]) => name !== "embed.weight"),
  );
  plain.loadStateDict(body);
  const x = rng.normal([2, 1, 8, 8]), y = tensor([1, 2], undefined, "i32");
  // All layers but the last: 2×2 pixels of 8 channels.
  const h = new Sequential(...layersOf(plain).slice(0, -1)).forward(x);
  assert.deepEqual(h.shape, [2, 8, 2, 2]);
  const [features, table, base] = await Promise.all(
    [h, D.stateDict()["embed.weight"]!, plain.forward(x)].map((t) => t.data()),
  );
  const want = [1, 2].map((label, n) => {
    let total = base![n]!;
    for (let i = 0; i < 32; i++) {
      total += features![n * 32 + i]! * table![label * 8 + (i >> 2)]!;
    }
    return total;
  });
  await assertClose(D.forward(x, { y }), want, { atol: 1e-5, rtol: 1e-4 });
  // Glorot & Bengio's range for 3 classes and 8 channels
  const limit = Math.sqrt(6 / (3 + 8));
  assert.ok(table!.every((v) => Math.abs(v) <= limit));
});

Deno.test("Spectral normalisation includes the vectors that features are projected on", async () => {
  const rng = new Rng(7);
  const options = { ...TINY, numClasses: 3, norm: "spectral" } as const;
  const { D } = new Dcgan({ ...options, condition: "projection" }, rng);
  const x = rng.normal([1, 1, 8, 8]), y = tensor([1], undefined, "i32");
  const before = await D.forward(x, { y }).data();
  assert.ok(D.embed instanceof SpectralEmbedding);
  const longer = scale(D.embed.weight_orig, 5);
  D.loadStateDict({ ...D.stateDict(), "embed.weight_orig": longer });
  await assertClose(D.forward(x, { y }), before, { rtol: 1e-4, atol: 1e-6 });
  // As further channels the vectors are part of the image, which no layer normalises.
  assert.ok(new Dcgan(options, rng).D.embed instanceof Embedding);
});

Deno.test("KerasDcgan doubles images by the transpose of how it halves them", async () => {
  // <conv(x), y> = <x, convᵀ(y)> for one weight: both pad as Keras' "same".
  const rng = new Rng(6);
  const sizes = {
    ...KERAS,
    inChannels: 2,
    generatorChannels: [4, 4, 3],
    discriminatorChannels: [3, 4],
  } as const;
  const { G, D } = new KerasDcgan(sizes, rng);
  const x = rng.normal([1, 2, 8, 8]), y = rng.normal([1, 3, 4, 4]);
  const w = await D.conv1.weight.data();
  const [xs, ys] = await Promise.all([x.data(), y.data()]);
  // out(2i - 1 + u) += y(i) w(u), which is 0 outside: as TensorFlow defines both.
  const up = new Float64Array(2 * 8 * 8);
  for (let c = 0; c < 3; c++) {
    for (let d = 0; d < 2; d++) {
      for (let i = 0; i < 16; i++) {
        for (let k = 0; k < 25; k++) {
          const row = 2 * (i >> 2) - 1 + Math.floor(k / 5);
          const column = 2 * (i & 3) - 1 + k % 5;
          if (row < 0 || row > 7 || column < 0 || column > 7) continue;
          up[d * 64 + row * 8 + column]! += ys![c * 16 + i]! *
            w[(c * 2 + d) * 25 + k]!;
        }
      }
    }
  }
  const want = Array.from(xs!).reduce((total, v, i) => total + v * up[i]!, 0);
  await assertClose(sum(mul(D.conv1.forward(x), y)), [want], { rtol: 1e-4 });
  G.conv3.weight.dispose();
  Object.assign(G.conv3, { weight: D.conv1.weight });
  const full = G.conv3.forward(y); // [1, 2, 9, 9], of which the generator keeps 8×8
  assert.deepEqual(full.shape, [1, 2, 9, 9]);
  const values = await full.data();
  await assertClose(
    Array.from(
      up,
      (_, i) => values[(i >> 6) * 81 + ((i >> 3) & 7) * 9 + (i & 7)]!,
    ),
    up,
    { atol: 1e-5 },
  );
});

Deno.test("Dcgan explains what does not fit", () => {
  const rng = new Rng(7);
  assert.throws(
    () => new Dcgan({ size: 48, inChannels: 3 }, rng),
    /given but for sizes 8, 28, 32, 64: size is 48/,
  );
  assert.throws(
    () => new Dcgan({ ...TINY, generatorChannels: [8, 8, 8, 8] }, rng),
    /must halve once for each/,
  );
  assert.throws(
    () => new KerasDcgan({ ...GREY, size: 30 }, rng),
    /divisible by 4: it is 30/,
  );
  const { G, D } = new Dcgan({ ...TINY, numClasses: 3 }, rng);
  const y = tensor([0], undefined, "i32");
  assert.throws(() => G.forward(rng.normal([1, 6])), /needs classes y/);
  assert.throws(
    () => G.forward(rng.normal([1, 7]), { y }),
    /DcganGenerator as the input must be \[N, 6\]: input is \[1, 7\]/,
  );
  assert.throws(
    () => D.forward(rng.normal([2, 1, 8, 8]), { y }),
    /a class per example/,
  );
  assert.throws(() => D.forward(rng.normal([1, 3, 8, 8]), { y }), TypeError);
  assert.throws(
    () =>
      new KerasDcgan(KERAS, rng).D.forward(rng.normal([1, 2, 8, 8]), {
        training: true,
      }),
    /needs rng/,
  );
});

Deno.test("Discriminators learn a batch by heart, and generators to fool them, captured", async () => {
  const rng = new Rng(8);
  const loss = nonSaturatingLoss();
  for (const { G, D } of pairs(rng)) {
    const y = G.numClasses
      ? tensor([0, 1, 2, 0, 1, 2, 0, 1], undefined, "i32")
      : undefined;
    const z = rng.normal([8, G.latent]);
    const inputs = { y, training: true, rng };
    const fixed = scope(() => G.forward(z, inputs).detach());
    const real = rng.uniform(fixed.shape, -1, 1);
    const forD = new Adam(D.parameters(), { learningRate: 5e-3 });
    const learn = capture(() => {
      const value = loss.discriminator(
        D.forward(real, inputs),
        D.forward(fixed, inputs),
      );
      forD.step(gradients(value, D.parameters()));
      return { value };
    }, { rows: 100 });
    const forG = new Adam(G.parameters(), { learningRate: 5e-3 });
    const fool = capture(() => {
      const value = loss.generator(D.forward(G.forward(z, inputs), inputs));
      forG.step(gradients(value, G.parameters()));
      return { value };
    }, { rows: 100 });
    for (const step of [learn, fool]) {
      for (let i = 0; i < 100; i++) step.replay({});
      const curve = (await step.outputs()).map(({ value }) => value[0]!);
      assert.ok(
        curve.at(-1)! < 0.5 * curve[0]!,
        `${curve[0]} to ${curve.at(-1)}`,
      );
      step.dispose();
    }
  }
});
