/**
 * Functions: their parameters, statements and scopes.
 *
 * @module
 */
import { checkCall } from "./check_call.ts";
import {
  checkCondition,
  checkExpression,
  checkValue,
} from "./check_expression.ts";
import { checkBinary } from "./check_operator.ts";
import { constructibleType, nameOf, resolveType } from "./check_type.ts";
import { fail } from "./error.ts";
import { waysOf } from "./flow.ts";
import {
  constant,
  leavesAs,
  mismatch,
  nodeAs,
  nodeOf,
  type Operand,
  read,
} from "./operand.ts";
import { constantScope, type Entity, type Scope } from "./scope.ts";
import type {
  AssertSyntax,
  AssignSyntax,
  CaseSyntax,
  DeclarationSyntax,
  ExpressionSyntax,
  FunctionSyntax,
  SimpleSyntax,
  StatementSyntax,
} from "./syntax.ts";
import type {
  Expression,
  FunctionNode,
  Position,
  Statement,
  Type,
  Variable,
} from "./tree.ts";
import {
  BOOL,
  concrete,
  converts,
  I32,
  isConstructible,
  sameType,
  show,
  U32,
} from "./types.ts";

/** Checks a function; names that it does not declare are looked up in the module. */
export function checkFunction(
  syntax: FunctionSyntax,
  module: Scope,
): FunctionNode {
  const parameters = syntax.parameters.map((parameter): Variable => {
    const type = resolveType(parameter.type, module);
    if (type.kind !== "pointer") constructibleType(parameter.type, module);
    return declared(parameter.name, type, "parameter", parameter.at);
  });
  return checkBody(syntax, parameters, [], module);
}

/** A function with given parameters, and statements that precede its own. */
export function checkBody(
  syntax: FunctionSyntax,
  parameters: readonly Variable[],
  first: readonly Statement[],
  module: Scope,
): FunctionNode {
  const { name, at } = syntax;
  const result = syntax.result && constructibleType(syntax.result, module);
  const checker = new FunctionChecker(name, result, module);
  const locals = first.flatMap((s) => s.op === "declare" ? [s.variable] : []);
  const visible = [...parameters, ...locals];
  const body = [...first, ...checker.body(visible, syntax.body)];
  if (waysOf(body).next && result) {
    fail(
      `${name}() may end without a value; add a return of ${show(result)}`,
      at,
    );
  }
  return { name, parameters, result, body, at };
}

function declared(
  name: string,
  type: Type,
  kind: Variable["kind"],
  at: Position,
): Variable {
  return { name, type, kind, space: "function", at };
}

/** `const_assert`, in a function or outside. */
export function checkAssert(
  { condition, at }: AssertSyntax,
  scope: Scope,
): void {
  const { value, type } = checkValue(condition, constantScope(scope));
  if (!value || type !== BOOL) {
    fail("const_assert needs a constant condition; write consts only", at);
  }
  if (!value[0]) fail("The const_assert does not hold; correct the consts", at);
}

/** The value of a `const`, an `override` or a variable outside of functions. */
export function constantOf(syntax: DeclarationSyntax, scope: Scope): Operand {
  const { name, at } = syntax;
  const operand = checkValue(syntax.value!, scope);
  if (!operand.value) {
    fail(
      `The value of ${name} is not constant; write consts only, or let`,
      operand.at,
    );
  }
  if (!syntax.type) return operand;
  const type = constructibleType(syntax.type, scope);
  if (!converts(operand.type, type)) {
    mismatch(operand, type, `The value of ${name}`);
  }
  return constant(type, leavesAs(operand, type), at);
}

class FunctionChecker implements Scope {
  readonly #name: string;
  readonly #result: Type | null;
  readonly #module: Scope;
  readonly #scopes: Map<string, Entity>[] = [];
  /** What `break` and `continue` would leave, the innermost last. */
  #around: ("loop" | "switch" | "continuing")[] = [];

  constructor(name: string, result: Type | null, module: Scope) {
    this.#name = name;
    this.#result = result;
    this.#module = module;
  }

  // Names.

  lookup(name: string, at: Position): Entity | null {
    for (let i = this.#scopes.length - 1; i >= 0; i--) {
      const entity = this.#scopes[i]!.get(name);
      if (entity) return entity;
    }
    return this.#module.lookup(name, at);
  }

  *names(): Iterable<string> {
    for (const scope of this.#scopes) yield* scope.keys();
    yield* this.#module.names();
  }

  #declare(name: string, entity: Entity, at: Position): void {
    const scope = this.#scopes.at(-1)!;
    if (scope.has(name)) {
      fail(`${name} is declared a second time here; rename one`, at);
    }
    scope.set(name, entity);
  }

