/**
 * t-SNE: points of many dimensions in a plane, near ones near each other (van der Maaten & Hinton 2008,
 * "Visualizing data using t-SNE").
 *
 * @module
 */
import { turn } from "../tensor/device.ts";
import { elementsOf, type Points } from "../tensor/points.ts";
import { denseAffinities, sparseAffinities } from "./_affinities.ts";
import {
  BarnesHutObjective,
  ExactObjective,
  type Objective,
} from "./_tsne_objective.ts";
import { pca } from "./pca.ts";

/** Columns that are left by PCA. */
const COLUMNS = 50;
/** Points up to which all pairs are computed. */
const FEW_POINTS = 2000;
/** Standard deviation of the places at the start, along the first of them. */
const START = 1e-4;
/** Momentum while P is exaggerated, and after. */
const MOMENTUM = [0.5, 0.8] as const;
/** A step grows by this where its direction stays, and shrinks by the factor where it turns. */
const GAIN = { add: 0.2, factor: 0.8, least: 0.01 } as const;
/** Rows of affinities between two looks at whether to go on. */
const ROWS = 64;

/** Choices of `tsne`; the defaults are scikit-learn's. */
export interface TsneOptions {
  /**
   * About how many neighbours count, from 1 on and below N. Defaults to 30, or a third of the other
   * points if they are fewer than 90.
   */
  perplexity?: number;
  /** Steps; defaults to 1000. */
  iterations?: number;
  /** What P is multiplied by at first, so that groups form; defaults to 12. */
  exaggeration?: number;
  /** Steps in which it is; defaults to 250. */
  exaggerationSteps?: number;
  /** Defaults to `max(N / exaggeration / 4, 50)`. */
  learningRate?: number;
  /**
   * From 0 to 0.7: cells of points whose side is below `theta` times their distance are taken
   * together, and only the 3 · perplexity nearest points attract (van der Maaten 2014). 0 is exact. Defaults to
   * 0 up to 2000 points, above to 0.5.
   */
  theta?: number;
  /** Called with the number of steps done. */
  onStep?: (done: number) => void;
  /** Asked all the time; if true, the places so far are returned. */
  isCancelled?: () => boolean;
}

/**
 * Places of points in a plane. They start at the first two principal components and nothing is drawn,
 * so that equal points give equal places. Distances between groups and sizes of groups mean little; to
 * compare sets of points, fit them all at once.
 *
 * @param points `[N, D]`, with D from 2 on; of more than 50 columns, the 50 first principal components
 *   stand for them.
 * @returns x and y of every point, `[N, 2]`.
 * @throws {TypeError} If the shape does not fit.
 * @throws {RangeError} If an element is not finite, there are fewer than 2 points or columns, or an
 *   option is out of range.
 */
export async function tsne(
  points: Points,
  options: TsneOptions = {},
): Promise<Float64Array<ArrayBuffer>> {
  elementsOf(points, "apply tsne");
  const [n, D] = points.shape as [number, number];
  const settled = settle(n, D, options);
  const { iterations, exaggeration, exaggerationSteps, learningRate } = settled;
  const { onStep, isCancelled } = options;
  const reduced = pca(points, Math.min(COLUMNS, n, D)).transform(points);
  const y = firstPlaces(reduced);
  let cancelled = false;
  const pause = async () => {
    await turn();
    return cancelled ||= isCancelled?.() ?? false;
  };
  const objective = await objectiveOf(reduced, settled, pause);
  const gradient = new Float64Array(2 * n), step = new Float64Array(2 * n);
  const gains = new Float64Array(2 * n).fill(1);
  for (let done = 0; done < iterations && !await pause(); done++) {
    const isEarly = done < exaggerationSteps;
    objective.gradient(y, gradient, isEarly ? exaggeration : 1);
    const momentum = MOMENTUM[isEarly ? 0 : 1];
    for (let k = 0; k < y.length; k++) {
      gains[k] = step[k]! * gradient[k]! < 0
        ? gains[k]! + GAIN.add
        : Math.max(GAIN.least, gains[k]! * GAIN.factor);
      step[k] = momentum * step[k]! - learningRate * gains[k]! * gradient[k]!;
      y[k]! += step[k]!;
    }
    onStep?.(done + 1);
  }
  return y;
}

type Settled =
  & Required<Omit<TsneOptions, "onStep" | "isCancelled">>
  & { n: number };

/** Defaults and their checks. */
function settle(n: number, D: number, options: TsneOptions): Settled {
  const refuse = (rule: string, found: unknown) => {
    throw new RangeError(`Cannot apply tsne as ${rule}: ${found}`);
  };
  if (n < 2 || D < 2) {
    refuse("there must be at least 2 points of 2 columns", `[${n}, ${D}]`);
  }
  const {
    perplexity = Math.min(30, Math.max(1, (n - 1) / 3)),
    iterations = 1000,
    exaggeration = 12,
    exaggerationSteps = 250,
    learningRate = Math.max(n / exaggeration / 4, 50),
    theta = n <= FEW_POINTS ? 0 : 0.5,
  } = options;
  if (!(perplexity >= 1 && perplexity < n)) {
    refuse(
      `perplexity must be from 1 on and below the number of points, ${n}`,
      perplexity,
    );
  }
  for (
    const [name, value] of Object.entries({ iterations, exaggerationSteps })
  ) {
    if (Number.isInteger(value) && value >= 0) continue;
    refuse(`${name} must be a whole number from 0 on`, value);
  }
  for (const [name, value] of Object.entries({ exaggeration, learningRate })) {
    if (value > 0 && value < Infinity) continue;
    refuse(`${name} must be positive and finite`, value);
  }
  if (!(theta >= 0 && theta <= 0.7)) {
    refuse("theta must be from 0 to 0.7", theta);
  }
  return {
    n,
    perplexity,
    iterations,
    exaggeration,
    exaggerationSteps,
    learningRate,
    theta,
  };
}

/** The first two columns, made small. */
function firstPlaces(
  { data, shape }: Points<Float64Array>,
): Float64Array<ArrayBuffer> {
  const [n, columns] = shape as [number, number];
  let squares = 0; // columns have a mean of 0
  for (let i = 0; i < n; i++) squares += data[i * columns]! ** 2;
  const factor = squares > 0 ? START / Math.sqrt(squares / n) : 0;
  return Float64Array.from(
    { length: 2 * n },
    (_, k) => factor * data[(k >> 1) * columns + (k & 1)]!,
  );
}

async function objectiveOf(
  { data, shape }: Points<Float64Array>,
  { n, perplexity, theta }: Settled,
  pause: () => Promise<boolean>,
): Promise<Objective> {
  const D = shape[1]!;
  let rows = 0;
  const onRow = async () => ++rows % ROWS === 0 && await pause();
  if (theta === 0) {
    return new ExactObjective(
      await denseAffinities(data, D, perplexity, onRow),
    );
  }
  const neighbors = Math.min(n - 1, Math.floor(3 * perplexity));
  const near = { perplexity, neighbors };
  return new BarnesHutObjective(
    await sparseAffinities(data, D, near, onRow),
    theta,
  );
}
