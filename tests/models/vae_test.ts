import assert from "node:assert/strict";
import {
  Adam,
  capture,
  ConvVae,
  GaussianLikelihood,
  gradients,
  mean,
  repeat,
  Rng,
  scope,
  sum,
  tensor,
  Vae,
  vaeLoss,
  type VaeNetwork,
  type VaeOptions,
} from "../../mod.ts";
import { assertClose } from "../_check.ts";

const KERAS: VaeOptions = {
  shape: [1, 28, 28],
  latent: 2,
  hidden: [256, 128],
  batchNorm: { eps: 1e-3, momentum: 0.01 },
  dropout: 0.3,
};
const DIGITS: VaeOptions = { shape: [1, 8, 8], latent: 3, hidden: [32] };

Deno.test("Vae and ConvVae have as many parameters as their sources", () => {
  const count = (make: (rng: Rng) => VaeNetwork) => {
    const net = make(new Rng(0));
    const { parameterCount } = net;
    net.dispose();
    return parameterCount;
  };
  assert.equal(count((rng) => new Vae(KERAS, rng)), 470_804);
  assert.equal(
    count((rng) => new Vae({ shape: [1, 28, 28], latent: 20 }, rng)),
    652_824,
  );
  assert.equal(
    count((rng) => new ConvVae({ shape: [1, 28, 28], latent: 16 }, rng)),
    1_688_289,
  );
  assert.equal(
    count((rng) =>
      new ConvVae({ shape: [3, 32, 32], channels: 64, latent: 128 }, rng)
    ),
    4_570_115,
  );
});

Deno.test("Vae and ConvVae go to latents and back", () => {
  const rng = new Rng(1);
  const nets = [
    new Vae(DIGITS, rng),
    new Vae({ ...DIGITS, hidden: [], numClasses: 4 }, rng),
    new ConvVae({ shape: [1, 8, 8], latent: 3, channels: 4 }, rng),
    new ConvVae({ shape: [3, 12, 4], latent: 3, numClasses: 4 }, rng),
  ];
  for (const net of nets) {
    scope(() => {
      const y = net.numClasses
        ? tensor([0, 3, 1], undefined, "i32")
        : undefined;
      const x = rng.normal([3, ...net.shape]);
      const posterior = net.encode(x, { y });
      assert.deepEqual(posterior.mean.shape, [3, 3]);
      assert.deepEqual(posterior.logVariance.shape, [3, 3]);
      const z = net.reparameterize(posterior, rng);
      assert.deepEqual(net.decode(z, { y }).shape, x.shape);
    });
    net.dispose();
  }
});

Deno.test("Vae explains inputs that do not fit", () => {
  const rng = new Rng(2);
  const plain = new Vae({ ...DIGITS, dropout: 0.5 }, rng);
  const conditional = new Vae({ ...DIGITS, numClasses: 4 }, rng);
  const x = rng.normal([2, 1, 8, 8]), y = tensor([0, 1], undefined, "i32");
  assert.throws(
    () => plain.encode(rng.normal([2, 1, 7, 8])),
    /Vae.encode as the input must be \[N, 1, 8, 8\]: input is \[2, 1, 7, 8\]/,
  );
  assert.throws(() => plain.decode(rng.normal([2, 4])), TypeError);
  assert.throws(() => plain.encode(x, { y }), /knows no classes/);
  assert.throws(() => plain.encode(x, { training: true }), /needs rng/);
  assert.throws(() => conditional.encode(x), /needs classes y/);
  assert.throws(
    () => conditional.encode(rng.normal([3, 1, 8, 8]), { y }),
    /a class per example/,
  );
  assert.throws(
    () => new ConvVae({ shape: [1, 8, 10], latent: 2 }, rng),
    /divisible by 4: the shape is 1, 8, 10/,
  );
});

