/**
 * Exponentials, logarithms, powers and hyperbolic functions of four f32 lanes.
 *
 * The polynomials are minimax fits of our own: least squares at Chebyshev points, reweighted
 * (Lawson 1961) until the largest relative error of the function is levelled; then rounded to f32
 * one coefficient after another from the lowest power, with the rest fitted anew. The bounds in the
 * comments are those of the fits; the tests measure what the rounding of the arithmetic adds.
 *
 * @module
 */
import type { Kept, Lanes, Value } from "./math_lanes.ts";

/**
 * 1.5 · 2^23. The sum with a small number is rounded to an integer, which stands in the low bits,
 * as those of the constant are zeros. ROUND + 254 leaves the integer plus 254, and so on.
 */
const ROUND = 12582912;
/** Twice the exponent's bias of f32, the bias that {@linkcode scale} wants. */
const TWO_BIASES = 254;
/** ln 2 in two parts; the first has 15 bits, so that its product with 9 more is exact. */
const LN2_HIGH = 22713 / 32768;
const LN2_LOW = Math.LN2 - LN2_HIGH;
/** The smallest number that is not subnormal, as bits. */
const MIN_NORMAL_BITS = 0x00800000;

/**
 * `p · 2^n` for p near 1 and -152 <= n <= 129, in two steps so that subnormals come out right.
 *
 * @param n As an integer in the last 9 bits, plus 254, so that either half is an exponent of f32.
 */
function scale({ keep, op, mul, shift }: Lanes, p: Value, n: Value): Value {
  const whole = keep(n);
  const half = keep(shift("i32x4.shr_u", whole, 1));
  const power = (biased: Value) => shift("i32x4.shl", biased, 23);
  return mul(mul(p, power(half)), power(op("i32x4.sub", whole, half)));
}

/** `x` moved into an interval outside of which the result no longer changes. NaN stays NaN. */
function clamp({ op, f }: Lanes, x: Value, low: number, high: number): Value {
  return op("f32x4.pmin", op("f32x4.pmax", x, f(low)), f(high));
}

/**
 * `e^x` as p from 0.7 to 1.42 and an integer n, `p · 2^n`, for |x| < 128. With n = round(x / ln 2)
 * and r = x - n ln 2 (ln 2 in two parts, Cody & Waite 1980), p is e^r = 1 + r + r² q(r), with an
 * error of 2^-28.2. The last bits of `n` are the integer plus `bias`.
 */
function expParts(
  { keep, madd, nmadd, add, sub, mul, f, poly }: Lanes,
  x: Kept,
  bias: number,
): { p: Value; n: Kept } {
  const n = keep(madd(x, f(Math.LOG2E), f(ROUND + bias)));
  const steps = keep(sub(n, f(ROUND + bias)));
  const r = keep(nmadd(steps, f(LN2_LOW), nmadd(steps, f(LN2_HIGH), x)));
  const q = poly(r, [
    0.49999994,
    0.166665196,
    0.0416682884,
    0.0083688926,
    0.00138193916,
  ]);
  return { p: add(madd(mul(r, r), q, r), f(1)), n };
}

/** `e^x · 2^by`, of any x. */
function expTimes(lanes: Lanes, x: Value, by: number): Value {
  const bounded = lanes.keep(clamp(lanes, x, -105, 89.5));
  const { p, n } = expParts(lanes, bounded, TWO_BIASES + by);
  return scale(lanes, p, n);
}

/** `2^f` for |f| <= 0.5: 1 + f q(f), with an error of 2^-28.3. */
function exp2Fraction({ madd, poly, f }: Lanes, fraction: Kept): Value {
  const q = poly(fraction, [
    0.693147182,
    0.240226477,
    0.0555035956,
    0.00961849932,
    0.00133909693,
    0.00015329264,
  ]);
  return madd(fraction, q, f(1));
}

/** `e^x`. */
export function exp(lanes: Lanes): Value {
  return expTimes(lanes, lanes.x, 0);
}

/** `2^x`. */
export function exp2(lanes: Lanes): Value {
  const { keep, add, sub, f } = lanes;
  const bounded = keep(clamp(lanes, lanes.x, -151, 129));
  const n = keep(add(bounded, f(ROUND + TWO_BIASES)));
  const fraction = keep(sub(bounded, sub(n, f(ROUND + TWO_BIASES))));
  return scale(lanes, exp2Fraction(lanes, fraction), n);
}

