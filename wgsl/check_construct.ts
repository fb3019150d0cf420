/**
 * Values made of parts: `vec4f(xyz, 1.0)`, `array(1, 2)`, `Params(…)`, `f32(i)`.
 *
 * @module
 */
import { cast } from "./constants.ts";
import { fail } from "./error.ts";
import {
  constant,
  leavesAs,
  mismatch,
  nodeAs,
  nodeOf,
  type Operand,
  runtime,
  spread,
} from "./operand.ts";
import type { Expression, Position, Type } from "./tree.ts";
import {
  type AnyScalar,
  arrayType,
  commonScalar,
  concrete,
  converts,
  isConstructible,
  isMatrix,
  lanesType,
  leavesOf,
  type LooseType,
  matrixType,
  sameType,
  scalarOf,
  show,
  widthOf,
} from "./types.ts";

/** Numbers in one value. */
const MOST_NUMBERS = 65536;

/** `type(args)`. */
export function construct(
  type: Type,
  args: readonly Operand[],
  at: Position,
): Operand {
  if (!isConstructible(type)) {
    fail(`A ${show(type)} cannot be made; declare a variable of it`, at);
  }
  if (leavesOf(type) > MOST_NUMBERS) {
    fail(`A value of more than ${MOST_NUMBERS} numbers; use memory`, at);
  }
  if (args.length === 0) {
    return constant(type, Array(leavesOf(type)).fill(0), at);
  }
  const [first] = args;
  switch (type.kind) {
    case "scalar":
      if (args.length > 1) {
        fail(`${type.scalar}() takes one argument, not ${args.length}`, at);
      }
      return castTo(type, first!, at);
    case "vector":
      if (args.length === 1 && widthOf(first!.type) === type.width) {
        return castTo(type, first!, at);
      }
      return vector(type.scalar, type.width, args, at);
    case "struct":
      if (isMatrix(type)) {
        return matrix(
          type.members.length,
          widthOf(type.members[0]!.type),
          args,
          at,
        );
      }
      return aggregate(
        type,
        type.members.map((member) => member.type),
        args,
        at,
      );
    case "array": {
      const elements = Array<Type>(type.count!).fill(type.element);
      return aggregate(type, elements, args, at);
    }
    default:
      throw new TypeError(`No construction of ${show(type)}`);
  }
}

/** `vec3(args)`, `array(args)` and `mat2x2(args)`: the element type is that of the arguments. */
export function constructInferred(
  name: string,
  args: readonly Operand[],
  at: Position,
): Operand | null {
  const sizes = /^(?:vec([234])|mat([234])x([234])|array)$/.exec(name);
  if (!sizes) return null;
  if (args.length === 0) {
    fail(
      `${name}() of nothing has no type; write ${name}${
        name === "array" ? "<f32, 4>" : "f"
      }()`,
      at,
    );
  }
  if (sizes[2]) return matrix(Number(sizes[2]), Number(sizes[3]), args, at);
  const scalars = args.map(({ type }) => scalarOf(type));
  if (sizes[1]) {
    const scalar = scalars.includes(null)
      ? null
      : commonScalar(scalars as AnyScalar[]);
    if (!scalar) {
      fail(
        `${name}() of ${listTypes(args)}; convert them to one type`,
        at,
      );
    }
    return vector(scalar, Number(sizes[1]), args, at);
  }
  const element = args.map(({ type }) => type).reduce((a, b) => {
    const scalar = commonScalar([scalarOf(a) ?? "bool", scalarOf(b) ?? "bool"]);
    if (sameType(a, b)) return a;
    if (!scalar || widthOf(a) !== widthOf(b) || widthOf(a) === 0) {
      fail(`array() of ${listTypes(args)}; convert them to one type`, at);
    }
    return lanesType(scalar, widthOf(a));
  });
  const type: LooseType = args.every((arg) => arg.value)
    ? { kind: "array", element, count: args.length, stride: 0 }
    : arrayType(concrete(element), args.length);
  return aggregate(type, Array(args.length).fill(element), args, at);
}

function listTypes(args: readonly Operand[]): string {
  return args.map(({ type }) => show(type)).join(", ");
}

/** A scalar or vector as one of the same width, converted lane by lane. */
function castTo(type: Type, operand: Operand, at: Position): Operand {
  const from = scalarOf(operand.type), to = scalarOf(type)!;
  if (!from || widthOf(operand.type) !== widthOf(type)) {
    mismatch(operand, type, "The argument");
  }
  if (operand.value) {
    const lanes = operand.value.map((lane) => cast(lane, from, to, at));
    return constant(type, lanes, at);
  }
  if (from === to) return { ...operand, at };
  return runtime({ op: "convert", operand: operand.node!, type, at });
}

function vector(
  scalar: AnyScalar,
  width: number,
  args: readonly Operand[],
  at: Position,
): Operand {
  const type = lanesType(scalar, width);
  const parts = args.length === 1 && widthOf(args[0]!.type) === 1
    ? [{ ...spread(asPart(args[0]!, scalar), width), at }]
    : args.map((arg) => asPart(arg, scalar));
  const lanes = parts.reduce((sum, part) => sum + widthOf(part.type), 0);
  if (lanes !== width) {
    fail(
      `${show(type)} of ${lanes} components; write ${width}, or one for all`,
      at,
    );
  }
  if (parts.every((part) => part.value)) {
    return constant(type, parts.flatMap((part) => part.value!), at);
  }
  if (parts.length === 1) return parts[0]!;
  const nodes = parts.map(nodeOf);
  return runtime({ op: "construct", args: nodes, type: type as Type, at });
}

/** A part of a vector, its lanes converted. */
function asPart(arg: Operand, scalar: AnyScalar): Operand {
  const type = lanesType(scalar, Math.max(widthOf(arg.type), 1));
  if (
    arg.value && scalarOf(arg.type) &&
    commonScalar([scalarOf(arg.type)!, scalar]) === scalar
  ) {
    return constant(type, leavesAs(arg, type), arg.at);
  }
  if (!sameType(arg.type, type)) mismatch(arg, type, "A component");
  return arg;
}

function matrix(
  columns: number,
  rows: number,
  args: readonly Operand[],
  at: Position,
): Operand {
  const type = matrixType(columns, rows);
  if (args.length === 1 && args[0]!.type === type) return args[0]!;
  const column = lanesType("f32", rows);
  const parts = args.length === columns * rows
    ? Array.from(
      { length: columns },
      (_, i) => vector("f32", rows, args.slice(i * rows, (i + 1) * rows), at),
    )
    : args;
  return aggregate(type, Array(columns).fill(column), parts, at);
}

/** An array or a struct of all its elements. */
function aggregate(
  type: LooseType,
  elements: readonly LooseType[],
  args: readonly Operand[],
  at: Position,
): Operand {
  if (args.length !== elements.length) {
    fail(
      `${
        show(type)
      } of ${args.length} elements; write ${elements.length}, or none for zeros`,
      at,
    );
  }
  const what = (i: number) =>
    type.kind === "struct" && !isMatrix(type)
      ? `Member ${type.members[i]!.name} of ${type.name}`
      : `Element ${i}`;
  if (args.every((arg) => arg.value)) {
    const leaves = args.flatMap((arg, i) => {
      if (!converts(arg.type, elements[i]!)) {
        mismatch(arg, elements[i]!, what(i));
      }
      return leavesAs(arg, elements[i]!);
    });
    return constant(type, leaves, at);
  }
  const nodes = args.map((arg, i): Expression =>
    nodeAs(arg, concrete(elements[i]!), what(i))
  );
  return runtime({ op: "construct", args: nodes, type: type as Type, at });
}
