/**
 * The bound on data for which the best denoiser is known: a Gaussian of mean 0.
 *
 * @module
 */
import assert from "node:assert/strict";
import {
  add,
  cast,
  combineLikelihoods,
  concat,
  type Denoiser,
  diffusionBitsPerDim,
  GaussianDiffusion,
  indexSelect,
  mul,
  narrow,
  rateDistortion,
  reshape,
  Rng,
  stratifiedTimesteps,
  type Tensor,
  tensor,
} from "../../mod.ts";
import { assertClose } from "../_check.ts";

const STD = 0.25;

/** E[x_0 | x_t] = √ᾱ s² x_t / (ᾱ s² + 1 - ᾱ), told as the process wants it. */
function denoiserOf(process: GaussianDiffusion): Denoiser {
  const table = tensor(
    Float32Array.from(process.alphasCumprod, (bar) => {
      const share = Math.sqrt(bar) * STD ** 2 / (bar * STD ** 2 + 1 - bar);
      const noise = (1 - Math.sqrt(bar) * share) / Math.sqrt(1 - bar);
      return {
        x0: share,
        eps: noise,
        v: Math.sqrt(bar) * noise - Math.sqrt(1 - bar) * share,
      }[process.prediction];
    }),
  );
  return (x: Tensor, t: Tensor) => {
    const factors = indexSelect(table, 0, cast(t, "i32"));
    return mul(x, reshape(factors, [t.size, ...x.shape.slice(1).map(() => 1)]));
  };
}

/** Variance of x_0 given x_t. */
function spreadOf(process: GaussianDiffusion, t: number): number {
  const bar = process.alphasCumprod[t]!;
  return STD ** 2 * (1 - bar) / (bar * STD ** 2 + 1 - bar);
}

for (
  const [prediction, variance] of [
    ["eps", "fixedlarge"],
    ["x0", "fixedsmall"],
    ["v", "fixedsmall"],
  ] as const
) {
  Deno.test(`diffusionBitsPerDim() has the closed form's terms for Gaussian data, ${prediction} ${variance}`, async () => {
    const process = new GaussianDiffusion({
      prediction,
      variance,
      schedule: "cosine",
      timesteps: 60,
    });
    const x0 = new Rng(1).normal([8, 1024], 0, STD);
    const found = await diffusionBitsPerDim(process, denoiserOf(process), x0, {
      rng: new Rng(2),
      clipDenoised: false,
    });
    for (let t = 1; t < process.timesteps; t++) {
      const small = process.posteriorVariance[t]!;
      const sigma2 = variance === "fixedlarge" ? process.betas[t]! : small;
      const error = process.posteriorMeanCoef1[t]! ** 2 * spreadOf(process, t);
      const want = (Math.log(sigma2 / small) - 1 + (small + error) / sigma2) /
        2 / Math.LN2;
      // 8192 squares of normals: 1.6 % is one standard deviation.
      await assertClose([found.terms[t]!], [want], { atol: 1e-6, rtol: 0.08 });
      await assertClose([found.x0Mse[t]!], [spreadOf(process, t)], {
        rtol: 0.08,
      });
      const ratio = process.alphasCumprod[t]! /
        (1 - process.alphasCumprod[t]!);
      await assertClose(
        [found.epsMse[t]!],
        [found.x0Mse[t]! * ratio],
        { atol: 1e-6, rtol: 1e-3 },
      );
    }
    assert.ok(found.prior >= 0 && found.prior < 1e-6);
    const sum = found.terms.reduce((a, b) => a + b, found.prior);
    assert.ok(Math.abs(sum - found.total) < 1e-9);
    assert.equal(found.perImage.length, 8);
    assert.ok(found.standardError > 0 && found.standardError < 0.05);
  });
}

Deno.test("diffusionBitsPerDim() is the likelihood itself where the reverse process is exact", async () => {
  // On Gaussian data p(x_{t-1} | x_t) is a Gaussian whose variance lies between β̃ and β.
  const process = new GaussianDiffusion({
    schedule: "cosine",
    timesteps: 30,
    variance: "learned_range",
  });
  const best = tensor(
    Float32Array.from(process.betas, (beta, t) => {
      const small = process.posteriorVariance[Math.max(t, 1)]!;
      const variance = process.posteriorVariance[t]! +
        process.posteriorMeanCoef1[t]! ** 2 * spreadOf(process, t);
      return 2 * Math.log(variance / small) / Math.log(beta / small) - 1;
    }),
  );
  const value = denoiserOf(process);
  const denoise: Denoiser = (x, t) => {
    const each = reshape(indexSelect(best, 0, cast(t, "i32")), [t.size, 1]);
    return concat([value(x, t), add(mul(x, 0), each)], 1);
  };
  const x0 = new Rng(3).normal([6, 8192], 0, STD), row = 8192;
  const pixels = Float64Array.from(await x0.data());
  // -log₂ of the density times the distance of the values.
  const nll = Array.from({ length: 6 }, (_, i) => {
    const squares = pixels.subarray(i * row, (i + 1) * row)
      .reduce((sum, x) => sum + x * x / STD ** 2, 0);
    const scale = Math.log2(2 * Math.PI * STD ** 2) / 2 + Math.log2(127.5);
    return squares / row / 2 / Math.LN2 + scale;
  });
  const options = { rng: new Rng(4), clipDenoised: false };
  const exact = await diffusionBitsPerDim(process, denoise, x0, options);
  await assertClose(exact.perImage, nll, { atol: 0.06 });
  assert.ok(
    Math.abs(exact.total - nll.reduce((a, b) => a + b, 0) / 6) < 0.02,
    `${exact.total}, want ${nll}`,
  );
  // With any other variance it is above.
  const fixed = new GaussianDiffusion({ schedule: "cosine", timesteps: 30 });
  const above = await diffusionBitsPerDim(fixed, value, x0, options);
  assert.ok(above.total > exact.total + 0.1, `${above.total}`);
});

