/**
 * Reverse-mode differentiation. An op states its forward and its backward in one place; this module
 * remembers what was computed, walks it backwards and sums gradients.
 *
 * @module
 */
import {
  context,
  enableGrad,
  keep,
  moveTo,
  noGrad,
  refuseGradientOf,
  scope,
  withGradientOf,
  withOwner,
} from "./context.ts";
import { addInPlace, copyInPlace, full } from "./fill.ts";
import { checkFinite } from "./check_finite.ts";
import { like } from "./kernel.ts";
import type { Rng } from "./rng.ts";
import { show, type Tensor } from "./tensor.ts";

/** What an op may use besides its inputs. */
export interface OpContext {
  /** Which inputs want a gradient; `backward` may skip the others. */
  readonly needs: readonly boolean[];
  /** Keeps tensors made in `forward` for `backward`. */
  save(...tensors: Tensor[]): void;
  /** What `forward` saved. */
  readonly saved: readonly Tensor[];
  /** What `forward` returned; in `backward` only. */
  readonly output: Tensor;
}

/** A differentiable operation. */
export interface Op<Inputs extends readonly Tensor[], Attrs> {
  /** As callers know it; errors use it. */
  readonly name: string;
  /** Computes the output. */
  forward(inputs: Inputs, attrs: Attrs, context: OpContext): Tensor;
  /**
   * One gradient per input, of the input's shape, or null where there is none. It may run kernels; only
   * what is made of ops has gradients of its own, and `createGraph` refuses the rest.
   */
  backward(
    dy: Tensor,
    inputs: Inputs,
    attrs: Attrs,
    context: OpContext,
  ): readonly (Tensor | null)[];
  /** Of an op that multiplies matrices or convolves: its operations forward, see `countFlops`. */
  flops?(inputs: Inputs, attrs: Attrs, output: Tensor): number;
}

/** One step of the history of a tensor. @internal */
export interface GradNode {
  readonly name: string;
  readonly inputs: readonly Tensor[];
  readonly needs: readonly boolean[];
  /** Whether it may lead to parameters that are not among its inputs. */
  readonly isOpaque?: boolean;
  /** Gives `sum` the gradients of inputs that are wanted. */
  readonly backward: (
    dy: Tensor,
    wanted: (input: Tensor) => boolean,
    sum: (input: Tensor, gradient: Tensor) => void,
  ) => void;
}

/** What `forward` is given. */
class Forward implements OpContext {
  saved: readonly Tensor[] = [];
  constructor(readonly needs: readonly boolean[]) {}
  save(...tensors: Tensor[]): void {
    this.saved = tensors;
  }
  get output(): Tensor {
    throw new ReferenceError("There is no output before forward returns");
  }
}

