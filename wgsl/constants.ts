/**
 * Arithmetic on constants, lane by lane, as the specification wants it: concrete integers wrap,
 * abstract ones (64 bits) must not overflow, f32 is rounded after every operation, and no result
 * may be infinite or NaN.
 *
 * @module
 */
import { fail } from "./error.ts";
import type { BinaryOperator, Position } from "./tree.ts";
import type { AnyScalar, Leaf } from "./types.ts";

const LEAST = -(2n ** 63n), GREATEST = 2n ** 63n - 1n;

/** The value and type of a literal such as `1u` or `0x1.8p3`. */
export function parseNumber(
  text: string,
  at: Position,
): { scalar: AnyScalar; value: Leaf } {
  const isHex = /^0[xX]/.test(text);
  const isFloat = isHex ? /[.pP]/.test(text) : /[.eEfh]/.test(text);
  const suffix = (isHex && !isFloat ? /[iu]$/ : /[iufh]$/).exec(text)?.[0];
  const digits = suffix ? text.slice(0, -1) : text;
  if (suffix === "h") {
    fail(`${text} is an f16, which is not supported; write ${digits}f`, at);
  }
  if (isFloat) {
    if (suffix === "i" || suffix === "u") {
      fail(`${text} is not an integer; remove the suffix or the point`, at);
    }
    const value = isHex ? parseHexFloat(digits) : Number(digits);
    const scalar = suffix ? "f32" : "abstract-float";
    return { scalar, value: convert(value, "abstract-float", scalar, at) };
  }
  if (!isHex && /^0\d/.test(digits)) {
    fail(`${text} begins with 0; remove it, octal does not exist`, at);
  }
  const value = BigInt(digits);
  const scalar = suffix === "u" ? "u32" : suffix === "i" ? "i32" : null;
  if (!scalar) {
    return {
      scalar: "abstract-int",
      value: inRange(value, "abstract-int", at),
    };
  }
  return { scalar, value: convert(value, "abstract-int", scalar, at) };
}

function parseHexFloat(text: string): number {
  const [, whole = "", part = "", exponent = "0"] =
    /^0[xX]([\da-fA-F]*)\.?([\da-fA-F]*)(?:[pP]([+-]?\d+))?$/.exec(text)!;
  const digits = Number(BigInt(`0x${whole}${part}`));
  const power = Number(exponent) - 4 * part.length;
  // In two steps, as 2 ** -1100 alone would be zero.
  return digits * 2 ** Math.trunc(power / 2) *
    2 ** (power - Math.trunc(power / 2));
}

/** The range of integers is the type's, or it is an error. */
function inRange(value: bigint, scalar: AnyScalar, at: Position): bigint {
  const [low, high] = scalar === "u32"
    ? [0n, 2n ** 32n - 1n]
    : scalar === "i32"
    ? [-(2n ** 31n), 2n ** 31n - 1n]
    : [LEAST, GREATEST];
  if (value < low || value > high) {
    fail(
      `${value} does not fit ${
        nameOf(scalar)
      }; write a number from ${low} to ${high}`,
      at,
    );
  }
  return value;
}

function nameOf(scalar: AnyScalar): string {
  return scalar === "abstract-int"
    ? "64 bits"
    : scalar === "abstract-float"
    ? "a 64-bit float"
    : scalar;
}

/** A number as a float type holds it; infinity and NaN are errors. */
export function rounded(
  value: number,
  scalar: AnyScalar,
  at: Position,
): number {
  const result = scalar === "f32" ? Math.fround(value) : value;
  if (!Number.isFinite(result)) {
    fail(
      `A constant is ${result} as ${nameOf(scalar)}; constants must be finite`,
      at,
    );
  }
  return result;
}

/** A number of one scalar type as another without loss, else an error: implicit conversions. */
export function convert(
  value: Leaf,
  from: AnyScalar,
  to: AnyScalar,
  at: Position,
): Leaf {
  if (from === to) return value;
  if (to === "f32" || to === "abstract-float") {
    return rounded(Number(value), to, at);
  }
  if (from === "abstract-int") return Number(inRange(BigInt(value), to, at));
  return cast(value, from, to, at);
}

/** A number of one scalar type as another: `u32(x)` and the like. */
export function cast(
  value: Leaf,
  from: AnyScalar,
  to: AnyScalar,
  at: Position,
): Leaf {
  if (from === to) return value;
  if (to === "bool") return Number(Boolean(value));
  if (to === "f32" || from === "abstract-int") {
    return convert(value, from, to, at);
  }
  const number = Number(value);
  if (from === "f32" || from === "abstract-float") {
    // Toward zero; what is out of range becomes the nearest float that is in it.
    return to === "u32"
      ? Math.min(Math.max(Math.trunc(number), 0), 4294967040) + 0
      : Math.min(Math.max(Math.trunc(number), -2147483648), 2147483520) + 0;
  }
  return to === "u32" ? number >>> 0 : number | 0;
}

