import assert from "node:assert/strict";
import { compileWgsl } from "../../wgsl/compile.ts";
import type { CompileOptions } from "../../wgsl/kernel_abi.ts";
import { hasRelaxedSimd } from "../../wgsl/wasm.ts";
import { run } from "./_run.ts";

/** One invocation at a time and four, with fused multiply-add and without. */
const FORMS: Pick<CompileOptions, "lanes" | "relaxed">[] = [false, true]
  .flatMap((lanes) =>
    (hasRelaxedSimd() ? [false, true] : [false]).map((relaxed) => ({
      lanes,
      relaxed,
    }))
  );

const HEAD = `
struct P { n: u32, i: i32, f: f32, g: f32 }
struct S { a: f32, b: vec3i, c: array<u32, 3> }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<i32>;
@group(0) @binding(3) var<storage, read> y: array<vec4f>;
var<private> seed: u32 = 7u;
var<private> table: array<u32, 4>;
fn next() -> u32 { seed = seed * 3u + 1u; return seed; }
fn bump(q: ptr<function, u32>, by: u32) -> u32 { *q += by; return *q; }
fn put(q: ptr<function, array<u32, 3>>, i: u32, v: u32) { (*q)[i] = v; }
fn early(v: u32) -> u32 { if v > 2u { return 9u; } seed += 1u; return v; }
fn kind(v: u32) -> u32 {
  for (var k = 0u; k < 5u; k++) { if k * k == v { return k; } }
  return 77u;
}
`;
// What is compiled is not known before: n = 3, i = -5, f = 2.5, g = -0.75.
const UNIFORM = new Uint32Array([3, -5, 0, 0]);
new Float32Array(UNIFORM.buffer).set([2.5, -0.75], 2);
const X = Int32Array.of(10, -20, 30, -40, 50, -60, 70, 2 ** 31 - 1);
const Y = Float32Array.from({ length: 16 }, (_, i) => i / 2);

/** The words that eight invocations of `body` leave, one row of `columns` words each. */
function rows(
  body: string,
  options: Partial<CompileOptions>,
  columns: number,
): number[][] {
  const source = `${HEAD}@compute @workgroup_size(8) fn main(
    @builtin(local_invocation_index) lane: u32) { let n = p.n; let i = p.i;
    let f = p.f; let at = lane * ${columns}u; ${body} }`;
  const buffers = { out: new Uint32Array(8 * columns), x: X, y: Y };
  const { out } = run(source, { buffers, uniform: UNIFORM }, options);
  return Array.from(
    { length: 8 },
    (_, i) => [...out.subarray(i * columns, (i + 1) * columns)],
  );
}

const bits = (value: number) => {
  const [word] = new Uint32Array(Float32Array.of(value).buffer);
  return word!;
};

