import assert from "node:assert/strict";
import { checkWgsl } from "../../wgsl/check.ts";

/** The numbers to which an expression folds, as its type by default. */
function fold(expression: string): { type: string; values: number[] } {
  const source = `
    const bits = 0xff00ff00u;
    struct S { a: u32, b: vec3f }
    @compute @workgroup_size(1) fn main() { let x = ${expression}; }`;
  const [statement] = checkWgsl(source, { entryPoint: "main" }).entry.body;
  assert(statement?.op === "declare" && statement.value?.op === "literal");
  const { type, values } = statement.value;
  assert(type.kind === "scalar" || type.kind === "vector");
  return { type: type.scalar, values: [...values] };
}

const f = Math.fround;

/** Expressions and their values, by the type that they take by default. */
const KNOWN: Record<string, Record<string, number | number[]>> = {
  i32: {
    "1 + 2 * 3": 7,
    "-7 / 2": -3,
    "-7 % 3": -1,
    "7 % -3": 1,
    "1 << 30": 1 << 30,
    "-8 >> 1u": -4,
    "~5": -6,
    "(1 << 40) >> 38u": 4, // abstract integers have 64 bits
    "2147483647i + 1i": -2147483648, // concrete ones wrap
    "65536i * 65537i": 65536,
    "-(-2147483647i - 1i)": -2147483648,
    "i32(3.99)": 3,
    "i32(-3.99f)": -3,
    "i32(4294967295u)": -1,
    "i32(true)": 1,
    "bitcast<i32>(1.0)": 0x3f800000,
    "abs(-5)": 5,
    "clamp(7, 1, 5)": 5,
    "sign(-3)": -1,
    "min(3, -2i)": -2,
    "select(1, 2, 3 > 2)": 2,
    "vec3(1, 2, 3).zyx": [3, 2, 1],
    "dot(vec2(3, 4), vec2(5, 6))": 39,
    "array(7, 8, 9)[1]": 8,
    "extractBits(-1i, 4, 8)": -1,
    "firstLeadingBit(-8i)": 2,
    "dot4I8Packed(0xff020304u, 0x02010101u)": 7,
    "unpack4xI8(0x80ff017fu)": [127, 1, -1, -128],
    "0x7fffffff": 2147483647,
  },
  u32: {
    "1u - 2u": 4294967295,
    "0xffffffffu * 0xffffffffu": 1,
    "4000000000u / 3": 1333333333,
    "0xF0u >> 4": 15,
    "~0u": 4294967295,
    "bits & 0xffff": 0xff00,
    "bits ^ 0xffffffff": 0x00ff00ff,
    "u32(-1i)": 4294967295,
    "u32(-2.5f)": 0,
    "u32(1e20f)": 4294967040,
    "bitcast<u32>(-1i)": 4294967295,
    "bitcast<vec2u>(vec2f(1, -2))": [0x3f800000, 0xc0000000],
    "countOneBits(bits)": 16,
    "countLeadingZeros(1u)": 31,
    "countTrailingZeros(0u)": 32,
    "firstLeadingBit(0u)": 4294967295,
    "firstTrailingBit(8u)": 3,
    "reverseBits(1u)": 0x80000000,
    "extractBits(bits, 8, 12)": 0xff,
    "insertBits(0u, 0xffu, 28, 8)": 0xf0000000,
    "pack4x8unorm(vec4f(0, 0.5, 1, 2))": 0xffff8000,
    "pack4x8snorm(vec4f(0, -1, 1, 0.5))": 0x407f8100,
    "pack2x16float(vec2f(1, -2))": 0xc0003c00,
    "pack2x16snorm(vec2f(1, -1))": 0x80017fff,
    "pack4xU8Clamp(vec4u(1, 300, 3, 4))": 0x0403ff01,
    "dot4U8Packed(0x01020304u, 0x01010101u)": 10,
    "S(7, vec3f()).a": 7,
  },
  f32: {
    "1.0 / 3.0": f(1 / 3),
    "1f / 3f": f(1 / 3),
    "16777216f + 1f - 16777216f": 0, // f32 is rounded at every step
    "16777216.0 + 1.0 - 16777216.0": 1, // an abstract float only at the end
    "0.1f * 0.1f": f(f(0.1) * f(0.1)),
    "5.5 % -2": 1.5,
    "1 / 2.0": 0.5,
    "0x1.8p1": 3,
    "0x.8": 0.5,
    "1e-3": f(0.001),
    "f32(16777217)": 16777216,
    "f32(4294967295u)": 4294967296,
    "round(2.5)": 2,
    "round(vec4(-2.5, 3.5, -0.4, 0.5))": [-2, 4, -0, 0],
    "fract(-0.25)": 0.75,
    "trunc(-1.5)": -1,
    "smoothstep(0, 2, 1)": 0.5,
    "mix(vec2(0.0, 2), vec2(4, 6), 0.25)": [1, 3],
    "step(vec2(1.0), vec2(0.5, 1))": [0, 1],
    "saturate(3.0)": 1,
    "inverseSqrt(4.0)": 0.5,
    "fma(2.0, 3.0, 4.0)": 10,
    "ldexp(3.0, 4)": 48,
    "degrees(radians(90.0))": 90,
    "length(vec2f(3, 4))": 5,
    "distance(vec2f(1, 1), vec2f(4, 5))": 5,
    "normalize(vec2f(0, 4))": [0, 1],
    "cross(vec3f(1, 0, 0), vec3f(0, 1, 0))": [0, 0, 1],
    "sqrt(2.0)": f(Math.SQRT2),
    "max(1, 2.5)": 2.5,
    "vec4f(vec2(1), vec2<f32>(2, 3)).wzyx": [3, 2, 1, 1],
    "vec3f(1) * 2 + vec3(1, 2, 3)": [3, 4, 5],
    "mat2x2f(1, 2, 3, 4)[1]": [3, 4],
    "unpack4x8unorm(0xff0000ffu)": [1, 0, 0, 1],
    "unpack2x16float(0xc0003c00u)": [1, -2],
    "bitcast<f32>(0x40490fdbu)": f(Math.PI),
  },
  bool: {
    "1 < 2 && !(3.0 >= 4.0)": 1,
    "false && 1u / 1u == 2u": 0,
    "vec2(1, 2) == vec2(1, 3)": [1, 0],
    "all(vec2(true, false))": 0,
    "any(vec2(true, false)) | false": 1,
    "bool(0.0) != true": 1,
  },
};

