import assert from "node:assert/strict";
import { checkWgsl } from "../../wgsl/check.ts";
import type { Program } from "../../wgsl/tree.ts";
import { showProgram, showStatements } from "./_show.ts";

const HEAD = `
struct P { n: u32, k: f32, v: vec4f }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<storage, read_write> count: atomic<u32>;
var<private> seed: f32 = 2;
var<workgroup> tile: array<u32, 2 * K>;
alias Four = vec4<f32>;
override K = 3u;
const A = array(1, 2.5, 3);
const THREE = 3;
fn f(q: ptr<function, u32>, by: u32) -> u32 { *q += by; return *q; }
fn m() -> mat2x2f { return mat2x2f(1, 2, 3, 4); }
`;

function check(body: string, constants: Record<string, number> = {}): Program {
  const source = `${HEAD}@compute @workgroup_size(K, 2 * K) fn main() {
${body} }`;
  return checkWgsl(source, { entryPoint: "main", constants });
}

/** Bodies, and what they become. */
const TREES: Record<string, [body: string, tree: string][]> = {
  "spreads scalars and converts literals": [
    [
      "var v = vec4f(p.k) * 2; v *= p.k; v.y += 1;",
      "var v: vec4<f32> = (vec4<f32>{p.1} * vec4<f32>:2:2:2:2); " +
      "v *= vec4<f32>{p.1}; v.y += f32:1;",
    ],
    [
      "let a = mix(x[0], x[p.n], p.k); let b = select(a, Four(1), p.n > 1);",
      "let a: vec4<f32> = @mix(x[u32:0], x[p.0], vec4<f32>{p.1}); " +
      "let b: vec4<f32> = @select(a, vec4<f32>:1:1:1:1, vec4<bool>{(p.0 > u32:1)});",
    ],
    [
      "let a = extractBits(vec2u(p.n), 1, 2); let b = ldexp(p.k, 2);",
      "let a: vec2<u32> = @extractBits(vec2<u32>{p.0}, vec2<u32>:1:1, vec2<u32>:2:2); " +
      "let b: f32 = @ldexp(p.1, i32:2);",
    ],
    [
      "let i = i32(p.n) >> 2; let j = 1 << p.n; let k = vec2u(p.n) << vec2(1u, 2);",
      "let i: i32 = (convert<i32>(p.0) >> u32:2); let j: i32 = (i32:1 << p.0); " +
      "let k: vec2<u32> = (vec2<u32>{p.0} << vec2<u32>:1:2);",
    ],
  ],
  "turns constant indices of vectors into components": [
    [
      "var v = Four(); v[2] = p.v[1]; v[p.n] = 3;",
      "var v: vec4<f32> = vec4<f32>:0:0:0:0; v.z = p.2.y; v[p.0] = f32:3;",
    ],
    [
      "let c = A[p.n]; const d = A[1]; out[0] = d; let e = array<vec2f, 2>();",
      "let c: f32 = array<f32, 3>{f32:1, f32:2.5, f32:3}[p.0]; out[u32:0] = f32:2.5; " +
      "let e: array<vec2<f32>, 2> = array<vec2<f32>, 2>{};",
    ],
  ],
  "follows pointers": [
    [
      "var q = 1u; let r = f(&q, 2) + f(&q, K); let t = &q; *t = 3; q++;",
      "var q: u32 = u32:1; let r: u32 = (f(&q, u32:2) + f(&q, u32:3)); " +
      "let t: ptr<function, u32> = &q; *t = u32:3; q += u32:1;",
    ],
    [
      "let t = &x[p.n]; let l = (*t).x + t.y + t[1];",
      "let t: ptr<storage, vec4<f32>> = &x[p.0]; let l: f32 = ((*t.x + *t.y) + *t.y);",
    ],
    [
      "atomicAdd(&count, 1); let old = atomicMax(&count, p.n); workgroupBarrier(); " +
      "let n = arrayLength(&out); let u = workgroupUniformLoad(&tile[1]);",
      "@atomicAdd(&count, u32:1); let old: u32 = @atomicMax(&count, p.0); " +
      "@workgroupBarrier(); let n: u32 = @arrayLength(&out); " +
      "let u: u32 = @workgroupUniformLoad(&tile[u32:1]);",
    ],
  ],
  "keeps control flow": [
    [
      "switch p.n { case 1, 2u: { out[0] = 1; } case THREE, default { break; } }",
      "switch p.0 [1,2] { out[u32:0] = f32:1; } [3,default] { break; }",
    ],
    [
      "for (var i = 0; i < 9; i++) { if i == 5 { continue; } else if i > 7 { break; } }",
      "for (var i: i32 = i32:0; (i < i32:9); i += i32:1;) " +
      "{ if (i == i32:5) { continue; } else { if (i > i32:7) { break; } } }",
    ],
    [
      "while p.n > 1 { return; } loop { continuing { seed += 1; break if seed > 4; } }",
      "for (; (p.0 > u32:1); ) { return; } " +
      "loop {  } continuing { seed += f32:1; } until (seed > f32:4)",
    ],
    [
      "_ = p.k; let b = !(true && p.n == 1u) || false; { let b = 1; }",
      "p.1; let b: bool = ((!(p.0 == u32:1)) || bool:0); { let b: i32 = i32:1; }",
    ],
  ],
  "writes products with matrices out by columns": [
    [
      "let a = m(); let b = a * p.v.xy; let c = p.v.zw * a; let d = a[1][0];",
      "let a: mat2x2f = m(); " +
      "let b: vec2<f32> = ((a.0 * vec2<f32>{p.2.xy.x}) + (a.1 * vec2<f32>{p.2.xy.y})); " +
      "let c: vec2<f32> = vec2<f32>{@dot(p.2.zw, a.0), @dot(p.2.zw, a.1)}; " +
      "let d: f32 = a.1.x;",
    ],
  ],
};