/** Parts of positive numbers: `x = m 2^e` with m from √½ to √2 (f32) and e an integer (i32). */
interface Parts {
  readonly m: Kept;
  readonly e: Kept;
  /** An i32: whether all lanes were normal, positive and finite, so that nothing needs a remedy. */
  readonly plain: Value;
}

function split(
  { x, keep, assign, op, and, mul, where, when, shift, f, i, fn }: Lanes,
): Parts {
  const scaled = keep(x);
  const lift = keep(i(0));
  const plain = fn.local("i32");
  op(
    "i32x4.all_true",
    op(
      "i32x4.lt_u",
      op("i32x4.sub", x, i(MIN_NORMAL_BITS)),
      i(0x7f800000 - MIN_NORMAL_BITS),
    ),
  )();
  fn.set(plain);
  const isPlain = () => void fn.get(plain);
  when(op("i32.eqz", isPlain), () => {
    const tiny = keep(op("i32x4.lt_u", x, i(MIN_NORMAL_BITS)));
    assign(scaled, where(tiny, mul(x, f(2 ** 23)), x));
    assign(lift, and(tiny, i(23)));
  });
  const SQRT_HALF_BITS = 0x3f3504f3;
  const steps = keep(
    shift("i32x4.shr_s", op("i32x4.sub", scaled, i(SQRT_HALF_BITS)), 23),
  );
  return {
    m: keep(op("i32x4.sub", scaled, shift("i32x4.shl", steps, 23))),
    e: keep(op("i32x4.sub", steps, lift)),
    plain: isPlain,
  };
}

/**
 * A logarithm by its parts: `combine(f, rest, e)`, where ln m = f + rest, f = m - 1 and
 * rest = -f²/2 + f³ p(f), with an error of 2^-27.3 of ln m.
 */
function logarithm(
  lanes: Lanes,
  combine: (f: Kept, rest: Kept, e: Value) => Value,
): Value {
  const { x, keep, assign, op, sub, mul, madd, where, when, poly, f } = lanes;
  const { m, e, plain } = split(lanes);
  const t = keep(sub(m, f(1)));
  const square = keep(mul(t, t));
  const p = poly(t, [
    0.333333313,
    -0.250008196,
    0.200012416,
    -0.166234091,
    0.142015815,
    -0.131596133,
    0.127621993,
    -0.0763639957,
  ]);
  const rest = keep(madd(mul(square, t), p, mul(square, f(-0.5))));
  const result = keep(combine(t, rest, op("f32x4.convert_i32x4_s", e)));
  when(op("i32.eqz", plain), () => {
    assign(result, where(op("f32x4.gt", x, f(0)), result, f(NaN)));
    assign(result, where(op("f32x4.eq", x, f(0)), f(-Infinity), result));
    assign(result, where(op("f32x4.eq", x, f(Infinity)), x, result));
  });
  return result;
}

/** `ln x`: -Inf at 0, NaN below. */
export function log(lanes: Lanes): Value {
  const { add, madd, keep, f } = lanes;
  return logarithm(lanes, (t, rest, exponent) => {
    const e = keep(exponent);
    return madd(e, f(LN2_HIGH), add(t, madd(e, f(LN2_LOW), rest)));
  });
}

/** `log2 x`: -Inf at 0, NaN below. log2 e is taken as 1 + 0.44…, which loses less. */
export function log2(lanes: Lanes): Value {
  const { add, madd, mul, f } = lanes;
  const excess = f(Math.LOG2E - 1);
  return logarithm(
    lanes,
    (t, rest, e) =>
      add(add(add(madd(t, excess, mul(rest, excess)), rest), t), e),
  );
}

/**
 * `x^y = 2^(y log2 x)` for x >= 0, NaN below. The logarithm and its product with y are f64, as an
 * error of the exponent becomes a relative error of the result: log2 m = s p(s²) with
 * s = (m - 1)/(m + 1), with an error of 2^-37.8.
 */
