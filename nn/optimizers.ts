/**
 * Optimizers, with PyTorch's formulas, defaults and names. Each updates its parameters in place, by
 * one fused kernel: per parameter, or inside a captured step for all of them together.
 *
 * @module
 */
import { keep } from "../tensor/context.ts";
import { ones, zeros } from "../tensor/fill.ts";
import { flatten, joined } from "../tensor/flat.ts";
import { Kernel, requireThat } from "../tensor/kernel.ts";
import type { HostTensor } from "../tensor/safetensors.ts";
import { show, type Tensor } from "../tensor/tensor.ts";
import { afterStep, type Live, live } from "../tensor/trace.ts";
import {
  loadInto,
  type LoadStateOptions,
  type LoadStateResult,
  prefixed,
  type StateDict,
} from "./_state.ts";
import type { Ema } from "./ema.ts";
import { namedFrom, type ParameterSource } from "./module.ts";
import source from "./optimizers.wgsl" with { type: "text" };
import store from "./_store.wgsl" with { type: "text" };
import storeAndFollow from "./_store_and_follow.wgsl" with { type: "text" };

const kernel = new Kernel("optimizers", source, store);
const followedKernel = new Kernel("optimizers", source, storeAndFollow);
const NEUTRAL = {
  l2: 0,
  shrink: 1,
  eps: 0,
  norm: 1,
  keep_a: 0,
  take_a: 1,
  keep_b: 0,
  take_b: 1,
  take: 0,
};

/** Tensors of state beside a parameter, by the kernel's binding: their names in the state dict. */
export type Slots = Readonly<Partial<Record<"a" | "b" | "c", string>>>;

/** One dispatch of `optimizers.wgsl`: its entry point, parameters and constants. */
export interface Update {
  /** Name of the entry point. */
  entry: string;
  /** Parameters that differ from the neutral ones. */
  params: Readonly<Record<string, number>>;
  /** Values of `override` constants. */
  constants?: Readonly<Record<string, number>>;
}

function requireNumbers(
  name: string,
  values: Readonly<Record<string, number>>,
  below = Infinity,
): void {
  for (const [option, value] of Object.entries(values)) {
    if (value >= 0 && value < below) continue;
    throw new RangeError(
      `Cannot use ${name} as ${option} must be at least 0 and ${
        below === Infinity ? "finite" : `below ${below}`
      }: it is ${value}`,
    );
  }
}

/** Parameters that are computed anew in every step. */
function liveParams(
  params: Readonly<Record<string, number>>,
  value: (key: string) => number,
): Record<string, number | Live> {
  return Object.fromEntries(
    Object.keys(params).map((key) => [key, live(() => value(key))]),
  );
}

/** What optimizers share: a list of named parameters, their state, and the step. */
export abstract class Optimizer {
  /** Parameters by name, in the order in which `step` takes gradients. */
  readonly parameters: Readonly<Record<string, Tensor>>;
  readonly #name: string;
  /** Updates of each parameter so far. */
  readonly #steps: Int32Array<ArrayBuffer>;
  readonly #slots: Slots;
  /** By binding, the state of every parameter. */
  readonly #state: Readonly<Record<string, readonly Tensor[]>>;
  readonly #one: Tensor = keep(ones([1]));
  #learningRate = 0;

