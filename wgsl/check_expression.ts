/**
 * Expressions: names, members, indices, pointers. Operators are in check_operator.ts, calls in
 * check_call.ts.
 *
 * @module
 */
import { checkCall } from "./check_call.ts";
import { checkBinary, checkUnary } from "./check_operator.ts";
import { parseNumber } from "./constants.ts";
import { fail } from "./error.ts";
import {
  constant,
  nodeAs,
  nodeOf,
  type Operand,
  read,
  runtime,
} from "./operand.ts";
import { type Scope, unknown } from "./scope.ts";
import type { ExpressionSyntax, NameSyntax } from "./syntax.ts";
import type { Expression, Position, Type, Variable } from "./tree.ts";
import {
  BOOL,
  isMatrix,
  lanesType,
  leavesOf,
  type LooseType,
  scalarOf,
  show,
  U32,
} from "./types.ts";

/** What an expression is: a constant, a value or a place. */
export function checkExpression(
  syntax: ExpressionSyntax,
  scope: Scope,
): Operand {
  const { at } = syntax;
  switch (syntax.op) {
    case "number": {
      const { scalar, value } = parseNumber(syntax.text, at);
      return constant(lanesType(scalar, 1), [value], at);
    }
    case "bool":
      return constant(BOOL, [Number(syntax.value)], at);
    case "name":
      return checkName(syntax, scope);
    case "member":
      return member(
        target(checkExpression(syntax.base, scope)),
        syntax.member,
        at,
      );
    case "index":
      return element(
        target(checkExpression(syntax.base, scope)),
        checkValue(syntax.index, scope),
        at,
      );
    case "unary": {
      const { operator } = syntax;
      const operand = checkExpression(syntax.operand, scope);
      if (operator === "&") return address(operand, at);
      if (operator === "*") return deref(operand, at);
      return checkUnary(operator, read(operand), at);
    }
    case "binary":
      return checkBinary(
        syntax.operator,
        checkValue(syntax.left, scope),
        checkValue(syntax.right, scope),
        at,
      );
    case "call": {
      const result = checkCall(syntax, scope);
      if (result.gives === "nothing") {
        fail(
          `${syntax.callee.name}() has no result; call it as a statement`,
          at,
        );
      }
      return result.operand;
    }
  }
}

/** `checkExpression`, and what a place holds. */
export function checkValue(syntax: ExpressionSyntax, scope: Scope): Operand {
  return read(checkExpression(syntax, scope));
}

/** A condition: one bool. */
export function checkCondition(
  syntax: ExpressionSyntax,
  scope: Scope,
  what: string,
): Expression {
  return nodeAs(checkValue(syntax, scope), BOOL, what);
}

function checkName({ name, template, at }: NameSyntax, scope: Scope): Operand {
  const entity = scope.lookup(name, at);
  if (!entity) unknown(name, "name", scope.names(), at);
  if (template || entity.kind === "type" || entity.kind === "function") {
    fail(`${name} is a ${entity.kind}, not a value; call it: ${name}(…)`, at);
  }
  return entity.kind === "constant"
    ? { ...entity.operand, at }
    : variableOperand(entity.variable, at);
}

/** A variable where it is named. */
function variableOperand(variable: Variable, at: Position): Operand {
  const node = { op: "variable", variable, type: variable.type, at } as const;
  if (variable.kind !== "var") return runtime(node);
  const { space } = variable;
  const access = variable.access ??
    (space === "uniform" ? "read" : "read_write");
  return runtime(node, { space, access });
}

/** What `.` and `[]` apply to: where a pointer points, else the operand. */
function target(operand: Operand): Operand {
  return operand.type.kind === "pointer" ? deref(operand, operand.at) : operand;
}

function deref(operand: Operand, at: Position): Operand {
  const { type, node } = operand;
  if (type.kind !== "pointer") {
    fail(`* before ${show(type)}; write it before a pointer only`, at);
  }
  const { space, access } = type;
  const place = { space, access };
  if (node!.op === "address") return runtime(node!.place, place);
  return runtime({ op: "deref", pointer: node!, type: type.target, at }, place);
}

function address(operand: Operand, at: Position): Operand {
  const { place, node } = operand;
  if (!place || node!.op === "swizzle") {
    const what = node?.op === "swizzle" ? "a component of a vector" : "a value";
    fail(`& before ${what}; write it before a variable only`, at);
  }
  if (node!.op === "deref") return runtime(node!.pointer);
  const type = { kind: "pointer", target: node!.type, ...place } as const;
  return runtime({ op: "address", place: node!, type, at });
}