/** Expressions, alike in all invocations, and their values; of floats their bits are compared. */
const VALUES: Record<string, [expression: string, value: number][]> = {
  "integers as they wrap": [
    ["n - 4u", 0xffffffff],
    ["n * 0x80000001u", 0x80000003],
    ["u32(i * 0x40000000)", 0xc0000000],
    ["u32(-i)", 5],
    ["u32(-(i32(n) - 3 + i32(-2147483648)))", 0x80000000],
    ["~n", 0xfffffffc],
    ["(n ^ 5u) | (n & 2u)", 6],
    ["u32(abs(i32(-2147483648) + i32(n) - 3))", 0x80000000],
  ],
  "division by zero and past the range": [
    ["n / (n - 3u)", 3],
    ["n % (n - 3u)", 0],
    ["u32(i / (i + 5))", 0xfffffffb],
    ["u32(i % (i + 5))", 0],
    ["u32((i32(n) + i32(-2147483648) - 3) / (i + 4))", 0x80000000],
    ["u32((i32(n) + i32(-2147483648) - 3) % (i + 4))", 0],
    ["u32(i / 2)", 0xfffffffe],
    ["u32(i % 2)", 0xffffffff],
    ["u32((vec2i(i) / vec2i(0, 2)).x)", 0xfffffffb],
    ["(vec3u(n, 7, 9) % (vec3u(n) - 3u)).y", 0],
    ["n / 2u + n % 2u * 10u", 11],
  ],
  "shifts by more than a word": [
    ["1u << (n + 29u)", 1],
    ["2u << (n + 30u)", 4],
    ["0x80000000u >> (n + 28u)", 1],
    ["u32(i >> (n + 28u))", 0xffffffff],
    ["u32(i >> 1u)", 0xfffffffd],
    ["u32((vec2i(i) >> vec2u(1u, n)).y)", 0xffffffff],
    ["(vec4u(1) << vec4u(n, n + 1, n + 2, 33)).z", 32],
  ],
  "conversions, which saturate": [
    ["u32(f)", 2],
    ["u32(-f)", 0],
    ["u32(i32(-f))", 0xfffffffe],
    ["u32(i32(f * 1e10) < 2147483520)", 0],
    ["u32(i32(f * -1e10))", 0x80000000],
    ["u32(u32(f * 1e10) < 4294967040u)", 0],
    ["u32(bool(n)) + u32(bool(f)) * 2u + u32(bool(n - 3u)) * 4u", 3],
    ["bitcast<u32>(f32(u32(i)))", bits(4294967291)],
    ["bitcast<u32>(f32(i))", bits(-5)],
    ["bitcast<u32>(f32(n > 2u))", bits(1)],
    ["bitcast<u32>(vec3f(vec3i(i, 2, 3)).x)", bits(-5)],
    ["vec2u(vec2f(f, -f)).x * 10u + vec2u(vec2f(-f, f)).x", 20],
    ["u32(vec4i(vec4<bool>(true, false, n > 5u, n < 5u)).w)", 1],
  ],
  "floats, rounded to 24 bits": [
    ["bitcast<u32>(f + 0.1)", bits(Math.fround(2.5 + Math.fround(0.1)))],
    [
      "bitcast<u32>(f * 1.1 - 1e-3)",
      (() => {
        const product = Math.fround(2.5 * Math.fround(1.1));
        return bits(product - Math.fround(1e-3));
      })(),
    ],
    ["bitcast<u32>(1.0 / (f + 0.5))", bits(1 / 3)],
    ["bitcast<u32>(f * 16777217.0)", bits(2.5 * 16777216)],
    ["bitcast<u32>(-f % 2.0)", bits(-0.5)],
    ["bitcast<u32>(round(f) + round(f + 1.0) * 16.0)", bits(2 + 4 * 16)],
    ["bitcast<u32>(round(vec2f(-f)).y)", bits(-2)],
    ["bitcast<u32>(sign(p.g) + fract(p.g) * 8.0)", bits(1)],
    ["bitcast<u32>(min(f, p.g) + max(f, p.g) * 4.0)", bits(9.25)],
    ["bitcast<u32>(clamp(p.g, -0.5, f) + saturate(f))", bits(0.5)],
    ["bitcast<u32>(mix(f, p.g, 0.5))", bits(0.875)],
    ["bitcast<u32>(fma(f, f, p.g))", bits(5.5)],
    ["bitcast<u32>(step(f, 2.5) + trunc(-f) + floor(-f) + ceil(-f))", bits(-6)],
    ["bitcast<u32>(ldexp(f, i) * 32.0)", bits(2.5)],
  ],
  "bits": [
    ["countOneBits(n) + countLeadingZeros(n) * 16u", 2 + 30 * 16],
    ["countTrailingZeros(n << 4u) + countTrailingZeros(n - 3u) * 8u", 260],
    ["firstLeadingBit(n) + firstTrailingBit(n + 1u) * 16u", 33],
    ["u32(firstLeadingBit(i))", 2],
    ["firstLeadingBit(n - 3u)", 0xffffffff],
    ["reverseBits(n)", 0xc0000000],
    ["extractBits(0xabcdu, n, 7u)", 0x79],
    ["u32(extractBits(i, 1u, 2u))", 1],
    ["u32(extractBits(vec2i(i, 12), n - 1u, 2u).y)", 0xffffffff],
    ["extractBits(n, 2u, n - 3u)", 0],
    ["extractBits(0xf0000000u, 28u + n - 3u, n + 29u)", 15],
    ["insertBits(0u, 0xffu, n, 4u)", 0x78],
    ["insertBits(vec3u(n), vec3u(1), 4u, n).z", 0x13],
    ["insertBits(n, 9u, n - 3u, n + 29u)", 9],
    ["pack4x8unorm(vec4f(f, -f, 0.5, p.g))", 0x008000ff],
    [
      "bitcast<u32>(unpack2x16float(pack2x16float(vec2f(f, p.g))).y)",
      bits(-0.75),
    ],
    ["u32(dot4I8Packed(0x01ff02feu, n * 0x01010101u))", 0],
    ["u32(unpack4xI8(u32(i)).x) + unpack4xU8(n << 8u).y", 0xfffffffe],
  ],
  "vectors": [
    ["vec4u(1, 2, 3, n).wzyx.y", 3],
    ["dot(vec3u(1, 2, n), vec3u(4, 5, 6))", 32],
    ["u32(dot(vec4i(i), vec4i(1, 2, 3, 4)))", 0xffffffff - 49],
    ["vec4u(5, 6, 7, 8)[n]", 8],
    ["vec2u(5, 6)[n]", 6],
    ["u32(any(vec3<bool>(n < 3u))) + u32(all(vec2<bool>(n == 3u))) * 2u", 2],
    ["u32(all(vec3u(1, 2, 3) < vec3u(n)))", 0],
    ["u32(any(!(vec3u(1, 2, 3) < vec3u(n))))", 1],
    ["select(vec3u(1), vec3u(2), vec3u(3, 4, 3) == vec3u(n)).y", 1],
    ["select(vec2u(1), vec2u(2), n == 3u).y", 2],
    ["(vec4<bool>(true, false, true, false) & (vec4u(n) == vec4u(3))).z", 1],
    ["bitcast<u32>(length(vec2f(3.0, f + 1.5)))", bits(5)],
    ["bitcast<u32>(cross(vec3f(1, 0, 0), vec3f(0, f, 0)).z)", bits(2.5)],
    ["bitcast<u32>(normalize(vec2f(0, f)).y)", bits(1)],
    ["bitcast<u32>(y[1].z + y[n - 1u].w)", bits(3 + 5.5)],
    ["bitcast<u32>((mat2x2f(1, 2, 3, 4) * vec2f(f, 1)).y)", bits(9)],
  ],
};
for (const [what, cases] of Object.entries(VALUES)) {
  Deno.test(`compileWgsl() computes ${what}`, () => {
    const body = cases.map(([e], i) => {
      const word = e.startsWith("(vec4<bool>") ? `u32(${e})` : e;
      return `out[at + ${i}u] = ${word};`;
    }).join("\n");
    for (const options of FORMS) {
      for (const row of rows(body, options, cases.length)) {
        assert.deepEqual(
          cases.map(([e], i) => [e, row[i]]),
          cases.map(([e, value]) => [e, value >>> 0]),
        );
      }
    }
  });
}

