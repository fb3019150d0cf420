/**
 * Noise schedules of diffusion, in float64: functions that give β_t for t = 0 … T - 1, the timesteps
 * a sampler with fewer steps visits, and what a schedule amounts to.
 *
 * @module
 */

/** A noise level: x = alpha x_0 + sigma ε with ε ~ N(0, I). */
export interface NoiseLevel {
  /** Factor of the image; 1 where noise is added to an unscaled image (Karras et al. 2022). */
  readonly alpha: number;
  /** Factor of the noise; alpha² + sigma² = 1 in `GaussianDiffusion`. */
  readonly sigma: number;
}

/** What a schedule made by name may be told; each has defaults of its own. */
export interface ScheduleOptions {
  /** First β, of the schedules that have one. */
  betaStart?: number;
  /** Last β, of the schedules that have one. */
  betaEnd?: number;
  /** What no β exceeds; defaults to 0.999 for `cosine` and `sigmoid`, and to no limit for the others. */
  maxBeta?: number;
}

/** Checks the length and the ends of a schedule. */
function check(
  name: string,
  timesteps: number,
  betas: Readonly<Record<string, number>> = {},
): void {
  if (!Number.isInteger(timesteps) || timesteps < 1) {
    throw new RangeError(
      `Cannot make ${name} as timesteps must be a positive integer: timesteps is ${timesteps}`,
    );
  }
  for (const [key, beta] of Object.entries(betas)) {
    if (!(beta > 0 && beta <= 1)) {
      throw new RangeError(
        `Cannot make ${name} as ${key} must lie above 0 and not above 1: ${key} is ${beta}`,
      );
    }
  }
}

/** Checks that every β is the share of noise of a step. */
function requireBetas(name: string, betas: Float64Array): void {
  betas.forEach((beta, t) => {
    if (!(beta > 0 && beta <= 1)) {
      throw new RangeError(
        `Cannot make ${name} as betas must lie above 0 and not above 1: beta ${t} is ${beta}`,
      );
    }
  });
}

/** `count` equal steps from `first` to exactly `last`; one alone is `first`, as in NumPy. */
function linspace(first: number, last: number, count: number): Float64Array {
  const step = (last - first) / Math.max(1, count - 1);
  return Float64Array.from(
    { length: count },
    (_, i) => i > 0 && i === count - 1 ? last : first + step * i,
  );
}

/** β_t = min(1 - ᾱ((t+1)/T) / ᾱ(t/T), maxBeta). */
function betasOf(
  alphaBar: (u: number) => number,
  timesteps: number,
  maxBeta: number,
): Float64Array {
  return Float64Array.from(
    { length: timesteps },
    (_, t) =>
      Math.min(
        1 - alphaBar((t + 1) / timesteps) / alphaBar(t / timesteps),
        maxBeta,
      ),
  );
}

/**
 * `betaStart … betaEnd` in equal steps, both ends included (Ho et al. 2020, arXiv:2006.11239, §4).
 *
 * @param timesteps T.
 * @param betaStart Defaults to 1e-4.
 * @param betaEnd Defaults to 0.02. Both suit 1000 steps: with far fewer, noise is never reached; see
 *   `rescaledLinearBetas`.
 * @throws {RangeError} If `timesteps` is not a positive integer or an end lies outside (0, 1].
 */
export function linearBetas(
  timesteps: number,
  betaStart = 1e-4,
  betaEnd = 0.02,
): Float64Array {
  check("linearBetas", timesteps, { betaStart, betaEnd });
  return linspace(betaStart, betaEnd, timesteps);
}

/**
 * `linearBetas` with both ends multiplied by 1000/T, so that any number of steps ends in about as much
 * noise as 1000 do (Nichol & Dhariwal 2021's code, `get_named_beta_schedule`).
 *
 * @param timesteps T; more than 1000 · `betaEnd`.
 * @param betaStart Before the scaling; defaults to 1e-4.
 * @param betaEnd Before the scaling; defaults to 0.02.
 * @throws {RangeError} If `timesteps` is not a positive integer, or too few for a β below 1.
 */
