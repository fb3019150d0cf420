import assert from "node:assert/strict";
import {
  BernoulliLikelihood,
  binarize,
  bitsPerDim,
  DiscretizedGaussianLikelihood,
  elboTerms,
  full,
  GaussianLikelihood,
  gradients,
  importanceWeightedBound,
  type Likelihood,
  live,
  mean,
  repeat,
  reshape,
  Rng,
  sub,
  sum,
  type Tensor,
  tensor,
  Vae,
  vaeLoss,
} from "../../mod.ts";
import { assertClose, assertGradient } from "../_check.ts";

const average = (values: ArrayLike<number>) =>
  Array.from(values).reduce((a, b) => a + b, 0) / values.length;

/** A VAE of one linear layer each way. */
function linearVae(pixels: number, latent: number, rng: Rng): Vae {
  return new Vae({ shape: [1, 1, pixels], latent, hidden: [] }, rng);
}

Deno.test("elboTerms() are the formulas", async () => {
  const rng = new Rng(1);
  const x = rng.uniform([3, 2, 2, 2], -1, 1), output = rng.normal([3, 2, 2, 2]);
  const posterior = {
    mean: rng.normal([3, 4]),
    logVariance: rng.normal([3, 4]),
  };
  const [xs, outs, mus, logVars] = await Promise.all(
    [x, output, posterior.mean, posterior.logVariance].map((t) => t.data()),
  );
  const sigma = 0.7;
  const sigmoid = (a: number) => 1 / (1 + Math.exp(-a));
  const gaussian = (v: number, mean: number) =>
    0.5 * ((v - mean) / sigma) ** 2 + Math.log(sigma * Math.sqrt(2 * Math.PI));
  const costs: [Likelihood, (v: number, out: number) => number][] = [
    [new BernoulliLikelihood(), (v, out) => {
      const t = (v + 1) / 2, p = sigmoid(out);
      return -t * Math.log(p) - (1 - t) * Math.log(1 - p);
    }],
    [new GaussianLikelihood({ sigma }), gaussian],
    [
      new GaussianLikelihood({ sigma, bounded: true }),
      (v, out) => gaussian(v, 2 * sigmoid(out) - 1),
    ],
  ];
  const kls = Array.from(mus!, (mu, i) => {
    const v = logVars![i]!;
    return (mu * mu + Math.exp(v) - 1 - v) / 2;
  });
  const perImage = (values: number[], size: number) =>
    [0, 1, 2].map((n) =>
      values.slice(n * size, (n + 1) * size).reduce((a, b) => a + b)
    );
  const kl = perImage(kls, 4);
  for (const [likelihood, cost] of costs) {
    const want = perImage(Array.from(xs!, (v, i) => cost(v, outs![i]!)), 8);
    const terms = elboTerms(likelihood, x, posterior, output);
    const close = { rtol: 1e-5, atol: 1e-5 };
    await assertClose(terms.reconstruction, want, close);
    await assertClose(terms.kl, kl, close);
    await assertClose(terms.elbo, want.map((r, n) => -r - kl[n]!), close);
    await assertClose(
      terms.klPerDimension,
      [0, 1, 2, 3].map((j) => average(kls.filter((_, i) => i % 4 === j))),
      close,
    );
  }
});

Deno.test("GaussianLikelihood with sigma 1/√2 is the sum of squares and a constant", async () => {
  const rng = new Rng(2);
  const x = rng.normal([2, 1, 3, 3]), output = rng.normal([2, 1, 3, 3]);
  const [a, b] = await Promise.all([x.data(), output.data()]);
  const squares = [0, 0];
  a.forEach((v, i) => squares[Math.floor(i / 9)]! += (v - b[i]!) ** 2);
  const logProb = new GaussianLikelihood({ sigma: Math.SQRT1_2 })
    .logProb(x, output);
  await assertClose(
    logProb,
    squares.map((s) => -s - 9 * 0.5 * Math.log(Math.PI)),
    { rtol: 1e-5 },
  );
});

