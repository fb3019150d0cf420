/**
 * Points on the host, as mixtures and metrics take and give them.
 *
 * @module
 */
import { philoxWords, toUnit } from "./philox.ts";
import type { Rng } from "./rng.ts";

/** Numbers on the host with the lengths of their axes, row-major: `{ data: await z.data(), shape: z.shape }`. */
export interface Points<Data extends ArrayLike<number> = ArrayLike<number>> {
  /** Elements, row-major. */
  data: Data;
  /** `[N, D]`. */
  shape: readonly number[];
}

/**
 * The elements in float64.
 *
 * @param action What is attempted, after "Cannot".
 * @param dimensions D, if it must be a certain one.
 * @throws {TypeError} If the shape is not `[N, D]` or does not hold the elements.
 * @throws {RangeError} If an element is not finite.
 * @internal
 */
export function elementsOf(
  { data, shape }: Points,
  action: string,
  dimensions?: number,
): Float64Array<ArrayBuffer> {
  const [rows = 0, columns = 0] = shape;
  if (
    shape.length !== 2 || rows * columns !== data.length || columns < 1 ||
    columns !== (dimensions ?? columns)
  ) {
    throw new TypeError(
      `Cannot ${action} as points must be [N, ${
        dimensions ?? "D"
      }]: shape is [${shape.join(", ")}] of ${data.length} elements`,
    );
  }
  const elements = new Float64Array(data);
  const at = elements.findIndex((value) => !Number.isFinite(value));
  if (at >= 0) {
    throw new RangeError(
      `Cannot ${action} as points must be finite: element ${
        at % columns
      } of point ${Math.floor(at / columns)} is ${elements[at]}`,
    );
  }
  return elements;
}

/** `count` standard normals in float64: those of `rng.normal`, by Box and Muller. @internal */
export function hostNormals(
  rng: Rng,
  count: number,
): Float64Array<ArrayBuffer> {
  const { seed, stream, call } = rng.next();
  const words = philoxWords(count + count % 2, [seed, stream], call as number);
  const out = new Float64Array(words.length);
  for (let i = 0; i < out.length; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(toUnit(words[i]!) + 2 ** -24));
    const angle = 2 * Math.PI * toUnit(words[i + 1]!);
    out[i] = radius * Math.cos(angle);
    out[i + 1] = radius * Math.sin(angle);
  }
  return out.subarray(0, count);
}

/** `[rows, columns]` to `[columns, rows]`. @internal */
export function transpose(
  x: Float64Array,
  rows: number,
  columns: number,
): Float64Array<ArrayBuffer> {
  const out = new Float64Array(x.length);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) out[j * rows + i] = x[i * columns + j]!;
  }
  return out;
}
