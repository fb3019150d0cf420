/**
 * What WGSL does with integers and halves and WebAssembly has no instruction for, on four lanes.
 *
 * @module
 */
import type { Kept, Lanes, Value } from "./math_lanes.ts";

/**
 * Quotients of i32 or u32, by f64: it holds both exactly, and its quotient, rounded towards zero,
 * is the integer's, since no quotient is nearer to the next integer than 2^-32 of its size. Where
 * WGSL says that the quotient is the dividend (a zero divisor, or the lowest i32 over -1), 1 divides.
 *
 * @param sign `s` or `u`.
 * @param rest Whether the remainder is wanted, `x - y · quotient`: 0 where 1 divides.
 */
function quotient(lanes: Lanes, sign: "s" | "u", rest: boolean): Value {
  const { x, y, keep, op, and, where, upper, join, i } = lanes;
  const isZero = op("i32x4.eq", y, i(0));
  const overflows = and(
    op("i32x4.eq", x, i(0x80000000)),
    op("i32x4.eq", y, i(-1)),
  );
  const byOne = sign === "s" ? op("v128.or", isZero, overflows) : isZero;
  const divisor = keep(where(byOne, i(1), y));
  const half = (pick: (v: Kept) => Value) => {
    const wide = (v: Kept) => op(`f64x2.convert_low_i32x4_${sign}`, pick(v));
    return op(
      `i32x4.trunc_sat_f64x2_${sign}_zero`,
      op("f64x2.div", wide(x), wide(divisor)),
    );
  };
  const result = join(half((v) => v), half(upper));
  return rest ? op("i32x4.sub", x, op("i32x4.mul", divisor, result)) : result;
}

/** `x / y` of i32: x if y is 0, and the lowest i32 over -1 is itself. */
export function divI32(lanes: Lanes): Value {
  return quotient(lanes, "s", false);
}

/** `x / y` of u32: x if y is 0. */
export function divU32(lanes: Lanes): Value {
  return quotient(lanes, "u", false);
}

/** `x % y` of i32, with the sign of x: 0 if y is 0. */
export function remI32(lanes: Lanes): Value {
  return quotient(lanes, "s", true);
}

/** `x % y` of u32: 0 if y is 0. */
export function remU32(lanes: Lanes): Value {
  return quotient(lanes, "u", true);
}

/** `x % y` of f32 as WGSL has it, `x - y trunc(x / y)`. Each step is rounded, with relaxed SIMD too. */
export function remF32({ x, y, op, sub, mul, div }: Lanes): Value {
  return sub(x, mul(y, op("f32x4.trunc", div(x, y))));
}

/** How many bits of each integer are set. */
export function countOneBits({ x, op }: Lanes): Value {
  return ones(op, x);
}

function ones(op: Lanes["op"], x: Value): Value {
  return op(
    "i32x4.extadd_pairwise_i16x8_u",
    op("i16x8.extadd_pairwise_i8x16_u", op("i8x16.popcnt", x)),
  );
}

/** How many zeros stand above the highest set bit; 32 of 0. All bits below it are set to count the rest. */
export function countLeadingZeros({ x, op, keep, shift }: Lanes): Value {
  let smeared = x;
  for (const by of [1, 2, 4, 8, 16]) {
    smeared = keep(op("v128.or", smeared, shift("i32x4.shr_u", smeared, by)));
  }
  return ones(op, op("v128.not", smeared));
}

/** How many zeros stand below the lowest set bit; 32 of 0: the ones of `(x - 1) & ~x`. */
export function countTrailingZeros({ x, op, i }: Lanes): Value {
  return ones(op, op("v128.andnot", op("i32x4.sub", x, i(1)), x));
}

/** The bits from the last to the first: bytes are swapped, halves of bytes looked up. */
export function reverseBits({ x, fn, keep, op, shift, shuffle }: Lanes): Value {
  const swapped = keep(
    shuffle([3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12], x, x),
  );
  const reversed = keep(() =>
    void fn.v128([0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15])
  );
  const low = op("v128.and", swapped, () => void fn.v128(Array(16).fill(15)));
  const high = shift("i8x16.shr_u", swapped, 4);
  return op(
    "v128.or",
    shift("i8x16.shl", op("i8x16.swizzle", reversed, low), 4),
    op("i8x16.swizzle", reversed, high),
  );
}

/**
 * Halves (binary16) of four f32, in the low bits of each lane: rounded to nearest even, subnormals
 * too, infinite from 65520; every NaN becomes 0x7e00 with its sign.
 */
export function toHalf(
  { x, keep, op, add, and, where, shift, f, i }: Lanes,
): Value {
  const magnitude = keep(and(x, i(0x7fffffff)));
  const sign = shift("i32x4.shr_u", op("v128.xor", x, magnitude), 16);
  // rounds 13 bits away and moves the exponent's bias from 127 to 15
  const odd = and(shift("i32x4.shr_u", magnitude, 13), i(1));
  const moved = op("i32x4.add", magnitude, i(0xfff - (112 << 23)));
  const normal = shift("i32x4.shr_u", op("i32x4.add", moved, odd), 13);
  // adding 0.5, whose last bit is worth 2^-24 as a subnormal half's, rounds there
  const tiny = op("i32x4.sub", add(magnitude, f(0.5)), i(0x3f000000));
  const isTiny = op("i32x4.lt_s", magnitude, i(113 << 23));
  const finite = where(isTiny, tiny, normal);
  const huge = where(
    op("i32x4.gt_s", magnitude, i(0x7f800000)),
    i(0x7e00),
    i(0x7c00),
  );
  const isHuge = op("i32x4.ge_s", magnitude, i(0x477ff000)); // 65520
  return op("v128.or", where(isHuge, huge, finite), sign);
}

/** The f32 of four halves in the low bits of each lane, exactly; the upper bits do not matter. */
export function fromHalf(
  { x, keep, op, mul, and, where, shift, f, i }: Lanes,
): Value {
  const moved = keep(shift("i32x4.shl", and(x, i(0x7fff)), 13));
  const sign = shift("i32x4.shl", and(x, i(0x8000)), 16);
  const finite = mul(moved, f(2 ** 112)); // the bias; a subnormal half is a subnormal f32 here
  const special = op("v128.or", moved, i(0x7f800000)); // infinity and NaN
  const isSpecial = op("i32x4.ge_s", moved, i(0x7c00 << 13));
  return op("v128.or", where(isSpecial, special, finite), sign);
}
