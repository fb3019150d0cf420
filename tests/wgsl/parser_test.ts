import assert from "node:assert/strict";
import { parse } from "../../wgsl/parser.ts";
import type { ExpressionSyntax } from "../../wgsl/syntax.ts";

/** An expression with all its parentheses. */
function show(e: ExpressionSyntax): string {
  const list = (es: readonly ExpressionSyntax[]) => es.map(show).join(", ");
  switch (e.op) {
    case "name":
      return e.template ? `${e.name}<${list(e.template)}>` : e.name;
    case "number":
      return e.text;
    case "bool":
      return String(e.value);
    case "call":
      return `${show(e.callee)}(${list(e.args)})`;
    case "index":
      return `${show(e.base)}[${show(e.index)}]`;
    case "member":
      return `${show(e.base)}.${e.member}`;
    case "unary":
      return `(${e.operator}${show(e.operand)})`;
    case "binary":
      return `(${show(e.left)} ${e.operator} ${show(e.right)})`;
  }
}

function parsed(expression: string): string {
  const constant = parse(`const x = ${expression};`).globals.get("x");
  return constant?.op === "declare" ? show(constant.value!) : "";
}

Deno.test("parse() binds operators as the specification does", () => {
  for (
    const [source, want] of [
      ["a + b * c - d", "((a + (b * c)) - d)"],
      ["-a.x * !b[1]", "((-a.x) * (!b[1]))"],
      ["a * b < c + d && e == f", "(((a * b) < (c + d)) && (e == f))"],
      ["a || b < c || d", "((a || (b < c)) || d)"],
      ["a & b & (c | d)", "((a & b) & (c | d))"],
      ["a >> b == c << d", "((a >> b) == (c << d))"],
      ["a & -b", "(a & (-b))"],
      ["*&a.b", "(*(&a.b))"],
      ["array<vec4<f32>, 2>(a, b < c)", "array<vec4<f32>, 2>(a, (b < c))"],
      ["bitcast<vec2<u32>>(a)>>b", "(bitcast<vec2<u32>>(a) >> b)"],
    ] as const
  ) assert.equal(parsed(source), want);
});

Deno.test("parse() asks for parentheses where operators do not mix", () => {
  for (
    const source of [
      "a & b == c",
      "a && b || c",
      "a || b && c",
      "a << b << c",
      "a + b << c",
      "a << b + c",
      "a & b | c",
      "a < b < c",
      "a && b & c",
    ]
  ) {
    assert.throws(() => parsed(source), /ambiguous; add parentheses/, source);
  }
});

Deno.test("parse() reads every kind of statement", () => {
  const { globals, asserts } = parse(`
    diagnostic(off, derivative_uniformity);
    @group(0) @binding(1) var<storage, read_write> out: array<f32>;
    struct S { @size(16) a: f32, b: vec2<f32>, };
    alias T = array<S, 2>;
    @id(3) override N: u32;
    const_assert 1 < 2;
    fn f(@builtin(workgroup_id) a: vec3u, b: ptr<function, f32>,) -> f32 {
      ; var x = 1; let y: f32 = 2; const z = 3; const_assert true;
      x = 1; x <<= 2u; x++; (*b)--; _ = x; g(x); { }
      if x == 1 { } else if (x == 2) { } else { }
      switch (x) { case 1, 2: { } case 3 { } default: { } }
      for (var i = 0; i < 3; i++) { continue; }
      for (;;) { break; }
      while x > 1 { }
      loop { x += 1; continuing { x -= 1; break if x == 3; } }
      return 1.0;
    }
  `);
  assert.deepEqual([...globals.keys()], ["out", "S", "T", "N", "f"]);
  assert.equal(asserts.length, 1);
  const f = globals.get("f");
  assert(f?.op === "function");
  assert.deepEqual(
    f.body.map((statement) => statement.op).join(" "),
    "declare declare declare assert assign assign assign assign assign evaluate block " +
      "if switch for for for loop return",
  );
});

Deno.test("parse() says what is missing, and where", () => {
  for (
    const [source, message] of [
      [
        "fn f() {\n  let x = 1\n  return;\n}",
        /^wgsl:2:12: Missing ; after the statement; add it/,
      ],
      ["fn f() {", /^wgsl:1:9: Found the end; expected "}"/],
      ["fn f( { }", /^wgsl:1:7: Found "{"; expected the name of a parameter/],
      ["fn if() { }", /^wgsl:1:4: if is a word of the language/],
      ["let x = 1;", /^wgsl:1:1: A let outside of functions; write const/],
      [
        "fn f() { int x = 3; }",
        /^wgsl:1:14: Found "x"; expected "=" or a call/,
      ],
      ["fn f() { x = ; }", /^wgsl:1:14: Found ";"; expected a value/],
      ["fn f() { --x; }", /^wgsl:1:10: -- before a value/],
      ["const a = 1; const a = 2;", /^wgsl:1:20: a is declared a second time/],
      ["enable f16;", /^wgsl:1:1: The extension f16 is not supported/],
      ["fn f() { loop { break if x; } }", /^wgsl:1:17: break if stands only/],
    ] as const
  ) assert.throws(() => parse(source), { name: "WgslError", message });
});

Deno.test("parse() survives nesting of any depth", () => {
  const many = 10_000;
  const deep = (open: string, close: string) =>
    `const x = ${open.repeat(many)}1${close.repeat(many)};`;
  const tooDeep = /More than 128 levels of nesting/;
  assert.throws(() => parse(deep("(", ")")), tooDeep);
  assert.throws(() => parse(deep("-", "").replaceAll("-", "- ")), tooDeep);
  assert.throws(() => parse(deep("f(", ")")), tooDeep);
  assert.throws(() => parse(deep("a[", "]")), tooDeep);
  assert.throws(() => parse(deep("vec2<", ">()")), /levels|expected/);
  const body = (text: string) => `fn f() { ${text.repeat(many)} }`;
  assert.throws(() => parse(body("{")), tooDeep);
  assert.throws(() => parse(body("if a { } else ")), tooDeep);
  assert.throws(() => parse(deep("1 + ", "")), /operators in a row/);
  assert.throws(() => parse(`const x = a${".b".repeat(many)};`), /in a row/);
});