export function rescaledLinearBetas(
  timesteps: number,
  betaStart = 1e-4,
  betaEnd = 0.02,
): Float64Array {
  check("rescaledLinearBetas", timesteps, { betaStart, betaEnd });
  const scale = 1000 / timesteps;
  if (scale * Math.max(betaStart, betaEnd) >= 1) {
    throw new RangeError(
      `Cannot make rescaledLinearBetas as 1000 / timesteps times betaEnd must be less than 1: timesteps is ${timesteps}, betaStart is ${betaStart}, betaEnd is ${betaEnd}`,
    );
  }
  return linearBetas(timesteps, scale * betaStart, scale * betaEnd);
}

/**
 * `β_t = min(1 - f((t+1)/T) / f(t/T), maxBeta)` with `f(u) = cos²((u + s)/(1 + s) · π/2)` (Nichol &
 * Dhariwal 2021, arXiv:2102.09672, eq. 17).
 *
 * @param timesteps T.
 * @param offset `s`; defaults to 0.008.
 * @param maxBeta Defaults to 0.999. Much less, and the schedule never reaches noise.
 * @throws {RangeError} If `timesteps` is not a positive integer, `offset` is negative or infinite, or
 *   `maxBeta` lies outside (0, 1].
 */
export function cosineBetas(
  timesteps: number,
  offset = 0.008,
  maxBeta = 0.999,
): Float64Array {
  check("cosineBetas", timesteps, { maxBeta });
  if (!(offset >= 0 && offset < Infinity)) {
    throw new RangeError(
      `Cannot make cosineBetas as offset must be finite and not negative: offset is ${offset}`,
    );
  }
  const f = (u: number) =>
    Math.cos((u + offset) / (1 + offset) * Math.PI / 2) ** 2;
  return betasOf(f, timesteps, maxBeta);
}

/**
 * `ᾱ(u) = (σ(b) - σ(a + (b - a)u)) / (σ(b) - σ(a))` with the logistic function σ, `a = start/tau` and
 * `b = end/tau`; `β_t = min(1 - ᾱ((t+1)/T) / ᾱ(t/T), maxBeta)` (Jabri et al. 2022, arXiv:2212.11972;
 * defaults of lucidrains' denoising-diffusion-pytorch).
 *
 * @param timesteps T.
 * @param options `start` defaults to -3, `end` to 3, the temperature `tau` to 1, `maxBeta` to 0.999.
 * @throws {RangeError} If `timesteps` is not a positive integer, `start` is not below `end`, `tau` is
 *   not positive, one of them is infinite, or `maxBeta` lies outside (0, 1].
 */
export function sigmoidBetas(
  timesteps: number,
  options: { start?: number; end?: number; tau?: number; maxBeta?: number } =
    {},
): Float64Array {
  const { start = -3, end = 3, tau = 1, maxBeta = 0.999 } = options;
  check("sigmoidBetas", timesteps, { maxBeta });
  if (!(start < end && end - start < Infinity && tau > 0 && tau < Infinity)) {
    throw new RangeError(
      `Cannot make sigmoidBetas as start must be below end and tau positive, all finite: start is ${start}, end is ${end}, tau is ${tau}`,
    );
  }
  const sigmoid = (x: number) => 1 / (1 + Math.exp(-x / tau));
  const first = sigmoid(start), last = sigmoid(end);
  return betasOf(
    (u) => (last - sigmoid(start + (end - start) * u)) / (last - first),
    timesteps,
    maxBeta,
  );
}

/**
 * `√β` in equal steps: `linspace(√betaStart, √betaEnd, T)²` (`quad` of Ho et al. 2020's code).
 *
 * @param timesteps T.
 * @param betaStart Defaults to 1e-4.
 * @param betaEnd Defaults to 0.02.
 * @throws {RangeError} If `timesteps` is not a positive integer or an end lies outside (0, 1].
 */
export function quadBetas(
  timesteps: number,
  betaStart = 1e-4,
  betaEnd = 0.02,
): Float64Array {
  check("quadBetas", timesteps, { betaStart, betaEnd });
  return linspace(Math.sqrt(betaStart), Math.sqrt(betaEnd), timesteps)
    .map((root) => root ** 2);
}

/**
 * `quadBetas` with the ends of latent diffusion (Rombach et al. 2022, arXiv:2112.10752), whose code
 * calls it `linear` and diffusers `scaled_linear`.
 *
 * @param timesteps T.
 * @param betaStart Defaults to 0.00085.
 * @param betaEnd Defaults to 0.012. At 1000 steps 7 % of the signal's amplitude is left.
 * @throws {RangeError} If `timesteps` is not a positive integer or an end lies outside (0, 1].
 */
