/**
 * How well a diffusion model predicts images it is shown: the variational bound on their negative log
 * likelihood, in bits per dimension (Ho et al. 2020, arXiv:2006.11239, eq. 5 and §4.3).
 *
 * @module
 */
import { sub } from "../kernels/binary.ts";
import { clamp, square } from "../kernels/unary.ts";
import { capture } from "../tensor/capture.ts";
import { noGrad } from "../tensor/context.ts";
import { turn } from "../tensor/device.ts";
import { requireThat } from "../tensor/kernel.ts";
import type { Rng } from "../tensor/rng.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { meanPerExample } from "./_per_example.ts";
import type { Denoiser } from "./denoiser.ts";
import type { GaussianDiffusion } from "./diffusion.ts";
import { vlbTerm } from "./diffusion_losses.ts";
import { priorBitsPerDim } from "./noise_schedule.ts";

/** Timesteps at which the terms of the bound are computed. */
export interface VisitedTimesteps {
  /** Ascending, `[K]`. */
  t: Int32Array<ArrayBuffer>;
  /** How many timesteps each stands for, itself among them, `[K]`; they sum to T. */
  spans: Int32Array<ArrayBuffer>;
}

/** What the bound consists of. */
export interface DiffusionLikelihood extends VisitedTimesteps {
  /** The bound of each image, in bits per dimension, `[N]`. */
  perImage: Float64Array<ArrayBuffer>;
  /** Its mean, `prior` and the sum of `spans · terms`. */
  total: number;
  /** Standard error of `total`, as these N images are a sample. */
  standardError: number;
  /** L_T, what is paid for signal left at the last timestep. */
  prior: number;
  /** The bound's term of each visited timestep, mean over the images; the first is that of the decoder. */
  terms: Float64Array<ArrayBuffer>;
  /** Mean squared error of x̂_0, by visited timestep. */
  x0Mse: Float64Array<ArrayBuffer>;
  /** Mean squared error of the noise that x̂_0 implies, by visited timestep. */
  epsMse: Float64Array<ArrayBuffer>;
}

/** How the bound is computed. */
export interface LikelihoodOptions {
  /** Draws the noise: row i for image `firstRow + i`, one draw for each timestep. */
  rng: Rng;
  /** Number of the first image in its data set; defaults to 0. */
  firstRow?: number;
  /** Defaults to all, for the exact sum; `stratifiedTimesteps` picks fewer. */
  timesteps?: VisitedTimesteps;
  /** Whether x̂_0 is limited to [-1, 1], as sampling does; defaults to true. */
  clipDenoised?: boolean;
  /** Called after each timestep with the number done; may be asynchronous. */
  onStep?: (done: number, total: number) => void | Promise<void>;
}

/** All timesteps, each for itself. */
function allTimesteps(timesteps: number): VisitedTimesteps {
  const t = Int32Array.from({ length: timesteps }, (_, t) => t);
  return { t, spans: t.map(() => 1) };
}

/**
 * `count` of the timesteps for an estimate of the bound without bias: 0, whose term is unlike all others,
 * and one at random out of each of `count - 1` ranges, which get longer in proportion to t: as terms
 * fall about as 1/t, each range is about as much of the bound.
 *
 * @param timesteps T.
 * @throws {RangeError} If `count` is not from 2 to T, or 1 for T = 1.
 */
export function stratifiedTimesteps(
  timesteps: number,
  count: number,
  rng: Rng,
): VisitedTimesteps {
  if (
    !Number.isInteger(count) || count < Math.min(2, timesteps) ||
    count > timesteps
  ) {
    throw new RangeError(
      `Cannot pick timesteps as count must lie in 2 … ${timesteps}: count is ${count}`,
    );
  }
  const starts = [0, 1];
  for (let left = count - 1; left > 0; left--) {
    const start = starts.at(-1)!;
    const next = Math.round(start * (timesteps / start) ** (1 / left));
    starts.push(Math.max(start + 1, next));
  }
  const spans = Int32Array.from(
    { length: count },
    (_, k) => starts[k + 1]! - starts[k]!,
  );
  // Of each range whichever comes first in a random order.
  const places = new Int32Array(timesteps);
  rng.permutation(timesteps).forEach((t, place) => places[t] = place);
  const t = spans.map((span, k) => {
    const range = Array.from({ length: span }, (_, i) => starts[k]! + i);
    return range.reduce((a, b) => places[b]! < places[a]! ? b : a);
  });
  return { t, spans };
}

/** Replays between waits for what they computed. */
const REPLAYS_PER_READ = 16;

/**
 * The bound on the negative log likelihood of 8-bit images, with any prediction and variance. At every
 * visited timestep each image is noised and denoised once, so the result is an estimate even over all
 * timesteps. Call it for each batch with equal generators and `combineLikelihoods` for a data set: an
 * image's noise depends on its row alone, not on its batch.
 *
 * @param denoise Must be synchronous and compute on the device: the step is captured.
 * @param x0 Images in [-1, 1], `[N, C, …]`.
 * @throws {RangeError} If the spans of the timesteps do not sum to T, or a timestep does not exist.
 */
