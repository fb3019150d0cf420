/**
 * The tree of a WGSL text as written: no types, no names resolved.
 *
 * @module
 */
import type { BinaryOperator, Position } from "./tree.ts";

/** A name, perhaps with template arguments: a type, a value, or what is called. */
export interface NameSyntax {
  readonly op: "name";
  readonly name: string;
  readonly template: readonly ExpressionSyntax[] | null;
  readonly at: Position;
}

/** An expression; types are names. */
export type ExpressionSyntax =
  | NameSyntax
  | { readonly op: "number"; readonly text: string; readonly at: Position }
  | { readonly op: "bool"; readonly value: boolean; readonly at: Position }
  | {
    readonly op: "call";
    readonly callee: NameSyntax;
    readonly args: readonly ExpressionSyntax[];
    readonly at: Position;
  }
  | {
    readonly op: "index";
    readonly base: ExpressionSyntax;
    readonly index: ExpressionSyntax;
    readonly at: Position;
  }
  | {
    readonly op: "member";
    readonly base: ExpressionSyntax;
    readonly member: string;
    readonly at: Position;
  }
  | {
    readonly op: "unary";
    readonly operator: "-" | "!" | "~" | "&" | "*";
    readonly operand: ExpressionSyntax;
    readonly at: Position;
  }
  | {
    readonly op: "binary";
    readonly operator: BinaryOperator;
    readonly left: ExpressionSyntax;
    readonly right: ExpressionSyntax;
    readonly at: Position;
  };

/** `@name(args)`. */
export interface Attribute {
  readonly name: string;
  readonly args: readonly ExpressionSyntax[];
  readonly at: Position;
}

/** `const`, `let`, `var` or `override`, in a function or outside. */
export interface DeclarationSyntax {
  readonly op: "declare";
  readonly keyword: "const" | "let" | "var" | "override";
  readonly name: string;
  /** Of `var<…>`. */
  readonly template: readonly ExpressionSyntax[] | null;
  readonly type: NameSyntax | null;
  readonly value: ExpressionSyntax | null;
  readonly attributes: readonly Attribute[];
  readonly at: Position;
}

/** `target operator= value`; without target `_ = value`. `x++` is `x += 1`, a `step`. */
export interface AssignSyntax {
  readonly op: "assign";
  readonly target: ExpressionSyntax | null;
  readonly operator: BinaryOperator | null;
  readonly value: ExpressionSyntax;
  readonly step: boolean;
  readonly at: Position;
}

/** A call for its effect. */
export interface CallSyntax {
  readonly op: "evaluate";
  readonly call: ExpressionSyntax;
  readonly at: Position;
}

/** `const_assert condition;`. */
export interface AssertSyntax {
  readonly op: "assert";
  readonly condition: ExpressionSyntax;
  readonly at: Position;
}

/** What may stand in the head of a `for`. */
export type SimpleSyntax = DeclarationSyntax | AssignSyntax | CallSyntax;

/** One `case` or `default` of a switch; a `null` among the values is `default`. */
export interface CaseSyntax {
  readonly values: readonly (ExpressionSyntax | null)[];
  readonly body: readonly StatementSyntax[];
  readonly at: Position;
}

/** A statement. */
export type StatementSyntax =
  | SimpleSyntax
  | AssertSyntax
  | {
    readonly op: "if";
    readonly condition: ExpressionSyntax;
    readonly then: readonly StatementSyntax[];
    readonly else: readonly StatementSyntax[];
    readonly at: Position;
  }
  | {
    readonly op: "switch";
    readonly selector: ExpressionSyntax;
    readonly cases: readonly CaseSyntax[];
    readonly at: Position;
  }
  | {
    readonly op: "for";
    readonly init: SimpleSyntax | null;
    readonly condition: ExpressionSyntax | null;
    readonly update: SimpleSyntax | null;
    readonly body: readonly StatementSyntax[];
    readonly at: Position;
  }
  | {
    readonly op: "loop";
    readonly body: readonly StatementSyntax[];
    readonly continuing: readonly StatementSyntax[];
    readonly breakIf: ExpressionSyntax | null;
    readonly at: Position;
  }
  | {
    readonly op: "block";
    readonly body: readonly StatementSyntax[];
    readonly at: Position;
  }
  | {
    readonly op: "return";
    readonly value: ExpressionSyntax | null;
    readonly at: Position;
  }
  | { readonly op: "break" | "continue"; readonly at: Position };

/** A member of a struct or a parameter of a function. */
export interface FieldSyntax {
  readonly name: string;
  readonly type: NameSyntax;
  readonly attributes: readonly Attribute[];
  readonly at: Position;
}

/** `struct name { … }`. */
export interface StructSyntax {
  readonly op: "struct";
  readonly name: string;
  readonly members: readonly FieldSyntax[];
  readonly at: Position;
}

/** `alias name = type;`. */
export interface AliasSyntax {
  readonly op: "alias";
  readonly name: string;
  readonly type: NameSyntax;
  readonly at: Position;
}

/** `fn name(…) { … }`. */
export interface FunctionSyntax {
  readonly op: "function";
  readonly name: string;
  readonly parameters: readonly FieldSyntax[];
  readonly result: NameSyntax | null;
  readonly body: readonly StatementSyntax[];
  readonly attributes: readonly Attribute[];
  readonly at: Position;
}

/** What has a name in a module. */
export type GlobalSyntax =
  | DeclarationSyntax
  | StructSyntax
  | AliasSyntax
  | FunctionSyntax;

/** A whole text. */
export interface ModuleSyntax {
  readonly globals: ReadonlyMap<string, GlobalSyntax>;
  readonly asserts: readonly AssertSyntax[];
}
