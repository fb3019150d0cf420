/**
 * Circular functions of four f32 lanes and their inverses. The polynomials are fitted as those of
 * `math_exp.ts`.
 *
 * @module
 */
import type { Kept, Lanes, Value } from "./math_lanes.ts";
import type { FunctionBuilder } from "./wasm.ts";

/** π/2 in two parts; the first has 25 bits, so that its product with 28 more is exact in f64. */
const HALF_PI_HIGH = Math.floor(Math.PI / 2 * 2 ** 24) / 2 ** 24;
const HALF_PI_LOW = Math.PI / 2 - HALF_PI_HIGH + 6.123233995736766e-17;
/** 1.5 · 2^52: added to a small f64, it leaves the nearest integer in the low bits. */
const ROUND = 6755399441055744;
/** From here on, f64 does not reduce exactly enough: see {@linkcode reduceLarge}. */
const LARGE = 2 ** 28;

/** An angle as `x = q π/2 + r` with |r| <= π/4: r as f32, q as an i32 of which two bits count. */
interface Reduced {
  readonly r: Kept;
  readonly q: Kept;
}

/** Reduces angles in f64, and large ones, which are rare, by a function of their own. */
function reduce(lanes: Lanes, large: FunctionBuilder): Reduced {
  const { x, fn, keep, assign, op, shuffle, upper, join, when, f, d } = lanes;
  const half = (pick: Value) => {
    const wide = keep(op("f64x2.promote_low_f32x4", pick));
    const rounded = keep(
      op("f64x2.add", op("f64x2.mul", wide, d(2 / Math.PI)), d(ROUND)),
    );
    const n = keep(op("f64x2.sub", rounded, d(ROUND)));
    const r = op(
      "f64x2.sub",
      op("f64x2.sub", wide, op("f64x2.mul", n, d(HALF_PI_HIGH))),
      op("f64x2.mul", n, d(HALF_PI_LOW)),
    );
    return { rounded, r: op("f32x4.demote_f64x2_zero", r) };
  };
  const low = half(x);
  const high = half(upper(x));
  const r = keep(join(low.r, high.r));
  const q = keep(shuffle(
    [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27],
    low.rounded,
    high.rounded,
  ));
  const magnitude = keep(op("f32x4.abs", x));
  when(op("v128.any_true", op("f32x4.ge", magnitude, f(LARGE))), () => {
    const quadrant = fn.local("i32"), rest = fn.local("f32");
    for (const lane of [0, 1, 2, 3]) {
      const of = (v: Value): Value => () => {
        v();
        fn.lane("f32x4.extract_lane", lane);
      };
      const isLarge = op("f32.ge", of(magnitude), () => void fn.f32(LARGE));
      when(isLarge, () => {
        of(x)();
        fn.call(large).set(quadrant).set(rest);
        assign(r, () => {
          r();
          fn.get(rest).lane("f32x4.replace_lane", lane);
        });
        assign(q, () => {
          q();
          fn.get(quadrant).lane("i32x4.replace_lane", lane);
        });
      });
    }
  });
  return { r, q };
}

/** The first 256 binary digits of 2/π after the point, as four words. */
const TWO_OVER_PI = [
  0xa2f9836e4e441529n,
  0xfc2757d1f534ddc0n,
  0xdb6295993c439041n,
  0xfe5163abdebbc561n,
];

/**
 * Writes (f32) -> (f32, i32), the rest and the quadrant of one angle of 2^28 or more (Payne & Hanek
 * 1983): with |x| = m 2^k, of the digits of 2/π only the window matters that m 2^k moves to the
 * two bits above the point and to the fraction. 96 digits give it to 62 bits.
 */