/** Statements, and the words that invocation `lane` is left with. */
const BODIES: Record<
  string,
  [body: string, words: (lane: number) => number[]][]
> = {
  "loops": [
    ["for (var k = 0u; k < lane; k++) { out[at] += k; }", (lane) => [
      lane * (lane - 1) / 2,
    ]],
    // A counter that grows by itself, and one that the bound depends on.
    ["for (var k = 1u; k < 20u; k += k) { out[at] += k; }", () => [31]],
    ["for (var k = 0u; k < 8u - k; k++) { out[at] += 1u; }", () => [4]],
    ["for (var k = i; k <= 0; k += 2) { out[at] += u32(-k); }", () => [9]],
    ["for (var k = 9u; k > lane; k -= 1u) { out[at] += 1u; }", (lane) => [
      9 - lane,
    ]],
    ["var k = lane; while k > 2u { k -= 2u; out[at]++; } out[at] += k * 10u;", (
      lane,
    ) => {
      const rounds = Math.max(0, Math.ceil((lane - 2) / 2));
      return [rounds + 10 * (lane - 2 * rounds)];
    }],
    [
      "var k = 0u; loop { if k == 3u { continue; } out[at] += k; " +
      "continuing { k++; break if k > lane; } }",
      (lane) => [[0, 1, 3, 3, 7, 12, 18, 25][lane]!],
    ],
    [
      "for (var a = 0u; a < 5u; a++) { if a == lane { continue; } " +
      "for (var b = 0u; b < 4u; b++) { if b == 2u { break; } " +
      "if b == lane { continue; } out[at] += 1u; } if a == 3u { break; } }",
      (lane) => {
        let count = 0;
        for (let a = 0; a < 5; a++) {
          if (a === lane) continue;
          for (let b = 0; b < 2; b++) if (b !== lane) count++;
          if (a === 3) break;
        }
        return [count];
      },
    ],
  ],
  "switches": [
    [
      "switch lane { case 0u, 3u: { out[at] = 5u; } default: { out[at] = 6u; } " +
      "case 4u: { if n == 3u { break; } out[at] = 7u; } }",
      (lane) => [lane === 0 || lane === 3 ? 5 : lane === 4 ? 0 : 6],
    ],
    [
      "for (var k = 0u; k < 6u; k++) { switch i32(k) - 1 { case -1: { continue; } " +
      "case 2, default: { break; } case 1: { out[at] += 10u; } } out[at] += 1u; }",
      () => [15],
    ],
  ],
  "ways out": [
    ["if lane > 5u { return; } out[at] = 1u;", (lane) => [lane > 5 ? 0 : 1]],
    ["out[at] = 2u; if lane > 5u { return; } out[at] = 1u;", (lane) => [
      lane > 5 ? 2 : 1,
    ]],
    [
      "for (var k = 0u; k < 9u; k++) { out[at] += k; if k == lane { return; } } out[at] = 0u;",
      (lane) => [lane * (lane + 1) / 2],
    ],
    ["out[at] = early(lane) + seed * 100u;", (lane) => [
      lane > 2 ? 709 : lane + 800,
    ]],
    [
      "out[at] = kind(lane * n);",
      (lane) => [lane === 0 ? 0 : lane === 3 ? 3 : 77],
    ],
    ["{ let a = lane; { let a = 5u; out[at] = a; } out[at] += a; }", (lane) => [
      5 + lane,
    ]],
  ],
  "values in the order in which they are written": [
    ["out[at] = seed + next() * 100u + seed * 10000u;", () => [222207]],
    ["var k = 1u; out[at] = k + bump(&k, 2u) * 10u + k * 100u;", () => [331]],
    ["var k = 1u; k += bump(&k, 5u); out[at] = k;", () => [7]],
    ["out[at] = (vec3u(next()).zy)[n - 2u] + seed * 100u;", () => [2222]],
    ["if next() == 22u && next() == 67u { out[at] = seed; }", () => [67]],
    ["if n == 9u && next() == 22u { } out[at] = seed;", () => [7]],
    ["if n == 3u || next() == 22u { } out[at] = seed;", () => [7]],
    ["table[seed % 4u] = next(); out[at] = table[3];", () => [22]],
    [
      "var k = 0u; var a = array<u32, 3>(4, 5, 6); out[at] = a[bump(&k, 1)] + k;",
      () => [
        6,
      ],
    ],
    [
      "var k = 0u; var a = vec3u(4, 5, 6); out[at] = a[k] + (a * 2u)[bump(&k, 1)];",
      () => [
        14,
      ],
    ],
    [
      "out[at] = select(1u, 2u, early(lane) == 9u) + seed;",
      (lane) => [lane > 2 ? 9 : 9],
    ],
  ],
  "what four invocations do under masks": [
    // The condition changes in what it decides; lanes change places.
    [
      "var c = lane > 2u; var k = 0u; if c { c = false; k = 5u; } else { c = true; k += 1u; } " +
      "out[at] = k + u32(c) * 10u;",
      (lane) => [lane > 2 ? 5 : 11],
    ],
    [
      "var v = vec2u(lane, 7u); v = v.yx; v = vec2u(v.y, v.x + 1u); out[at] = v.x * 100u + v.y;",
      (lane) => [100 * lane + 8],
    ],
    [
      "var k = lane; if lane % 2u == 0u { k += 10u; if lane > 3u { k *= 2u; } k += 1u; } out[at] = k;",
      (lane) => [
        lane % 2 ? lane : (lane + 10) * (lane > 3 ? 2 : 1) + 1,
      ],
    ],
    [
      "var k = 0u; for (var r = 0u; r < n; r++) { if (lane + r) % 2u == 0u { k += r + 1u; } } " +
      "if k > 3u { out[at] = k; }",
      (lane) => [lane % 2 ? 0 : 4],
    ],
  ],
  "arrays and structs": [
    [
      "var a = array<u32, 3>(4, 5, 6); out[at] = a[lane % 3u] + a[1];",
      (lane) => [
        4 + lane % 3 + 5,
      ],
    ],
    [
      "var a = array<u32, 3>(4, 5, 6); a[lane] = 9u; out[at] = a[0] + a[1] * 10u + a[2] * 100u;",
      (
        lane,
      ) => [[659, 694, 954][Math.min(lane, 2)]!],
    ],
    ["let a = array<u32, 3>(4, 5, 6); out[at] = a[lane];", (lane) => [
      4 + Math.min(lane, 2),
    ]],
    [
      "var a = array<u32, 3>(1, 2, 3); a = array<u32, 3>(a[2], a[0], a[1]); out[at] = a[0] * 100u + a[1] * 10u + a[2];",
      () => [
        312,
      ],
    ],
    [
      "var a: array<u32, 3>; put(&a, 1u, 4u); put(&a, lane, 5u); out[at] = a[0] + a[1] * 10u + a[2] * 100u;",
      (
        lane,
      ) => [[45, 50, 540][Math.min(lane, 2)]!],
    ],
    [
      "var s: S; s.a = f; s.b[lane % 3u] = i; s.c[lane % 3u] = lane; let t = s; s = S(); out[at] = u32(t.a) + u32(-(t.b.x + t.b.y + t.b.z)) * 10u + t.c[lane % 3u] * 100u + u32(s.a);",
      (
        lane,
      ) => [52 + 100 * lane],
    ],
    [
      "var m: array<array<u32, 2>, 2>; m[1][lane & 1u] = 3u; out[at] = m[1][0] + m[1][1] * 10u + m[0][0];",
      (
        lane,
      ) => [lane % 2 === 0 ? 3 : 30],
    ],
    [
      "var v = vec3u(1, 2, 3); v[lane] = 9u; out[at] = v.x + v.y * 10u + v.z * 100u;",
      (
        lane,
      ) => [[329, 391, 921][Math.min(lane, 2)]!],
    ],
    // The index is known once the loop is written out, and past the end.
    [
      "let v = vec3u(1, 2, 3); for (var k = 1u; k < 6u; k++) { out[at] += v[k]; }",
      () => [
        14,
      ],
    ],
  ],
  "pointers, which stay where they are": [
    [
      "var a = array<u32, 3>(1, 2, 3); var k = 1u; let q = &a[k]; k = 2u; *q = 9u; out[at] = a[0] + a[1] * 10u + a[2] * 100u;",
      () => [
        391,
      ],
    ],
    [
      "var v = vec3u(1, 2, 3); let q = &v; (*q).y = 7u; q[lane % 3u] += 10u; out[at] = v.x + v.y + v.z;",
      () => [
        21,
      ],
    ],
    [
      "var s: S; let q = &s.c; (*q)[lane % 3u] = 4u; out[at] = s.c[0] + s.c[1] + s.c[2];",
      () => [
        4,
      ],
    ],
    ["let q = &seed; *q = lane; out[at] = next();", (lane) => [3 * lane + 1]],
  ],
  "numbers of elements": [
    [
      "out[at] = arrayLength(&out) + arrayLength(&x) * 100u + arrayLength(&y) * 10000u;",
      () => [
        40808,
      ],
    ],
  ],
};
for (const [what, cases] of Object.entries(BODIES)) {
  Deno.test(`compileWgsl() compiles ${what}`, () => {
    for (const [body, words] of cases) {
      for (const options of FORMS) {
        assert.deepEqual(
          rows(body, options, 1),
          Array.from(
            { length: 8 },
            (_, lane) => words(lane).map((w) => w >>> 0),
          ),
          `${body} ${JSON.stringify(options)}`,
        );
      }
    }
  });
}