for (const [type, cases] of Object.entries(KNOWN)) {
  Deno.test(`checkWgsl() folds constants of ${type}`, () => {
    for (const [expression, want] of Object.entries(cases)) {
      assert.deepEqual(
        fold(expression),
        { type, values: [want].flat() },
        expression,
      );
    }
  });
}

Deno.test("checkWgsl() refuses constants that have no value", () => {
  for (
    const [expression, message] of [
      ["1 / 0", /divided by zero/],
      ["1u % 0u", /divided by zero/],
      ["(-2147483647i - 1i) / -1i", /overflows i32/],
      ["1.0 / 0.0", /must be finite/],
      ["1e30f * 1e30f", /must be finite/],
      ["1e39f", /must be finite/],
      ["sqrt(-1.0)", /must be finite/],
      ["log(0.0)", /must be finite/],
      ["bitcast<f32>(0x7fc00000u)", /must be finite/],
      ["2147483648", /does not fit i32/],
      ["-1 + 0u", /does not fit u32/],
      ["u32(-1)", /does not fit u32/],
      ["4294967296u", /does not fit u32/],
      ["0x7fffffffffffffff + 1", /does not fit 64 bits/],
      ["1u << 32", /shift by 32/],
      ["3u << 31", /loses bits/],
      ["array(1, 2)[2]", /Index 2 of/],
      ["vec2(1, 2)[-1]", /Index -1 of/],
      ["012", /begins with 0/],
      ["1.0h", /f16/],
    ] as const
  ) assert.throws(() => fold(expression), { name: "WgslError", message });
});