Deno.test("A hidden layer of Vae is dropout(norm(relu(linear(x))))", async () => {
  const rng = new Rng(3);
  const options = { ...DIGITS, hidden: [5], batchNorm: true };
  const layer = new Vae(options, rng).encoder[0]!;
  const { weight, bias } = layer.linear;
  const x = rng.normal([6, 64]);
  const [w, b, values, got] = await Promise.all(
    [weight, bias!, x, layer.forward(x, { training: true })]
      .map((t) => t.data()),
  );
  const active = Array.from({ length: 30 }, (_, i) => {
    const [row, column] = [Math.floor(i / 5), i % 5];
    let sum = b![column]!;
    for (let k = 0; k < 64; k++) {
      sum += values![row * 64 + k]! * w![column * 64 + k]!;
    }
    return Math.max(sum, 0);
  });
  const want = active.map((value, i) => {
    const column = active.filter((_, j) => j % 5 === i % 5);
    const mean = column.reduce((a, b) => a + b) / 6;
    const variance = column.reduce((a, b) => a + (b - mean) ** 2, 0) / 6;
    return (value - mean) / Math.sqrt(variance + 1e-5);
  });
  await assertClose(got!, want, { atol: 1e-4 });
});

Deno.test("Vae drops hidden values in training only", async () => {
  const rng = new Rng(4);
  const net = new Vae({ ...DIGITS, dropout: 0.5 }, rng);
  const x = rng.normal([2, 1, 8, 8]);
  const means = (training: boolean) =>
    net.encode(x, { training, rng }).mean.data();
  assert.deepEqual(await means(false), await means(false));
  assert.notDeepEqual(await means(true), await means(true));
});

Deno.test("A conditional VAE sees its class on both sides", async () => {
  const rng = new Rng(5);
  for (
    const net of [
      new Vae({ ...DIGITS, numClasses: 4 }, rng),
      new ConvVae({ shape: [1, 8, 8], latent: 3, numClasses: 4 }, rng),
    ]
  ) {
    const x = repeat(rng.normal([1, 1, 8, 8]), [2, 1, 1, 1]);
    const z = repeat(rng.normal([1, 3]), [2, 1]);
    const y = tensor([0, 3], undefined, "i32");
    for (const out of [net.encode(x, { y }).mean, net.decode(z, { y })]) {
      const values = await out.data(), half = values.length / 2;
      assert.notDeepEqual(values.subarray(0, half), values.subarray(half));
    }
  }
});

Deno.test("Vae and ConvVae learn a batch by heart, captured, with all their parameters", async () => {
  const rng = new Rng(6);
  const x = rng.uniform([8, 1, 8, 8], -1, 1);
  const y = tensor([0, 1, 2, 3, 0, 1, 2, 3], undefined, "i32");
  for (
    const net of [
      new Vae({ ...DIGITS, latent: 8, hidden: [64, 48], numClasses: 4 }, rng),
      new ConvVae(
        {
          shape: [1, 8, 8],
          latent: 8,
          channels: 16,
          hidden: 64,
          numClasses: 4,
        },
        rng,
      ),
    ]
  ) {
    const likelihood = new GaussianLikelihood({ sigma: 0.1 });
    const before = await Promise.all(net.parameters().map((p) => p.data()));
    const optimizer = new Adam(net.parameters(), { learningRate: 3e-3 });
    const step = capture(() => {
      const { loss, reconstruction } = vaeLoss(net, likelihood, x, {
        rng,
        y,
        training: true,
      });
      optimizer.step(gradients(mean(loss), net.parameters()));
      return { reconstruction: mean(reconstruction) };
    }, { rows: 200 });
    for (let i = 0; i < 200; i++) step.replay({});
    const curve = (await step.outputs()).map((o) => o.reconstruction[0]!);
    assert.ok(
      curve.at(-1)! < 0.1 * curve[0]!,
      `${curve[0]} to ${curve.at(-1)}`,
    );
    const after = await Promise.all(net.parameters().map((p) => p.data()));
    Object.keys(net.namedParameters()).forEach((name, i) =>
      assert.notDeepEqual(after[i], before[i], name)
    );
    step.dispose();
    net.dispose();
  }
});

Deno.test("Vae gives encoder and decoder their gradients", async () => {
  const rng = new Rng(7);
  const net = new Vae(DIGITS, rng);
  const x = rng.normal([2, 1, 8, 8]);
  const { loss } = vaeLoss(net, new GaussianLikelihood(), x, { rng });
  const all = await Promise.all(
    gradients(sum(loss), net.parameters()).map((g) => g.data()),
  );
  all.forEach((values, i) =>
    assert.ok(
      values.some((v) => v !== 0),
      Object.keys(net.namedParameters())[i],
    )
  );
});