Deno.test("Likelihoods have the right gradients, those that learn their scale included", async () => {
  const rng = new Rng(3);
  const x = binarize(rng.uniform([2, 1, 2, 3], -1, 1), rng);
  const output = rng.normal([2, 1, 2, 3], 0, 0.5);
  for (
    const likelihood of [
      new BernoulliLikelihood(),
      new GaussianLikelihood(),
      new DiscretizedGaussianLikelihood({ bounded: true }),
      new DiscretizedGaussianLikelihood({ cdf: "erf" }),
    ]
  ) {
    await assertGradient((out) => likelihood.logProb(x, out), [output]);
  }
  // The best σ² is the mean squared error: there, the gradient of log σ is 0.
  const [xs, outs] = await Promise.all([x.data(), output.data()]);
  const mse = average(xs.map((v, i) => (v - outs[i]!) ** 2));
  const learned = new GaussianLikelihood();
  assert.equal(learned.parameterCount, 1);
  learned.loadStateDict({ log_scale: tensor([Math.log(mse) / 2], []) });
  const [slope] = gradients(
    sum(learned.logProb(x, output)),
    learned.parameters(),
  );
  await assertClose(slope!, [0], { atol: 1e-4 });
  assert.equal(new GaussianLikelihood({ sigma: 2 }).parameterCount, 0);
  assert.throws(() => new GaussianLikelihood({ sigma: 0 }), /positive/);
  assert.throws(() => learned.logProb(x, tensor([1])), /one shape/);
});

Deno.test("The probabilities of a discretised likelihood and of a Bernoulli sum to 1", async () => {
  const grid = Array.from({ length: 256 }, (_, k) => -1 + 2 * k / 255);
  const total = async (likelihood: Likelihood, at: number[], out: number) => {
    const shape = [at.length, 1];
    const logs = await likelihood.logProb(tensor(at, shape), full(shape, out))
      .data();
    return Array.from(logs).reduce((sum, log) => sum + Math.exp(log), 0);
  };
  for (const [sigma, mean] of [[0.1, 0.3], [1, -0.9], [0.003, 0]] as const) {
    for (const cdf of ["tanh", "erf"] as const) {
      const likelihood = new DiscretizedGaussianLikelihood({ sigma, cdf });
      const sum = await total(likelihood, grid, mean);
      assert.ok(
        Math.abs(sum - 1) < 1e-4,
        `${sum} at ${sigma}, ${mean}, ${cdf}`,
      );
    }
  }
  // Bins around 3.5 σ: Φ(3.54) - Φ(3.46), and the same of ½ (1 + tanh(√(2/π) (z + 0.044715 z³))).
  const x = tensor([25.5 / 127.5], [1, 1]); // 153 of 255
  const density = async (cdf: "tanh" | "erf") => {
    const likelihood = new DiscretizedGaussianLikelihood({
      sigma: 2 / 255 / 0.08,
      cdf,
    });
    const mean = full([1, 1], 25.5 / 127.5 - 3.5 * 2 / 255 / 0.08);
    const [log] = await likelihood.logProb(x, mean).data();
    return Math.exp(log!);
  };
  await assertClose([await density("erf")], [7.002418e-05], { rtol: 1e-4 });
  await assertClose([await density("tanh")], [5.961094e-05], { rtol: 1e-4 });
  const ends = [-1, 1];
  assert.ok(
    Math.abs(await total(new BernoulliLikelihood(), ends, 0.8) - 1) < 1e-5,
  );
});

Deno.test("Likelihood.mean() is the expected image", async () => {
  const output = tensor([-2, 0, 0.5], [1, 3]);
  const centred = [-2, 0, 0.5].map((a) => 2 / (1 + Math.exp(-a)) - 1);
  const close = { atol: 2e-5 }; // of tanh
  await assertClose(new BernoulliLikelihood().mean(output), centred, close);
  await assertClose(
    new GaussianLikelihood({ bounded: true }).mean(output),
    centred,
    close,
  );
  await assertClose(new GaussianLikelihood().mean(output), [-2, 0, 0.5]);
});