export async function diffusionBitsPerDim(
  process: GaussianDiffusion,
  denoise: Denoiser,
  x0: Tensor,
  options: LikelihoodOptions,
): Promise<DiffusionLikelihood> {
  const { rng, firstRow = 0, clipDenoised = true, onStep } = options;
  const { t: visited, spans } = options.timesteps ??
    allTimesteps(process.timesteps);
  requireCovering(process.timesteps, visited, spans);
  const count = visited.length, n = x0.shape[0]!;
  const finalBar = process.alphasCumprod.at(-1)!;
  const squares = await noGrad(() => meanPerExample(square(x0))).data();
  const priors = Float64Array.from(
    squares,
    (square) => priorBitsPerDim(finalBar, square),
  );
  const perImage = priors.slice();
  const [terms, x0Mse, epsMse] = [0, 1, 2].map(() =>
    new Float64Array(count)
  ) as [Values, Values, Values];

  let k = 0;
  const t = () => visited[k]!;
  const step = capture(() =>
    noGrad(() => {
      const noise = rng.normalRows(x0.shape, firstRow);
      const xt = process.qSample(x0, t, noise);
      const output = process.split(denoise(xt, process.times(t, n)));
      const free = process.startFrom(xt, t, output.value);
      const start = clipDenoised ? clamp(free, { min: -1, max: 1 }) : free;
      const error = (found: Tensor, want: Tensor) =>
        meanPerExample(square(sub(found, want)));
      return {
        term: vlbTerm(process, x0, { xt, t, ...output }, { clipDenoised }),
        x0: error(start, x0),
        eps: error(process.predictNoise(xt, t, start), noise),
      };
    }), { rows: REPLAYS_PER_READ });
  try {
    for (let read = 0; k < count;) {
      step.replay({});
      k++;
      if (k - read === REPLAYS_PER_READ || k === count) {
        for (const { term, x0, eps } of await step.outputs()) {
          const span = spans[read]!;
          perImage.forEach((sum, i) => perImage[i] = sum + span * term[i]!);
          terms[read] = meanOf(term);
          x0Mse[read] = meanOf(x0);
          epsMse[read] = meanOf(eps);
          read++;
        }
      } else await turn();
      await onStep?.(k, count);
    }
  } finally {
    step.dispose();
  }
  const prior = meanOf(priors);
  return {
    t: visited,
    spans,
    prior,
    terms,
    x0Mse,
    epsMse,
    perImage,
    ...summaryOf(perImage),
  };
}

type Values = Float64Array<ArrayBuffer>;

/** Checks that every timestep is stood for. */
function requireCovering(
  timesteps: number,
  t: Int32Array,
  spans: Int32Array,
): void {
  const sum = spans.reduce((sum, span) => sum + span, 0);
  const exist = t.every((at, k) =>
    at < timesteps && at > (k === 0 ? -1 : t[k - 1]!)
  );
  if (exist && t.length === spans.length && sum === timesteps) return;
  throw new RangeError(
    `Cannot compute the bound as timesteps must ascend within 0 … ${
      timesteps - 1
    }, each with a span, and the spans sum to ${timesteps}: t is ${t}, spans is ${spans}`,
  );
}

function meanOf(values: ArrayLike<number>): number {
  return Array.from(values).reduce((sum, value) => sum + value, 0) /
    values.length;
}

/** Mean and standard error. */
function summaryOf(perImage: Values): { total: number; standardError: number } {
  const total = meanOf(perImage), n = perImage.length;
  const squares = meanOf(perImage.map((bits) => (bits - total) ** 2));
  return { total, standardError: Math.sqrt(squares / Math.max(1, n - 1)) };
}

/**
 * The bound of all images of several batches.
 *
 * @param parts Of the same timesteps.
 * @throws {TypeError} If there is none, or they visited different timesteps.
 */
export function combineLikelihoods(
  parts: readonly DiffusionLikelihood[],
): DiffusionLikelihood {
  const [first] = parts;
  requireThat(
    first !== undefined &&
      parts.every(({ t }) => t.join() === first.t.join()),
    "combineLikelihoods",
    "there must be parts, all of the same timesteps",
    { parts: parts.length },
  );
  const perImage = Float64Array.from(
    parts.flatMap((part) => [...part.perImage]),
  );
  const weights = parts.map((part) => part.perImage.length / perImage.length);
  const mean = (of: (part: DiffusionLikelihood) => number) =>
    parts.reduce((sum, part, i) => sum + weights[i]! * of(part), 0);
  const means = (name: "terms" | "x0Mse" | "epsMse") =>
    first[name].map((_, k) => mean((part) => part[name][k]!));
  return {
    t: first.t,
    spans: first.spans,
    prior: mean((part) => part.prior),
    terms: means("terms"),
    x0Mse: means("x0Mse"),
    epsMse: means("epsMse"),
    perImage,
    ...summaryOf(perImage),
  };
}

/** What an image looks like to whom so many bits of it were sent. */
export interface RateDistortion {
  /** What is known is x_t of this timestep. */
  t: number;
  /** Bits per dimension sent so far. */
  rate: number;
  /** Root mean squared error of x̂_0, on the scale of 0 to 255. */
  rmse: number;
}

/**
 * Progressive coding (Ho et al. 2020, §4.3): to know x_t costs the prior and all terms above t, and x̂_0
 * is what then can be shown. The rest of `total` buys the image without loss.
 *
 * @returns By visited timestep, the rate rising.
 */
export function rateDistortion(
  likelihood: Pick<
    DiffusionLikelihood,
    "t" | "spans" | "prior" | "terms" | "x0Mse"
  >,
): RateDistortion[] {
  const { t, spans, prior, terms, x0Mse } = likelihood;
  const points: RateDistortion[] = [];
  let sent = prior; // for all ranges above
  let last = spans.reduce((sum, span) => sum + span, 0) - 1; // timestep of this range
  for (let k = t.length - 1; k >= 0; k--) {
    points.push({
      t: t[k]!,
      rate: sent + (last - t[k]!) * terms[k]!,
      rmse: Math.sqrt(x0Mse[k]!) * 127.5,
    });
    sent += spans[k]! * terms[k]!;
    last -= spans[k]!;
  }
  return points;
}
