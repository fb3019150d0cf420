/**
 * Types while they are checked: those of the typed tree, and the abstract ones of literals, which
 * have no size and become concrete where they are used.
 *
 * @module
 */
import type {
  ArrayType,
  ScalarName,
  ScalarType,
  StructType,
  Type,
  VectorType,
} from "./tree.ts";

/** Scalars of which constants are made. */
export type AnyScalar = ScalarName | "abstract-int" | "abstract-float";

/** A type, perhaps abstract. */
export type LooseType =
  | Type
  | { readonly kind: "scalar"; readonly scalar: AnyScalar }
  | {
    readonly kind: "vector";
    readonly scalar: AnyScalar;
    readonly width: 2 | 3 | 4;
  }
  | {
    readonly kind: "array";
    readonly element: LooseType;
    readonly count: number;
    readonly stride: number;
  };

const interned = new Map<string, LooseType>();

/** A scalar (width 1) or a vector; always the same object. */
export function lanesType(scalar: AnyScalar, width: number): LooseType {
  const key = scalar + width;
  let type = interned.get(key);
  if (!type) {
    type = width === 1
      ? { kind: "scalar", scalar }
      : { kind: "vector", scalar, width: width as 2 | 3 | 4 };
    interned.set(key, type);
  }
  return type;
}

/** `lanesType` of a concrete scalar. */
export function registerType(
  scalar: ScalarName,
  width: number,
): ScalarType | VectorType {
  return lanesType(scalar, width) as ScalarType | VectorType;
}

/** One truth value. */
export const BOOL: Type = registerType("bool", 1);
/** One signed integer. */
export const I32: Type = registerType("i32", 1);
/** One unsigned integer. */
export const U32: Type = registerType("u32", 1);
/** One floating-point number. */
export const F32: Type = registerType("f32", 1);

/** An array of known length, or of as many elements as there are. */
export function arrayType(element: Type, count: number | null): ArrayType {
  const stride = roundUp(sizeOf(element), alignOf(element));
  return { kind: "array", element, count, stride };
}

/** A matrix of f32: a struct of its columns, which it equals in memory. */
export interface MatrixType extends StructType {
  /** Length of a column. */
  readonly rows: number;
}

const matrices = new Map<string, MatrixType>();

/** A matrix; always the same object. */
export function matrixType(columns: number, rows: number): MatrixType {
  const name = `mat${columns}x${rows}f`;
  let type = matrices.get(name);
  if (!type) {
    const members = Array.from({ length: columns }, (_, i) => ({
      name: String(i), // which no text can spell
      type: registerType("f32", rows),
    }));
    matrices.set(name, type = { ...structType(name, members), rows });
  }
  return type;
}

/** Whether a type is a matrix. */
export function isMatrix(type: LooseType): type is MatrixType {
  return type.kind === "struct" && "rows" in type;
}

/** A struct with members in order; `size` and `align` are those of attributes. */
export function structType(
  name: string,
  fields: readonly {
    name: string;
    type: Type;
    size?: number;
    align?: number;
  }[],
): StructType {
  let end = 0, align = 4;
  const members = fields.map((field) => {
    const aligned = field.align ?? alignOf(field.type);
    const offset = roundUp(end, aligned);
    end = offset + (field.size ?? sizeOf(field.type));
    align = Math.max(align, aligned);
    return { name: field.name, type: field.type, offset };
  });
  return { kind: "struct", name, members, size: roundUp(end, align), align };
}

/** The next multiple. */
function roundUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple;
}

/** Bytes of a value in memory; of an array without count, of one element. */
export function sizeOf(type: Type): number {
  switch (type.kind) {
    case "vector":
      return 4 * type.width;
    case "array":
      return type.stride * (type.count ?? 1);
    case "struct":
      return type.size;
    case "pointer":
      return 0;
    default:
      return 4;
  }
}

/** What addresses of a type are multiples of. */
export function alignOf(type: Type): number {
  switch (type.kind) {
    case "vector":
      return type.width === 2 ? 8 : 16;
    case "array":
      return alignOf(type.element);
    case "struct":
      return type.align;
    default:
      return 4;
  }
}