export function reduceLarge(fn: FunctionBuilder): void {
  const bits = fn.local("i32"), k = fn.local("i32"), m = fn.local("i64");
  const words = [0, 1, 2].map(() => fn.local("i64")), by = fn.local("i64");
  const turn = fn.local("i64"), quadrant = fn.local("i64");
  const rest = fn.local("f64"), negative = fn.local("i32");
  // not finite: NaN
  fn.get(0).get(0).op("f32.sub").f32(0).op("f32.ne");
  fn.if();
  fn.f32(NaN).i32(0).op("return");
  fn.end();
  fn.get(0).op("i32.reinterpret_f32").tee(bits);
  fn.i32(0).op("i32.lt_s").set(negative);
  fn.get(bits).i32(0x7fffff).op("i32.and").i32(0x800000).op("i32.or");
  fn.op("i64.extend_i32_u").set(m);
  fn.get(bits).i32(23).op("i32.shr_u").i32(255).op("i32.and");
  fn.i32(150 + 2).op("i32.sub").set(k); // the digits before the window
  for (const [i, word] of words.entries()) {
    fn.i64(TWO_OVER_PI[i + 1]!).i64(TWO_OVER_PI[i]!);
    fn.get(k).i32(64).op("i32.ge_s").op("select").set(word);
  }
  fn.get(k).i32(63).op("i32.and").op("i64.extend_i32_u").set(by);
  const window = (first: number, second: number) =>
    fn.get(first).get(by).op("i64.shl")
      .get(second).i64(1).op("i64.shr_u").i64(63).get(by).op("i64.sub")
      .op("i64.shr_u").op("i64.or");
  // turn = (m · window) mod 2^64, in units of π/2 · 2^-62
  window(words[0]!, words[1]!).get(m).op("i64.mul");
  window(words[1]!, words[2]!).i64(32).op("i64.shr_u").get(m).op("i64.mul");
  fn.i64(32).op("i64.shr_u").op("i64.add").set(turn);
  fn.get(turn).i64(1n << 61n).op("i64.add").i64(62).op("i64.shr_u");
  fn.tee(quadrant);
  fn.i64(62).op("i64.shl").set(by);
  fn.get(turn).get(by).op("i64.sub").op("f64.convert_i64_s");
  fn.f64(Math.PI / 2 * 2 ** -62).op("f64.mul").set(rest);
  fn.get(rest).op("f64.neg").get(rest).get(negative).op("select");
  fn.op("f32.demote_f64");
  fn.i32(0).get(quadrant).op("i32.wrap_i64").op("i32.sub");
  fn.get(quadrant).op("i32.wrap_i64").get(negative).op("select");
}

/** sin or cos, as the quadrant says: odd ones take cos r, the upper two are negative. */
function circular(lanes: Lanes, { r }: Reduced, quadrant: Value): Value {
  const { keep, op, mul, madd, and, where, poly, shift, f, i } = lanes;
  const q = keep(quadrant);
  const square = keep(mul(r, r));
  // sin r = r + r³ p(r²), error 2^-27.9; cos r = 1 - r²/2 + r⁴ p(r²), error 2^-33
  const p = poly(square, [-0.166666552, 0.00833218824, -0.000195180997]);
  const sine = madd(mul(r, square), p, r);
  const c = poly(square, [
    -0.5,
    0.0416666456,
    -0.00138873106,
    2.44325529e-05,
  ]);
  const cosine = madd(square, c, f(1));
  const odd = op("i32x4.ne", and(q, i(1)), i(0));
  const sign = shift("i32x4.shl", and(q, i(2)), 30);
  return op("v128.xor", where(odd, cosine, sine), sign);
}

/** `sin x`. */
export function sin(lanes: Lanes, large: FunctionBuilder): Value {
  const reduced = reduce(lanes, large);
  return circular(lanes, reduced, reduced.q);
}

/** `cos x`. */
export function cos(lanes: Lanes, large: FunctionBuilder): Value {
  const reduced = reduce(lanes, large);
  return circular(lanes, reduced, lanes.op("i32x4.add", reduced.q, lanes.i(1)));
}

/** `tan x`: r + r³ p(r²), error 2^-29.5; in odd quadrants -1 over it. */
export function tan(lanes: Lanes, large: FunctionBuilder): Value {
  const { keep, op, mul, madd, div, and, where, poly, f, i } = lanes;
  const { r, q } = reduce(lanes, large);
  const square = keep(mul(r, r));
  const p = poly(square, [
    0.333333492,
    0.133326739,
    0.0540591665,
    0.0212846454,
    0.0108319307,
    9.21548708e-05,
    0.00437585777,
  ]);
  const tangent = keep(madd(mul(r, square), p, r));
  const odd = op("i32x4.ne", and(q, i(1)), i(0));
  return where(odd, div(f(-1), tangent), tangent);
}