export function scaledLinearBetas(
  timesteps: number,
  betaStart = 0.00085,
  betaEnd = 0.012,
): Float64Array {
  check("scaledLinearBetas", timesteps, { betaStart, betaEnd });
  return quadBetas(timesteps, betaStart, betaEnd);
}

/**
 * The same β at every step (`const` of Ho et al. 2020's code).
 *
 * @param timesteps T.
 * @param beta Defaults to 0.02.
 * @throws {RangeError} If `timesteps` is not a positive integer or `beta` lies outside (0, 1].
 */
export function constantBetas(timesteps: number, beta = 0.02): Float64Array {
  check("constantBetas", timesteps, { beta });
  return new Float64Array(timesteps).fill(beta);
}

/**
 * `linspace(betaStart, betaEnd, ⌊T · fraction⌋)`, then `betaEnd` (`warmup10` and `warmup50` of Ho et
 * al. 2020's code have fractions 0.1 and 0.5).
 *
 * @param timesteps T.
 * @param fraction The share of the steps that the rise takes, from 0 to 1.
 * @param betaStart Defaults to 1e-4.
 * @param betaEnd Defaults to 0.02.
 * @throws {RangeError} If `timesteps` is not a positive integer, an end lies outside (0, 1] or
 *   `fraction` outside [0, 1].
 */
export function warmupBetas(
  timesteps: number,
  fraction: number,
  betaStart = 1e-4,
  betaEnd = 0.02,
): Float64Array {
  check("warmupBetas", timesteps, { betaStart, betaEnd });
  if (!(fraction >= 0 && fraction <= 1)) {
    throw new RangeError(
      `Cannot make warmupBetas as fraction must lie between 0 and 1: fraction is ${fraction}`,
    );
  }
  const betas = constantBetas(timesteps, betaEnd);
  betas.set(linspace(betaStart, betaEnd, Math.floor(timesteps * fraction)));
  return betas;
}

/**
 * `β_t = 1/(T - t)`, so that ᾱ_t = (T - t - 1)/T falls in equal steps (`jsd` of Ho et al. 2020's code;
 * Sohl-Dickstein et al. 2015, arXiv:1503.03585, §2.4.1).
 *
 * The last β is 1: no signal is left, and no x_0 follows from predicted noise there. A network must
 * predict x_0 or v instead; or `subarray(0, -1)` leaves out that step.
 *
 * @param timesteps T.
 * @throws {RangeError} If `timesteps` is not a positive integer.
 */
export function jsdBetas(timesteps: number): Float64Array {
  check("jsdBetas", timesteps);
  return Float64Array.from(
    { length: timesteps },
    (_, t) => 1 / (timesteps - t),
  );
}

/**
 * Moves and scales √ᾱ so that it keeps its first value and ends in 0: the last step is pure noise, whose
 * x_0 no network can find from predicted noise (Lin et al. 2023, arXiv:2305.08891, Algorithm 1).
 *
 * @param betas β_t, at least two of them.
 * @returns As many; the last is 1.
 * @throws {RangeError} If there are fewer than two, or one lies outside (0, 1].
 */
export function zeroTerminalSnrBetas(betas: Float64Array): Float64Array {
  requireBetas("zeroTerminalSnrBetas", betas);
  check("zeroTerminalSnrBetas", betas.length - 1);
  let product = 1;
  const signals = betas.map((beta) => Math.sqrt(product *= 1 - beta));
  const first = signals[0]!, last = signals.at(-1)!;
  const bars = signals.map((signal) =>
    ((signal - last) * first / (first - last)) ** 2
  );
  return bars.map((bar, t) => 1 - bar / (t === 0 ? 1 : bars[t - 1]!));
}

/** Name of a schedule: `scaled_linear` makes `scaledLinearBetas`, `warmup10` a rise of 10 %. */
export type ScheduleName =
  | "linear"
  | "rescaled_linear"
  | "scaled_linear"
  | "quad"
  | "cosine"
  | "sigmoid"
  | "constant"
  | "warmup10"
  | "warmup50"
  | "jsd";