/** The words of `out` after a whole grid; `head` declares what the entry point needs. */
function grid(
  source: string,
  size: number,
  groups: [number, number, number],
  more: { first?: number; last?: number } = {},
): number[][] {
  return FORMS.map((options) => {
    const { out } = run(
      `@group(0) @binding(0) var<storage, read_write> out: array<u32>;${source}`,
      { buffers: { out: new Uint32Array(size) }, groups, ...more },
      options,
    );
    return [...out];
  });
}

Deno.test("compileWgsl() tells invocations where they are, along three axes", () => {
  const source = `@compute @workgroup_size(4, 3, 2) fn main(
    @builtin(global_invocation_id) id: vec3u, @builtin(workgroup_id) wg: vec3u,
    @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_id) local: vec3u,
    @builtin(local_invocation_index) lane: u32) {
    let group = (wg.z * grid.y + wg.y) * grid.x + wg.x;
    out[group * 24u + lane] = id.x + 100u * id.y + 10000u * id.z + local.y * 1000000u;
  }`;
  const want: number[] = [];
  for (let z = 0; z < 2; z++) {
    for (let y = 0; y < 3; y++) {
      for (let x = 0; x < 2; x++) {
        for (let i = 0; i < 24; i++) {
          const [a, b, c] = [i % 4, Math.floor(i / 4) % 3, Math.floor(i / 12)];
          want.push(
            4 * x + a + 100 * (3 * y + b) + 10000 * (2 * z + c) + 1000000 * b,
          );
        }
      }
    }
  }
  for (const out of grid(source, 288, [2, 3, 2])) assert.deepEqual(out, want);
});

