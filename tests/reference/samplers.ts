/**
 * Cases of the group `diffusion` that run a whole sampler, on data ~ N(m, diag(s²)).
 *
 * @module
 */
import {
  add,
  concat,
  div,
  type Estimator,
  full,
  GaussianDiffusion,
  indexSelect,
  karrasSigmas,
  linearCombination,
  live,
  mul,
  type NoiseLevel,
  reshape,
  sampleDdim,
  sampleDpmpp,
  sampleHeun,
  type SamplerOptions,
  scale,
  type ScheduleName,
  sqrt,
  sub,
  type Tensor,
} from "../../mod.ts";
import type { Case, Values } from "./case.ts";

/** What `exact_ode_ve` cases leave to those of `edm_heun`. */
const EXACT_VE: Readonly<Record<string, Case["attrs"]>> = {
  "edm_exact.0": { steps: 18, sigma_min: 0.002, sigma_max: 80, rho: 7 },
  "edm_exact.1": { steps: 10, sigma_min: 0.01, sigma_max: 20, rho: 5 },
};

/** The levels of a case, noisiest first; the image last where the case ends there. */
async function levelsOf(
  { attrs, name, op }: Case,
  t: Tensor | undefined,
): Promise<NoiseLevel[]> {
  if (t) {
    const process = new GaussianDiffusion({
      schedule: attrs.schedule as ScheduleName,
    });
    const steps = Array.from(await t.data()).sort((a, b) => b - a);
    const image = op === "ddim_trajectory" ? [{ alpha: 1, sigma: 0 }] : [];
    return [...steps.map((step) => process.level(step)), ...image];
  }
  const { steps, sigma_min, sigma_max, rho } = EXACT_VE[name] ?? attrs;
  const sigmas = karrasSigmas(steps, {
    sigmaMin: sigma_min,
    sigmaMax: sigma_max,
    rho,
  });
  return Array.from(sigmas, (sigma) => ({ alpha: 1, sigma }));
}

/** α² s² + σ². */
function varianceAt(level: () => NoiseLevel, s: Tensor): Tensor {
  return linearCombination([
    [live(() => level().alpha ** 2), mul(s, s)],
    [live(() => level().sigma ** 2), full(s.shape, 1)],
  ]);
}

/** x - α m. */
function centred(x: Tensor, level: () => NoiseLevel, m: Tensor): Tensor {
  return sub(x, scale(m, live(() => level().alpha)));
}

/** Computes a case; null if it is none of these. */
export async function runSampler(
  one: Case,
  x: Readonly<Record<string, Tensor>>,
): Promise<Values | null> {
  const { attrs, op } = one;
  const { m, s, x_T: noise, noise: churn } = x as Record<string, Tensor>;
  if (!m || !s || !noise) return null;
  const path = await levelsOf(one, x.t);
  const start = x.t ? noise : scale(noise, path[0]!.sigma);
  const answer = (rows: Tensor[]): Values => ({
    [one.outputs[0]!]: concat(
      rows.map((row) => reshape(row, [1, ...row.shape])),
    ),
  });
  if (op.startsWith("exact_ode")) {
    const first = path[0]!;
    return answer(path.map((level) => {
      const spread = sqrt(
        div(varianceAt(() => level, s), varianceAt(() => first, s)),
      );
      return add(
        mul(spread, centred(start, () => first, m)),
        scale(m, level.alpha),
      );
    }));
  }
  const estimator: Estimator = (x, level) => {
    const gain = div(
      scale(mul(s, s), live(() => level().alpha)),
      varianceAt(level, s),
    );
    return { x0: add(m, mul(gain, centred(x, level, m))) };
  };
  const rows = [start];
  const options: SamplerOptions & { noise: () => Tensor } = {
    onStep: (_done, _total, x) => void rows.push(scale(x, 1)),
    noise: () => {
      const row = full([1], live(() => rows.length - 1), "i32");
      return reshape(indexSelect(churn!, 0, row), start.shape);
    },
  };
  const levels = path.filter(({ sigma }) => sigma > 0);
  switch (op) {
    case "ddim_trajectory":
      await sampleDdim(estimator, levels, start, {
        ...options,
        eta: attrs.eta,
      });
      break;
    case "dpmpp_2m_vp":
    case "dpmpp_2m_ve":
      await sampleDpmpp(estimator, levels, start, options);
      break;
    case "edm_heun":
      await sampleHeun(estimator, levels, start, {
        ...options,
        sChurn: attrs.S_churn,
        sMin: attrs.S_min,
        sMax: attrs.S_max,
        sNoise: attrs.S_noise,
      });
      break;
    default:
      return null;
  }
  return answer(rows.slice(0, path.length)); // the sampler always goes on to the image
}
