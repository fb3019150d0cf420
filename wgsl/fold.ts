/**
 * The functions of the language on constants. Their arguments have been checked; those of more
 * lanes than one are evaluated in float64 and rounded to f32 once.
 *
 * @module
 */
import { rounded } from "./constants.ts";
import type { Position } from "./tree.ts";
import type { AnyScalar, Leaf } from "./types.ts";

type Lane = (...x: number[]) => number;

/** Half to even. */
function roundEven(x: number): number {
  const low = Math.floor(x), rest = x - low;
  if (rest === 0) return x;
  if (rest !== 0.5) return rest < 0.5 && low === 0 ? 0 : Math.round(x);
  return low % 2 === 0 ? low : low + 1;
}

const clamp: Lane = (x, low, high) => Math.min(Math.max(x!, low!), high!);

const FLOATS: Readonly<Record<string, Lane>> = {
  abs: Math.abs,
  acos: Math.acos,
  asin: Math.asin,
  atan: Math.atan,
  atan2: Math.atan2,
  ceil: Math.ceil,
  clamp,
  cos: Math.cos,
  cosh: Math.cosh,
  degrees: (x) => x! * 180 / Math.PI,
  exp: Math.exp,
  exp2: (x) => 2 ** x!,
  floor: Math.floor,
  fma: (a, b, c) => a! * b! + c!,
  fract: (x) => x! - Math.floor(x!),
  inverseSqrt: (x) => 1 / Math.sqrt(x!),
  ldexp: (x, e) => x! * 2 ** e!,
  log: Math.log,
  log2: Math.log2,
  max: Math.max,
  min: Math.min,
  mix: (a, b, t) => a! * (1 - t!) + b! * t!,
  pow: Math.pow,
  radians: (x) => x! * Math.PI / 180,
  round: roundEven,
  saturate: (x) => clamp(x!, 0, 1),
  sign: Math.sign,
  sin: Math.sin,
  sinh: Math.sinh,
  smoothstep: (low, high, x) => {
    const t = clamp((x! - low!) / (high! - low!), 0, 1);
    return t * t * (3 - 2 * t);
  },
  sqrt: Math.sqrt,
  step: (edge, x) => Number(edge! <= x!),
  tan: Math.tan,
  tanh: Math.tanh,
  trunc: Math.trunc,
};

/** Bits of a word from the least, to be counted. */
function leadingZeros(x: number): number {
  return Math.clz32(x);
}
function trailingZeros(x: number): number {
  return x === 0 ? 32 : 31 - Math.clz32(x & -x);
}
function oneBits(x: number): number {
  let count = 0;
  for (let rest = x >>> 0; rest > 0; rest >>>= 1) count += rest & 1;
  return count;
}
function reversed(x: number): number {
  let result = 0;
  for (let i = 0; i < 32; i++) result |= (x >>> i & 1) << (31 - i);
  return result;
}
/** The range of bits, with what is past the word cut off. */
function bitRange(offset: number, count: number): [number, number] {
  const first = Math.min(offset, 32);
  return [first, Math.min(count, 32 - first)];
}
function mask(count: number): number {
  return count === 32 ? -1 : (1 << count) - 1;
}
function extractBits(x: number, from: number, bits: number, signed: boolean) {
  const [offset, count] = bitRange(from, bits);
  if (count === 0) return 0;
  const top = x << (32 - offset - count);
  return signed ? top >> (32 - count) : top >>> (32 - count);
}
function insertBits(x: number, y: number, from: number, bits: number) {
  const [offset, count] = bitRange(from, bits);
  if (count === 0) return x;
  const hole = mask(count) << offset;
  return x & ~hole | (y << offset) & hole;
}

/** On the bits of i32 and u32; results are made i32 or u32 afterwards. */
function bits(name: string, signed: boolean, x: number[]): number | undefined {
  const [a, b, c, d] = x as [number, number, number, number];
  switch (name) {
    case "countLeadingZeros":
      return leadingZeros(a);
    case "countTrailingZeros":
      return trailingZeros(a);
    case "countOneBits":
      return oneBits(a);
    case "firstLeadingBit":
      return 31 - leadingZeros(signed && a < 0 ? ~a : a);
    case "firstTrailingBit":
      return a === 0 ? -1 : trailingZeros(a);
    case "reverseBits":
      return reversed(a);
    case "extractBits":
      return extractBits(a, b, c, signed);
    case "insertBits":
      return insertBits(a, b, c, d);
    case "abs":
      return Math.abs(a);
    case "sign":
      return Math.sign(a);
    case "min":
      return Math.min(a, b);
    case "max":
      return Math.max(a, b);
    case "clamp":
      return clamp(a, b, c);
  }
}

function bigs(name: string, x: bigint[]): bigint | undefined {
  const [a, b, c] = x as [bigint, bigint, bigint];
  const min = (a: bigint, b: bigint) => a < b ? a : b;
  const max = (a: bigint, b: bigint) => a > b ? a : b;
  switch (name) {
    case "abs":
      return max(a, -a);
    case "sign":
      return a > 0n ? 1n : a < 0n ? -1n : 0n;
    case "min":
      return min(a, b);
    case "max":
      return max(a, b);
    case "clamp":
      return min(max(a, b), c);
  }
}