Deno.test("compileWgsl() runs the workgroups of a range, of two folded axes", () => {
  const source = `@compute @workgroup_size(1) fn main(
    @builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u) {
    out[wg.x + wg.y * grid.x] = 1u + grid.x;
  }`;
  for (const out of grid(source, 12, [5, 2, 1], { first: 3, last: 8 })) {
    assert.deepEqual(out, [0, 0, 0, 6, 6, 6, 6, 6, 0, 0, 0, 0]);
  }
  for (const out of grid(source, 4, [2, 2, 1], { first: 2, last: 2 })) {
    assert.deepEqual(out, [0, 0, 0, 0]);
  }
});

Deno.test("compileWgsl() lets a workgroup wait: several barriers, in loops and functions", () => {
  const source = `
  var<workgroup> part: array<u32, 8>;
  var<private> mine: u32 = 100u;
  override ROUNDS: u32 = 3;
  fn total(lane: u32, value: u32) -> u32 {
    part[lane] = value;
    workgroupBarrier();
    for (var half = 4u; half > 0u; half /= 2u) {
      if lane < half { part[lane] += part[lane + half]; }
      workgroupBarrier();
    }
    let sum = part[0];
    workgroupBarrier();
    return sum;
  }
  @compute @workgroup_size(4, 2) fn main(
    @builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) wg: vec3u) {
    if wg.x == 1u { return; }
    var local = array<u32, 2>(lane, lane * 2u);
    mine += lane;
    let first = total(lane, lane);
    var seen = 0u;
    for (var r = 0u; r < ROUNDS; r++) {
      part[(lane + 1u) % 8u] = lane + r;
      workgroupBarrier();
      seen = seen * 10u + part[lane] % 10u;
      workgroupBarrier();
      if r == 1u { break; }
    }
    if wg.x == 0u { local[lane & 1u] += total(lane, 1u); }
    if lane == 7u { return; }
    out[wg.x * 8u + lane] = first + 100u * local[lane & 1u] + 100000u * seen + mine - 100u;
  }`;
  const want = [0, 1, 2].flatMap((wg) =>
    Array.from({ length: 8 }, (_, lane) => {
      if (wg === 1 || lane === 7) return 0;
      const before = (lane + 7) % 8;
      const local = (lane & 1 ? 2 * lane : lane) + (wg === 0 ? 8 : 0);
      return 28 + 100 * local + 100000 * (before * 10 + (before + 1) % 10) +
        lane;
    })
  );
  for (const out of grid(source, 24, [3, 1, 1])) assert.deepEqual(out, want);
});

