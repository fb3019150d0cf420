/**
 * What surrounds an operation: the scope that owns new tensors, and whether gradients are recorded.
 * It follows `await` (AsyncLocalStorage), so that concurrent functions do not mix theirs up.
 *
 * @module
 */
import { AsyncLocalStorage } from "node:async_hooks";
import type { Tensor } from "./tensor.ts";
import type { Trace } from "./trace.ts";

interface Context {
  /** Owns every tensor made in it; null leaves them to the garbage collector. */
  readonly owned: Set<Tensor> | null;
  readonly recording: boolean;
  /** The op whose gradient is being recorded, if any. */
  readonly gradientOf: string | null;
  /** Takes down what kernels are asked to do instead of having it done; see `capture`. */
  readonly trace: Trace | null;
}

const OUTERMOST: Context = {
  owned: null,
  recording: true,
  gradientOf: null,
  trace: null,
};
const storage = new AsyncLocalStorage<Context>();

/** The context of the caller. */
export function context(): Context {
  return storage.getStore() ?? OUTERMOST;
}

/** True unless inside `noGrad`. */
export function isRecording(): boolean {
  return context().recording;
}

/** Runs `body`, whose new tensors go to `owned`. */
export function withOwner<T>(
  owned: Set<Tensor>,
  recording: boolean,
  body: () => T,
): T {
  return storage.run({ ...context(), owned, recording }, body);
}

/** Runs `body`, whose kernels `trace` takes down; its new tensors go to `owned`. */
export function withTrace<T>(
  trace: Trace,
  owned: Set<Tensor>,
  body: () => T,
): T {
  return storage.run({ ...OUTERMOST, owned, trace }, body);
}

/**
 * Runs `body` as if no step were being captured: for constants that a captured step reads, such as
 * tables made when they are first needed. Its tensors belong to no scope.
 */
export function outsideCapture<T>(body: () => T): T {
  return storage.run(OUTERMOST, body);
}

/**
 * Runs `body` without recording gradients: results have no history, intermediates go at once.
 *
 * @returns What `body` returns; a promise if it is asynchronous.
 */
export function noGrad<T>(body: () => T): T {
  return storage.run({ ...context(), recording: false }, body);
}

/** Runs `body` with gradients recorded again, inside a `noGrad`. */
export function enableGrad<T>(body: () => T): T {
  return storage.run({ ...context(), recording: true }, body);
}

/** Runs `body`, the gradient of an op, as part of the graph: what it computes has to have a history. */
export function withGradientOf<T>(name: string, body: () => T): T {
  return storage.run(
    { ...context(), recording: true, gradientOf: name },
    body,
  );
}

/**
 * Throws inside a gradient that is recorded if one of the tensors has a history, which is about to be
 * lost: the gradient of that gradient would lack a part.
 */
export function requireNoHistory(tensors: readonly Tensor[]): void {
  const { gradientOf, recording } = context();
  if (gradientOf === null || !recording) return;
  if (tensors.some((x) => x.node || x.requiresGrad)) {
    refuseGradientOf(gradientOf);
  }
}

/** The error of an op that has no gradient of its gradient. */
export function refuseGradientOf(name: string): never {
  throw new TypeError(
    `Cannot differentiate the gradient of ${name} as its kernels have none: ` +
      "compute the output by other ops, or leave createGraph out",
  );
}

/**
 * Runs `body` and then frees every tensor made in it, except what it returns (a tensor, or an array
 * or plain object of them, at any depth), parameters, and what was passed to `keep`.
 *
 * @returns What `body` returns; a promise if it is asynchronous.
 */
export function scope<T>(body: () => T): T {
  const outer = context();
  const owned = new Set<Tensor>();
  const close = (result: unknown) => {
    for (const tensor of tensorsIn(result)) moveTo(tensor, owned, outer.owned);
    for (const tensor of [...owned]) tensor.dispose();
  };
  let result: T;
  try {
    result = withOwner(owned, outer.recording, body);
  } catch (error) {
    close(null);
    throw error;
  }
  if (result instanceof Promise) {
    return result.then(
      (value) => (close(value), value),
      (error) => {
        close(null);
        throw error;
      },
    ) as T;
  }
  close(result);
  return result;
}

/** Takes a tensor out of the scope that owns it, so that it outlives the scope. */
export function keep<T extends Tensor>(tensor: T): T {
  tensor.owner?.delete(tensor);
  tensor.adopt(null);
  return tensor;
}

/** Hands a tensor of `from` to another owner; others are left where they are. */
export function moveTo(
  tensor: Tensor,
  from: Set<Tensor>,
  to: Set<Tensor> | null,
): void {
  if (!from.delete(tensor)) return;
  tensor.adopt(to);
}

function* tensorsIn(value: unknown): Iterable<Tensor> {
  if (value === null || typeof value !== "object") return;
  if (isTensor(value)) yield value;
  else if (Array.isArray(value)) {
    for (const item of value) yield* tensorsIn(item);
  } else if (value instanceof Map) {
    for (const item of value.values()) yield* tensorsIn(item);
  } else if (Object.getPrototypeOf(value) === Object.prototype) {
    for (const item of Object.values(value)) yield* tensorsIn(item);
  }
}

function isTensor(value: object): value is Tensor {
  return "adopt" in value && "storage" in value;
}