/**
 * The lanes of a builtin's result, from the lanes of its arguments; null if it is not evaluated
 * here. `scalar` is the type of the first argument's lanes; a scalar among vectors serves all.
 */
export function foldBuiltin(
  name: string,
  scalar: AnyScalar,
  args: readonly (readonly Leaf[])[],
  at: Position,
): Leaf[] | null {
  const [a, b, c] = args as [Leaf[], Leaf[], Leaf[]];
  const isFloat = scalar === "f32" || scalar === "abstract-float";
  const round = (value: number) => rounded(value, scalar, at);
  const whole = (value: number) => scalar === "u32" ? value >>> 0 : value | 0;
  switch (name) {
    case "all":
      return [Number(a.every(Boolean))];
    case "any":
      return [Number(a.some(Boolean))];
    case "select":
      return a.map((no, i) => (c[i] ?? c[0]) ? b[i]! : no);
    case "dot":
      if (scalar === "abstract-int") {
        return [
          a.reduce<bigint>((s, x, i) => s + BigInt(x) * BigInt(b[i]!), 0n),
        ];
      }
      return [isFloat ? round(dot(a, b)) : integerDot(a, b, whole)];
    case "length":
      return [round(Math.hypot(...a.map(Number)))];
    case "distance":
      return [round(Math.hypot(...a.map((x, i) => Number(x) - Number(b[i]))))];
    case "normalize": {
      const length = Math.hypot(...a.map(Number));
      return a.map((x) => round(Number(x) / length));
    }
    case "cross":
      return [[1, 2], [2, 0], [0, 1]].map(([i, j]) =>
        round(
          Number(a[i!]) * Number(b[j!]) - Number(a[j!]) * Number(b[i!]),
        )
      );
  }
  const packed = packing(name, args.map((lanes) => lanes.map(Number)));
  if (packed) {
    return packed.map((x) => isUnpackFloat(name) ? rounded(x, "f32", at) : x);
  }
  const results = a.map((_, lane) => {
    const x = args.map((lanes) =>
      lanes.length === 1 ? lanes[0]! : lanes[lane]!
    );
    if (scalar === "abstract-int") return bigs(name, x as bigint[]);
    if (isFloat) {
      const f = FLOATS[name];
      return f && round(f(...x.map(Number)));
    }
    const result = bits(name, scalar === "i32", x.map(Number));
    return result === undefined ? undefined : whole(result);
  });
  return results.includes(undefined) ? null : results as Leaf[];
}

function dot(a: readonly Leaf[], b: readonly Leaf[]): number {
  return a.reduce<number>((sum, x, i) => sum + Number(x) * Number(b[i]), 0);
}

function integerDot(
  a: readonly Leaf[],
  b: readonly Leaf[],
  whole: (value: number) => number,
): number {
  return a.reduce<number>(
    (sum, x, i) => whole(sum + Math.imul(Number(x), Number(b[i]))),
    0,
  );
}

function isUnpackFloat(name: string): boolean {
  return /^unpack.*(float|norm)$/.test(name);
}

const view = new DataView(new ArrayBuffer(4));

/** Small numbers in a word, the first in its lowest bits. */
function packing(name: string, args: number[][]): number[] | null {
  const match = /^(un)?pack([24])x(8|16)?([IU]8|float|snorm|unorm)(Clamp)?$/
    .exec(name);
  if (!match) {
    if (!/^dot4[IU]8Packed$/.test(name)) return null;
    const bytes = args.map(([x]) =>
      packing(`unpack4x${name.slice(4, 6)}`, [[x!]])!
    );
    const sum = dot(bytes[0]!, bytes[1]!);
    return [name.includes("I8") ? sum : sum >>> 0];
  }
  const [, un, lanes, , kind, saturates] = match;
  const count = Number(lanes), size = 4 / count;
  if (un) {
    view.setUint32(0, args[0]![0]!, true);
    return Array.from({ length: count }, (_, i) => read(kind!, size * i, size));
  }
  args[0]!.forEach((x, i) =>
    write(kind!, size * i, size, saturates ? saturated(x, kind!) : x)
  );
  return [view.getUint32(0, true)];
}

function saturated(x: number, kind: string): number {
  return kind === "I8" ? clamp(x, -128, 127) : clamp(x, 0, 255);
}

function read(kind: string, at: number, size: number): number {
  if (kind === "float") return view.getFloat16(at, true);
  const signed = size === 1 ? view.getInt8(at) : view.getInt16(at, true);
  const plain = size === 1 ? view.getUint8(at) : view.getUint16(at, true);
  switch (kind) {
    case "snorm":
      return Math.max(signed / (size === 1 ? 127 : 32767), -1);
    case "unorm":
      return plain / (size === 1 ? 255 : 65535);
    default:
      return kind === "I8" ? signed : plain;
  }
}

function write(kind: string, at: number, size: number, x: number): void {
  if (kind === "float") return view.setFloat16(at, x, true);
  const bits = 8 * size;
  const whole = kind === "snorm"
    ? Math.floor(0.5 + (2 ** (bits - 1) - 1) * clamp(x, -1, 1))
    : kind === "unorm"
    ? Math.floor(0.5 + (2 ** bits - 1) * clamp(x, 0, 1))
    : x;
  if (size === 1) view.setInt8(at, whole);
  else view.setInt16(at, whole, true);
}