  /** Makes zeroed state for every parameter. @internal */
  constructor(
    name: string,
    parameters: ParameterSource,
    learningRate: number,
    slots: Slots,
  ) {
    this.#name = name;
    this.parameters = namedFrom(parameters);
    const list = Object.values(this.parameters);
    requireThat(
      list.length > 0 && new Set(list).size === list.length,
      name,
      "there must be parameters, each once",
      { parameters: Object.keys(this.parameters).join(", ") || "none" },
    );
    this.learningRate = learningRate;
    this.#slots = slots;
    this.#steps = new Int32Array(list.length);
    flatten(list).forEach((block) => block.dispose());
    this.#state = Object.fromEntries(
      Object.keys(slots).map((binding) => {
        const own = list.map(({ shape }) => keep(zeros(shape)));
        flatten(own).forEach((block) => block.dispose());
        return [binding, own];
      }),
    );
  }

  /** Size of a step; assign to it to follow a schedule. */
  get learningRate(): number {
    return this.#learningRate;
  }

  /** Changes the size of the next steps. */
  set learningRate(learningRate: number) {
    requireNumbers(this.#name, { learningRate });
    this.#learningRate = learningRate;
  }

  /** What the kernel does at the `step`-th update of a parameter, counted from 1. @internal */
  protected abstract update(step: number): Update;

  /**
   * Updates all parameters.
   *
   * @param gradients One per parameter, in order. Defaults to their `.grad`; parameters that have
   *   none are then left alone.
   * @param options `scale`: one number on the device that multiplies the gradients, so that clipping
   *   need not rewrite them (see `clipScale`); defaults to 1. `ema`: an average of the same parameters
   *   that is updated along, in the same pass over memory, as `ema.update()` would do next.
   * @throws {TypeError} If there is no gradient at all, or one does not fit its parameter, or `ema`
   *   averages other parameters.
   */
  step(
    gradients?: readonly Tensor[],
    options: { scale?: Tensor; ema?: Ema } = {},
  ): void {
    const { scale = this.#one, ema } = options;
    const named = Object.entries(this.parameters);
    const list = Object.values(this.parameters);
    const given = gradients ?? list.map(({ grad }) => grad);
    const count = given.filter((dp) => dp !== null).length;
    requireThat(
      given.length === list.length && count > 0,
      `${this.#name}.step`,
      "there must be a gradient per parameter, passed or left by backward()",
      { gradients: count, parameters: list.length },
    );
    requireThat(
      scale.size === 1 && scale.dtype === "f32",
      `${this.#name}.step`,
      "scale must be one number",
      { scale },
    );
    requireThat(
      !ema || ema.isOf(list),
      `${this.#name}.step`,
      "ema must average the parameters of the optimizer, in their order",
      { parameters: Object.keys(this.parameters).join(", ") },
    );
    named.forEach(([name, { shape }], i) => {
      const dp = given[i];
      if (!dp || (dp.dtype === "f32" && dp.shape.join() === shape.join())) {
        return;
      }
      throw new TypeError(
        `Cannot apply ${this.#name}.step as gradients must have their parameters' shapes: ${name} is ${
          show(shape)
        }, its gradient is ${dp}`,
      );
    });
    const complete = count === list.length;
    const followed = complete ? ema?.next() : undefined;
    const beside = {
      p: list,
      ...this.#state,
      ...(followed && { average: followed.averages }),
    };
    // Inside a captured step all parameters are updated at once, if all are as far.
    const [first] = this.#steps;
    const blocks = complete && this.#steps.every((step) => step === first)
      ? joined(given as Tensor[])
      : null;
    const lists = Object.entries(beside).map(([binding, tensors]) =>
      [binding, blocks ? flatten(tensors) : tensors] as const
    );
    (blocks ?? given).forEach((dp, i) => {
      if (!dp) return;
      const own = lists.map(([binding, tensors]) => [binding, tensors[i]!]);
      this.#dispatch(i, {
        ...Object.fromEntries(own),
        dp,
        scale,
      }, followed?.take);
    });
    const move = (by: number) =>
      this.#steps.forEach((_, i) => this.#steps[i]! += given[i] ? by : 0);
    afterStep({ forward: () => move(1), back: () => move(-1) });
    if (!complete) ema?.update(); // of parameters that stay, too
  }

  /** Updates one parameter, the i-th, or a block of them that are as far; `take`: of its average. */
  #dispatch(
    i: number,
    tensors: Readonly<Record<string, Tensor>>,
    take: number | Live | undefined,
  ): void {
    const next = () => this.update(this.#steps[i]! + 1);
    const { entry, params, constants } = next();
    (take === undefined ? kernel : followedKernel).run(
      entry,
      {
        ...NEUTRAL,
        n: tensors.p!.size,
        ...liveParams(params, (key) => next().params[key]!),
        ...(take === undefined ? {} : { take }),
      },
      tensors,
      {
        constants,
        workgroups: ({ n }) => Math.ceil(Number(n) / 256),
        splitBy: "n",
        split: Object.keys(tensors).filter((binding) => binding !== "scale"),
      },
    );
  }

  /** Frees the gradients that `backward` has summed up. */
  zeroGrad(): void {
    for (const tensor of Object.values(this.parameters)) {
      tensor.grad?.dispose();
      tensor.grad = null;
    }
  }

  /**
   * Everything that a resumed run needs to go on bit for bit, except the options: the tensors
   * themselves, `<parameter>.exp_avg` and the like, and `step`, the updates of each parameter so far.
   *
   * @param prefix Put before every name, so that several states fit one file; defaults to `""`.
   */
  stateDict(prefix = ""): StateDict {
    const { step, ...tensors } = this.#targets();
    const counts = { ...step as HostTensor, data: this.#steps.slice() };
    return prefixed(prefix, { step: counts, ...tensors });
  }

  /**
   * Copies saved state back.
   *
   * @throws {TypeError} Naming all entries that are missing, unexpected, or differ in shape or type;
   *   nothing is changed then.
   */
  loadStateDict(
    entries: Readonly<StateDict>,
    options: LoadStateOptions = {},
  ): LoadStateResult {
    return loadInto(this.#name, this.#targets(), entries, options);
  }

  #targets(): StateDict {
    const shape = [this.#steps.length];
    const targets: StateDict = {
      step: { dtype: "i32", shape, data: this.#steps },
    };
    Object.keys(this.parameters).forEach((name, i) => {
      for (const [binding, list] of Object.entries(this.#state)) {
        targets[`${name}.${this.#slots[binding as keyof Slots]}`] = list[i]!;
      }
    });
    return targets;
  }

  /** Frees the state; the parameters stay. */
  dispose(): void {
    this.#one.dispose();
    for (const list of Object.values(this.#state)) {
      for (const tensor of list) tensor.dispose();
    }
  }
}

/** What `SGD` takes. */
export interface SGDOptions {
  /** Defaults to 1e-3. */
  learningRate?: number;
  /** Share of the last step that is kept, in [0, 1); defaults to 0. */
  momentum?: number;
  /** Share of the gradient that is left out of the momentum, after the first step; defaults to 0. */
  dampening?: number;
  /** Whether to look ahead by the momentum (Nesterov); defaults to false. */
  nesterov?: boolean;
  /** Multiple of the parameter that is added to its gradient; defaults to 0. */
  weightDecay?: number;
}

/** Gradient descent: `v = momentum v + (1 - dampening) g`, `p = p - learningRate v`; the first `v` is `g`. */
export class SGD extends Optimizer {
  readonly #momentum: number;
  readonly #dampening: number;
  readonly #nesterov: boolean;
  readonly #weightDecay: number;

  /**
   * Makes zeroed state.
   *
   * @throws {RangeError} If a number is out of range, or `nesterov` lacks momentum or has dampening.
   */
  constructor(parameters: ParameterSource, options: SGDOptions = {}) {
    const {
      learningRate = 1e-3,
      momentum = 0,
      dampening = 0,
      nesterov = false,
      weightDecay = 0,
    } = options;
    requireNumbers("SGD", { momentum }, 1);
    requireNumbers("SGD", { weightDecay });
    if (nesterov && (momentum === 0 || dampening !== 0)) {
      throw new RangeError(
        `Cannot use SGD as nesterov needs momentum and no dampening: they are ${momentum} and ${dampening}`,
      );
    }
    const slots: Slots = momentum > 0 ? { a: "momentum_buffer" } : {};
    super("SGD", parameters, learningRate, slots);
    this.#momentum = momentum;
    this.#dampening = dampening;
    this.#nesterov = nesterov;
    this.#weightDecay = weightDecay;
  }

  /** The step's numbers. @internal */
  protected override update(step: number): Update {
    return {
      entry: this.#momentum > 0 ? "sgd_momentum" : "sgd",
      params: {
        rate: this.learningRate,
        l2: this.#weightDecay,
        keep_a: this.#momentum,
        take_a: step === 1 ? 1 : 1 - this.#dampening,
      },
      constants: this.#momentum > 0
        ? { NESTEROV: Number(this.#nesterov) }
        : undefined,
    };
  }
}

/** What `Adam` and `AdamW` take. */
export interface AdamOptions {
  /** Defaults to 1e-3. */
  learningRate?: number;
  /** How much the averages of gradient and squared gradient keep, in [0, 1); defaults to `[0.9, 0.999]`. */
  betas?: readonly [number, number];
  /** Added to the root of the squares; defaults to 1e-8. */
  eps?: number;
  /** Defaults to 0 for `Adam`, where it adds to the gradient, and to 1e-2 for `AdamW`. */
  weightDecay?: number;
  /** Whether to divide by the largest average of squares so far (Reddi et al. 2018); defaults to false. */
  amsgrad?: boolean;
}

/**
 * `m = β₁ m + (1 - β₁) g`, `v = β₂ v + (1 - β₂) g²`,
 * `p = p - learningRate m̂ / (√v̂ + eps)` with `m̂ = m / (1 - β₁ᵗ)`, `v̂ = v / (1 - β₂ᵗ)`
 * (Kingma & Ba 2015, arXiv:1412.6980, algorithm 1).
 */
export class Adam extends Optimizer {
  readonly #betas: readonly [number, number];
  readonly #eps: number;
  readonly #weightDecay: number;
  readonly #amsgrad: boolean;

  /**
   * Makes zeroed state.
   *
   * @throws {RangeError} If a number is out of range.
   */
  constructor(parameters: ParameterSource, options: AdamOptions = {}) {
    const {
      learningRate = 1e-3,
      betas = [0.9, 0.999],
      eps = 1e-8,
      weightDecay = 0,
      amsgrad = false,
    } = options;
    const name = new.target.name;
    requireNumbers(name, { "betas[0]": betas[0], "betas[1]": betas[1] }, 1);
    requireNumbers(name, { eps, weightDecay });
    super(name, parameters, learningRate, {
      a: "exp_avg",
      b: "exp_avg_sq",
      ...(amsgrad ? { c: "max_exp_avg_sq" } : {}),
    });
    this.#betas = betas;
    this.#eps = eps;
    this.#weightDecay = weightDecay;
    this.#amsgrad = amsgrad;
  }

  /** How the kernel applies weight decay. @internal */
  protected decay(weightDecay: number): Readonly<Record<string, number>> {
    return { l2: weightDecay };
  }

  /** The step's numbers. @internal */
  protected override update(step: number): Update {
    const [beta1, beta2] = this.#betas;
    return {
      entry: this.#amsgrad ? "adam_amsgrad" : "adam",
      params: {
        rate: this.learningRate / (1 - beta1 ** step),
        norm: 1 / Math.sqrt(1 - beta2 ** step),
        eps: this.#eps,
        take_a: 1 - beta1,
        keep_b: beta2,
        take_b: 1 - beta2,
        ...this.decay(this.#weightDecay),
      },
    };
  }
}

/**
 * Adam whose weight decay shrinks the parameter itself, `p = (1 - learningRate weightDecay) p`,
 * before the step (Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2).
 */
export class AdamW extends Adam {
  /**
   * Makes zeroed state.
   *
   * @throws {RangeError} If a number is out of range.
   */
  constructor(parameters: ParameterSource, options: AdamOptions = {}) {
    super(parameters, { ...options, weightDecay: options.weightDecay ?? 1e-2 });
  }

  /** Shrinks the parameter. @internal */
  protected override decay(
    weightDecay: number,
  ): Readonly<Record<string, number>> {
    return { shrink: 1 - this.learningRate * weightDecay };
  }
}

/** What `RMSprop` takes. */
export interface RMSpropOptions {
  /** Defaults to 1e-2. */
  learningRate?: number;
  /** How much the average of squared gradients keeps, in [0, 1); defaults to 0.99. */
  alpha?: number;
  /** Added to the root of the squares; defaults to 1e-8. */
  eps?: number;
  /** Share of the last step that is kept, in [0, 1); defaults to 0. */
  momentum?: number;
  /** Whether to divide by the deviation from the average gradient instead; defaults to false. */
  centered?: boolean;
  /** Multiple of the parameter that is added to its gradient; defaults to 0. */
  weightDecay?: number;
}

/**
 * `v = α v + (1 - α) g²`, `p = p - learningRate g / (√v + eps)` (Hinton 2012, lecture 6e); centered as
 * in Graves 2013 (arXiv:1308.0850, eq. 38 to 45).
 */
export class RMSprop extends Optimizer {
  readonly #alpha: number;
  readonly #eps: number;
  readonly #momentum: number;
  readonly #centered: boolean;
  readonly #weightDecay: number;

  /**
   * Makes zeroed state.
   *
   * @throws {RangeError} If a number is out of range.
   */
  constructor(parameters: ParameterSource, options: RMSpropOptions = {}) {
    const {
      learningRate = 1e-2,
      alpha = 0.99,
      eps = 1e-8,
      momentum = 0,
      centered = false,
      weightDecay = 0,
    } = options;
    requireNumbers("RMSprop", { alpha, momentum }, 1);
    requireNumbers("RMSprop", { eps, weightDecay });
    super("RMSprop", parameters, learningRate, {
      a: "square_avg",
      ...(momentum > 0 ? { b: "momentum_buffer" } : {}),
      ...(centered ? { c: "grad_avg" } : {}),
    });
    this.#alpha = alpha;
    this.#eps = eps;
    this.#momentum = momentum;
    this.#centered = centered;
    this.#weightDecay = weightDecay;
  }

  /** The step's numbers. @internal */
  protected override update(): Update {
    return {
      entry: "rmsprop" + (this.#centered ? "_centered" : "") +
        (this.#momentum > 0 ? "_momentum" : ""),
      params: {
        rate: this.learningRate,
        l2: this.#weightDecay,
        eps: this.#eps,
        keep_a: this.#alpha,
        take_a: 1 - this.#alpha,
        keep_b: this.#momentum,
      },
    };
  }
}