Deno.test("compileWgsl() clears workgroup variables, and loads them for all", () => {
  const source = `
  var<workgroup> flags: array<bool, 8>;
  var<workgroup> limit: u32;
  @compute @workgroup_size(8) fn main(
    @builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) wg: vec3u) {
    let before = flags[lane];
    workgroupBarrier();
    flags[lane] = true;
    if lane == 3u { limit = wg.x + 2u; }
    let rounds = workgroupUniformLoad(&limit);
    for (var k = 0u; k < rounds; k++) { workgroupBarrier(); out[wg.x * 8u + lane] += 1u; }
    if before { out[wg.x * 8u + lane] = 99u; }
  }`;
  for (const out of grid(source, 16, [2, 1, 1])) {
    assert.deepEqual(out, [...Array(8).fill(2), ...Array(8).fill(3)]);
  }
});

Deno.test("compileWgsl() has atomics of both signs, in buffers and workgroups", () => {
  const source = `
  @group(0) @binding(1) var<storage, read_write> total: array<atomic<i32>, 8>;
  @group(0) @binding(2) var<storage, read_write> top: atomic<u32>;
  var<workgroup> count: atomic<u32>;
  @compute @workgroup_size(8) fn main(@builtin(local_invocation_index) lane: u32) {
    let v = i32(lane) - 3;
    atomicAdd(&total[0], v); atomicSub(&total[1], v); atomicMin(&total[2], v);
    atomicMax(&total[3], v); atomicAnd(&total[4], ~(1 << lane)); atomicOr(&total[5], 1 << lane);
    atomicXor(&total[6], v); atomicMax(&top, u32(v)); atomicStore(&total[7], 4);
    out[lane] = atomicAdd(&count, 2u);
    workgroupBarrier();
    if lane == 0u { out[8] = atomicLoad(&count) + u32(atomicExchange(&total[7], 9)); }
  }`;
  for (const options of FORMS) {
    const { out, total, top } = run(
      `@group(0) @binding(0) var<storage, read_write> out: array<u32>;${source}`,
      {
        buffers: {
          out: new Uint32Array(12),
          total: Int32Array.of(0, 0, 0, 0, -1, 0, 0, 0),
          top: new Uint32Array(4),
        },
      },
      options,
    );
    const xor = [-3, -2, -1, 0, 1, 2, 3, 4].reduce((a, b) => a ^ b);
    assert.deepEqual([...total], [4, -4, -3, 4, -256, 255, xor, 9]);
    assert.equal(top[0], 0xffffffff);
    assert.deepEqual([...out.subarray(0, 8)].sort((a, b) => a - b), [
      0,
      2,
      4,
      6,
      8,
      10,
      12,
      14,
    ]);
    assert.equal(out[8], 20);
  }
});