/** Parts `first` to `first + count` of a constant's numbers. */
function part(
  base: Operand,
  type: LooseType,
  first: number,
  at: Position,
): Operand {
  return constant(type, base.value!.slice(first, first + leavesOf(type)), at);
}

function member(base: Operand, name: string, at: Position): Operand {
  const { type, value, node, place } = base;
  if (type.kind === "vector") return swizzle(base, name, at);
  if (type.kind !== "struct" || isMatrix(type)) {
    fail(`${show(type)} has no member ${name}; remove .${name}`, at);
  }
  const index = type.members.findIndex((member) => member.name === name);
  if (index < 0) {
    const names = type.members.map((member) => member.name);
    unknown(name, `member of ${type.name}`, names, at);
  }
  if (value) {
    const before = type.members.slice(0, index);
    const first = before.reduce((sum, { type }) => sum + leavesOf(type), 0);
    return part(base, type.members[index]!.type, first, at);
  }
  return runtime(
    { op: "member", base: node!, index, type: type.members[index]!.type, at },
    place,
  );
}

function swizzle(base: Operand, name: string, at: Position): Operand {
  const { type, value, node, place } = base;
  if (type.kind !== "vector") throw new TypeError("a vector expected");
  const letters = /^[xyzw]{1,4}$/.test(name)
    ? "xyzw"
    : /^[rgba]{1,4}$/.test(name)
    ? "rgba"
    : fail(`${show(type)} has no member ${name}; write .x or .xyz`, at);
  const lanes = Array.from(name, (letter) => letters.indexOf(letter));
  const wrong = lanes.findIndex((lane) => lane >= type.width);
  if (wrong >= 0) {
    fail(
      `${show(type)} has no component ${name[wrong]}; write one of ${
        letters.slice(0, type.width)
      }`,
      at,
    );
  }
  const result = lanesType(type.scalar, lanes.length);
  if (value) return constant(result, lanes.map((lane) => value[lane]!), at);
  return runtime(
    { op: "swizzle", base: node!, lanes, type: result as Type, at },
    lanes.length === 1 ? place : null,
  );
}

function element(base: Operand, index: Operand, at: Position): Operand {
  const { type, value, node, place } = base;
  const columns = isMatrix(type);
  const [of, count] = type.kind === "array"
    ? [type.element, type.count]
    : type.kind === "vector"
    ? [lanesType(type.scalar, 1), type.width]
    : columns
    ? [type.members[0]!.type, type.members.length]
    : fail(`${show(type)} has no elements; remove the index`, at);
  if (!/^(i32|u32|abstract-int)$/.test(String(indexScalar(index)))) {
    fail(
      `An index of type ${show(index.type)}; write u32(…)`,
      index.at,
    );
  }
  if (index.value) {
    const i = Number(index.value[0]!);
    if (i < 0 || i >= (count ?? 2 ** 32)) {
      fail(
        `Index ${i} of ${show(type)}; write 0 to ${(count ?? 2 ** 32) - 1}`,
        index.at,
      );
    }
    if (value) return part(base, of, i * leavesOf(of), at);
    if (type.kind === "vector") {
      return swizzle(base, "xyzw"[i]!, at);
    }
    if (columns) {
      return runtime(
        { op: "member", base: node!, index: i, type: of as Type, at },
        place,
      );
    }
  } else if (columns) {
    fail(
      `${type.name} at an index that is not constant; write array<${
        show(of)
      }, ${count}> instead`,
      at,
    );
  }
  const where = index.value && indexScalar(index) === "abstract-int"
    ? nodeAs(index, U32, "The index")
    : nodeOf(index);
  const from = nodeOfBase(base);
  // A constant array of abstract numbers has become one of concrete ones.
  const result = from.type.kind === "array"
    ? from.type.element
    : lanesType(scalarOf(from.type)!, 1) as Type;
  return runtime(
    { op: "index", base: from, index: where, type: result, at },
    place,
  );
}

function indexScalar({ type }: Operand): string | null {
  return type.kind === "scalar" ? type.scalar : null;
}

/** A place stays one, though it may be an array that cannot be read as a whole. */
function nodeOfBase(base: Operand): Expression {
  return base.place ? base.node! : nodeOf(base);
}