/** What `backward` is given. */
class Backward implements OpContext {
  readonly #name: string;
  readonly #saved: readonly Tensor[];
  constructor(
    name: string,
    saved: readonly Tensor[],
    readonly needs: readonly boolean[],
    readonly output: Tensor,
  ) {
    this.#name = name;
    this.#saved = saved;
  }
  save(): void {
    throw new TypeError("Cannot save tensors in backward");
  }
  /** In a gradient that is recorded only indices: of the rest, it is not known how it was computed. */
  get saved(): readonly Tensor[] {
    const floats = this.#saved.some(({ dtype }) => dtype.startsWith("f"));
    if (floats && context().recording) refuseGradientOf(this.#name);
    return this.#saved;
  }
}

/** Runs `body` without recording, and frees what it makes unless `body` moves it elsewhere. */
function temporarily<T>(body: (temporary: Set<Tensor>) => T): T {
  const temporary = new Set<Tensor>();
  try {
    return withOwner(temporary, false, () => body(temporary));
  } finally {
    for (const tensor of temporary) tensor.dispose();
  }
}

function wantsGrad(tensor: Tensor): boolean {
  return tensor.requiresGrad || tensor.node !== null;
}

/**
 * Runs an op and, where gradients are recorded, remembers how to differentiate it. What `forward`
 * makes besides its output and what it saves is freed at once.
 */
export function apply<Inputs extends readonly Tensor[], Attrs>(
  op: Op<Inputs, Attrs>,
  inputs: Inputs,
  attrs: Attrs,
): Tensor {
  const { owned, recording, trace } = context();
  const needs = inputs.map((input) => recording && wantsGrad(input));
  const record = needs.includes(true);
  const given = new Forward(needs);
  const output = temporarily((temporary) => {
    const made = op.forward(inputs, attrs, given);
    const fresh = inputs.includes(made) ? made.detach() : made; // an input keeps its own history
    moveTo(fresh, temporary, owned);
    if (record) {
      for (const tensor of given.saved) moveTo(tensor, temporary, owned);
    }
    return fresh;
  });
  checkFinite(output, op.name);
  if (trace) trace.flops += op.flops?.(inputs, attrs, output) ?? 0;
  if (record) {
    const { saved } = given;
    output.node = {
      name: op.name,
      inputs,
      needs,
      backward(dy, wanted, sum) {
        const now = inputs.map((input, i) => needs[i]! && wanted(input));
        if (!now.includes(true)) return;
        const known = new Backward(op.name, saved, now, output);
        const run = () => op.backward(dy, inputs, attrs, known);
        const gradients = context().recording
          ? withGradientOf(op.name, run)
          : run();
        gradients.forEach((gradient, i) => {
          if (!gradient || !now[i]) return;
          const input = inputs[i]!;
          if (gradient.shape.join() !== input.shape.join()) {
            throw new TypeError(
              `The gradient of ${op.name} has shape ${
                show(gradient)
              }: its input is ${show(input)}`,
            );
          }
          checkFinite(gradient, `the gradient of ${op.name}`);
          sum(input, gradient);
        });
      },
    };
  }
  return output;
}

/**
 * A linear map of one tensor as an op, whose gradient is its adjoint, and that one's the map again.
 *
 * @param map Runs kernels, as does `adjoint`.
 */
export function linearOp<Attrs>(
  name: string,
  map: (x: Tensor, attrs: Attrs) => Tensor,
  adjoint: (dy: Tensor, attrs: Attrs) => Tensor,
): Op<[x: Tensor], Attrs> {
  const forward: Op<[x: Tensor], Attrs> = {
    name,
    forward: ([x], attrs) => map(x, attrs),
    backward: (dy, _, attrs) => [apply(back, [dy], attrs)],
  };
  const back: Op<[dy: Tensor], Attrs> = {
    name: `the gradient of ${name}`,
    forward: ([dy], attrs) => adjoint(dy, attrs),
    backward: (dx, _, attrs) => [apply(forward, [dx], attrs)],
  };
  return forward;
}

/** Nodes that `outputs` depend on, each after everything that uses it. */
function backwardOrder(outputs: readonly Tensor[]): Tensor[] {
  const order: Tensor[] = [];
  const state = new Map<Tensor, "open" | "done">();
  const stack: Tensor[] = outputs.filter((output) => output.node);
  while (stack.length > 0) {
    const top = stack.at(-1)!;
    if (state.get(top) === "open") {
      state.set(top, "done");
      order.push(top);
      stack.pop();
    } else if (state.has(top)) stack.pop();
    else {
      state.set(top, "open");
      const { name, inputs, needs } = top.node!;
      inputs.forEach((input, i) => {
        if (needs[i] && input.isDisposed && !input.requiresGrad) {
          throw new ReferenceError(
            `Cannot differentiate ${name} as its input ${input} is freed, and its history with it: ` +
              "it was disposed, or its scope has ended",
          );
        }
        if (needs[i] && input.node && !state.has(input)) stack.push(input);
      });
    }
  }
  return order.reverse();
}

/** A copy that may be changed in place. */
function copyOf(tensor: Tensor): Tensor {
  const copy = like(tensor);
  copyInPlace(copy, tensor);
  return copy;
}

/** The same tensor over again, with a history of its own. */
const aliasOp: Op<[x: Tensor], null> = {
  name: "alias",
  forward: ([x]) => x,
  backward: (dy) => [dy],
};

/** The sum of two gradients, where it has a gradient itself. */
const sumOp: Op<[a: Tensor, b: Tensor], null> = {
  name: "the sum of gradients",
  forward: ([a, b]) => {
    const sum = copyOf(a);
    addInPlace(sum, b);
    return sum;
  },
  backward: (dy) => [dy, dy],
};

/**
 * Sums of gradients by tensor. Unless they are recorded each is a view of its own, so that buffers can be
 * told apart.
 */
class GradientSums {
  readonly #sums = new Map<Tensor, Tensor>();
  /** Whether the sums are part of the graph: then nothing changes in place. */
  readonly recorded: boolean;