/** Kernels that leave their buffers, were it not for the limits; the words around are watched. */
const OUTSIDE: Record<string, [body: string, first: number][]> = {
  "by an index": [
    // Known once the loop is written out, side by side, and far outside.
    [
      "for (var k = 3; k <= 3; k += 2147483645) { out[k * 4] = 0u; out[k * 4 + 1] = 0u; " +
      "out[k * 4 + 2] = 0u; out[k * 4 + 3] = 0u; } out[0] = 4u;",
      4,
    ],
    ["out[lane * 1000u] = 1u;", 1],
    ["out[u32(-i32(lane))] = 1u;", 1],
    ["out[0] = u32(x[lane * 4096u] + x[0xffffffff]) + 1u;", 61],
    ["out[0] = 1u; for (var k = 0u; k < 50u; k++) { out[k] += 0u; }", 1],
    ["for (var k = 0u; k < n; k++) { out[k * 3u] = 1u; }", 1],
    ["for (var k = i32(n); k > -20; k -= 3) { out[k] = 1u; } out[0] = 2u;", 2],
  ],
  "as a bound grows while the loop runs": [
    [
      "out[0] = 2u; for (var k = 0u; k < out[0]; k++) { out[k + 1u] = 1u; out[0] = 40u; }",
      40,
    ],
    [
      "out[0] = 0u; out[1] = 1u; for (var k = 0u; k < 4000u; k += out[1]) { out[k] = 0u; out[1] = 1000u; }",
      0,
    ],
  ],
  "as an index grows before it is used": [
    [
      "var j = 0u; for (var k = 0u; k < n - 1u; k++) { j += 1u; out[j] = 1u; } out[0] = 3u;",
      3,
    ],
    [
      "var j = 7; for (var k = 0u; k < n - 1u; k++) { j -= 1; out[j] = 1u; } out[0] = 3u;",
      3,
    ],
  ],
  "as a counter grows past its type": [
    // Downwards, though the condition looks upwards.
    [
      "for (var k = 17u; k < 34u; k -= n + 4u) { out[k - 10u] = 1u; } out[0] = 5u;",
      5,
    ],
    [
      "var m = 0u; for (var k = 0u; k < 0xffffffffu; k += 0x40000000u) { out[m] = 0u; m++; if m > 40u { break; } } out[0] = m;",
      41,
    ],
    [
      "var m = 0u; for (var k = 0; k <= 2147483647; k += 0x40000000) { out[m] = 0u; m++; if m > 40u { break; } } out[0] = m;",
      41,
    ],
    [
      "var m = 0u; for (var k = 0u; k < 4u; k += n - 9u) { out[m] = 0u; m++; if m > 40u { break; } } out[0] = m;",
      41,
    ],
    [
      "var m = 0u; for (var k = 7u; k >= 1u; k -= 2u) { out[m] = 0u; m++; if m > 40u { break; } } out[0] = m;",
      41,
    ],
  ],
};
for (const [what, cases] of Object.entries(OUTSIDE)) {
  Deno.test(`compileWgsl() keeps kernels from writing outside of their buffers ${what}`, () => {
    for (const [body, first] of cases) {
      for (const options of FORMS) {
        const source = `
        @group(0) @binding(0) var<uniform> n: u32;
        @group(0) @binding(1) var<storage, read_write> out: array<u32>;
        @group(0) @binding(2) var<storage, read> x: array<i32>;
        @compute @workgroup_size(4) fn main(@builtin(local_invocation_index) lane: u32) {
          ${body} }`;
        const { out } = run(source, {
          buffers: { out: new Uint32Array(8), x: Int32Array.of(1, 2, 3, 30) },
          uniform: Uint32Array.of(9, 0, 0, 0),
        }, options);
        assert.equal(out[0], first, `${body} ${JSON.stringify(options)}`);
      }
    }
  });
}

