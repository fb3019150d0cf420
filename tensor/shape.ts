/**
 * Arithmetic of shapes: broadcasting, strides, axes.
 *
 * @module
 */
import { show, sizeOf } from "./tensor.ts";

/**
 * The shape that both shapes stretch to: aligned at the last axis, lengths equal or 1.
 *
 * @throws {TypeError} If two lengths differ and neither is 1.
 */
export function broadcastShapes(
  operation: string,
  a: readonly number[],
  b: readonly number[],
): number[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, axis) => {
    const m = a[axis - rank + a.length] ?? 1,
      n = b[axis - rank + b.length] ?? 1;
    if (m !== n && m !== 1 && n !== 1) {
      throw new TypeError(
        `Cannot apply ${operation} as shapes must be equal or 1 along each axis, counted from the ` +
          `last: a is ${show(a)}, b is ${show(b)}`,
      );
    }
    return m === 1 ? n : m;
  });
}

/** Elements between neighbours along each axis of a row-major shape. */
export function stridesOf(shape: readonly number[]): number[] {
  const strides: number[] = new Array(shape.length);
  let stride = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    strides[axis] = stride;
    stride *= shape[axis]!;
  }
  return strides;
}

/** Strides that read a tensor of `shape` as if it had the broadcast shape `to`: 0 where it repeats. */
export function broadcastStrides(
  shape: readonly number[],
  to: readonly number[],
): number[] {
  const own = stridesOf(shape);
  const missing = to.length - shape.length;
  return to.map((_, axis) =>
    axis < missing || shape[axis - missing] === 1 ? 0 : own[axis - missing]!
  );
}

/**
 * Joins neighbouring axes that every operand walks as one, so that fewer remain.
 *
 * @param strides One list per operand.
 */
export function collapseAxes(
  shape: readonly number[],
  strides: readonly (readonly number[])[],
): { shape: number[]; strides: number[][] } {
  const result = {
    shape: [] as number[],
    strides: strides.map(() => [] as number[]),
  };
  shape.forEach((length, axis) => {
    if (length === 1) return;
    const joins = result.shape.length > 0 &&
      result.strides.every((own, i) =>
        own.at(-1) === strides[i]![axis]! * length
      );
    if (joins) {
      result.shape[result.shape.length - 1]! *= length;
      result.strides.forEach((own, i) =>
        own[own.length - 1] = strides[i]![axis]!
      );
    } else {
      result.shape.push(length);
      result.strides.forEach((own, i) => own.push(strides[i]![axis]!));
    }
  });
  return result;
}

/**
 * An axis counted from the front; negative ones count from the back.
 *
 * @throws {RangeError} If there is no such axis.
 */
export function axisOf(operation: string, axis: number, rank: number): number {
  const front = axis < 0 ? axis + rank : axis;
  if (!Number.isInteger(axis) || front < 0 || front >= rank) {
    throw new RangeError(
      `Cannot apply ${operation} as the axis must lie in -${rank} … ${
        rank - 1
      }: it is ${axis}`,
    );
  }
  return front;
}

/** Several axes, ascending; all of them if none is given. */
export function axesOf(
  operation: string,
  axes: number | readonly number[] | undefined,
  rank: number,
): number[] {
  if (axes === undefined) {
    return Array.from({ length: rank }, (_, axis) => axis);
  }
  const list = (typeof axes === "number" ? [axes] : axes).map((a) =>
    axisOf(operation, a, rank)
  );
  const unique = new Set(list);
  if (unique.size < list.length) {
    throw new RangeError(
      `Cannot apply ${operation} as an axis is given twice: ${list.join(", ")}`,
    );
  }
  return [...unique].sort((a, b) => a - b);
}

/** Product of lengths `from … to - 1`. */
export function span(
  shape: readonly number[],
  from: number,
  to = shape.length,
): number {
  return sizeOf(shape.slice(from, to));
}
