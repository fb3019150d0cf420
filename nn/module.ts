/**
 * Modules: objects whose fields are parameters, buffers and further modules.
 *
 * @module
 */
import { keep } from "../tensor/context.ts";
import { Tensor } from "../tensor/tensor.ts";
import {
  loadInto,
  type LoadStateOptions,
  type LoadStateResult,
  prefixed,
  type StateDict,
} from "./_state.ts";

export type { LoadStateOptions, LoadStateResult, StateDict } from "./_state.ts";

const kinds = new WeakMap<Tensor, "parameter" | "buffer">();

/** Makes a tensor a parameter: it gets gradients, outlives scopes, and is part of the state. */
export function parameter(values: Tensor): Tensor {
  keep(values.requireGrad());
  kinds.set(values, "parameter");
  return values;
}

/** Makes a tensor a buffer: it outlives scopes and is part of the state, but gets no gradient. */
export function buffer(values: Tensor): Tensor {
  keep(values);
  kinds.set(values, "buffer");
  return values;
}

/** A module, or parameters by name, or a list of them, which is named by position. */
export type ParameterSource =
  | Module
  | Readonly<Record<string, Tensor>>
  | readonly Tensor[];

/** Parameters by name. @internal */
export function namedFrom(source: ParameterSource): Record<string, Tensor> {
  return source instanceof Module
    ? source.namedParameters()
    : Object.fromEntries(Object.entries(source));
}

/** What `forward` of some modules takes besides its input. */
export interface ForwardOptions {
  /** Whether dropout drops and batch normalisation uses the batch; defaults to false. */
  training?: boolean;
}

/**
 * Base of layers and models. Parameters and buffers are found among the fields of the object: in
 * tensors marked by `parameter` or `buffer`, in modules, and in arrays and plain objects of them.
 * Their names are the paths to them, `down.0.conv1.weight`, as in PyTorch. Private `#fields` are not
 * seen.
 */
export abstract class Module {
  /** What is searched for parameters, by name: the fields. @internal */
  members(): Iterable<readonly [string, unknown]> {
    return Object.entries(this);
  }

  /** Parameters by path, in the order of the fields; one that is shared appears once. */
  namedParameters(): Record<string, Tensor> {
    return this.#named("parameter");
  }

  /** Parameters in the order of `namedParameters`. */
  parameters(): Tensor[] {
    return Object.values(this.namedParameters());
  }

  /** Buffers by path, such as running statistics. */
  namedBuffers(): Record<string, Tensor> {
    return this.#named("buffer");
  }

  /** Number of elements of all parameters. */
  get parameterCount(): number {
    return this.parameters().reduce((sum, { size }) => sum + size, 0);
  }

  /**
   * Parameters and buffers by path: the tensors themselves, not copies.
   *
   * @param prefix Put before every name, so that several states fit one file; defaults to `""`.
   */
  stateDict(prefix = ""): Record<string, Tensor> {
    return prefixed(prefix, Object.fromEntries(statesIn(this, "")));
  }

  /**
   * Copies saved values into parameters and buffers, whose own memory stays. `num_batches_tracked`,
   * which PyTorch saves with batch normalisation, is ignored.
   *
   * @param entries Tensors, or host arrays as a safetensors file gives them.
   * @throws {TypeError} Naming all entries that are missing, unexpected, or differ in shape or type;
   *   nothing is changed then.
   */
  loadStateDict(
    entries: Readonly<StateDict>,
    options: LoadStateOptions = {},
  ): LoadStateResult {
    const own = this.stateDict();
    const tracked = (name: string) =>
      name.endsWith("num_batches_tracked") &&
      Object.hasOwn(own, name.replace(/num_batches_tracked$/, "running_mean"));
    return loadInto(this.constructor.name, own, entries, options, tracked);
  }

  /** Frees the gradients that `backward` has summed up. */
  zeroGrad(): void {
    for (const tensor of this.parameters()) {
      tensor.grad?.dispose();
      tensor.grad = null;
    }
  }

  /** Frees parameters, their gradients, and buffers. */
  dispose(): void {
    this.zeroGrad();
    for (const tensor of Object.values(this.stateDict())) tensor.dispose();
  }

  #named(kind: "parameter" | "buffer"): Record<string, Tensor> {
    const seen = new Set<Tensor>();
    const named: Record<string, Tensor> = {};
    for (const [path, tensor] of statesIn(this, "")) {
      if (kinds.get(tensor) !== kind || seen.has(tensor)) continue;
      seen.add(tensor);
      named[path] = tensor;
    }
    return named;
  }
}

/** Parameters and buffers under `value`, with their paths. */
function* statesIn(value: unknown, path: string): Iterable<[string, Tensor]> {
  if (value instanceof Tensor) {
    if (kinds.has(value)) yield [path, value];
    return;
  }
  for (const [name, member] of membersOf(value)) {
    yield* statesIn(member, path === "" ? name : `${path}.${name}`);
  }
}

function membersOf(value: unknown): Iterable<readonly [string, unknown]> {
  if (value instanceof Module) return value.members();
  if (value === null || typeof value !== "object") return [];
  const plain = Array.isArray(value) ||
    Object.getPrototypeOf(value) === Object.prototype;
  return plain ? Object.entries(value) : [];
}