for (const [what, cases] of Object.entries(TREES)) {
  Deno.test(`checkWgsl() ${what}`, () => {
    for (const [body, tree] of cases) {
      assert.equal(showProgram(check(body)), tree);
    }
  });
}

Deno.test("checkWgsl() keeps what the entry point reaches", () => {
  const names = (list: Program["bindings"]) => list.map(({ name }) => name);
  const some = check("out[p.n] = seed;");
  assert.deepEqual(names(some.bindings), ["p", "out"]);
  assert.deepEqual(names(some.globals), ["seed"]);
  assert.deepEqual(
    some.bindings.map(({ space, access, binding }) =>
      [space, access, binding].join()
    ),
    ["uniform,read,0", "storage,read_write,2"],
  );
  assert.deepEqual(check("").bindings, []);
});

Deno.test("checkWgsl() gives overrides their values", () => {
  assert.deepEqual(check("").workgroupSize, [3, 6, 1]);
  const { globals, workgroupSize } = check("tile[0] = K;", { K: 5 });
  assert.deepEqual(workgroupSize, [5, 10, 1]);
  assert.equal(globals[0]!.type.kind === "array" && globals[0]!.type.count, 10);
  const source = `
    @id(7) override a: bool; override b: i32 = -2; override c = f32(b) * 0.5;
    @compute @workgroup_size(1) fn main() { let x = a; let y = c; }`;
  const constants = { 7: 1, b: 3 };
  const program = checkWgsl(source, { entryPoint: "main", constants });
  assert.equal(
    showStatements(program.entry.body),
    "let x: bool = bool:1; let y: f32 = f32:1.5;",
  );
});

Deno.test("checkWgsl() lays structs out", () => {
  const source = `
    struct Inner { a: vec3f, b: f32 }
    struct Outer {
      a: f32, b: vec2f, c: Inner, @size(16) d: u32, @align(32) e: array<vec3u, 2>, f: u32,
    }
    @group(0) @binding(0) var<storage> s: Outer;
    @compute @workgroup_size(1) fn main() { let x = s.f; }`;
  const [variable] = checkWgsl(source, { entryPoint: "main" }).bindings;
  assert(variable?.type.kind === "struct");
  const { members, size, align } = variable.type;
  assert.deepEqual(members.map(({ offset }) => offset), [0, 8, 16, 32, 64, 96]);
  assert.deepEqual([size, align], [128, 32]);
});

Deno.test("checkWgsl() passes what the invocation is told", () => {
  const source = `
    struct Told { @builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u }
    @compute @workgroup_size(1)
    fn main(told: Told, @builtin(local_invocation_index) lane: u32) {
      let i = told.wg.x + told.grid.y * lane;
    }`;
  const { entry, builtins } = checkWgsl(source, { entryPoint: "main" });
  assert.deepEqual(builtins, [
    "workgroup_id",
    "num_workgroups",
    "local_invocation_index",
  ]);
  assert.deepEqual(
    entry.parameters.map(({ name }) => name),
    ["told.wg", "told.grid", "lane"],
  );
  assert.equal(
    showStatements(entry.body),
    "let told: Told = Told{told.wg, told.grid}; " +
      "let i: u32 = (told.0.x + (told.1.y * lane));",
  );
});

