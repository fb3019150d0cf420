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
  scope,
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
  /** One gradient per input, of the input's shape, or null where there is none. */
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
  readonly backward: (
    dy: Tensor,
    sum: (input: Tensor, gradient: Tensor) => void,
  ) => void;
}

class Saved implements OpContext {
  saved: readonly Tensor[] = [];
  #output: Tensor | null = null;
  constructor(readonly needs: readonly boolean[]) {}
  save(...tensors: Tensor[]): void {
    this.saved = tensors;
  }
  get output(): Tensor {
    if (!this.#output) {
      throw new ReferenceError("There is no output before forward returns");
    }
    return this.#output;
  }
  set output(tensor: Tensor) {
    this.#output = tensor;
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
  const saved = new Saved(needs);
  const output = temporarily((temporary) => {
    const made = op.forward(inputs, attrs, saved);
    const fresh = inputs.includes(made) ? made.detach() : made; // an input keeps its own history
    moveTo(fresh, temporary, owned);
    if (record) {
      for (const tensor of saved.saved) moveTo(tensor, temporary, owned);
    }
    return fresh;
  });
  checkFinite(output, op.name);
  if (trace) trace.flops += op.flops?.(inputs, attrs, output) ?? 0;
  if (record) {
    saved.output = output;
    output.node = {
      name: op.name,
      inputs,
      needs,
      backward(dy, sum) {
        const gradients = op.backward(dy, inputs, attrs, saved);
        gradients.forEach((gradient, i) => {
          if (!gradient || !needs[i]) return;
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

/** Sums of gradients by tensor. Each entry is a view of its own, so that buffers can be told apart. */
class GradientSums {
  readonly #sums = new Map<Tensor, Tensor>();

  add(tensor: Tensor, gradient: Tensor): void {
    const sum = this.#sums.get(tensor);
    if (!sum) this.#sums.set(tensor, gradient.detach());
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

/** Walks the history of `outputs`; their gradients are in `sums`, those of leaves end up there. */
function walk(
  outputs: readonly Tensor[],
  sums: GradientSums,
  wanted: ReadonlySet<Tensor> = new Set(),
): void {
  for (const tensor of backwardOrder(outputs)) {
    const dy = sums.take(tensor);
    if (!dy) continue;
    const outer = context().owned!; // every caller opens a scope
    temporarily(() =>
      tensor.node!.backward(dy, (input, gradient) => {
        withOwner(outer, false, () => sums.add(input, gradient));
      })
    );
    if (wanted.has(tensor)) sums.add(tensor, dy);
    dy.dispose();
  }
}

function seeded(output: Tensor, seed: Tensor | undefined): GradientSums {
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
  const sums = new GradientSums();
  sums.add(output, seed ?? full(output.shape, 1));
  return sums;
}

/**
 * Gradients of `output` with respect to `inputs`, as `torch.autograd.grad`. An input that `output`
 * does not depend on gets zeros.
 *
 * @param output A single number, unless `upstream` is given.
 * @param upstream The gradient that arrives at `output`, of its shape; defaults to 1.
 * @throws {TypeError} If `output` has no history, or is not a single number and has no `upstream`.
 */
export function gradients(
  output: Tensor,
  inputs: readonly Tensor[],
  upstream?: Tensor,
): Tensor[] {
  return scope(() => {
    const sums = seeded(output, upstream);
    walk([output], sums, new Set(inputs));
    return inputs.map((input) =>
      sums.get(input)?.detach() ?? full(input.shape, 0)
    );
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
    backward(dy, sum) {
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
        if (at >= 0) sum(inputs[at]!, gradient);
        else if (tensor.requiresGrad) sum(tensor, gradient);
      }
    },
  };
  return result;
}
