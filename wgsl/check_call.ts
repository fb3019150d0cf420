/**
 * Calls: of functions, of types (which construct values), of what the language brings.
 *
 * @module
 */
import { checkBuiltin, isBuiltin } from "./check_builtin.ts";
import { construct, constructInferred } from "./check_construct.ts";
import { checkExpression } from "./check_expression.ts";
import { predeclaredType, resolveType } from "./check_type.ts";
import { fail } from "./error.ts";
import { nodeAs, type Operand, read, runtime } from "./operand.ts";
import { type Scope, unknown } from "./scope.ts";
import type { ExpressionSyntax } from "./syntax.ts";
import type { FunctionNode, Position } from "./tree.ts";
import { U32 } from "./types.ts";

/** A call that was checked. */
export interface CallResult {
  readonly operand: Operand;
  /** `effect`: may be called for its effect alone; `value`: must be used; `nothing`: cannot. */
  readonly gives: "nothing" | "effect" | "value";
}

/** `callee(args)`. */
export function checkCall(
  syntax: ExpressionSyntax & { op: "call" },
  scope: Scope,
): CallResult {
  const { callee, at } = syntax;
  const { name } = callee;
  const entity = scope.lookup(name, at);
  if (entity?.kind === "variable" || entity?.kind === "constant") {
    fail(`${name} is a ${entity.kind}, not a function; rename one of them`, at);
  }
  const args = syntax.args.map((arg) => read(checkExpression(arg, scope)));
  if (entity?.kind === "function") {
    return callFunction(entity.function, args, at);
  }
  if (entity?.kind === "type") {
    const operand = construct(resolveType(callee, scope), args, at);
    return { operand, gives: "value" };
  }
  const type = predeclaredType(callee, scope);
  if (type) return { operand: construct(type, args, at), gives: "value" };
  const inferred = constructInferred(name, args, at);
  if (inferred) return { operand: inferred, gives: "value" };
  if (!isBuiltin(name)) unknown(name, "function", scope.names(), at);
  return checkBuiltin(callee, args, scope, at);
}

function callFunction(
  f: FunctionNode,
  args: readonly Operand[],
  at: Position,
): CallResult {
  const { name, parameters, result } = f;
  if (args.length !== parameters.length) {
    const list = parameters.map((parameter) => parameter.name).join(", ");
    fail(
      `${name}() has ${args.length} arguments; write ${parameters.length}: ${name}(${list})`,
      at,
    );
  }
  const nodes = parameters.map((parameter, i) =>
    nodeAs(args[i]!, parameter.type, `Argument ${parameter.name} of ${name}()`)
  );
  const type = result ?? U32; // without result it means nothing
  return {
    operand: runtime({ op: "call", function: f, args: nodes, type, at }),
    gives: result ? "effect" : "nothing",
  };
}
