/**
 * Gaussian diffusion with a fixed schedule (Ho et al. 2020, arXiv:2006.11239). Timesteps count from 0,
 * so that index t here is t + 1 in the paper. The process knows no network: a denoiser is any function
 * of a noised batch and its timesteps.
 *
 * @module
 */
import { add, mul } from "../kernels/binary.ts";
import { indexSelect } from "../kernels/index.ts";
import { reshape, split } from "../kernels/shape.ts";
import { scale } from "../kernels/unary.ts";
import { keep, outsideCapture } from "../tensor/context.ts";
import { full } from "../tensor/fill.ts";
import { requireThat } from "../tensor/kernel.ts";
import type { Rng } from "../tensor/rng.ts";
import { Tensor, tensor } from "../tensor/tensor.ts";
import { live } from "../tensor/trace.ts";
import {
  karrasSigmas,
  namedBetas,
  type NoiseLevel,
  type ScheduleName,
  type ScheduleOptions,
  type ScheduleReport,
  scheduleReport,
  spacedTimesteps,
  type Spacing,
  zeroTerminalSnrBetas,
} from "./noise_schedule.ts";
import { onePerExample, qSampleDrawn } from "./q_sample.ts";

/**
 * Timesteps of a batch: one per example on the host or, i32 `[N]`, on the device; or one for all that
 * is asked for when the step runs, and again before every replay of a captured one.
 */
export type Timesteps = Int32Array | Tensor | (() => number);

/** Timesteps, or the noise level of all. */
export type Moments = Timesteps | (() => NoiseLevel);

/**
 * What the network predicts of x_t = √ᾱ x_0 + √(1 - ᾱ) ε: the noise ε, the image x_0, or
 * v = √ᾱ ε - √(1 - ᾱ) x_0 (Salimans & Ho 2022, arXiv:2202.00512).
 */
export type PredictionName = "eps" | "x0" | "v";

/**
 * Variance of an ancestral step: `fixedlarge` is β_t, `fixedsmall` the posterior's β̃_t, and with
 * `learned_range` the network picks one between both (Nichol & Dhariwal 2021, eq. 15).
 */
export type VarianceName = "fixedlarge" | "fixedsmall" | "learned_range";

/** What `GaussianDiffusion` is made of. */
export interface DiffusionOptions extends ScheduleOptions {
  /** Number of steps T; defaults to 1000. */
  timesteps?: number;
  /** Defaults to `linear`. */
  schedule?: ScheduleName;
  /** The schedule itself, instead of a name and its options. */
  betas?: Float64Array;
  /** Whether to bend the schedule so that it ends in pure noise; defaults to false. */
  zeroTerminalSnr?: boolean;
  /** Defaults to `eps`. */
  prediction?: PredictionName;
  /** Variance of ancestral steps; defaults to `fixedlarge`. */
  variance?: VarianceName;
  /** What the denoiser is told at each step; defaults to the step's own index. */
  timestepMap?: Int32Array<ArrayBuffer>;
}

/** The forward process q, its posterior, and what a network's predictions say of both. */
export class GaussianDiffusion {
  /** Number of steps T. */
  readonly timesteps: number;
  /** β_t. */
  readonly betas: Float64Array;
  /** ᾱ_t = Π_{s≤t} (1 - β_s). */
  readonly alphasCumprod: Float64Array;
  /** ᾱ_{t-1}, with 1 at t = 0. */
  readonly alphasCumprodPrev: Float64Array;
  /** β̃_t = β_t (1 - ᾱ_{t-1}) / (1 - ᾱ_t), eq. 7. */
  readonly posteriorVariance: Float64Array;
  /** log β̃_t, with log β̃_1 at t = 0, where the variance is 0. */
  readonly posteriorLogVarianceClipped: Float64Array;
  /** Factor of x_0 in the posterior mean, eq. 7. */
  readonly posteriorMeanCoef1: Float64Array;
  /** Factor of x_t in the posterior mean, eq. 7. */
  readonly posteriorMeanCoef2: Float64Array;
  /** log σ_t² of an ancestral step; its upper end, `fixedlarge`, where it is learned. */
  readonly logVariance: Float64Array;
  /** What the network predicts. */
  readonly prediction: PredictionName;
  /** Whose variance an ancestral step has. */
  readonly variance: VarianceName;
  /** What the denoiser is told at each step. */
  readonly timestepMap: Int32Array<ArrayBuffer>;
  readonly #options: DiffusionOptions;
  readonly #tables = new Map<string, Tensor>();
  /** √ᾱ_t. */
  readonly #signal = (t: number) => Math.sqrt(this.alphasCumprod[t]!);
  /** √(1 - ᾱ_t). */
  readonly #spread = (t: number) => Math.sqrt(1 - this.alphasCumprod[t]!);

