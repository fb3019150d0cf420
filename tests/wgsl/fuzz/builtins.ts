/**
 * The functions of the language whose results are exact, on plain numbers.
 *
 * @module
 */
import type { ScalarName } from "../../../wgsl/tree.ts";
import type { Value } from "./interpret.ts";

const round = Math.fround;

/** A function of scalars on scalars, or on the lanes of vectors (of which scalars are spread). */
export function lanewise(
  f: (...x: number[]) => number,
  ...args: Value[]
): Value {
  const wide = args.find(Array.isArray);
  if (!wide) return f(...args as number[]);
  return wide.map((_, i) =>
    f(...args.map((arg) => Array.isArray(arg) ? arg[i]! : arg) as number[])
  );
}

/** Lanes added in pairs. */
function sum([x, y, z, w]: number[], add: (a: number, b: number) => number) {
  const first = add(x!, y!);
  if (z === undefined) return first;
  return add(first, w === undefined ? z : add(z, w));
}

const min = (a: number, b: number) => b < a ? b : a;
const max = (a: number, b: number) => a < b ? b : a;

/** Half to even. */
function nearest(x: number): number {
  const low = Math.floor(x), rest = x - low;
  if (rest < 0.5 || rest === 0.5 && low % 2 === 0) return low;
  return low + 1;
}

const FLOAT: Record<string, (...x: number[]) => number> = {
  abs: Math.abs,
  ceil: Math.ceil,
  floor: Math.floor,
  trunc: Math.trunc,
  round: (x) => nearest(x!),
  sqrt: (x) => round(Math.sqrt(x!)),
  min: (a, b) => min(a!, b!),
  max: (a, b) => max(a!, b!),
  clamp: (x, low, high) => min(max(x!, low!), high!),
  saturate: (x) => min(max(x!, 0), 1),
  fma: (a, b, c) => round(round(a! * b!) + c!),
  fract: (x) => round(x! - Math.floor(x!)),
  sign: Math.sign,
  step: (edge, x) => Number(edge! <= x!),
  mix: (a, b, t) => round(round(a! * round(1 - t!)) + round(b! * t!)),
  inverseSqrt: (x) => round(1 / round(Math.sqrt(x!))),
};

/** Of f32. */
export function floatBuiltin(name: string, args: Value[]): Value {
  const [a, b] = args as [number[], number[]];
  switch (name) {
    case "select":
      return select(args);
    case "dot":
      return sum(a.map((x, i) => round(x * b[i]!)), (x, y) => round(x + y));
    case "cross":
      return [[1, 2], [2, 0], [0, 1]].map(([i, j]) =>
        round(round(a[i!]! * b[j!]!) - round(a[j!]! * b[i!]!))
      );
    case "pack4x8snorm":
    case "pack4x8unorm": {
      const signed = name === "pack4x8snorm";
      const scale = signed ? 127 : 255;
      return bytes(
        a.map((x) =>
          Math.floor(
            round(0.5 + round(scale * min(max(x, signed ? -1 : 0), 1))),
          )
        ),
      );
    }
  }
  const f = FLOAT[name];
  if (!f) throw new TypeError(`No ${name}() of f32`);
  return lanewise(f, ...args);
}

function select([no, yes, condition]: Value[]): Value {
  if (!Array.isArray(condition)) return condition ? yes! : no!;
  return condition.map((c, i) => ((c ? yes : no) as Value[])[i]!);
}

function bytes(values: readonly number[]): number {
  return values.reduce((word, v, i) => word | (v & 255) << (8 * i), 0);
}

function bytesOf(word: number, signed: boolean): number[] {
  return [0, 8, 16, 24].map((shift) => {
    const byte = word >>> shift & 255;
    return signed ? byte << 24 >> 24 : byte;
  });
}

function bitsOf(word: number): number[] {
  return Array.from({ length: 32 }, (_, i) => word >>> i & 1);
}

function wordOf(bits: readonly number[]): number {
  return bits.reduce((word, bit, i) => word | bit << i, 0);
}

/** Of i32, u32 and bool. */
export function integerBuiltin(
  name: string,
  scalar: ScalarName,
  args: Value[],
): Value {
  const [a, b, c, d] = args as [number[], number[], number, number];
  const signed = scalar === "i32";
  switch (name) {
    case "select":
      return select(args);
    case "all":
      return Number([a].flat().every(Boolean));
    case "any":
      return Number([a].flat().some(Boolean));
    case "dot":
      return sum(a.map((x, i) => Math.imul(x, b[i]!)), (x, y) => (x + y) | 0);
    case "pack4xI8":
    case "pack4xU8":
      return bytes(a);
    case "pack4xI8Clamp":
      return bytes(a.map((x) => min(max(x, -128), 127)));
    case "pack4xU8Clamp":
      return bytes(a.map((x) => min(x, 255)));
    case "unpack4xI8":
    case "unpack4xU8":
      return bytesOf(Number(a), name === "unpack4xI8");
    case "dot4I8Packed":
    case "dot4U8Packed": {
      const [x, y] = [a, b].map((v) =>
        bytesOf(Number(v), name === "dot4I8Packed")
      );
      return x!.reduce((sum, v, i) => sum + v * y![i]!, 0);
    }
    case "extractBits":
    case "insertBits": {
      const inserts = name === "insertBits";
      const range = (inserts ? [c, d] : [b, c]).map((v) =>
        Number(Array.isArray(v) ? v[0] : v)
      );
      const offset = Math.min(range[0]!, 32);
      const count = Math.min(range[1]!, 32 - offset);
      if (inserts) {
        return lanewise(
          (x, y) => {
            const bits = bitsOf(x!);
            bits.splice(offset, count, ...bitsOf(y!).slice(0, count));
            return wordOf(bits);
          },
          a,
          b,
        );
      }
      return lanewise((x) => {
        const bits = bitsOf(x!).slice(offset, offset + count);
        const fill = signed && count > 0 ? bits.at(-1)! : 0;
        return wordOf([...bits, ...Array(32 - count).fill(fill)]);
      }, a);
    }
  }
  const f: Record<string, (...x: number[]) => number> = {
    abs: Math.abs,
    sign: Math.sign,
    min: (x, y) => Math.min(x!, y!),
    max: (x, y) => Math.max(x!, y!),
    clamp: (x, low, high) => Math.min(Math.max(x!, low!), high!),
    countOneBits: (x) => bitsOf(x!).filter(Boolean).length,
    countLeadingZeros: (x) => 31 - bitsOf(x!).lastIndexOf(1),
    countTrailingZeros: (x) => x === 0 ? 32 : bitsOf(x!).indexOf(1),
    firstTrailingBit: (x) => bitsOf(x!).indexOf(1),
    firstLeadingBit: (x) => bitsOf(x!).lastIndexOf(signed && x! < 0 ? 0 : 1),
    reverseBits: (x) => wordOf(bitsOf(x!).reverse()),
  };
  if (!f[name]) throw new TypeError(`No ${name}() of ${scalar}`);
  return lanewise(f[name]!, a, ...args.slice(1));
}