export function pow(lanes: Lanes): Value {
  const { x, y, keep, assign, op, mul, where, when, upper, join, add, f, d } =
    lanes;
  const { m, e, plain } = split(lanes);
  /** Two lanes of the exponent `y log2 x`: its integer and what remains, as f64. */
  const half = (pick: (v: Kept) => Value) => {
    const wide = keep(op("f64x2.promote_low_f32x4", pick(m)));
    const s = keep(op(
      "f64x2.div",
      op("f64x2.sub", wide, d(1)),
      op("f64x2.add", wide, d(1)),
    ));
    const square = keep(op("f64x2.mul", s, s));
    const p = [
      2.8853900817900824,
      0.9617966733479695,
      0.5770835836280646,
      0.4116728060080978,
      0.3407283964343548,
    ].map(d).reduceRight((sum, c) =>
      op("f64x2.add", op("f64x2.mul", sum, square), c)
    );
    const log2 = op(
      "f64x2.add",
      op("f64x2.mul", s, p),
      op("f64x2.convert_low_i32x4_s", pick(e)),
    );
    const z = op("f64x2.mul", op("f64x2.promote_low_f32x4", pick(y)), log2);
    const bounded = keep(
      op("f64x2.pmin", op("f64x2.pmax", z, d(-151)), d(129)),
    );
    const n = keep(op("f64x2.nearest", bounded));
    return { n, fraction: keep(op("f64x2.sub", bounded, n)) };
  };
  const low = half((v) => v), high = half(upper);
  const joined = (a: Kept, b: Kept) =>
    join(
      op("f32x4.demote_f64x2_zero", a),
      op("f32x4.demote_f64x2_zero", b),
    );
  const fraction = keep(joined(low.fraction, high.fraction));
  const n = add(joined(low.n, high.n), f(ROUND + TWO_BIASES));
  const result = keep(scale(lanes, exp2Fraction(lanes, fraction), n));
  when(op("i32.eqz", plain), () => {
    const zero = keep(op("f32x4.eq", x, f(0)));
    // 0 and infinity: e^(±Inf), and 1 where y is 0
    const exponent = keep(mul(y, where(zero, f(-Infinity), x)));
    const limit = where(
      op("f32x4.eq", y, f(0)),
      f(1),
      op("f32x4.pmax", exponent, f(0)),
    );
    const atLimit = op("v128.or", zero, op("f32x4.eq", x, f(Infinity)));
    assign(result, where(atLimit, limit, result));
    // NaN from x < 0 and x = NaN
    assign(result, where(op("f32x4.ge", x, f(0)), result, f(NaN)));
  });
  return result;
}

/** `sinh x`: h - 1/(4h) with h = e^|x| / 2, which cannot overflow early; for |x| < 1 a polynomial, error 2^-31.6. */
export function sinh(lanes: Lanes): Value {
  const { x, keep, op, sub, div, mul, madd, where, withSign, poly, f } = lanes;
  const magnitude = keep(op("f32x4.abs", x));
  const h = keep(expTimes(lanes, magnitude, -1));
  const large = withSign(sub(h, div(f(0.25), h)), x);
  const square = keep(mul(x, x));
  const p = poly(square, [
    0.166666672,
    0.00833331048,
    0.000198428956,
    2.78221319e-06,
  ]);
  const small = madd(mul(x, square), p, x);
  return where(op("f32x4.lt", magnitude, f(1)), small, large);
}

/** `cosh x`: h + 1/(4h) with h = e^|x| / 2. */
export function cosh(lanes: Lanes): Value {
  const { x, keep, op, add, div, f } = lanes;
  const h = keep(expTimes(lanes, op("f32x4.abs", x), -1));
  return add(h, div(f(0.25), h));
}

/**
 * `tanh x = 1 - 2 / (e^2|x| + 1)` with the sign of x, 1 from 9.02 on; below 0.55, where that would
 * cancel, x + x³ p(x²), error 2^-29.7.
 */
export function tanh(lanes: Lanes): Value {
  const { x, keep, op, add, sub, mul, div, madd, shift, poly, f } = lanes;
  const magnitude = keep(op("f32x4.abs", x));
  const twice = keep(op("f32x4.pmin", add(magnitude, magnitude), f(20)));
  const { p, n } = expParts(lanes, twice, 127);
  const power = shift("i32x4.shl", n, 23);
  const large = sub(f(1), div(f(2), madd(p, power, f(1))));
  const square = keep(mul(x, x));
  const q = poly(square, [
    -0.333333164,
    0.133325458,
    -0.0538478494,
    0.0210524723,
    -0.00624599261,
  ]);
  const small = madd(mul(x, square), q, x);
  const isSmall = op("f32x4.lt", magnitude, f(0.55));
  return lanes.withSign(lanes.where(isSmall, small, large), x);
}