Deno.test("compileWgsl() reads a uniform array and a buffer's last structs", () => {
  const source = `
  struct Item { at: vec3f, weight: f32, ids: vec4u }
  struct P { items: array<Item, 2>, offset: vec2u }
  struct List { count: u32, items: array<vec2u> }
  @group(0) @binding(0) var<uniform> p: P;
  @group(0) @binding(1) var<storage, read_write> out: array<u32>;
  @group(0) @binding(2) var<storage, read> list: List;
  @compute @workgroup_size(4) fn main(@builtin(local_invocation_index) lane: u32) {
    let item = p.items[lane & 1u];
    out[lane] = u32(item.at.z + item.weight) + item.ids[lane] + p.offset.y * 100u;
    out[lane + 4u] = list.items[lane].y + arrayLength(&list.items) * 1000u + list.count * 10000u;
  }`;
  const uniform = new Uint32Array(20);
  new Float32Array(uniform.buffer).set([1, 2, 3, 4], 0);
  uniform.set([10, 20, 30, 40], 4);
  new Float32Array(uniform.buffer).set([5, 6, 7, 8], 8);
  uniform.set([50, 60, 70, 80], 12);
  uniform.set([1, 2], 16);
  for (const options of FORMS) {
    const { out } = run(source, {
      uniform,
      buffers: {
        out: new Uint32Array(8),
        list: Uint32Array.of(5, 0, 1, 2, 3, 4, 6, 7),
      },
    }, options);
    assert.deepEqual([...out], [
      217,
      275,
      237,
      295,
      53002,
      53004,
      53007,
      53007,
    ]);
  }
});

Deno.test("compileWgsl() describes the kernel", () => {
  const kernel = compileWgsl(
    `@group(0) @binding(0) var<uniform> n: u32;
    @group(0) @binding(3) var<storage, read_write> out: array<u32>;
    @group(0) @binding(1) var<storage, read> x: array<u32>;
    @group(0) @binding(2) var<storage, read> unused: array<u32>;
    override SIZE: u32 = 2;
    var<workgroup> tile: array<u32, SIZE>;
    @compute @workgroup_size(SIZE, 2) fn main(@builtin(local_invocation_index) lane: u32) {
      tile[lane % SIZE] = x[lane];
      workgroupBarrier();
      out[lane] = tile[0] + n;
    }`,
    { entryPoint: "main", constants: { SIZE: 6 } },
  );
  assert.deepEqual(kernel.workgroupSize, [6, 2, 1]);
  assert.deepEqual(kernel.bindings, [
    { name: "n", binding: 0, kind: "uniform" },
    { name: "x", binding: 1, kind: "read" },
    { name: "out", binding: 3, kind: "read_write" },
  ]);
  assert(kernel.scratchBytes >= 24 && kernel.scratchBytes % 16 === 0);
  assert(WebAssembly.validate(kernel.bytes));
});