const words = new DataView(new ArrayBuffer(16));

/** The bits of a concrete number as another type's. */
export function bitcast(
  value: number,
  from: AnyScalar,
  to: AnyScalar,
  at: Position,
): number {
  if (from === "f32") words.setFloat32(0, value);
  else words.setUint32(0, value);
  if (to === "f32") return rounded(words.getFloat32(0), "f32", at);
  return to === "i32" ? words.getInt32(0) : words.getUint32(0);
}

/** `-x`, `!x` or `~x` of one lane. */
export function unary(
  operator: "-" | "!" | "~",
  scalar: AnyScalar,
  value: Leaf,
  at: Position,
): Leaf {
  if (operator === "!") return 1 - Number(value);
  if (scalar === "abstract-int") {
    const big = BigInt(value);
    return operator === "-" ? inRange(-big, scalar, at) : ~big;
  }
  const number = Number(value);
  if (operator === "-") return scalar === "i32" ? (0 - number) | 0 : -number;
  return scalar === "u32" ? ~number >>> 0 : ~number;
}

/** Whether an operator makes truth values of other numbers. */
export function isComparison(operator: BinaryOperator): boolean {
  return /^([=!<>]=|[<>])$/.test(operator);
}

/** One lane of `a operator b`, both of one type (the right side of a shift is u32). */
export function binary(
  operator: BinaryOperator,
  scalar: AnyScalar,
  a: Leaf,
  b: Leaf,
  at: Position,
): Leaf {
  switch (operator) {
    case "==":
      return Number(a === b);
    case "!=":
      return Number(a !== b);
    case "<":
      return Number(a < b);
    case "<=":
      return Number(a <= b);
    case ">":
      return Number(a > b);
    case ">=":
      return Number(a >= b);
    case "<<":
    case ">>":
      return shift(operator, scalar, BigInt(a), Number(b), at);
  }
  if (scalar === "abstract-float" || scalar === "f32") {
    return rounded(floats(operator, Number(a), Number(b)), scalar, at);
  }
  const result = integers(operator, BigInt(a), BigInt(b), scalar, at);
  return fromBig(result, scalar, at);
}

function fromBig(value: bigint, scalar: AnyScalar, at: Position): Leaf {
  if (scalar === "abstract-int") return inRange(value, scalar, at);
  return Number(
    scalar === "i32" ? BigInt.asIntN(32, value) : BigInt.asUintN(32, value),
  );
}

function floats(operator: BinaryOperator, a: number, b: number): number {
  switch (operator) {
    case "+":
      return a + b;
    case "-":
      return a - b;
    case "*":
      return a * b;
    case "/":
      return a / b;
    case "%":
      return a % b;
  }
  throw new TypeError(`No ${operator} of floats`);
}

function integers(
  operator: BinaryOperator,
  a: bigint,
  b: bigint,
  scalar: AnyScalar,
  at: Position,
): bigint {
  switch (operator) {
    case "+":
      return a + b;
    case "-":
      return a - b;
    case "*":
      return a * b;
    case "/":
    case "%":
      if (b === 0n) {
        fail(`A constant is divided by zero; write another divisor`, at);
      }
      if (scalar === "i32" && b === -1n && a === -(2n ** 31n)) {
        fail(`${a} ${operator} -1 overflows i32; write another number`, at);
      }
      return operator === "/" ? a / b : a % b;
    case "&":
    case "&&":
      return a & b;
    case "|":
    case "||":
      return a | b;
    case "^":
      return a ^ b;
  }
  throw new TypeError(`No ${operator} of integers`);
}

function shift(
  operator: "<<" | ">>",
  scalar: AnyScalar,
  a: bigint,
  b: number,
  at: Position,
): Leaf {
  const bits = scalar === "abstract-int" ? 64 : 32;
  if (b >= bits) {
    fail(`A shift by ${b}; write less than ${bits} for ${nameOf(scalar)}`, at);
  }
  if (operator === ">>") return fromBig(a >> BigInt(b), scalar, at);
  const result = a << BigInt(b);
  const kept = fromBig(result, scalar, at);
  if (BigInt(kept) !== result) {
    fail(`${a} << ${b} loses bits of ${nameOf(scalar)}; shift by less`, at);
  }
  return kept;
}
