/**
 * One mixture of normal distributions for each class of labelled points: a density of a VAE's latents
 * from which every class can be drawn.
 *
 * @module
 */
import { elementsOf } from "../tensor/points.ts";
import type { Rng } from "../tensor/rng.ts";
import {
  GaussianMixture,
  type MixtureOptions,
  type MixtureState,
  type Points,
} from "./gaussian_mixture.ts";

/** Draws of a class before it may be found that hardly any is kept. */
const MIN_DRAWS = 1000;
/** Share of the draws that must be kept. */
const MIN_KEPT = 0.01;

/** What `ClassMixtures` is, as plain numbers. */
export interface ClassMixturesState {
  /** One per class. */
  mixtures: readonly MixtureState[];
  /** Shares of the classes, with sum 1. */
  priors: readonly number[];
}

/** Options of `ClassMixtures.fit`, besides those of every mixture. */
export interface ClassMixturesOptions extends Omit<MixtureOptions, "start"> {
  /** Components of each mixture; defaults to 3. */
  components?: number;
  /** Number of classes; defaults to the largest label and one. */
  classes?: number;
}

/** `p(x | class)` is a mixture of its own for each class; `priors` are the shares of the classes. */
export class ClassMixtures {
  /** One per class. */
  readonly mixtures: readonly GaussianMixture[];
  /** The share of each class among the points of the fit. */
  readonly priors: readonly number[];

  /**
   * Known mixtures.
   *
   * @throws {TypeError} If a mixture's shapes do not fit, or not those of the others.
   * @throws {RangeError} If a mixture's parameters are out of range, or priors are negative or do not sum
   *   to 1.
   */
  constructor({ mixtures, priors }: ClassMixturesState) {
    this.mixtures = mixtures.map((state) => new GaussianMixture(state));
    this.priors = [...priors];
    const dimensions = new Set(this.mixtures.map((one) => one.dimensions));
    if (dimensions.size !== 1 || priors.length !== mixtures.length) {
      throw new TypeError(
        `Cannot make class mixtures as there must be a prior for each, and one number of dimensions: there are ${mixtures.length} mixtures, ${priors.length} priors and dimensions ${
          [...dimensions].join(", ")
        }`,
      );
    }
    const sum = priors.reduce((sum, prior) => sum + prior);
    if (!priors.every((p) => p >= 0) || !(Math.abs(sum - 1) < 1e-4)) {
      throw new RangeError(
        `Cannot make class mixtures as priors must not be negative, and sum to 1: they are ${
          priors.join(", ")
        }`,
      );
    }
  }

  /**
   * Fits a mixture to the points of each class.
   *
   * @param points `[N, D]`, such as the means of a VAE's posterior.
   * @param labels Class of each point, whole numbers from 0, `[N]`.
   * @throws {TypeError} If shapes do not fit.
   * @throws {RangeError} If a label is out of range, a class has fewer points than components, a number
   *   is not finite, or a covariance is not positive definite; the message names the class.
   */
  static fit(
    points: Points,
    labels: ArrayLike<number>,
    options: ClassMixturesOptions = {},
  ): ClassMixtures {
    const action = "fit class mixtures";
    const data = elementsOf(points, action);
    const [n = 0, dimensions = 0] = points.shape;
    if (labels.length !== n) {
      throw new TypeError(
        `Cannot ${action} as every point must have a label: there are ${n} points and ${labels.length} labels`,
      );
    }
    const { components = 3, classes = largest(labels) + 1, ...rest } = options;
    const members = Array.from({ length: classes }, (): number[] => []);
    for (let i = 0; i < n; i++) {
      const own = members[labels[i]!];
      if (!own) {
        throw new RangeError(
          `Cannot ${action} as labels must be whole and from 0 to ${
            classes - 1
          }: label ${i} is ${labels[i]}`,
        );
      }
      own.push(i);
    }
    const mixtures = members.map((own, label) => {
      const part = new Float64Array(own.length * dimensions);
      own.forEach((from, to) => {
        const row = data.subarray(from * dimensions, (from + 1) * dimensions);
        part.set(row, to * dimensions);
      });
      const shape = [own.length, dimensions];
      try {
        return GaussianMixture.fit({ data: part, shape }, components, rest);
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
        throw new RangeError(`Class ${label}: ${error.message}`, {
          cause: error,
        });
      }
    });
    return new ClassMixtures({
      mixtures,
      priors: members.map((own) => own.length / n),
    });
  }

  /** The mixtures that `toJSON` was called on. Throws as the constructor does. */
  static fromJSON(state: ClassMixturesState): ClassMixtures {
    return new ClassMixtures(state);
  }

  /** Number of classes. */
  get classes(): number {
    return this.mixtures.length;
  }

  /** Dimensions D of the points. */
  get dimensions(): number {
    return this.mixtures[0]!.dimensions;
  }