  /** log(σ/α) of every t, ascending. */
  readonly #logRatios: Float64Array;

  /**
   * Computes the tables.
   *
   * @throws {RangeError} If the schedule cannot be made, a β lies outside (0, 1], or the last is 1, which
   *   leaves pure noise, and the network predicts noise; no other may be 1.
   */
  constructor(options: DiffusionOptions = {}) {
    this.#options = options;
    const { schedule = "linear", variance = "fixedlarge", prediction = "eps" } =
      options;
    const made = options.betas ??
      namedBetas(schedule, options.timesteps ?? 1000, options);
    const betas = options.zeroTerminalSnr ? zeroTerminalSnrBetas(made) : made;
    const T = betas.length;
    betas.forEach((beta, t) => {
      if (beta === 1 && t === T - 1) {
        if (prediction !== "eps") return;
        throw new RangeError(
          `Cannot predict noise as no image follows from it where no signal is left: beta ${t} is 1; predict "v" or "x0", or end the schedule below 1`,
        );
      }
      if (!(beta > 0 && beta < 1)) {
        throw new RangeError(
          `Cannot diffuse as betas must lie between 0 and 1: beta ${t} is ${beta}`,
        );
      }
    });
    this.prediction = prediction;
    this.variance = variance;
    let product = 1;
    this.timesteps = T;
    this.betas = betas;
    const bars = this.alphasCumprod = betas.map((beta) => product *= 1 - beta);
    const before = this.alphasCumprodPrev = bars.map((_, t) =>
      t === 0 ? 1 : bars[t - 1]!
    );
    const small = this.posteriorVariance = betas.map((beta, t) =>
      beta * (1 - before[t]!) / (1 - bars[t]!)
    );
    this.posteriorLogVarianceClipped = small.map((v, t) =>
      Math.log(t === 0 ? small[1] ?? betas[0]! : v)
    );
    this.posteriorMeanCoef1 = betas.map((beta, t) =>
      beta * Math.sqrt(before[t]!) / (1 - bars[t]!)
    );
    this.posteriorMeanCoef2 = betas.map((beta, t) =>
      (1 - before[t]!) * Math.sqrt(1 - beta) / (1 - bars[t]!)
    );
    this.logVariance = variance === "fixedsmall"
      ? this.posteriorLogVarianceClipped
      : betas.map((beta, t) =>
        t === 0 ? this.posteriorLogVarianceClipped[0]! : Math.log(beta)
      );
    this.#logRatios = bars.map((_, t) => logRatio(this.level(t)));
    this.timestepMap = options.timestepMap ??
      Int32Array.from({ length: T }, (_, t) => t);
  }

  /**
   * The same process seen only at some of its timesteps: β'_i = 1 - ᾱ_{S_i} / ᾱ_{S_{i-1}} (Nichol &
   * Dhariwal 2021, eq. 19). The denoiser is still told the original timesteps.
   *
   * @param steps Ascending timesteps to keep.
   */
  respaced(steps: Int32Array<ArrayBuffer>): GaussianDiffusion {
    const betas = Float64Array.from(steps, (t, i) => {
      const before = i === 0 ? 1 : this.alphasCumprod[steps[i - 1]!]!;
      return 1 - this.alphasCumprod[t]! / before;
    });
    return new GaussianDiffusion({
      ...this.#options,
      zeroTerminalSnr: false, // they are bent already
      betas,
      timestepMap: steps.map((t) => this.timestepMap[t]!),
    });
  }

