/**
 * A small notation for formulas over vectors of four lanes, so that the code of a mathematical
 * function reads as its formula. A value is what writes the instructions that push it.
 *
 * @module
 */
import type { FunctionBuilder } from "./wasm.ts";

/** Writes the instructions that leave a value on the stack: a vector, or the i32 of a condition. */
export type Value = () => void;

/** A value in a local variable: cheap to use many times. */
export interface Kept extends Value {
  /** The variable. */
  readonly local: number;
}

/** What formulas are made of. All operations work lane by lane, on f32 unless they say otherwise. */
export interface Lanes {
  /** The function that is being written. */
  readonly fn: FunctionBuilder;
  /** The first parameter. */
  readonly x: Kept;
  /** The second parameter, where there is one. */
  readonly y: Kept;
  /** Four times the same f32. */
  f(value: number): Value;
  /** Four times the same integer of 32 bits. */
  i(value: number): Value;
  /** Two times the same f64. */
  d(value: number): Value;
  /** Any instruction without immediates. */
  op(name: string, ...operands: Value[]): Value;
  /** A call of another function. */
  call(fn: FunctionBuilder, ...operands: Value[]): Value;
  /** Computes a vector now and keeps it. */
  keep(value: Value): Kept;
  /** Replaces what is kept. */
  assign(kept: Kept, value: Value): void;
  /** Sum. */
  add(a: Value, b: Value): Value;
  /** Difference. */
  sub(a: Value, b: Value): Value;
  /** Product. */
  mul(a: Value, b: Value): Value;
  /** Quotient. */
  div(a: Value, b: Value): Value;
  /** `a b + c`, rounded once if relaxed SIMD does so, else twice. */
  madd(a: Value, b: Value, c: Value): Value;
  /** `c - a b`, likewise. */
  nmadd(a: Value, b: Value, c: Value): Value;
  /** `c[0] + c[1] x + c[2] x² + …` by Horner's rule. */
  poly(x: Value, coefficients: readonly number[]): Value;
  /** Bits of both. */
  and(a: Value, b: Value): Value;
  /** `x` shifted by a constant: `i32x4.shl`, `i32x4.shr_u`, `i32x4.shr_s`. */
  shift(name: string, x: Value, by: number): Value;
  /** Bytes of two vectors, see {@linkcode FunctionBuilder.shuffle}. */
  shuffle(lanes: readonly number[], a: Value, b: Value): Value;
  /** The upper two lanes of four, moved to the lower two; above them stands anything. */
  upper(x: Value): Value;
  /** The lower two lanes of `a`, and above them those of `b`. */
  join(a: Value, b: Value): Value;
  /** `a` where the mask is set, else `b`. */
  where(mask: Value, a: Value, b: Value): Value;
  /** The magnitude with the sign of `x` instead of its own. */
  withSign(magnitude: Value, x: Value): Value;
  /** Runs `then` if the i32 is not zero. */
  when(condition: Value, then: () => void): void;
}

/** Prepares the notation for one function, whose parameters are one or two vectors. */
export function lanes(fn: FunctionBuilder, relaxed: boolean): Lanes {
  const op = (name: string, ...operands: Value[]): Value => () => {
    for (const operand of operands) operand();
    fn.op(name);
  };
  const kept = (local: number): Kept =>
    Object.assign(() => void fn.get(local), { local });
  const add = (a: Value, b: Value) => op("f32x4.add", a, b);
  const sub = (a: Value, b: Value) => op("f32x4.sub", a, b);
  const mul = (a: Value, b: Value) => op("f32x4.mul", a, b);
  const madd = (a: Value, b: Value, c: Value) =>
    relaxed ? op("f32x4.relaxed_madd", a, b, c) : add(mul(a, b), c);
  const nmadd = (a: Value, b: Value, c: Value) =>
    relaxed ? op("f32x4.relaxed_nmadd", a, b, c) : sub(c, mul(a, b));
  const f = (value: number): Value => () => void fn.v128F32(value);
  const shuffle = (bytes: readonly number[], a: Value, b: Value) => () => {
    a();
    b();
    fn.shuffle(bytes);
  };
  const where = (mask: Value, a: Value, b: Value) =>
    op("v128.bitselect", a, b, mask);
  return {
    fn,
    x: kept(0),
    y: kept(1),
    f,
    i: (value) => () => void fn.v128I32(value),
    d: (value) => () =>
      void fn.v128(
        new Uint8Array(new Float64Array([value, value]).buffer),
      ),
    op,
    call: (callee, ...operands) => () => {
      for (const operand of operands) operand();
      fn.call(callee);
    },
    keep(value) {
      const local = fn.local("v128");
      value();
      fn.set(local);
      return kept(local);
    },
    assign({ local }, value) {
      value();
      fn.set(local);
    },
    add,
    sub,
    mul,
    div: (a, b) => op("f32x4.div", a, b),
    madd,
    nmadd,
    poly: (x, coefficients) =>
      coefficients.map(f).reduceRight((sum, c) => madd(sum, x, c)),
    and: (a, b) => op("v128.and", a, b),
    shift: (name, x, by) => op(name, x, () => void fn.i32(by)),
    shuffle,
    upper: (x) => {
      const bytes = [
        8,
        9,
        10,
        11,
        12,
        13,
        14,
        15,
        8,
        9,
        10,
        11,
        12,
        13,
        14,
        15,
      ];
      return shuffle(bytes, x, x);
    },
    join: (a, b) =>
      shuffle([0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23], a, b),
    where,
    withSign: (magnitude, x) => where(f(-0), x, magnitude),
    when(condition, then) {
      condition();
      fn.if();
      then();
      fn.end();
    },
  };
}
