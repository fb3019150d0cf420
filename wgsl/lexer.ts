/**
 * From text to tokens. Which `<` opens a list of template arguments is decided here too, by the
 * rule of the specification ("template list discovery"), so that the parser need not guess.
 *
 * @module
 */
import { fail } from "./error.ts";
import type { Position } from "./tree.ts";

/**
 * A word, a number, an operator, or the end of the text. `<template` and `template>` stand for the
 * brackets of template arguments.
 */
export interface Token {
  /** What it is; a `keyword` cannot name anything. */
  kind: "name" | "keyword" | "number" | "symbol" | "end";
  /** As written. */
  text: string;
  /** Where it begins. */
  readonly at: Position;
  /** Offset behind its last character. */
  end: number;
}

const KEYWORDS = new Set(
  ("alias break case const const_assert continue continuing default diagnostic discard else " +
    "enable false fn for if let loop override requires return struct switch true var while")
    .split(" "),
);

/** Words that the specification keeps for later. */
const RESERVED = new Set(
  ("NULL Self abstract active alignas alignof as asm asm_fragment async attribute auto await " +
    "become cast catch class co_await co_return co_yield coherent column_major common compile " +
    "compile_fragment concept const_cast consteval constexpr constinit crate debugger decltype " +
    "delete demote demote_to_helper do dynamic_cast enum explicit export extends extern external " +
    "fallthrough filter final finally friend from fxgroup get goto groupshared highp impl " +
    "implements import inline instanceof interface layout lowp macro macro_rules match mediump " +
    "meta mod module move mut mutable namespace new nil noexcept noinline nointerpolation " +
    "non_coherent noncoherent noperspective null nullptr of operator package packoffset " +
    "partition pass patch pixelfragment precise precision premerge priv protected pub public " +
    "readonly ref regardless register reinterpret_cast require resource restrict self set shared " +
    "sizeof smooth snorm static static_assert static_cast std subroutine super target template " +
    "this thread_local throw trait try type typedef typeid typename typeof union unless unorm " +
    "unsafe unsized use using varying virtual volatile wgsl where with writeonly yield")
    .split(" "),
);

/** Space and line comments, else a number, a word or a symbol; `>` always stands alone. */
const TOKEN = new RegExp(
  [
    /([\s\u200e\u200f]+|\/\/[^\n\v\f\r\u0085\u2028\u2029]*)/u,
    /(0[xX](?:[\da-fA-F]+\.?[\da-fA-F]*|\.[\da-fA-F]+)(?:[pP][+-]?\d+[fh]?)?[iu]?|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[iufh]?)/,
    /([_\p{XID_Start}]\p{XID_Continue}*)/u,
    /(<<=|<<|<=|&&|\|\||->|==|!=|\+\+|--|[-+*/%&|^]=|[-+*/%&|^<>=!~()[\]{},;:.@])/,
  ].map((part) => part.source).join("|"),
  "uy",
);
const LINE_END = /\r\n|[\n\v\f\r\u0085\u2028\u2029]/g;

/** All tokens of a text, the last of kind `end`. */
export function tokenize(source: string): Token[] {
  const tokens: Token[] = [];
  let offset = 0, line = 1, lineStart = 0;
  const countLines = (from: number, to: number) => {
    if (to === from + 1 && source[from] === " ") return; // most are
    const skipped = source.slice(from, to);
    for (const end of skipped.matchAll(LINE_END)) {
      line++;
      lineStart = from + end.index + end[0].length;
    }
  };
  while (offset < source.length) {
    const at = { line, column: offset - lineStart + 1 };
    if (source.startsWith("/*", offset)) {
      const end = endOfComment(source, offset, at);
      countLines(offset, end);
      offset = end;
      continue;
    }
    TOKEN.lastIndex = offset;
    const match = TOKEN.exec(source);
    if (!match) {
      const found = String.fromCodePoint(source.codePointAt(offset)!);
      fail(`${JSON.stringify(found)} has no meaning here; remove it`, at);
    }
    const [text, space, number, word] = match;
    const end = offset + text.length;
    if (space !== undefined) countLines(offset, end);
    else if (number !== undefined) {
      if (/^[\p{XID_Continue}.]/u.test(source.slice(end, end + 2))) {
        fail(`${text}${source[end]} is not a number; write 1, 1u or 1.0`, at);
      }
      tokens.push({ kind: "number", text, at, end });
    } else if (word !== undefined) {
      if (word.startsWith("__") || RESERVED.has(word)) {
        fail(`The name ${word} is reserved; choose another`, at);
      }
      const kind = KEYWORDS.has(word)
        ? "keyword"
        : word === "_"
        ? "symbol"
        : "name";
      tokens.push({ kind, text, at, end });
    } else tokens.push({ kind: "symbol", text, at, end });
    offset = end;
  }
  const at = { line, column: offset - lineStart + 1 };
  tokens.push({ kind: "end", text: "the end", at, end: offset });
  markTemplates(tokens);
  return joinGreater(tokens);
}

function endOfComment(source: string, start: number, at: Position): number {
  const mark = /\/\*|\*\//g;
  mark.lastIndex = start;
  for (let depth = 0;;) {
    const match = mark.exec(source);
    if (!match) fail("The comment does not end; close it with */", at);
    depth += match[0] === "/*" ? 1 : -1;
    if (depth === 0) return mark.lastIndex;
  }
}

/** Finds the `<` after a name that a `>` at the same depth closes before the expression ends. */
function markTemplates(tokens: Token[]): void {
  let pending: { token: Token; depth: number }[] = [];
  let depth = 0;
  for (const [i, token] of tokens.entries()) {
    if (token.kind === "name" || token.text === "var") {
      const next = tokens[i + 1]!;
      if (next.text === "<") pending.push({ token: next, depth });
      continue;
    }
    if (token.kind !== "symbol") continue;
    const { text } = token;
    if (text === ">") {
      if (pending.at(-1)?.depth !== depth) continue;
      pending.pop()!.token.text = "<template";
      token.text = "template>";
    } else if (text === "(" || text === "[") depth++;
    else if (text === ")" || text === "]" || text === "&&" || text === "||") {
      while (pending.length > 0 && pending.at(-1)!.depth >= depth) {
        pending.pop();
      }
      if (text === ")" || text === "]") depth = Math.max(0, depth - 1);
    } else if (/^([;:{]|[-+*/%&|^]?=|<<=)$/.test(text)) {
      [pending, depth] = [[], 0];
    }
  }
}

/** Joins neighbouring `>`, `>` and `=` that no template took to `>>`, `>=` and `>>=`. */
function joinGreater(tokens: Token[]): Token[] {
  const joined: Token[] = [];
  for (const token of tokens) {
    const last = joined.at(-1);
    if (
      last && last.end === token.end - token.text.length &&
      (last.text === ">" && (token.text === ">" || token.text === "=") ||
        last.text === ">>" && token.text === "=")
    ) {
      last.text += token.text;
      last.end = token.end;
    } else joined.push(token);
  }
  return joined;
}