/** Schedules by name, each with its own default ends. */
const SCHEDULES: Record<
  ScheduleName,
  (timesteps: number, options: ScheduleOptions) => Float64Array
> = {
  linear: (T, { betaStart, betaEnd }) => linearBetas(T, betaStart, betaEnd),
  rescaled_linear: (T, { betaStart, betaEnd }) =>
    rescaledLinearBetas(T, betaStart, betaEnd),
  scaled_linear: (T, { betaStart, betaEnd }) =>
    scaledLinearBetas(T, betaStart, betaEnd),
  quad: (T, { betaStart, betaEnd }) => quadBetas(T, betaStart, betaEnd),
  cosine: (T, { maxBeta }) => cosineBetas(T, undefined, maxBeta),
  sigmoid: (T, { maxBeta }) => sigmoidBetas(T, { maxBeta }),
  constant: (T, { betaEnd }) => constantBetas(T, betaEnd),
  warmup10: (T, { betaStart, betaEnd }) =>
    warmupBetas(T, 0.1, betaStart, betaEnd),
  warmup50: (T, { betaStart, betaEnd }) =>
    warmupBetas(T, 0.5, betaStart, betaEnd),
  jsd: (T) => jsdBetas(T),
};

/** All names of schedules. */
export const SCHEDULE_NAMES: readonly ScheduleName[] = Object.keys(
  SCHEDULES,
) as ScheduleName[];

/**
 * The schedule of a name.
 *
 * @param timesteps T.
 * @param options What the schedule has no use for is ignored.
 * @throws {RangeError} If there is no such schedule, or it cannot be made.
 */
export function namedBetas(
  name: ScheduleName,
  timesteps: number,
  options: ScheduleOptions = {},
): Float64Array {
  if (!Object.hasOwn(SCHEDULES, name)) {
    throw new RangeError(
      `Cannot make a schedule as its name must be one of ${
        SCHEDULE_NAMES.join(", ")
      }: it is ${name}`,
    );
  }
  const { maxBeta = 1 } = options;
  check("namedBetas", timesteps, { maxBeta });
  return SCHEDULES[name](timesteps, options)
    .map((beta) => Math.min(beta, maxBeta));
}

/**
 * `σ_i = (σ_max^{1/ρ} + i/(N-1) (σ_min^{1/ρ} - σ_max^{1/ρ}))^ρ` for i = 0 … N - 1, then 0: noise levels
 * to sample at, where the noise is added to an unscaled image (Karras et al. 2022, arXiv:2206.00364,
 * eq. 5).
 *
 * @param steps N.
 * @param options `sigmaMin` defaults to 0.002, `sigmaMax` to 80, `rho` to 7.
 * @returns N + 1 levels, falling.
 * @throws {RangeError} If `steps` is not a positive integer, or not 0 < `sigmaMin` < `sigmaMax`, or
 *   `rho` is not positive; all must be finite.
 */
export function karrasSigmas(
  steps: number,
  options: { sigmaMin?: number; sigmaMax?: number; rho?: number } = {},
): Float64Array {
  const { sigmaMin = 0.002, sigmaMax = 80, rho = 7 } = options;
  const isOrdered = 0 < sigmaMin && sigmaMin < sigmaMax &&
    sigmaMax < Infinity && rho > 0 && rho < Infinity;
  if (!Number.isInteger(steps) || steps < 1 || !isOrdered) {
    throw new RangeError(
      `Cannot make karrasSigmas as steps must be a positive integer, 0 < sigmaMin < sigmaMax < Infinity and rho positive and finite: steps is ${steps}, sigmaMin is ${sigmaMin}, sigmaMax is ${sigmaMax}, rho is ${rho}`,
    );
  }
  const roots = linspace(sigmaMax ** (1 / rho), sigmaMin ** (1 / rho), steps);
  return Float64Array.of(...roots.map((root) => root ** rho), 0);
}

/** Checks how many of the timesteps are to be kept. */
function checkSteps(timesteps: number, steps: number): void {
  if (!Number.isInteger(steps) || steps < 1 || steps > timesteps) {
    throw new RangeError(
      `Cannot spread timesteps as steps must lie in 1 … ${timesteps}: steps is ${steps}`,
    );
  }
}

/**
 * `steps` of the timesteps `0 … timesteps - 1`, evenly spread with both ends, halves rounded to even
 * (improved-diffusion's rule): what a sampler with fewer steps visits.
 *
 * @throws {RangeError} If `steps` is not between 1 and `timesteps`.
 */
