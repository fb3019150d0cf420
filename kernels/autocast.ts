/**
 * Less memory for what gradients need: copies of inputs in f16.
 *
 * @module
 */
import { AsyncLocalStorage } from "node:async_hooks";
import type { Op } from "../tensor/autograd.ts";
import { isRecording } from "../tensor/context.ts";
import type { Storage } from "../tensor/memory.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { cast } from "./cast.ts";

const active = new AsyncLocalStorage<boolean>();

/** Copies by the memory of their originals, as several ops may keep the same input. */
const copies = new WeakMap<Storage, Tensor>();

/**
 * Runs `body`, in which `conv2d`, `linear` and `matmul` keep the factors that their gradients read as
 * copies in f16 (parameters stay as they are); sums are still of f32. Results are those without; gradients of the other
 * operand lose precision, to 11 significant bits of each input. In a captured step an input whose
 * copy is kept frees its memory as soon as the forward pass is done with it; elsewhere scopes hold on
 * to it, and nothing is saved.
 *
 * @param dtype What the copies are stored as.
 * @returns What `body` returns; a promise if it is asynchronous.
 */
export function autocast<T>(dtype: "f16", body: () => T): T {
  if (dtype !== "f16") {
    throw new TypeError(`Cannot autocast as dtype must be f16: it is ${dtype}`);
  }
  return active.run(true, body);
}

function halfOf(x: Tensor): Tensor {
  let copy = copies.get(x.storage);
  if (!copy || copy.isDisposed) copies.set(x.storage, copy = cast(x, "f16"));
  return copy;
}

/** Which of the two factors the gradient of the other reads; parameters are kept anyway. */
function readLater(
  inputs: readonly Tensor[],
  needs: readonly boolean[],
): boolean[] {
  return inputs.map((x, i) => i < 2 && !x.requiresGrad && needs[1 - i]!);
}

/**
 * The op for one call, whose first two inputs are the factors of a product; inside `autocast` it keeps
 * what their gradients read in f16.
 */
export function keepsHalves<Inputs extends readonly Tensor[], Attrs>(
  op: Op<Inputs, Attrs>,
): Op<Inputs, Attrs> {
  let halves: readonly (Tensor | null)[] = [];
  return {
    ...op,
    forward(inputs, attrs, context) {
      const output = op.forward(inputs, attrs, context);
      if (active.getStore()) {
        const later = readLater(inputs, context.needs);
        halves = inputs.map((x, i) => later[i] ? halfOf(x) : null);
        context.save(...context.saved, ...halves.filter((x) => x !== null));
      }
      return output;
    },
    backward(dy, inputs, attrs, context) {
      // What is recorded must have the history of the inputs: their copies have none.
      const kept = isRecording() ? inputs : inputs.map((x, i) => {
        const half = halves[i];
        return half ? cast(half, "f32").view(x.shape) : x;
      }) as unknown as Inputs;
      return op.backward(dy, kept, attrs, context);
    },
  };
}
