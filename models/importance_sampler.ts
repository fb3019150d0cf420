/**
 * Timesteps drawn where the loss is large, so that the bound's terms, which differ by orders of
 * magnitude, can be learned from few of them at a time (Nichol & Dhariwal 2021, arXiv:2102.09672, §3.3).
 *
 * @module
 */
import { requireThat } from "../tensor/kernel.ts";
import type { Rng } from "../tensor/rng.ts";

/** What an `ImportanceSampler` remembers; plain arrays, for checkpoints. */
export interface ImportanceState {
  /** The latest losses of every timestep, `[T, history]`, each row a ring. */
  losses: Float32Array<ArrayBuffer>;
  /** Losses that every timestep has had so far, `[T]`. */
  counts: Int32Array<ArrayBuffer>;
}

/** Timesteps of a batch. */
export interface DrawnTimesteps {
  /** One per example. */
  t: Int32Array<ArrayBuffer>;
  /** 1/(T p(t)): the mean of weighted losses estimates the mean over all timesteps without bias. */
  weights: Float32Array<ArrayBuffer>;
}

/**
 * Draws t with p(t) ∝ √E[L_t²] over the latest losses of each timestep, mixed with a uniform share.
 * Until every timestep has its full history, p is uniform. All on the host, in float64.
 */
export class ImportanceSampler {
  /** Number of timesteps T. */
  readonly timesteps: number;
  /** Losses that count, of every timestep. */
  readonly history: number;
  /** The share of p that is uniform. */
  readonly uniformShare: number;
  #losses: Float32Array<ArrayBuffer>;
  #counts: Int32Array<ArrayBuffer>;

  /**
   * Starts without losses.
   *
   * @param timesteps T.
   * @param options `history` defaults to 10, `uniformShare` to 0.001.
   * @throws {RangeError} If `timesteps` or `history` is not a positive integer, or `uniformShare` does not
   *   lie in (0, 1].
   */
  constructor(
    timesteps: number,
    options: { history?: number; uniformShare?: number } = {},
  ) {
    const { history = 10, uniformShare = 0.001 } = options;
    const areCounts = [timesteps, history].every((count) =>
      Number.isInteger(count) && count > 0
    );
    if (!areCounts || !(uniformShare > 0 && uniformShare <= 1)) {
      throw new RangeError(
        `Cannot sample timesteps as timesteps and history must be positive integers and uniformShare lie above 0 and not above 1: timesteps is ${timesteps}, history is ${history}, uniformShare is ${uniformShare}`,
      );
    }
    this.timesteps = timesteps;
    this.history = history;
    this.uniformShare = uniformShare;
    this.#losses = new Float32Array(timesteps * history);
    this.#counts = new Int32Array(timesteps);
  }

  /** Whether every timestep has its full history, so that p follows the losses. */
  get isWarm(): boolean {
    return this.#counts.every((count) => count >= this.history);
  }

  /** p(t), which sums to 1. */
  probabilities(): Float64Array<ArrayBuffer> {
    const { timesteps, history, uniformShare } = this;
    const uniform = new Float64Array(timesteps).fill(1 / timesteps);
    if (!this.isWarm) return uniform;
    const sizes = uniform.map((_, t) => {
      const row = this.#losses.subarray(t * history, (t + 1) * history);
      return Math.sqrt(row.reduce((sum, loss) => sum + loss * loss, 0));
    });
    const total = sizes.reduce((sum, size) => sum + size, 0);
    if (total === 0) return uniform;
    return sizes.map((size) =>
      (1 - uniformShare) * size / total + uniformShare / timesteps
    );
  }

  /** Draws timesteps for `n` examples, with the weights of their losses. */
  draw(n: number, rng: Rng): DrawnTimesteps {
    const p = this.probabilities();
    const t = Int32Array.from(rng.categorical(p, n));
    const weights = Float32Array.from(t, (at) => 1 / (this.timesteps * p[at]!));
    return { t, weights };
  }

  /**
   * Remembers the losses of a batch, in their order.
   *
   * @param losses One per timestep drawn, not multiplied by their weights.
   * @throws {TypeError} If there are not as many losses as timesteps.
   * @throws {RangeError} If a timestep does not exist, or a loss is not finite.
   */
  update(t: ArrayLike<number>, losses: ArrayLike<number>): void {
    requireThat(
      t.length === losses.length,
      "update",
      "there must be one loss per timestep",
      { t: t.length, losses: losses.length },
    );
    for (let i = 0; i < t.length; i++) {
      const at = t[i]!, loss = losses[i]!;
      const count = this.#counts[at];
      if (count === undefined || !Number.isFinite(loss)) {
        throw new RangeError(
          `Cannot update as timesteps must lie in 0 … ${
            this.timesteps - 1
          } and losses be finite: loss ${i} is ${loss} at timestep ${at}`,
        );
      }
      this.#losses[at * this.history + count % this.history] = loss;
      this.#counts[at] = count + 1;
    }
  }

  /** A copy of what it remembers; assign a saved one to continue from there. */
  get state(): ImportanceState {
    return { losses: this.#losses.slice(), counts: this.#counts.slice() };
  }

  set state({ losses, counts }: ImportanceState) {
    requireThat(
      losses.length === this.#losses.length &&
        counts.length === this.timesteps,
      "ImportanceSampler.state",
      "it must be of as many timesteps and as long a history",
      {
        losses: losses.length,
        counts: counts.length,
        timesteps: this.timesteps,
        history: this.history,
      },
    );
    this.#losses = Float32Array.from(losses);
    this.#counts = Int32Array.from(counts);
  }
}