/** Lanes of a scalar or a vector, 0 of other types. */
export function widthOf(type: LooseType): number {
  return type.kind === "scalar" ? 1 : type.kind === "vector" ? type.width : 0;
}

/** Of what scalars a scalar or vector is made; null of other types. */
export function scalarOf(type: LooseType): AnyScalar | null {
  return type.kind === "scalar" || type.kind === "vector" ? type.scalar : null;
}

/** How many numbers a value is made of; NaN if that is not known. */
export function leavesOf(type: LooseType): number {
  switch (type.kind) {
    case "array":
      return (type.count ?? NaN) * leavesOf(type.element);
    case "struct":
      return type.members.reduce((sum, { type }) => sum + leavesOf(type), 0);
    case "pointer":
    case "atomic":
      return NaN;
    default:
      return widthOf(type);
  }
}

/** Types of the numbers that a value is made of, in order. */
export function leafTypes(type: LooseType): AnyScalar[] {
  switch (type.kind) {
    case "array":
      return Array(type.count ?? 0).fill(leafTypes(type.element)).flat();
    case "struct":
      return type.members.flatMap(({ type }) => leafTypes(type));
    default:
      return Array(widthOf(type)).fill(scalarOf(type));
  }
}

/** Whether a value of the type may be made, copied and returned. */
export function isConstructible(type: LooseType): boolean {
  return !Number.isNaN(leavesOf(type));
}

/** Whether a type has no size yet. */
function isAbstract(type: LooseType): boolean {
  if (type.kind === "array") return isAbstract(type.element);
  return scalarOf(type)?.startsWith("abstract") ?? false;
}

/** The type that a value takes where nothing asks for another. */
export function concrete(type: LooseType): Type {
  if (!isAbstract(type)) return type as Type;
  if (type.kind === "array") {
    return arrayType(concrete(type.element), type.count);
  }
  const scalar = scalarOf(type) === "abstract-int" ? "i32" : "f32";
  return registerType(scalar, widthOf(type));
}

/** Whether two types are one. */
export function sameType(a: LooseType, b: LooseType): boolean {
  if (a === b) return true;
  if (a.kind === "array" && b.kind === "array") {
    return a.count === b.count && sameType(a.element, b.element);
  }
  if (a.kind === "pointer" && b.kind === "pointer") {
    return a.space === b.space && a.access === b.access &&
      sameType(a.target, b.target);
  }
  return a.kind === "atomic" && b.kind === "atomic" && a.scalar === b.scalar;
}

/** Whether values of a scalar type become another without being told to. */
function scalarConverts(from: AnyScalar, to: AnyScalar): boolean {
  return from === to || from === "abstract-int" && to !== "bool" ||
    from === "abstract-float" && to === "f32";
}

/** Whether a value becomes another type without being told to. */
export function converts(from: LooseType, to: LooseType): boolean {
  if (sameType(from, to)) return true;
  if (from.kind === "array" && to.kind === "array") {
    return from.count === to.count && converts(from.element, to.element);
  }
  const a = scalarOf(from), b = scalarOf(to);
  return a !== null && b !== null && widthOf(from) === widthOf(to) &&
    scalarConverts(a, b);
}

/** The scalar type that all of several become, or null. */
export function commonScalar(scalars: readonly AnyScalar[]): AnyScalar | null {
  let common = scalars[0]!;
  for (const scalar of scalars) {
    if (scalarConverts(common, scalar)) common = scalar;
    else if (!scalarConverts(scalar, common)) return null;
  }
  return common;
}

/** A type as a text spells it: `vec4<f32>`. */
export function show(type: LooseType): string {
  switch (type.kind) {
    case "scalar":
      return type.scalar;
    case "vector":
      return `vec${type.width}<${type.scalar}>`;
    case "array":
      return type.count === null
        ? `array<${show(type.element)}>`
        : `array<${show(type.element)}, ${type.count}>`;
    case "struct":
      return type.name;
    case "atomic":
      return `atomic<${type.scalar}>`;
    case "pointer":
      return `ptr<${type.space}, ${show(type.target)}${
        type.space === "storage" && type.access === "read_write"
          ? ", read_write"
          : ""
      }>`;
  }
}

/** One number of a constant: booleans are 0 and 1, abstract integers bigint. */
export type Leaf = number | bigint;
