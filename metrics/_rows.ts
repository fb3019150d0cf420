/**
 * Choices of rows.
 *
 * @module
 */
import type { Points } from "../tensor/points.ts";

/** The rows of these numbers, in their order; f32 stays f32. */
export function pickRows(
  { data, shape }: Points,
  rows: ArrayLike<number>,
): Points {
  const columns = shape[1]!, length = rows.length * columns;
  const picked = data instanceof Float32Array
    ? new Float32Array(length)
    : new Float64Array(length);
  for (let row = 0; row < rows.length; row++) {
    const from = rows[row]! * columns, to = row * columns;
    for (let i = 0; i < columns; i++) picked[to + i] = data[from + i]!;
  }
  return { data: picked, shape: [rows.length, columns] };
}
