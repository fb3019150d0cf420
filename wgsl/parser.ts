/**
 * From tokens to the tree as written, by recursive descent. Operators follow the grammar of the
 * specification, which asks for parentheses where languages differ (`a & b == c`, `a && b || c`).
 *
 * @module
 */
import { fail } from "./error.ts";
import { type Token, tokenize } from "./lexer.ts";
import type {
  AssertSyntax,
  Attribute,
  CaseSyntax,
  DeclarationSyntax,
  ExpressionSyntax,
  FieldSyntax,
  FunctionSyntax,
  GlobalSyntax,
  ModuleSyntax,
  NameSyntax,
  SimpleSyntax,
  StatementSyntax,
} from "./syntax.ts";
import type { BinaryOperator } from "./tree.ts";

/** How deeply brackets and blocks may nest, and how many operators may follow one another. */
const DEEPEST = 128, LONGEST = 256;

const ONE_OF = {
  product: ["*", "/", "%"],
  sum: ["+", "-"],
  shift: ["<<", ">>"],
  comparison: ["==", "!=", "<", "<=", ">", ">="],
  bitwise: ["&", "|", "^"],
  logical: ["&&", "||"],
} as const;
const BINARY = new Set<string>(Object.values(ONE_OF).flat());

/** The tree of a WGSL text. */
export function parse(source: string): ModuleSyntax {
  return new Parser(tokenize(source)).module();
}

class Parser {
  readonly #tokens: Token[];
  #next = 0;
  #depth = 0;

  constructor(tokens: Token[]) {
    this.#tokens = tokens;
  }

  // Tokens.