/** Bodies with a mistake, and the message. */
const MISTAKES: [body: string, message: RegExp][] = [
  [
    "let a: f32 = 1u;",
    /^wgsl:16:14: The value of a is u32, but must be f32; write f32\(…\)/,
  ],
  ["let a = p.n + p.k;", /No operator \+ for u32 and f32; convert one/],
  ["let a = -p.n;", /No operator - for u32; write i32/],
  ["let a = p.k & 1;", /No operator & for f32/],
  [
    "let a = x[0] == 1.0;",
    /No operator == .*write vec4\(…\) around the scalar/,
  ],
  ["let a = p.n << 1i;", /No operator << for u32 and i32; write u32/],
  ["let a = 3; let b = aa;", /Unknown name aa; did you mean a\?/],
  ["let a = colour(1);", /Unknown function colour; declare it/],
  ["let a = p.m;", /Unknown member of P m; declare it/],
  ["let a = p.v.q;", /vec4<f32> has no member q/],
  ["let a = p.v.xyzw.xyzwx;", /has no member xyzwx/],
  ["let a = vec2f().z;", /vec2<f32> has no component z/],
  [
    "let a = 1; a = 2;",
    /^wgsl:16:12: An assignment to a, which cannot change; declare it with var/,
  ],
  ["A[0] = 1;", /An assignment to the constant A/],
  ["x[0] = Four();", /read-only storage; declare it var<storage, read_write>/],
  ["p.n = 1;", /An assignment to a uniform variable/],
  ["var v = Four(); v.xy = vec2f();", /An assignment to a swizzle/],
  ["count = 1;", /write atomicStore/],
  ["let a = count;", /write atomicLoad/],
  ["let a = out;", /array<f32> cannot be read as a whole/],
  ["var a: array<f32>;", /A var of array<f32>/],
  ["if p.n { }", /The condition is u32, but must be bool; write a comparison/],
  ["switch p.k { default { } }", /A switch over f32/],
  ["switch p.n { case 1 { } }", /A switch with 0 defaults/],
  ["switch p.n { case 1 { } case 1u { } default { } }", /A second case 1/],
  ["break;", /A break outside of loops/],
  ["continue;", /A continue outside of loops/],
  ["return 1;", /main\(\) returns nothing/],
  ["loop { }", /The loop never ends/],
  ["let a = f(1);", /f\(\) has 1 arguments; write 2: f\(q, by\)/],
  ["let a = f(p.n, 1);", /Argument q of f\(\) is u32, but must be ptr/],
  ["let a = f(&p.n, 1);", /ptr<uniform, u32>, but must be ptr<function, u32>/],
  ["let a = max(p.n, 1i);", /No max\(u32, i32\); it is max\(T, T\)/],
  ["let a = sin(p.n);", /No sin\(u32\); it is sin\(T\) of f32/],
  ["let a = sin(1.0, 2.0);", /No sin\(/],
  ["sin(1.0);", /The result of sin\(\) is not used/],
  ["let a = workgroupBarrier();", /has no result/],
  ["let a = vec4f(1, 2, 3);", /vec4<f32> of 3 components; write 4/],
  ["let a = vec4f(p.n);", /A component is u32, but must be f32/],
  ["let a = P(1);", /P of 1 elements; write 3/],
  ["let a = array(1, true);", /array\(\) of abstract-int, bool/],
  ["let a = vec4<f16>();", /f16 is not supported; write f32/],
  ["let a = vec3h();", /vec3h is not supported; write vec3f/],
  ["var a: texture_2d<f32>;", /texture_2d is not supported/],
  ["var a: float;", /Unknown type float; write f32/],
  ["var a: vec4;", /vec4 needs the type of its elements; write vec4f/],
  ["let a = m() * m();", /No operator \* for mat2x2f and mat2x2f/],
  ["let a = transpose(m());", /transpose\(\) is not supported/],
  ["let a = m()[p.n];", /mat2x2f at an index that is not constant/],
  ["let a = frexp(1.0);", /frexp\(\) is not supported; use/],
  ["let a = 1; let a = 2;", /a is declared a second time/],
  ["const a = p.n;", /The value of a is not constant/],
  ["const_assert THREE == 4u;", /The const_assert does not hold/],
  ["const a = K;", /K is an override; write a const here/],
  ["switch p.n { case K { } default { } }", /K is an override/],
  ["let a = array<f32, 100000>();", /more than 65536 numbers/],
  ["let a = &p.v.x;", /& before a component of a vector/],
  ["let a = *p.n;", /\* before u32/],
  ["var<workgroup> a: u32;", /A var<…> in a function/],
  ["let a = x[p.k];", /An index of type f32; write u32/],
];

Deno.test("checkWgsl() says what is wrong in a function, and what to write", () => {
  for (const [body, message] of MISTAKES) {
    assert.throws(() => check(body), { name: "WgslError", message }, body);
  }
});

/** Whole sources with a mistake. */
const WRONG: [source: string, message: RegExp][] = [
  ["fn main() { }", /^a\.wgsl:1:4: main is no entry point; mark it @compute/],
  [
    "@compute @workgroup_size(1) fn mainly() { }",
    /Unknown entry point main; did you mean mainly\?/,
  ],
  ["@compute fn main() { }", /main has no workgroup size/],
  [
    "var<private> n: u32;\n@compute @workgroup_size(n) fn main() { }",
    /^a\.wgsl:2:26: A size must be a constant integer/,
  ],
  ["@compute @workgroup_size(0) fn main() { }", /A size of 0/],
  ["@compute @workgroup_size(64, 64) fn main() { }", /4096 invocations/],
  ["@compute @workgroup_size(1) fn main(a: u32) { }", /a has no @builtin/],
  [
    "@compute @workgroup_size(1) fn main(@builtin(position) a: vec4f) { }",
    /Unknown @builtin\(position\)/,
  ],
  [
    "@compute @workgroup_size(1) fn main(@builtin(workgroup_id) a: u32) { }",
    /a is u32; write vec3<u32>/,
  ],
  [
    "$fn f() -> u32 { if a == 1 { return 1u; } }",
    /f\(\) may end without a value/,
  ],
  [
    "$fn f() -> u32 { return g(); } fn g() -> u32 { return f(); }",
    /calls itself by way/,
  ],
  ["$fn f() -> u32 { return f(); }", /f\(\) calls itself; write a loop/],
  ["$fn f() -> u32 { return; }", /f\(\) returns u32; write a value/],
  ["$const f = g; const g = f;", /f depends on itself/],
  ["$override f: u32;", /override f has no value; pass constants: \{ f: … \}/],
  ["$var<private> f: u32 = a;", /is not constant/],
  ["$var f: u32;", /var f has no address space/],
  ["$var<storage> f: u32;", /f has no place; write @group\(0\)/],
  [
    "$@group(0) @binding(0) var<uniform> f: array<f32, 4>;",
    /not 16 bytes apart/,
  ],
  [
    "$@group(0) @binding(0) var<storage> f: bool;",
    /A bool in the storage variable/,
  ],
  [
    "$@group(0) @binding(0) var f: texture_2d<f32>;",
    /texture_2d is not supported/,
  ],
  ["$@group(0) @binding(0) var f: sampler;", /sampler is not supported/],
  [
    "$struct S { p: ptr<function, f32> } const f = S();",
    /Member p is a pointer/,
  ],
  [
    "$struct S { p: array<f32>, q: f32 } var<private> f: S;",
    /p has no fixed size/,
  ],
  ["$struct S { p: T } struct T { q: S } const f = S();", /depends on itself/],
  ["$@fragment fn f() -> u32 { return 1; }", /@fragment at function f/],
];

Deno.test("checkWgsl() says what is wrong outside of functions", () => {
  for (const [text, message] of WRONG) {
    const call = /fn f\(/.test(text) ? "f()" : "f";
    const source = text.replace(
      "$",
      `var<private> a: u32; @compute @workgroup_size(1) fn main() { let x = ${call}; }\n`,
    );
    const options = { entryPoint: "main", label: "a.wgsl" };
    assert.throws(
      () => checkWgsl(source, options),
      { name: "WgslError", message },
      source,
    );
  }
});

Deno.test("checkWgsl() refuses constants that do not fit", () => {
  assert.throws(
    () => check("", { k: 1 }),
    /Unknown override k; did you mean K\?/,
  );
  assert.throws(
    () => check("", { K: -1 }),
    /The constant K is -1, which does not fit u32/,
  );
  assert.throws(() => check("", { K: 1.5 }), /does not fit u32/);
  assert.throws(() => check("", { K: NaN }), /does not fit u32/);
});

Deno.test("checkWgsl() survives long chains of functions", () => {
  const chain = Array.from(
    { length: 5000 },
    (_, i) => `fn f${i}() -> u32 { return f${i + 1}(); }`,
  );
  const source = `${chain.join("\n")} fn f5000() -> u32 { return 1u; }
    @compute @workgroup_size(1) fn main() { let x = f0(); }`;
  assert.throws(
    () => checkWgsl(source, { entryPoint: "main" }),
    /at the end of a chain/,
  );
});