  /**
   * p(class | x) ∝ prior p(x | class), `[N, classes]`; rows sum to 1.
   *
   * @param priors Weights of the classes; default to equal ones, whatever `priors` of this is.
   * @throws {TypeError} If `points` are not `[N, D]`, or `priors` not one per class.
   */
  responsibilities(
    points: Points,
    priors?: ArrayLike<number>,
  ): Points<Float64Array<ArrayBuffer>> {
    const { classes } = this, n = points.shape[0]!;
    if (priors && priors.length !== classes) {
      throw new TypeError(
        `Cannot weigh classes as there must be a prior for each: there are ${priors.length} for ${classes}`,
      );
    }
    const logs = this.mixtures.map((one) => one.logProbability(points));
    const logPriors = logs.map((_, label) => Math.log(priors?.[label] ?? 1));
    const data = new Float64Array(n * classes);
    for (let i = 0; i < n; i++) {
      const row = data.subarray(i * classes, (i + 1) * classes);
      logs.forEach((own, label) => row[label] = own[i]! + logPriors[label]!);
      const most = row.reduce((a, b) => Math.max(a, b));
      const sum = row.reduce((sum, log) => sum + Math.exp(log - most), 0);
      row.forEach((log, label) => row[label] = Math.exp(log - most) / sum);
    }
    return { data, shape: [n, classes] };
  }

  /** `count` labels with equal shares: 0, 1, … in turn, the first once more if they do not divide. */
  equalLabels(count: number): Int32Array<ArrayBuffer> {
    return Int32Array.from({ length: count }, (_, i) => i % this.classes);
  }

  /**
   * `count` labels drawn one by one.
   *
   * @param weights Of the classes; default to equal ones. `priors` gives the shares of the fit.
   * @throws {TypeError} If there is not one per class.
   * @throws {RangeError} If a weight is negative or not finite, or all are zero.
   */
  drawLabels(
    count: number,
    rng: Rng,
    weights: ArrayLike<number> = new Float64Array(this.classes).fill(1),
  ): Int32Array<ArrayBuffer> {
    if (weights.length !== this.classes) {
      throw new TypeError(
        `Cannot draw labels as there must be a weight for each class: there are ${weights.length} for ${this.classes}`,
      );
    }
    return Int32Array.from(rng.categorical(weights, count));
  }

  /**
   * Draws a point of each label's class. With `minResponsibility`, points whose own class is less certain
   * than that, were all classes equally likely, are drawn again, so that none comes from where classes
   * overlap.
   *
   * @param labels Class of each point, `[n]`; see `equalLabels` and `drawLabels`.
   * @param options `minResponsibility`, from 0 up to but not 1, defaults to 0: all are kept.
   * @returns Float64, `[n, D]`.
   * @throws {RangeError} If a label or `minResponsibility` is out of range, or less than one in a hundred
   *   points of a class is kept.
   */
  sample(
    labels: ArrayLike<number>,
    rng: Rng,
    options: { minResponsibility?: number } = {},
  ): Points<Float64Array<ArrayBuffer>> {
    const { minResponsibility = 0 } = options;
    if (!(minResponsibility >= 0 && minResponsibility < 1)) {
      throw new RangeError(
        `Cannot sample as minResponsibility must be from 0 up to but not 1: it is ${minResponsibility}`,
      );
    }
    const places = this.mixtures.map((): number[] => []);
    for (let i = 0; i < labels.length; i++) {
      const own = places[labels[i]!];
      if (!own) {
        throw new RangeError(
          `Cannot sample as labels must be whole and from 0 to ${
            this.classes - 1
          }: label ${i} is ${labels[i]}`,
        );
      }
      own.push(i);
    }
    const { dimensions } = this;
    const data = new Float64Array(labels.length * dimensions);
    places.forEach((own, label) => {
      const rows = this.#draw(label, own.length, rng, minResponsibility);
      own.forEach((to, from) =>
        data.set(
          rows.subarray(from * dimensions, (from + 1) * dimensions),
          to * dimensions,
        )
      );
    });
    return { data, shape: [labels.length, dimensions] };
  }

  /** All that there is to the mixtures; numbers come back exactly from JSON. */
  toJSON(): ClassMixturesState {
    return {
      mixtures: this.mixtures.map((one) => one.toJSON()),
      priors: this.priors,
    };
  }

  /** `count` points of a class, `[count, D]`. */
  #draw(
    label: number,
    count: number,
    rng: Rng,
    minResponsibility: number,
  ): Float64Array {
    const { dimensions, classes } = this, mixture = this.mixtures[label]!;
    if (minResponsibility === 0) return mixture.sample(count, rng).points.data;
    const kept = new Float64Array(count * dimensions);
    let found = 0, drawn = 0, most = 0;
    while (found < count) {
      if (drawn >= MIN_DRAWS && found < MIN_KEPT * drawn) {
        throw new RangeError(
          `Cannot sample class ${label} as its responsibility must be at least ${minResponsibility}: ${found} of ${drawn} points are so certain, the best has ${
            most.toPrecision(3)
          }; take a lower minResponsibility, or mixtures that overlap less`,
        );
      }
      const { points } = mixture.sample(Math.max(count - found, 64), rng);
      const { data } = this.responsibilities(points);
      for (let i = 0; i < points.shape[0]! && found < count; i++) {
        drawn++;
        const certainty = data[i * classes + label]!;
        most = Math.max(most, certainty);
        if (certainty < minResponsibility) continue;
        const row = points.data.subarray(i * dimensions, (i + 1) * dimensions);
        kept.set(row, dimensions * found++);
      }
    }
    return kept;
  }
}

/** The largest label as a whole number; 0 if there is none. */
function largest(labels: ArrayLike<number>): number {
  let most = 0;
  for (let i = 0; i < labels.length; i++) {
    if (labels[i]! > most) most = Math.floor(labels[i]!);
  }
  return most;
}
