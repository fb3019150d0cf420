/**
 * The built-in functions of WGSL in terms of the few that the machine code knows.
 *
 * @module
 */
import {
  binary,
  type BinaryName,
  bitcast,
  constant,
  convert,
  type Expr,
  join,
  lanesOf,
  MATH_FUNCTIONS,
  select,
  splat,
  u32,
  unary,
  type UnaryName,
} from "./ir.ts";

/** Functions that are there already. */
const SAME: ReadonlySet<string> = new Set<UnaryName>([
  "abs",
  "ceil",
  "floor",
  "trunc",
  "round",
  "sqrt",
  ...MATH_FUNCTIONS,
  "countOneBits",
  "countLeadingZeros",
  "countTrailingZeros",
  "reverseBits",
  "pack2x16float",
  "unpack2x16float",
  "all",
  "any",
]);

const add = (a: Expr, b: Expr) => binary("add", a, b);
const sub = (a: Expr, b: Expr) => binary("sub", a, b);
const mul = (a: Expr, b: Expr) => binary("mul", a, b);
const div = (a: Expr, b: Expr) => binary("div", a, b);
const min = (a: Expr, b: Expr) => binary("min", a, b);
const max = (a: Expr, b: Expr) => binary("max", a, b);
const like = (e: Expr, value: number) => constant(e.shape, value);

/** The lanes of a vector, one by one. */
function lanes(e: Expr): Expr[] {
  return Array.from({ length: e.shape.width }, (_, i) => lanesOf(e, [i]));
}

/** Lanes added in pairs, as (x + y) + (z + w). */
function sumOf(e: Expr): Expr {
  const [x, y, z, w] = lanes(e);
  if (!y) return x!;
  if (!z) return add(x!, y);
  return add(add(x!, y), w ? add(z, w) : z);
}

function dot(a: Expr, b: Expr): Expr {
  return sumOf(mul(a, b));
}

const clamp = (e: Expr, low: Expr, high: Expr) => min(max(e, low), high);

/** `f` on the bytes of a word, lowest first. */
function bytes(word: Expr): Expr[] {
  return [0, 8, 16, 24].map((shift) =>
    binary("and", binary("shr", word, u32(shift)), u32(255))
  );
}

/** Signed bytes of a word. */
function signedBytes(word: Expr): Expr[] {
  const signed = bitcast(word, "i32");
  return [24, 16, 8, 0].map((shift) =>
    binary(
      "shr",
      binary("shl", signed, constant({ kind: "u32", width: 1 }, shift)),
      constant({ kind: "u32", width: 1 }, 24),
    )
  );
}

/** Words of `bits` bits side by side, the first lowest. */
function packed(parts: readonly Expr[], bits: number): Expr {
  const mask = u32(2 ** bits - 1);
  return parts.map((part, i) =>
    binary("shl", binary("and", bitcast(part, "u32"), mask), u32(bits * i))
  ).reduce((a, b) => binary("or", a, b));
}

/** `round(scale * clamp(e, low, 1))`, as integers of the kind. */
function normalized(
  e: Expr,
  low: number,
  scale: number,
  kind: "i32" | "u32",
): Expr[] {
  const limited = clamp(e, like(e, low), like(e, 1));
  const scaled = unary(
    "floor",
    add(like(e, 0.5), mul(limited, like(e, scale))),
  );
  return lanes(convert(scaled, kind));
}

/** Sixteen bits of a word as a number, with their sign. */
function halves(word: Expr, signed: boolean): Expr[] {
  const shift = (e: Expr, name: BinaryName, by: number) =>
    binary(name, e, u32(by));
  if (!signed) {
    return [binary("and", word, u32(0xffff)), shift(word, "shr", 16)];
  }
  const s = bitcast(word, "i32");
  return [shift(shift(s, "shl", 16), "shr", 16), shift(s, "shr", 16)];
}

const floats = (parts: readonly Expr[]) =>
  join(parts.map((part) => convert(part, "f32")));

/**
 * A built-in function of values that each are cheap to use twice; null if it is not known.
 */
