/**
 * Samplers on data for which the best denoiser is known: a Gaussian of mean 0 and variance 1/4.
 *
 * @module
 */
import assert from "node:assert/strict";
import {
  cast,
  type Denoiser,
  full,
  GaussianDiffusion,
  indexSelect,
  mul,
  reshape,
  Rng,
  sampleAncestral,
  sampleDdim,
  type Tensor,
  tensor,
} from "../../mod.ts";

const VARIANCE = 0.25;
const free = new GaussianDiffusion({ clipDenoised: false });

/** ε̂ = √(1 - ᾱ) x / (ᾱ s² + 1 - ᾱ), from E[x_0 | x_t]; all images of a batch share t. */
function denoiserOf(diffusion: GaussianDiffusion): Denoiser {
  const table = tensor(
    Float32Array.from(
      diffusion.alphasCumprod,
      (bar) => Math.sqrt(1 - bar) / (bar * VARIANCE + 1 - bar),
    ),
  );
  return (x, t) => mul(x, reshape(lookUp(table, t), [t.size, 1]));
}

function lookUp(table: Tensor, t: Tensor): Tensor {
  return indexSelect(table, 0, cast(t, "i32"));
}

function variance(data: ArrayLike<number>): number {
  return Array.from(data).reduce((sum, x) => sum + x * x, 0) / data.length;
}

Deno.test("sampleDdim() converges with order 1 to the exact solution", async () => {
  // From x_T = 1 the exact flow ends at s / √(ᾱ_T s² + 1 - ᾱ_T).
  const bar = free.alphasCumprod[999]!;
  const exact = Math.sqrt(VARIANCE / (bar * VARIANCE + 1 - bar));
  const errors = [];
  for (const steps of [10, 20, 50]) {
    const x = await sampleDdim(free, denoiserOf(free), full([1, 1], 1), {
      steps,
    });
    errors.push(await x.item() - exact);
  }
  // Published errors of this solver for a start of unit size: -0.138, -0.0696, -0.0281.
  for (const [i, want] of [-0.138, -0.0696, -0.0281].entries()) {
    assert.ok(Math.abs(errors[i]! - want) < 0.02, `errors ${errors}`);
  }
});

Deno.test("sampleAncestral() has the variance that its σ implies", async () => {
  // Few timesteps, scaled to reach noise; the recursion for the variance is exact.
  const T = 50;
  for (const name of ["fixedlarge", "fixedsmall"] as const) {
    const diffusion = new GaussianDiffusion({
      timesteps: T,
      betaStart: 2e-3,
      betaEnd: 0.4,
      variance: name,
      clipDenoised: false,
    });
    let v = 1;
    for (let t = T - 1; t >= 0; t--) {
      const bar = diffusion.alphasCumprod[t]!;
      const toStart = Math.sqrt(bar) * VARIANCE / (bar * VARIANCE + 1 - bar); // x̂_0 = toStart · x_t
      const factor = diffusion.posteriorMeanCoef1[t]! * toStart +
        diffusion.posteriorMeanCoef2[t]!;
      v = factor ** 2 * v + (t === 0 ? 0 : Math.exp(diffusion.logVariance[t]!));
    }
    const rng = new Rng(5);
    const x = await sampleAncestral(
      diffusion,
      denoiserOf(diffusion),
      rng.normal([2, 8192]),
      rng,
    );
    const got = variance(await x.data());
    assert.ok(
      Math.abs(got / v - 1) < 0.06,
      `${name}: variance ${got}, want ${v}`,
    );
  }
});

Deno.test("sampleDdim() is deterministic at eta 0 and refuses noise without a generator", async () => {
  const xT = new Rng(3).normal([2, 5]);
  const run = async () => [
    ...await (await sampleDdim(free, denoiserOf(free), xT, { steps: 7 }))
      .data(),
  ];
  assert.deepEqual(await run(), await run());
  assert.throws(
    () => sampleDdim(free, denoiserOf(free), xT, { steps: 7, eta: 0.5 }),
    /pass rng/,
  );
});

Deno.test("samplers report every step and leave the starting noise alone", async () => {
  const xT = new Rng(3).normal([1, 4]);
  const before = [...await xT.data()];
  const seen: number[] = [];
  await sampleDdim(free, denoiserOf(free), xT, {
    steps: 5,
    onStep: (done, total) => {
      assert.equal(total, 5);
      seen.push(done);
    },
  });
  assert.deepEqual(seen, [1, 2, 3, 4, 5]);
  assert.deepEqual([...await xT.data()], before);
});