/** `atan t = t + t³ p(t²)` for 0 <= t <= 1, error 2^-28.5. */
function atanUnit({ keep, mul, madd, poly }: Lanes, t: Kept): Value {
  const square = keep(mul(t, t));
  const p = poly(square, [
    -0.333332986,
    0.19998531,
    -0.142640516,
    0.109511748,
    -0.0840047523,
    0.0579065457,
    -0.0311270021,
    0.0108873611,
    -0.0017875476,
  ]);
  return madd(mul(t, square), p, t);
}

/** `atan x`: beyond 1, π/2 - atan(1/x). */
export function atan(lanes: Lanes): Value {
  const { x, keep, op, sub, div, where, withSign, f } = lanes;
  const magnitude = keep(op("f32x4.abs", x));
  const far = keep(op("f32x4.gt", magnitude, f(1)));
  const t = keep(where(far, div(f(1), magnitude), magnitude));
  const angle = keep(atanUnit(lanes, t));
  const result = where(far, sub(f(Math.PI / 2), angle), angle);
  return withSign(result, x);
}

/**
 * The angle of the point (second, first) = (x, y): atan2(y, x), from -π to π. With both 0 it is 0 or
 * ±π by the sign of the second, with both infinite an odd multiple of π/4.
 */
export function atan2(lanes: Lanes): Value {
  const { keep, op, sub, div, and, where, withSign, shift, f } = lanes;
  const { x: rise, y: run } = lanes;
  const up = keep(op("f32x4.abs", rise)), along = keep(op("f32x4.abs", run));
  const less = keep(op("f32x4.min", up, along));
  const more = keep(op("f32x4.max", up, along));
  const ratio = where(op("f32x4.eq", less, more), f(1), div(less, more));
  const t = keep(and(ratio, op("f32x4.ne", more, f(0))));
  const angle = keep(atanUnit(lanes, t));
  const steep = op("f32x4.gt", up, along);
  const first = keep(where(steep, sub(f(Math.PI / 2), angle), angle));
  const backwards = shift("i32x4.shr_s", run, 31); // by the sign bit: -0 too
  const result = where(backwards, sub(f(Math.PI), first), first);
  return withSign(result, rise);
}

/** `asin s - s = s³ p(s²)` for |s| <= 0.5, error 2^-27.6 of asin s. */
function asinRest({ keep, mul, poly }: Lanes, s: Kept): Value {
  const square = keep(mul(s, s));
  const p = poly(square, [
    0.166667521,
    0.0749530941,
    0.0454691499,
    0.0241847783,
    0.0421583056,
  ]);
  return mul(mul(s, square), p);
}

/** The argument that `asin` is computed of: |x| up to 0.5, else √((1 - |x|) / 2). */
function halfAngle(
  { x, keep, op, sub, mul, where, f }: Lanes,
): { s: Kept; far: Kept } {
  const magnitude = keep(op("f32x4.abs", x));
  const far = keep(op("f32x4.gt", magnitude, f(0.5)));
  const root = op("f32x4.sqrt", mul(sub(f(1), magnitude), f(0.5)));
  return { s: keep(where(far, root, magnitude)), far };
}

/** `asin x`: beyond 0.5, π/2 - 2 asin √((1 - x) / 2). NaN beyond 1. */
export function asin(lanes: Lanes): Value {
  const { x, keep, add, sub, where, withSign, f } = lanes;
  const { s, far } = halfAngle(lanes);
  const angle = keep(add(s, asinRest(lanes, s)));
  const result = where(far, sub(f(Math.PI / 2), add(angle, angle)), angle);
  return withSign(result, x);
}

/** `acos x`: π/2 - asin x up to 0.5, else twice the half angle, from π if x is negative. NaN beyond 1. */
export function acos(lanes: Lanes): Value {
  const { x, keep, add, sub, where, withSign, shift, f } = lanes;
  const { s, far } = halfAngle(lanes);
  const angle = keep(add(s, asinRest(lanes, s)));
  const twice = keep(add(angle, angle));
  const negative = keep(shift("i32x4.shr_s", x, 31));
  const outer = where(negative, sub(f(Math.PI), twice), twice);
  const inner = sub(f(Math.PI / 2), withSign(angle, x));
  return where(far, outer, inner);
}
