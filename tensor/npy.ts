/**
 * Arrays of NumPy in files, `.npy`.
 * https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
 *
 * @module
 */
import { sizeOf } from "./tensor.ts";

/** Elements of an array: whole numbers of 64 bits become doubles. */
type Elements = Float64Array | Float32Array | Int32Array | Uint8Array;

/** An array, row-major. */
export interface NpyArray {
  readonly shape: readonly number[];
  readonly data: Elements | string[];
}

/** How elements are made room for and read. */
interface ElementType {
  make(count: number): Elements | string[];
  get(view: DataView, at: number, little: boolean): number | string;
}

/** `\x93NUMPY`. */
const MAGIC = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59];
const ALIGNMENT = 64; // of the first element

const TYPES: Readonly<Record<string, ElementType>> = {
  f8: {
    make: (count) => new Float64Array(count),
    get: (view, at, little) => view.getFloat64(at, little),
  },
  f4: {
    make: (count) => new Float32Array(count),
    get: (view, at, little) => view.getFloat32(at, little),
  },
  i8: {
    make: (count) => new Float64Array(count),
    get: (view, at, little) => Number(view.getBigInt64(at, little)),
  },
  i4: {
    make: (count) => new Int32Array(count),
    get: (view, at, little) => view.getInt32(at, little),
  },
  u1: {
    make: (count) => new Uint8Array(count),
    get: (view, at) => view.getUint8(at),
  },
};

/** Text of so many characters of four bytes each, zeros at its end. */
function textType(characters: number): ElementType {
  return {
    make: (count) => new Array<string>(count).fill(""),
    get(view, at, little) {
      const codes = Array.from(
        { length: characters },
        (_, i) => view.getUint32(at + 4 * i, little),
      );
      return codes.map((code) =>
        code < 0x110000 ? String.fromCodePoint(code) : "\ufffd"
      )
        .join("").replace(/\0+$/, "");
    },
  };
}

/**
 * Reads a `.npy` file of any version, of f8, f4, i8, i4, u1 or text, in C or Fortran order.
 *
 * @param fail Throws, as `Cannot parse … as` and the problem.
 */
export function parseNpy(
  bytes: Uint8Array<ArrayBuffer>,
  fail: (problem: string) => never,
): NpyArray {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 12 || MAGIC.some((byte, i) => bytes[i] !== byte)) {
    fail("an array must begin as a .npy file");
  }
  const from = bytes[6] === 1 ? 10 : 12;
  const start = from +
    (from === 10 ? view.getUint16(8, true) : view.getUint32(8, true));
  const header = new TextDecoder().decode(bytes.subarray(from, start)).trim();
  const [, order, kind, width] =
    /'descr': *'([<>|=])([a-zA-Z])([1-9]\d*)'/.exec(header) ?? [];
  const [, fortran] = /'fortran_order': *(True|False)/.exec(header) ?? [];
  const [, axes] = /'shape': *\(([\d, ]*)\)/.exec(header) ?? [];
  const type = kind === "U"
    ? textType(Number(width))
    : TYPES[`${kind}${width}`];
  if (!type || !fortran || axes === undefined) {
    fail(
      `an array must be of f8, f4, i8, i4, u1 or text: its header is ${
        header.slice(0, 200)
      }`,
    );
  }
  const shape = axes.split(",").filter((n) => n.trim() !== "").map(Number);
  const count = sizeOf(shape);
  const elementBytes = Number(width) * (kind === "U" ? 4 : 1);
  if (count * elementBytes !== bytes.length - start) {
    fail(
      `an array of shape [${shape.join(", ")}] must have ${
        count * elementBytes
      } bytes: it has ${bytes.length - start}`,
    );
  }
  const data = type.make(count);
  for (let i = 0; i < count; i++) {
    data[fortran === "True" ? rowMajor(i, shape) : i] = type.get(
      view,
      start + i * elementBytes,
      order !== ">",
    );
  }
  return { shape, data };
}

/** Where the i-th element stands in rows, if the first axis runs fastest. */
function rowMajor(i: number, shape: readonly number[]): number {
  let at = 0, stride = sizeOf(shape);
  for (const length of shape) {
    stride /= length;
    at += i % length * stride;
    i = Math.floor(i / length);
  }
  return at;
}

/**
 * A `.npy` file, version 1, little-endian: an array of doubles, or one whole number or text as an array
 * without axes.
 *
 * @param shape Of doubles.
 */
export function npyBytes(
  value: Float64Array | number | string,
  shape: readonly number[] = [],
): Uint8Array<ArrayBuffer> {
  const codes = typeof value === "string"
    ? Uint32Array.from(value, (character) => character.codePointAt(0)!)
    : new Uint32Array(0);
  const descr = typeof value === "string"
    ? `<U${codes.length}`
    : typeof value === "number"
    ? "<i8"
    : "<f8";
  const axes = shape.length === 1 ? `${shape[0]},` : shape.join(", ");
  const header =
    `{'descr': '${descr}', 'fortran_order': False, 'shape': (${axes}), }`;
  const start = Math.ceil((10 + header.length + 1) / ALIGNMENT) * ALIGNMENT;
  const dataBytes = typeof value === "string"
    ? 4 * codes.length
    : typeof value === "number"
    ? 8
    : 8 * value.length;
  const bytes = new Uint8Array(start + dataBytes);
  const view = new DataView(bytes.buffer);
  bytes.set(MAGIC);
  bytes[6] = 1;
  view.setUint16(8, start - 10, true);
  bytes.set(
    new TextEncoder().encode(`${header.padEnd(start - 11)}\n`),
    10,
  );
  if (typeof value === "number") {
    view.setBigInt64(start, BigInt(value), true);
  } else if (typeof value === "string") {
    codes.forEach((code, i) => view.setUint32(start + 4 * i, code, true));
  } else {
    value.forEach((x, i) => view.setFloat64(start + 8 * i, x, true));
  }
  return bytes;
}