  get #token(): Token {
    return this.#tokens[this.#next]!;
  }

  #is(text: string): boolean {
    const token = this.#token;
    return token.text === text && token.kind !== "end";
  }

  #take(): Token {
    const token = this.#token;
    if (token.kind !== "end") this.#next++;
    return token;
  }

  #accept(text: string): boolean {
    const found = this.#is(text);
    if (found) this.#next++;
    return found;
  }

  #expect(text: string, after: string): void {
    if (this.#accept(text)) return;
    const symbol = text.replace("template", "");
    // What is missing at the end of a line is missed at that end.
    const last = this.#tokens[this.#next - 1];
    if (last && last.at.line < this.#token.at.line && text !== "}") {
      const at = {
        line: last.at.line,
        column: last.at.column + last.text.length,
      };
      fail(`Missing ${symbol} after ${after}; add it`, at);
    }
    this.#unexpected(`"${symbol}" after ${after}`);
  }

  #unexpected(wanted: string): never {
    const { text, at, kind } = this.#token;
    const found = kind === "end" ? text : `"${text.replace("template", "")}"`;
    fail(`Found ${found}; expected ${wanted}`, at);
  }

  #name(what: string): string {
    const token = this.#token;
    if (token.kind === "keyword") {
      fail(
        `${token.text} is a word of the language; choose another name for ${what}`,
        token.at,
      );
    }
    if (token.kind !== "name") this.#unexpected(`the name of ${what}`);
    return this.#take().text;
  }

  /** Runs a rule one level deeper, so that no nesting overflows the stack. */
  #nested<T>(rule: () => T): T {
    if (++this.#depth > DEEPEST) {
      fail(
        `More than ${DEEPEST} levels of nesting; name a part with let, or move it into a function`,
        this.#token.at,
      );
    }
    const result = rule();
    this.#depth--;
    return result;
  }

  // The module.

  module(): ModuleSyntax {
    const globals = new Map<string, GlobalSyntax>();
    const asserts: AssertSyntax[] = [];
    this.#directives();
    while (this.#token.kind !== "end") {
      if (this.#accept(";")) continue;
      if (this.#is("const_assert")) {
        asserts.push(this.#assert());
        continue;
      }
      const global = this.#global();
      const first = globals.get(global.name);
      if (first) {
        fail(
          `${global.name} is declared a second time, first in line ${first.at.line}; rename one`,
          global.at,
        );
      }
      globals.set(global.name, global);
    }
    return { globals, asserts };
  }

  #directives(): void {
    for (;;) {
      const { text, at } = this.#token;
      if (text !== "enable" && text !== "requires" && text !== "diagnostic") {
        return;
      }
      this.#take();
      while (!this.#is(";") && this.#token.kind !== "end") {
        const name = this.#take().text;
        if (text === "enable" && /\w/.test(name)) {
          const instead = name === "f16"
            ? "compute with f32, and use pack2x16float to store halves"
            : "write it without";
          fail(`The extension ${name} is not supported; ${instead}`, at);
        }
      }
      this.#expect(";", `${text} …`);
    }
  }

  #global(): GlobalSyntax {
    const attributes = this.#attributes();
    const { text, at } = this.#token;
    switch (text) {
      case "const":
      case "override":
      case "var": {
        const declaration = this.#declaration(attributes);
        this.#expect(";", `the declaration of ${declaration.name}`);
        return declaration;
      }
      case "struct": {
        this.#take();
        const name = this.#name("a struct");
        this.#expect("{", `struct ${name}`);
        const members = this.#fields("}", "a member");
        return { op: "struct", name, members, at };
      }
      case "alias": {
        this.#take();
        const name = this.#name("an alias");
        this.#expect("=", `alias ${name}`);
        const type = this.#type();
        this.#expect(";", `alias ${name}`);
        return { op: "alias", name, type, at };
      }
      case "fn":
        return this.#function(attributes);
      case "let":
        fail("A let outside of functions; write const or override", at);
        break;
      case "enable":
      case "requires":
      case "diagnostic":
        fail(`${text} after declarations; move it to the top`, at);
    }
    this.#unexpected("fn, struct, var, const, override or alias");
  }

  #attributes(): Attribute[] {
    const attributes: Attribute[] = [];
    while (this.#is("@")) {
      const { at } = this.#take();
      const name = this.#accept("const") || this.#accept("diagnostic")
        ? "diagnostic"
        : this.#name("an attribute");
      const args = this.#accept("(") ? this.#list(")", "an attribute") : [];
      attributes.push({ name, args, at });
    }
    return attributes;
  }

  #declaration(attributes: readonly Attribute[]): DeclarationSyntax {
    const keyword = this.#take().text as DeclarationSyntax["keyword"];
    const template = keyword === "var" ? this.#template() : null;
    const { at } = this.#token;
    const name = this.#name(`a ${keyword}`);
    const type = this.#accept(":") ? this.#type() : null;
    const value = this.#accept("=") ? this.#expression() : null;
    if (!value && (keyword === "const" || keyword === "let")) {
      this.#unexpected(`"=" and a value after ${keyword} ${name}`);
    }
    return {
      op: "declare",
      keyword,
      name,
      template,
      type,
      value,
      attributes,
      at,
    };
  }

  #function(attributes: readonly Attribute[]): FunctionSyntax {
    this.#take();
    const { at } = this.#token;
    const name = this.#name("a function");
    this.#expect("(", `fn ${name}`);
    const parameters = this.#fields(")", "a parameter");
    let result: NameSyntax | null = null;
    if (this.#accept("->")) {
      this.#attributes();
      result = this.#type();
    }
    this.#attributes();
    const body = this.#block(`the head of ${name}`);
    return { op: "function", name, parameters, result, body, attributes, at };
  }

  #fields(end: string, what: string): FieldSyntax[] {
    const fields: FieldSyntax[] = [];
    while (!this.#accept(end)) {
      const attributes = this.#attributes();
      const { at } = this.#token;
      const name = this.#name(what);
      this.#expect(":", name);
      fields.push({ name, type: this.#type(), attributes, at });
      if (!this.#accept(",")) {
        this.#expect(end, `${what}, or a comma,`);
        break;
      }
    }
    return fields;
  }

  #assert(): AssertSyntax {
    const { at } = this.#take();
    const condition = this.#expression();
    this.#expect(";", "const_assert");
    return { op: "assert", condition, at };
  }

  // Statements.

  #block(after: string): StatementSyntax[] {
    this.#attributes();
    this.#expect("{", after);
    return this.#nested(() => {
      const body: StatementSyntax[] = [];
      while (!this.#accept("}")) this.#statement(body);
      return body;
    });
  }

  #statement(into: StatementSyntax[]): void {
    if (this.#accept(";")) return;
    this.#attributes();
    const { text, at, kind } = this.#token;
    if (kind === "end") this.#unexpected('"}" to end the block');
    switch (text) {
      case "{":
        into.push({ op: "block", body: this.#block(""), at });
        return;
      case "if":
        into.push(this.#if());
        return;
      case "switch":
        into.push(this.#switch());
        return;
      case "loop":
        into.push(this.#loop());
        return;
      case "while": {
        this.#take();
        const condition = this.#expression();
        const body = this.#block("the condition of while");
        into.push({
          op: "for",
          init: null,
          condition,
          update: null,
          body,
          at,
        });
        return;
      }
      case "for":
        into.push(this.#for());
        return;
      case "const_assert":
        into.push(this.#assert());
        return;
      case "break":
      case "continue":
        this.#take();
        if (text === "break" && this.#is("if")) {
          fail(
            "break if stands only at the end of continuing; write if (…) { break; }",
            at,
          );
        }
        into.push({ op: text, at });
        this.#expect(";", text);
        return;
      case "return": {
        this.#take();
        const value = this.#is(";") ? null : this.#expression();
        this.#expect(";", "return");
        into.push({ op: "return", value, at });
        return;
      }
      case "discard":
        fail("discard is for fragment shaders; write return", at);
    }
    into.push(this.#simple());
    this.#expect(";", "the statement");
  }

  /** What may also stand in the head of a `for`. */
  #simple(): SimpleSyntax {
    const { text, at, kind } = this.#token;
    if (text === "var" || text === "let" || text === "const") {
      return this.#declaration([]);
    }
    if (this.#accept("_")) {
      this.#expect("=", "_");
      const value = this.#expression();
      const operator = null;
      return { op: "assign", target: null, operator, value, step: false, at };
    }
    if (kind === "keyword" || kind === "number") {
      this.#unexpected("a statement");
    }
    const target = this.#unary();
    const { text: sign, at: where } = this.#token;
    if (sign === "++" || sign === "--") {
      this.#take();
      const value = { op: "number", text: "1", at: where } as const;
      const operator = sign === "++" ? "+" : "-";
      return { op: "assign", target, operator, value, step: true, at };
    }
    if (
      sign === "=" ||
      sign.endsWith("=") && BINARY.has(sign.slice(0, -1)) && !BINARY.has(sign)
    ) {
      this.#take();
      const operator = sign === "="
        ? null
        : sign.slice(0, -1) as BinaryOperator;
      const value = this.#expression();
      return { op: "assign", target, operator, value, step: false, at };
    }
    if (target.op !== "call") {
      this.#unexpected('"=" or a call; declarations begin with let or var');
    }
    return { op: "evaluate", call: target, at };
  }

  #if(): StatementSyntax {
    return this.#nested(() => {
      const { at } = this.#take();
      const condition = this.#expression();
      const then = this.#block("the condition of if");
      let otherwise: StatementSyntax[] = [];
      if (this.#accept("else")) {
        otherwise = this.#is("if") ? [this.#if()] : this.#block("else");
      }
      return { op: "if", condition, then, else: otherwise, at };
    });
  }

  #switch(): StatementSyntax {
    const { at } = this.#take();
    const selector = this.#expression();
    this.#attributes();
    this.#expect("{", "the selector of switch");
    const cases: CaseSyntax[] = [];
    while (!this.#accept("}")) {
      const { at } = this.#token;
      const values: (ExpressionSyntax | null)[] = [];
      if (this.#accept("default")) values.push(null);
      else if (this.#accept("case")) {
        do {
          if (this.#is(":") || this.#is("{")) break;
          values.push(this.#accept("default") ? null : this.#expression());
        } while (this.#accept(","));
      } else this.#unexpected('case, default or "}"');
      this.#accept(":");
      cases.push({ values, body: this.#block("case"), at });
    }
    return { op: "switch", selector, cases, at };
  }

  #loop(): StatementSyntax {
    const { at } = this.#take();
    this.#attributes();
    this.#expect("{", "loop");
    return this.#nested(() => {
      const body: StatementSyntax[] = [], continuing: StatementSyntax[] = [];
      let breakIf: ExpressionSyntax | null = null;
      while (!this.#accept("}")) {
        if (!this.#accept("continuing")) {
          this.#statement(body);
          continue;
        }
        this.#attributes();
        this.#expect("{", "continuing");
        while (!this.#accept("}")) {
          if (
            this.#is("break") && this.#tokens[this.#next + 1]?.text === "if"
          ) {
            this.#next += 2;
            breakIf = this.#expression();
            this.#expect(";", "break if");
            this.#expect("}", "break if, the last statement of continuing,");
            break;
          }
          this.#statement(continuing);
        }
        this.#expect("}", "continuing, the last part of the loop,");
        break;
      }
      return { op: "loop", body, continuing, breakIf, at };
    });
  }

  #for(): StatementSyntax {
    const { at } = this.#take();
    this.#expect("(", "for");
    const init = this.#is(";") ? null : this.#simple();
    this.#expect(";", "the start of for");
    const condition = this.#is(";") ? null : this.#expression();
    this.#expect(";", "the condition of for");
    const update = this.#is(")") ? null : this.#simple();
    this.#expect(")", "the head of for");
    const body = this.#block("the head of for");
    return { op: "for", init, condition, update, body, at };
  }

  // Expressions.

  #expression(): ExpressionSyntax {
    return this.#nested(() => {
      const first = this.#unary();
      const { text } = this.#token;
      if (ONE_OF.bitwise.includes(text as "&")) {
        return this.#closed(
          text,
          this.#chain(first, [text], () => this.#unary()),
        );
      }
      const left = this.#comparison(first);
      const operator = this.#token.text;
      if (operator !== "&&" && operator !== "||") {
        return this.#closed(this.#lastOperator, left);
      }
      const chain = this.#chain(
        left,
        [operator],
        () => this.#comparison(this.#unary()),
      );
      return this.#closed(operator, chain);
    });
  }

  #lastOperator = "";

  /** An operator that may not follow without parentheses is an error. */
  #closed(operator: string, expression: ExpressionSyntax): ExpressionSyntax {
    const { text, at, kind } = this.#token;
    if (kind === "symbol" && BINARY.has(text)) {
      fail(`${operator} beside ${text} is ambiguous; add parentheses`, at);
    }
    return expression;
  }

  #chain(
    first: ExpressionSyntax,
    operators: readonly string[],
    operand: () => ExpressionSyntax,
  ): ExpressionSyntax {
    let left = first;
    for (let length = 0; operators.includes(this.#token.text); length++) {
      const { text, at } = this.#take();
      if (length === LONGEST) {
        fail(
          `More than ${LONGEST} operators in a row; name a part with let`,
          at,
        );
      }
      this.#lastOperator = text;
      const right = operand();
      left = {
        op: "binary",
        operator: text as BinaryOperator,
        left,
        right,
        at,
      };
    }
    return left;
  }

  #comparison(first: ExpressionSyntax): ExpressionSyntax {
    const left = this.#shift(first);
    const { text, at } = this.#token;
    if (!ONE_OF.comparison.includes(text as "==")) return left;
    this.#take();
    const right = this.#shift(this.#unary());
    this.#lastOperator = text;
    return { op: "binary", operator: text as BinaryOperator, left, right, at };
  }

  #shift(first: ExpressionSyntax): ExpressionSyntax {
    const { text, at } = this.#token;
    if (ONE_OF.shift.includes(text as "<<")) {
      this.#take();
      this.#lastOperator = text;
      const right = this.#unary();
      return {
        op: "binary",
        operator: text as BinaryOperator,
        left: first,
        right,
        at,
      };
    }
    const product = (first: ExpressionSyntax) =>
      this.#chain(first, ONE_OF.product, () => this.#unary());
    return this.#chain(
      product(first),
      ONE_OF.sum,
      () => product(this.#unary()),
    );
  }

  #unary(): ExpressionSyntax {
    const { text, at } = this.#token;
    switch (text) {
      case "-":
      case "!":
      case "~":
      case "&":
      case "*":
        this.#take();
        return this.#nested(() => ({
          op: "unary",
          operator: text,
          operand: this.#unary(),
          at,
        }));
      case "--":
      case "++":
        fail(
          `${text} before a value; write x${text} as a statement, or -(-x)`,
          at,
        );
    }
    return this.#postfix(this.#primary());
  }

  #postfix(first: ExpressionSyntax): ExpressionSyntax {
    let base = first;
    for (let length = 0;; length++) {
      const { at } = this.#token;
      if (length > DEEPEST) {
        fail(
          `More than ${DEEPEST} members and indices in a row; name a part with let`,
          at,
        );
      }
      if (this.#accept(".")) {
        base = { op: "member", base, member: this.#name("a member"), at };
      } else if (this.#accept("[")) {
        const index = this.#expression();
        this.#expect("]", "the index");
        base = { op: "index", base, index, at };
      } else return base;
    }
  }

  #primary(): ExpressionSyntax {
    const { text, at, kind } = this.#token;
    if (kind === "number") {
      this.#take();
      return { op: "number", text, at };
    }
    if (text === "true" || text === "false") {
      this.#take();
      return { op: "bool", value: text === "true", at };
    }
    if (this.#accept("(")) {
      const inner = this.#expression();
      this.#expect(")", "the expression");
      return inner;
    }
    if (kind !== "name") this.#unexpected("a value");
    const callee = this.#named();
    if (!this.#accept("(")) return callee;
    return { op: "call", callee, args: this.#list(")", "the arguments"), at };
  }

  #list(end: string, what: string): ExpressionSyntax[] {
    const items: ExpressionSyntax[] = [];
    while (!this.#accept(end)) {
      items.push(this.#expression());
      if (!this.#accept(",")) {
        this.#expect(end, what);
        break;
      }
    }
    return items;
  }

  #template(): ExpressionSyntax[] | null {
    return this.#accept("<template")
      ? this.#list("template>", "the template arguments")
      : null;
  }

  #named(): NameSyntax {
    const { at } = this.#token;
    const name = this.#name("a type or value");
    return { op: "name", name, template: this.#template(), at };
  }

  #type(): NameSyntax {
    if (this.#token.kind !== "name") this.#unexpected("a type");
    return this.#nested(() => this.#named());
  }
}
