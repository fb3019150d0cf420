/**
 * Operators: which types they take, and their value on constants.
 *
 * @module
 */
import { binary, isComparison, unary } from "./constants.ts";
import { fail } from "./error.ts";
import {
  constant,
  leavesAs,
  nodeAs,
  type Operand,
  runtime,
  spread,
} from "./operand.ts";
import type { BinaryOperator, Expression, Position, Type } from "./tree.ts";
import {
  type AnyScalar,
  BOOL,
  commonScalar,
  concrete,
  F32,
  isMatrix,
  lanesType,
  registerType,
  scalarOf,
  show,
  widthOf,
} from "./types.ts";

/** `-x`, `!x` or `~x`. */
export function checkUnary(
  operator: "-" | "!" | "~",
  operand: Operand,
  at: Position,
): Operand {
  const { type, value, node } = operand;
  const scalar = scalarOf(type);
  const takes = { "-": /i32|f32|abstract/, "!": /bool/, "~": /i32|u32|int/ };
  if (!scalar || !takes[operator].test(scalar)) {
    const instead = operator === "-" && scalar === "u32"
      ? "write i32(…) or 0u - x"
      : operator === "!"
      ? "compare it with == 0"
      : "convert it";
    fail(`No operator ${operator} for ${show(type)}; ${instead}`, at);
  }
  if (value) {
    const lanes = value.map((lane) => unary(operator, scalar, lane, at));
    return constant(type, lanes, at);
  }
  return runtime({
    op: "unary",
    operator,
    operand: node!,
    type: node!.type,
    at,
  });
}

/** `left operator right`; a scalar beside a vector is spread. */
export function checkBinary(
  operator: BinaryOperator,
  left: Operand,
  right: Operand,
  at: Position,
): Operand {
  if (isMatrix(left.type) || isMatrix(right.type)) {
    return matrixProduct(operator, left, right, at);
  }
  if (operator === "&&" || operator === "||") {
    return logical(operator, left, right, at);
  }
  if (operator === "<<" || operator === ">>") {
    return shift(operator, left, right, at);
  }
  const { scalar, width } = common(operator, left, right, at);
  const type = lanesType(scalar, width);
  const a = spread(left, width), b = spread(right, width);
  if (a.value && b.value) {
    const y = leavesAs(b, type);
    const lanes = leavesAs(a, type).map((x, i) =>
      binary(operator, scalar, x, y[i]!, at)
    );
    return constant(
      isComparison(operator) ? lanesType("bool", width) : type,
      lanes,
      at,
    );
  }
  const sides = concrete(type);
  return runtime({
    op: "binary",
    operator,
    left: nodeAs(a, sides, "The left side"),
    right: nodeAs(b, sides, "The right side"),
    type: isComparison(operator) ? registerType("bool", width) : sides,
    at,
  });
}

/** The scalar type and width in which both sides meet. */
function common(
  operator: BinaryOperator,
  left: Operand,
  right: Operand,
  at: Position,
): { scalar: AnyScalar; width: number } {
  const a = scalarOf(left.type), b = scalarOf(right.type);
  const scalar = a && b && commonScalar([a, b]);
  const [wide, narrow] = [widthOf(left.type), widthOf(right.type)]
    .sort((x, y) => y - x) as [number, number];
  if (!scalar) {
    const instead = a && b ? "convert one of them" : "take their parts";
    reject(operator, left, right, instead, at);
  }
  const mayMix = /^[-+*/%]$/.test(operator);
  if (wide !== narrow && !(mayMix && narrow === 1)) {
    const instead = narrow === 1
      ? `write vec${wide}(…) around the scalar`
      : "make them equally wide";
    reject(operator, left, right, instead, at);
  }
  const takes = /^[&|]$/.test(operator)
    ? /^(bool|[iu]32|abstract-int)$/
    : operator === "^"
    ? /^([iu]32|abstract-int)$/
    : operator === "==" || operator === "!="
    ? /./
    : /^(f32|[iu]32|abstract-.*)$/;
  if (!takes.test(scalar)) {
    const instead = scalar === "bool"
      ? "write select(0.0, 1.0, …), or && and ||"
      : "write bitcast<u32>(…) for bits";
    reject(operator, left, right, instead, at);
  }
  return { scalar, width: wide };
}

function reject(
  operator: BinaryOperator,
  left: Operand,
  right: Operand,
  instead: string,
  at: Position,
): never {
  fail(
    `No operator ${operator} for ${show(left.type)} and ${
      show(right.type)
    }; ${instead}`,
    at,
  );
}