Deno.test("binarize() cuts at 0, or draws with the value as probability", async () => {
  const x = tensor([-1, -0.2, 0, 0.2, 1], [5]);
  assert.deepEqual([...await binarize(x).data()], [-1, -1, -1, 1, 1]);
  const drawn = await binarize(full([20_000], 0.5), new Rng(4)).data();
  assert.ok(drawn.every((v) => v === -1 || v === 1));
  assert.ok(Math.abs(average(drawn) - 0.5) < 0.02, `${average(drawn)}`);
  const ends = await binarize(tensor([-1, 1], [2]), new Rng(5)).data();
  assert.deepEqual([...ends], [-1, 1]);
});

Deno.test("vaeLoss() weighs the divergence by β, also by one that is asked for", async () => {
  const rng = new Rng(6);
  const net = linearVae(5, 2, rng), likelihood = new GaussianLikelihood();
  const x = rng.normal([3, 1, 1, 5]);
  for (const beta of [0, 4, live(() => 0.25)]) {
    const { loss, reconstruction, kl } = vaeLoss(net, likelihood, x, {
      rng,
      beta,
    });
    const [r, k] = await Promise.all([reconstruction.data(), kl.data()]);
    const weight = typeof beta === "number" ? beta : 0.25;
    await assertClose(loss, r.map((v, n) => v + weight * k[n]!));
  }
  assert.throws(
    () => vaeLoss(net, likelihood, x, { rng, beta: -1 }),
    /beta must not be negative/,
  );
});

Deno.test("vaeLoss() with freeBits charges every latent so much at least, on average", async () => {
  const rng = new Rng(10);
  const net = linearVae(5, 3, rng), likelihood = new GaussianLikelihood();
  const x = rng.normal([4, 1, 1, 5]);
  const found = (freeBits: number, beta = 2) =>
    vaeLoss(net, likelihood, x, { rng: new Rng(11), beta, freeBits });
  const plain = found(0);
  const r = await plain.reconstruction.data();
  const per = Array.from(await plain.klPerDimension.data());
  const [least, middle] = per.toSorted((a, b) => a - b);
  const free = (least! + middle!) / 2; // above one latent, below two
  const kl = per.reduce((sum, v) => sum + Math.max(v, free), 0);
  await assertClose(found(free).loss, r.map((v) => v + 2 * kl));
  assert.ok(kl > per.reduce((sum, v) => sum + v));
  // What is logged stays what it is.
  await assertClose(found(free).kl, plain.kl);
  await assertClose(found(free).elbo, plain.elbo);
  // Where all is free, the divergence teaches nothing, and below nothing, all it does.
  const slopes = async (loss: Tensor) =>
    (await Promise.all(
      gradients(mean(loss), net.parameters()).map((g) => g.data()),
    )).flatMap((g) => [...g]);
  await assertClose(
    await slopes(found(100).loss),
    await slopes(found(0, 0).loss),
  );
  await assertClose(
    await slopes(found(1e-9).loss),
    await slopes(plain.loss),
    { atol: 1e-5 },
  );
  assert.throws(() => found(-1), /freeBits must not be negative: it is -1/);
});

Deno.test("bitsPerDim() divides by the size of an image and log 2", async () => {
  const x = new Rng(7).normal([2, 3, 2, 2]);
  await assertClose(bitsPerDim(tensor([-24 * Math.LN2, 0]), x), [2, 0]);
});

/**
 * x = W z + b + σ ε has p(x) = N(b, W Wᵀ + σ² I), and the best q(z | x) is linear; with one latent all
 * is a few sums. Gives the network that has it, and log p(x).
 */
async function linearGaussian(rng: Rng) {
  const pixels = 4, sigma = 0.6;
  const net = linearVae(pixels, 1, rng);
  const w = [0.8, -1.1, 0.4, 0.2], b = [0.1, 0, -0.3, 0.5];
  const square = w.reduce((sum, v) => sum + v * v, 0);
  const precision = 1 + square / sigma ** 2; // of z given x
  const gain = w.map((v) => v / sigma ** 2 / precision);
  net.loadStateDict({
    "fc_mu.weight": tensor(gain, [1, pixels]),
    "fc_mu.bias": tensor([-gain.reduce((s, v, i) => s + v * b[i]!, 0)]),
    "fc_logvar.weight": full([1, pixels], 0),
    "fc_logvar.bias": tensor([-Math.log(precision)]),
    "out.weight": tensor(w, [pixels, 1]),
    "out.bias": tensor(b),
  });
  const x = rng.normal([6, 1, 1, pixels]);
  const values = await x.data();
  const logProb = Array.from({ length: 6 }, (_, n) => {
    const r = b.map((v, i) => values[n * pixels + i]! - v);
    const along = r.reduce((s, v, i) => s + v * w[i]!, 0);
    const whole = r.reduce((s, v) => s + v * v, 0);
    // Woodbury, and the determinant lemma
    const distance = (whole - along ** 2 / (sigma ** 2 * precision)) /
      sigma ** 2;
    const logDet = pixels * 2 * Math.log(sigma) + Math.log(precision);
    return -0.5 * (distance + logDet + pixels * Math.log(2 * Math.PI));
  });
  return { net, x, logProb, likelihood: new GaussianLikelihood({ sigma }) };
}

