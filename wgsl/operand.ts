/**
 * What an expression turns out to be: a constant, a value, or a place in memory; and how it becomes
 * another type without being told to.
 *
 * @module
 */
import { convert } from "./constants.ts";
import { fail } from "./error.ts";
import type { Expression, Position, Space, Type } from "./tree.ts";
import {
  concrete,
  converts,
  isConstructible,
  lanesType,
  type Leaf,
  leafTypes,
  leavesOf,
  type LooseType,
  scalarOf,
  show,
  widthOf,
} from "./types.ts";

/** A checked expression; either `value` or `node` is there. */
export interface Operand {
  readonly type: LooseType;
  /** Of a constant: its numbers in order, of vectors, arrays and structs too. */
  readonly value: readonly Leaf[] | null;
  readonly node: Expression | null;
  /** Of a place: where it is, and whether it may be written. */
  readonly place: {
    readonly space: Space;
    readonly access: "read" | "read_write";
  } | null;
  readonly at: Position;
}

/** A constant. */
export function constant(
  type: LooseType,
  value: readonly Leaf[],
  at: Position,
): Operand {
  return { type, value, node: null, place: null, at };
}

/** A value that only the running shader knows, or a place. */
export function runtime(
  node: Expression,
  place: Operand["place"] = null,
): Operand {
  return { type: node.type, value: null, node, place, at: node.at };
}

/** What a place holds, or the value that it is already. */
export function read(operand: Operand): Operand {
  const { type, place, at } = operand;
  if (!place) return operand;
  if (!isConstructible(type)) {
    const instead = type.kind === "atomic"
      ? "write atomicLoad(&…)"
      : "take an element or a member, or its address";
    fail(`${show(type)} cannot be read as a whole; ${instead}`, at);
  }
  return { ...operand, place: null };
}

/** The numbers of a constant as those of another type to which it converts. */
export function leavesAs(
  { value, type: from, at }: Operand,
  to: LooseType,
): readonly Leaf[] {
  if (from === to) return value!;
  const types = leafTypes(from), wanted = leafTypes(to);
  return value!.map((leaf, i) => convert(leaf, types[i]!, wanted[i]!, at));
}

/** The node of an operand as a type to which it converts; `what` names it in the error. */
export function nodeAs(
  operand: Operand,
  type: Type,
  what: string,
): Expression {
  if (!converts(operand.type, type)) mismatch(operand, type, what);
  const { value, node, at } = read(operand);
  return value ? literal(type, leavesAs(operand, type), at) : node!;
}

/** The node of an operand in the type that it takes by itself. */
export function nodeOf(operand: Operand): Expression {
  return nodeAs(operand, concrete(operand.type), "The value");
}

/** Throws what `nodeAs` throws if the operand does not become the type. */
export function mismatch(
  operand: Operand,
  type: LooseType,
  what: string,
): never {
  const wanted = show(type);
  const width = widthOf(operand.type);
  const instead = wanted === "bool"
    ? "write a comparison, such as x != 0"
    : width === 0 || widthOf(type) === 0
    ? `write a ${wanted}`
    : width === widthOf(type) || width === 1
    ? `write ${wanted}(…)`
    : width > widthOf(type)
    ? `take ${widthOf(type)} of its lanes, as with .${
      "xyzw".slice(0, widthOf(type))
    }`
    : `write ${wanted}(…) with all lanes`;
  fail(
    `${what} is ${show(operand.type)}, but must be ${wanted}; ${instead}`,
    operand.at,
  );
}

/** A constant as a node: a literal, or a construction of literals. */
export function literal(
  type: Type,
  value: readonly Leaf[],
  at: Position,
): Expression {
  if (type.kind === "scalar" || type.kind === "vector") {
    return { op: "literal", values: value.map(Number), type, at };
  }
  if (value.every((leaf) => Object.is(Number(leaf), 0))) {
    return { op: "construct", args: [], type, at };
  }
  const parts = type.kind === "struct"
    ? type.members.map((member) => member.type)
    : type.kind === "array"
    ? Array<Type>(type.count!).fill(type.element)
    : [];
  let next = 0;
  const args = parts.map((part) => {
    const first = next;
    next += leavesOf(part);
    return literal(part, value.slice(first, next), at);
  });
  return { op: "construct", args, type, at };
}

/** A scalar in all lanes of a vector; a vector as it is. */
export function spread(operand: Operand, width: number): Operand {
  const { type, value, node, at } = operand;
  if (width === 1 || widthOf(type) !== 1) return operand;
  const scalar = scalarOf(type)!;
  const wide = lanesType(scalar, width);
  if (value) return constant(wide, Array<Leaf>(width).fill(value[0]!), at);
  const args = [node!];
  return runtime({ op: "construct", args, type: wide as Type, at });
}