  constructor(recorded = false) {
    this.recorded = recorded;
  }

  add(tensor: Tensor, gradient: Tensor): void {
    const sum = this.#sums.get(tensor);
    if (this.recorded) {
      const total = sum ? apply(sumOp, [sum, gradient], null) : gradient;
      this.#sums.set(tensor, total);
    } else if (!sum) this.#sums.set(tensor, gradient.detach());
    else if (sum.storage.unshared) addInPlace(sum, gradient);
    else {
      const copy = copyOf(sum);
      addInPlace(copy, gradient);
      sum.dispose();
      this.#sums.set(tensor, copy);
    }
  }

  get(tensor: Tensor): Tensor | undefined {
    return this.#sums.get(tensor);
  }

  take(tensor: Tensor): Tensor | undefined {
    const sum = this.#sums.get(tensor);
    this.#sums.delete(tensor);
    return sum;
  }

  entries(): IterableIterator<[Tensor, Tensor]> {
    return this.#sums.entries();
  }
}

/** The tensors of `order`, each after what uses it, from which one of `wanted` is reached, and these. */
function leadingTo(
  wanted: readonly Tensor[],
  order: readonly Tensor[],
): Set<Tensor> {
  const leading = new Set(wanted);
  for (const tensor of order.toReversed()) {
    const { inputs, needs, isOpaque } = tensor.node!;
    if (isOpaque || inputs.some((x, i) => needs[i] && leading.has(x))) {
      leading.add(tensor);
    }
  }
  return leading;
}

/**
 * Walks the history of `outputs`; their gradients are in `sums`, those of leaves end up there.
 *
 * @param wanted If given, no gradients are computed that those of these do not need; theirs end up in
 *   `sums` as well.
 */
function walk(
  outputs: readonly Tensor[],
  sums: GradientSums,
  wanted?: readonly Tensor[],
): void {
  const order = backwardOrder(outputs);
  const leading = wanted && leadingTo(wanted, order);
  const isWanted = (tensor: Tensor) => leading?.has(tensor) ?? true;
  const kept = new Set(wanted);
  for (const tensor of order) {
    const dy = isWanted(tensor) ? sums.take(tensor) : undefined;
    if (!dy) continue;
    const { backward } = tensor.node!;
    if (sums.recorded) {
      backward(dy, isWanted, (input, gradient) => sums.add(input, gradient));
      if (kept.has(tensor)) sums.add(tensor, dy);
      continue;
    }
    const outer = context().owned!; // every caller opens a scope
    temporarily(() =>
      backward(dy, isWanted, (input, gradient) => {
        withOwner(outer, false, () => sums.add(input, gradient));
      })
    );
    if (kept.has(tensor)) sums.add(tensor, dy);
    dy.dispose();
  }
}

function seeded(
  output: Tensor,
  seed: Tensor | undefined,
  recorded = false,
): GradientSums {
  void output.storage; // a freed one throws, rather than lacks a history
  if (!wantsGrad(output)) {
    throw new TypeError(
      `Cannot differentiate ${output} as it has no history: no input requires a gradient, or it ` +
        "was computed inside noGrad",
    );
  }
  if (seed === undefined && output.size !== 1) {
    throw new TypeError(
      `Cannot differentiate as the output must be a single number: shape is ${
        show(output)
      }; ` +
        "reduce it by sum or mean, or pass the upstream gradient",
    );
  }
  if (seed && seed.shape.join() !== output.shape.join()) {
    throw new TypeError(
      `Cannot differentiate as the upstream gradient must have the output's shape ` +
        `${show(output)}: it is ${show(seed)}`,
    );
  }
  const sums = new GradientSums(recorded);
  sums.add(output, seed ?? full(output.shape, 1));
  return sums;
}

/**
 * Gradients of `output` with respect to `inputs`, as `torch.autograd.grad`. An input that `output`
 * does not depend on gets zeros.
 *
 * With `createGraph` they are part of the graph, also inside `noGrad`, and have gradients again: those of
 * a penalty on a slope, such as `square(sub(norm(dx), 1))` of WGAN-GP, or a product with the Hessian.
 * What they are computed from then lives as long as the scope around, or till it is collected.
 *
 * @param output A single number, unless `upstream` is given.
 * @param options `upstream`: the gradient that arrives at `output`, of its shape; defaults to 1.
 *   `createGraph` defaults to false.
 * @throws {TypeError} If `output` has no history, or is not a single number and has no `upstream`; with
 *   `createGraph`, if the gradient of an op on the way has none itself.
 */
export function gradients(
  output: Tensor,
  inputs: readonly Tensor[],
  options: { upstream?: Tensor; createGraph?: boolean } = {},
): Tensor[] {
  const { upstream, createGraph = false } = options;
  const run = () => {
    const sums = seeded(output, upstream, createGraph);
    walk([output], sums, inputs);
    return inputs.map((input) => {
      const gradient = sums.get(input);
      if (!gradient) return full(input.shape, 0);
      return createGraph ? apply(aliasOp, [gradient], null) : gradient.detach();
    });
  };
  return createGraph ? enableGrad(run) : scope(run);
}

/**
 * The gradients of `formula`, for the `backward` of an op whose own kernels have none: they can be
 * recorded, and recorded again.
 *
 * @param formula The op's output, or what has its gradients, made of ops.
 * @param dy The gradient that arrives at it.
 * @param needs Of which inputs they are wanted; the others get null.
 */
export function gradientsThrough<Inputs extends readonly Tensor[]>(
  formula: (...inputs: Inputs) => Tensor,
  inputs: Readonly<Inputs>,
  dy: Tensor,
  needs: readonly boolean[],
): (Tensor | null)[] {
  const createGraph = context().recording;
  return enableGrad(() => {
    // The walk stops at other names of the inputs, one of which may be computed from another.
    const names = inputs.map((input, i) =>
      needs[i] ? apply(aliasOp, [input], null) : input
    );
    const output = formula(...names as unknown as Inputs);
    const wanted = names.filter((_, i) => needs[i]);
    const found = gradients(output, wanted, { upstream: dy, createGraph });
    return needs.map((needed) => needed ? found.shift()! : null);
  });
}

/**
 * Differentiates `output` and adds the gradients to `.grad` of every tensor that requires one, where
 * they stay until `zeroGrad`.
 *
 * @param upstream The gradient that arrives at `output`; defaults to 1 for a single number.
 */
export function backward(output: Tensor, upstream?: Tensor): void {
  scope(() => {
    const sums = seeded(output, upstream);
    walk([output], sums);
    for (const [tensor, gradient] of sums.entries()) {
      if (!tensor.requiresGrad) continue;
      if (tensor.grad) addInPlace(tensor.grad, gradient);
      else {
        const own = gradient.storage.unshared ? gradient : copyOf(gradient);
        tensor.grad = keep(own);
      }
    }
  });
}

/**
 * Runs `body` without keeping its intermediates, and runs it a second time when gradients are taken:
 * memory for time (Chen et al. 2016, arXiv:1604.06174). Everything that needs a gradient, except
 * parameters, must come in through `inputs`. Randomness must come from `rng`, which is rewound.
 */
export function checkpoint<Inputs extends readonly Tensor[]>(
  body: (...inputs: Inputs) => Tensor,
  inputs: Inputs,
  options: { rng?: Rng } = {},
): Tensor {
  const { rng } = options;
  if (!context().recording) return body(...inputs);
  const mark = rng?.mark();
  const output = noGrad(() => scope(() => body(...inputs)));
  const result = inputs.includes(output) ? output.detach() : output;
  result.node = {
    name: "checkpoint",
    inputs,
    needs: inputs.map(wantsGrad),
    isOpaque: true,
    backward(dy, wanted, sum) {
      if (context().recording) refuseGradientOf("checkpoint");
      // Fresh leaves stand for the inputs, so that the walk stops there.
      const leaves = inputs.map((input) => {
        const leaf = input.detach();
        leaf.requiresGrad = wantsGrad(input);
        return leaf;
      });
      const recompute = () =>
        enableGrad(() => body(...leaves as unknown as Inputs));
      const again = rng ? rng.again(mark!, recompute) : recompute();
      const sums = new GradientSums();
      sums.add(again, dy);
      walk([again], sums);
      for (const [tensor, gradient] of sums.entries()) {
        const at = leaves.indexOf(tensor);
        const input = at >= 0 ? inputs[at]! : tensor;
        if (tensor.requiresGrad && wanted(input)) sum(input, gradient);
      }
    },
  };
  return result;
}