export function evenTimesteps(
  timesteps: number,
  steps: number,
): Int32Array<ArrayBuffer> {
  checkSteps(timesteps, steps);
  if (steps === 1) return Int32Array.of(timesteps - 1);
  return Int32Array.from({ length: steps }, (_, i) => {
    const exact = i * (timesteps - 1) / (steps - 1);
    const below = Math.floor(exact);
    if (exact - below === 0.5) return below % 2 === 0 ? below : below + 1;
    return Math.round(exact);
  });
}

/**
 * `offset, offset + stride, …` with the smallest integer stride that makes exactly `steps` of them
 * (improved-diffusion's `ddimK`; Song et al. 2021, arXiv:2010.02502, appendix D.2, `linear`).
 *
 * @param offset Defaults to 0. With 1, as in stable diffusion, the first step is not spent on t = 0.
 * @throws {RangeError} If `steps` is not between 1 and `timesteps`, no stride makes so many, or the
 *   last lies beyond `timesteps - 1`.
 */
export function strideTimesteps(
  timesteps: number,
  steps: number,
  offset = 0,
): Int32Array<ArrayBuffer> {
  checkSteps(timesteps, steps);
  const stride = Math.ceil(timesteps / steps);
  if (Math.ceil(timesteps / stride) !== steps) {
    throw new RangeError(
      `Cannot spread timesteps as an integer stride must make exactly steps of them: timesteps is ${timesteps}, steps is ${steps}`,
    );
  }
  const last = offset + stride * (steps - 1);
  if (!Number.isInteger(offset) || offset < 0 || last >= timesteps) {
    throw new RangeError(
      `Cannot spread timesteps as offset must be an integer from 0 to ${
        timesteps - 1 - stride * (steps - 1)
      }: offset is ${offset}`,
    );
  }
  return Int32Array.from({ length: steps }, (_, i) => offset + stride * i);
}

/**
 * `⌊linspace(0, √(0.8 T), steps)²⌋`: denser near the image, and ending at 0.8 T (Song et al. 2021,
 * arXiv:2010.02502, appendix D.2, `quadratic`, with the factor of its code).
 *
 * The first ones coincide if there are many (0, 0, 1, 2, 5 … for 50 of 1000): a DDIM step between equals
 * changes nothing, but `GaussianDiffusion.respaced` takes different ones only.
 *
 * @throws {RangeError} If `steps` is not between 1 and `timesteps`.
 */
export function quadTimesteps(
  timesteps: number,
  steps: number,
): Int32Array<ArrayBuffer> {
  checkSteps(timesteps, steps);
  return Int32Array.from(
    linspace(0, Math.sqrt(0.8 * timesteps), steps),
    (root) => Math.floor(root ** 2),
  );
}

/**
 * `round(linspace(0, timesteps - 1, steps + 1))` without its first, halves rounded to even (the rule of
 * the DPM-Solver samplers in diffusers).
 *
 * @throws {RangeError} If `steps` is not between 1 and `timesteps - 1`.
 */
export function linspaceTimesteps(
  timesteps: number,
  steps: number,
): Int32Array<ArrayBuffer> {
  checkSteps(timesteps - 1, steps);
  return evenTimesteps(timesteps, steps + 1).slice(1);
}

/**
 * How a sampler of fewer steps picks them: by a function of that name (`evenTimesteps`), or `karras`,
 * noise levels between the timesteps (`karrasSigmas`).
 */
export type Spacing = "even" | "stride" | "quad" | "linspace" | "karras";

/** Rules that pick timesteps. */
const SPACINGS: Record<
  Exclude<Spacing, "karras">,
  (timesteps: number, steps: number) => Int32Array<ArrayBuffer>
> = {
  even: evenTimesteps,
  stride: (T, steps) => strideTimesteps(T, steps),
  quad: quadTimesteps,
  linspace: linspaceTimesteps,
};

/** All names of spacings. */
export const SPACING_NAMES: readonly Spacing[] = [
  ...Object.keys(SPACINGS),
  "karras",
] as Spacing[];

/**
 * Timesteps by the name of their rule, without repetitions.
 *
 * @returns Ascending; fewer than `steps` where the rule picks one several times, as `quad` does.
 * @throws {RangeError} As the rule does, or if there is no such rule.
 */
