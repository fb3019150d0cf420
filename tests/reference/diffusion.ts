/**
 * Cases of the group `diffusion`.
 *
 * @module
 */
import {
  cast,
  clamp,
  classifierFree,
  concat,
  diffusionLoss,
  type DiffusionOptions,
  discretizedGaussianLogProb,
  EdmProcess,
  evenTimesteps,
  expand,
  GaussianDiffusion,
  indexSelect,
  karrasSigmas,
  mean,
  mul,
  narrow,
  priorBitsPerDim,
  quadTimesteps,
  reshape,
  sampleAncestral,
  sampleDdim,
  scale,
  type ScheduleName,
  strideTimesteps,
  sub,
  type Tensor,
  tensor,
  timeEmbedding,
  vlbTerm,
  vpEstimator,
} from "../../mod.ts";
import {
  answer,
  type Arrays,
  type Case,
  inputsOf,
  roleOf,
  type Values,
} from "./case.ts";
import { runSampler } from "./samplers.ts";

/** The process of a case. */
function processOf(
  { attrs }: Case,
  options: DiffusionOptions = {},
): GaussianDiffusion {
  return new GaussianDiffusion({
    timesteps: attrs.T,
    schedule: (attrs.schedule ?? attrs.kind) as ScheduleName,
    betaStart: attrs.beta_start,
    betaEnd: attrs.beta_end,
    variance: attrs.variance,
    ...options,
  });
}

/** The distribution function of a case. */
function cdfOf({ attrs }: Case): "tanh" | "erf" {
  return attrs.cdf === "erf" ? "erf" : "tanh";
}

/** Tables by the reference's names. */
function tablesOf(d: GaussianDiffusion): Record<string, Float64Array> {
  return {
    betas: d.betas,
    alphas_cumprod: d.alphasCumprod,
    alphas_cumprod_prev: d.alphasCumprodPrev,
    sqrt_alphas_cumprod: d.alphasCumprod.map(Math.sqrt),
    sqrt_one_minus_alphas_cumprod: d.alphasCumprod.map((bar) =>
      Math.sqrt(1 - bar)
    ),
    posterior_variance: d.posteriorVariance,
    posterior_log_variance_clipped: d.posteriorLogVarianceClipped,
    posterior_mean_coef1: d.posteriorMeanCoef1,
    posterior_mean_coef2: d.posteriorMeanCoef2,
    snr: d.alphasCumprod.map((bar) => bar / (1 - bar)),
  };
}

/** Rules for the timesteps of a shorter sampler, by the reference's names. */
const TIMESTEPS = {
  evenly: evenTimesteps,
  uniform: strideTimesteps,
  offset: (T: number, steps: number) => strideTimesteps(T, steps, 1),
  quad: quadTimesteps,
};

/** Outputs under the names of the file, from values by role. */
function named(
  one: Case,
  values: Record<string, Tensor | ArrayLike<number>>,
): Values {
  return Object.fromEntries(
    one.outputs.filter((name) => !name.endsWith(".lo")).map((name) => {
      const base = name.replace(/\.hi$/, "");
      return [base, values[roleOf(base)]!];
    }),
  );
}

/** x̂_0 of a case, limited if it says so. */
function startOf(
  one: Case,
  x: Readonly<Record<string, Tensor>>,
  t: Int32Array,
): Tensor {
  const start = processOf(one).startFrom(x.x_t!, t, x.eps!);
  return one.attrs.clip_denoised ? clamp(start, { min: -1, max: 1 }) : start;
}

/** The first step of the case's sampler, between levels of each example's own. */
async function firstSteps(
  one: Case,
  x: Readonly<Record<string, Tensor>>,
  t: Int32Array,
  before: Int32Array,
): Promise<Tensor> {
  const { eta, variance, clip_denoised } = one.attrs;
  const d = processOf(one), rows: Tensor[] = [];
  for (const [i, at] of t.entries()) {
    const [xt, eps, z] = [x.x_t!, x.eps!, x.noise!].map((all) =>
      narrow(all, 0, i, i + 1)
    );
    const estimator = vpEstimator(d, () => eps!, {
      threshold: clip_denoised ? "static" : "none",
    });
    const levels = [at, before[i]!].filter((t) => t >= 0)
      .map((t) => d.level(t));
    const options = {
      noise: () => z!,
      onStep: (done: number, _total: number, next: Tensor) => {
        if (done === 1) rows.push(scale(next, 1));
      },
    };
    await (one.op === "ddim_step"
      ? sampleDdim(estimator, levels, xt!, { ...options, eta })
      : sampleAncestral(estimator, levels, xt!, { ...options, variance }));
  }
  return concat(rows);
}

