import assert from "node:assert/strict";
import { WgslError } from "../../wgsl/error.ts";
import { tokenize } from "../../wgsl/lexer.ts";

/** The texts of all tokens but the last, which is the end. */
function texts(source: string): string[] {
  return tokenize(source).slice(0, -1).map(({ text }) => text);
}

Deno.test("tokenize() tells numbers, words and symbols apart", () => {
  const tokens = tokenize("let x1=1u+0x1Fu-1.5e3f*.5/0x1.8p-3 ; _");
  assert.deepEqual(
    tokens.map(({ kind, text }) => `${kind} ${text}`),
    [
      "keyword let",
      "name x1",
      "symbol =",
      "number 1u",
      "symbol +",
      "number 0x1Fu",
      "symbol -",
      "number 1.5e3f",
      "symbol *",
      "number .5",
      "symbol /",
      "number 0x1.8p-3",
      "symbol ;",
      "symbol _",
      "end the end",
    ],
  );
});

Deno.test("tokenize() counts lines past comments of both kinds", () => {
  const tokens = tokenize("a // b\r\n/* c /* nested\n */ d */ e\n  f");
  assert.deepEqual(
    tokens.map(({ text, at }) => [text, at.line, at.column]),
    [["a", 1, 1], ["e", 3, 10], ["f", 4, 3], ["the end", 4, 4]],
  );
});

Deno.test("tokenize() finds template arguments, also where > and = follow", () => {
  assert.deepEqual(texts("array<vec2<f32>>=x"), [
    "array",
    "<template",
    "vec2",
    "<template",
    "f32",
    "template>",
    "template>",
    "=",
    "x",
  ]);
  assert.deepEqual(texts("var<private>x"), [
    "var",
    "<template",
    "private",
    "template>",
    "x",
  ]);
});

Deno.test("tokenize() leaves comparisons and shifts alone", () => {
  for (
    const [source, want] of [
      ["a<b && c>d", "a < b && c > d"],
      ["a<b || c>(d)", "a < b || c > ( d )"],
      ["if (a<b) { c = d>e; }", "if ( a < b ) { c = d > e ; }"],
      ["x[i<n] >> y[2>z]", "x [ i < n ] >> y [ 2 > z ]"],
      ["a >>= b >= c >> d", "a >>= b >= c >> d"],
      ["a << b <<= c <= d", "a << b <<= c <= d"],
      ["a<b; c>d", "a < b ; c > d"],
    ] as const
  ) assert.equal(texts(source).join(" "), want, source);
});

Deno.test("tokenize() says what cannot be read, and where", () => {
  for (
    const [source, message] of [
      ["a\n /* b", /^wgsl:2:2: The comment does not end/],
      ["a = 'b'", /^wgsl:1:5: "'" has no meaning/],
      ["1.0x", /^wgsl:1:1: 1.0x is not a number/],
      ["__a", /^wgsl:1:1: The name __a is reserved/],
      ["  while1 class", /^wgsl:1:10: The name class is reserved/],
    ] as const
  ) assert.throws(() => tokenize(source), { name: "WgslError", message });
  assert.throws(() => tokenize("#"), WgslError);
});