  /** The timesteps as a denoiser is told them: f32 `[N]`, for a batch of `n`. */
  times(t: Timesteps, n: number): Tensor {
    return this.perExample("told", (i) => this.timestepMap[i]!, t, n);
  }

  /**
   * A function of the timestep, for each of `n` examples: f32 `[N]`.
   *
   * @param name By which its table is kept on the device: one name, one function.
   */
  perExample(
    name: string,
    value: (t: number) => number,
    t: Timesteps,
    n: number,
  ): Tensor {
    if (typeof t === "function") return full([n], live(() => value(t())));
    if (t instanceof Tensor) return indexSelect(this.#table(name, value), 0, t);
    return tensor(Float32Array.from(t, value));
  }

  /** Draws x_t ~ q(x_t | x_0) = √ᾱ_t x_0 + √(1 - ᾱ_t) ε, eq. 4. `x0`, `noise`: `[N, …]`. */
  qSample(x0: Tensor, t: Timesteps, noise: Tensor): Tensor {
    return add(
      this.#times("signal", this.#signal, t, x0),
      this.#times("spread", this.#spread, t, noise),
    );
  }

  /**
   * `qSample` with ε drawn on the way, as `rng.normal(x0.shape)` would: one kernel instead of six.
   *
   * @param x0 f32 `[N, …]`.
   * @returns x_t and ε, both like `x0`.
   * @throws {TypeError} If there is not one timestep per example, or a type does not fit.
   */
  diffuse(
    x0: Tensor,
    t: Timesteps,
    rng: Rng,
  ): { xt: Tensor; noise: Tensor } {
    const each = typeof t === "function"
      ? full([x0.shape[0] ?? 0], live(t), "i32")
      : t instanceof Tensor
      ? t
      : tensor(Int32Array.from(t));
    requireOnePerExample(each.size, x0);
    requireThat(
      x0.dtype === "f32" && each.dtype === "i32",
      "diffuse",
      "x0 must be f32 and t i32",
      { x0: String(x0), t: String(each) },
    );
    const tables = {
      signal: this.#table("signal", this.#signal),
      spread: this.#table("spread", this.#spread),
    };
    return qSampleDrawn(x0, each, tables, rng);
  }

  /** What the schedule amounts to. */
  report(): ScheduleReport {
    return scheduleReport(this.betas, this.#options.maxBeta);
  }

  /** The noise level of a timestep, √ᾱ_t and √(1 - ᾱ_t). */
  level(t: number): NoiseLevel {
    return { alpha: this.#signal(t), sigma: this.#spread(t) };
  }

  /**
   * The timestep whose images are as noisy, by interpolation of log(sigma / alpha): fractional, but
   * exactly t at `level(t)`, and 0 or T - 1 beyond the ends.
   *
   * @param level Of any scale: only the ratio of both counts.
   */
  timestepOf(level: NoiseLevel): number {
    const ratios = this.#logRatios, ratio = logRatio(level);
    const above = ratios.findIndex((other) => other >= ratio);
    if (above < 0) return this.timesteps - 1;
    if (above === 0 || ratios[above] === ratio) return above;
    const below = ratios[above - 1]!;
    return above - 1 + (ratio - below) / (ratios[above]! - below);
  }

  /**
   * Noise levels for a sampler of `steps` steps, falling; the image itself is not among them.
   *
   * @param spacing `even` (`evenTimesteps`, the default), `stride`, `quad` or `linspace`, which name the
   *   functions that pick timesteps, or `karras`, see `karrasSigmas`, between the first timestep and the
   *   last that has signal left.
   * @returns `steps` of them, or fewer where a rule picks a timestep twice, as `quad` does.
   * @throws {RangeError} If there are not so many timesteps, or there is no such spacing.
   */
  levels(steps: number, spacing: Spacing = "even"): NoiseLevel[] {
    if (spacing !== "karras") {
      const kept = spacedTimesteps(spacing, this.timesteps, steps);
      return Array.from(kept, (t) => this.level(t)).reverse();
    }
    const finite = this.#logRatios.filter(Number.isFinite);
    const sigmas = karrasSigmas(steps, {
      sigmaMin: Math.exp(finite[0]!),
      sigmaMax: Math.exp(finite.at(-1)!),
    });
    return Array.from(sigmas.subarray(0, -1), (sigma) => {
      const alpha = 1 / Math.hypot(1, sigma);
      return { alpha, sigma: sigma * alpha };
    });
  }

  /**
   * Takes apart what the network gives.
   *
   * @param output `[N, C, …]`, or `[N, 2 C, …]` if the variance is learned.
   * @returns `value`, what is predicted, and if the variance is learned `fraction`, its place between
   *   log β̃_t at -1 and log β_t at 1. Both `[N, C, …]`.
   * @throws {TypeError} If the variance is learned and the number of channels is odd.
   */
  split(output: Tensor): { value: Tensor; fraction?: Tensor } {
    if (this.variance !== "learned_range") return { value: output };
    requireThat(
      output.rank >= 2 && output.shape[1]! % 2 === 0,
      "split",
      "a network that learns its variance must have an even number of channels",
      { output: String(output) },
    );
    const [value, fraction] = split(output, 2, 1);
    return { value: value!, fraction: fraction! };
  }

  /** What the network should predict of the x_t that x_0 and the noise make; like `x0`. */
  target(x0: Tensor, t: Timesteps, noise: Tensor): Tensor {
    if (this.prediction === "x0") return x0;
    if (this.prediction === "eps") return noise;
    return add(
      this.#times("signal", this.#signal, t, noise),
      this.#times("-spread", (i) => -this.#spread(i), t, x0),
    );
  }

  /**
   * x̂_0 of what the network predicts: `value` itself, (x_t - √(1 - ᾱ) ε̂) / √ᾱ, or
   * √ᾱ x_t - √(1 - ᾱ) v̂.
   *
   * @param t Timesteps, or the noise level of all, asked for as `Timesteps` are.
   */
  startFrom(xt: Tensor, t: Moments, value: Tensor): Tensor {
    if (this.prediction === "x0") return value;
    return this.prediction === "eps"
      ? add(
        this.#weigh("1/signal", ({ alpha }) => 1 / alpha, t, xt),
        this.#weigh(
          "-spread/signal",
          ({ alpha, sigma }) => -sigma / alpha,
          t,
          value,
        ),
      )
      : add(
        this.#weigh("signal", ({ alpha }) => alpha, t, xt),
        this.#weigh("-spread", ({ sigma }) => -sigma, t, value),
      );
  }

  /**
   * ε̂ of what the network predicts: (x_t - √ᾱ x̂_0) / √(1 - ᾱ), `value` itself, or
   * √(1 - ᾱ) x_t + √ᾱ v̂.
   *
   * @param t As in `startFrom`.
   */
  noiseFrom(xt: Tensor, t: Moments, value: Tensor): Tensor {
    if (this.prediction === "eps") return value;
    if (this.prediction === "x0") return this.predictNoise(xt, t, value);
    return add(
      this.#weigh("spread", ({ sigma }) => sigma, t, xt),
      this.#weigh("signal", ({ alpha }) => alpha, t, value),
    );
  }

  /** ε = (x_t - √ᾱ_t x_0) / √(1 - ᾱ_t), the noise that x_0 implies. */
  predictNoise(xt: Tensor, t: Moments, x0: Tensor): Tensor {
    return add(
      this.#weigh("1/spread", ({ sigma }) => 1 / sigma, t, xt),
      this.#weigh(
        "-signal/spread",
        ({ alpha, sigma }) => -alpha / sigma,
        t,
        x0,
      ),
    );
  }

  /** Mean of q(x_{t-1} | x_t, x_0), eq. 7; its log variance is `posteriorLogVarianceClipped[t]`. */
  posteriorMean(x0: Tensor, xt: Tensor, t: Timesteps): Tensor {
    return add(
      this.#times("mean1", (i) => this.posteriorMeanCoef1[i]!, t, x0),
      this.#times("mean2", (i) => this.posteriorMeanCoef2[i]!, t, xt),
    );
  }

  /** log β̃_t of every example, with log β̃_1 at t = 0: `[N, 1, …]`. */
  posteriorLogVarianceOf(t: Timesteps, batch: Tensor): Tensor {
    const small = (i: number) => this.posteriorLogVarianceClipped[i]!;
    return this.#beside("posterior log variance", small, t, batch);
  }

  /**
   * log σ² of p(x_{t-1} | x_t): a table's, or `½ (1 + v) log β_t + ½ (1 - v) log β̃_t` of a learned v
   * (Nichol & Dhariwal 2021, arXiv:2102.09672, eq. 15), with log β̃_1 at t = 0.
   *
   * @param batch Its first axis counts the examples.
   * @param fraction v of `split`, if the variance is learned.
   * @returns `[N, 1, …]`, or like `fraction`.
   */
  logVarianceOf(t: Timesteps, batch: Tensor, fraction?: Tensor): Tensor {
    if (!fraction) {
      const fixed = (i: number) => this.logVariance[i]!;
      return this.#beside("log variance", fixed, t, batch);
    }
    const large = (i: number) => Math.log(this.betas[i]!);
    const small = (i: number) => this.posteriorLogVarianceClipped[i]!;
    const middle = (i: number) => (large(i) + small(i)) / 2;
    const half = (i: number) => (large(i) - small(i)) / 2;
    return add(
      this.#beside("log variance between", middle, t, batch),
      this.#times("log variance apart", half, t, fraction),
    );
  }

  /** `factor(level) · x`, each example with its own level. */
  #weigh(
    name: string,
    factor: (level: NoiseLevel) => number,
    t: Moments,
    x: Tensor,
  ): Tensor {
    const ofStep = (i: number) => factor(this.level(i));
    if (typeof t !== "function") return this.#times(name, ofStep, t, x);
    return scale(
      x,
      live(() => {
        const at = t();
        return typeof at === "number" ? ofStep(at) : factor(at);
      }),
    );
  }