/** Computes a case; null if the library does not have its op yet. */
export async function runDiffusion(
  one: Case,
  arrays: Arrays,
): Promise<Values | null> {
  const { attrs } = one;
  const inputs = inputsOf(one, arrays);
  const x = inputs as Record<string, Tensor>;
  const steps = async (role: string) => Int32Array.from(await x[role]!.data());
  switch (one.op) {
    case "noise_schedule":
      return named(one, tablesOf(processOf(one)));
    case "respaced_schedule":
      return named(
        one,
        tablesOf(processOf(one).respaced(await steps("timesteps"))),
      );
    case "timesteps":
      return named(one, {
        t: TIMESTEPS[attrs.kind as keyof typeof TIMESTEPS](
          attrs.T,
          attrs.steps,
        ),
      });
    case "edm_sigmas":
      return named(one, {
        sigma: karrasSigmas(attrs.steps, {
          sigmaMin: attrs.sigma_min,
          sigmaMax: attrs.sigma_max,
          rho: attrs.rho,
        }),
      });
    case "edm_preconditioning": {
      const edm = new EdmProcess({ sigmaData: attrs.sigma_data });
      const sigma = Float64Array.from(await x.sigma!.data());
      return named(one, {
        c_skip: sigma.map((value) => edm.cSkip(value)),
        c_out: sigma.map((value) => edm.cOut(value)),
        c_in: sigma.map((value) => edm.cIn(value)),
        c_noise: sigma.map((value) => edm.cNoise(value)),
        weight: sigma.map((value) => edm.weight(value)),
      });
    }
    case "prior_bpd": {
      const bar = processOf(one).alphasCumprod.at(-1)!;
      const axes = x.x0!.shape.map((_, axis) => axis).slice(1);
      const squares = await mean(mul(x.x0!, x.x0!), { axis: axes }).data();
      return named(one, {
        bpd: Float64Array.from(squares, (s) => priorBitsPerDim(bar, s)),
      });
    }
    case "time_embedding": {
      const form = attrs.formula.includes("(half-1)") ? "ho" : "dome";
      const t = cast(x.t!, "f32");
      return named(one, { out: timeEmbedding(t, attrs.dim, { form }) });
    }
    case "q_sample":
      return named(one, {
        out: processOf(one).qSample(x.x0!, await steps("t"), x.noise!),
      });
    case "q_posterior": {
      const d = processOf(one), t = await steps("t");
      const mean = d.posteriorMean(x.x0!, x.x_t!, t);
      const [logVariance] = one.outputs.filter((name) =>
        name.endsWith("log_variance")
      );
      const table = tensor(Float32Array.from(d.posteriorLogVarianceClipped));
      const { shape } = arrays[logVariance!]!;
      const values = indexSelect(table, 0, x.t!);
      return named(one, {
        mean,
        log_variance: expand(
          reshape(values, [values.size, ...shape.slice(1).map(() => 1)]),
          shape,
        ),
      });
    }
    case "v_target":
      return named(one, {
        v: processOf(one, { prediction: "v" })
          .target(x.x0!, await steps("t"), x.eps!),
      });
    case "v_to_x0_eps": {
      const d = processOf(one, { prediction: "v" }), t = await steps("t");
      return named(one, {
        x0: d.startFrom(x.x_t!, t, x.v!),
        eps: d.noiseFrom(x.x_t!, t, x.v!),
      });
    }
    case "learned_range_logvar": {
      const d = processOf(one, { variance: "learned_range" });
      return answer(one, arrays, inputs, {
        log_variance: d.logVarianceOf(await steps("t"), x.v!, x.v!),
      });
    }
    case "discretized_gaussian_ll":
      return answer(one, arrays, inputs, {
        log_prob: discretizedGaussianLogProb(x.x!, x.mean!, x.log_scale!, {
          cdf: cdfOf(one),
        }),
      });
    case "vlb_term_bpd": {
      const { v: fraction, eps: value, x_t: xt } = x;
      const t = await steps("t");
      const d = processOf(one, fraction && { variance: "learned_range" });
      return answer(one, arrays, inputs, {
        bpd: vlbTerm(d, x.x0!, { xt: xt!, t, value: value!, fraction }, {
          clipDenoised: attrs.clip_denoised,
          cdf: cdfOf(one),
        }),
      });
    }
    case "hybrid_loss": {
      const d = processOf(one, { variance: "learned_range" });
      const t = await steps("t");
      const output = concat([x.eps!, x.v!], 1);
      const loss = (type: "simple" | "hybrid") =>
        diffusionLoss(d, () => output, x.x0!, t, x.noise!, {
          type,
          vlbWeight: attrs.vlb_weight / attrs.T,
        });
      const simple = loss("simple"), hybrid = loss("hybrid");
      return answer(one, arrays, inputs, {
        loss: mean(hybrid),
        mse: simple,
        vb: scale(sub(hybrid, simple), 1 / attrs.vlb_weight),
      });
    }
    case "ancestral_step": {
      const d = processOf(one), t = await steps("t");
      const start = startOf(one, x, t);
      return named(one, {
        pred_x0: start,
        mean: d.posteriorMean(start, x.x_t!, t),
        x_prev: await firstSteps(one, x, t, t.map((t) => t - 1)),
      });
    }
    case "ddim_step": {
      const t = await steps("t"), before = await steps("t_prev");
      return named(one, {
        pred_x0: startOf(one, x, t),
        x_prev: await firstSteps(one, x, t, before),
      });
    }
    case "classifier_free_guidance":
      return named(one, {
        out: classifierFree(x.eps_cond!, x.eps_uncond!, 1 + attrs.w),
      });
    default:
      return await runSampler(one, x);
  }
}