export function spacedTimesteps(
  spacing: Exclude<Spacing, "karras">,
  timesteps: number,
  steps: number,
): Int32Array<ArrayBuffer> {
  if (!Object.hasOwn(SPACINGS, spacing)) {
    throw new RangeError(
      `Cannot spread timesteps as spacing must be one of ${
        SPACING_NAMES.join(", ")
      }: spacing is ${spacing}`,
    );
  }
  return Int32Array.from(new Set(SPACINGS[spacing](timesteps, steps)));
}

/**
 * `KL(N(√ᾱ x_0, (1 - ᾱ) I) ‖ N(0, I)) = ½ (ᾱ mean(x_0²) - ᾱ - ln(1 - ᾱ))` per dimension, in bits: what
 * the likelihood bound pays for the signal that is left at the last step (L_T of Ho et al. 2020, eq. 5).
 *
 * @param alphaCumprod ᾱ_T, in [0, 1).
 * @param meanSquare Mean of x_0² over the dimensions of one image; defaults to 1.
 * @throws {RangeError} If `alphaCumprod` lies outside [0, 1) or `meanSquare` is negative.
 */
export function priorBitsPerDim(alphaCumprod: number, meanSquare = 1): number {
  if (!(alphaCumprod >= 0 && alphaCumprod < 1 && meanSquare >= 0)) {
    throw new RangeError(
      `Cannot compute priorBitsPerDim as alphaCumprod must lie in [0, 1) and meanSquare not be negative: alphaCumprod is ${alphaCumprod}, meanSquare is ${meanSquare}`,
    );
  }
  // ᾱ is tiny: log1p keeps the digits that ln(1 - ᾱ) would lose.
  const nats =
    (alphaCumprod * meanSquare - alphaCumprod - Math.log1p(-alphaCumprod)) / 2;
  return nats / Math.LN2;
}

/** What a schedule amounts to. */
export interface ScheduleReport {
  /** Number of steps T. */
  timesteps: number;
  /** ᾱ_T, the share of the signal's power left at the last step. */
  finalAlphaCumprod: number;
  /** √ᾱ_T, the share of its amplitude. */
  finalSignal: number;
  /** `priorBitsPerDim` of data with unit power; 0 if the last step is pure noise. */
  priorBitsPerDim: number;
  /** Last t with ᾱ_t ≥ ½, half of the power; -1 if there is none. */
  halfTimestep: number;
  /** Number of β that are exactly `maxBeta`. */
  clippedBetas: number;
  /** What a user should know: that more than 2 % of the amplitude is left at the last step. */
  warning: string | undefined;
}

/** √ᾱ_T from which on samples, which start from pure noise, suffer: linear from 1e-4 to 0.02 has 0.006. */
const MAX_FINAL_SIGNAL = 0.02;

/**
 * What a schedule amounts to: how near it comes to pure noise, when it is halfway, and how much of it
 * was clipped.
 *
 * @param betas β_t, each in (0, 1].
 * @param maxBeta What the schedule was clipped to; defaults to 0.999.
 * @throws {RangeError} If there are no `betas` or one lies outside (0, 1].
 */
export function scheduleReport(
  betas: Float64Array,
  maxBeta = 0.999,
): ScheduleReport {
  check("scheduleReport", betas.length, { maxBeta });
  requireBetas("scheduleReport", betas);
  let product = 1;
  const bars = betas.map((beta) => product *= 1 - beta);
  const finalSignal = Math.sqrt(product);
  const clippedBetas = betas.filter((beta) => beta === maxBeta).length;
  return {
    timesteps: betas.length,
    finalAlphaCumprod: product,
    finalSignal,
    priorBitsPerDim: priorBitsPerDim(product),
    halfTimestep: bars.findLastIndex((bar) => bar >= 0.5),
    clippedBetas,
    warning: finalSignal <= MAX_FINAL_SIGNAL
      ? undefined
      : `The schedule never reaches noise: ${
        (100 * finalSignal).toPrecision(2)
      } % of the signal's amplitude is left at the last of ${betas.length} timesteps, but samples start from none` +
        (clippedBetas > 1 ? `; maxBeta ${maxBeta} cuts ${clippedBetas}` : ""),
  };
}