  #scoped<T>(body: () => T): T {
    this.#scopes.push(new Map());
    const result = body();
    this.#scopes.pop();
    return result;
  }

  #inside<T>(what: "loop" | "switch" | "continuing", body: () => T): T {
    this.#around.push(what);
    const result = body();
    this.#around.pop();
    return result;
  }

  // Statements.

  body(
    parameters: readonly Variable[],
    statements: readonly StatementSyntax[],
  ): Statement[] {
    return this.#scoped(() => {
      for (const variable of parameters) {
        this.#declare(
          variable.name,
          { kind: "variable", variable },
          variable.at,
        );
      }
      return this.#statements(statements);
    });
  }

  #block(statements: readonly StatementSyntax[]): Statement[] {
    return this.#scoped(() => this.#statements(statements));
  }

  #statements(statements: readonly StatementSyntax[]): Statement[] {
    return statements.flatMap((statement) => this.#statement(statement) ?? []);
  }

  #statement(syntax: StatementSyntax): Statement | null {
    const { at } = syntax;
    switch (syntax.op) {
      case "declare":
      case "assign":
      case "evaluate":
        return this.#simple(syntax);
      case "assert":
        checkAssert(syntax, this);
        return null;
      case "block":
        return { op: "block", body: this.#block(syntax.body), at };
      case "if": {
        const condition = checkCondition(
          syntax.condition,
          this,
          "The condition",
        );
        const then = this.#block(syntax.then);
        return {
          op: "if",
          condition,
          then,
          else: this.#block(syntax.else),
          at,
        };
      }
      case "switch":
        return this.#switch(syntax.selector, syntax.cases, at);
      case "for":
        return this.#scoped(() => {
          const init = syntax.init && this.#simple(syntax.init);
          const condition = syntax.condition &&
            checkCondition(syntax.condition, this, "The condition");
          const update = syntax.update && this.#simple(syntax.update);
          if (update?.op === "declare") {
            fail(
              "A declaration after each turn; write an assignment",
              update.at,
            );
          }
          const body = this.#inside("loop", () => this.#block(syntax.body));
          return { op: "for", init, condition, update, body, at };
        });
      case "loop":
        return this.#inside("loop", () =>
          this.#scoped(() => {
            const body = this.#statements(syntax.body);
            return this.#inside("continuing", () =>
              this.#scoped(() => ({
                op: "loop",
                body,
                continuing: this.#statements(syntax.continuing),
                breakIf: syntax.breakIf &&
                  checkCondition(syntax.breakIf, this, "The condition"),
                at,
              })));
          }));
      case "return":
        return this.#return(syntax.value, at);
      case "break":
        if (!this.#around.length || this.#around.at(-1) === "continuing") {
          fail(
            this.#around.length
              ? "A break in continuing; write break if …; at its end"
              : "A break outside of loops; write return",
            at,
          );
        }
        return { op: "break", at };
      case "continue": {
        const loop = this.#around.findLast((what) => what !== "switch");
        if (loop !== "loop") {
          fail(
            loop
              ? "A continue in continuing; remove it"
              : "A continue outside of loops; write return",
            at,
          );
        }
        return { op: "continue", at };
      }
    }
  }

  #return(value: ExpressionSyntax | null, at: Position): Statement {
    const result = this.#result;
    if (this.#around.includes("continuing")) {
      fail("A return in continuing; move it into the loop", at);
    }
    if (!result) {
      if (value) {
        fail(
          `${this.#name}() returns nothing; remove the value, or write -> and its type`,
          at,
        );
      }
      return { op: "return", value: null, at };
    }
    if (!value) {
      fail(`${this.#name}() returns ${show(result)}; write a value`, at);
    }
    const what = `The result of ${this.#name}()`;
    return {
      op: "return",
      value: nodeAs(checkValue(value, this), result, what),
      at,
    };
  }

  #simple(syntax: SimpleSyntax): Statement | null {
    switch (syntax.op) {
      case "declare":
        return this.#declaration(syntax);
      case "assign":
        return this.#assign(syntax);
      case "evaluate": {
        const call = syntax.call as ExpressionSyntax & { op: "call" };
        const { operand, gives } = checkCall(call, this);
        if (gives === "value") {
          fail(
            `The result of ${call.callee.name}() is not used; write _ = or let`,
            syntax.at,
          );
        }
        return { op: "evaluate", value: operand.node!, at: syntax.at };
      }
    }
  }

  #declaration(syntax: DeclarationSyntax): Statement | null {
    const { keyword, name, at, template } = syntax;
    if (keyword === "const") {
      const operand = constantOf(syntax, constantScope(this));
      this.#declare(name, { kind: "constant", operand }, at);
      return null;
    }
    if (
      template && (template.length > 1 || nameOf(template[0]!) !== "function")
    ) {
      fail(`A var<…> in a function; write var, or move it outside`, at);
    }
    const operand = syntax.value && checkValue(syntax.value, this);
    const written = syntax.type && resolveType(syntax.type, this);
    const type = written ?? (operand && concrete(operand.type));
    if (!type) fail(`var ${name} has no type; write var ${name}: f32`, at);
    const isPointer = type.kind === "pointer" && keyword === "let";
    if (!isConstructible(type) && !isPointer) {
      fail(
        `A ${keyword} of ${show(type)}; declare it outside of functions`,
        at,
      );
    }
    const value = operand && nodeAs(operand, type, `The value of ${name}`);
    const kind = keyword === "let" ? "let" : "var";
    const variable = declared(name, type, kind, at);
    this.#declare(name, { kind: "variable", variable }, at);
    return { op: "declare", variable, value, at };
  }

  #assign(syntax: AssignSyntax): Statement {
    const { operator, step, at } = syntax;
    if (!syntax.target) {
      return {
        op: "evaluate",
        value: nodeOf(checkValue(syntax.value, this)),
        at,
      };
    }
    const target = checkExpression(syntax.target, this);
    checkWritable(target, syntax.target, at);
    const operand = checkValue(syntax.value, this);
    const node = target.node!, { type } = node;
    if (!operator) {
      const value = nodeAs(operand, type, "The value");
      return { op: "assign", target: node, operator, value, at };
    }
    if (step && type !== I32 && type !== U32) {
      fail(`${operator}${operator} of ${show(type)}; write ${operator}= 1`, at);
    }
    const result = checkBinary(operator, read(target), operand, at);
    if (!sameType(result.type, type)) {
      mismatch({ ...result, at }, type, `The result of ${operator}=`);
    }
    if (result.node!.op !== "binary") {
      fail(`${operator}= with a matrix; write x = x ${operator} y`, at);
    }
    const value = result.node!.right; // spread and converted
    return { op: "assign", target: node, operator, value, at };
  }

  #switch(
    selector: ExpressionSyntax,
    cases: readonly CaseSyntax[],
    at: Position,
  ): Statement {
    const chosen = nodeOf(checkValue(selector, this));
    const { type } = chosen;
    if (type !== I32 && type !== U32) {
      fail(`A switch over ${show(type)}; write i32(…) or u32(…)`, chosen.at);
    }
    const seen = new Set<number>();
    let defaults = 0;
    const checked = this.#inside("switch", () =>
      cases.map((one) => {
        const values = one.values.flatMap((value) => {
          if (!value) {
            defaults++;
            return [];
          }
          const number = this.#caseValue(value, type);
          if (seen.has(number)) {
            fail(`A second case ${number}; remove one`, value.at);
          }
          seen.add(number);
          return [number];
        });
        const isDefault = one.values.includes(null);
        return { values, isDefault, body: this.#block(one.body) };
      }));
    if (defaults !== 1) {
      fail(`A switch with ${defaults} defaults; write one default: { }`, at);
    }
    return { op: "switch", selector: chosen, cases: checked, at };
  }

  #caseValue(syntax: ExpressionSyntax, type: Type): number {
    const operand = checkValue(syntax, constantScope(this));
    if (!operand.value) {
      fail("A case must be constant; write a const", syntax.at);
    }
    const node: Expression = nodeAs(operand, type, "The case");
    return node.op === "literal" ? node.values[0]! : NaN;
  }
}

/** Throws unless a target may be assigned to. */
function checkWritable(
  { place, node, type }: Operand,
  syntax: ExpressionSyntax,
  at: Position,
): void {
  if (place?.access === "read_write") {
    if (isConstructible(type)) return;
    fail(
      type.kind === "atomic"
        ? "An assignment to an atomic; write atomicStore(&…, …)"
        : `An assignment to ${show(type)}; assign its elements`,
      at,
    );
  }
  if (place) {
    fail(
      place.space === "uniform"
        ? "An assignment to a uniform variable; write to storage"
        : "An assignment to read-only storage; declare it var<storage, read_write>",
      at,
    );
  }
  if (syntax.op === "member" && node?.op === "swizzle") {
    fail(
      "An assignment to a swizzle; assign its components one by one, or the whole vector",
      at,
    );
  }
  let root = syntax;
  while (root.op === "member" || root.op === "index") root = root.base;
  const name = root.op === "name" ? root.name : "a value";
  fail(
    node
      ? `An assignment to ${name}, which cannot change; declare it with var`
      : `An assignment to the constant ${name}; declare it with var`,
    at,
  );
}