  /** `factor(t) · x`, each example with its own t. */
  #times(
    name: string,
    factor: (t: number) => number,
    t: Timesteps,
    x: Tensor,
  ): Tensor {
    return typeof t === "function"
      ? scale(x, live(() => factor(t())))
      : mul(this.#beside(name, factor, t, x), x);
  }

  /** `value(t)` of each example of a batch, `[N, 1, …]`. */
  #beside(
    name: string,
    value: (t: number) => number,
    t: Timesteps,
    batch: Tensor,
  ): Tensor {
    if (typeof t !== "function") {
      requireOnePerExample(t instanceof Tensor ? t.size : t.length, batch);
    }
    const each = this.perExample(name, value, t, batch.shape[0]!);
    return reshape(each, onePerExample(batch));
  }

  /** A function of the timestep on the device, f32 `[T]`. */
  #table(name: string, value: (t: number) => number): Tensor {
    let table = this.#tables.get(name);
    if (!table) {
      const values = Float32Array.from(
        { length: this.timesteps },
        (_, t) => value(t),
      );
      table = outsideCapture(() => keep(tensor(values)));
      this.#tables.set(name, table);
    }
    return table;
  }
}

/** log(sigma / alpha), infinite where there is no signal. */
function logRatio({ alpha, sigma }: NoiseLevel): number {
  return Math.log(sigma / alpha);
}

function requireOnePerExample(count: number, batch: Tensor): void {
  if (count === batch.shape[0]) return;
  throw new TypeError(
    `Cannot diffuse as there must be one timestep per example: there are ${count}, the ` +
      `batch is [${batch.shape.join(", ")}]`,
  );
}
