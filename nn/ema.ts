import { keep } from "../tensor/context.ts";
import { copyInPlace } from "../tensor/fill.ts";
import { flatten } from "../tensor/flat.ts";
import { Kernel, like } from "../tensor/kernel.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { afterStep, type Live, live } from "../tensor/trace.ts";
import {
  loadInto,
  type LoadStateOptions,
  type LoadStateResult,
  prefixed,
  type StateDict,
} from "./_state.ts";
import { namedFrom, type ParameterSource } from "./module.ts";
import source from "./ema.wgsl" with { type: "text" };

const kernel = new Kernel("ema", source);

/**
 * Exponential moving average of parameters, `average = d · average + (1 - d) · p`. Buffers are not
 * averaged.
 */
export class Ema {
  readonly #parameters: Readonly<Record<string, Tensor>>;
  readonly #averages: Readonly<Record<string, Tensor>>;
  readonly #decay: number;
  readonly #warmup: boolean;
  /** Updates so far. */
  readonly #updates = new Int32Array(1);
  #swapped = false;

  /**
   * Starts from the present values.
   *
   * @param options `decay`: d, defaults to 0.9999. `warmup`: whether d is `(1 + t) / (10 + t)` while
   *   that is smaller, t being the updates before; defaults to false.
   * @throws {RangeError} If `decay` lies outside [0, 1].
   */
  constructor(
    parameters: ParameterSource,
    options: { decay?: number; warmup?: boolean } = {},
  ) {
    const { decay = 0.9999, warmup = false } = options;
    if (!(decay >= 0 && decay <= 1)) {
      throw new RangeError(
        `Cannot use Ema as decay must lie in 0 … 1: it is ${decay}`,
      );
    }
    this.#decay = decay;
    this.#warmup = warmup;
    this.#parameters = namedFrom(parameters);
    this.#averages = Object.fromEntries(
      Object.entries(this.#parameters).map(([name, p]) => {
        const average = keep(like(p));
        copyInPlace(average, p);
        return [name, average];
      }),
    );
    flatten(Object.values(this.#parameters)).forEach((block) =>
      block.dispose()
    );
    flatten(Object.values(this.#averages)).forEach((block) => block.dispose());
  }

  /** Whether these are the parameters that are averaged, in their order. @internal */
  isOf(parameters: readonly Tensor[]): boolean {
    const own = Object.values(this.#parameters);
    return own.length === parameters.length &&
      own.every((p, i) => p === parameters[i]);
  }

  /**
   * Counts an update, which the caller does: each average takes this share of its parameter's
   * distance. @internal
   */
  next(): { averages: readonly Tensor[]; take: number | Live } {
    this.#requireOwnWeights("update");
    const take = live(() => {
      const t = this.#updates[0]!;
      const warm = this.#warmup ? (1 + t) / (10 + t) : 1;
      return 1 - Math.min(this.#decay, warm);
    });
    afterStep({
      forward: () => this.#updates[0]!++,
      back: () => this.#updates[0]!--,
    });
    return { averages: Object.values(this.#averages), take };
  }

  /**
   * Takes the present values of the parameters into the averages. `Optimizer.step` with `ema` does so
   * along with its own work.
   */
  update(): void {
    const { averages: own, take } = this.next();
    const averages = flatten(own);
    flatten(Object.values(this.#parameters)).forEach((p, i) => {
      const average = averages[i]!;
      kernel.run("follow", { n: p.size, take }, { p, average }, {
        workgroups: ({ n }) => Math.ceil(Number(n) / 256),
        splitBy: "n",
        split: ["p", "average"],
      });
      p.dispose();
      average.dispose();
    });
  }

  /**
   * Runs `body` while the parameters hold the averages, then gives them their own values back; memory
   * is traded, nothing is copied. A promise is waited for. Do not train meanwhile.
   *
   * @returns What `body` returns.
   */
  withWeights<T>(body: () => T): T {
    this.#requireOwnWeights("withWeights");
    this.#swap();
    let result: T;
    try {
      result = body();
    } catch (error) {
      this.#swap();
      throw error;
    }
    if (result instanceof Promise) {
      return result.finally(() => this.#swap()) as T;
    }
    this.#swap();
    return result;
  }

  /**
   * Copies the averages into the parameters of another model of the same structure, or of this one.
   *
   * @throws {TypeError} If names or shapes differ; nothing is changed then.
   */
  copyTo(target: ParameterSource): void {
    this.#requireOwnWeights("copyTo");
    loadInto("the target of Ema.copyTo", namedFrom(target), this.#averages);
  }

  /**
   * The averages by parameter, the tensors themselves, and `num_updates`.
   *
   * @param prefix Put before every name, so that several states fit one file; defaults to `""`.
   */
  stateDict(prefix = ""): StateDict {
    this.#requireOwnWeights("stateDict");
    const data = this.#updates.slice();
    return prefixed(prefix, {
      ...this.#averages,
      num_updates: { dtype: "i32" as const, shape: [], data },
    });
  }

  /**
   * Copies saved averages back.
   *
   * @throws {TypeError} Naming all entries that are missing, unexpected, or differ in shape or type;
   *   nothing is changed then.
   */
  loadStateDict(
    entries: Readonly<StateDict>,
    options: LoadStateOptions = {},
  ): LoadStateResult {
    this.#requireOwnWeights("loadStateDict");
    const targets: StateDict = {
      ...this.#averages,
      num_updates: { dtype: "i32", shape: [], data: this.#updates },
    };
    return loadInto("Ema", targets, entries, options);
  }

  /** Frees the averages; the parameters stay. */
  dispose(): void {
    for (const average of Object.values(this.#averages)) average.dispose();
  }

  #swap(): void {
    this.#swapped = !this.#swapped;
    for (const [name, p] of Object.entries(this.#parameters)) {
      p.swap(this.#averages[name]!);
    }
  }

  #requireOwnWeights(method: string): void {
    if (!this.#swapped) return;
    throw new Error(
      `Cannot call Ema.${method} inside withWeights: the parameters hold the averages there`,
    );
  }
}
