/**
 * Parts of tensors, for operations whose tensors exceed what one binding can see.
 *
 * @module
 */
import { deviceInfo } from "../tensor/device.ts";
import { addInPlace, copyInPlace } from "../tensor/fill.ts";
import { ceilDiv, empties } from "../tensor/kernel.ts";
import { span } from "../tensor/shape.ts";
import { sizeOf, type Tensor } from "../tensor/tensor.ts";
import { concat, narrow, pieceOf } from "./shape.ts";

/** Indices of an axis, `[from, to)`. */
export type Span = readonly [from: number, to: number];

/** Whether tensors of this shape, of four bytes an element, fit one binding. */
export function fits(shape: readonly number[]): boolean {
  return 4 * sizeOf(shape) <= deviceInfo().maxBindingBytes;
}

/** Spans that cover an axis before which there are only axes of length 1, each to fit one binding. */
export function spansOf(shape: readonly number[], axis: number): Span[] {
  const { maxBindingBytes, offsetAlignment } = deviceInfo();
  const length = shape[axis]!, bytes = 4 * span(shape, axis + 1);
  let multiple = 4; // as some kernels read by fours
  while (multiple * bytes % offsetAlignment !== 0) multiple *= 2;
  // What is copied from may begin elsewhere, and is then bound from a little before.
  const most = Math.floor((maxBindingBytes - offsetAlignment) / bytes);
  let step = Math.max(1, most);
  if (step >= multiple) step -= step % multiple;
  return Array.from(
    { length: ceilDiv(length, step) },
    (_, i) => [i * step, Math.min(length, (i + 1) * step)],
  );
}

/** Whether a span is a stretch of memory that can be bound. */
function isWindow(
  shape: readonly number[],
  axis: number,
  [from]: Span,
): boolean {
  const { offsetAlignment } = deviceInfo();
  return span(shape, 0, axis) === 1 &&
    from * 4 * span(shape, axis + 1) % offsetAlignment === 0;
}

function windowOf(x: Tensor, axis: number, [from, to]: Span): Tensor {
  const item = span(x.shape, axis + 1);
  const piece = pieceOf(x, from * item, (to - from) * item);
  const window = piece.view(x.shape.with(axis, to - from));
  piece.dispose();
  return window;
}

/** A span of a tensor without history, in its memory where it can be bound there. */
export function partOf(x: Tensor, axis: number, part: Span): Tensor {
  if (part[1] - part[0] === x.shape[axis]) return x;
  return isWindow(x.shape, axis, part)
    ? windowOf(x, axis, part)
    : narrow(x, axis, ...part);
}

/** `made`, in the memory of `into` if there is one. */
export function moved(made: Tensor, into: Tensor | undefined): Tensor {
  if (!into || made === into) return made;
  copyInPlace(into, made);
  made.dispose();
  return into;
}

/**
 * A tensor of f32 whose parts along an axis `make` computes: into the place that it is given, if any.
 *
 * @param into Where the whole goes, if that is decided.
 */
export function assemble(
  shape: readonly number[],
  axis: number,
  spans: readonly Span[],
  make: (part: Span, into: Tensor | undefined, i: number) => Tensor,
  into?: Tensor,
): Tensor {
  if (!spans.every((part) => isWindow(shape, axis, part))) {
    const made = spans.map((part, i) => make(part, undefined, i));
    return moved(concat(made, axis), into);
  }
  const out = into ?? empties(shape);
  spans.forEach((part, i) => {
    const place = windowOf(out, axis, part);
    make(part, place, i);
    place.dispose();
  });
  return out;
}

/** The sum of what `make` computes from each part, the first in the place that it is given, if any. */
export function summed<Part>(
  parts: readonly Part[],
  make: (part: Part, first: boolean, into?: Tensor) => Tensor,
  into?: Tensor,
): Tensor {
  const sum = make(parts[0]!, true, into);
  for (const part of parts.slice(1)) {
    const more = make(part, false);
    addInPlace(sum, more);
    more.dispose();
  }
  return sum;
}