Deno.test("diffusionBitsPerDim() does not depend on the batches", async () => {
  const process = new GaussianDiffusion({
    timesteps: 9,
    betaStart: 0.02,
    betaEnd: 0.6,
  });
  const denoise = denoiserOf(process), seen: number[] = [];
  const x0 = new Rng(7).normal([5, 3, 2, 3], 0, STD);
  const whole = await diffusionBitsPerDim(process, denoise, x0, {
    rng: new Rng(8),
    onStep: (done, total) => {
      assert.equal(total, 9);
      seen.push(done);
    },
  });
  assert.deepEqual(seen, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
  const parts = [];
  for (const [from, to] of [[0, 2], [2, 5]] as const) {
    parts.push(
      await diffusionBitsPerDim(process, denoise, narrow(x0, 0, from, to), {
        rng: new Rng(8),
        firstRow: from,
      }),
    );
  }
  const both = combineLikelihoods(parts);
  await assertClose(both.perImage, whole.perImage);
  await assertClose(both.terms, whole.terms);
  await assertClose(both.x0Mse, whole.x0Mse);
  await assertClose([both.total, both.standardError, both.prior], [
    whole.total,
    whole.standardError,
    whole.prior,
  ], { atol: 1e-5 });
  const again = await diffusionBitsPerDim(process, denoise, x0, {
    rng: new Rng(8),
  });
  assert.deepEqual(again, whole);
});

Deno.test("stratifiedTimesteps() estimates a sum without bias", () => {
  const f = (t: number) => t === 0 ? 3 : 1 / t;
  const T = 41,
    truth = Array.from({ length: T }, (_, t) => f(t))
      .reduce((a, b) => a + b, 0);
  const rng = new Rng(9);
  let total = 0, squares = 0;
  const rounds = 3000;
  for (let i = 0; i < rounds; i++) {
    const { t, spans } = stratifiedTimesteps(T, 7, rng);
    assert.equal(t[0], 0);
    assert.equal(spans[0], 1);
    assert.equal(spans.reduce((a, b) => a + b, 0), T);
    let start = 0;
    const sum = spans.reduce((sum, span, k) => {
      assert.ok(t[k]! >= start && t[k]! < start + span);
      start += span;
      return sum + span * f(t[k]!);
    }, 0);
    total += sum;
    squares += (sum - truth) ** 2;
  }
  const spread = Math.sqrt(squares / rounds);
  assert.ok(spread < 0.06 * truth, `spread ${spread} of ${truth}`);
  const error = spread / Math.sqrt(rounds);
  assert.ok(error > 0 && Math.abs(total / rounds - truth) < 4 * error);
  const all = stratifiedTimesteps(5, 5, rng);
  assert.deepEqual([...all.t], [0, 1, 2, 3, 4]);
  assert.deepEqual([...all.spans], [1, 1, 1, 1, 1]);
  assert.deepEqual([...stratifiedTimesteps(1, 1, rng).t], [0]);
  for (const count of [0, 1, 42, 2.5]) {
    assert.throws(() => stratifiedTimesteps(T, count, rng), RangeError);
  }
});

Deno.test("diffusionBitsPerDim() over some timesteps weighs their terms by what they stand for", async () => {
  const process = new GaussianDiffusion({ timesteps: 40, schedule: "cosine" });
  const x0 = new Rng(10).normal([2, 64], 0, STD);
  const timesteps = stratifiedTimesteps(40, 18, new Rng(11));
  const found = await diffusionBitsPerDim(process, denoiserOf(process), x0, {
    rng: new Rng(12),
    timesteps,
  });
  assert.deepEqual(found.t, timesteps.t);
  const want = found.terms.reduce(
    (sum, term, k) => sum + timesteps.spans[k]! * term,
    found.prior,
  );
  assert.ok(Math.abs(found.total - want) < 1e-9);
  await assert.rejects(
    diffusionBitsPerDim(process, denoiserOf(process), x0, {
      rng: new Rng(1),
      timesteps: { t: Int32Array.of(0, 40), spans: Int32Array.of(1, 39) },
    }),
    /ascend within 0 … 39, .*: t is 0,40, spans is 1,39/,
  );
  assert.throws(() => combineLikelihoods([]), TypeError);
});

Deno.test("rateDistortion() sums what is sent before x_t is known", async () => {
  const points = rateDistortion({
    t: Int32Array.of(0, 2, 3),
    spans: Int32Array.of(1, 2, 1),
    prior: 0.5,
    terms: Float64Array.of(2, 0.25, 0.125),
    x0Mse: Float64Array.of(0, 0.01, 0.04),
  });
  assert.deepEqual(points.map(({ t }) => t), [3, 2, 0]);
  await assertClose(points.map(({ rate }) => rate), [0.5, 0.625, 1.125]);
  await assertClose(points.map(({ rmse }) => rmse), [25.5, 12.75, 0]);
});
