import { GaussianDiffusion, type NoiseLevel } from "../../mod.ts";
import {
  ddimFactors,
  dpmppFactors,
  heunFactors,
  NOISELESS,
  posterior,
} from "../../models/transition.ts";
import { assertClose } from "../_check.ts";

const process = new GaussianDiffusion();
const EXACT = { atol: 1e-12, rtol: 1e-9 };

/** The same noise where images are unscaled. */
const unscaled = ({ alpha, sigma }: NoiseLevel): NoiseLevel => ({
  alpha: 1,
  sigma: sigma / alpha,
});

Deno.test("posterior() is that of the schedule's tables, and of the respaced ones", async () => {
  const fewer = process.respaced(Int32Array.of(0, 111, 555, 999));
  for (const some of [process, fewer]) {
    for (let t = 0; t < some.timesteps; t += some === fewer ? 1 : 83) {
      const { fromX, fromX0, large, small } = posterior(
        some.level(t),
        t === 0 ? NOISELESS : some.level(t - 1),
      );
      await assertClose([fromX, fromX0, large, small], [
        some.posteriorMeanCoef2[t]!,
        some.posteriorMeanCoef1[t]!,
        some.betas[t]!,
        some.posteriorVariance[t]!,
      ], EXACT);
    }
  }
});

Deno.test("ddimFactors() with eta 1 draw from the posterior", async () => {
  const [s, t] = [process.level(700), process.level(320)];
  const { fromX, fromX0, small } = posterior(s, t);
  const { x, x0, z } = ddimFactors(s, t, 1);
  await assertClose([x, x0, z ** 2], [fromX, fromX0, small], EXACT);
});

Deno.test("ddimFactors() of unscaled images are k-diffusion's Euler ancestral step", async () => {
  for (const [sigma, next] of [[14.6, 9.1], [0.4, 0.39], [2, 0]] as const) {
    for (const eta of [0, 0.5, 1, 3]) {
      const up = Math.min(
        next,
        eta * (next ** 2 * (sigma ** 2 - next ** 2) / sigma ** 2) ** 0.5,
      );
      const down = Math.sqrt(next ** 2 - up ** 2);
      const { x, x0, z } = ddimFactors(
        { alpha: 1, sigma },
        { alpha: 1, sigma: next },
        eta,
      );
      // x + (x - x̂_0) / σ · (σ_down - σ) + σ_up z
      await assertClose(
        [x, x0, z],
        [down / sigma, 1 - down / sigma, up],
        EXACT,
      );
    }
  }
});

Deno.test("dpmppFactors() are the published ones, and of first order where a step has no size", async () => {
  const [r, s, t] = [
    process.level(900),
    process.level(600),
    process.level(450),
  ];
  const lambda = ({ alpha, sigma }: NoiseLevel) => Math.log(alpha / sigma);
  const h = lambda(t) - lambda(s), ratio = (lambda(s) - lambda(r)) / h;
  const { x, x0, before } = dpmppFactors(r, s, t);
  const gain = -t.alpha * Math.expm1(-h);
  await assertClose([x, x0, before], [
    t.sigma / s.sigma,
    gain * (1 + 1 / (2 * ratio)),
    -gain / (2 * ratio),
  ], EXACT);
  const pure = { alpha: 0, sigma: 1 };
  for (
    const [before, from, to] of [
      [undefined, s, t],
      [pure, s, t],
      [undefined, pure, t],
      [r, s, NOISELESS],
      [s, s, t],
    ] as const
  ) {
    const { x, x0 } = ddimFactors(from, to, 0);
    const got = dpmppFactors(before, from, to);
    await assertClose([got.x, got.x0, got.before], [x, x0, 0], EXACT);
  }
});

Deno.test("heunFactors() average the slopes at both ends", async () => {
  const [sigma, next, x, x0, x0Next] = [5, 3.5, 4, 0.3, 0.7];
  const d = (x - x0) / sigma, euler = x + (next - sigma) * d;
  const want = x + (next - sigma) * (d + (euler - x0Next) / next) / 2;
  const f = heunFactors({ alpha: 1, sigma }, { alpha: 1, sigma: next });
  await assertClose([f.x * x + f.x0 * x0 + f.x0Next * x0Next], [want], EXACT);
});

Deno.test("factors do not depend on how images are scaled", async () => {
  const [r, s, t] = [
    process.level(900),
    process.level(600),
    process.level(450),
  ];
  const [R, S, T] = [unscaled(r), unscaled(s), unscaled(t)];
  for (
    const [scaled, plain] of [
      [ddimFactors(s, t, 0.7), ddimFactors(S, T, 0.7)],
      [dpmppFactors(r, s, t), dpmppFactors(R, S, T)],
      [heunFactors(s, t), heunFactors(S, T)],
    ]
  ) {
    // x is alpha times its unscaled form, and x_0 the same in both.
    const want = Object.entries(plain!).map(([of, factor]) =>
      t.alpha * (of === "x" ? factor / s.alpha : factor)
    );
    await assertClose(Object.values(scaled!), want, EXACT);
  }
});

Deno.test("ancestral sampling of N(0, 1/4) ends in the published variances", async () => {
  // The best denoiser is linear, so the variance follows exactly.
  const levels = [...process.levels(1000), NOISELESS];
  for (
    const [which, want] of [["large", 0.25075], ["small", 0.24613]] as const
  ) {
    let variance = 1;
    for (let i = 0; i < 1000; i++) {
      const s = levels[i]!, t = levels[i + 1]!;
      const p = posterior(s, t);
      const toX0 = s.alpha / 4 / (s.alpha ** 2 / 4 + s.sigma ** 2);
      const noise = t.sigma === 0 ? 0 : p[which];
      variance = (p.fromX + p.fromX0 * toX0) ** 2 * variance + noise;
    }
    await assertClose([variance], [want], { atol: 5e-6, rtol: 0 });
  }
});