function logical(
  operator: "&&" | "||",
  left: Operand,
  right: Operand,
  at: Position,
): Operand {
  if (left.type !== BOOL || right.type !== BOOL) {
    reject(operator, left, right, "both sides must be bool; compare them", at);
  }
  if (left.value) {
    const decides = Boolean(left.value[0]) === (operator === "||");
    return { ...(decides ? left : right), at };
  }
  return runtime({
    op: "binary",
    operator,
    left: left.node!,
    right: nodeAs(right, BOOL, "The right side"),
    type: BOOL,
    at,
  });
}

function shift(
  operator: "<<" | ">>",
  left: Operand,
  right: Operand,
  at: Position,
): Operand {
  const scalar = scalarOf(left.type), by = scalarOf(right.type);
  const width = widthOf(left.type);
  if (
    !/^([iu]32|abstract-int)$/.test(String(scalar)) ||
    !/^(u32|abstract-int)$/.test(String(by)) ||
    width !== widthOf(right.type)
  ) {
    const instead = width > 1 && widthOf(right.type) === 1
      ? `write vec${width}u(…) on the right`
      : by === "i32"
      ? "write u32(…) on the right"
      : "write integers on the left, u32 of the same width on the right";
    reject(operator, left, right, instead, at);
  }
  const amount = lanesType("u32", width) as Type;
  if (right.value) {
    // Shifting by too much is an error even where the left side is not known.
    const bits = scalar === "abstract-int" && left.value ? 64 : 32;
    const most = leavesAs(right, amount).find((lane) => Number(lane) >= bits);
    if (most !== undefined) {
      fail(`A shift by ${most}; write less than ${bits}`, right.at);
    }
    if (left.value) {
      const lanes = left.value.map((x, i) =>
        binary(operator, scalar!, x, leavesAs(right, amount)[i]!, at)
      );
      return constant(left.type, lanes, at);
    }
  }
  const type = concrete(left.type);
  return runtime({
    op: "binary",
    operator,
    left: nodeAs(left, type, "The left side"),
    right: nodeAs(right, amount, "The right side"),
    type,
    at,
  });
}

/** Vector times matrix and matrix times vector, written out by columns. */
function matrixProduct(
  operator: BinaryOperator,
  left: Operand,
  right: Operand,
  at: Position,
): Operand {
  const matrix = isMatrix(left.type) ? left : right;
  const vector = matrix === left ? right : left;
  const { type } = matrix;
  if (!isMatrix(type)) throw new TypeError("a matrix expected");
  const columns = type.members;
  const rows = widthOf(columns[0]!.type);
  const length = matrix === left ? columns.length : rows;
  const fits = operator === "*" && vector.type.kind === "vector" &&
    vector.type.width === length && /f32|abstract/.test(vector.type.scalar);
  if (!fits) {
    const instead = "of matrices there is only * with a vector; " +
      "write the others out by columns";
    reject(operator, left, right, instead, at);
  }
  const m = nodeAs(matrix, type, "The matrix");
  const v = nodeAs(vector, registerType("f32", length), "The vector");
  if (!isRepeatable(m) || !isRepeatable(v)) {
    fail("A product of a matrix and a call; name both with let before", at);
  }
  const column = (index: number): Expression => ({
    op: "member",
    base: m,
    index,
    type: columns[index]!.type,
    at,
  });
  if (matrix === right) {
    const args = columns.map((_, i): Expression => ({
      op: "builtin",
      name: "dot",
      args: [v, column(i)],
      type: F32,
      at,
    }));
    const result = registerType("f32", columns.length);
    return runtime({ op: "construct", args, type: result, at });
  }
  const result = registerType("f32", rows);
  const products = columns.map((_, i): Expression => {
    const lane: Expression = {
      op: "swizzle",
      base: v,
      lanes: [i],
      type: F32,
      at,
    };
    const wide: Expression = {
      op: "construct",
      args: [lane],
      type: result,
      at,
    };
    return {
      op: "binary",
      operator: "*",
      left: column(i),
      right: wide,
      type: result,
      at,
    };
  });
  return runtime(products.reduce((sum, product) => ({
    op: "binary",
    operator: "+",
    left: sum,
    right: product,
    type: result,
    at,
  })));
}

/** Whether a node may be evaluated more than once at no cost. */
function isRepeatable(node: Expression): boolean {
  switch (node.op) {
    case "variable":
    case "literal":
      return true;
    case "member":
    case "swizzle":
      return isRepeatable(node.base);
    case "deref":
      return isRepeatable(node.pointer);
    case "construct":
      return node.args.every(isRepeatable);
    default:
      return false;
  }
}