Deno.test("The bounds of a linear VAE with the true posterior are log p(x)", async () => {
  const rng = new Rng(8);
  const { net, x, logProb, likelihood } = await linearGaussian(rng);
  // Every draw says so, as p(x, z) / q(z | x) is p(x) for all z.
  for (const samples of [1, 5]) {
    const bound = importanceWeightedBound(net, likelihood, x, { samples, rng });
    await assertClose(bound, logProb, { rtol: 1e-5, atol: 1e-5 });
  }
  const rounds = 400;
  const { elbo } = vaeLoss(net, likelihood, repeat(x, [rounds, 1, 1, 1]), {
    rng,
  });
  const means = mean(reshape(elbo, [rounds, 6]), { axis: 0 });
  await assertClose(means, logProb, { atol: 0.15, rtol: 0 }); // 3 standard errors
});

Deno.test("importanceWeightedBound() is the ELBO for one sample and rises towards log p(x)", async () => {
  const rng = new Rng(9);
  const { net, x, logProb, likelihood } = await linearGaussian(rng);
  net.loadStateDict({ // a posterior that is off
    ...net.stateDict(),
    "fc_mu.bias": tensor([0.4]),
    "fc_logvar.bias": tensor([-1]),
  });
  const many = repeat(x, [2000, 1, 1, 1]);
  const elbo = average(
    await vaeLoss(net, likelihood, many, { rng }).elbo.data(),
  );
  const bounds: number[] = [];
  for (const samples of [1, 3, 30]) {
    const options = { samples, rng };
    const bound = importanceWeightedBound(net, likelihood, many, options);
    bounds.push(average(await bound.data()));
  }
  const want = average(logProb), shown = `${elbo}, ${bounds} to ${want}`;
  assert.ok(Math.abs(bounds[0]! - elbo) < 0.1, shown);
  assert.ok(bounds[0]! + 0.1 < bounds[1]! && bounds[1]! < bounds[2]!, shown);
  assert.ok(bounds[2]! < want + 0.01 && bounds[2]! > want - 0.1, shown);
  assert.throws(
    () => importanceWeightedBound(net, likelihood, x, { samples: 0, rng }),
    /above 0/,
  );
});

Deno.test("importanceWeightedBound() gives each copy of an image its class", async () => {
  const rng = new Rng(10);
  const net = new Vae(
    { shape: [1, 1, 3], latent: 1, hidden: [], numClasses: 2 },
    rng,
  );
  // z says nothing, and the class sets all pixels to 0 or to 1.
  net.loadStateDict({
    ...net.stateDict(),
    "fc_mu.weight": full([1, 5], 0),
    "fc_mu.bias": full([1], 0),
    "fc_logvar.weight": full([1, 5], 0),
    "fc_logvar.bias": full([1], 0),
    "out.weight": tensor([0, 0, 1, 0, 0, 1, 0, 0, 1], [3, 3]),
    "out.bias": full([3], 0),
  });
  const y = tensor([0, 1], undefined, "i32");
  const x = reshape(tensor([0, 0, 0, 1, 1, 1]), [2, 1, 1, 3]);
  const bound = importanceWeightedBound(
    net,
    new GaussianLikelihood({ sigma: 1 }),
    x,
    { samples: 4, rng, y },
  );
  const best = -1.5 * Math.log(2 * Math.PI);
  await assertClose(sub(bound, best), [0, 0], { atol: 1e-5 });
});