export function builtin(name: string, args: readonly Expr[]): Expr | null {
  const [a, b, c] = args as [Expr, Expr, Expr];
  if (SAME.has(name)) {
    if (name === "abs" && a.shape.kind === "u32") return a;
    return unary(name as UnaryName, a);
  }
  switch (name) {
    case "min":
    case "max":
    case "pow":
    case "atan2":
      return binary(name, a, b);
    case "fma":
      return { op: "fma", shape: a.shape, a, b, c };
    case "select":
      return select(c, b, a);
    case "clamp":
      return clamp(a, b, c);
    case "saturate":
      return clamp(a, like(a, 0), like(a, 1));
    case "mix":
      return add(mul(a, sub(like(c, 1), c)), mul(b, c));
    case "step":
      return select(binary("le", a, b), like(a, 1), like(a, 0));
    case "smoothstep": {
      const t = clamp(div(sub(c, a), sub(b, a)), like(a, 0), like(a, 1));
      return mul(mul(t, t), sub(like(a, 3), mul(like(a, 2), t)));
    }
    case "sign": {
      const zero = like(a, 0);
      return select(
        binary("gt", a, zero),
        like(a, 1),
        select(binary("lt", a, zero), like(a, -1), zero),
      );
    }
    case "fract":
      return sub(a, unary("floor", a));
    case "degrees":
      return mul(a, like(a, 180 / Math.PI));
    case "radians":
      return mul(a, like(a, Math.PI / 180));
    case "inverseSqrt":
      return div(like(a, 1), unary("sqrt", a));
    case "ldexp": {
      // In two steps, as 2^b alone may be out of range.
      const half = binary("shr", b, constant({ ...b.shape, kind: "u32" }, 1));
      const power = (e: Expr) =>
        bitcast(
          binary(
            "shl",
            add(
              clamp(e, like(e, -126), like(e, 127)),
              like(e, 127),
            ),
            constant({ ...e.shape, kind: "u32" }, 23),
          ),
          "f32",
        );
      return mul(mul(a, power(half)), power(sub(b, half)));
    }
    case "dot":
      return dot(a, b);
    case "length":
      return a.shape.width === 1 ? unary("abs", a) : unary("sqrt", dot(a, a));
    case "distance": {
      const d = sub(a, b);
      return d.shape.width === 1 ? unary("abs", d) : unary("sqrt", dot(d, d));
    }
    case "normalize":
      return div(a, splat(unary("sqrt", dot(a, a)), a.shape.width));
    case "cross":
      return sub(
        mul(lanesOf(a, [1, 2, 0]), lanesOf(b, [2, 0, 1])),
        mul(lanesOf(a, [2, 0, 1]), lanesOf(b, [1, 2, 0])),
      );
    case "firstLeadingBit": {
      const kind = a.shape.kind;
      const bits = kind === "i32"
        ? bitcast(
          select(binary("lt", a, like(a, 0)), unary("not", a), a),
          "u32",
        )
        : a;
      // 31 - 32 = -1 where no bit is set.
      return bitcast(
        sub(like(bits, 31), unary("countLeadingZeros", bits)),
        kind,
      );
    }
    case "firstTrailingBit":
      return select(
        binary("eq", a, like(a, 0)),
        constant(a.shape, a.shape.kind === "u32" ? 0xffffffff : -1),
        unary("countTrailingZeros", a),
      );
    case "extractBits": {
      const word = like(b, 32), offset = min(b, word);
      const count = min(c, sub(word, offset));
      const top = sub(word, add(offset, count));
      const value = binary("shr", binary("shl", a, top), sub(word, count));
      return select(binary("eq", count, like(b, 0)), like(a, 0), value);
    }
    case "insertBits": {
      const word = like(c, 32), offset = min(c, word);
      const count = min(args[3]!, sub(word, offset));
      const ones = select(
        binary("eq", count, word),
        like(c, 0xffffffff),
        sub(binary("shl", like(c, 1), count), like(c, 1)),
      );
      const mask = bitcast(binary("shl", ones, offset), a.shape.kind);
      return select(
        binary("eq", count, like(c, 0)),
        a,
        binary(
          "or",
          binary("and", a, unary("not", mask)),
          binary("and", binary("shl", b, offset), mask),
        ),
      );
    }
    case "pack4x8snorm":
      return packed(normalized(a, -1, 127, "i32"), 8);
    case "pack4x8unorm":
      return packed(normalized(a, 0, 255, "u32"), 8);
    case "pack2x16snorm":
      return packed(normalized(a, -1, 32767, "i32"), 16);
    case "pack2x16unorm":
      return packed(normalized(a, 0, 65535, "u32"), 16);
    case "pack4xI8":
    case "pack4xU8":
      return packed(lanes(a), 8);
    case "pack4xI8Clamp":
      return packed(lanes(clamp(a, like(a, -128), like(a, 127))), 8);
    case "pack4xU8Clamp":
      return packed(lanes(min(a, like(a, 255))), 8);
    case "unpack4x8snorm": {
      const v = floats(signedBytes(a));
      return max(mul(v, like(v, 1 / 127)), like(v, -1));
    }
    case "unpack4x8unorm": {
      const v = floats(bytes(a));
      return mul(v, like(v, 1 / 255));
    }
    case "unpack2x16snorm": {
      const v = floats(halves(a, true));
      return max(mul(v, like(v, 1 / 32767)), like(v, -1));
    }
    case "unpack2x16unorm": {
      const v = floats(halves(a, false));
      return mul(v, like(v, 1 / 65535));
    }
    case "unpack4xI8":
      return join(signedBytes(a));
    case "unpack4xU8":
      return join(bytes(a));
    case "dot4U8Packed":
      return sumOf(mul(join(bytes(a)), join(bytes(b))));
    case "dot4I8Packed":
      return sumOf(mul(join(signedBytes(a)), join(signedBytes(b))));
    default:
      return null;
  }
}
